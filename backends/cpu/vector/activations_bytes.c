/* Activations as bytes, 8 bits whole, with one scale for each group of columns. */
#include "cpu/vector/activations.h"

/* No integers stand for NaN or infinity: zeros, which d, being NaN, spoils. */
float nlm_vector_bytes_group(const float *x, int64_t blocks, int8_t *q, float *sum, int32_t *sum16) {
    float raised[GROUP_COLUMNS];
    const nlm_quant_scale by = nlm_vector_quant_scale_of(x, blocks * BLOCK, 127, raised);
    int64_t b = 0;
    for (; b < blocks && by.d == by.d; b++)
        sum[b] = (float)v_round32_bytes(by.x + b * BLOCK, by.scale, q + b * BLOCK, sum16 + 2 * b);
    memset(q + b * BLOCK, 0, (size_t)(GROUP_BLOCKS - b) * BLOCK);
    memset(sum + b, 0, (size_t)(GROUP_BLOCKS - b) * sizeof *sum);
    memset(sum16 + 2 * b, 0, (size_t)(GROUP_BLOCKS - b) * 2 * sizeof *sum16);
    return by.d;
}

nlm_quant_row nlm_vector_bytes_row_make(const float *x, int64_t columns, void *memory) {
    const int64_t groups = padded_blocks(columns) / GROUP_BLOCKS;
    int8_t *q = memory;
    float *d = (float *)(void *)(q + groups * GROUP_COLUMNS), *sum = d + groups;
    int32_t *sum16 = (int32_t *)(void *)(sum + groups * GROUP_BLOCKS);
    for (int64_t g = 0; g < groups; g++)
        d[g] = nlm_vector_bytes_group(x + g * GROUP_COLUMNS, whole_blocks(columns, g), q + g * GROUP_COLUMNS,
                                      sum + g * GROUP_BLOCKS, sum16 + 2 * g * GROUP_BLOCKS);
    return (nlm_quant_row){q, d, sum, sum16};
}
