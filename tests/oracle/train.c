/* The gradients of products, norms, gates and embeddings. */
#include "oracle_impl.h"

/* What is multiplied with a weight may be rounded as matmul's activations are, but not to integers: gradients have no
 * common magnitude. */
static double rounding_of(const oracle_run *run, int32_t weight_dtype) {
    return weight_dtype == NLM_F16 || weight_dtype == NLM_BF16 ? oracle_rounding(run, weight_dtype) : 0;
}

ORACLE_OP(matmul_dx) {
    oracle_result *dx = oracle_output(run, a->dx);
    const int64_t n_count = a->w->shape[0], k_count = a->w->shape[1];
    double *w = malloc(((size_t)(n_count * k_count) + 1) * sizeof *w);
    if (!w) run->has_failed = true;
    for (int64_t i = 0; w && i < n_count * k_count; i++) w[i] = oracle_element(a->w, i);
    dx->rounding = rounding_of(run, a->w->dtype);
    dx->terms = n_count;
    for (int64_t m = 0; w && m < run->live_rows; m++) {
        for (int64_t k = 0; k < k_count; k++) {
            const double residual = a->residual ? oracle_at(a->residual, m, k, 0, 0) : 0;
            oracle_set(dx, m * k_count + k, residual, fabs(residual));
        }
        for (int64_t n = 0; n < n_count; n++) {
            const double dy = oracle_at(a->dy, m, n, 0, 0);
            for (int64_t k = 0; k < k_count; k++)
                oracle_add_term(dx, m * k_count + k, dy * w[n * k_count + k], fabs(dy * w[n * k_count + k]));
        }
    }
    free(w);
}

ORACLE_OP(matmul_dw) {
    oracle_result *dw = oracle_gradient(run, a->dw, a->flags), *db = oracle_gradient(run, a->db, a->flags);
    const int64_t n_count = a->dw->shape[0], k_count = a->dw->shape[1];
    dw->terms = db->terms = run->live_rows;
    for (int64_t m = 0; m < run->live_rows; m++) {
        for (int64_t n = 0; n < n_count; n++) {
            const double dy = oracle_at(a->dy, m, n, 0, 0);
            oracle_add_term(db, n, dy, fabs(dy));
            for (int64_t k = 0; k < k_count; k++) {
                const double x = oracle_at(a->x, m, k, 0, 0);
                oracle_add_term(dw, n * k_count + k, dy * x, fabs(dy * x));
            }
        }
    }
}

/* Column c of head r, the heads of all rows being counted. */
static double head_at(const nlm_tensor *t, int64_t r, int64_t c) {
    if (t->rank == 2) return oracle_at(t, r, c, 0, 0);
    return oracle_at(t, r / t->shape[1], r % t->shape[1], c, 0);
}

ORACLE_OP(rms_norm_bwd) {
    oracle_result *dx = oracle_output(run, a->dx), *dw = oracle_gradient(run, a->dw, a->flags);
    const int64_t n = a->x->shape[a->x->rank - 1], heads = a->x->rank == 3 ? a->x->shape[1] : 1;
    dx->terms = n;
    dw->terms = n + run->live_rows * heads;
    for (int64_t r = 0; r < run->live_rows * heads; r++) {
        double squares = 0, along = 0, size = 0; /* of the gradient: its part along x */
        for (int64_t c = 0; c < n; c++) {
            const double x = head_at(a->x, r, c), w = a->w ? oracle_at(a->w, c, 0, 0, 0) : 1;
            const double dy = head_at(a->dy, r, c);
            squares += x * x;
            along += x * w * dy / (double)n;
            size += fabs(x * w * dy) / (double)n;
        }
        const double i = 1 / sqrt(squares / (double)n + (double)a->eps);
        for (int64_t c = 0; c < n; c++) {
            const double x = head_at(a->x, r, c), w = a->w ? oracle_at(a->w, c, 0, 0, 0) : 1;
            const double dy = head_at(a->dy, r, c), residual = a->residual ? head_at(a->residual, r, c) : 0;
            oracle_set(dx, r * n + c, i * w * dy - x * pow(i, 3) * along + residual,
                       i * fabs(w * dy) + fabs(x) * pow(i, 3) * size + fabs(residual));
            oracle_add_term(dw, c, i * x * dy, i * fabs(x * dy));
        }
    }
}

ORACLE_OP(silu_mul_bwd) {
    oracle_result *dgate = oracle_output(run, a->dgate), *dup = oracle_output(run, a->dup);
    const int64_t n = a->dy->shape[1];
    for (int64_t i = 0; i < run->live_rows * n; i++) {
        const double gate = oracle_at(a->gate, i / n, i % n, 0, 0), up = oracle_at(a->up, i / n, i % n, 0, 0);
        const double dy = oracle_at(a->dy, i / n, i % n, 0, 0);
        const double s = 1 / (1 + exp(-gate)), rest = 1 / (1 + exp(gate)); /* which is 1 - s */
        /* exp may overflow to infinity, which gives 0 for some 1e-36. */
        oracle_set(dgate, i, dy * up * s * (1 + gate * rest),
                   fabs(dy * up) * s * (1 + fabs(gate) * rest) + 1e-28 * (1 + fabs(dy * up)));
        oracle_set(dup, i, dy * oracle_silu(gate), fabs(dy * oracle_silu(gate)) + 1e-28 * (1 + fabs(dy)));
    }
}

/* The order of its sums is that of the rows, which leaves nothing open. */
ORACLE_OP(embed_bwd) {
    oracle_result *dw = oracle_state(run, a->dw);
    const int64_t n = a->dy->shape[1];
    for (int64_t r = 0; r < run->live_rows; r++) {
        const int64_t id = (int64_t)oracle_at(a->ids, r, 0, 0, 0);
        for (int64_t c = 0; c < n && dw->count > 0; c++) {
            double *sum = &dw->value[id * n + c];
            *sum = oracle_round(NLM_F32, *sum + oracle_at(a->dy, r, c, 0, 0));
        }
    }
}

ORACLE_OP(sum_rows) {
    oracle_result *y = oracle_gradient(run, a->y, a->flags);
    const int64_t n = a->y->shape[0];
    y->terms = run->live_rows;
    for (int64_t i = 0; i < run->live_rows * n; i++) {
        const double b = a->b ? oracle_at(a->b, i / n, i % n, 0, 0) : 1;
        const double term = oracle_at(a->a, i / n, i % n, 0, 0) * b;
        oracle_add_term(y, i % n, term, fabs(term));
    }
}
