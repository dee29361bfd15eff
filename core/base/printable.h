/* Text from outside, in a form that a terminal shows and does not act on. */
#ifndef NLM_BASE_PRINTABLE_H
#define NLM_BASE_PRINTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/* A control character: of ASCII, or one of U+0080 to U+009F. */
bool nlm_is_control(uint32_t code);

/* How the character at text[0..length), length > 0, may stand in a line: as it is, or for control characters, those
 * that reorder or hide parts of a line, and bytes that are not UTF-8 as \n, \x1b or \u{202e}. Returns the bytes
 * written to out, not terminated; *out_bytes: those of the character. */
#define NLM_PRINTABLE_BYTES 12
size_t nlm_printable_next(char out[NLM_PRINTABLE_BYTES], const char *text, size_t length, size_t *out_bytes);

/* Rewrites the text in an array of `size` bytes so; what no longer fits is cut between characters. A text that is
 * printable stays as it is. Allocates nothing. */
void nlm_make_printable(char *text, size_t size);
/* Appends text[0..length) so. */
void nlm_str_printable(nlm_str *str, const char *text, size_t length);

#endif
