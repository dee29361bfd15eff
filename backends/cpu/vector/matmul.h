/* y = x w^T over packed panels, for matmul and the ops fused with it.
 *
 * A job is a product of one x with up to three weights, cut into panels of PANEL_ROWS rows; the sink
 * receives finished tiles. Few tokens run the gemv kernels (every worker quantises the rows for itself:
 * cheaper than a barrier), many the gemm kernels (x is packed once, in slices, then a barrier). */
#ifndef NLM_CPU_MATMUL_H
#define NLM_CPU_MATMUL_H

#include <nlm/plugin.h>

#include "cpu/vector/gemm.h"

#define MATMUL_MAX_WEIGHTS 3
#define MATMUL_GEMM_TOKENS 16 /* from this many tokens on */

typedef struct nlm_matmul_weight {
    const uint8_t *panels;
    int64_t rows;
    const nlm_matmul_kernels *kernels;
    const nlm_panel_format *format;
} nlm_matmul_weight;

typedef struct nlm_matmul_job nlm_matmul_job;

/* tile[p][m][PANEL_ROWS] for n_panels panels from `panel` of weight `weight` (interleaved: of both
 * weights in turn) and n_tokens tokens from `token`; `tile_tokens` is the distance of panels in tokens. */
typedef void (*nlm_matmul_sink)(const nlm_matmul_job *job, int32_t weight, int64_t panel, int32_t n_panels,
                                int64_t token, int32_t n_tokens, int32_t tile_tokens, const float *tile);

struct nlm_matmul_job {
    const nlm_exec_v1 *exec;
    const nlm_gemm_quant *gemm;
    const float *x;
    int64_t x_stride; /* floats */
    int64_t tokens, columns;
    int32_t n_weights;
    int32_t is_interleaved; /* two weights of one type and size: their panels take turns */
    nlm_matmul_weight weights[MATMUL_MAX_WEIGHTS];
    nlm_matmul_sink sink;
    const void *sink_args;
    /* Which panels are this worker's: its share of all, or [panel_from, panel_to), counted as they are worked
     * on: interleaved weights take turns, others follow each other. */
    int32_t has_panels;
    int64_t panel_from, panel_to;
    /* Workers that are done may help others: with one job of an op, where it does not matter who does what. */
    int32_t may_claim;
};

/* Fills a weight from its packed tensor. */
nlm_matmul_weight nlm_vector_matmul_weight_of(const nlm_tensor *w);

/* Bytes that a job over at most `tokens` tokens needs. */
uint64_t nlm_vector_matmul_workspace_bytes(const nlm_gemm_quant *gemm, int64_t tokens, int64_t columns);
uint64_t nlm_vector_matmul_scratch_bytes(const nlm_gemm_quant *gemm, int64_t tokens, int64_t columns);

/* Whether all weights take the same packed activations: quantised, or plain. */
int nlm_vector_matmul_is_one_job(const nlm_matmul_job *job);

/* This worker's slice. Errors: CANCELLED from the barrier. */
nlm_status nlm_vector_matmul_run(const nlm_matmul_job *job);

#endif
