/* Attention over one tile of the cache: loading it, and taking query rows through it. Used by
 * ops/attention.c. */
#ifndef NLM_CPU_VECTOR_ATTENTION_H
#define NLM_CPU_VECTOR_ATTENTION_H

#include <nlm/tensor.h>

#include "cpu/vector/simd.h"

#define ATTENTION_TILE  64
#define ATTENTION_GROUP 8 /* query rows taken through a tile at once, at most */

/* Where the keys and values of a tile's positions are. Those outside [from, to) are not to be read; they
 * point to a row of zeros. */
typedef struct attention_rows {
    int64_t tile; /* its first position, a multiple of ATTENTION_TILE */
    int64_t from, to;
    const void *k[ATTENTION_TILE], *v[ATTENTION_TILE];
} attention_rows;

/* A tile as the kernels read it. Halves, f16 as in the cache, serve where one group of rows is all there
 * is; more rows share one conversion. The sums are the same. */
typedef struct attention_tile {
    int64_t size, head; /* elements of a head, and the same padded to whole vectors */
    int is_half;
    float *keys;          /* [size][TILE] */
    uint16_t *half_keys;  /* the same in f16, where is_half */
    float *values;        /* [TILE][head]; unused where is_half */
    const void *const *v; /* rows of the cache, f16, where is_half */
    float *scales;        /* room: [size / 32][TILE] */
} attention_tile;

/* What the rows of a block have of some range of positions: p = 2^(score - greatest). */
typedef struct attention_state {
    float *sums;     /* [rows][head]: sum of p v */
    float *greatest; /* [rows] */
    float *weight;   /* [rows]: sum of p */
} attention_state;

/* Rows row .. row + count of a block, count <= ATTENTION_GROUP. */
typedef struct attention_group {
    const float *q;             /* [rows][head], scaled by log2(e) too */
    const int32_t *first, *end; /* [rows]: the positions each sees */
    int64_t row, count;
} attention_group;

/* Whether heads of this size can be used as halves. */
int nlm_vector_attention_takes_halves(nlm_dtype dtype, int64_t size);
/* Both fill their part of `tile` from the rows and prefetch those of `next`. */
void nlm_vector_attention_load_keys(const attention_rows *rows, const attention_rows *next, nlm_dtype dtype,
                                    attention_tile *tile);
void nlm_vector_attention_load_values(const attention_rows *rows, const attention_rows *next, nlm_dtype dtype,
                                      attention_tile *tile);
/* Adds a tile, positions rows->tile on, to the state of a group. */
void nlm_vector_attention_take(const attention_group *group, const attention_rows *rows, const attention_tile *tile,
                               const attention_state *state);

#endif
