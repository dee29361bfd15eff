/* Activations as words with one scale for each group of columns. */
#include "cpu/vector/activations.h"

/* No integers stand for NaN or infinity: zeros, which d, being NaN, spoils. */
float nlm_vector_words_group(const float *x, int64_t blocks, int32_t plane_bits, int16_t *q, float *sum) {
    float raised[GROUP_COLUMNS];
    const nlm_quant_scale by = nlm_vector_quant_scale_of(x, blocks * BLOCK, 127 << plane_bits, raised);
    int64_t b = 0;
    for (; b < blocks && by.d == by.d; b++) sum[b] = (float)v_round32(by.x + b * BLOCK, by.scale, q + b * BLOCK);
    memset(q + b * BLOCK, 0, (size_t)(GROUP_BLOCKS - b) * BLOCK * sizeof *q);
    memset(sum + b, 0, (size_t)(GROUP_BLOCKS - b) * sizeof *sum);
    return by.d;
}
