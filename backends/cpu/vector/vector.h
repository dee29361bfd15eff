/* What the ops of the vector backends share. Each backend compiles backends/cpu/vector and
 * backends/cpu/ops with its own instruction set and gives its int8 kernels by name. */
#ifndef NLM_CPU_VECTOR_H
#define NLM_CPU_VECTOR_H

#include "cpu/batch.h"
#include "cpu/vector/device.h"
#include "cpu/vector/matmul.h"
#include "cpu/view.h"

/* The ops of these backends: X(op, the flags they know, the layout wanted for its weights, what it needs besides
 * its tensors). The slot of each is nlm_vector_<op>, in ops/<op>.c. */
#define VECTOR_OPS(X)                                                                                                \
    X(embed, 0, NLM_LAYOUT_ROW_MAJOR, NULL)                                                                          \
    X(matmul, 0, LAYOUT_PANEL | NLM_KIT_OR_ROW_MAJOR, nlm_vector_matmul_needs)                                       \
    X(rms_norm, 0, NLM_LAYOUT_ROW_MAJOR, NULL)                                                                       \
    X(rope, NLM_ROPE_HALF_SPLIT | NLM_ROPE_INVERSE, NLM_LAYOUT_ROW_MAJOR, nlm_vector_rope_needs)                     \
    X(kv_append, 0, NLM_LAYOUT_ROW_MAJOR, NULL)                                                                      \
    X(attention, 0, NLM_LAYOUT_ROW_MAJOR, nlm_vector_attention_needs)                                                \
    X(silu_mul, 0, NLM_LAYOUT_ROW_MAJOR, NULL)                                                                       \
    X(add, 0, NLM_LAYOUT_ROW_MAJOR, NULL)                                                                            \
    X(mul, 0, NLM_LAYOUT_ROW_MAJOR, NULL)                                                                            \
    X(scale, 0, NLM_LAYOUT_ROW_MAJOR, NULL)                                                                          \
    X(softmax, 0, NLM_LAYOUT_ROW_MAJOR, NULL)                                                                        \
    X(conv1d_causal, NLM_CONV_SILU, NLM_LAYOUT_ROW_MAJOR, NULL)                                                      \
    X(ssm_scan, 0, NLM_LAYOUT_ROW_MAJOR, NULL)                                                                       \
    X(copy, 0, NLM_LAYOUT_ROW_MAJOR, NULL)                                                                           \
    X(argmax, NLM_ARGMAX_FINITE, NLM_LAYOUT_ROW_MAJOR, NULL)                                                         \
    X(gate_up_silu_mul, 0, LAYOUT_PANEL, nlm_vector_matmul_needs)                                                    \
    X(qkv_rope_append, NLM_ROPE_HALF_SPLIT | NLM_ROPE_INVERSE, LAYOUT_PANEL, nlm_vector_qkv_rope_append_needs)       \
    X(norm_matmul, 0, LAYOUT_PANEL, nlm_vector_norm_matmul_needs)                                                    \
    X(norm_xz_conv, NLM_CONV_SILU, LAYOUT_PANEL, nlm_vector_norm_xz_conv_needs)                                      \
    X(dt_bc_scan, 0, LAYOUT_PANEL, nlm_vector_dt_bc_scan_needs)                                                      \
    X(matmul_dx, 0, NLM_LAYOUT_ROW_MAJOR, nlm_vector_matmul_dx_needs)                                                \
    X(matmul_dw, NLM_GRADIENT_ADD, NLM_LAYOUT_ROW_MAJOR, nlm_vector_matmul_dw_needs)                                 \
    X(cross_entropy, NLM_GRADIENT_ADD, NLM_LAYOUT_ROW_MAJOR, nlm_vector_cross_entropy_needs)                         \
    X(attention_plain, 0, NLM_LAYOUT_ROW_MAJOR, nlm_vector_attention_plain_needs)                                    \
    X(attention_plain_bwd, 0, NLM_LAYOUT_ROW_MAJOR, nlm_vector_attention_plain_bwd_needs)                            \
    X(conv1d_causal_bwd, NLM_CONV_SILU | NLM_GRADIENT_ADD, NLM_LAYOUT_ROW_MAJOR, nlm_vector_conv1d_causal_bwd_needs) \
    X(ssm_scan_bwd, NLM_GRADIENT_ADD, NLM_LAYOUT_ROW_MAJOR, nlm_vector_ssm_scan_bwd_needs)                           \
    X(rms_norm_bwd, NLM_GRADIENT_ADD, NLM_LAYOUT_ROW_MAJOR, nlm_vector_rms_norm_bwd_needs)                           \
    X(silu_mul_bwd, 0, NLM_LAYOUT_ROW_MAJOR, NULL)                                                                   \
    X(embed_bwd, 0, NLM_LAYOUT_ROW_MAJOR, NULL)                                                                      \
    X(sum_sq, NLM_GRADIENT_ADD, NLM_LAYOUT_ROW_MAJOR, nlm_vector_sum_sq_needs)                                       \
    X(adamw, 0, NLM_LAYOUT_ROW_MAJOR, NULL)                                                                          \
    X(exp, 0, NLM_LAYOUT_ROW_MAJOR, NULL)                                                                            \
    X(accumulate, 0, NLM_LAYOUT_ROW_MAJOR, NULL)                                                                     \
    X(sum_rows, NLM_GRADIENT_ADD, NLM_LAYOUT_ROW_MAJOR, NULL)                                                        \
    X(sample, 0, NLM_LAYOUT_ROW_MAJOR, nlm_vector_sample_needs)                                                      \
    X(advance, 0, NLM_LAYOUT_ROW_MAJOR, NULL)

#define VECTOR_DECLARE(op, flags, layout, needs)                                   \
    nlm_status nlm_vector_##op(const nlm_exec_v1 *x, const nlm_##op##_args *args); \
    void nlm_vector_##op##_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out);
VECTOR_OPS(VECTOR_DECLARE)
#undef VECTOR_DECLARE

/* Rows of activations are pages apart, which no CPU foresees: a sweep over tokens brings nearer what the next sweep,
 * or a token VECTOR_AHEAD later, is to read. */
#define VECTOR_AHEAD 12
static inline void nlm_vector_expect(const void *at) {
    __builtin_prefetch(at, 0, 3);
}

/* A job over x's live rows, all but weights and sink filled in. */
nlm_matmul_job nlm_vector_job(const nlm_exec_v1 *x, const nlm_tensor *rows);
/* A sink and its arguments: where the products with each weight go, rows `stride` floats apart, with a bias
 * or NULL. */
typedef struct nlm_vector_rows {
    float *rows[MATMUL_MAX_WEIGHTS];
    int64_t stride[MATMUL_MAX_WEIGHTS];
    const float *bias[MATMUL_MAX_WEIGHTS];
    int64_t columns[MATMUL_MAX_WEIGHTS];
} nlm_vector_rows;
void nlm_vector_store_rows(const nlm_matmul_job *job, int32_t weight, int64_t panel, int32_t n_panels, int64_t token,
                           int32_t n_tokens, int32_t tile_tokens, const float *tile);
static inline const float *nlm_vector_data(const nlm_tensor *t) {
    return t ? t->data : NULL;
}

/* y = s * w / sqrt(mean(s^2) + eps) for one row of `columns`; w may be NULL. */
void nlm_vector_norm_row(const float *s, const float *w, float eps, int64_t columns, float *y);

/* The live rows of x normalised, where this worker finds all of them, and the call with what is left of its
 * memory; the bytes it takes for at most `tokens` rows are added to *out. Errors: CANCELLED. */
void nlm_vector_norm_rows_needs(int64_t tokens, int64_t columns, nlm_caps_v1 *out);
nlm_status nlm_vector_norm_rows(const nlm_exec_v1 *x, const nlm_tensor *rows, const float *w, float eps,
                                nlm_exec_v1 *out_rest, nlm_tensor *out_normed);

/* Rows channel .. channel+n of a [C, N] f32 tensor with its dimensions swapped, [N][V_LANES]: as a panel has
 * them, or in `memory`, lanes past n zero. */
const float *nlm_vector_lanes(const nlm_tensor *t, int64_t channel, int n, float *memory);

/* The channels [from, to) of the ops, from a multiple of V_LANES; conv's w and scan's a may be panels. */
void nlm_vector_conv_channels(const nlm_conv1d_causal_args *args, const nlm_cpu_batch *batch, nlm_kit_range channels);
void nlm_vector_scan_channels(const nlm_ssm_scan_args *args, const nlm_cpu_batch *batch, nlm_kit_range channels);

/* Rope, a position and a head at a time; memory of nlm_vector_rope_bytes. */
typedef struct nlm_vector_rotation {
    const nlm_rope_args *args;
    double *frequency; /* [n_rot / 2] */
    /* Of the position set last: [n_rot / 2], or of pairs of neighbours [n_rot], as those are multiplied: the cosine
     * twice, the sine's negative and the sine. */
    float *cosine, *sine;
} nlm_vector_rotation;
uint64_t nlm_vector_rope_bytes(int64_t head);
nlm_vector_rotation nlm_vector_rope_begin(const nlm_rope_args *args, void *scratch);
void nlm_vector_rope_at(nlm_vector_rotation *rope, int32_t pos);
void nlm_vector_rope_head(const nlm_vector_rotation *rope, int64_t size, const float *x, float *y);

/* A token's place in the cache, and storing one head there. */
typedef struct nlm_vector_kv {
    int64_t page, row;
} nlm_vector_kv;
nlm_status nlm_vector_kv_place(const nlm_exec_v1 *x, const nlm_kv_append_args *args, int32_t slot, int64_t t,
                               nlm_vector_kv *out);
void nlm_vector_kv_store(const nlm_kv_append_args *args, nlm_vector_kv place, int64_t g, const float *k,
                         const float *v);

#endif
