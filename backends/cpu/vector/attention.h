/* Attention over one tile of the cache, or of the batch's own keys: loading it, and taking query rows through it.
 * Used by ops/attention.c, ops/attention_plain.c and ops/attention_plain_bwd.c. */
#ifndef NLM_CPU_VECTOR_ATTENTION_H
#define NLM_CPU_VECTOR_ATTENTION_H

#include <nlm/tensor.h>

#include "cpu/vector/simd.h"

#define ATTENTION_TILE  64
#define ATTENTION_GROUP 8 /* query rows taken through a tile at once, at most */

/* Where the keys and values of a tile's positions are. Those outside [from, to) are not to be read; they
 * point to a row of zeros. */
typedef struct nlm_attention_rows {
    int64_t tile; /* its first position, a multiple of ATTENTION_TILE */
    int64_t from, to;
    const void *k[ATTENTION_TILE], *v[ATTENTION_TILE];
} nlm_attention_rows;

/* A tile as the kernels read it. One that many groups of rows go through is converted to f32 once, and the
 * next one is fetched meanwhile. One of f16 that a single group goes through stays f16, and the kernels
 * fetch the next one in even steps. The sums are the same. */
typedef struct nlm_attention_tile {
    int64_t size, head; /* elements of a head, and the same padded to whole vectors */
    int is_half;
    float *keys;          /* [size][TILE] */
    float *values;        /* [TILE][head] */
    uint16_t *half_keys;  /* where is_half: these instead of keys */
    const void *const *v; /* where is_half: rows of the cache instead of values */
    float *scales;        /* room: [size / 32][TILE] */
    /* Rows of the next tile, to be fetched. */
    const void *const *next_k, *const *next_v;
} nlm_attention_tile;

/* What the rows of a block have of some range of positions: p = 2^(score - greatest). */
typedef struct nlm_attention_state {
    float *sums;     /* [rows][head]: sum of p v */
    float *greatest; /* [rows] */
    float *weight;   /* [rows]: sum of p */
} nlm_attention_state;

/* Rows row .. row + count of a block, count <= ATTENTION_GROUP. */
typedef struct nlm_attention_group {
    const float *q;             /* [rows][head], scaled by log2(e) too */
    const int32_t *first, *end; /* [rows]: the positions each sees */
    int64_t row, count;
} nlm_attention_group;

/* Whether a block of `rows` can take its tiles as f16. */
int nlm_vector_attention_takes_halves(int64_t rows, int64_t size, nlm_dtype k_type, nlm_dtype v_type);
/* Both fill their part of `tile` from the rows. */
void nlm_vector_attention_load_keys(const nlm_attention_rows *rows, nlm_dtype dtype, nlm_attention_tile *tile);
void nlm_vector_attention_load_values(const nlm_attention_rows *rows, nlm_dtype dtype, nlm_attention_tile *tile);

/* Adds a tile, positions rows->tile on, to the state of a group. */
void nlm_vector_attention_take(const nlm_attention_group *group, const nlm_attention_rows *rows,
                               const nlm_attention_tile *tile, const nlm_attention_state *state);

#define ATTENTION_LOG2E 1.44269504088896341

/* Elements of a head, padded to whole vectors. */
static inline int64_t nlm_vector_attention_padded(int64_t size) {
    return (size + V_LANES - 1) / V_LANES * V_LANES;
}
/* How many of the rows left go together: six use the registers best, unless few are left. */
static inline int64_t nlm_vector_attention_group_size(int64_t left) {
    if (left <= ATTENTION_GROUP) return left;
    return left < 12 ? (left + 1) / 2 : 6;
}

/* A query row as a group has it; `scale` is the score's. */
void nlm_vector_attention_scale_row(const float *q, int64_t size, float scale, float *out);
/* A state of nothing. */
void nlm_vector_attention_clear(const nlm_attention_state *state, int64_t rows, int64_t head);
/* y, and lse if it is not NULL, of a row whose state is whole. */
void nlm_vector_attention_finish_row(const nlm_attention_state *state, int64_t row, int64_t size, float *y,
                                     float *lse);

/* The two products that a gradient is made of, for `count` rows, at most ATTENTION_GROUP, of a tile of f32:
 *   out[r][j] = rows[r] . keys[:][j] for the first `width` positions, some more may be written; rows are tile->head
 *   floats apart, those of out ATTENTION_TILE;
 *   sums[r] += sum_j p[r][j] values[j] over positions [from, to); as far apart. */
void nlm_vector_attention_products(int64_t count, const float *rows, const nlm_attention_tile *tile, int64_t width,
                                   float *out);
void nlm_vector_attention_add(int64_t count, const float *p, const nlm_attention_tile *tile, int64_t from, int64_t to,
                              float *sums);

#endif
