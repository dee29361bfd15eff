/* UTF-8, one character at a time, with invalid bytes kept apart, and how far bytes are valid. */
#ifndef NLM_TEXT_UTF8_H
#define NLM_TEXT_UTF8_H

#include "base/utf8.h"

/* The length of the valid UTF-8 that text begins with. */
size_t nlm_utf8_valid_prefix(const char *text, size_t length);
/* The length of what comes before the next valid character. */
size_t nlm_utf8_invalid_prefix(const char *text, size_t length);

#endif
