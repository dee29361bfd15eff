/* The selective scan of Mamba, a channel at a time, the reference. */
#include "cpu/batch.h"
#include "scalar.h"
#include "silu.h"

static float softplus(float v) {
    return v > 20 ? v : log1pf(expf(v));
}

/* One token of one channel; h is its state, one element every NLM_SSM_TILE. Returns sum_n c[n] h[n]. */
static float step(float *h, const float *a, const float *b, const float *c, float dt, float x, int64_t n_states) {
    const float dt_x = dt * x;
    float sum = 0;
    for (int64_t n = 0; n < n_states; n++) {
        float *state = &h[n * NLM_SSM_TILE];
        *state = expf(dt * a[n]) * *state + dt_x * b[n];
        sum += c[n] * *state;
    }
    return sum;
}

static void scan_channel(const nlm_ssm_scan_args *args, int32_t slot, int64_t from, int64_t to, int64_t channel) {
    const float *a = nlm_kit_at(args->a, channel);
    const float d = args->d ? ((const float *)args->d->data)[channel] : 0;
    float *h = (float *)nlm_kit_at2(args->state_out, slot, channel / NLM_SSM_TILE) + channel % NLM_SSM_TILE;
    for (int64_t t = from; t < to; t++) {
        const float x = ((const float *)nlm_kit_at(args->x, t))[channel];
        const float dt = softplus(((const float *)nlm_kit_at(args->dt, t))[channel]);
        float y = step(h, a, nlm_kit_at(args->b, t), nlm_kit_at(args->c, t), dt, x, args->a->shape[1]);
        if (args->d) y += d * x;
        if (args->z) y *= nlm_scalar_silu(((const float *)nlm_kit_at(args->z, t))[channel]);
        ((float *)nlm_kit_at(args->y, t))[channel] = y;
    }
}

/* Slices channels: a channel's state has one owner. */
nlm_status nlm_scalar_ssm_scan(const nlm_exec_v1 *x, const nlm_ssm_scan_args *args) {
    nlm_cpu_batch batch;
    NLM_KIT_TRY(nlm_cpu_batch_read(x, "ssm_scan", args->seq_start, args->slot, nlm_live_rows(x, args->x),
                                   args->state->shape[0], &batch));
    const nlm_kit_range channels = nlm_kit_slice(x, args->x->shape[1], NLM_SSM_TILE);
    nlm_cpu_carry_state(args->state, args->state_out, &batch, 1, nlm_cpu_scan_floats(channels, args->a->shape[1]));
    for (int64_t s = 0; s < batch.n_seqs; s++) {
        for (int64_t c = channels.from; c < channels.to; c++) {
            scan_channel(args, batch.slot[s], batch.seq_start[s], batch.seq_start[s + 1], c);
        }
    }
    return NLM_OK;
}
