/* Reference: the gradients of attention, convolution and scan. */
#include "oracle_impl.h"

#define LEAST 1e-30 /* a scale that is not 0; and what f32 may lose of a factor: smaller ones are flushed */

/* Elements [from, to) of an output become sums, so far of nothing. */
static void begin_sums(oracle_result *sums, int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i++) oracle_set(sums, i, 0, LEAST);
}

static double sigmoid(double v) {
    return 1 / (1 + exp(-v));
}

/* silu'(v) and the magnitude of its parts, which cancel where v is about -1.3. */
static oracle_product silu_slope(double v) {
    const double s = sigmoid(v);
    return (oracle_product){s * (1 + v * (1 - s)), s * (1 + fabs(v) * (1 - s)) + LEAST};
}

/* ---- attention ---- */

static oracle_product head_product(const nlm_tensor *a, int64_t a_row, int64_t a_head, const nlm_tensor *b,
                                   int64_t b_row, int64_t b_head) {
    oracle_product sum = {0, 0};
    for (int64_t c = 0; c < a->shape[2]; c++) {
        const double product = oracle_at(a, a_row, a_head, c, 0) * oracle_at(b, b_row, b_head, c, 0);
        sum.value += product;
        sum.scale += fabs(product);
    }
    return sum;
}

typedef struct attention_gradients {
    oracle_result *dq, *dk, *dv;
} attention_gradients;

/* What row t and head h, seeing row j, add to all three. An error of the exponent is a relative one of p. */
static void attend_back(const nlm_attention_plain_bwd_args *a, int64_t t, int64_t h, int64_t j,
                        const attention_gradients *out) {
    const int64_t heads = a->q->shape[1], groups = a->k->shape[1], size = a->q->shape[2];
    const int64_t g = h / (heads / groups), query = (t * heads + h) * size, key = (j * groups + g) * size;
    const oracle_product qk = head_product(a->q, t, h, a->k, j, g), dyv = head_product(a->dy, t, h, a->v, j, g);
    const oracle_product dyy = head_product(a->dy, t, h, a->y, t, h);
    const double factor = (double)a->scale, lse = oracle_at(a->lse, t, h, 0, 0);
    const double p = exp(factor * qk.value - lse);
    const double p_scale = p * (1 + fabs(factor) * qk.scale + fabs(lse)) + LEAST;
    const double e = p * (dyv.value - dyy.value);
    const double e_scale = p_scale * fabs(dyv.value - dyy.value) + p * (dyv.scale + dyy.scale);
    for (int64_t c = 0; c < size; c++) {
        const double q = oracle_at(a->q, t, h, c, 0), k = oracle_at(a->k, j, g, c, 0);
        const double dy = oracle_at(a->dy, t, h, c, 0);
        oracle_add_term(out->dq, query + c, factor * e * k, fabs(factor * k) * e_scale);
        oracle_add_term(out->dk, key + c, factor * e * q, fabs(factor * q) * e_scale);
        oracle_add_term(out->dv, key + c, p * dy, p_scale * fabs(dy));
    }
}

ORACLE_OP(attention_plain_bwd) {
    const attention_gradients out = {oracle_output(run, a->dq), oracle_output(run, a->dk), oracle_output(run, a->dv)};
    const int64_t heads = a->q->shape[1], groups = a->k->shape[1], size = a->q->shape[2];
    const int64_t n_seqs = a->seq_start->shape[0] - 1, rows = (int64_t)oracle_at(a->seq_start, n_seqs, 0, 0, 0);
    out.dq->terms = size + rows;
    out.dk->terms = out.dv->terms = size + rows * (heads / groups);
    begin_sums(out.dq, 0, rows * heads * size);
    begin_sums(out.dk, 0, rows * groups * size);
    begin_sums(out.dv, 0, rows * groups * size);
    for (int64_t s = 0; s < n_seqs; s++) {
        const int64_t from = (int64_t)oracle_at(a->seq_start, s, 0, 0, 0);
        const int64_t to = (int64_t)oracle_at(a->seq_start, s + 1, 0, 0, 0);
        for (int64_t t = from; t < to; t++) {
            for (int64_t j = from; j <= t; j++) {
                if (a->window > 0 && t - j >= a->window) continue;
                for (int64_t h = 0; h < heads; h++) attend_back(a, t, h, j, &out);
            }
        }
    }
}

/* ---- convolution ---- */

typedef struct conv_gradients {
    oracle_result *dx, *dw, *db, *dstate;
} conv_gradients;

/* Inputs of a sequence are counted from the oldest one its state holds: token t is number K-1 + t. */
static double input_at(const nlm_conv1d_causal_bwd_args *a, oracle_sequence q, int64_t i, int64_t c) {
    const int64_t kept = a->w->shape[1] - 1;
    return i < kept ? oracle_at(a->state, q.slot, i, c, 0) : oracle_at(a->x, q.from + i - kept, c, 0, 0);
}

/* The gradient by the sum of token t, before silu. */
static oracle_product sum_gradient(const nlm_conv1d_causal_bwd_args *a, oracle_sequence q, int64_t t, int64_t c) {
    const double dy = oracle_at(a->dy, q.from + t, c, 0, 0);
    double sum = a->bias ? oracle_at(a->bias, c, 0, 0, 0) : 0, scale = fabs(sum);
    if (!(a->flags & NLM_CONV_SILU)) return (oracle_product){dy, 0};
    for (int64_t j = 0; j < a->w->shape[1]; j++) {
        const double product = oracle_at(a->w, c, j, 0, 0) * input_at(a, q, t + j, c);
        sum += product;
        scale += fabs(product);
    }
    const oracle_product slope = silu_slope(sum);
    return (oracle_product){dy * slope.value, fabs(dy) * (slope.scale + 0.5 * scale)}; /* |silu''| is at most 1/2 */
}

static void convolve_back(const nlm_conv1d_causal_bwd_args *a, oracle_sequence q, int64_t c,
                          const conv_gradients *out) {
    const int64_t channels = a->x->shape[1], width = a->w->shape[1], kept = width - 1, tokens = q.to - q.from;
    for (int64_t i = 0; i < kept + tokens; i++) {
        oracle_result *to = i < kept ? out->dstate : out->dx;
        const int64_t index = (i < kept ? q.slot * kept + i : q.from + i - kept) * channels + c;
        begin_sums(to, index, index + 1);
        const double left = a->dstate_out && i >= tokens ? oracle_at(a->dstate_out, q.slot, i - tokens, c, 0) : 0;
        oracle_add_term(to, index, left, fabs(left));
        for (int64_t j = 0; j < width; j++) {
            if (i - j < 0 || i - j >= tokens) continue;
            const oracle_product g = sum_gradient(a, q, i - j, c);
            const double w = oracle_at(a->w, c, j, 0, 0), x = input_at(a, q, i, c);
            oracle_add_term(to, index, w * g.value, fabs(w) * (fabs(g.value) + g.scale));
            oracle_add_term(out->dw, c * width + j, x * g.value, fabs(x) * (fabs(g.value) + g.scale));
        }
    }
    for (int64_t t = 0; t < tokens; t++) {
        const oracle_product g = sum_gradient(a, q, t, c);
        oracle_add_term(out->db, c, g.value, fabs(g.value) + g.scale);
    }
}

ORACLE_OP(conv1d_causal_bwd) {
    const conv_gradients out = {oracle_output(run, a->dx), oracle_gradient(run, a->dw, a->flags),
                                oracle_gradient(run, a->db, a->flags), oracle_state(run, a->dstate)};
    out.dx->terms = out.dstate->terms = a->w->shape[1];
    out.dw->terms = out.db->terms = a->w->shape[1] + run->live_rows;
    for (int64_t s = 0; s < run->live_seqs; s++) {
        const oracle_sequence q = oracle_sequence_at(a->seq_start, a->slot, s);
        for (int64_t c = 0; c < a->x->shape[1]; c++) convolve_back(a, q, c, &out);
    }
}

/* ---- scan ---- */

typedef struct scan_gradients {
    oracle_result *dx, *ddt, *da, *db, *dc, *dd, *dz, *dstate;
} scan_gradients;

/* One channel's h after each of a sequence's tokens, at 0 what it began with: [tokens + 1, N]; and their scales. */
typedef struct scan_states {
    double *h, *scale;
} scan_states;

/* The factors of one token and channel. */
typedef struct scan_token {
    double x, step, slope; /* softplus(dt) and its slope */
} scan_token;

static scan_token token_at(const nlm_ssm_scan_bwd_args *a, int64_t t, int64_t c) {
    const double dt = oracle_at(a->dt, t, c, 0, 0);
    return (scan_token){oracle_at(a->x, t, c, 0, 0), dt > 20 ? dt : log1p(exp(dt)), sigmoid(dt)};
}

static void scan_ahead(const nlm_ssm_scan_bwd_args *a, oracle_sequence q, int64_t c, scan_states states) {
    const int64_t n_states = a->a->shape[1];
    for (int64_t n = 0; n < n_states; n++) {
        states.h[n] = oracle_at(a->state, q.slot, c / NLM_SSM_TILE, n, c % NLM_SSM_TILE);
        states.scale[n] = 0;
    }
    for (int64_t t = q.from; t < q.to; t++) {
        const scan_token token = token_at(a, t, c);
        for (int64_t n = 0; n < n_states; n++) {
            const double exponent = token.step * oracle_at(a->a, c, n, 0, 0), decay = exp(exponent);
            const double added = token.step * oracle_at(a->b, t, n, 0, 0) * token.x;
            const int64_t before = (t - q.from) * n_states + n, after = before + n_states;
            states.h[after] = decay * states.h[before] + added;
            states.scale[after] =
                decay * (states.scale[before] + fabs(states.h[before]) * (1 + fabs(exponent))) + fabs(added);
        }
    }
}

/* Token t of one channel; dh and dh_scale [N] are those by h after it, and become those by h before it. */
static void scan_token_back(const nlm_ssm_scan_bwd_args *a, oracle_sequence q, int64_t t, int64_t c,
                            scan_states states, double *dh, double *dh_scale, const scan_gradients *out) {
    const int64_t n_states = a->a->shape[1], row = t * a->x->shape[1] + c;
    const scan_token token = token_at(a, t, c);
    const double *before = states.h + (t - q.from) * n_states, *after = before + n_states;
    const double *before_scale = states.scale + (t - q.from) * n_states, *after_scale = before_scale + n_states;
    const double dy = oracle_at(a->dy, t, c, 0, 0), d = a->d ? oracle_at(a->d, c, 0, 0, 0) : 0;
    const double z = a->z ? oracle_at(a->z, t, c, 0, 0) : 0, gated = a->z ? dy * oracle_silu(z) : dy;
    double sum = d * token.x, sum_scale = fabs(sum), step_gradient = 0, step_scale = 0;
    oracle_add_term(out->dx, row, d * gated, fabs(d * gated));
    oracle_add_term(out->dd, c, gated * token.x, fabs(gated * token.x));
    for (int64_t n = 0; n < n_states; n++) {
        const double rate = oracle_at(a->a, c, n, 0, 0), exponent = token.step * rate, decay = exp(exponent);
        const double b = oracle_at(a->b, t, n, 0, 0), out_c = oracle_at(a->c, t, n, 0, 0);
        const double kept = decay * before[n], least_decay = decay + LEAST;
        const double kept_scale = least_decay * (before_scale[n] + fabs(before[n]) * (1 + fabs(exponent)));
        sum += out_c * after[n];
        sum_scale += fabs(out_c) * after_scale[n];
        dh[n] += out_c * gated;
        dh_scale[n] += fabs(out_c * gated);
        const double least_step = token.step + LEAST, greatest = fabs(dh[n]) + dh_scale[n];
        oracle_add_term(out->dc, t * n_states + n, gated * after[n], fabs(gated) * (fabs(after[n]) + after_scale[n]));
        oracle_add_term(out->db, t * n_states + n, dh[n] * token.step * token.x,
                        greatest * least_step * fabs(token.x));
        oracle_add_term(out->dx, row, token.step * b * dh[n], least_step * fabs(b) * greatest);
        oracle_add_term(out->da, c * n_states + n, dh[n] * token.step * kept,
                        least_step * (greatest * fabs(kept) + fabs(dh[n]) * kept_scale));
        step_gradient += dh[n] * (rate * kept + b * token.x);
        step_scale += greatest * (fabs(rate * kept) + fabs(b * token.x)) + fabs(dh[n] * rate) * kept_scale;
        dh_scale[n] = least_decay * (dh_scale[n] + fabs(dh[n]) * (1 + fabs(exponent)));
        dh[n] *= decay;
    }
    oracle_add_term(out->ddt, row, step_gradient * token.slope, step_scale * (token.slope + LEAST));
    const oracle_product slope = silu_slope(z);
    oracle_add_term(out->dz, row, dy * sum * slope.value, fabs(dy) * (fabs(sum) + sum_scale) * slope.scale);
}

static void scan_channel_back(const nlm_ssm_scan_bwd_args *a, oracle_sequence q, int64_t c, scan_states states,
                              const scan_gradients *out) {
    const int64_t n_states = a->a->shape[1], tile = c / NLM_SSM_TILE, lane = c % NLM_SSM_TILE;
    const int64_t tiles = a->state->shape[1];
    double dh[256], dh_scale[256];
    scan_ahead(a, q, c, states);
    for (int64_t n = 0; n < n_states; n++) {
        dh[n] = a->dstate_out ? oracle_at(a->dstate_out, q.slot, tile, n, lane) : 0;
        dh_scale[n] = 0;
    }
    for (int64_t t = q.to - 1; t >= q.from; t--) scan_token_back(a, q, t, c, states, dh, dh_scale, out);
    for (int64_t n = 0; n < n_states; n++) {
        oracle_set(out->dstate, ((q.slot * tiles + tile) * n_states + n) * NLM_SSM_TILE + lane, dh[n],
                   q.from == q.to ? 0 : dh_scale[n] + LEAST);
    }
}

ORACLE_OP(ssm_scan_bwd) {
    const int64_t channels = a->x->shape[1], n_states = a->a->shape[1];
    const scan_gradients out = {
        oracle_output(run, a->dx), oracle_output(run, a->ddt),  oracle_gradient(run, a->da, a->flags),
        oracle_output(run, a->db), oracle_output(run, a->dc),   oracle_gradient(run, a->dd, a->flags),
        oracle_output(run, a->dz), oracle_state(run, a->dstate)};
    out.dx->terms = out.ddt->terms = out.dz->terms = out.dstate->terms = n_states;
    out.db->terms = out.dc->terms = n_states + channels;
    out.da->terms = out.dd->terms = n_states + run->live_rows;
    const int64_t room = (run->live_rows + 1) * n_states;
    const scan_states states = {calloc((size_t)room, sizeof(double)), calloc((size_t)room, sizeof(double))};
    if (!states.h || !states.scale) run->has_failed = true;
    for (int64_t s = 0; !run->has_failed && s < run->live_seqs; s++) {
        const oracle_sequence q = oracle_sequence_at(a->seq_start, a->slot, s);
        begin_sums(out.dx, q.from * channels, q.to * channels);
        begin_sums(out.ddt, q.from * channels, q.to * channels);
        begin_sums(out.dz, q.from * channels, q.to * channels);
        begin_sums(out.db, q.from * n_states, q.to * n_states);
        begin_sums(out.dc, q.from * n_states, q.to * n_states);
        for (int64_t c = 0; c < channels; c++) scan_channel_back(a, q, c, states, &out);
    }
    free(states.h);
    free(states.scale);
}
