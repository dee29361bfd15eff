/* Many tokens: bound by multiply-adds. Kernels of one ISA over opened panels; see kernels.h for the order
 * of the sums, which is that of the gemv kernels. */
#ifndef NLM_CPU_GEMM_H
#define NLM_CPU_GEMM_H

#include "cpu/vector/kernels.h"

#define GEMM_PANELS 2

/* One group of a tile of `tokens` tokens, quantised. q is [blocks][PLANES][8][tokens][4] for dword kernels and
 * [blocks][tokens][PLANES][32] for row-major ones. */
typedef struct nlm_quant_tile {
    const int8_t *q;
    const float *d;       /* [tokens] */
    const float *sum;     /* [blocks][tokens] */
    const int32_t *sum16; /* [blocks][2][tokens] */
} nlm_quant_tile;

typedef struct nlm_gemm_quant {
    int32_t tokens; /* of a tile */
    int32_t is_row_major;
    nlm_open_form form;
    /* before and after the calls of one thread; may be NULL */
    void (*begin)(const nlm_matmul_kernels *kernels);
    void (*end)(void);
    /* Adds the products of one group, of n_blocks blocks (even), to out[panel][token][PANEL_ROWS], which it begins
     * where is_first. */
    void (*run)(const nlm_matmul_kernels *kernels, const nlm_open_panel *panels, int32_t n_panels, int32_t n_blocks,
                const nlm_quant_tile *x, int is_first, float *out);
    /* The kernels for few tokens of the same CPUs; the same types as nlm_vector_quant_kernels. */
    const nlm_matmul_kernels *few;
} nlm_gemm_quant;

#if V_LANES == 16
#define GEMM_F32_TOKENS 12
#else
#define GEMM_F32_TOKENS 6
#endif

/* Columns of a tile of tokens against two panels of f32, continuing the sums of `out` unless is_first. */
typedef struct nlm_gemm_f32_call {
    const float *panels[GEMM_PANELS]; /* [columns][PANEL_ROWS] */
    const float *x;                   /* [columns][GEMM_F32_TOKENS] */
    float *out;                       /* [GEMM_PANELS][GEMM_F32_TOKENS][PANEL_ROWS] */
    int64_t columns;
    int32_t is_first;
    /* Two ranges of memory to bring nearer meanwhile: lines of 64 bytes of each, at most `columns`. */
    int64_t ahead_lines;
    const uint8_t *ahead[GEMM_PANELS];
} nlm_gemm_f32_call;

/* The tile has n_tokens tokens; sums of tokens past them are left as they are, or are nonsense. */
void nlm_vector_gemm_f32(const nlm_gemm_f32_call *call, int32_t n_tokens);

#endif
