/* The sum of squares, in blocks whatever the number of workers. */
#include "cpu/vector/vector.h"

#define BLOCK_ELEMENTS 4096 /* that one worker adds up in one go */
#define SUMMED         512  /* in f32 */
#define AHEAD          1024 /* a page: where the CPU's own prefetching stops */

static int64_t blocks_of(int64_t elements) {
    return (elements + BLOCK_ELEMENTS - 1) / BLOCK_ELEMENTS;
}

/* The sum of each block. */
void nlm_vector_sum_sq_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self, (void)nth;
    const int64_t rows = nlm_dim(dims, 'R') < 0 ? 1 : nlm_dim(dims, 'R');
    out->workspace_bytes = sizeof(double) * (uint64_t)blocks_of(rows * nlm_dim(dims, 'N'));
}

static double sum_row(const float *x, int64_t n) {
    double total = 0;
    for (int64_t from = 0; from < n; from += SUMMED) {
        const int64_t to = n - from < SUMMED ? n : from + SUMMED;
        vf sum = vf_zero();
        int64_t c = from;
        for (; c + V_LANES <= to; c += V_LANES) {
            const vf value = vf_load(x + c);
            nlm_vector_expect(x + c + AHEAD);
            sum = vf_fma(value, value, sum);
        }
        if (c < to) {
            const vf value = vf_load_n(x + c, (int)(to - c));
            sum = vf_fma(value, value, sum);
        }
        total += (double)vf_sum(sum);
    }
    return total;
}

static double sum_block(const nlm_tensor *x, int64_t from, int64_t to) {
    nlm_kit_cells cells = {.at = from, .end = to, .columns = x->shape[x->rank - 1]};
    double sum = 0;
    while (nlm_kit_cells_next(&cells))
        sum +=
            sum_row((const float *)nlm_kit_at(x, x->rank == 1 ? 0 : cells.row) + cells.from, cells.to - cells.from);
    return sum;
}

/* total[0] = sum x^2; slices blocks, which the first worker adds up. */
nlm_status nlm_vector_sum_sq(const nlm_exec_v1 *x, const nlm_sum_sq_args *args) {
    const nlm_tensor *t = args->x;
    const int64_t elements = t->rank == 1 ? t->shape[0] : nlm_live_rows(x, t) * t->shape[1];
    const nlm_kit_range blocks = nlm_kit_slice(x, blocks_of(elements), 1);
    double *sums = x->workspace;
    for (int64_t b = blocks.from; b < blocks.to; b++) {
        const int64_t from = b * BLOCK_ELEMENTS, left = elements - from;
        sums[b] = sum_block(t, from, from + (left < BLOCK_ELEMENTS ? left : BLOCK_ELEMENTS));
    }
    NLM_KIT_TRY(x->barrier(x));
    if (x->ith > 0) return NLM_OK;
    float *total = args->total->data;
    double sum = args->flags & NLM_GRADIENT_ADD ? (double)*total : 0;
    for (int64_t b = 0; b < blocks_of(elements); b++) sum += sums[b];
    *total = (float)sum;
    return NLM_OK;
}
