/* The matmul kernels of one ISA, as tables.
 *
 * All compute tile[v][m][row] = sum_k x[m][k] * w[panel v][k][row], accumulated for every element in the
 * same order, whichever kernel runs and however many tokens and panels it is given:
 *   plain weights      acc = fma(w, x, acc), k upwards
 *   quantised weights  per block of 32 columns: acc = fma(float(exact int sum) * scale, d, acc) for each half,
 *                      then acc = fma(min, d * sum(q), acc) */
#ifndef NLM_CPU_KERNELS_H
#define NLM_CPU_KERNELS_H

#include "cpu/vector/panel.h"

/* One token's activations as integers of 15 bits, 32 columns a block: x = d * (128 * high + low), both
 * bytes. (8 bits are not enough: the outliers of real models then cost 1e-3 and more of the logits, against
 * 1e-6 here.) Blocks past the last are zeros. */
typedef struct quant_row {
    const int8_t *q;      /* [blocks][2: high, low][32] */
    const float *d;       /* [blocks] */
    const float *d_sum;   /* [blocks]: d * the block's sum of integers */
    const int32_t *sum16; /* [blocks][2]: sum of 16 integers */
} quant_row;

/* A quantised panel opened up for many tokens: bytes, f32 scales and mins. */
typedef struct open_panel {
    const uint8_t *q;   /* [blocks][8][PANEL_ROWS][4] */
    const float *scale; /* [blocks][halves][PANEL_ROWS] */
    const float *min;   /* [blocks][PANEL_ROWS], or unused */
} open_panel;

#define PLANES      2 /* bytes of an activation */
#define PLANE_BITS  7 /* of the low one */
#define GEMV_TOKENS 4
#define GEMV_PANELS 4

/* A few tokens over packed panels; reads each weight once from memory. x rows f32 for plain types. */
typedef void (*gemv_f32_fn)(const uint8_t *const *panels, int64_t columns, const float *const *x, float *tile);
typedef void (*gemv_quant_fn)(const uint8_t *const *panels, int64_t records, const quant_row *x, float *tile);
/* Opens a panel: plain types as f32 [columns][PANEL_ROWS] into q. */
typedef void (*open_fn)(const uint8_t *panel, int64_t records, uint8_t *q, float *scale, float *min);

typedef struct matmul_kernels {
    nlm_dtype dtype;
    int32_t is_quant, offset, halves, has_min;
    gemv_f32_fn gemv_f32[2][GEMV_TOKENS]; /* [one panel, GEMV_PANELS panels][tokens - 1] */
    gemv_quant_fn gemv_quant[2][GEMV_TOKENS];
    open_fn open;
} matmul_kernels;

#define NLM_VECTOR_PLAIN_TYPES 3
#define NLM_VECTOR_QUANT_TYPES 8
extern const matmul_kernels nlm_vector_plain_kernels[NLM_VECTOR_PLAIN_TYPES];
extern const matmul_kernels nlm_vector_quant_kernels[NLM_VECTOR_QUANT_TYPES];

/* NULL for a type without kernels. */
const matmul_kernels *nlm_vector_matmul_kernels_find(nlm_dtype dtype);

#endif
