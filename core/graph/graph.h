/* The graph builder: one call per op, shapes inferred and checked as it goes.
 *
 * A builder call that fails records the first error and returns NLM_NO_VALUE; calls given
 * NLM_NO_VALUE for a required input return it too. Check once, with nlm_graph_check or by planning. */
#ifndef NLM_GRAPH_GRAPH_H
#define NLM_GRAPH_GRAPH_H

#include "exec/parameter.h"
#include "exec/program.h"
#include "exec/state.h"
#include "exec/weight.h"

typedef struct nlm_graph nlm_graph;
typedef int32_t nlm_value;
#define NLM_NO_VALUE (-1)

nlm_status nlm_graph_create(nlm_graph **out, nlm_error *err);
void nlm_graph_destroy(nlm_graph *graph);
nlm_status nlm_graph_check(const nlm_graph *graph, nlm_error *err);
/* Later ops belong to this layer (-1: none): for the profile and for messages. */
void nlm_graph_set_layer(nlm_graph *graph, int32_t layer);
/* Later ops are the backward pass of those so far. They may read any value of the forward pass, whose ops are fused
 * all the same: what a fused op does not give is computed again, before the first op that reads it. */
void nlm_graph_begin_backward(nlm_graph *graph);

/* Leaves. Weights, states and parameters are borrowed and outlive the programs. */
nlm_value nlm_graph_input(nlm_graph *graph, const char *name, nlm_dtype dtype, int rank, const int64_t *shape,
                          uint32_t row_kind);
/* The counts of live rows as an input, [NLM_ROWS_KINDS] i32, once a graph: every run fills it. */
nlm_value nlm_graph_live_rows(nlm_graph *graph);
nlm_value nlm_graph_weight(nlm_graph *graph, nlm_weight *weight);
nlm_value nlm_graph_state(nlm_graph *graph, nlm_state *state);
/* A parameter stands where an op takes an input or a weight. It is never packed, as it changes from run to run, and
 * like a state it is in one memory, whose devices run all ops that touch it. */
nlm_value nlm_graph_parameter(nlm_graph *graph, nlm_parameter *parameter);
/* The gradient of a parameter of the graph: a state of its shape. */
nlm_value nlm_graph_gradient(nlm_graph *graph, nlm_value parameter);
/* Marks a value to be read on the host after a run. */
void nlm_graph_output(nlm_graph *graph, nlm_value value);

/* A matmul by a weight. */
typedef struct nlm_graph_product {
    nlm_value x;
    nlm_tensor x_tensor; /* shape and strides; data NULL */
    const nlm_weight *weight;
} nlm_graph_product;

/* The index-th of the ops so far, in their order; false: there are no more. */
bool nlm_graph_product_at(const nlm_graph *graph, uint32_t index, nlm_graph_product *out);

/* Views of values of plain types; no op. columns: [R, N] -> [R, count] from `from`. reshape: dimension 0,
 * its stride and the product of the others stay; each row's elements must follow one another. */
nlm_value nlm_graph_columns(nlm_graph *graph, nlm_value x, int64_t from, int64_t count);
nlm_value nlm_graph_reshape(nlm_graph *graph, nlm_value x, int rank, const int64_t *shape);

/* The batch a graph is built for: five small i32 inputs, see op_args.h. */
typedef struct nlm_batch_values {
    nlm_value pos, seq_start, slot, block_table;
} nlm_batch_values;

typedef struct nlm_rope_params {
    float freq_base, freq_scale;
    int32_t n_rot;
    uint32_t flags;         /* NLM_ROPE_* */
    nlm_value freq_factors; /* or NLM_NO_VALUE */
} nlm_rope_params;

/* Ops: arguments as in nlm/op_args.h; optional ones may be NLM_NO_VALUE. Each returns y. */
nlm_value nlm_graph_embed(nlm_graph *g, nlm_value ids, nlm_value w);
nlm_value nlm_graph_matmul(nlm_graph *g, nlm_value x, nlm_value w, nlm_value bias, nlm_value residual);
nlm_value nlm_graph_rms_norm(nlm_graph *g, nlm_value x, nlm_value w, float eps);
/* As rms_norm of x + residual; *out_sum receives the sum's value. */
nlm_value nlm_graph_add_rms_norm(nlm_graph *g, nlm_value x, nlm_value residual, nlm_value w, float eps,
                                 nlm_value *out_sum);
nlm_value nlm_graph_rope(nlm_graph *g, nlm_value x, nlm_value pos, const nlm_rope_params *rope);
void nlm_graph_kv_append(nlm_graph *g, nlm_value k, nlm_value v, nlm_value k_cache, nlm_value v_cache,
                         const nlm_batch_values *batch);
nlm_value nlm_graph_attention(nlm_graph *g, nlm_value q, nlm_value k_cache, nlm_value v_cache,
                              const nlm_batch_values *batch, float scale, int32_t window);
/* out_lse: NULL, or receives the value of the rows' log-sum-exp. */
nlm_value nlm_graph_attention_plain(nlm_graph *g, nlm_value q, nlm_value k, nlm_value v, nlm_value seq_start,
                                    float scale, int32_t window, nlm_value *out_lse);
nlm_value nlm_graph_silu_mul(nlm_graph *g, nlm_value gate, nlm_value up);
nlm_value nlm_graph_add(nlm_graph *g, nlm_value a, nlm_value b);
nlm_value nlm_graph_mul(nlm_graph *g, nlm_value a, nlm_value b);
nlm_value nlm_graph_scale(nlm_graph *g, nlm_value x, float factor, float offset);
nlm_value nlm_graph_softmax(nlm_graph *g, nlm_value x, float factor);
/* Of these two: out_state NULL, the state is updated in place. Else `state` is a state or any other value and stays
 * as it is, and *out_state receives the value that follows it, so that the op can be computed again. */
nlm_value nlm_graph_conv1d_causal(nlm_graph *g, nlm_value x, nlm_value w, nlm_value bias, nlm_value state,
                                  nlm_value *out_state, const nlm_batch_values *batch, uint32_t flags);
nlm_value nlm_graph_ssm_scan(nlm_graph *g, nlm_value x, nlm_value dt, nlm_value a, nlm_value b, nlm_value c,
                             nlm_value d, nlm_value z, nlm_value state, nlm_value *out_state,
                             const nlm_batch_values *batch);
nlm_value nlm_graph_copy(nlm_graph *g, nlm_value x, nlm_dtype dtype);
/* x added up over the ranks of the env (exec/comm.h), f32; x itself where there is one rank. x may be a gradient,
 * which stays as it is. */
nlm_value nlm_graph_sum_over_ranks(nlm_graph *g, nlm_value x);
nlm_value nlm_graph_argmax(nlm_graph *g, nlm_value x, uint32_t flags);
nlm_value nlm_graph_sample(nlm_graph *g, nlm_value x, nlm_value slot, nlm_value pos, nlm_value cuts, nlm_value draws);

/* What advance makes of a run for the next: inputs of the graph, `live` being nlm_graph_live_rows. All ops that read
 * them come before it. */
typedef struct nlm_next_values {
    nlm_value stops, ids, pos, slot, seq_start, live, tokens;
} nlm_next_values;
void nlm_graph_advance(nlm_graph *g, nlm_value next, const nlm_next_values *values);

nlm_value nlm_graph_exp(nlm_graph *g, nlm_value x, float factor);
/* Added up in `total`, a state [1]; what it held counts if `adds`. x: a value, a parameter or its gradient. */
void nlm_graph_sum_sq(nlm_graph *g, nlm_value x, nlm_value total, bool adds);

typedef struct nlm_cross_entropy_params {
    float smoothing, z_loss;
} nlm_cross_entropy_params;
/* The losses of rows. *out_dx (NULL: no gradients are wanted) receives the gradient of their sum by x; those of w and
 * bias are added to their own if they are parameters. */
nlm_value nlm_graph_cross_entropy(nlm_graph *g, nlm_value x, nlm_value w, nlm_value bias, nlm_value labels,
                                  const nlm_cross_entropy_params *params, nlm_value *out_dx);

/* The states of AdamW for a parameter; master may be NLM_NO_VALUE. rates: an input, see nlm/op_args.h. */
typedef struct nlm_adamw_values {
    nlm_value master, m, v, rates;
} nlm_adamw_values;
typedef struct nlm_adamw_params {
    float beta1, beta2, eps, weight_decay;
} nlm_adamw_params;
void nlm_graph_adamw(nlm_graph *g, nlm_value parameter, const nlm_adamw_values *values,
                     const nlm_adamw_params *params);

/* ---- the backward pass ---- */

/* The gradient of a value, where the pass begins. */
typedef struct nlm_seed {
    nlm_value of, gradient;
} nlm_seed;

/* What is not kept for the backward pass but computed again, each more than the one before; the bits are the same. */
typedef enum nlm_recompute {
    NLM_RECOMPUTE_CHEAP, /* norms and gates: it costs nothing that can be measured */
    NLM_RECOMPUTE_UP,    /* and the products that gates are multiplied with */
    NLM_RECOMPUTE_LAYERS /* of a layer all but what the next one reads */
} nlm_recompute;

typedef struct nlm_backward {
    const nlm_seed *seeds;
    uint32_t n_seeds, n_wanted;
    const nlm_value *wanted;  /* inputs and states whose gradients are asked for beside the parameters' */
    nlm_value *out_gradients; /* [n_wanted] NLM_NO_VALUE: the loss does not depend on it */
    nlm_recompute recompute;
    bool pauses; /* a run may stop before it, with what it reads kept: nlm_run_info.pauses */
    /* Gradients of parameters are of one run: where an op can, it writes them instead of adding to them, and they
     * share memory with activations that are not needed any more. They are there until a program runs whose env has
     * the same activations; on a stream device, no such program can be planned that needs more memory. */
    bool begins_gradients;
} nlm_backward;

/* Emits the backward of all ops so far: gradients of parameters are added to theirs (nlm_graph_gradient), or begun.
 * Errors are the builder's: UNSUPPORTED for an op that has no backward. */
void nlm_graph_backward(nlm_graph *graph, const nlm_backward *how);

/* Fuses, assigns each op to a device, places weights and states, packs activations by liveness and
 * binds. The graph is not needed afterwards; values keep their numbers. Errors UNSUPPORTED (an op no
 * device has: op, shapes, each device's reason), OUT_OF_MEMORY, and the builder's. */
nlm_status nlm_graph_plan(const nlm_graph *graph, const nlm_env *env, nlm_program **out, nlm_error *err);

/* Options of planning that tests want; nlm_graph_plan uses all true. */
typedef struct nlm_plan_options {
    bool do_fuse; /* else every fused op is decomposed */
    bool do_pack; /* share activation memory by liveness */
} nlm_plan_options;
nlm_status nlm_graph_plan_with(const nlm_graph *graph, const nlm_env *env, const nlm_plan_options *options,
                               nlm_program **out, nlm_error *err);

#endif
