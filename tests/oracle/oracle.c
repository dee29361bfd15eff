/* Finds the reference of an op and holds what it computed. */
#include "oracle_impl.h"

#include <float.h>
#include <string.h>

bool oracle_compute(oracle_run *run) {
    switch (run->op) {
#define NLM_OP(number, name)           \
    case number:                       \
        oracle_##name(run, run->args); \
        break;
#include <nlm/ops.def>
#undef NLM_OP
        default: return false;
    }
    return !run->has_failed;
}

void oracle_release(oracle_run *run) {
    for (int i = 0; i < run->n_results; i++) {
        free(run->results[i].value);
        free(run->results[i].scale);
    }
    run->n_results = 0;
}

static oracle_result *add_result(oracle_run *run, const nlm_tensor *t) {
    if (!t || run->n_results == ORACLE_RESULTS) {
        run->spare = (oracle_result){0};
        return &run->spare;
    }
    oracle_result *result = &run->results[run->n_results++];
    *result = (oracle_result){.tensor = t, .count = oracle_count(t), .terms = 1};
    result->value = calloc((size_t)result->count + 1, sizeof *result->value);
    result->scale = calloc((size_t)result->count + 1, sizeof *result->scale);
    if (!result->value || !result->scale) {
        run->has_failed = true;
        result->count = 0;
    }
    return result;
}

oracle_result *oracle_output(oracle_run *run, const nlm_tensor *t) {
    oracle_result *result = add_result(run, t);
    for (int64_t i = 0; i < result->count; i++) oracle_set(result, i, NAN, -1);
    return result;
}

oracle_result *oracle_state(oracle_run *run, const nlm_tensor *t) {
    oracle_result *result = add_result(run, t);
    for (int64_t i = 0; i < result->count; i++) oracle_set(result, i, oracle_element(t, i), 0);
    return result;
}

oracle_result *oracle_gradient(oracle_run *run, const nlm_tensor *t, uint32_t flags) {
    oracle_result *result = add_result(run, t);
    for (int64_t i = 0; i < result->count && (flags & NLM_GRADIENT_ADD); i++) {
        const double before = oracle_element(t, i);
        oracle_set(result, i, before, fabs(before));
    }
    return result;
}

double oracle_rounding(const oracle_run *run, int32_t dtype) {
    if (run->activations == ORACLE_STRICT) return 0;
    switch (dtype) {
        case NLM_F32: return 0;
        case NLM_F16: return 0x1p-11;
        case NLM_BF16: return 0x1p-8;
        default: return run->activations == ORACLE_COARSE ? 1.0 / 254 : 1.0 / 250;
    }
}

double oracle_bound(double scale, double rounding, int64_t terms) {
    return FLT_MIN + scale * (rounding + 0x1p-24 * (8 + 2 * sqrt((double)terms)));
}
