/* Texts that end repetitions (dry_breakers), where several tokens spell them: which of them may, and whether they do.
 */
#ifndef NLM_SESSION_BREAKERS_H
#define NLM_SESSION_BREAKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct nlm_breakers nlm_breakers;

/* texts [n], none empty, copied. NULL: no memory. */
nlm_breakers *nlm_breakers_create(const char *const *texts, size_t n);
void nlm_breakers_destroy(nlm_breakers *breakers); /* NULL is fine */

/* A token and its text; the ids ascend. *out_is_whole: one of the texts is in it. false: no memory. */
bool nlm_breakers_add(nlm_breakers *breakers, int32_t id, const char *text, size_t length, bool *out_is_whole);

/* Whether one of the texts that begins in a token before ends in the last of ids[0..count). Tokens that were not
 * added have no text. */
bool nlm_breakers_end(const nlm_breakers *breakers, const int32_t *ids, size_t count);

#endif
