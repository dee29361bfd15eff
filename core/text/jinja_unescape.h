/* What a string of a chat template's text stands for. */
#ifndef NLM_TEXT_JINJA_UNESCAPE_H
#define NLM_TEXT_JINJA_UNESCAPE_H

#include <stddef.h>

/* Bytes that out needs for a string of `length`: no escape gives more than it takes. */
#define NLM_JINJA_UNESCAPED_MAX(length) ((length) + 1)

/* Writes text[0..length) with Python's escapes replaced (\n, \x41, \u0041, \101, ...) and returns the length. What is
 * no escape of Python's stays. Surrogates, which no UTF-8 holds, become U+FFFD. */
size_t nlm_jinja_unescape(const char *text, size_t length, char *out);

#endif
