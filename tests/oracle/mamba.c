/* conv1d_causal, ssm_scan, and the fused ops made of them. */
#include "oracle_impl.h"

static double doubt_at(const double *scales, int64_t columns, int64_t row, int64_t column) {
    return scales ? scales[row * columns + column] : 0;
}

/* ---- convolution ---- */

/* Input i of a sequence, counted from the oldest one its state holds, and the scale of its error. */
static oracle_product conv_input(const nlm_conv1d_causal_args *a, const oracle_doubt *doubt, oracle_sequence q,
                                 int64_t i, int64_t c) {
    const int64_t kept = a->w->shape[1] - 1, row = q.from + i - kept;
    if (i < kept) return (oracle_product){oracle_at(a->state, q.slot, i, c, 0), 0};
    return (oracle_product){oracle_at(a->x, row, c, 0, 0), doubt_at(doubt->conv_x, doubt->conv_columns, row, c)};
}

void oracle_convolve(oracle_run *run, const nlm_conv1d_causal_args *a, const oracle_doubt *doubt, oracle_result *y,
                     oracle_result *state) {
    const int64_t channels = a->x->shape[1], width = a->w->shape[1];
    for (int64_t s = 0; s < run->live_seqs; s++) {
        const oracle_sequence q = oracle_sequence_at(a->seq_start, a->slot, s);
        for (int64_t i = 0; i < (q.to - q.from) * channels; i++) {
            const int64_t t = i / channels, c = i % channels;
            double sum = a->bias ? oracle_at(a->bias, c, 0, 0, 0) : 0, scale = fabs(sum);
            for (int64_t j = 0; j < width; j++) {
                const double w = oracle_at(a->w, c, j, 0, 0);
                const oracle_product in = conv_input(a, doubt, q, t + j, c);
                sum += w * in.value;
                scale += fabs(w * in.value) + fabs(w) * in.scale;
            }
            oracle_set(y, (q.from + t) * channels + c, a->flags & NLM_CONV_SILU ? oracle_silu(sum) : sum,
                       1.1 * scale);
        }
        for (int64_t i = 0; i < (width - 1) * channels; i++) {
            const oracle_product kept = conv_input(a, doubt, q, q.to - q.from + i / channels, i % channels);
            oracle_set(state, q.slot * (width - 1) * channels + i, kept.value, kept.scale);
        }
    }
}

ORACLE_OP(conv1d_causal) {
    oracle_result *y = oracle_output(run, a->y), *state = oracle_state(run, a->state_out);
    const oracle_doubt none = {.conv_x = NULL};
    y->terms = a->w->shape[1];
    oracle_convolve(run, a, &none, y, state);
}

ORACLE_OP(norm_xz_conv) {
    oracle_result *xz = oracle_output(run, a->xz), *y = oracle_output(run, a->y);
    oracle_result *state = oracle_state(run, a->state_out);
    const int64_t columns = a->w->shape[0], channels = columns / 2;
    xz->rounding = y->rounding = state->rounding = oracle_rounding(run, a->w->dtype);
    xz->terms = y->terms = state->terms = a->w->shape[1];
    const nlm_tensor normed = oracle_normed(run, a->x, a->norm_w, a->eps);
    nlm_tensor conv_x = *a->y;
    conv_x.stride_bytes[0] = channels * (int64_t)sizeof(float);
    float *values = conv_x.data = calloc((size_t)(conv_x.shape[0] * channels) + 1, sizeof *values);
    double *scales = calloc((size_t)(conv_x.shape[0] * channels) + 1, sizeof *scales);
    if (!values || !scales) run->has_failed = true;
    oracle_factors factors = {.k = 0};
    if (!run->has_failed) factors = oracle_open(run, &normed, a->w);
    for (int64_t i = 0; !run->has_failed && i < run->live_rows * columns; i++) {
        const int64_t m = i / columns, n = i % columns;
        const oracle_product sum = oracle_multiply(&factors, m, n);
        oracle_set(xz, i, sum.value, sum.scale + 1e-30);
        if (n >= channels) continue;
        values[m * channels + n] = (float)sum.value;
        scales[m * channels + n] = sum.scale + 1e-30;
    }
    const nlm_conv1d_causal_args conv = {sizeof conv, a->flags,     &conv_x, a->conv_w, a->conv_bias,
                                         a->state,    a->seq_start, a->slot, a->y,      a->state_out};
    const oracle_doubt doubt = {.conv_x = scales, .conv_columns = channels};
    if (!run->has_failed) oracle_convolve(run, &conv, &doubt, y, state);
    oracle_close(&factors);
    free(normed.data);
    free(values);
    free(scales);
}

/* ---- scan ---- */

static double softplus(double v) {
    return v > 20 ? v : log1p(exp(v));
}

/* h of one channel, all states, through one sequence. scales[n] is the scale of h[n]'s error: an error of
 * the exponent e*a is a relative one of h. */
static void scan_channel(const nlm_ssm_scan_args *a, const oracle_doubt *doubt, oracle_sequence q, int64_t c,
                         double *h, double *scales, oracle_result *y) {
    const int64_t n_states = a->a->shape[1], channels = a->x->shape[1];
    for (int64_t t = q.from; t < q.to; t++) {
        const double x = oracle_at(a->x, t, c, 0, 0), e = softplus(oracle_at(a->dt, t, c, 0, 0));
        const double e_scale = doubt_at(doubt->dt, doubt->dt_columns, t, c); /* the slope is below 1 */
        double sum = 0, scale = 0;
        for (int64_t n = 0; n < n_states; n++) {
            const double decay_rate = oracle_at(a->a, c, n, 0, 0), exponent = e * decay_rate, decay = exp(exponent);
            const double b = oracle_at(a->b, t, n, 0, 0), added = e * b * x, out = oracle_at(a->c, t, n, 0, 0);
            scales[n] = decay * scales[n] + decay * fabs(h[n]) * (1 + fabs(exponent) + fabs(decay_rate) * e_scale) +
                        fabs(added) + e_scale * fabs(b * x) +
                        e * fabs(x) * doubt_at(doubt->b, doubt->bc_columns, t, n);
            h[n] = decay * h[n] + added;
            sum += out * h[n];
            scale += fabs(out) * scales[n] + fabs(h[n]) * doubt_at(doubt->c, doubt->bc_columns, t, n);
        }
        const double skip = a->d ? oracle_at(a->d, c, 0, 0, 0) * x : 0;
        const double gate = a->z ? oracle_silu(oracle_at(a->z, t, c, 0, 0)) : 1;
        oracle_set(y, t * channels + c, (sum + skip) * gate, (scale + fabs(skip)) * fabs(gate) + 1e-30);
    }
}

void oracle_scan(oracle_run *run, const nlm_ssm_scan_args *a, const oracle_doubt *doubt, oracle_result *y,
                 oracle_result *state) {
    const int64_t channels = a->x->shape[1], n_states = a->a->shape[1];
    const int64_t tiles = (channels + NLM_SSM_TILE - 1) / NLM_SSM_TILE;
    double h[256], scales[256];
    for (int64_t s = 0; s < run->live_seqs; s++) {
        const oracle_sequence q = oracle_sequence_at(a->seq_start, a->slot, s);
        for (int64_t c = 0; c < channels; c++) {
            const int64_t tile = c / NLM_SSM_TILE, lane = c % NLM_SSM_TILE;
            for (int64_t n = 0; n < n_states; n++) {
                h[n] = oracle_at(a->state, q.slot, tile, n, lane);
                scales[n] = 0;
            }
            scan_channel(a, doubt, q, c, h, scales, y);
            for (int64_t n = 0; n < n_states; n++) {
                oracle_set(state, ((q.slot * tiles + tile) * n_states + n) * NLM_SSM_TILE + lane, h[n],
                           q.from == q.to ? 0 : scales[n] + 1e-30);
            }
        }
    }
}

ORACLE_OP(ssm_scan) {
    oracle_result *y = oracle_output(run, a->y), *state = oracle_state(run, a->state_out);
    const oracle_doubt none = {.conv_x = NULL};
    y->terms = state->terms = a->a->shape[1];
    oracle_scan(run, a, &none, y, state);
}

/* A matrix between two steps: f32 values, and the scales of their errors. */
typedef struct between {
    nlm_tensor t;
    double *scales;
} between;

static between make_between(oracle_run *run, const nlm_tensor *rows, int64_t columns) {
    between b = {.t = *rows};
    b.t.shape[1] = columns;
    b.t.stride_bytes[0] = columns * (int64_t)sizeof(float);
    b.t.data = calloc((size_t)(b.t.shape[0] * columns) + 1, sizeof(float));
    b.scales = calloc((size_t)(b.t.shape[0] * columns) + 1, sizeof(double));
    if (!b.t.data || !b.scales) run->has_failed = true;
    return b;
}

static nlm_tensor columns_of(const between *b, int64_t from, int64_t count) {
    nlm_tensor view = b->t;
    view.data = (float *)b->t.data + from;
    view.shape[1] = count;
    return view;
}

/* y = x w^T + bias; the errors of x, if there are any, become part of those of y. */
static void multiply_all(oracle_run *run, const nlm_tensor *x, const double *x_scales, int64_t x_columns,
                         const nlm_tensor *w, const nlm_tensor *bias, between *y) {
    const int64_t columns = y->t.shape[1];
    oracle_factors factors = oracle_open(run, x, w);
    for (int64_t i = 0; factors.x && i < run->live_rows * columns; i++) {
        const int64_t m = i / columns, n = i % columns;
        oracle_product sum = oracle_multiply(&factors, m, n);
        const double added = bias ? oracle_at(bias, n, 0, 0, 0) : 0;
        for (int64_t k = 0; x_scales && k < factors.k; k++)
            sum.scale += x_scales[m * x_columns + k] * fabs(factors.w[n * factors.k + k]);
        ((float *)y->t.data)[i] = (float)(sum.value + added);
        y->scales[i] = sum.scale + fabs(added) + 1e-30;
    }
    oracle_close(&factors);
}

ORACLE_OP(dt_bc_scan) {
    oracle_result *y = oracle_output(run, a->y), *state = oracle_state(run, a->state_out);
    const int64_t rank = a->w_dt->shape[1], states = a->a->shape[1], rows = a->w_x->shape[0];
    y->terms = state->terms = a->w_x->shape[1] + rank + states;
    y->rounding = state->rounding = fmax(oracle_rounding(run, a->w_x->dtype), oracle_rounding(run, a->w_dt->dtype));
    between low_b_c = make_between(run, a->x, rows), dt = make_between(run, a->x, a->x->shape[1]);
    if (!run->has_failed) {
        const nlm_tensor low = columns_of(&low_b_c, 0, rank), b = columns_of(&low_b_c, rank, states);
        const nlm_tensor c = columns_of(&low_b_c, rank + states, states);
        multiply_all(run, a->x, NULL, 0, a->w_x, NULL, &low_b_c);
        multiply_all(run, &low, low_b_c.scales, rows, a->w_dt, a->b_dt, &dt);
        const nlm_ssm_scan_args scan = {sizeof scan, 0,    a->x,     &dt.t,        a->a,    &b,   &c,
                                        a->d,        a->z, a->state, a->seq_start, a->slot, a->y, a->state_out};
        const oracle_doubt doubt = {.dt = dt.scales,
                                    .dt_columns = dt.t.shape[1],
                                    .b = low_b_c.scales + rank,
                                    .c = low_b_c.scales + rank + states,
                                    .bc_columns = rows};
        oracle_scan(run, &scan, &doubt, y, state);
    }
    free(low_b_c.t.data);
    free(low_b_c.scales);
    free(dt.t.data);
    free(dt.scales);
}
