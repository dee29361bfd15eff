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
/* What an op adds up: from zero, or with NLM_GRADIENT_ADD in `flags` from what t holds; all elements. */
oracle_result *oracle_gradient(oracle_run *run, const nlm_tensor *t, uint32_t flags);

static inline void oracle_set(oracle_result *result, int64_t index, double value, double scale) {
    if (index >= result->count) return;
    result->value[index] = value;
    result->scale[index] = scale;
}

/* One more term of a sum, and the scale of its error. */
static inline void oracle_add_term(oracle_result *result, int64_t index, double value, double scale) {
    if (index >= result->count) return;
    result->value[index] += value;
    result->scale[index] += scale;
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

/* The factors of products x w^T, each element opened once: [live rows, k] and [columns, k]. scale[m,k] is the
 * magnitude by which rounding x[m,k] for a multiplication with w's type is measured. */
typedef struct oracle_factors {
    double *x, *scale, *w;
    int64_t k;
} oracle_factors;
/* No memory: the run has failed, and nothing may be multiplied. */
oracle_factors oracle_open(oracle_run *run, const nlm_tensor *x, const nlm_tensor *w);
void oracle_close(oracle_factors *factors);

/* One element of a product, and the scale of its error. */
typedef struct oracle_product {
    double value, scale;
} oracle_product;
oracle_product oracle_multiply(const oracle_factors *factors, int64_t m, int64_t n);

/* rms_norm of the live rows, rounded to f32 as any implementation rounds them: the error of that is within
 * the bound of a sum of them. In memory of its own, which the caller frees; NULL data: no memory. */
nlm_tensor oracle_normed(oracle_run *run, const nlm_tensor *x, const nlm_tensor *w, float eps);

/* What a convolution and a scan are given may be uncertain: scales of the errors of x, dt, b and c, rows
 * apart by `columns`; NULL: exact. */
typedef struct oracle_doubt {
    const double *conv_x;
    const double *dt, *b, *c;
    int64_t conv_columns, dt_columns, bc_columns;
} oracle_doubt;
void oracle_convolve(oracle_run *run, const nlm_conv1d_causal_args *a, const oracle_doubt *doubt, oracle_result *y,
                     oracle_result *state);
void oracle_scan(oracle_run *run, const nlm_ssm_scan_args *a, const oracle_doubt *doubt, oracle_result *y,
                 oracle_result *state);

#define ORACLE_OP(name)      void oracle_##name(oracle_run *run, const nlm_##name##_args *a)
#define NLM_OP(number, name) ORACLE_OP(name);
#include <nlm/ops.def>
#undef NLM_OP

#endif
