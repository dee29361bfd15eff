/* Handing a text to a caller's buffer. */
#ifndef NLM_SESSION_TEXT_OUT_H
#define NLM_SESSION_TEXT_OUT_H

#include <nlm/status.h>
#include "base/str.h"

/* Copies as much of *text as fits in out[0..capacity), with a terminator if `is_terminated`; *out_length is
 * the length of the whole. OUT_OF_MEMORY if the text has failed to grow. */
nlm_status nlm_text_out(const nlm_str *text, bool is_terminated, char *out, size_t capacity, size_t *out_length,
                        nlm_error *err);

#endif
