/* A tile of the cache, as the kernels of attention want it: keys transposed, so that the lanes of a vector
 * are positions. What can be is transposed in the cache's own type, as that moves fewer bytes. */
#include "cpu/decode.h"
#include "cpu/vector/attention.h"

#define TILE   ATTENTION_TILE
#define LINE   64
#define Q8     32 /* elements of a block of q8_0 */
#define Q8_ROW 34 /* its bytes */

V_INLINE const char *at(const void *row, int64_t bytes) {
    return (const char *)row + bytes;
}

int nlm_vector_attention_takes_halves(int64_t rows, int64_t size, nlm_dtype k_type, nlm_dtype v_type) {
    return rows <= ATTENTION_GROUP && k_type == NLM_F16 && v_type == NLM_F16 && size % (2 * V_LANES) == 0;
}

/* Rows of the next tile. */
V_INLINE void fetch(const void *const *rows, int count, int64_t row_bytes) {
    for (int j = 0; j < count; j++) {
        for (int64_t i = 0; i < row_bytes; i += LINE) __builtin_prefetch(at(rows[j], i), 0, 2);
    }
}

/* Elements c .. c + V_LANES of a row, zeros past the first n. `scale` is that of q8_0's block. */
V_INLINE vf elements(nlm_dtype dtype, const void *row, int64_t c, int64_t n, float scale) {
    if (dtype == NLM_F32) return vf_load_n((const float *)row + c, (int)n);
    if (dtype == NLM_Q8_0) return vf_mul(vf_load_i8(at(row, c / Q8 * Q8_ROW + 2 + c % Q8)), vf_set1(scale));
    if (n == V_LANES) return vf_load_f16((const uint16_t *)row + c);
    uint16_t part[V_LANES] = {0};
    memcpy(part, (const uint16_t *)row + c, (size_t)n * sizeof *part);
    return vf_load_f16(part);
}

/* scales[block][position] of q8_0. */
static void load_scales(const void *const *rows, int64_t size, float *scales) {
    for (int64_t b = 0; b < size / Q8; b++) {
        uint16_t halves[TILE];
        for (int j = 0; j < TILE; j++) memcpy(&halves[j], at(rows[j], b * Q8_ROW), sizeof *halves);
        for (int j = 0; j < TILE; j += V_LANES) vf_store(scales + b * TILE + j, vf_load_f16(halves + j));
    }
}

/* ---- keys --------------------------------------------------------------------------------- */

/* Elements c .. c + V_LANES of all positions, of any type. */
V_INLINE void keys_of(nlm_dtype dtype, const nlm_attention_rows *rows, int64_t c, const nlm_attention_tile *tile) {
    const int64_t n = tile->size - c < V_LANES ? tile->size - c : V_LANES;
    for (int j = 0; j < TILE; j += V_LANES) {
        vf in[V_LANES];
        for (int i = 0; i < V_LANES; i++) {
            const float scale = dtype == NLM_Q8_0 ? tile->scales[c / Q8 * TILE + j + i] : 1.0f;
            in[i] = elements(dtype, rows->k[j + i], c, n, scale);
        }
        v_transpose(in, tile->keys + c * TILE + j, TILE);
    }
}

static void keys_f32(const nlm_attention_rows *rows, const nlm_attention_tile *tile) {
    for (int64_t c = 0; c < tile->size; c += V_LANES) {
        fetch(tile->next_k + c % TILE, V_LANES, tile->size * 4);
        keys_of(NLM_F32, rows, c, tile);
    }
}

/* Two positions' halves of an element share a lane while they are transposed: 2 V_LANES positions and
 * elements at a time. */
V_INLINE void keys_f16_pairs(const void *const *rows, int64_t c, uint16_t *out) {
    const vi low_half = vi_set1(0xffff), high_half = vi_set1((int32_t)0xffff0000);
    vf in[V_LANES];
    for (int i = 0; i < V_LANES; i++) {
        const vi x = vi_load(at(rows[2 * i], 2 * c)), y = vi_load(at(rows[2 * i + 1], 2 * c));
        in[i] = vf_bits(vi_or(vi_and(x, low_half), vi_shl32(y, 16)));
    }
    v_transpose(in, (float *)(void *)out, TILE); /* elements c, c + 2, ... */
    for (int i = 0; i < V_LANES; i++) {
        const vi x = vi_load(at(rows[2 * i], 2 * c)), y = vi_load(at(rows[2 * i + 1], 2 * c));
        in[i] = vf_bits(vi_or(vi_shr32(x, 16), vi_and(y, high_half)));
    }
    v_transpose(in, (float *)(void *)(out + TILE), TILE); /* c + 1, c + 3, ... */
}

static void keys_f16(const nlm_attention_rows *rows, const nlm_attention_tile *tile) {
    uint16_t *halves = tile->half_keys;
    float *keys = tile->keys;
    int64_t c = 0;
    for (; c + 2 * V_LANES <= tile->size; c += 2 * V_LANES) {
        for (int j = 0; j < TILE; j += 2 * V_LANES) {
            keys_f16_pairs(rows->k + j, c, halves + c * TILE + j);
            if (c == 0 && !tile->is_half) fetch(tile->next_k + j, 2 * V_LANES, tile->size * 2);
        }
    }
    if (tile->is_half) return;
    for (int64_t i = 0; i < c * TILE; i += V_LANES) vf_store(keys + i, vf_load_f16(halves + i));
    for (; c < tile->size; c += V_LANES) keys_of(NLM_F16, rows, c, tile);
}

/* Four elements share a lane while they are transposed: 4 V_LANES elements of V_LANES positions. */
V_INLINE void keys_q8_quads(const void *const *rows, int64_t c, const float *scales, float *out) {
    float quads[V_LANES * V_LANES];
    const int64_t half = c + 2 * V_LANES;
    vf in[V_LANES];
    for (int i = 0; i < V_LANES; i++) {
        in[i] = vf_bits(
            vi_load_2(at(rows[i], c / Q8 * Q8_ROW + 2 + c % Q8), at(rows[i], half / Q8 * Q8_ROW + 2 + half % Q8)));
    }
    v_transpose(in, quads, V_LANES);
    for (int64_t e = 0; e < V_LANES; e++) {
        const vi quad = vi_load(quads + e * V_LANES);
        const vf scale = vf_load(scales + (c + 4 * e) / Q8 * TILE);
        float *key = out + (c + 4 * e) * TILE;
        vf_store(key, vf_mul(vf_from_i32(vi_sra32(vi_shl32(quad, 24), 24)), scale));
        vf_store(key + TILE, vf_mul(vf_from_i32(vi_sra32(vi_shl32(quad, 16), 24)), scale));
        vf_store(key + 2 * TILE, vf_mul(vf_from_i32(vi_sra32(vi_shl32(quad, 8), 24)), scale));
        vf_store(key + 3 * TILE, vf_mul(vf_from_i32(vi_sra32(quad, 24)), scale));
    }
}

static void keys_q8_0(const nlm_attention_rows *rows, const nlm_attention_tile *tile) {
    load_scales(rows->k, tile->size, tile->scales);
    int64_t c = 0;
    for (int j = 0; j < TILE; j += V_LANES) {
        for (c = 0; c + 4 * V_LANES <= tile->size; c += 4 * V_LANES)
            keys_q8_quads(rows->k + j, c, tile->scales + j, tile->keys + j);
        fetch(tile->next_k + j, V_LANES, tile->size / Q8 * Q8_ROW);
    }
    for (; c < tile->size; c += V_LANES) keys_of(NLM_Q8_0, rows, c, tile);
}

void nlm_vector_attention_load_keys(const nlm_attention_rows *rows, nlm_dtype dtype, nlm_attention_tile *tile) {
    switch (dtype) {
        case NLM_F32: keys_f32(rows, tile); break;
        case NLM_F16: keys_f16(rows, tile); break;
        default: keys_q8_0(rows, tile); break;
    }
}

/* ---- values ------------------------------------------------------------------------------- */

V_INLINE void values_of(nlm_dtype dtype, const nlm_attention_rows *rows, const nlm_attention_tile *tile) {
    const int64_t whole = tile->size / V_LANES * V_LANES, head = tile->head;
    float *values = tile->values;
    for (int64_t j = rows->from - rows->tile; j < rows->to - rows->tile; j++) {
        const void *row = rows->v[j];
        float *out = values + j * head;
        fetch(tile->next_v + j, 1, dtype == NLM_F32 ? tile->size * 4 : tile->size * 2);
        for (int64_t c = 0; c < whole; c += V_LANES) vf_store(out + c, elements(dtype, row, c, V_LANES, 1.0f));
        if (whole < tile->size) vf_store(out + whole, elements(dtype, row, whole, tile->size - whole, 1.0f));
    }
}

static void values_q8_0(const nlm_attention_rows *rows, const nlm_attention_tile *tile) {
    const int64_t blocks = tile->size / Q8, head = tile->head;
    float *values = tile->values;
    const float *scales = tile->scales;
    load_scales(rows->v, tile->size, tile->scales);
    for (int64_t j = rows->from - rows->tile; j < rows->to - rows->tile; j++) {
        const char *row = rows->v[j];
        fetch(tile->next_v + j, 1, blocks * Q8_ROW);
        for (int64_t b = 0; b < blocks; b++) {
            const vf scale = vf_set1(scales[b * TILE + j]);
            for (int c = 0; c < Q8; c += V_LANES)
                vf_store(values + j * head + b * Q8 + c, vf_mul(vf_load_i8(row + b * Q8_ROW + 2 + c), scale));
        }
    }
}

void nlm_vector_attention_load_values(const nlm_attention_rows *rows, nlm_dtype dtype, nlm_attention_tile *tile) {
    tile->v = rows->v;
    if (tile->is_half) return;
    switch (dtype) {
        case NLM_F32: values_of(NLM_F32, rows, tile); break;
        case NLM_F16: values_of(NLM_F16, rows, tile); break;
        default: values_q8_0(rows, tile); break;
    }
}
