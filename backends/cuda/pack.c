/* Packed weights: the fields of a row's blocks apart, in planes. device/packed.cuh says where each goes, and reads.
 */
#include <stdbool.h>
#include <string.h>

#include "device.h"
#include "pack.h"

/* Of a release whose pack() writes other bytes. */
#define LAYOUT_VERSION 1

/* A block of 32 of any type: what its elements have each, and what they have together. */
typedef struct fields {
    uint8_t quants[128]; /* as a plane has them, piece after piece */
    uint8_t extra[8];
    uint8_t scales[4];
} fields;

/* A type: the bytes of its planes, as in device/packed.cuh, and how sub-block j of a file's block comes apart. */
typedef struct packing {
    nlm_dtype dtype;
    uint8_t pieces, extra, scales, shared;
    uint8_t at; /* of the shared bytes in a block */
    void (*split)(const uint8_t *block, int j, fields *out);
} packing;

/* ---- blocks of 32 ---- */

static void split_q8_0(const uint8_t *block, int j, fields *out) {
    (void)j;
    memcpy(out->scales, block, 2);
    for (int i = 0; i < 32; i++) out->quants[i] = block[2 + i] ^ 0x80;
}

static void split_q4_0(const uint8_t *block, int j, fields *out) {
    (void)j;
    memcpy(out->scales, block, 2);
    memcpy(out->quants, block + 2, 16);
}

static void split_q4_1(const uint8_t *block, int j, fields *out) {
    (void)j;
    memcpy(out->scales, block, 4);
    memcpy(out->quants, block + 4, 16);
}

/* Bit e of the four bytes, element e's, to bit e / 4 of byte e % 4. */
static void spread_fifths(const uint8_t *bits, uint8_t *out) {
    memset(out, 0, 4);
    for (int e = 0; e < 32; e++) out[e % 4] |= (uint8_t)((bits[e / 8] >> e % 8 & 1) << e / 4);
}

static void split_q5_0(const uint8_t *block, int j, fields *out) {
    (void)j;
    memcpy(out->scales, block, 2);
    spread_fifths(block + 2, out->extra);
    memcpy(out->quants, block + 6, 16);
}

static void split_q5_1(const uint8_t *block, int j, fields *out) {
    (void)j;
    memcpy(out->scales, block, 4);
    spread_fifths(block + 4, out->extra);
    memcpy(out->quants, block + 8, 16);
}

/* ---- blocks of 256, by sub-blocks ---- */

/* The nibbles of 32 bytes, low or high ones, as those of a block of 32. */
static void gather_nibbles(const uint8_t *bytes, int shift, uint8_t *out) {
    for (int i = 0; i < 16; i++) {
        out[i] = (uint8_t)((bytes[i] >> shift & 15) | (bytes[i + 16] >> shift & 15) << 4);
    }
}

static void split_q4_k(const uint8_t *block, int j, fields *out) {
    gather_nibbles(block + 16 + 32 * (j / 2), 4 * (j & 1), out->quants);
}

static void split_q5_k(const uint8_t *block, int j, fields *out) {
    gather_nibbles(block + 48 + 32 * (j / 2), 4 * (j & 1), out->quants);
    memset(out->extra, 0, 4);
    for (int e = 0; e < 32; e++) out->extra[e % 4] |= (uint8_t)((block[16 + e] >> j & 1) << e / 4);
}

static void split_q6_k(const uint8_t *block, int j, fields *out) {
    const int half = j / 4, r = j % 4;
    gather_nibbles(block + 64 * half + 32 * (r & 1), 4 * (r / 2), out->quants);
    memset(out->extra, 0, 8);
    for (int e = 0; e < 32; e++) {
        const int q = e / 4;
        out->extra[q / 4 * 4 + e % 4] |= (uint8_t)((block[128 + 32 * half + e] >> 2 * r & 3) << 2 * (q % 4));
    }
    memcpy(out->scales, block + 192 + 2 * j, 2);
}

static const packing packings[] = {
    {NLM_F32, 8, 0, 0, 0, 0, NULL},          {NLM_F16, 4, 0, 0, 0, 0, NULL},
    {NLM_BF16, 4, 0, 0, 0, 0, NULL},         {NLM_Q8_0, 2, 0, 2, 0, 0, split_q8_0},
    {NLM_Q4_0, 1, 0, 2, 0, 0, split_q4_0},   {NLM_Q4_1, 1, 0, 4, 0, 0, split_q4_1},
    {NLM_Q5_0, 1, 4, 2, 0, 0, split_q5_0},   {NLM_Q5_1, 1, 4, 4, 0, 0, split_q5_1},
    {NLM_Q4_K, 1, 0, 0, 16, 0, split_q4_k},  {NLM_Q5_K, 1, 4, 0, 16, 0, split_q5_k},
    {NLM_Q6_K, 1, 8, 2, 2, 208, split_q6_k}, {NLM_IQ4_NL, 1, 0, 2, 0, 0, split_q4_0},
};

static const packing *packing_of(nlm_dtype dtype) {
    for (size_t i = 0; i < sizeof packings / sizeof *packings; i++) {
        if (packings[i].dtype == dtype) return &packings[i];
    }
    return NULL;
}

/* ---- planes ---- */

typedef struct planes {
    int64_t blocks;                         /* of 32, of a row */
    int64_t quants, extra, scales, shared;  /* bytes from row to row */
    int64_t at_extra, at_scales, at_shared; /* where each begins */
    int64_t bytes;
} planes;

static int64_t pitch(int64_t bytes) {
    return (bytes + 31) / 32 * 32;
}

static planes planes_of(const packing *p, const nlm_tensor *w) {
    const int64_t rows = w->shape[0], blocks = (w->shape[1] + 31) / 32;
    planes out = {.blocks = blocks};
    out.quants = pitch(blocks * 16 * p->pieces);
    out.extra = pitch(blocks * p->extra);
    out.scales = pitch(blocks * p->scales);
    out.shared = pitch((blocks + 7) / 8 * p->shared);
    out.at_extra = rows * out.quants;
    out.at_scales = out.at_extra + rows * out.extra;
    out.at_shared = out.at_scales + rows * out.scales;
    out.bytes = out.at_shared + rows * out.shared;
    return out;
}

int64_t nlm_cuda_pack_row_bytes(int32_t dtype, int64_t elements) {
    const nlm_tensor row = {.shape = {1, elements}};
    return planes_of(packing_of(dtype), &row).bytes;
}

nlm_status nlm_cuda_pack_size(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles, nlm_pack_info_v1 *out,
                              nlm_error *error) {
    (void)self;
    (void)roles;
    const packing *p = packing_of(w->dtype);
    if (layout != NLM_CUDA_LAYOUT_PLANES || !p) {
        return nlm_kit_fail(error, NLM_INVALID_ARGUMENT, "pack_size", "layout %u of type %d is not known", layout,
                            w->dtype);
    }
    out->bytes = (uint64_t)planes_of(p, w).bytes;
    out->row_multiple = 1;
    out->layout_version = LAYOUT_VERSION;
    return NLM_OK;
}

/* Block b of a row: its pieces among those of its group of 32. */
static void put_block(const packing *p, const fields *f, int64_t b, int64_t blocks, uint8_t *quants) {
    const int64_t group = b / 32 * 32, in_group = blocks - group < 32 ? blocks - group : 32;
    for (int i = 0; i < p->pieces; i++) {
        memcpy(quants + 16 * (group * p->pieces + i * in_group + b % 32), f->quants + 16 * i, 16);
    }
}

/* Where the fields of a row go. */
typedef struct row_planes {
    uint8_t *quants, *extra, *scales, *shared;
} row_planes;

/* Elements of a plain type, with zeros to the end of the last block. */
static void pack_plain(const packing *p, const nlm_tensor *w, const uint8_t *row, int64_t blocks,
                       const row_planes *to) {
    const int64_t bytes = w->shape[1] * nlm_dtype_find(w->dtype)->block_bytes, block_bytes = 16 * p->pieces;
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t left = bytes - b * block_bytes;
        fields f = {.quants = {0}};
        memcpy(f.quants, row + b * block_bytes, (size_t)(left < block_bytes ? left : block_bytes));
        put_block(p, &f, b, blocks, to->quants);
    }
}

static void pack_blocks(const packing *p, const nlm_tensor *w, const uint8_t *row, int64_t blocks,
                        const row_planes *to) {
    const nlm_dtype_info *type = nlm_dtype_find(w->dtype);
    const int64_t in_block = type->block_elements / 32;
    for (int64_t b = 0; b < blocks; b++) {
        const uint8_t *block = row + b / in_block * type->block_bytes;
        fields f;
        p->split(block, (int)(b % in_block), &f);
        put_block(p, &f, b, blocks, to->quants);
        memcpy(to->extra + b * p->extra, f.extra, p->extra);
        memcpy(to->scales + b * p->scales, f.scales, p->scales);
        if (b % 8 == 0) memcpy(to->shared + b / 8 * p->shared, block + p->at, p->shared);
    }
}

nlm_status nlm_cuda_pack(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles, int64_t row_from,
                         int64_t row_to, void *packed, nlm_error *error) {
    (void)self;
    (void)layout;
    (void)roles;
    (void)error;
    const packing *p = packing_of(w->dtype);
    const planes at = planes_of(p, w);
    for (int64_t n = row_from; n < row_to; n++) {
        uint8_t *base = packed;
        const row_planes to = {base + n * at.quants, base + at.at_extra + n * at.extra,
                               base + at.at_scales + n * at.scales, base + at.at_shared + n * at.shared};
        memset(to.quants, 0, (size_t)at.quants);
        memset(to.extra, 0, (size_t)at.extra);
        memset(to.scales, 0, (size_t)at.scales);
        memset(to.shared, 0, (size_t)at.shared);
        (p->split ? pack_blocks : pack_plain)(p, w, nlm_kit_at(w, n), at.blocks, &to);
    }
    return NLM_OK;
}
