/* Activations as words of 15 bits with one scale for each group of columns. */
#include "cpu/vector/activations.h"

/* No integers stand for NaN or infinity: zeros, which d, being NaN, spoils. */
float nlm_vector_words_group(const float *x, int64_t blocks, int16_t *q, float *sum) {
    float raised[GROUP_COLUMNS];
    const nlm_quant_scale by = nlm_vector_quant_scale_of(x, blocks * BLOCK, 127 << 7, raised);
    int64_t b = 0;
    for (; b < blocks && by.d == by.d; b++) sum[b] = (float)v_round32(by.x + b * BLOCK, by.scale, q + b * BLOCK);
    memset(q + b * BLOCK, 0, (size_t)(GROUP_BLOCKS - b) * BLOCK * sizeof *q);
    memset(sum + b, 0, (size_t)(GROUP_BLOCKS - b) * sizeof *sum);
    return by.d;
}

nlm_quant_row nlm_vector_words_row_make(const float *x, int64_t columns, void *memory) {
    const int64_t groups = padded_blocks(columns) / GROUP_BLOCKS, whole = columns / BLOCK;
    int16_t *q = memory;
    float *d = (float *)(void *)(q + groups * GROUP_COLUMNS), *sum = d + groups;
    for (int64_t g = 0; g < groups; g++) {
        const int64_t left = whole - g * GROUP_BLOCKS, n = left < 0 ? 0 : left < GROUP_BLOCKS ? left : GROUP_BLOCKS;
        d[g] = nlm_vector_words_group(x + g * GROUP_COLUMNS, n, q + g * GROUP_COLUMNS, sum + g * GROUP_BLOCKS);
    }
    return (nlm_quant_row){memory, d, sum, NULL};
}
