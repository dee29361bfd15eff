/* The gradients of Mamba's selective scan. A worker owns channels, V_LANES of which are a strip.
 *
 * The batch is cut in chunks of CHUNK tokens. A first sweep keeps h before every chunk; the chunks then come in
 * reverse. In each a strip takes its states a group at a time: a sweep ahead computes h again and leaves what the
 * sweep back reads, in which dh stays in registers. What is summed over channels, db and dc, is added up lane by lane
 * over the strips of a band and then over lanes; bands meet in the workspace, behind a barrier. Where chunks begin
 * does not tell in any bit, and bands depend on C alone. */
#include "cpu/vector/vector.h"

#define CHUNK  32 /* tokens; a multiple of V_LANES */
#define BAND   32 /* channels */
#define GROUP  V_SCAN_STATES
#define LOG2_E 1.44269504088896341f

typedef struct scan_run {
    const nlm_ssm_scan_bwd_args *args;
    nlm_cpu_batch batch;
    int64_t n_states, n_channels, n_bands;
    int64_t matrix; /* floats of all channels' states, [strips][N][V_LANES] */
    /* of all workers: */
    float *kept;     /* [chunks] matrices: h before a chunk */
    float *dh;       /* a matrix: the gradient by h before what was swept last */
    float *a, *da;   /* matrices */
    float *dd;       /* [strips][V_LANES] */
    float *bands[2]; /* [bands][2][N][CHUNK]: the sums of db and dc; of every other chunk */
    /* the worker's own: */
    float *sums[2];     /* of a band, db's and dc's: [N][CHUNK][V_LANES], groups of states apart, see sums_at */
    float *decay, *old; /* [CHUNK][GROUP][V_LANES]: exp(e a), and that times h before */
} scan_run;

/* Some tokens of one sequence and chunk, and a strip. */
typedef struct scan_piece {
    const scan_run *run;
    int64_t channel, seq, token, chunk;
    int32_t n_tokens, n; /* n: lanes that are channels */
    vf x[CHUNK], step[CHUNK], gated[CHUNK] /* dy silu(z) */;
    vf y[CHUNK], by_step[CHUNK], by_step_x[CHUNK] /* sums over the states, the last two of gradients */;
} scan_piece;

static int64_t chunks_of(int64_t n_tokens) {
    return (n_tokens + CHUNK - 1) / CHUNK;
}
static int64_t whole_tiles(int64_t channels) {
    return (channels + NLM_SSM_TILE - 1) / NLM_SSM_TILE * NLM_SSM_TILE;
}
static int64_t bands_of(int64_t channels) {
    return (channels + BAND - 1) / BAND;
}

void nlm_vector_ssm_scan_bwd_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    const int64_t states = nlm_dim(dims, 'N'), channels = whole_tiles(nlm_dim(dims, 'C'));
    const int64_t matrices = chunks_of(nlm_dim(dims, 'T')) + 3, sums = 2 * states * CHUNK;
    out->workspace_bytes =
        (uint64_t)(matrices * channels * states + channels + 2 * bands_of(channels) * sums) * sizeof(float);
    out->scratch_bytes = (uint64_t)(V_LANES * (sums + 2 * CHUNK * GROUP)) * sizeof(float);
}

static void divide(scan_run *run, const nlm_exec_v1 *x) {
    const int64_t sums = run->n_states * CHUNK, channels = whole_tiles(run->n_channels);
    run->matrix = channels * run->n_states;
    run->kept = x->workspace;
    run->dh = run->kept + chunks_of(run->args->x->shape[0]) * run->matrix;
    run->a = run->dh + run->matrix;
    run->da = run->a + run->matrix;
    run->dd = run->da + run->matrix;
    run->bands[0] = run->dd + channels;
    run->bands[1] = run->bands[0] + run->n_bands * 2 * sums;
    run->sums[0] = x->scratch;
    run->sums[1] = run->sums[0] + sums * V_LANES;
    run->decay = run->sums[1] + sums * V_LANES;
    run->old = run->decay + CHUNK * GROUP * V_LANES;
}

/* ---- one piece ----------------------------------------------------------------------------- */

V_INLINE float *lanes_at(const nlm_tensor *t, int64_t row, int64_t channel) {
    return (float *)nlm_kit_at(t, row) + channel;
}
V_INLINE vf lanes_of(const scan_piece *p, const nlm_tensor *t, int32_t token) {
    const float *at = lanes_at(t, p->token + token, p->channel);
    nlm_vector_expect(at + V_LINE);
    return vf_load_n(at, p->n);
}

/* State n of the piece's channels, in a tensor as ssm_scan has it; those of the next stand NLM_SSM_TILE behind. */
static float *state_at(const scan_piece *p, const nlm_tensor *t) {
    return (float *)nlm_kit_at2(t, p->run->batch.slot[p->seq], p->channel / NLM_SSM_TILE) + p->channel % NLM_SSM_TILE;
}
static float *strip_at(const scan_piece *p, float *matrix) {
    return matrix + p->channel * p->run->n_states;
}

/* From a state as ssm_scan has it, or from nothing, to a strip, and back. */
static void load_strip(const scan_piece *p, const nlm_tensor *from, float *to) {
    for (int64_t n = 0; n < p->run->n_states; n++)
        vf_store(to + n * V_LANES, from ? vf_load_n(state_at(p, from) + n * NLM_SSM_TILE, p->n) : vf_zero());
}
static void store_strip(const scan_piece *p, const float *from, const nlm_tensor *to) {
    for (int64_t n = 0; to && n < p->run->n_states; n++)
        vf_store_n(state_at(p, to) + n * NLM_SSM_TILE, vf_load(from + n * V_LANES), p->n);
}

/* Where the sums of `count` states from `first` stand: those of a token together, [CHUNK][count][V_LANES]. */
V_INLINE float *sums_at(float *sums, int64_t first, int64_t token, int count) {
    return sums + (first * CHUNK + token % CHUNK * count) * V_LANES;
}

static void begin_piece(scan_piece *p) {
    const nlm_ssm_scan_bwd_args *args = p->run->args;
    for (int32_t t = 0; t < p->n_tokens; t++) {
        p->x[t] = lanes_of(p, args->x, t);
        p->step[t] = vf_softplus(lanes_of(p, args->dt, t));
    }
}

static void begin_gradients(scan_piece *p) {
    const nlm_ssm_scan_bwd_args *args = p->run->args;
    float *dd = p->run->dd + p->channel;
    vf skip = vf_load(dd);
    for (int32_t t = 0; t < p->n_tokens; t++) {
        const vf dy = lanes_of(p, args->dy, t);
        p->gated[t] = args->z ? vf_mul(dy, vf_silu(lanes_of(p, args->z, t))) : dy;
        p->y[t] = p->by_step[t] = p->by_step_x[t] = vf_zero();
        skip = vf_fma(p->gated[t], p->x[t], skip);
    }
    vf_store(dd, skip);
}

/* h of `count` states from `first`, which stand `stride` floats apart at `from` and then at `to`. For the sweep back:
 * decay and old, the sums of c h, which y is made of, and those of dc. */
V_INLINE void sweep_ahead(scan_piece *p, int64_t first, int count, int is_for_back, const float *from, int64_t stride,
                          float *to) {
    const scan_run *run = p->run;
    const float *a_lanes = run->a + p->channel * run->n_states + first * V_LANES;
    vf h[GROUP], a[GROUP];
    _Pragma("GCC unroll 8") for (int s = 0; s < count; s++) {
        h[s] = vf_load_n(from + (first + s) * stride, p->n);
        a[s] = vf_load(a_lanes + s * V_LANES);
    }
    for (int32_t t = 0; t < p->n_tokens; t++) {
        const float *b = (const float *)nlm_kit_at(run->args->b, p->token + t) + first;
        const float *c = (const float *)nlm_kit_at(run->args->c, p->token + t) + first;
        const vf step = vf_mul(p->step[t], vf_set1(LOG2_E)), step_x = vf_mul(p->step[t], p->x[t]);
        float *sums = sums_at(run->sums[1], first, p->token + t, count);
        vf y = p->y[t];
        _Pragma("GCC unroll 8") for (int s = 0; s < count; s++) {
            const int64_t at = (t * count + s) * V_LANES;
            const vf decay = vf_exp2_decay(vf_mul(step, a[s])), old = vf_mul(decay, h[s]);
            h[s] = vf_fma(step_x, vf_set1(b[s]), old);
            if (!is_for_back) continue;
            vf_store(run->decay + at, decay);
            vf_store(run->old + at, old);
            y = vf_fma(vf_set1(c[s]), h[s], y);
            vf_store(sums + s * V_LANES, vf_fma(p->gated[t], h[s], vf_load(sums + s * V_LANES)));
        }
        if (is_for_back) p->y[t] = y;
    }
    _Pragma("GCC unroll 8") for (int s = 0; s < count && to; s++) vf_store(to + (first + s) * V_LANES, h[s]);
}

/* dh of these states back through the piece, with what they add to all sums. */
V_INLINE void sweep_back(scan_piece *p, int64_t first, int count) {
    const scan_run *run = p->run;
    const int64_t at = p->channel * run->n_states + first * V_LANES;
    vf dh[GROUP], da[GROUP];
    _Pragma("GCC unroll 8") for (int s = 0; s < count; s++) {
        dh[s] = vf_load(run->dh + at + s * V_LANES);
        da[s] = vf_load(run->da + at + s * V_LANES);
    }
    for (int32_t t = p->n_tokens - 1; t >= 0; t--) {
        const float *b = (const float *)nlm_kit_at(run->args->b, p->token + t) + first;
        const float *c = (const float *)nlm_kit_at(run->args->c, p->token + t) + first;
        const float *decay = run->decay + t * count * V_LANES, *old = run->old + t * count * V_LANES;
        const vf step = p->step[t], step_x = vf_mul(step, p->x[t]), gated = p->gated[t];
        float *sums = sums_at(run->sums[0], first, p->token + t, count);
        vf by_step = p->by_step[t], by_step_x = p->by_step_x[t];
        _Pragma("GCC unroll 8") for (int s = 0; s < count; s++) {
            const vf gradient = vf_fma(vf_set1(c[s]), gated, dh[s]);
            const vf product = vf_mul(gradient, vf_load(old + s * V_LANES));
            by_step = vf_fma(vf_load(run->a + at + s * V_LANES), product, by_step);
            by_step_x = vf_fma(gradient, vf_set1(b[s]), by_step_x);
            da[s] = vf_fma(step, product, da[s]);
            vf_store(sums + s * V_LANES, vf_fma(gradient, step_x, vf_load(sums + s * V_LANES)));
            dh[s] = vf_mul(gradient, vf_load(decay + s * V_LANES));
        }
        p->by_step[t] = by_step;
        p->by_step_x[t] = by_step_x;
    }
    _Pragma("GCC unroll 8") for (int s = 0; s < count; s++) {
        vf_store(run->dh + at + s * V_LANES, dh[s]);
        vf_store(run->da + at + s * V_LANES, da[s]);
    }
}

/* What follows the sums over the states. */
static void end_gradients(const scan_piece *p) {
    const nlm_ssm_scan_bwd_args *args = p->run->args;
    const vf d = args->d ? vf_load_n((const float *)args->d->data + p->channel, p->n) : vf_zero();
    for (int32_t t = 0; t < p->n_tokens; t++) {
        const int64_t row = p->token + t;
        const vf by_step = vf_fma(p->x[t], p->by_step_x[t], p->by_step[t]);
        const vf slope = vf_logistic(lanes_of(p, args->dt, t));
        vf_store_n(lanes_at(args->dx, row, p->channel), vf_fma(p->step[t], p->by_step_x[t], vf_mul(d, p->gated[t])),
                   p->n);
        vf_store_n(lanes_at(args->ddt, row, p->channel), vf_mul(by_step, slope), p->n);
        if (!args->dz) continue;
        const vf y = vf_fma(d, p->x[t], p->y[t]), z_slope = vf_silu_slope(lanes_of(p, args->z, t));
        vf_store_n(lanes_at(args->dz, row, p->channel), vf_mul(vf_mul(lanes_of(p, args->dy, t), y), z_slope), p->n);
    }
}

/* Where h before the piece stands: in a slot where a sequence begins, else where the sweep ahead has kept it. */
static const float *h_before(const scan_piece *p, int64_t *out_stride) {
    const int is_begin = p->token == p->run->batch.seq_start[p->seq];
    *out_stride = is_begin ? NLM_SSM_TILE : V_LANES;
    return is_begin ? state_at(p, p->run->args->state) : strip_at(p, p->run->kept + p->chunk * p->run->matrix);
}

static void piece_ahead(scan_piece *p) {
    int64_t stride, n = 0;
    const float *h = h_before(p, &stride);
    float *next = strip_at(p, p->run->kept + (p->chunk + 1) * p->run->matrix);
    begin_piece(p);
    for (; n + GROUP <= p->run->n_states; n += GROUP) sweep_ahead(p, n, GROUP, 0, h, stride, next);
    for (; n < p->run->n_states; n++) sweep_ahead(p, n, 1, 0, h, stride, next);
}

static void piece_back(scan_piece *p) {
    const int32_t *start = p->run->batch.seq_start + p->seq;
    int64_t stride, n = 0;
    const float *h = h_before(p, &stride);
    float *dh = strip_at(p, p->run->dh);
    if (p->token + p->n_tokens == start[1]) load_strip(p, p->run->args->dstate_out, dh);
    begin_piece(p);
    begin_gradients(p);
    for (; n + GROUP <= p->run->n_states; n += GROUP) {
        sweep_ahead(p, n, GROUP, 1, h, stride, NULL);
        sweep_back(p, n, GROUP);
    }
    for (; n < p->run->n_states; n++) {
        sweep_ahead(p, n, 1, 1, h, stride, NULL);
        sweep_back(p, n, 1);
    }
    end_gradients(p);
    if (p->token == start[0]) store_strip(p, dh, p->run->args->dstate);
}

/* ---- chunks ---------------------------------------------------------------------------------- */

static scan_piece piece_of(const scan_run *run, int64_t channel, int64_t chunk) {
    const int64_t left = run->n_channels - channel;
    scan_piece p;
    p.run = run;
    p.channel = channel;
    p.chunk = chunk;
    p.n = (int32_t)(left < V_LANES ? left : V_LANES);
    return p;
}

/* Narrows a piece to what the chunk has of its sequence; 0: nothing. */
static int narrow(scan_piece *p) {
    const int64_t first = p->chunk * CHUNK, end = first + CHUNK;
    const int64_t begin = p->run->batch.seq_start[p->seq], stop = p->run->batch.seq_start[p->seq + 1];
    p->token = begin > first ? begin : first;
    p->n_tokens = (int32_t)((stop < end ? stop : end) - p->token);
    return p->n_tokens > 0;
}

/* Keeps h before the next chunk, of the sequence that goes on in it. */
static void chunk_ahead(const scan_run *run, int64_t chunk, nlm_kit_range channels) {
    const int64_t next = (chunk + 1) * CHUNK, seq = nlm_cpu_sequence_of(&run->batch, next - 1, 0);
    if (run->batch.seq_start[seq + 1] <= next) return;
    for (int64_t channel = channels.from; channel < channels.to; channel += V_LANES) {
        scan_piece p = piece_of(run, channel, chunk);
        p.seq = seq;
        if (narrow(&p)) piece_ahead(&p);
    }
}

/* The sums of a band over its lanes, to where all workers find them. */
static void store_band(const scan_run *run, int64_t chunk, int64_t band) {
    float *to = run->bands[chunk % 2] + band * 2 * run->n_states * CHUNK;
    const int64_t whole = run->n_states / GROUP * GROUP;
    _Alignas(64) float turned[V_LANES * V_LANES];
    for (int64_t i = 0; i < 2 * run->n_states; i++) {
        const int64_t n = i % run->n_states;
        const int count = n < whole ? GROUP : 1;
        for (int64_t t = 0; t < CHUNK; t += V_LANES) {
            const float *from =
                sums_at(run->sums[i / run->n_states], n / count * count, t, count) + n % count * V_LANES;
            vf lanes[V_LANES], sum;
            for (int k = 0; k < V_LANES; k++) lanes[k] = vf_load(from + k * count * V_LANES);
            v_transpose(lanes, turned, V_LANES);
            sum = vf_load(turned);
            for (int k = 1; k < V_LANES; k++) sum = vf_add(sum, vf_load(turned + k * V_LANES));
            vf_store(to + i * CHUNK + t, sum);
        }
    }
}

static void chunk_back(const scan_run *run, int64_t chunk, nlm_kit_range channels) {
    const int64_t end = (chunk + 1) * CHUNK,
                  last_token = end < run->batch.n_tokens ? end - 1 : run->batch.n_tokens - 1;
    const int64_t last = nlm_cpu_sequence_of(&run->batch, last_token, 0);
    for (int64_t channel = channels.from; channel < channels.to; channel += V_LANES) {
        scan_piece p = piece_of(run, channel, chunk);
        const int64_t next = channel + V_LANES;
        if (channel % BAND == 0)
            memset(run->sums[0], 0, (size_t)(2 * run->n_states * CHUNK * V_LANES) * sizeof(float));
        for (p.seq = last; p.seq >= 0 && run->batch.seq_start[p.seq + 1] > chunk * CHUNK; p.seq--) {
            if (narrow(&p)) piece_back(&p);
        }
        if (next % BAND == 0 || next >= channels.to) store_band(run, chunk, channel / BAND);
    }
}

/* db and dc of a chunk, once all bands are there: this worker's tokens. */
static void add_bands(const scan_run *run, const nlm_exec_v1 *x, int64_t chunk) {
    const int64_t first = chunk * CHUNK, left = run->batch.n_tokens - first, size = 2 * run->n_states * CHUNK;
    const nlm_kit_range tokens = nlm_kit_slice(x, left < CHUNK ? left : CHUNK, V_LANES);
    for (int64_t i = 0; i < 2 * run->n_states && tokens.from < tokens.to; i++) {
        const nlm_tensor *to = i < run->n_states ? run->args->db : run->args->dc;
        for (int64_t t = tokens.from; t < tokens.to; t += V_LANES) {
            const float *from = run->bands[chunk % 2] + i * CHUNK + t;
            float sums[V_LANES];
            vf sum = vf_load(from);
            for (int64_t band = 1; band < run->n_bands; band++) sum = vf_add(sum, vf_load(from + band * size));
            vf_store(sums, sum);
            for (int k = 0; k < V_LANES && t + k < tokens.to; k++)
                ((float *)nlm_kit_at(to, first + t + k))[i % run->n_states] = sums[k];
        }
    }
}

/* ---- the run ----------------------------------------------------------------------------------- */

/* a turned to strips, sums of nothing, and the gradients that sequences without tokens hand on. */
static void begin_strip(const scan_run *run, int64_t channel) {
    scan_piece p = piece_of(run, channel, 0);
    const size_t bytes = (size_t)(run->n_states * V_LANES) * sizeof(float);
    float *a = strip_at(&p, run->a);
    const float *lanes = nlm_vector_lanes(run->args->a, channel, p.n, a);
    if (lanes != a) memcpy(a, lanes, bytes);
    for (p.seq = 0; p.seq < run->batch.n_seqs; p.seq++) {
        if (run->batch.seq_start[p.seq] < run->batch.seq_start[p.seq + 1]) continue;
        load_strip(&p, run->args->dstate_out, strip_at(&p, run->dh));
        store_strip(&p, strip_at(&p, run->dh), run->args->dstate);
    }
    memset(strip_at(&p, run->da), 0, bytes);
    vf_store(run->dd + channel, vf_zero());
}

/* da and dd from the sums over the batch. */
static void end_strip(const scan_run *run, int64_t channel) {
    const scan_piece p = piece_of(run, channel, 0);
    const int is_added = (run->args->flags & NLM_GRADIENT_ADD) != 0;
    const float *sums = strip_at(&p, run->da);
    for (int lane = 0; lane < p.n; lane++) {
        float *da = nlm_kit_at(run->args->da, channel + lane);
        for (int64_t n = 0; n < run->n_states; n++) da[n] = sums[n * V_LANES + lane] + (is_added ? da[n] : 0);
        if (!run->args->dd) continue;
        float *dd = (float *)run->args->dd->data + channel + lane;
        *dd = run->dd[channel + lane] + (is_added ? *dd : 0);
    }
}

/* Slices bands. A chunk's bands are read while those of the next, in the other half, are written. */
nlm_status nlm_vector_ssm_scan_bwd(const nlm_exec_v1 *x, const nlm_ssm_scan_bwd_args *args) {
    scan_run run = {.args = args, .n_states = args->a->shape[1], .n_channels = args->x->shape[1]};
    NLM_KIT_TRY(nlm_cpu_batch_read(x, "ssm_scan_bwd", args->seq_start, args->slot, nlm_live_rows(x, args->x),
                                   args->state->shape[0], &run.batch));
    run.n_bands = bands_of(run.n_channels);
    divide(&run, x);
    const nlm_kit_range channels = nlm_kit_slice(x, run.n_channels, BAND);
    const int64_t n_chunks = chunks_of(run.batch.n_tokens);
    for (int64_t channel = channels.from; channel < channels.to; channel += V_LANES) begin_strip(&run, channel);
    for (int64_t chunk = 0; chunk < n_chunks - 1; chunk++) chunk_ahead(&run, chunk, channels);
    for (int64_t chunk = n_chunks - 1; chunk >= 0; chunk--) {
        chunk_back(&run, chunk, channels);
        NLM_KIT_TRY(x->barrier(x));
        add_bands(&run, x, chunk);
    }
    for (int64_t channel = channels.from; channel < channels.to; channel += V_LANES) end_strip(&run, channel);
    return NLM_OK;
}
