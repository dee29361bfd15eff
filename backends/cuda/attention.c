/* What the slots of attention share. */
#include "attention.h"

void nlm_cuda_tile(nlm_cuda_work *work, const nlm_exec_v1 *x, const nlm_tensor *q, int64_t n_seqs, int64_t groups,
                   int64_t shared) {
    /* These are those of device/attention_tiles.cuh. */
    const int64_t padded = nlm_cuda_div_up(q->shape[2], 32) * 32, stride = padded + 4;
    const int64_t rows = 16 * (padded <= 128 ? 4 : padded <= 256 ? 2 : 1);
    const int64_t tile = padded <= 128 ? 32 : padded <= 256 ? 16 : 8;
    const int64_t heads = shared < rows ? shared : rows, tokens = rows / heads;
    const int64_t words = (rows + tile) * stride + tile * (rows + 4) + tokens + 2;
    work->grid[0] = nlm_live_rows(x, q) / tokens + n_seqs;
    work->grid[1] = groups * nlm_cuda_div_up(shared, heads);
    work->threads = 128;
    work->shared_bytes = (int)(words * (int64_t)sizeof(float));
}

bool nlm_cuda_heads_are_aligned(const nlm_tensor *t) {
    const int last = t->rank - 1;
    uint64_t bits = (uintptr_t)t->data | (uint64_t)(t->shape[last] * t->stride_bytes[last]);
    for (int i = 0; i < last; i++) bits |= (uint64_t)t->stride_bytes[i];
    return bits % 16 == 0;
}
