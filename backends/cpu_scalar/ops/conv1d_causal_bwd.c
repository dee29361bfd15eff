/* The gradients of the short causal convolution, a channel at a time, the reference. */
#include "cpu/batch.h"
#include "scalar.h"
#include "silu.h"

#define MAX_WIDTH 8

/* A channel of one sequence. Its inputs are counted from the oldest in its state: token t is number K-1 + t. */
typedef struct conv_channel {
    const nlm_conv1d_causal_bwd_args *args;
    const float *w; /* [K] */
    int64_t c, from, n_tokens;
    int32_t slot;
} conv_channel;

static float input_at(const conv_channel *in, int64_t i) {
    const int64_t kept = in->args->w->shape[1] - 1;
    const float *row =
        i < kept ? nlm_kit_at2(in->args->state, in->slot, i) : nlm_kit_at(in->args->x, in->from + i - kept);
    return row[in->c];
}

/* The gradient by what stands before silu, of token t. */
static float sum_gradient(const conv_channel *in, int64_t t) {
    const nlm_conv1d_causal_bwd_args *args = in->args;
    const float dy = ((const float *)nlm_kit_at(args->dy, in->from + t))[in->c];
    float sum = args->bias ? ((const float *)args->bias->data)[in->c] : 0;
    if (!(args->flags & NLM_CONV_SILU)) return dy;
    for (int64_t j = 0; j < args->w->shape[1]; j++) sum += in->w[j] * input_at(in, t + j);
    return dy * nlm_scalar_silu_slope(sum);
}

/* What the sequence leaves in its state as input i has a gradient of its own. */
static float left_gradient(const conv_channel *in, int64_t i) {
    if (!in->args->dstate_out || i < in->n_tokens) return 0;
    return ((const float *)nlm_kit_at2(in->args->dstate_out, in->slot, i - in->n_tokens))[in->c];
}

static void store_input_gradient(const conv_channel *in, int64_t i, float value) {
    const int64_t kept = in->args->w->shape[1] - 1;
    if (i >= kept)
        ((float *)nlm_kit_at(in->args->dx, in->from + i - kept))[in->c] = value;
    else if (in->args->dstate)
        ((float *)nlm_kit_at2(in->args->dstate, in->slot, i))[in->c] = value;
}

/* Input i is met by tokens i-K+1 to i, whose gradients are g[K-1] to g[0]. */
static void convolve_back(const conv_channel *in, float *dw, float *db) {
    const int64_t width = in->args->w->shape[1];
    float g[MAX_WIDTH] = {0};
    for (int64_t i = 0; i < in->n_tokens + width - 1; i++) {
        for (int64_t j = width - 1; j > 0; j--) g[j] = g[j - 1];
        g[0] = i < in->n_tokens ? sum_gradient(in, i) : 0;
        const float x = input_at(in, i);
        float sum = left_gradient(in, i);
        for (int64_t j = 0; j < width; j++) {
            sum += in->w[j] * g[j];
            dw[j] += x * g[j];
        }
        *db += g[0];
        store_input_gradient(in, i, sum);
    }
}

static void store_sum(float *to, float sum, uint32_t flags) {
    *to = flags & NLM_GRADIENT_ADD ? *to + sum : sum;
}

/* Slices channels: what a channel's gradients add up over the batch has one owner. */
nlm_status nlm_scalar_conv1d_causal_bwd(const nlm_exec_v1 *x, const nlm_conv1d_causal_bwd_args *args) {
    nlm_cpu_batch batch;
    NLM_KIT_TRY(nlm_cpu_batch_read(x, "conv1d_causal_bwd", args->seq_start, args->slot, nlm_live_rows(x, args->x),
                                   args->state->shape[0], &batch));
    const nlm_kit_range channels = nlm_kit_slice(x, args->x->shape[1], 16);
    for (int64_t c = channels.from; c < channels.to; c++) {
        float dw[MAX_WIDTH] = {0}, db = 0;
        for (int64_t s = 0; s < batch.n_seqs; s++) {
            const int64_t from = batch.seq_start[s];
            const conv_channel in = {args, nlm_kit_at(args->w, c),        c,
                                     from, batch.seq_start[s + 1] - from, batch.slot[s]};
            convolve_back(&in, dw, &db);
        }
        for (int64_t j = 0; j < args->w->shape[1]; j++)
            store_sum((float *)nlm_kit_at(args->dw, c) + j, dw[j], args->flags);
        if (args->db) store_sum((float *)args->db->data + c, db, args->flags);
    }
    return NLM_OK;
}
