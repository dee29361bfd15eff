/* The short causal convolution of Mamba and the state it carries, the reference. */
#include "cpu/batch.h"
#include "scalar.h"
#include "silu.h"

/* Input row `index` of a sequence: the first width-1 stand in the state, the batch's follow. */
static const float *input_row(const nlm_conv1d_causal_args *args, int32_t slot, int64_t first_row, int64_t index) {
    const int64_t kept = args->w->shape[1] - 1;
    return index < kept ? nlm_kit_at2(args->state_out, slot, index) : nlm_kit_at(args->x, first_row + index - kept);
}

static void convolve_token(const nlm_conv1d_causal_args *args, int32_t slot, int64_t first_row, int64_t t,
                           nlm_kit_range channels) {
    const int64_t width = args->w->shape[1];
    const float *bias = args->bias ? args->bias->data : NULL;
    float *y = nlm_kit_at(args->y, first_row + t);
    const float *inputs[8];
    for (int64_t j = 0; j < width; j++) inputs[j] = input_row(args, slot, first_row, t + j);
    for (int64_t c = channels.from; c < channels.to; c++) {
        const float *w = nlm_kit_at(args->w, c);
        float sum = bias ? bias[c] : 0;
        for (int64_t j = 0; j < width; j++) sum += w[j] * inputs[j][c];
        y[c] = args->flags & NLM_CONV_SILU ? nlm_scalar_silu(sum) : sum;
    }
}

/* The state, which nlm_cpu_carry_state has brought, becomes the last width-1 of all inputs. Rows move towards the
 * front, so front to back. */
static void carry_state(const nlm_conv1d_causal_args *args, int32_t slot, int64_t first_row, int64_t n_tokens,
                        nlm_kit_range channels) {
    for (int64_t i = 0; i < args->state_out->shape[1]; i++) {
        const float *from = input_row(args, slot, first_row, i + n_tokens);
        float *to = nlm_kit_at2(args->state_out, slot, i);
        for (int64_t c = channels.from; c < channels.to; c++) to[c] = from[c];
    }
}

/* Slices channels: a channel's state has one owner. */
nlm_status nlm_scalar_conv1d_causal(const nlm_exec_v1 *x, const nlm_conv1d_causal_args *args) {
    nlm_cpu_batch batch;
    NLM_KIT_TRY(nlm_cpu_batch_read(x, "conv1d_causal", args->seq_start, args->slot, nlm_live_rows(x, args->x),
                                   args->state->shape[0], &batch));
    const nlm_kit_range channels = nlm_kit_slice(x, args->x->shape[1], 16);
    nlm_cpu_carry_state(args->state, args->state_out, &batch, args->state->shape[1], channels);
    for (int64_t s = 0; s < batch.n_seqs; s++) {
        const int64_t first_row = batch.seq_start[s], n_tokens = batch.seq_start[s + 1] - first_row;
        for (int64_t t = 0; t < n_tokens; t++) convolve_token(args, batch.slot[s], first_row, t, channels);
        if (n_tokens > 0) carry_state(args, batch.slot[s], first_row, n_tokens, channels);
    }
    return NLM_OK;
}
