/* Characters that are younger than the regular expressions' Unicode, each with an older one of its kind, so that
 * words do not depend on the version of PCRE2. */
#ifndef NLM_TEXT_STAND_IN_H
#define NLM_TEXT_STAND_IN_H

#include <stddef.h>

/* Where the first such character of valid UTF-8 is; `length` if there is none. */
size_t nlm_stand_in_find(const char *text, size_t length);
/* Puts the older ones in the place of all of them. They are as long, and of the same general category. */
void nlm_stand_in_put(char *text, size_t length);

#endif
