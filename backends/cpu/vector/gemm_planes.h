/* Many tokens as planes of bytes: a dot product of 4 columns an instruction, once for the high bytes of the
 * activations and once for the low ones, if there are two. */
#ifndef NLM_CPU_GEMM_PLANES_H
#define NLM_CPU_GEMM_PLANES_H

#include "cpu/vector/gemm.h"

/* One group of a tile of `tokens` tokens, quantised. q is [blocks][PLANES][32 / piece][tokens][piece], or
 * [blocks][tokens][PLANES][32] where a piece is both planes of a block. */
typedef struct nlm_quant_tile {
    const int8_t *q;
    const float *d;       /* [tokens] */
    const float *sum;     /* [blocks][tokens] */
    const int32_t *sum16; /* [blocks][2][tokens] */
} nlm_quant_tile;

typedef struct nlm_gemm_planes {
    int32_t tokens; /* of a tile */
    int32_t piece;  /* bytes of a token that stand together in a tile: 4, 8 or PLANES * BLOCK */
    nlm_open_form form;
    /* Puts the bytes of an opened panel into the order that `run` takes; may be NULL. */
    void (*arrange)(uint8_t *q, int32_t n_blocks);
    /* before and after the calls of one thread; may be NULL */
    void (*begin)(const nlm_matmul_kernels *kernels);
    void (*end)(void);
    /* Adds the products of one group, of n_blocks blocks (even), to out[panel][token][PANEL_ROWS], which it begins
     * where is_first. */
    void (*run)(const nlm_matmul_kernels *kernels, const nlm_open_panel *panels, int32_t n_panels, int32_t n_blocks,
                const nlm_quant_tile *x, int is_first, float *out);
} nlm_gemm_planes;

#endif
