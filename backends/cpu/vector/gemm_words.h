/* Many tokens as words: activations of 15 bits whole, weights opened to 16 bits, a dot product of 2 columns an
 * instruction. Its tile is V_WORD_PANELS panels and V_WORD_TOKENS tokens: as many sums as registers hold. */
#ifndef NLM_CPU_GEMM_WORDS_H
#define NLM_CPU_GEMM_WORDS_H

#include "cpu/vector/gemm.h"

#define BLOCK_STEPS (BLOCK / 2)

/* One group of a tile of tokens. The columns of every four stand as 0 2 1 3, as bytes of weights are opened. */
typedef struct nlm_words_tile {
    const int16_t *q; /* [tokens][GROUP_COLUMNS] */
    const float *d;   /* [tokens] */
    const float *sum; /* [tokens][GROUP_BLOCKS]: of the block's integers */
} nlm_words_tile;

/* A group of columns of the panels of a tile; a step is the next two columns of the activations. */
typedef struct nlm_open_words {
    int16_t q[GROUP_COLUMNS / 2][V_WORD_PANELS][PANEL_ROWS][2]; /* without the offset */
    float scale[GROUP_BLOCKS * 2][V_WORD_PANELS][PANEL_ROWS];   /* [blocks x halves] */
    float min[GROUP_BLOCKS][V_WORD_PANELS][PANEL_ROWS];         /* of the types that have one */
} nlm_open_words;

typedef struct nlm_gemm_words {
    /* Opens blocks [block, block + n_blocks) of a panel as number `p` of a tile's; one for each type. */
    void (*const *open)(const uint8_t *panel, int64_t block, int32_t n_blocks, int32_t p, nlm_open_words *out);
    /* Adds the products of one group, of n_blocks blocks, to out[panel][token][PANEL_ROWS], which it begins where
     * is_first. */
    void (*run)(const nlm_matmul_kernels *kernels, const nlm_open_words *w, int32_t n_blocks, const nlm_words_tile *x,
                int is_first, float *out);
} nlm_gemm_words;

#endif
