/* The short causal convolution of Mamba, whose lanes are channels. */
#include "cpu/vector/vector.h"

#define MAX_WIDTH 8
#define CHUNK     64 /* tokens that all channels meet before the next come: rows are then read in order */

/* V_LANES channels from `channel`, `n` of them real, and some tokens of one sequence. */
typedef struct conv_lanes {
    const nlm_conv1d_causal_args *args;
    int64_t channel, from, to;
    int32_t slot;
    int n;
} conv_lanes;

/* The last `width` inputs of a channel stay in registers: at first those that the state holds, and behind
 * the last token those that it is to hold. */
V_INLINE void convolve(const conv_lanes *l, const float *w_lanes, int width) {
    const nlm_conv1d_causal_args *args = l->args;
    const vf bias = args->bias ? vf_load_n((const float *)args->bias->data + l->channel, l->n) : vf_zero();
    vf w[MAX_WIDTH], in[MAX_WIDTH];
    for (int j = 0; j < width; j++) w[j] = vf_load(w_lanes + j * V_LANES);
    for (int j = 0; j < width - 1; j++)
        in[j] = vf_load_n((const float *)nlm_kit_at2(args->state_out, l->slot, j) + l->channel, l->n);
    for (int64_t t = l->from; t < l->to; t++) {
        const float *x = (const float *)nlm_kit_at(args->x, t) + l->channel;
        float *y = (float *)nlm_kit_at(args->y, t) + l->channel;
        nlm_vector_expect(x + V_LINE);
        in[width - 1] = vf_load_n(x, l->n);
        vf sum = bias;
        for (int j = 0; j < width; j++) sum = vf_fma(w[j], in[j], sum);
        if (args->flags & NLM_CONV_SILU) sum = vf_silu(sum);
        vf_store_n(y, sum, l->n);
        for (int j = 0; j < width - 1; j++) in[j] = in[j + 1];
    }
    for (int j = 0; j < width - 1; j++)
        vf_store_n((float *)nlm_kit_at2(args->state_out, l->slot, j) + l->channel, in[j], l->n);
}

static void convolve_lanes(const conv_lanes *l) {
    float memory[MAX_WIDTH * V_LANES];
    const int width = (int)l->args->w->shape[1];
    const float *w = nlm_vector_lanes(l->args->w, l->channel, l->n, memory);
    if (width == 4)
        convolve(l, w, 4);
    else
        convolve(l, w, width);
}

void nlm_vector_conv_channels(const nlm_conv1d_causal_args *args, const nlm_cpu_batch *batch,
                              nlm_kit_range channels) {
    conv_lanes l = {.args = args};
    nlm_cpu_carry_state(args->state, args->state_out, batch, args->state->shape[1], channels);
    for (int64_t s = 0; s < batch->n_seqs; s++) {
        const int64_t end = batch->seq_start[s + 1];
        l.slot = batch->slot[s];
        for (l.from = batch->seq_start[s]; l.from < end; l.from = l.to) {
            l.to = end - l.from < CHUNK ? end : l.from + CHUNK;
            for (l.channel = channels.from; l.channel < channels.to; l.channel += V_LANES) {
                const int64_t left = channels.to - l.channel;
                l.n = (int)(left < V_LANES ? left : V_LANES);
                convolve_lanes(&l);
            }
        }
    }
}

/* Slices channels: a channel's state has one owner. */
nlm_status nlm_vector_conv1d_causal(const nlm_exec_v1 *x, const nlm_conv1d_causal_args *args) {
    nlm_cpu_batch batch;
    NLM_KIT_TRY(nlm_cpu_batch_read(x, "conv1d_causal", args->seq_start, args->slot, nlm_live_rows(x, args->x),
                                   args->state->shape[0], &batch));
    nlm_vector_conv_channels(args, &batch, nlm_kit_slice(x, args->x->shape[1], V_LANES));
    return NLM_OK;
}
