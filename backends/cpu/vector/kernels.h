/* The matmul kernels of one ISA, as tables.
 *
 * All compute tile[v][m][row] = sum_k x[m][k] * w[panel v][k][row], accumulated for every element in the
 * same order, whichever kernel runs and however many tokens and panels it is given:
 *   plain weights      acc = fma(w, x, acc), k upwards
 *   quantised weights  per group of 128 columns, s = 0; per block of 32: s = fma(float(exact int sum), scale, s)
 *                      for each half, then s = fma(min, sum(q), s); at the end acc = fma(s, d, acc)
 *   the same, folded   (FORM_LIST) per `fold` blocks: s = fma(float(exact int sum, factors included), the
 *                      super-block's f16 scale, s), then s = fma(min, sum(q), s) for each */
#ifndef NLM_CPU_KERNELS_H
#define NLM_CPU_KERNELS_H

#include "cpu/vector/panel_formats.h"

#define GROUP_BLOCKS  4 /* of 32 columns that share a scale of the activations */
#define GROUP_COLUMNS (GROUP_BLOCKS * BLOCK)

/* One token's activations as integers x = d * (high << plane_bits | low), both bytes: 15 bits, or 12 for weights
 * of 4 bits where V_NIBBLE_PLANE_BITS says so. (8 are not enough: the outliers of real models then cost 1e-3 and more
 * of the logits; see docs/adr/0002. Who asks for them gets q in one byte: nlm_vector_byte_kernels, or kernels whose
 * PLANES is 1 and whose one byte is `high`, plane_bits being 0 then.) Blocks past the last are zeros. */
typedef struct nlm_quant_row {
    const int8_t *q;      /* [blocks][PLANES: high, low][32], or words [blocks][32], of every four columns 0 2 1 3;
                           or bytes [blocks][32] */
    const float *d;       /* [groups] */
    const float *sum;     /* [blocks]: of the block's integers */
    const int32_t *sum16; /* [blocks][2]: of 16 integers; beside bytes as v_round32_bytes has them */
} nlm_quant_row;

/* Blocks of a quantised panel opened up: bytes, f32 scales and mins. */
typedef struct nlm_open_panel {
    const uint8_t *q;   /* [blocks][8][PANEL_ROWS][4]; see nlm_open_form */
    const float *scale; /* [blocks][halves][PANEL_ROWS] */
    const float *min;   /* [blocks][PANEL_ROWS], or unused */
} nlm_open_panel;

typedef enum nlm_open_form {
    OPEN_UNSIGNED, /* q as packed */
    OPEN_TILES     /* q - offset; of weights of 4 bits [blocks][2: 16 times that, that][8][PANEL_ROWS][4] */
} nlm_open_form;

#ifndef PLANES
#define PLANES 2 /* bytes of an activation; 1 where files are compiled once more for activations of 8 bits */
#endif
#define GEMV_PANELS       4
#define GEMV_TOKENS       4 /* of quantised weights at most */
#define GEMV_PLAIN_TOKENS 8

/* A few tokens over packed panels; reads each weight once from memory. x rows f32 for plain types. */
typedef void (*nlm_gemv_f32_fn)(const uint8_t *const *panels, int64_t columns, const float *const *x, float *tile);
typedef void (*nlm_gemv_quant_fn)(const uint8_t *const *panels, int64_t records, const nlm_quant_row *x, float *tile);
/* Opens columns of a plain panel as f32 [columns][PANEL_ROWS]. */
typedef void (*nlm_open_plain_fn)(const uint8_t *panel, int64_t columns, float *out);
/* Opens blocks [block, block + n_blocks) of a quantised panel. */
typedef void (*nlm_open_quant_fn)(const uint8_t *panel, int64_t block, int32_t n_blocks, nlm_open_form form,
                                  uint8_t *q, float *scale, float *min);

/* Of a quantised format, see FORM_LIST. */
typedef enum nlm_quant_form {
#define QUANT_FORM(form, offset, halves, has_min, most, plane_bits, fold) QUANT_FORM_##form,
    FORM_LIST(QUANT_FORM)
#undef QUANT_FORM
} nlm_quant_form;

typedef struct nlm_matmul_kernels {
    nlm_dtype dtype;
    nlm_quant_form form;
    int32_t is_quant, offset, halves, has_min;
    int32_t is_small;   /* up to 6 bits */
    int32_t plane_bits; /* of the low byte of the activations, where there are two */
    int32_t fold;       /* blocks that have one sum, see FORM_LIST; 0: sums are of blocks and halves */
    /* Activations as gemv_quant takes them, in memory of nlm_vector_quant_row_bytes. */
    nlm_quant_row (*make_row)(const float *x, int64_t columns, void *memory);
    nlm_gemv_f32_fn gemv_f32[2][GEMV_PLAIN_TOKENS]; /* [one panel, GEMV_PANELS panels][tokens - 1] */
    nlm_gemv_quant_fn gemv_quant[2][GEMV_TOKENS];
    nlm_open_plain_fn open_plain;
} nlm_matmul_kernels;

enum {
#define ONE(NAME, name, blocks, form) +1
    NLM_VECTOR_PLAIN_TYPES = 3,
    NLM_VECTOR_QUANT_TYPES = 0 QUANT_LIST(ONE)
#undef ONE
};
extern const nlm_matmul_kernels nlm_vector_plain_kernels[NLM_VECTOR_PLAIN_TYPES];
extern const nlm_matmul_kernels nlm_vector_quant_kernels[NLM_VECTOR_QUANT_TYPES];
/* For activations of 8 bits; in the same order. */
extern const nlm_matmul_kernels nlm_vector_byte_kernels[NLM_VECTOR_QUANT_TYPES];
extern const nlm_open_quant_fn nlm_vector_open_quant[NLM_VECTOR_QUANT_TYPES]; /* in the same order */

/* NULL for a type without kernels. */
const nlm_matmul_kernels *nlm_vector_matmul_kernels_find(nlm_dtype dtype);

#endif
