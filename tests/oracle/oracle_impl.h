/* What the reference functions share. */
#ifndef NLM_TESTS_ORACLE_IMPL_H
#define NLM_TESTS_ORACLE_IMPL_H

#include <math.h>
#include <stdlib.h>
#include "oracle.h"

/* The result that belongs to an output (all elements unspecified at first) or a state (all elements as
 * they are). Never NULL: a spare one when there is no memory or t is NULL. */
oracle_result *oracle_output(oracle_run *run, const nlm_tensor *t);
oracle_result *oracle_state(oracle_run *run, const nlm_tensor *t);

static inline void oracle_set(oracle_result *result, int64_t index, double value, double scale) {
    if (index >= result->count) return;
    result->value[index] = value;
    result->scale[index] = scale;
}

static inline double oracle_silu(double v) {
    return v / (1 + exp(-v));
}

/* Sequence s of a batch: rows [from, to) and its slot. */
typedef struct oracle_sequence {
    int64_t from, to, slot;
} oracle_sequence;

static inline oracle_sequence oracle_sequence_at(const nlm_tensor *seq_start, const nlm_tensor *slot, int64_t s) {
    return (oracle_sequence){(int64_t)oracle_at(seq_start, s, 0, 0, 0), (int64_t)oracle_at(seq_start, s + 1, 0, 0, 0),
                             (int64_t)oracle_at(slot, s, 0, 0, 0)};
}

/* The magnitude by which rounding x[m,k] for a multiplication with this type of weight is measured. */
double oracle_activation_scale(const nlm_tensor *x, int32_t weight_dtype, int64_t m, int64_t k);

#define ORACLE_OP(name)      void oracle_##name(oracle_run *run, const nlm_##name##_args *a)
#define NLM_OP(number, name) ORACLE_OP(name);
#include <nlm/ops.def>
#undef NLM_OP

#endif
