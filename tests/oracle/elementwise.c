/* silu_mul, add, mul, scale, softmax, copy, argmax. */
#include "oracle_impl.h"

/* What one rounding gives. */
static int32_t result_type(const nlm_tensor *y) {
    return y->dtype == ORACLE_F64 ? ORACLE_F64 : NLM_F32;
}

/* b[r,c], or b[c] for every row. */
static double broadcast(const nlm_tensor *b, int64_t r, int64_t c) {
    return b->rank == 1 ? oracle_at(b, c, 0, 0, 0) : oracle_at(b, r, c, 0, 0);
}

ORACLE_OP(silu_mul) {
    oracle_result *y = oracle_output(run, a->y);
    const int64_t n = a->y->shape[1];
    for (int64_t i = 0; i < run->live_rows * n; i++) {
        const double gate = oracle_at(a->gate, i / n, i % n, 0, 0), up = oracle_at(a->up, i / n, i % n, 0, 0);
        const double value = oracle_silu(gate) * up;
        /* exp(-gate) may overflow to infinity, which gives 0 for some 1e-36. */
        oracle_set(y, i, value, fabs(value) + 1e-28 * (1 + fabs(up)));
    }
}

ORACLE_OP(add) {
    oracle_result *y = oracle_output(run, a->y);
    const int64_t n = a->y->shape[1];
    for (int64_t i = 0; i < run->live_rows * n; i++) {
        const double value = oracle_at(a->a, i / n, i % n, 0, 0) + broadcast(a->b, i / n, i % n);
        oracle_set(y, i, oracle_round(result_type(a->y), value), 0);
    }
}

ORACLE_OP(mul) {
    oracle_result *y = oracle_output(run, a->y);
    const int64_t n = a->y->shape[1];
    for (int64_t i = 0; i < run->live_rows * n; i++) {
        const double value = oracle_at(a->a, i / n, i % n, 0, 0) * broadcast(a->b, i / n, i % n);
        oracle_set(y, i, oracle_round(result_type(a->y), value), 0);
    }
}

ORACLE_OP(scale) {
    oracle_result *y = oracle_output(run, a->y);
    const int64_t n = a->y->shape[1];
    for (int64_t i = 0; i < run->live_rows * n; i++) {
        const double product = (double)a->factor * oracle_at(a->x, i / n, i % n, 0, 0), offset = (double)a->offset;
        oracle_set(y, i, product + offset, fabs(product) + fabs(offset) + 1e-36);
    }
}

/* exp may give 0 below -87, where its result comes near the smallest normal f32: exp(-87) is 1.4 times that, and
 * twice that is allowed. oracle_bound takes at least 2^-21 of a scale. */
#define SMALL_EXP (0x1p-125 * 0x1p21)

ORACLE_OP(softmax) {
    oracle_result *y = oracle_output(run, a->y);
    const int64_t n = a->y->shape[1];
    y->terms = n;
    for (int64_t r = 0; r < run->live_rows; r++) {
        double greatest = -INFINITY, total = 0;
        for (int64_t c = 0; c < n; c++) greatest = fmax(greatest, (double)a->factor * oracle_at(a->x, r, c, 0, 0));
        for (int64_t c = 0; c < n; c++) total += exp((double)a->factor * oracle_at(a->x, r, c, 0, 0) - greatest);
        for (int64_t c = 0; c < n; c++) {
            const double scaled = (double)a->factor * oracle_at(a->x, r, c, 0, 0);
            const double value = exp(scaled - greatest) / total;
            if (greatest == -INFINITY || scaled == -INFINITY) {
                oracle_set(y, r * n + c, 0, 0);
            } else {
                /* An error of the exponent, relative to its terms, is one of the value. */
                oracle_set(y, r * n + c, value, value * (1 + fabs(scaled) + fabs(greatest)) + SMALL_EXP / total);
            }
        }
    }
}

ORACLE_OP(copy) {
    oracle_result *y = oracle_output(run, a->y);
    const int64_t count = a->x->shape[0] ? oracle_count(a->x) / a->x->shape[0] * run->live_rows : 0;
    for (int64_t i = 0; i < count; i++) oracle_set(y, i, oracle_round(a->y->dtype, oracle_element(a->x, i)), 0);
}

ORACLE_OP(argmax) {
    oracle_result *y = oracle_output(run, a->y);
    for (int64_t r = 0; r < run->live_rows; r++) {
        int64_t best = -1, n_finite = 0;
        for (int64_t c = a->x->shape[1] - 1; c >= 0; c--) {
            const double value = oracle_at(a->x, r, c, 0, 0);
            n_finite += isfinite(value) != 0;
            if (!isnan(value) && (best < 0 || value >= oracle_at(a->x, r, best, 0, 0))) best = c;
        }
        if ((a->flags & NLM_ARGMAX_FINITE) && n_finite < a->x->shape[1]) best = -1;
        oracle_set(y, r, (double)best, 0);
    }
}
