/* embed, matmul, rms_norm and the fused ops made of them. */
#include "oracle_impl.h"

ORACLE_OP(embed) {
    oracle_result *y = oracle_output(run, a->y);
    const int is_exact = a->w->dtype == NLM_F32 || a->w->dtype == NLM_F16 || a->w->dtype == NLM_BF16;
    const int64_t n = a->y->shape[1];
    for (int64_t r = 0; r < run->live_rows; r++) {
        const int64_t id = (int64_t)oracle_at(a->ids, r, 0, 0, 0);
        /* Decoding rounds once, relative to the terms of a block, which are of the row's magnitude. */
        double magnitude = 0;
        for (int64_t c = 0; c < n; c++) magnitude = fmax(magnitude, fabs(oracle_at(a->w, id, c, 0, 0)));
        for (int64_t c = 0; c < n; c++)
            oracle_set(y, r * n + c, oracle_at(a->w, id, c, 0, 0), is_exact ? 0 : magnitude);
    }
}

static void open_scales(const oracle_run *run, const double *x, int64_t k_count, int32_t weight_dtype,
                        double *scale) {
    const int64_t together = run->activations == ORACLE_COARSE ? 128 : 32;
    double greatest = 0; /* of those that quantised types round together */
    for (int64_t k = 0; k < k_count; k++) {
        if (k % together == 0) {
            greatest = 0;
            for (int64_t i = k; i < k + together && i < k_count; i++) greatest = fmax(greatest, fabs(x[i]));
        }
        switch (weight_dtype) {
            case NLM_F32:
            case NLM_BF16: scale[k] = fabs(x[k]); break;
            case NLM_F16: scale[k] = fmax(fabs(x[k]), 0x1p-14); break; /* below, f16 is evenly spaced */
            default: scale[k] = greatest;
        }
    }
}

static void open_rows(const nlm_tensor *t, int64_t rows, double *out) {
    const int64_t k_count = t->shape[1];
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t k = 0; k < k_count; k++) out[r * k_count + k] = oracle_at(t, r, k, 0, 0);
    }
}

oracle_factors oracle_open(oracle_run *run, const nlm_tensor *x, const nlm_tensor *w) {
    const int64_t k = w->shape[1], live = run->live_rows;
    double *memory = calloc((size_t)((2 * live + w->shape[0]) * k) + 1, sizeof *memory);
    if (!memory) {
        run->has_failed = true;
        return (oracle_factors){.k = 0};
    }
    const oracle_factors f = {memory, memory + live * k, memory + 2 * live * k, k};
    open_rows(x, live, f.x);
    for (int64_t m = 0; m < live; m++) open_scales(run, f.x + m * k, k, w->dtype, f.scale + m * k);
    open_rows(w, w->shape[0], f.w);
    return f;
}

void oracle_close(oracle_factors *factors) {
    free(factors->x);
    factors->x = NULL;
}

oracle_product oracle_multiply(const oracle_factors *factors, int64_t m, int64_t n) {
    const int64_t k_count = factors->k;
    const double *x = factors->x + m * k_count, *scale = factors->scale + m * k_count, *w = factors->w + n * k_count;
    oracle_product sum = {0, 0};
    for (int64_t k = 0; k < k_count; k++) {
        sum.value += x[k] * w[k];
        sum.scale += scale[k] * fabs(w[k]);
    }
    return sum;
}

static void set_precision(const oracle_run *run, oracle_result *y, const nlm_tensor *w) {
    y->rounding = oracle_rounding(run, w->dtype);
    y->terms = w->shape[1];
}

ORACLE_OP(matmul) {
    oracle_result *y = oracle_output(run, a->y);
    const int64_t columns = a->y->shape[1];
    set_precision(run, y, a->w);
    oracle_factors factors = oracle_open(run, a->x, a->w);
    for (int64_t m = 0; factors.x && m < run->live_rows; m++) {
        for (int64_t n = 0; n < columns; n++) {
            oracle_product sum = oracle_multiply(&factors, m, n);
            const double bias = a->bias ? oracle_at(a->bias, n, 0, 0, 0) : 0;
            const double residual = a->residual ? oracle_at(a->residual, m, n, 0, 0) : 0;
            sum.scale += fabs(bias) + fabs(residual);
            oracle_set(y, m * columns + n, sum.value + bias + residual, sum.scale);
        }
    }
    oracle_close(&factors);
}

/* Column c of head r, the heads of all rows being counted. */
static double head_at(const nlm_tensor *t, int64_t r, int64_t c) {
    if (t->rank == 2) return oracle_at(t, r, c, 0, 0);
    return oracle_at(t, r / t->shape[1], r % t->shape[1], c, 0);
}

ORACLE_OP(rms_norm) {
    oracle_result *y = oracle_output(run, a->y), *sum = oracle_output(run, a->sum);
    const int64_t n = a->x->shape[a->x->rank - 1], heads = a->x->rank == 3 ? a->x->shape[1] : 1;
    y->terms = n;
    for (int64_t r = 0; r < run->live_rows * heads; r++) {
        double squares = 0;
        for (int64_t c = 0; c < n; c++) {
            const double x = head_at(a->x, r, c), residual = a->residual ? head_at(a->residual, r, c) : 0;
            oracle_set(sum, r * n + c, x + residual, fabs(x) + fabs(residual));
            squares += (x + residual) * (x + residual);
        }
        const double factor = 1 / sqrt(squares / (double)n + (double)a->eps);
        for (int64_t c = 0; c < n; c++) {
            const double x = head_at(a->x, r, c), residual = a->residual ? head_at(a->residual, r, c) : 0;
            const double w = a->w ? oracle_at(a->w, c, 0, 0, 0) : 1;
            oracle_set(y, r * n + c, (x + residual) * w * factor, (fabs(x) + fabs(residual)) * fabs(w) * factor);
        }
    }
}

ORACLE_OP(gate_up_silu_mul) {
    oracle_result *y = oracle_output(run, a->y);
    const int64_t columns = a->y->shape[1];
    set_precision(run, y, a->w_gate);
    oracle_factors of_gate = oracle_open(run, a->x, a->w_gate), of_up = oracle_open(run, a->x, a->w_up);
    for (int64_t m = 0; !run->has_failed && m < run->live_rows; m++) {
        for (int64_t n = 0; n < columns; n++) {
            const oracle_product gate = oracle_multiply(&of_gate, m, n), up = oracle_multiply(&of_up, m, n);
            const double silu = oracle_silu(gate.value);
            /* silu's slope is below 1.1 everywhere. */
            const double scale = 1.1 * gate.scale * fabs(up.value) + fabs(silu) * up.scale;
            oracle_set(y, m * columns + n, silu * up.value, scale + 1e-30);
        }
    }
    oracle_close(&of_gate);
    oracle_close(&of_up);
}

nlm_tensor oracle_normed(oracle_run *run, const nlm_tensor *x, const nlm_tensor *w, float eps) {
    const int64_t k_count = x->shape[1];
    float *normed = calloc((size_t)(x->shape[0] * k_count) + 1, sizeof *normed);
    nlm_tensor view = *x;
    view.data = normed;
    view.stride_bytes[0] = k_count * (int64_t)sizeof *normed;
    if (!normed) run->has_failed = true;
    for (int64_t m = 0; normed && m < run->live_rows; m++) {
        double squares = 0;
        for (int64_t k = 0; k < k_count; k++) squares += pow(oracle_at(x, m, k, 0, 0), 2);
        const double factor = 1 / sqrt(squares / (double)k_count + (double)eps);
        for (int64_t k = 0; k < k_count; k++)
            normed[m * k_count + k] = (float)(oracle_at(x, m, k, 0, 0) * oracle_at(w, k, 0, 0, 0) * factor);
    }
    return view;
}

ORACLE_OP(norm_matmul) {
    oracle_result *y = oracle_output(run, a->y);
    const int64_t columns = a->y->shape[1];
    set_precision(run, y, a->w);
    const nlm_tensor normed = oracle_normed(run, a->x, a->norm_w, a->eps);
    oracle_factors factors = {.k = 0};
    if (!run->has_failed) factors = oracle_open(run, &normed, a->w);
    for (int64_t m = 0; factors.x && m < run->live_rows; m++) {
        for (int64_t n = 0; n < columns; n++) {
            const oracle_product sum = oracle_multiply(&factors, m, n);
            const double bias = a->bias ? oracle_at(a->bias, n, 0, 0, 0) : 0;
            oracle_set(y, m * columns + n, sum.value + bias, sum.scale + fabs(bias) + 1e-30);
        }
    }
    oracle_close(&factors);
    free(normed.data);
}
