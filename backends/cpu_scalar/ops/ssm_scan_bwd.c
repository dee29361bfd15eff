/* The gradients of Mamba's selective scan, a channel at a time, the reference.
 *
 * A first sweep keeps h before every CHUNK tokens of the batch. The chunks then come in reverse: h is computed again
 * in each, and dh runs back through it. What is summed over channels, db and dc, goes through the workspace: a sum a
 * tile of channels, then the sum of these. Where chunks begin does not tell in any bit. */
#include <math.h>

#include "cpu/batch.h"
#include "scalar.h"
#include "silu.h"

#define CHUNK 32 /* tokens */

typedef struct scan_run {
    const nlm_ssm_scan_bwd_args *args;
    nlm_cpu_batch batch;
    int64_t n_states, n_channels, n_tiles;
    float *kept;    /* [chunks, C, N]: h before a chunk */
    float *dh;      /* [C, N]: the gradient by h before the chunk that came last */
    float *sums[2]; /* [tiles, CHUNK, 2, N]: of db and dc; of every other chunk */
    float *h;       /* [CHUNK + 1, N]: of one channel, the worker's own */
} scan_run;

static int64_t chunks_of(int64_t n_tokens) {
    return (n_tokens + CHUNK - 1) / CHUNK;
}

void nlm_scalar_ssm_scan_bwd_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    const int64_t states = nlm_dim(dims, 'N'), channels = nlm_dim(dims, 'C');
    const int64_t tiles = (channels + NLM_SSM_TILE - 1) / NLM_SSM_TILE;
    const int64_t floats = (chunks_of(nlm_dim(dims, 'T')) + 1) * channels * states + 4 * tiles * CHUNK * states;
    out->workspace_bytes = (uint64_t)floats * sizeof(float);
    out->scratch_bytes = (uint64_t)((CHUNK + 1) * states) * sizeof(float);
}

static void divide(scan_run *run, const nlm_exec_v1 *x) {
    const int64_t matrix = run->n_channels * run->n_states, half = run->n_tiles * CHUNK * 2 * run->n_states;
    run->kept = x->workspace;
    run->dh = run->kept + chunks_of(run->args->x->shape[0]) * matrix;
    run->sums[0] = run->dh + matrix;
    run->sums[1] = run->sums[0] + half;
    run->h = x->scratch;
}

static float *channel_at(const nlm_tensor *t, int64_t row, int64_t c) {
    return (float *)nlm_kit_at(t, row) + c;
}

/* h[n] of channel c in a slot stands at state_at()[n * NLM_SSM_TILE]. */
static float *state_at(const nlm_tensor *state, int32_t slot, int64_t c) {
    return (float *)nlm_kit_at2(state, slot, c / NLM_SSM_TILE) + c % NLM_SSM_TILE;
}

static float softplus(float v) {
    return v > 20 ? v : log1pf(expf(v));
}

static void step(const scan_run *run, int64_t t, int64_t c, const float *before, float *after) {
    const float *a = nlm_kit_at(run->args->a, c), *b = nlm_kit_at(run->args->b, t);
    const float dt = softplus(*channel_at(run->args->dt, t, c)), dt_x = dt * *channel_at(run->args->x, t, c);
    for (int64_t n = 0; n < run->n_states; n++) after[n] = expf(dt * a[n]) * before[n] + dt_x * b[n];
}

static void load_state(const scan_run *run, int32_t slot, int64_t c, float *h) {
    const float *state = state_at(run->args->state, slot, c);
    for (int64_t n = 0; n < run->n_states; n++) h[n] = state[n * NLM_SSM_TILE];
}

/* Leaves h before every chunk but those that begin with a sequence. */
static void scan_ahead(const scan_run *run, int64_t c) {
    const size_t bytes = (size_t)run->n_states * sizeof(float);
    const nlm_cpu_batch *batch = &run->batch;
    for (int64_t s = 0; s < batch->n_seqs; s++) {
        load_state(run, batch->slot[s], c, run->h);
        for (int64_t t = batch->seq_start[s]; t < batch->seq_start[s + 1]; t++) {
            if (t % CHUNK == 0) memcpy(run->kept + (t / CHUNK * run->n_channels + c) * run->n_states, run->h, bytes);
            step(run, t, c, run->h, run->h);
        }
    }
}

/* A token: dh comes as the gradient by h after it, and leaves as that by h before it. */
static void token_back(const scan_run *run, int64_t t, int64_t c, const float *before, const float *after, float *dh,
                       float *sums) {
    const nlm_ssm_scan_bwd_args *args = run->args;
    const float *a = nlm_kit_at(args->a, c), *b = nlm_kit_at(args->b, t), *out = nlm_kit_at(args->c, t);
    const float x = *channel_at(args->x, t, c), dy = *channel_at(args->dy, t, c), v = *channel_at(args->dt, t, c);
    const float z = args->z ? *channel_at(args->z, t, c) : 0, d = args->d ? ((const float *)args->d->data)[c] : 0;
    const float dt = softplus(v), gated = args->z ? dy * nlm_scalar_silu(z) : dy;
    float *da = nlm_kit_at(args->da, c), *db = sums, *dc = sums + run->n_states;
    float y = 0, by_dt = 0, by_dt_x = 0;
    for (int64_t n = 0; n < run->n_states; n++) {
        const float decay = expf(dt * a[n]), kept = decay * before[n];
        const float gradient = dh[n] + out[n] * gated;
        y += out[n] * after[n];
        by_dt_x += gradient * b[n];
        by_dt += gradient * (a[n] * kept);
        da[n] += gradient * (dt * kept);
        db[n] += gradient * (dt * x);
        dc[n] += gated * after[n];
        dh[n] = gradient * decay;
    }
    *channel_at(args->dx, t, c) = dt * by_dt_x + d * gated;
    *channel_at(args->ddt, t, c) = (by_dt + x * by_dt_x) / (1 + expf(-v));
    if (args->dd) ((float *)args->dd->data)[c] += gated * x;
    if (args->dz) *channel_at(args->dz, t, c) = dy * (y + d * x) * nlm_scalar_silu_slope(z);
}

/* A slot's gradient, or zero. */
static void load_gradient(const scan_run *run, int32_t slot, int64_t c, float *dh) {
    for (int64_t n = 0; n < run->n_states; n++)
        dh[n] = run->args->dstate_out ? state_at(run->args->dstate_out, slot, c)[n * NLM_SSM_TILE] : 0;
}
static void store_gradient(const scan_run *run, int32_t slot, int64_t c, const float *dh) {
    for (int64_t n = 0; n < run->n_states && run->args->dstate; n++)
        state_at(run->args->dstate, slot, c)[n * NLM_SSM_TILE] = dh[n];
}

/* Tokens [from, to) of sequence s, which are of one chunk. sums: of the channel's tile and the chunk. */
static void piece_back(const scan_run *run, int64_t s, int64_t from, int64_t to, int64_t c, float *sums) {
    const int64_t n_states = run->n_states, begin = run->batch.seq_start[s];
    const int32_t slot = run->batch.slot[s];
    float *h = run->h, *dh = run->dh + c * n_states;
    if (from == begin)
        load_state(run, slot, c, h);
    else
        memcpy(h, run->kept + (from / CHUNK * run->n_channels + c) * n_states, (size_t)n_states * sizeof *h);
    if (to == run->batch.seq_start[s + 1]) load_gradient(run, slot, c, dh);
    for (int64_t t = from; t < to; t++) step(run, t, c, h + (t - from) * n_states, h + (t - from + 1) * n_states);
    for (int64_t t = to - 1; t >= from; t--) {
        const float *before = h + (t - from) * n_states;
        token_back(run, t, c, before, before + n_states, dh, sums + t % CHUNK * 2 * n_states);
    }
    if (from == begin) store_gradient(run, slot, c, dh);
}

static void chunk_back(const scan_run *run, int64_t chunk, nlm_kit_range channels) {
    const int64_t first = chunk * CHUNK, tile_floats = CHUNK * 2 * run->n_states;
    const int64_t end = first + CHUNK < run->batch.n_tokens ? first + CHUNK : run->batch.n_tokens;
    const int64_t last = nlm_cpu_sequence_of(&run->batch, end - 1, 0);
    for (int64_t c = channels.from; c < channels.to; c++) {
        float *sums = run->sums[chunk % 2] + c / NLM_SSM_TILE * tile_floats;
        if (c % NLM_SSM_TILE == 0) memset(sums, 0, (size_t)tile_floats * sizeof *sums);
        for (int64_t s = last; s >= 0 && run->batch.seq_start[s + 1] > first; s--) {
            const int64_t begin = run->batch.seq_start[s], stop = run->batch.seq_start[s + 1];
            const int64_t from = begin > first ? begin : first, to = stop < end ? stop : end;
            if (from < to) piece_back(run, s, from, to, c, sums);
        }
    }
}

/* db and dc of a chunk, once all tiles are there: this worker's share of them. */
static void add_tiles(const scan_run *run, const nlm_exec_v1 *x, int64_t chunk) {
    const int64_t first = chunk * CHUNK, n_states = run->n_states, left = run->batch.n_tokens - first;
    const nlm_kit_range share = nlm_kit_slice(x, (left < CHUNK ? left : CHUNK) * 2 * n_states, 16);
    for (int64_t i = share.from; i < share.to; i++) {
        const int64_t t = first + i / (2 * n_states), n = i % (2 * n_states);
        float sum = 0;
        for (int64_t tile = 0; tile < run->n_tiles; tile++)
            sum += run->sums[chunk % 2][tile * CHUNK * 2 * n_states + i];
        *(n < n_states ? channel_at(run->args->db, t, n) : channel_at(run->args->dc, t, n - n_states)) = sum;
    }
}

/* What is summed over the batch begins as nothing; and a sequence without tokens hands its gradient on. */
static void begin_channel(const scan_run *run, int64_t c) {
    const nlm_ssm_scan_bwd_args *args = run->args;
    const int is_replaced = !(args->flags & NLM_GRADIENT_ADD);
    if (is_replaced) memset(nlm_kit_at(args->da, c), 0, (size_t)run->n_states * sizeof(float));
    if (is_replaced && args->dd) ((float *)args->dd->data)[c] = 0;
    for (int64_t s = 0; s < run->batch.n_seqs; s++) {
        if (run->batch.seq_start[s] < run->batch.seq_start[s + 1]) continue;
        load_gradient(run, run->batch.slot[s], c, run->h);
        store_gradient(run, run->batch.slot[s], c, run->h);
    }
}

/* Slices channels: a channel's states have one owner. A chunk's sums are read while the next chunk's, in the other
 * half, are written. */
nlm_status nlm_scalar_ssm_scan_bwd(const nlm_exec_v1 *x, const nlm_ssm_scan_bwd_args *args) {
    scan_run run = {.args = args, .n_states = args->a->shape[1], .n_channels = args->x->shape[1]};
    NLM_KIT_TRY(nlm_cpu_batch_read(x, "ssm_scan_bwd", args->seq_start, args->slot, nlm_live_rows(x, args->x),
                                   args->state->shape[0], &run.batch));
    run.n_tiles = (run.n_channels + NLM_SSM_TILE - 1) / NLM_SSM_TILE;
    divide(&run, x);
    const nlm_kit_range channels = nlm_kit_slice(x, run.n_channels, NLM_SSM_TILE);
    for (int64_t c = channels.from; c < channels.to; c++) {
        begin_channel(&run, c);
        scan_ahead(&run, c);
    }
    for (int64_t chunk = chunks_of(run.batch.n_tokens) - 1; chunk >= 0; chunk--) {
        chunk_back(&run, chunk, channels);
        NLM_KIT_TRY(x->barrier(x));
        add_tiles(&run, x, chunk);
    }
    return NLM_OK;
}
