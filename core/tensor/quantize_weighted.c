/* Quantisers that are told how much the error of each element counts. A search over scales starts from ranges a
 * little narrower and wider than the block's, fits the scale to the integers these give by weighted least squares,
 * and measures what would be stored. */
#include "base/status.h"
#include "tensor/blocks.h"

#include <float.h>
#include <math.h>

enum { CANDIDATES = 25 };

static bool fits_f16(float value) {
    return fabsf(value) < 65520.0f;
}

static float as_f16(float value) {
    return nlm_f16_to_f32(nlm_f16_from_f32(value));
}

/* ---- x ~ scale * level ------------------------------------------------------------------------ */

/* The levels of a type, ascending. */
typedef struct levels {
    int count;
    float values[32];
} levels;

static levels even_levels(int count) {
    levels l = {.count = count};
    const int zero = count / 2;
    for (int q = 0; q < count; q++) l.values[q] = (float)(q - zero);
    return l;
}

static levels iq4_nl_levels(void) {
    levels l = {.count = 16};
    for (int q = 0; q < 16; q++) l.values[q] = (float)nlm_iq4_nl_values[q];
    return l;
}

static uint8_t nearest_level(const levels *l, float value) {
    uint8_t q = 0;
    while (q + 1 < l->count && value > 0.5f * (l->values[q] + l->values[q + 1])) q++;
    return q;
}

/* Chooses q for a scale that is not 0, and returns the error. */
static double choose_levels(const levels *l, const float *x, const float *weights, float scale, uint8_t *q) {
    double error = 0;
    for (int i = 0; i < BLOCK; i++) {
        q[i] = nearest_level(l, x[i] / scale);
        const double miss = (double)scale * (double)l->values[q[i]] - (double)x[i];
        error += (double)weights[i] * miss * miss;
    }
    return error;
}

/* The least-squares scale of the levels q; 0 if there is none. */
static float scale_of_levels(const levels *l, const float *x, const float *weights, const uint8_t *q) {
    double product = 0, power = 0;
    for (int i = 0; i < BLOCK; i++) {
        const double level = (double)l->values[q[i]];
        product += (double)weights[i] * level * (double)x[i];
        power += (double)weights[i] * level * level;
    }
    return power > 0 ? as_f16((float)(product / power)) : 0;
}

/* The extreme value may take either end of the levels. false: no scale was found. */
static bool fit_levels(const levels *l, const float *x, const float *weights, float *out_scale, uint8_t *out_q) {
    float extreme = 0;
    for (int i = 0; i < BLOCK; i++) extreme = fabsf(x[i]) > fabsf(extreme) ? x[i] : extreme;
    double least = DBL_MAX;
    for (int c = 0; c < 2 * CANDIDATES; c++) {
        const float end = c % 2 ? l->values[0] : l->values[l->count - 1];
        const int step = c / 2;
        const float start = extreme / (end * (0.85f + 0.02f * (float)step));
        uint8_t q[BLOCK];
        if (!(fabsf(start) > 0)) continue;
        choose_levels(l, x, weights, start, q);
        const float scale = scale_of_levels(l, x, weights, q);
        if (scale == 0 || !fits_f16(scale)) continue;
        const double error = choose_levels(l, x, weights, scale, q);
        if (error >= least) continue;
        least = error;
        *out_scale = scale;
        memcpy(out_q, q, BLOCK);
    }
    return least < DBL_MAX;
}

/* ---- x ~ scale * q + minimum ------------------------------------------------------------------ */

typedef struct line {
    float scale, minimum;
} line;

static double choose_q(line fit, int max, const float *x, const float *weights, uint8_t *q) {
    double error = 0;
    for (int i = 0; i < BLOCK; i++) {
        const float value = (x[i] - fit.minimum) / fit.scale + 0.5f;
        q[i] = (uint8_t)(!(value > 0) ? 0 : value >= (float)max ? (float)max : value);
        const double miss = (double)fit.scale * q[i] + (double)fit.minimum - (double)x[i];
        error += (double)weights[i] * miss * miss;
    }
    return error;
}

/* The least-squares line through (q, x); scale 0 if there is none. */
static line line_of_q(const float *x, const float *weights, const uint8_t *q) {
    double sum = 0, sum_q = 0, sum_qq = 0, sum_x = 0, sum_qx = 0;
    for (int i = 0; i < BLOCK; i++) {
        const double w = (double)weights[i], level = q[i];
        sum += w;
        sum_q += w * level;
        sum_qq += w * level * level;
        sum_x += w * (double)x[i];
        sum_qx += w * level * (double)x[i];
    }
    const double determinant = sum * sum_qq - sum_q * sum_q;
    if (!(determinant > 0)) return (line){0};
    return (line){as_f16((float)((sum * sum_qx - sum_q * sum_x) / determinant)),
                  as_f16((float)((sum_qq * sum_x - sum_q * sum_qx) / determinant))};
}

static bool fit_line(int max, const float *x, const float *weights, line *out, uint8_t *out_q) {
    float low = x[0], high = x[0];
    for (int i = 1; i < BLOCK; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    double least = DBL_MAX;
    for (int c = 0; c < CANDIDATES; c++) {
        const float spare = (high - low) * (0.15f - 0.01f * (float)c); /* given up at both ends together */
        const line start = {(high - low - spare) / (float)max, low + spare / 2};
        uint8_t q[BLOCK];
        if (!(start.scale > 0)) continue;
        choose_q(start, max, x, weights, q);
        const line fit = line_of_q(x, weights, q);
        if (!(fit.scale > 0) || !fits_f16(fit.scale) || !fits_f16(fit.minimum)) continue;
        const double error = choose_q(fit, max, x, weights, q);
        if (error >= least) continue;
        least = error;
        *out = fit;
        memcpy(out_q, q, BLOCK);
    }
    return least < DBL_MAX;
}

/* ---- blocks ----------------------------------------------------------------------------------- */

static bool store_levels(const levels *l, const float *x, const float *weights, uint8_t *block) {
    float scale = 0;
    uint8_t q[BLOCK];
    if (!fit_levels(l, x, weights, &scale, q)) return false;
    store_u16(block, nlm_f16_from_f32(scale));
    (l->count > 16 ? store_q5 : store_q4)(block + 2, q);
    return true;
}

static bool store_line(int max, const float *x, const float *weights, uint8_t *block) {
    line fit = {0};
    uint8_t q[BLOCK];
    if (!fit_line(max, x, weights, &fit, q)) return false;
    store_u16(block, nlm_f16_from_f32(fit.scale));
    store_u16(block + 2, nlm_f16_from_f32(fit.minimum));
    (max > 15 ? store_q5 : store_q4)(block + 4, q);
    return true;
}

/* false: none better than the reference was found, or the type has no use for weights. */
static bool weighted_block(nlm_dtype dtype, const float *x, const float *weights, uint8_t *block) {
    const levels l = dtype == NLM_IQ4_NL ? iq4_nl_levels() : even_levels(dtype == NLM_Q5_0 ? 32 : 16);
    switch (dtype) {
        case NLM_Q4_0:
        case NLM_Q5_0:
        case NLM_IQ4_NL: return store_levels(&l, x, weights, block);
        case NLM_Q4_1: return store_line(15, x, weights, block);
        case NLM_Q5_1: return store_line(31, x, weights, block);
        case NLM_Q4_K: return nlm_quantize_block_q4_k(x, weights, block);
        case NLM_Q5_K: return nlm_quantize_block_q5_k(x, weights, block);
        case NLM_Q6_K: return nlm_quantize_block_q6_k(x, weights, block);
        default: return false;
    }
}

static double block_error(const nlm_dtype_info *info, const uint8_t *block, const float *x, const float *weights) {
    float decoded[SUPER_BLOCK];
    double error = 0;
    nlm_decode_row(info->dtype, block, decoded, info->block_elements);
    for (uint32_t i = 0; i < info->block_elements; i++) {
        const double miss = (double)decoded[i] - (double)x[i];
        error += (double)weights[i] * miss * miss;
    }
    return error;
}

nlm_status nlm_quantize_row_weighted(nlm_dtype dtype, const float *values, const float *weights, void *out_row,
                                     int64_t elements, nlm_error *err) {
    NLM_TRY(nlm_quantize_row(dtype, values, out_row, elements, err));
    const nlm_dtype_info *info = nlm_dtype_find(dtype);
    uint8_t *block = out_row, better[SUPER_BLOCK];
    for (int64_t i = 0; i < elements; i += info->block_elements, block += info->block_bytes) {
        const float *x = values + i, *w = weights + i;
        if (!weighted_block(dtype, x, w, better)) continue;
        if (block_error(info, better, x, w) < block_error(info, block, x, w))
            memcpy(block, better, info->block_bytes);
    }
    return NLM_OK;
}
