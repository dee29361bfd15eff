/* Calls of a caller's nlm_constraint, and what is wrong with its answers. */
#include "session/constraint.h"

#include <string.h>

#include "base/status.h"
#include "session/options.h"

nlm_status nlm_constraint_take(nlm_constraint *out, const nlm_constraint *given, nlm_error *err) {
    *out = (nlm_constraint){0};
    if (!given) return NLM_OK;
    NLM_TRY(nlm_take_options(out, sizeof *out, given, "nlm_constraint", err));
    if (out->reserved) return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_constraint", "reserved is not 0");
    const char *missing = !out->allows ? "allows" : !out->mask ? "mask" : !out->accept ? "accept" : NULL;
    if (!missing) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_constraint", "its function '%s' is NULL", missing);
}

static void call_out(nlm_gate *gate, bool begins) {
    if (gate) nlm_gate_call_out(gate, begins);
}

bool nlm_constraint_allows(const nlm_constraint *constraint, nlm_gate *gate, int32_t id) {
    call_out(gate, true);
    const int32_t answer = constraint->allows(constraint->user, id);
    call_out(gate, false);
    return answer != 0;
}

/* What one of the functions returned, and said to `why`. */
static nlm_status answered(nlm_status status, const char *function, nlm_error *why, nlm_error *err) {
    if (status == NLM_OK) return NLM_OK;
    why->code = status;
    const nlm_status known = nlm_status_prefix(status, why, "the constraint's '%s'", function);
    nlm_error_give(err, why);
    return known;
}

nlm_status nlm_constraint_mask(const nlm_constraint *constraint, nlm_gate *gate, uint32_t *bits, int32_t n_vocab,
                               nlm_error *err) {
    const size_t n_words = nlm_mask_words(n_vocab);
    nlm_error why = NLM_ERROR_INIT;
    memset(bits, 0, n_words * sizeof *bits);
    call_out(gate, true);
    const nlm_status status = constraint->mask(constraint->user, bits, n_words, &why);
    call_out(gate, false);
    NLM_TRY(answered(status, "mask", &why, err));
    if (n_vocab % 32) bits[n_words - 1] &= (1u << n_vocab % 32) - 1;
    for (size_t i = 0; i < n_words; i++) {
        if (bits[i]) return NLM_OK;
    }
    return nlm_fail(err, NLM_NOT_FOUND, "nlm_constraint", "it rules out every token of the vocabulary");
}

nlm_status nlm_constraint_accept(const nlm_constraint *constraint, nlm_gate *gate, int32_t id, nlm_error *err) {
    nlm_error why = NLM_ERROR_INIT;
    call_out(gate, true);
    const nlm_status status = constraint->accept(constraint->user, id, &why);
    call_out(gate, false);
    return answered(status, "accept", &why, err);
}
