/* The gradients of the short causal convolution, whose lanes are channels. */
#include "cpu/vector/vector.h"

#define MAX_WIDTH 8
#define CHUNK     64 /* tokens that all channels meet before the next come: rows are then read in order */

/* V_LANES channels from `channel`, `n` of them real, and tokens [from, to) of a sequence that begins with `first`.
 * Inputs of a sequence are counted from the oldest in its state: token t is number K-1 + t - first. */
typedef struct conv_strip {
    const nlm_conv1d_causal_bwd_args *args;
    int64_t channel, first, from, to;
    int32_t slot;
    int n;
    float *carry; /* what goes from chunk to chunk, vectors: the last K-1 inputs, the last K-1 gradients by sums
                     before silu, newest first, and over all sequences dw [K] and db */
} conv_strip;

static int64_t carry_floats(int64_t width) {
    return (3 * width - 1) * V_LANES;
}

/* What the strips carry stands in the workspace. */
void nlm_vector_conv1d_causal_bwd_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    const int64_t strips = (nlm_dim(dims, 'C') + V_LANES - 1) / V_LANES;
    out->workspace_bytes = (uint64_t)(strips * carry_floats(nlm_dim(dims, 'K'))) * sizeof(float);
}

static void store_input_gradient(const conv_strip *l, int64_t input, vf gradient, int width) {
    const nlm_tensor *dx = l->args->dx, *dstate = l->args->dstate;
    if (input >= width - 1)
        vf_store_n((float *)nlm_kit_at(dx, l->first + input - (width - 1)) + l->channel, gradient, l->n);
    else if (dstate)
        vf_store_n((float *)nlm_kit_at2(dstate, l->slot, input) + l->channel, gradient, l->n);
}

/* The gradient by the sum before silu, of a token whose inputs are `in`. */
V_INLINE vf sum_gradient(const conv_strip *l, int64_t t, const vf *w, const vf *in, vf bias, int width) {
    const float *dy = (const float *)nlm_kit_at(l->args->dy, t) + l->channel;
    vf sum = bias;
    nlm_vector_expect(dy + V_LINE);
    if (!(l->args->flags & NLM_CONV_SILU)) return vf_load_n(dy, l->n);
    for (int j = 0; j < width; j++) sum = vf_fma(w[j], in[j], sum);
    return vf_mul(vf_load_n(dy, l->n), vf_silu_slope(sum));
}

/* Input i is met by tokens i-K+1 to i, whose gradients are g[K-1] to g[0]. */
V_INLINE vf input_gradient(const vf *w, const vf *g, vf left, int width) {
    vf sum = left;
    for (int j = 0; j < width; j++) sum = vf_fma(w[j], g[j], sum);
    return sum;
}

V_INLINE void convolve_back(const conv_strip *l, const float *w_lanes, int width) {
    const nlm_conv1d_causal_bwd_args *args = l->args;
    const vf bias = args->bias ? vf_load_n((const float *)args->bias->data + l->channel, l->n) : vf_zero();
    float *kept_g = l->carry + (width - 1) * V_LANES, *kept_dw = kept_g + (width - 1) * V_LANES;
    vf w[MAX_WIDTH], in[MAX_WIDTH], g[MAX_WIDTH], dw[MAX_WIDTH], db = vf_load(kept_dw + width * V_LANES);
    for (int j = 0; j < width; j++) {
        w[j] = vf_load(w_lanes + j * V_LANES);
        dw[j] = vf_load(kept_dw + j * V_LANES);
    }
    for (int j = 0; j < width - 1; j++) {
        in[j] = vf_load(l->carry + j * V_LANES);
        g[j + 1] = vf_load(kept_g + j * V_LANES);
    }
    for (int64_t t = l->from; t < l->to; t++) {
        const float *x = (const float *)nlm_kit_at(args->x, t) + l->channel;
        nlm_vector_expect(x + V_LINE);
        in[width - 1] = vf_load_n(x, l->n);
        g[0] = sum_gradient(l, t, w, in, bias, width);
        for (int j = 0; j < width; j++) dw[j] = vf_fma(g[0], in[j], dw[j]);
        db = vf_add(db, g[0]);
        store_input_gradient(l, t - l->first, input_gradient(w, g, vf_zero(), width), width);
        for (int j = 0; j < width - 1; j++) in[j] = in[j + 1];
        for (int j = width - 1; j > 0; j--) g[j] = g[j - 1];
    }
    for (int j = 0; j < width - 1; j++) {
        vf_store(l->carry + j * V_LANES, in[j]);
        vf_store(kept_g + j * V_LANES, g[j + 1]);
    }
    for (int j = 0; j < width; j++) vf_store(kept_dw + j * V_LANES, dw[j]);
    vf_store(kept_dw + width * V_LANES, db);
}

/* The last inputs, which the sequence leaves in its state, too: tokens past its end would have met them. */
static void end_sequence(const conv_strip *l, const float *w_lanes, int width) {
    const nlm_tensor *dstate_out = l->args->dstate_out;
    vf w[MAX_WIDTH], g[MAX_WIDTH];
    for (int j = 0; j < width; j++) w[j] = vf_load(w_lanes + j * V_LANES);
    for (int j = 1; j < width; j++) g[j] = vf_load(l->carry + (width - 2 + j) * V_LANES);
    for (int i = 0; i < width - 1; i++) {
        vf left = vf_zero();
        if (dstate_out) left = vf_load_n((const float *)nlm_kit_at2(dstate_out, l->slot, i) + l->channel, l->n);
        g[0] = vf_zero();
        store_input_gradient(l, l->to - l->first + i, input_gradient(w, g, left, width), width);
        for (int j = width - 1; j > 0; j--) g[j] = g[j - 1];
    }
}

static void begin_sequence(const conv_strip *l, int width) {
    const nlm_tensor *state = l->args->state;
    for (int j = 0; j < width - 1; j++) {
        vf_store(l->carry + j * V_LANES, vf_load_n((const float *)nlm_kit_at2(state, l->slot, j) + l->channel, l->n));
        vf_store(l->carry + (width - 1 + j) * V_LANES, vf_zero());
    }
}

/* One chunk of a strip, with what comes before the first and behind the last. */
static void sweep_strip(const conv_strip *l, int64_t end) {
    float memory[MAX_WIDTH * V_LANES];
    const int width = (int)l->args->w->shape[1];
    const float *w = nlm_vector_lanes(l->args->w, l->channel, l->n, memory);
    if (l->from == l->first) begin_sequence(l, width);
    if (width == 4)
        convolve_back(l, w, 4);
    else
        convolve_back(l, w, width);
    if (l->to == end) end_sequence(l, w, width);
}

static conv_strip strip_at(const nlm_exec_v1 *x, const nlm_conv1d_causal_bwd_args *args, int64_t channel) {
    const int64_t left = args->x->shape[1] - channel;
    float *carry = (float *)x->workspace + channel / V_LANES * carry_floats(args->w->shape[1]);
    return (conv_strip){
        .args = args, .channel = channel, .n = (int)(left < V_LANES ? left : V_LANES), .carry = carry};
}

static void add_to(float *to, float sum, uint32_t flags) {
    *to = flags & NLM_GRADIENT_ADD ? *to + sum : sum;
}

static void store_sums(const conv_strip *l) {
    const int64_t width = l->args->w->shape[1];
    const float *dw = l->carry + 2 * (width - 1) * V_LANES, *db = dw + width * V_LANES;
    for (int lane = 0; lane < l->n; lane++) {
        float *to = nlm_kit_at(l->args->dw, l->channel + lane);
        for (int64_t j = 0; j < width; j++) add_to(to + j, dw[j * V_LANES + lane], l->args->flags);
        if (l->args->db) add_to((float *)l->args->db->data + l->channel + lane, db[lane], l->args->flags);
    }
}

/* Slices channels: what a channel's gradients add up over the batch has one owner. */
nlm_status nlm_vector_conv1d_causal_bwd(const nlm_exec_v1 *x, const nlm_conv1d_causal_bwd_args *args) {
    nlm_cpu_batch batch;
    NLM_KIT_TRY(nlm_cpu_batch_read(x, "conv1d_causal_bwd", args->seq_start, args->slot, nlm_live_rows(x, args->x),
                                   args->state->shape[0], &batch));
    const nlm_kit_range channels = nlm_kit_slice(x, args->x->shape[1], V_LINE);
    const size_t bytes = (size_t)carry_floats(args->w->shape[1]) * sizeof(float);
    for (int64_t c = channels.from; c < channels.to; c += V_LANES) memset(strip_at(x, args, c).carry, 0, bytes);
    for (int64_t s = 0; s < batch.n_seqs; s++) {
        const int64_t first = batch.seq_start[s], end = batch.seq_start[s + 1];
        for (int64_t from = first; from == first || from < end; from += CHUNK) {
            for (int64_t c = channels.from; c < channels.to; c += V_LANES) {
                conv_strip l = strip_at(x, args, c);
                l.slot = batch.slot[s];
                l.first = first;
                l.from = from;
                l.to = from + CHUNK < end ? from + CHUNK : end;
                sweep_strip(&l, end);
            }
        }
    }
    for (int64_t c = channels.from; c < channels.to; c += V_LANES) {
        const conv_strip l = strip_at(x, args, c);
        store_sums(&l);
    }
    return NLM_OK;
}
