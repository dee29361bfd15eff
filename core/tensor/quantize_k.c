/* Quantisers of the k types: for each sub-block a search over scales for the least squared error, then
 * the scales themselves are quantised and the integers chosen against what was stored. */
#include "tensor/blocks.h"

#include <math.h>

enum { SUB = 32, CANDIDATES = 21 };

/* x ~ scale * q - minimum, scale and minimum >= 0, q in 0..max. */
typedef struct affine {
    float scale, minimum;
} affine;

static int nearest_q(float value, int max) {
    if (!(value > 0)) return 0;
    return value >= (float)max ? max : (int)(value + 0.5f);
}

/* Of element i; weights NULL: all are 1. */
static float weight_at(const float *weights, int i) {
    return weights ? weights[i] : 1;
}

static const float *weights_from(const float *weights, int i) {
    return weights ? weights + i : NULL;
}

/* Squared error of x against fit, each q being the best one. */
static float affine_error(const float *x, const float *weights, affine fit, int max) {
    const float inverse = fit.scale > 0 ? 1 / fit.scale : 0;
    float sum = 0;
    for (int i = 0; i < SUB; i++) {
        const int q = nearest_q((x[i] + fit.minimum) * inverse, max);
        const float miss = fit.scale * (float)q - fit.minimum - x[i];
        sum += weight_at(weights, i) * (miss * miss);
    }
    return sum;
}

/* The least-squares line through (q_i, x_i) for the q's that `fit` chooses; `fit` itself if there is none. */
static affine refit(const float *x, const float *weights, affine fit, int max) {
    const float inverse = 1 / fit.scale;
    double sum = 0, sum_q = 0, sum_qq = 0, sum_x = 0, sum_qx = 0;
    for (int i = 0; i < SUB; i++) {
        const double q = nearest_q((x[i] + fit.minimum) * inverse, max);
        const double weight = (double)weight_at(weights, i);
        sum += weight;
        sum_q += weight * q;
        sum_qq += weight * (q * q);
        sum_x += weight * (double)x[i];
        sum_qx += weight * (q * (double)x[i]);
    }
    const double determinant = sum * sum_qq - sum_q * sum_q;
    if (!(determinant > 0)) return fit;
    double scale = (sum * sum_qx - sum_q * sum_x) / determinant;
    double minimum = (sum_q * sum_qx - sum_qq * sum_x) / determinant;
    if (minimum < 0) { /* not representable: the line through the origin instead */
        minimum = 0;
        scale = sum_qx / sum_qq;
    }
    return scale > 0 ? (affine){(float)scale, (float)minimum} : fit;
}

static affine fit_sub_block(const float *x, const float *weights, int max) {
    float low = 0, high = x[0]; /* the minimum cannot be negative, so zero is always within reach */
    for (int i = 0; i < SUB; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    affine best = {fmaxf(high - low, 0) / (float)max, -low};
    if (!(best.scale > 0)) return (affine){0, -low};
    float best_error = affine_error(x, weights, best, max);
    for (int c = 0; c < CANDIDATES; c++) {
        /* From clipping 15% of the range to stretching it by 5%. */
        const float stretch = 0.85f + 0.01f * (float)c;
        const affine start = {(high - low) * stretch / (float)max, -low * stretch};
        if (!(start.scale > 0)) continue;
        const affine fit = refit(x, weights, start, max);
        const float error = affine_error(x, weights, fit, max);
        if (error < best_error) {
            best = fit;
            best_error = error;
        }
    }
    return best;
}

/* Stores largest/levels as f16 and gives it back as read; negative if it does not fit. */
static float store_super_scale(uint8_t *bytes, float largest, float levels) {
    const float scale = largest / levels;
    if (!(fabsf(scale) < 65520.0f)) return -1;
    store_u16(bytes, nlm_f16_from_f32(scale));
    return nlm_load_f16(bytes);
}

/* Header (d, dmin, scales) and integers of a q4_k (max 15) or q5_k (max 31) block. */
static bool quantize_affine(const float *x, const float *weights, uint8_t *block, int max, uint8_t *q) {
    affine fits[SUB_BLOCKS];
    float largest_scale = 0, largest_minimum = 0;
    for (int j = 0; j < SUB_BLOCKS; j++) {
        fits[j] = fit_sub_block(x + SUB * j, weights_from(weights, SUB * j), max);
        largest_scale = fmaxf(largest_scale, fits[j].scale);
        largest_minimum = fmaxf(largest_minimum, fits[j].minimum);
    }
    const float d = store_super_scale(block, largest_scale, 63);
    const float dmin = store_super_scale(block + 2, largest_minimum, 63);
    if (d < 0 || dmin < 0) return false;
    memset(block + 4, 0, K_SCALES_BYTES);
    for (int j = 0; j < SUB_BLOCKS; j++) {
        const int scale = d > 0 ? nearest_q(fits[j].scale / d, 63) : 0;
        const int minimum = dmin > 0 ? nearest_q(fits[j].minimum / dmin, 63) : 0;
        store_k_scale(block + 4, j, (uint8_t)scale, (uint8_t)minimum);
        const float step = d * (float)scale, offset = dmin * (float)minimum;
        for (int i = 0; i < SUB; i++) {
            q[SUB * j + i] = step > 0 ? (uint8_t)nearest_q((x[SUB * j + i] + offset) / step, max) : 0;
        }
    }
    return true;
}

static void store_nibbles(uint8_t *nibbles, const uint8_t *q) {
    for (int i = 0; i < SUPER_BLOCK / 2; i++) {
        const uint8_t *group = q + 64 * (i / 32) + i % 32;
        nibbles[i] = (uint8_t)((group[0] & 15) | (group[32] & 15) << 4);
    }
}

bool nlm_quantize_block_q4_k(const float *x, const float *weights, uint8_t *block) {
    uint8_t q[SUPER_BLOCK];
    if (!quantize_affine(x, weights, block, 15, q)) return false;
    store_nibbles(block + 4 + K_SCALES_BYTES, q);
    return true;
}

bool nlm_quantize_block_q5_k(const float *x, const float *weights, uint8_t *block) {
    uint8_t q[SUPER_BLOCK];
    if (!quantize_affine(x, weights, block, 31, q)) return false;
    uint8_t *fifth = block + 4 + K_SCALES_BYTES;
    memset(fifth, 0, 32);
    for (int i = 0; i < SUPER_BLOCK; i++) fifth[i % 32] |= (uint8_t)((q[i] >> 4) << (i / 32));
    store_nibbles(fifth + 32, q);
    return true;
}

enum { Q6_GROUP = 16, Q6_GROUPS = SUPER_BLOCK / Q6_GROUP };

/* q + 32 for x ~ scale * q, q in -32..31. */
static int nearest_q6(float value) {
    return nearest_q(value + 32, 63);
}

static float symmetric_error(const float *x, const float *weights, float scale) {
    float sum = 0;
    for (int i = 0; i < Q6_GROUP; i++) {
        const float miss = scale * (float)(nearest_q6(x[i] / scale) - 32) - x[i];
        sum += weight_at(weights, i) * (miss * miss);
    }
    return sum;
}

/* The best signed scale of 16 values: the extreme value may take either end of -32..31. */
static float fit_q6_group(const float *x, const float *weights) {
    float extreme = 0;
    for (int i = 0; i < Q6_GROUP; i++) {
        if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
    }
    float best = extreme / -32;
    if (best == 0) return 0;
    float best_error = symmetric_error(x, weights, best);
    for (int c = 0; c < CANDIDATES; c++) {
        const float start = extreme / (-34.0f + 0.2f * (float)c);
        if (start == 0) continue;
        double sum_qq = 0, sum_qx = 0;
        for (int i = 0; i < Q6_GROUP; i++) {
            const double q = nearest_q6(x[i] / start) - 32;
            const double weight = (double)weight_at(weights, i);
            sum_qq += weight * (q * q);
            sum_qx += weight * (q * (double)x[i]);
        }
        const float scale = sum_qq > 0 ? (float)(sum_qx / sum_qq) : 0;
        if (scale == 0) continue;
        const float error = symmetric_error(x, weights, scale);
        if (error < best_error) {
            best = scale;
            best_error = error;
        }
    }
    return best;
}

/* The layout is described at its reader in dequantize.c. */
static void store_q6(uint8_t *block, const uint8_t *q) {
    memset(block, 0, 192);
    for (int i = 0; i < SUPER_BLOCK; i++) {
        const int half = i / 128, k = i % 128 / 32, l = i % 32;
        block[64 * half + 32 * (k % 2) + l] |= (uint8_t)((q[i] & 15) << (k < 2 ? 0 : 4));
        block[128 + 32 * half + l] |= (uint8_t)((q[i] >> 4) << (2 * k));
    }
}

bool nlm_quantize_block_q6_k(const float *x, const float *weights, uint8_t *block) {
    float scales[Q6_GROUPS], largest = 0;
    for (int g = 0; g < Q6_GROUPS; g++) {
        scales[g] = fit_q6_group(x + Q6_GROUP * g, weights_from(weights, Q6_GROUP * g));
        largest = fmaxf(largest, fabsf(scales[g]));
    }
    const float d = store_super_scale(block + 208, largest, 127);
    if (d < 0) return false;
    uint8_t q[SUPER_BLOCK];
    for (int g = 0; g < Q6_GROUPS; g++) {
        const int scale = d > 0 ? nearest_q(fabsf(scales[g]) / d, 127) : 0;
        block[192 + g] = (uint8_t)(int8_t)(scales[g] < 0 ? -scale : scale);
        const float step = d * (float)(int8_t)block[192 + g];
        for (int i = 0; i < Q6_GROUP; i++) {
            const float value = x[Q6_GROUP * g + i];
            q[Q6_GROUP * g + i] = (uint8_t)(step != 0 ? nearest_q6(value / step) : 32);
        }
    }
    store_q6(block, q);
    return true;
}
