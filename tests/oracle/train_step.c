/* The loss, the optimizer, and sums of what it works on. */
#include <float.h>

#include "oracle_impl.h"

/* A row of logits, its log-sum-exp, and the scales of their errors. `unit` is the bound of an error whose scale is 1.
 */
typedef struct logits {
    int64_t count;
    double unit;
    double *u, *u_scale;
    double e, e_scale;
    double *du, *du_scale;
} logits;

static void set_logits(const nlm_cross_entropy_args *a, const oracle_factors *factors, int64_t r, logits *row) {
    double greatest = -INFINITY, total = 0, scale = 0, size = 0;
    for (int64_t n = 0; n < row->count; n++) {
        const oracle_product product = oracle_multiply(factors, r, n);
        const double bias = a->bias ? oracle_at(a->bias, n, 0, 0, 0) : 0;
        row->u[n] = product.value + bias;
        row->u_scale[n] = product.scale + fabs(bias);
        greatest = fmax(greatest, row->u[n]);
    }
    for (int64_t n = 0; n < row->count; n++) {
        const double p = exp(row->u[n] - greatest);
        total += p;
        scale += p * row->u_scale[n];
        size += p * fabs(row->u[n]);
    }
    row->e = greatest + log(total);
    row->e_scale = (scale + size) / total + fabs(greatest) + fabs(log(total)) + 1;
}

static void set_loss(const nlm_cross_entropy_args *a, const logits *row, int64_t label, double *loss, double *scale) {
    const double smoothing = (double)a->smoothing, z = (double)a->z_loss;
    double mean = 0, mean_scale = 0;
    for (int64_t n = 0; n < row->count; n++) {
        mean += row->u[n] / (double)row->count;
        mean_scale += (row->u_scale[n] + fabs(row->u[n])) / (double)row->count;
    }
    *loss = row->e - (1 - smoothing) * row->u[label] - smoothing * mean + z * row->e * row->e;
    *scale = row->e_scale * (1 + 2 * z * fabs(row->e)) +
             (1 - smoothing) * (row->u_scale[label] + fabs(row->u[label])) + smoothing * mean_scale +
             z * row->e * row->e;
}

/* How far exp(x), which is at most 1, may be off where x is by `doubt`. */
static double doubt_of_exp(double x, double doubt) {
    return fmax(exp(fmin(x + doubt, 0)) - exp(x), -exp(x) * expm1(-doubt));
}

static void set_gradient(const nlm_cross_entropy_args *a, int64_t label, logits *row) {
    const double smoothing = (double)a->smoothing, z = (double)a->z_loss, slope = 1 + 2 * z * row->e;
    for (int64_t n = 0; n < row->count; n++) {
        const double p = exp(row->u[n] - row->e), hit = n == label ? 1 - smoothing : 0;
        const double doubt = row->u_scale[n] + row->e_scale + fabs(row->u[n]) + fabs(row->e) + 1;
        const double p_scale = doubt_of_exp(row->u[n] - row->e, row->unit * doubt) / row->unit + 0x1p-125 * 0x1p21;
        row->du[n] = p * slope - hit - smoothing / (double)row->count;
        row->du_scale[n] =
            p_scale * (1 + 2 * z * fabs(row->e)) + p * 2 * z * row->e_scale + hit + smoothing / (double)row->count;
    }
}

/* The results of cross_entropy that a row adds to. */
typedef struct outputs {
    oracle_result *loss, *dx, *dw, *db;
} outputs;

static void add_row(const nlm_cross_entropy_args *a, const oracle_factors *f, int64_t r, const logits *row,
                    const outputs *out) {
    for (int64_t n = 0; n < row->count; n++) {
        const double du = row->du[n], scale = row->du_scale[n];
        oracle_add_term(out->db, n, du, scale);
        for (int64_t k = 0; a->dx && k < f->k; k++) {
            const double w = f->w[n * f->k + k];
            oracle_add_term(out->dx, r * f->k + k, du * w, scale * fabs(w));
        }
        for (int64_t k = 0; a->dw && k < f->k; k++) {
            const double x = f->x[r * f->k + k];
            oracle_add_term(out->dw, n * f->k + k, du * x, scale * fabs(x));
        }
    }
}

static void compute_rows(oracle_run *run, const nlm_cross_entropy_args *a, const oracle_factors *f, logits *row,
                         const outputs *out) {
    for (int64_t r = 0; r < run->live_rows; r++) {
        const int64_t label = (int64_t)oracle_at(a->labels, r, 0, 0, 0);
        double loss = 0, scale = 0;
        for (int64_t k = 0; k < f->k; k++) oracle_set(out->dx, r * f->k + k, 0, 0);
        if (label >= 0) {
            set_logits(a, f, r, row);
            set_loss(a, row, label, &loss, &scale);
            set_gradient(a, label, row);
            add_row(a, f, r, row, out);
        }
        oracle_set(out->loss, r, loss, scale);
    }
}

ORACLE_OP(cross_entropy) {
    const outputs out = {oracle_output(run, a->loss), oracle_output(run, a->dx),
                         oracle_gradient(run, a->dw, a->flags), oracle_gradient(run, a->db, a->flags)};
    oracle_result *const results[] = {out.loss, out.dx, out.dw, out.db};
    logits row = {.count = a->w->shape[0]};
    const int64_t terms = a->w->shape[1] + row.count;
    const double rounding = oracle_rounding(run, a->w->dtype);
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        results[i]->rounding = rounding;
        results[i]->terms = terms + (i > 1 ? run->live_rows : 0); /* dw and db are sums over rows */
    }
    row.unit = oracle_bound(1, rounding, terms);
    row.u = calloc((size_t)row.count * 4 + 1, sizeof *row.u);
    row.u_scale = row.u + row.count;
    row.du = row.u_scale + row.count;
    row.du_scale = row.du + row.count;
    oracle_factors factors = oracle_open(run, a->x, a->w);
    if (!row.u) run->has_failed = true;
    if (!run->has_failed) compute_rows(run, a, &factors, &row, &out);
    oracle_close(&factors);
    free(row.u);
}

/* A row that is a tensor of its own is live. */
static int64_t live_count(const oracle_run *run, const nlm_tensor *t) {
    return t->rank == 1 ? t->shape[0] : run->live_rows * t->shape[1];
}

ORACLE_OP(sum_sq) {
    oracle_result *total = oracle_gradient(run, a->total, a->flags);
    total->terms = live_count(run, a->x);
    for (int64_t i = 0; i < live_count(run, a->x); i++) {
        const double square = pow(oracle_element(a->x, i), 2);
        oracle_add_term(total, 0, square, square);
    }
    if (total->count > 0) total->value[0] = oracle_round(NLM_F32, total->value[0]);
}

ORACLE_OP(adamw) {
    oracle_result *m_out = oracle_output(run, a->m), *v_out = oracle_output(run, a->v);
    oracle_result *w_out = oracle_output(run, a->w), *master = oracle_output(run, a->master);
    oracle_result *dw = oracle_output(run, a->dw);
    const double beta1 = (double)a->beta1, beta2 = (double)a->beta2, decay = (double)a->weight_decay;
    double rates[4];
    for (int i = 0; i < 4; i++) rates[i] = oracle_at(a->rates, i, 0, 0, 0);
    w_out->rounding = a->w->dtype == NLM_F16 ? 0x1p-11 : a->w->dtype == NLM_BF16 ? 0x1p-8 : 0;
    for (int64_t i = 0; i < live_count(run, a->w); i++) {
        const double g = rates[1] * oracle_element(a->dw, i), old_m = beta1 * oracle_element(a->m, i);
        const double m = old_m + (1 - beta1) * g, m_scale = fabs(old_m) + fabs((1 - beta1) * g);
        const double v = beta2 * oracle_element(a->v, i) + (1 - beta2) * g * g;
        const double before = oracle_element(a->master ? a->master : a->w, i);
        const double factor = rates[0] / (rates[2] * (sqrt(v / rates[3]) + (double)a->eps));
        const double after = before * (1 - rates[0] * decay) - factor * m;
        const double scale = fabs(before) * (1 + rates[0] * decay) + factor * m_scale;
        oracle_set(m_out, i, m, m_scale);
        oracle_set(v_out, i, v, v);
        oracle_set(dw, i, 0, 0);
        oracle_set(master, i, after, scale);
        oracle_set(w_out, i, after, a->w->dtype == NLM_F16 ? fmax(scale, 0x1p-14) : scale); /* below, evenly spaced */
    }
}

ORACLE_OP(exp) {
    oracle_result *y = oracle_output(run, a->y);
    const double factor = (double)a->factor;
    const int64_t n = a->y->shape[1];
    for (int64_t i = 0; i < run->live_rows * n; i++) {
        /* It may be infinite where exp alone passes f32, and 0 where exp comes near its end. */
        double power = exp(oracle_at(a->x, i / n, i % n, 0, 0));
        if (power > (double)FLT_MAX) power = INFINITY;
        const double product = factor * power;
        const double value = fabs(product) > (double)FLT_MAX ? copysign(INFINITY, product) : product;
        oracle_set(y, i, value, fabs(value) + fabs(factor) * 0x1p-125 * 0x1p21);
    }
}

ORACLE_OP(accumulate) {
    oracle_result *total = oracle_output(run, a->total);
    for (int64_t i = 0; i < live_count(run, a->total); i++)
        oracle_set(total, i, oracle_round(NLM_F32, oracle_element(a->total, i) + oracle_element(a->x, i)), 0);
}
