/* Causal attention over the keys and values of the batch itself. */
#include "attention.h"

nlm_status nlm_cuda_attention_plain_check(const nlm_tensor *q, nlm_caps_v1 *out) {
    const int64_t size = q->shape[2];
    if (size <= NLM_CUDA_TILED_HEAD) return NLM_OK;
    return nlm_kit_refuse(out, "q: heads have at most %d elements, got %lld", NLM_CUDA_TILED_HEAD, (long long)size);
}

nlm_status nlm_cuda_attention_plain(const nlm_exec_v1 *x, const nlm_attention_plain_args *args) {
    const int64_t groups = args->k->shape[1], shared = groups > 0 ? args->q->shape[1] / groups : 0;
    const bool is_aligned = nlm_cuda_heads_are_aligned(args->k) && nlm_cuda_heads_are_aligned(args->v);
    nlm_cuda_work work = {
        .op = NLM_OP_attention_plain,
        .args = args,
        .kernel = {"attention_plain",
                   is_aligned ? "attention_plain" : "attention_plain_unaligned",
                   {{"ACT", nlm_cuda_type_name(args->q), 0},
                    {"HEAD_SIZE", NULL, (int)args->q->shape[2]},
                    {"SHARED", NULL, (int)shared}}},
    };
    if (shared == 0) return NLM_OK;
    nlm_cuda_tile(&work, x, args->q, args->seq_start->shape[0] - 1, groups, shared);
    return nlm_cuda_launch(x, &work);
}
