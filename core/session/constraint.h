/* What rules tokens out: asking a caller's nlm_constraint. */
#ifndef NLM_SESSION_CONSTRAINT_H
#define NLM_SESSION_CONSTRAINT_H

#include <nlm/nlm.h>
#include <stdbool.h>
#include "session/gate.h"

/* A copy of the caller's that has all its functions; given NULL: zeroed. Errors   INVALID_ARGUMENT. */
nlm_status nlm_constraint_take(nlm_constraint *out, const nlm_constraint *given, nlm_error *err);

static inline bool nlm_constraint_is_set(const nlm_constraint *constraint) {
    return constraint->allows != NULL;
}

/* Words of a mask of n_vocab tokens. */
static inline size_t nlm_mask_words(int32_t n_vocab) {
    return ((size_t)n_vocab + 31) / 32;
}

static inline bool nlm_mask_has(const uint32_t *bits, int32_t id) {
    return bits[id / 32] >> id % 32 & 1;
}

/* The functions of a constraint that is set. gate: that of the call under way, which the functions are outside of; or
 * NULL. They are no place for longjmp. */
bool nlm_constraint_allows(const nlm_constraint *constraint, nlm_gate *gate, int32_t id);
/* bits [nlm_mask_words(n_vocab)]: whether each token may come; at least one may.
 * Errors   those of the function; NOT_FOUND (none may). */
nlm_status nlm_constraint_mask(const nlm_constraint *constraint, nlm_gate *gate, uint32_t *bits, int32_t n_vocab,
                               nlm_error *err);
nlm_status nlm_constraint_accept(const nlm_constraint *constraint, nlm_gate *gate, int32_t id, nlm_error *err);

#endif
