/* Products of f32 whose operands are packed while they run: for weights that change from step to step and gradients.
 *
 *   c[i,j] = sum_d a[i,d] b[j,d] (+ bias[j]) (+ residual[i,j])
 *
 * One side is shared: it is packed once, by all workers, and each of them multiplies it with what it packs of the
 * other. Sums are those of kernels.h over plain weights, whatever the sizes and the number of workers: a row has the
 * bits that the same weight gives it when the host has packed it. */
#ifndef NLM_CPU_PRODUCT_H
#define NLM_CPU_PRODUCT_H

#include <nlm/plugin.h>

/* a or b: a matrix as it lies in memory, row-major in any type of weight, or in panels. */
typedef struct nlm_product_side {
    nlm_tensor t;      /* [2]; its rows may be fewer than its shape says */
    int32_t is_turned; /* element (i, d) is t[d, i]; else t[i, d] */
} nlm_product_side;

typedef struct nlm_product_size {
    int64_t rows, columns, depth;
    int32_t shares_b; /* b is the shared side; else a */
} nlm_product_size;

typedef struct nlm_product {
    const nlm_exec_v1 *exec;
    nlm_product_size size;
    nlm_product_side a, b;
    float *c;
    int64_t c_stride; /* floats */
    const float *bias;
    const float *residual; /* may be c */
    int64_t residual_stride;
    float *sums; /* [rows], receives sum_d a[i,d]; or NULL */
    int32_t adds_sums;
    void *workspace; /* of nlm_vector_product_workspace, of all workers */
} nlm_product;

/* Whether b is the side to share of a product of so many rows, as planned: the narrower one, so that what is packed
 * for all is little, and each worker has rows of its own for as long as there are more of them than columns. */
static inline int32_t nlm_vector_product_shares_b(int64_t rows, int64_t columns) {
    return rows > columns;
}

/* Bytes that products of at most this size need. */
uint64_t nlm_vector_product_workspace(const nlm_product_size *most);
uint64_t nlm_vector_product_scratch(const nlm_product_size *most);

/* Where a product goes, with what is added to it; the last two may be NULL. */
void nlm_vector_product_into(nlm_product *p, const nlm_tensor *c, const nlm_tensor *bias, const nlm_tensor *residual);

/* This worker's share. All workers must be done with the workspace. Errors: CANCELLED from the barrier. */
nlm_status nlm_vector_product(const nlm_product *p);

/* ---- product_pack.c ---- */

#define PRODUCT_STAGED 256 /* columns of rows that are copied or decoded before they are packed */

/* Floats of the room that packing takes. */
int64_t nlm_vector_pack_room(void);

/* Strips [from, to) of a side into out: a strip is `width` indices of the side, [columns][width] for columns
 * [first, first + columns) of the depth, `pitch` floats from the one before; indices past `limit` are zeros. */
typedef struct nlm_strips {
    const nlm_product_side *side;
    int64_t limit;
    int32_t width; /* PANEL_ROWS or GEMM_F32_TOKENS */
    int64_t from, to;
    int64_t first, columns;
    float *out;
    int64_t pitch; /* at least columns * width + V_LANES */
    float *room;
} nlm_strips;
void nlm_vector_pack_strips(const nlm_strips *s);

/* Rows [from, from + rows) of t. Of panels `from` begins one. */
nlm_tensor nlm_vector_rows_of(const nlm_tensor *t, int64_t from, int64_t rows);

#endif
