/* A growing byte string, and the few string helpers C lacks. */
#ifndef NLM_BASE_STR_H
#define NLM_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed is empty. `data` is terminated once anything was appended. When memory runs out the string
 * stays as it was and has_failed is set: append freely and check once. */
typedef struct nlm_str {
    char *data;
    size_t length;
    size_t capacity;
    bool has_failed;
} nlm_str;

void nlm_str_append(nlm_str *str, const char *text, size_t length);
void nlm_str_puts(nlm_str *str, const char *text);
void nlm_str_printf(nlm_str *str, const char *format, ...) __attribute__((format(printf, 2, 3)));
void nlm_str_release(nlm_str *str); /* leaves a valid empty string */

/* The candidate nearest to `word` by edit distance, or NULL if none is within a third of its length:
 * for "did you mean". */
const char *nlm_nearest(const char *word, const char *const *candidates, size_t count);

/* The length of the longest prefix of text[0..length) that does not end inside a UTF-8 sequence.
 * Bytes that can never become valid count as complete. */
size_t nlm_utf8_complete(const char *text, size_t length);

#endif
