#include "cpu/vector/vector.h"

#define MAX_WIDTH 8

/* V_LANES channels from `channel`, `n` of them real, of one sequence. */
typedef struct conv_lanes {
    const nlm_conv1d_causal_args *args;
    int64_t channel, first_row;
    int32_t slot;
    int n;
} conv_lanes;

/* Input `index` of the sequence: the first width-1 stand in the state, the batch's follow. */
V_INLINE vf input_at(const conv_lanes *l, int64_t index) {
    const int64_t kept = l->args->w->shape[1] - 1;
    const float *row = index < kept ? nlm_cpu_at2(l->args->state, l->slot, index)
                                    : nlm_cpu_at(l->args->x, l->first_row + index - kept);
    return vf_load_n(row + l->channel, l->n);
}

static void convolve(const conv_lanes *l, int64_t n_tokens, const vf *w, vf bias) {
    const int64_t width = l->args->w->shape[1];
    for (int64_t t = 0; t < n_tokens; t++) {
        vf sum = bias;
        for (int64_t j = 0; j < width; j++) sum = vf_fma(w[j], input_at(l, t + j), sum);
        if (l->args->flags & NLM_CONV_SILU) sum = vf_silu(sum);
        vf_store_n((float *)nlm_cpu_at(l->args->y, l->first_row + t) + l->channel, sum, l->n);
    }
}

/* The state becomes the last width-1 of all inputs. Rows move towards the front, so front to back. */
static void carry_state(const conv_lanes *l, int64_t n_tokens) {
    for (int64_t i = 0; i < l->args->state->shape[1]; i++)
        vf_store_n((float *)nlm_cpu_at2(l->args->state, l->slot, i) + l->channel, input_at(l, i + n_tokens), l->n);
}

/* Slices channels: a channel's state has one owner. */
nlm_status nlm_vector_conv1d_causal(const nlm_exec_v1 *x, const nlm_conv1d_causal_args *args) {
    nlm_cpu_batch batch;
    NLM_CPU_TRY(nlm_cpu_batch_read(x, "conv1d_causal", args->seq_start, args->slot, nlm_live_rows(x, args->x),
                                   args->state->shape[0], &batch));
    const int64_t n_channels = args->x->shape[1], width = args->w->shape[1];
    const nlm_cpu_range channels = nlm_cpu_slice(x, n_channels, V_LANES);
    for (int64_t channel = channels.from; channel < channels.to; channel += V_LANES) {
        const int64_t left = n_channels - channel;
        conv_lanes l = {args, channel, 0, 0, (int)(left < V_LANES ? left : V_LANES)};
        vf w[MAX_WIDTH];
        for (int64_t j = 0; j < width; j++) {
            float lanes[V_LANES] = {0};
            for (int i = 0; i < l.n; i++) lanes[i] = ((const float *)nlm_cpu_at(args->w, channel + i))[j];
            w[j] = vf_load(lanes);
        }
        const vf bias = args->bias ? vf_load_n((const float *)args->bias->data + channel, l.n) : vf_zero();
        for (int64_t s = 0; s < batch.n_seqs; s++) {
            const int64_t n_tokens = batch.seq_start[s + 1] - batch.seq_start[s];
            if (n_tokens == 0) continue;
            l.first_row = batch.seq_start[s];
            l.slot = batch.slot[s];
            convolve(&l, n_tokens, w, bias);
            carry_state(&l, n_tokens);
        }
    }
    return NLM_OK;
}
