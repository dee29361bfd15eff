/* conv1d_causal and ssm_scan. */
#include "oracle_impl.h"

/* Input i of a sequence, counted from the oldest one its state holds. */
static double conv_input(const nlm_conv1d_causal_args *a, oracle_sequence q, int64_t i, int64_t c) {
    const int64_t kept = a->w->shape[1] - 1;
    return i < kept ? oracle_at(a->state, q.slot, i, c, 0) : oracle_at(a->x, q.from + i - kept, c, 0, 0);
}

ORACLE_OP(conv1d_causal) {
    oracle_result *y = oracle_output(run, a->y), *state = oracle_state(run, a->state);
    const int64_t channels = a->x->shape[1], width = a->w->shape[1];
    y->terms = width;
    for (int64_t s = 0; s < run->live_seqs; s++) {
        const oracle_sequence q = oracle_sequence_at(a->seq_start, a->slot, s);
        for (int64_t i = 0; i < (q.to - q.from) * channels; i++) {
            const int64_t t = i / channels, c = i % channels;
            double sum = a->bias ? oracle_at(a->bias, c, 0, 0, 0) : 0, scale = fabs(sum);
            for (int64_t j = 0; j < width; j++) {
                const double term = oracle_at(a->w, c, j, 0, 0) * conv_input(a, q, t + j, c);
                sum += term;
                scale += fabs(term);
            }
            oracle_set(y, (q.from + t) * channels + c, a->flags & NLM_CONV_SILU ? oracle_silu(sum) : sum,
                       1.1 * scale);
        }
        for (int64_t i = 0; i < (width - 1) * channels; i++) {
            const double kept = conv_input(a, q, q.to - q.from + i / channels, i % channels);
            oracle_set(state, q.slot * (width - 1) * channels + i, kept, 0);
        }
    }
}

static double softplus(double v) {
    return v > 20 ? v : log1p(exp(v));
}

/* h of one channel, all states, through one sequence. scales[n] is the scale of h[n]'s error: an error of
 * the exponent e*a is a relative one of h. */
static void scan_channel(const nlm_ssm_scan_args *a, oracle_sequence q, int64_t c, double *h, double *scales,
                         oracle_result *y) {
    const int64_t n_states = a->a->shape[1], channels = a->x->shape[1];
    for (int64_t t = q.from; t < q.to; t++) {
        const double x = oracle_at(a->x, t, c, 0, 0), e = softplus(oracle_at(a->dt, t, c, 0, 0));
        double sum = 0, scale = 0;
        for (int64_t n = 0; n < n_states; n++) {
            const double exponent = e * oracle_at(a->a, c, n, 0, 0), decay = exp(exponent);
            const double added = e * oracle_at(a->b, t, n, 0, 0) * x;
            scales[n] = decay * scales[n] + decay * fabs(h[n]) * (1 + fabs(exponent)) + fabs(added);
            h[n] = decay * h[n] + added;
            sum += oracle_at(a->c, t, n, 0, 0) * h[n];
            scale += fabs(oracle_at(a->c, t, n, 0, 0)) * scales[n];
        }
        const double skip = a->d ? oracle_at(a->d, c, 0, 0, 0) * x : 0;
        const double gate = a->z ? oracle_silu(oracle_at(a->z, t, c, 0, 0)) : 1;
        oracle_set(y, t * channels + c, (sum + skip) * gate, (scale + fabs(skip)) * fabs(gate) + 1e-30);
    }
}

ORACLE_OP(ssm_scan) {
    oracle_result *y = oracle_output(run, a->y), *state = oracle_state(run, a->state);
    const int64_t channels = a->x->shape[1], n_states = a->a->shape[1];
    const int64_t tiles = (channels + NLM_SSM_TILE - 1) / NLM_SSM_TILE;
    double h[256], scales[256];
    y->terms = state->terms = n_states;
    for (int64_t s = 0; s < run->live_seqs; s++) {
        const oracle_sequence q = oracle_sequence_at(a->seq_start, a->slot, s);
        if (q.from == q.to) continue;
        for (int64_t c = 0; c < channels; c++) {
            const int64_t tile = c / NLM_SSM_TILE, lane = c % NLM_SSM_TILE;
            for (int64_t n = 0; n < n_states; n++) {
                h[n] = oracle_at(a->state, q.slot, tile, n, lane);
                scales[n] = 0;
            }
            scan_channel(a, q, c, h, scales, y);
            for (int64_t n = 0; n < n_states; n++) {
                oracle_set(state, ((q.slot * tiles + tile) * n_states + n) * NLM_SSM_TILE + lane, h[n],
                           scales[n] + 1e-30);
            }
        }
    }
}
