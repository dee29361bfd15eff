/* Many tokens: bound by multiply-adds. Kernels of one ISA over opened panels; see kernels.h for the order
 * of the sums, which is that of the gemv kernels. */
#ifndef NLM_CPU_GEMM_H
#define NLM_CPU_GEMM_H

#include "cpu/vector/kernels.h"

#define GEMM_PANELS 2

struct nlm_gemm_quant;
struct nlm_matmul_job;

/* A way of multiplying many tokens by quantised weights: what of the activations is kept, and how the product is cut.
 * The sums are the same. */
typedef struct nlm_gemm_way {
    /* Bytes of the activations of all tokens, and of each worker's scratch. */
    uint64_t (*workspace_bytes)(const struct nlm_gemm_quant *gemm, int64_t tokens, int64_t columns);
    uint64_t (*scratch_bytes)(const struct nlm_gemm_quant *gemm, int64_t tokens, int64_t columns);
    /* A worker's share of the activations into the workspace, and, after a barrier, of the product. */
    void (*pack)(const struct nlm_matmul_job *job);
    void (*run)(const struct nlm_matmul_job *job);
} nlm_gemm_way;

extern const nlm_gemm_way nlm_vector_gemm_by_planes; /* matmul_planes.c, gemm_planes.h */
extern const nlm_gemm_way nlm_vector_gemm_by_words;  /* matmul_words.c, gemm_words.h */

/* What a device multiplies quantised weights with. */
typedef struct nlm_gemm_quant {
    const nlm_gemm_way *way;
    const struct nlm_gemm_planes *planes;       /* the kernels of that way; NULL for the other */
    const struct nlm_gemm_words *words, *small; /* for weights of 8 bits, and for those of up to 6 */
    /* The kernels for few tokens of the same CPUs; the same types as nlm_vector_quant_kernels. */
    const nlm_matmul_kernels *few;
} nlm_gemm_quant;

#define GEMM_F32_TOKENS V_F32_TOKENS

/* Memory to bring nearer: from two places on rows, a stride apart, of so many lines of 64 bytes. */
typedef struct nlm_gemm_ahead {
    const uint8_t *data[GEMM_PANELS];
    int64_t rows, lines, stride_bytes;
} nlm_gemm_ahead;

#define GEMM_AHEADS 2

/* Columns of a tile of tokens against two panels of f32, continuing the sums of `out` unless is_first. */
typedef struct nlm_gemm_f32_call {
    const float *panels[GEMM_PANELS]; /* [columns][PANEL_ROWS] */
    const float *x;                   /* [columns][GEMM_F32_TOKENS] */
    float *out;                       /* [GEMM_PANELS][GEMM_F32_TOKENS][PANEL_ROWS] */
    int64_t columns;
    int32_t is_first;
    int32_t is_near;                   /* the panels are in the second cache already */
    nlm_gemm_ahead ahead[GEMM_AHEADS]; /* meanwhile; lines of a place at most `columns` in all */
} nlm_gemm_f32_call;

/* The tile has n_tokens tokens; sums of tokens past them are left as they are, or are nonsense. */
void nlm_vector_gemm_f32(const nlm_gemm_f32_call *call, int32_t n_tokens);

#endif
