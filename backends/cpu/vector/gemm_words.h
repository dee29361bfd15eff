/* Many tokens where a dot product takes 2 columns an instruction: activations of 15 bits as words, weights opened to
 * 16 bits; or, where 8 bits were asked for and weights have up to 6, both as bytes, two such products an instruction.
 * The tile is V_WORD_PANELS panels and V_WORD_TOKENS tokens: as many sums as registers hold. */
#ifndef NLM_CPU_GEMM_WORDS_H
#define NLM_CPU_GEMM_WORDS_H

#include "cpu/vector/gemm.h"

/* One group of a tile of tokens, [tokens][GROUP_COLUMNS] words or bytes. The columns of every four stand as 0 2 1 3
 * among words, as bytes of weights are opened; bytes are 128 greater than what they stand for. */
typedef struct nlm_words_tile {
    const void *q;
    const float *d;   /* [tokens] */
    const float *sum; /* [tokens][GROUP_BLOCKS]: of the block's integers */
} nlm_words_tile;

/* A vector of PANEL_ROWS rows of each panel of a tile: 2 columns as words, or 4 as bytes. */
typedef uint8_t nlm_words_step[V_WORD_PANELS][PANEL_ROWS * 4];

#define WORDS_STEP 2 /* columns */
#define BYTES_STEP 4

/* A group of columns of the panels of a tile, without the offset. */
typedef struct nlm_open_words {
    nlm_words_step q[GROUP_COLUMNS / WORDS_STEP];
    nlm_words_step seed[GROUP_BLOCKS * 2];                    /* [blocks x halves] of bytes: where the sums begin */
    float scale[GROUP_BLOCKS * 2][V_WORD_PANELS][PANEL_ROWS]; /* [blocks x halves], or one of each fold */
    float min[GROUP_BLOCKS][V_WORD_PANELS][PANEL_ROWS];       /* of the types that have one */
} nlm_open_words;

typedef struct nlm_gemm_words {
    int32_t column_bytes; /* of an activation */
    /* A group of a token's activations, of which `blocks` blocks are there; returns d. */
    float (*pack)(const float *x, int64_t blocks, int32_t plane_bits, void *q, float *sum);
    /* Opens blocks [block, block + n_blocks) of a panel as number `p` of a tile's; one for each type. */
    void (*const *open)(const uint8_t *panel, int64_t block, int32_t n_blocks, int32_t p, nlm_open_words *out);
    /* Adds the products of one group, of n_blocks blocks, to out[panel][token][PANEL_ROWS], which it begins where
     * is_first. */
    void (*run)(const nlm_matmul_kernels *kernels, const nlm_open_words *w, int32_t n_blocks, const nlm_words_tile *x,
                int is_first, float *out);
} nlm_gemm_words;

extern const nlm_gemm_words nlm_vector_gemm_words;

/* Panels that take turns are stored in pairs. */
_Static_assert(V_WORD_PANELS % 2 == 0, "a tile has whole pairs of panels");

#endif
