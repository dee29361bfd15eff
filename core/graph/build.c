/* The builder: leaves, views and one call per op, each checked at once. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph_impl.h"
#include "tensor/dtype.h"

#define WHERE "nlm_graph"

nlm_status nlm_graph_create(nlm_graph **out, nlm_error *err) {
    nlm_graph *graph = calloc(1, sizeof *graph);
    if (!graph) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for a graph");
    graph->layer = -1;
    *out = graph;
    return NLM_OK;
}

void nlm_graph_destroy(nlm_graph *graph) {
    if (!graph) return;
    free(graph->values);
    free(graph->nodes);
    free(graph->leaves.entries);
    nlm_arena_release(&graph->arena);
    free(graph);
}

nlm_status nlm_graph_check(const nlm_graph *graph, nlm_error *err) {
    if (graph->error.code == NLM_OK) return NLM_OK;
    nlm_error_give(err, &graph->error);
    return graph->error.code;
}

void nlm_graph_set_layer(nlm_graph *graph, int32_t layer) {
    graph->layer = layer;
}

void nlm_graph_begin_backward(nlm_graph *graph) {
    graph->is_backward = true;
}

static bool has_failed(const nlm_graph *graph) {
    return graph->error.code != NLM_OK;
}

/* Doubles an array when it is full; false (and the graph has failed) without memory. */
static bool grow(nlm_graph *graph, void **items, uint32_t count, uint32_t *capacity, size_t item_bytes) {
    if (count < *capacity) return true;
    const uint32_t larger = *capacity ? *capacity * 2 : 64;
    void *moved = larger > INT32_MAX / 2 ? NULL : realloc(*items, larger * item_bytes);
    if (!moved) {
        nlm_fail(&graph->error, NLM_OUT_OF_MEMORY, WHERE, "no memory for a graph of %u parts", larger);
        return false;
    }
    *items = moved;
    *capacity = larger;
    return true;
}

static nlm_value add_value(nlm_graph *graph, const nlm_value_info *info) {
    if (has_failed(graph)) return NLM_NO_VALUE;
    void *values = graph->values;
    if (!grow(graph, &values, graph->n_values, &graph->value_capacity, sizeof *graph->values)) return NLM_NO_VALUE;
    graph->values = values;
    const nlm_value value = (nlm_value)graph->n_values++;
    graph->values[value] = *info;
    if (info->kind != NLM_VALUE_VIEW) graph->values[value].base = value;
    return value;
}

static bool is_value(const nlm_graph *graph, nlm_value value) {
    return value >= 0 && (uint32_t)value < graph->n_values;
}

/* ---- leaves ---------------------------------------------------------------------------------- */

nlm_value nlm_graph_input(nlm_graph *graph, const char *name, nlm_dtype dtype, int rank, const int64_t *shape,
                          uint32_t row_kind) {
    if (has_failed(graph)) return NLM_NO_VALUE;
    nlm_value_info info = {.kind = NLM_VALUE_INPUT};
    if (nlm_tensor_init(&info.tensor, dtype, rank, shape, NULL, &graph->error) != NLM_OK) return NLM_NO_VALUE;
    if (nlm_tensor_bytes(&info.tensor) == 0 || row_kind >= NLM_ROWS_KINDS) {
        nlm_fail(&graph->error, NLM_INVALID_ARGUMENT, WHERE,
                 "input %s: expected a shape without zeros and a row kind", name);
        return NLM_NO_VALUE;
    }
    info.tensor.row_kind = row_kind;
    info.name = nlm_arena_strndup(&graph->arena, name, strlen(name));
    if (!info.name) {
        nlm_fail(&graph->error, NLM_OUT_OF_MEMORY, WHERE, "no memory for an input's name");
        return NLM_NO_VALUE;
    }
    return add_value(graph, &info);
}

nlm_value nlm_graph_live_rows(nlm_graph *graph) {
    const nlm_value value =
        nlm_graph_input(graph, "live_rows", NLM_I32, 1, (const int64_t[]){NLM_ROWS_KINDS}, NLM_ROWS_FIXED);
    if (value != NLM_NO_VALUE) graph->values[value].is_counts = true;
    return value;
}

/* The value of what is borrowed, which is one however often it is asked for. */
static nlm_value add_leaf(nlm_graph *graph, const void *object, nlm_value_info *info) {
    const nlm_value known = nlm_leaves_find(&graph->leaves, object, info->kind);
    if (known != NLM_NO_VALUE) return known;
    info->tensor.data = NULL;
    const nlm_value value = add_value(graph, info);
    if (value != NLM_NO_VALUE && !nlm_leaves_add(&graph->leaves, object, info->kind, value)) {
        nlm_fail(&graph->error, NLM_OUT_OF_MEMORY, WHERE, "no memory for a graph");
        return NLM_NO_VALUE;
    }
    return value;
}

nlm_value nlm_graph_weight(nlm_graph *graph, nlm_weight *weight) {
    if (has_failed(graph)) return NLM_NO_VALUE;
    nlm_value_info info = {
        .kind = NLM_VALUE_WEIGHT, .tensor = weight->source, .name = weight->name, .weight = weight};
    return add_leaf(graph, weight, &info);
}

static nlm_value add_held(nlm_graph *graph, nlm_value_kind kind, nlm_state *state, nlm_parameter *parameter) {
    if (has_failed(graph)) return NLM_NO_VALUE;
    nlm_value_info info = {
        .kind = kind, .tensor = state->tensor, .name = state->name, .state = state, .parameter = parameter};
    return add_leaf(graph, state, &info);
}

nlm_value nlm_graph_state(nlm_graph *graph, nlm_state *state) {
    return add_held(graph, NLM_VALUE_STATE, state, NULL);
}

nlm_value nlm_graph_parameter(nlm_graph *graph, nlm_parameter *parameter) {
    return add_held(graph, NLM_VALUE_PARAMETER, &parameter->value, parameter);
}

nlm_value nlm_graph_gradient(nlm_graph *graph, nlm_value parameter) {
    if (has_failed(graph)) return NLM_NO_VALUE;
    if (!is_value(graph, parameter) || graph->values[parameter].kind != NLM_VALUE_PARAMETER) {
        nlm_fail(&graph->error, NLM_INVALID_ARGUMENT, WHERE, "the gradient of a value that is no parameter");
        return NLM_NO_VALUE;
    }
    const nlm_value gradient = nlm_graph_state(graph, &graph->values[parameter].parameter->gradient);
    if (gradient == NLM_NO_VALUE) return NLM_NO_VALUE;
    graph->values[gradient].is_gradient = true;
    graph->values[gradient].gradient_of = parameter;
    return gradient;
}

void nlm_graph_output(nlm_graph *graph, nlm_value value) {
    if (has_failed(graph)) return;
    if (!is_value(graph, value) || graph->values[graph->values[value].base].kind != NLM_VALUE_RESULT) {
        nlm_fail(&graph->error, NLM_INVALID_ARGUMENT, WHERE, "an output must be the result of an op");
        return;
    }
    graph->values[value].is_output = true;
}

nlm_value nlm_graph_empty_like(nlm_graph *graph, nlm_value like) {
    if (has_failed(graph) || !is_value(graph, like)) return NLM_NO_VALUE;
    nlm_value_info info = {.kind = NLM_VALUE_RESULT};
    const nlm_tensor *tensor = &graph->values[like].tensor;
    if (nlm_tensor_init(&info.tensor, tensor->dtype, tensor->rank, tensor->shape, NULL, &graph->error) != NLM_OK)
        return NLM_NO_VALUE;
    info.tensor.row_kind = tensor->row_kind;
    return add_value(graph, &info);
}

/* ---- views ----------------------------------------------------------------------------------- */

static const nlm_value_info *viewable(nlm_graph *graph, nlm_value x, const char *what) {
    if (has_failed(graph)) return NULL;
    if (!is_value(graph, x)) {
        nlm_fail(&graph->error, NLM_INVALID_ARGUMENT, WHERE, "%s of a value that does not exist", what);
        return NULL;
    }
    const nlm_value_info *info = &graph->values[x];
    const nlm_dtype_info *dtype = nlm_dtype_find(info->tensor.dtype);
    if (nlm_value_is_held(info) || !dtype || dtype->block_elements != 1) {
        nlm_fail(&graph->error, NLM_INVALID_ARGUMENT, WHERE, "%s of a %s: only values of plain types have views",
                 what,
                 nlm_value_is_held(info) ? info->kind == NLM_VALUE_STATE ? "state" : "parameter"
                                         : nlm_dtype_name(info->tensor.dtype));
        return NULL;
    }
    return info;
}

static nlm_value add_view(nlm_graph *graph, const nlm_value_info *of, const nlm_tensor *tensor, uint64_t offset) {
    const nlm_value_info view = {
        .kind = NLM_VALUE_VIEW, .base = of->base, .offset_bytes = of->offset_bytes + offset, .tensor = *tensor};
    return add_value(graph, &view);
}

nlm_value nlm_graph_columns(nlm_graph *graph, nlm_value x, int64_t from, int64_t count) {
    const nlm_value_info *info = viewable(graph, x, "columns");
    if (!info) return NLM_NO_VALUE;
    nlm_tensor tensor = info->tensor;
    if (tensor.rank != 2 || from < 0 || count < 1 || from > tensor.shape[1] - count) {
        char shape[96];
        nlm_tensor_describe(&tensor, shape, sizeof shape);
        nlm_fail(&graph->error, NLM_INVALID_ARGUMENT, WHERE, "columns %" PRId64 " to %" PRId64 " of %s", from,
                 from + count, shape);
        return NLM_NO_VALUE;
    }
    tensor.shape[1] = count;
    return add_view(graph, info, &tensor, (uint64_t)(from * tensor.stride_bytes[1]));
}

/* A row's elements must follow one another; the rows themselves may stand apart. */
static bool has_dense_rows(const nlm_tensor *tensor) {
    int64_t expected = nlm_dtype_find(tensor->dtype)->block_bytes;
    for (int i = tensor->rank - 1; i > 0; i--) {
        if (tensor->stride_bytes[i] != expected) return false;
        expected *= tensor->shape[i];
    }
    return true;
}

static int64_t row_elements(int rank, const int64_t *shape) {
    int64_t product = 1;
    for (int i = 1; i < rank; i++) {
        if (__builtin_mul_overflow(product, shape[i], &product)) return -1;
    }
    return product;
}

nlm_value nlm_graph_reshape(nlm_graph *graph, nlm_value x, int rank, const int64_t *shape) {
    const nlm_value_info *info = viewable(graph, x, "reshape");
    if (!info) return NLM_NO_VALUE;
    const nlm_tensor *from = &info->tensor;
    nlm_tensor tensor;
    if (nlm_tensor_init(&tensor, from->dtype, rank, shape, NULL, &graph->error) != NLM_OK) return NLM_NO_VALUE;
    if (shape[0] != from->shape[0] || !has_dense_rows(from) ||
        row_elements(rank, shape) != row_elements(from->rank, from->shape)) {
        char old[96], wanted[96];
        nlm_tensor_describe(from, old, sizeof old);
        nlm_tensor_describe(&tensor, wanted, sizeof wanted);
        nlm_fail(&graph->error, NLM_INVALID_ARGUMENT, WHERE,
                 "reshape of %s to %s: expected equal rows, and dense ones", old, wanted);
        return NLM_NO_VALUE;
    }
    tensor.row_kind = from->row_kind;
    if (from->rank > 1) tensor.stride_bytes[0] = from->stride_bytes[0];
    return add_view(graph, info, &tensor, 0);
}

bool nlm_value_is_whole(const nlm_value_info *values, nlm_value value) {
    const nlm_value_info *info = &values[value];
    if (info->kind != NLM_VALUE_VIEW) return true;
    return info->offset_bytes == 0 && nlm_tensor_is_contiguous(&info->tensor) &&
           nlm_tensor_bytes(&info->tensor) == nlm_tensor_bytes(&values[info->base].tensor);
}

/* ---- ops ------------------------------------------------------------------------------------- */

static nlm_status fail_field(nlm_graph *graph, const nlm_node *node, const char *field, const char *why) {
    char title[64];
    nlm_node_title(node, title, sizeof title);
    return nlm_fail(&graph->error, NLM_INVALID_ARGUMENT, WHERE, "%s: %s %s", title, field, why);
}

static nlm_status check_fields(nlm_graph *graph, const nlm_node *node, const nlm_op_spec *spec) {
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_op_field *field = &spec->fields[i];
        const nlm_value value = node->fields[i];
        if (value == NLM_VALUE_NEW && (field->use & NLM_FIELD_OUT)) continue;
        if (value == NLM_NO_VALUE && (field->use & NLM_FIELD_OPTIONAL)) continue;
        if (value == NLM_NO_VALUE) return fail_field(graph, node, field->name, "is missing");
        if (!is_value(graph, value)) return fail_field(graph, node, field->name, "is no value of this graph");
        const nlm_value_info *info = &graph->values[value];
        const bool wants_state = (field->use & NLM_FIELD_STATE) != 0, takes_values = (field->use & NLM_FIELD_IN) != 0;
        const bool may_be_input = (field->use & NLM_FIELD_INPUT) && info->kind == NLM_VALUE_INPUT;
        if (wants_state && !takes_values && !nlm_value_is_held(info) && !may_be_input)
            return fail_field(graph, node, field->name, "must be a state");
        if (!wants_state && info->kind == NLM_VALUE_STATE && node->op != NLM_OP_copy)
            return fail_field(graph, node, field->name, "must not be a state");
    }
    return NLM_OK;
}

nlm_value nlm_graph_emit(nlm_graph *graph, nlm_op op, const void *params, nlm_dtype dtype, const nlm_value *fields,
                         size_t count) {
    if (has_failed(graph)) return NLM_NO_VALUE;
    const nlm_op_spec *spec = nlm_op_spec_of(op);
    nlm_node node = {.op = op, .layer = graph->layer, .is_backward = graph->is_backward};
    if (count != spec->n_fields) {
        nlm_fail(&graph->error, NLM_INTERNAL, WHERE, "%s has %u fields, got %zu", spec->name, spec->n_fields, count);
        return NLM_NO_VALUE;
    }
    if (params) memcpy(&node.args, params, spec->args_bytes);
    node.args.head.struct_size = spec->args_bytes;
    memcpy(node.fields, fields, count * sizeof *fields);

    nlm_tensor results[NLM_OP_MAX_FIELDS];
    if (check_fields(graph, &node, spec) != NLM_OK) return NLM_NO_VALUE;
    if (nlm_shape_check(graph->values, &node, results, &graph->error) != NLM_OK) return NLM_NO_VALUE;
    nlm_value first = NLM_NO_VALUE;
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (node.fields[i] != NLM_VALUE_NEW) continue;
        nlm_value_info info = {.kind = NLM_VALUE_RESULT, .tensor = results[i]};
        if (dtype >= 0) {
            const uint32_t row_kind = info.tensor.row_kind;
            nlm_tensor_init(&info.tensor, dtype, results[i].rank, results[i].shape, NULL, &graph->error);
            info.tensor.row_kind = row_kind;
        }
        node.fields[i] = add_value(graph, &info);
        if (first == NLM_NO_VALUE) first = node.fields[i];
    }
    void *nodes = graph->nodes;
    if (has_failed(graph) || !grow(graph, &nodes, graph->n_nodes, &graph->node_capacity, sizeof node)) {
        return NLM_NO_VALUE;
    }
    graph->nodes = nodes;
    graph->nodes[graph->n_nodes++] = node;
    return first;
}

#define NEW                   NLM_VALUE_NEW
#define NONE                  NLM_NO_VALUE
#define FIELDS(...)           (const nlm_value[]){__VA_ARGS__}, sizeof((const nlm_value[]){__VA_ARGS__}) / sizeof(nlm_value)
#define EMIT(op, params, ...) nlm_graph_emit(g, NLM_OP_##op, params, NLM_INFERRED_DTYPE, FIELDS(__VA_ARGS__))

/* The result of the last node in this field, which the builder was asked for or not. */
static void give(const nlm_graph *g, nlm_value y, uint32_t field, nlm_value *out) {
    if (out) *out = y == NLM_NO_VALUE ? NLM_NO_VALUE : g->nodes[g->n_nodes - 1].fields[field];
}

nlm_value nlm_graph_embed(nlm_graph *g, nlm_value ids, nlm_value w) {
    return EMIT(embed, NULL, ids, w, NEW);
}

nlm_value nlm_graph_matmul(nlm_graph *g, nlm_value x, nlm_value w, nlm_value bias, nlm_value residual) {
    return EMIT(matmul, NULL, x, w, bias, residual, NEW);
}

nlm_value nlm_graph_rms_norm(nlm_graph *g, nlm_value x, nlm_value w, float eps) {
    const nlm_rms_norm_args params = {.eps = eps};
    return EMIT(rms_norm, &params, x, NONE, w, NEW, NONE);
}

nlm_value nlm_graph_add_rms_norm(nlm_graph *g, nlm_value x, nlm_value residual, nlm_value w, float eps,
                                 nlm_value *out_sum) {
    const nlm_rms_norm_args params = {.eps = eps};
    const nlm_value y = EMIT(rms_norm, &params, x, residual, w, NEW, NEW);
    give(g, y, 4, out_sum);
    return y;
}

nlm_value nlm_graph_rope(nlm_graph *g, nlm_value x, nlm_value pos, const nlm_rope_params *rope) {
    const nlm_rope_args params = {
        .flags = rope->flags, .freq_base = rope->freq_base, .freq_scale = rope->freq_scale, .n_rot = rope->n_rot};
    return EMIT(rope, &params, x, pos, rope->freq_factors, NEW);
}

void nlm_graph_kv_append(nlm_graph *g, nlm_value k, nlm_value v, nlm_value k_cache, nlm_value v_cache,
                         const nlm_batch_values *batch) {
    EMIT(kv_append, NULL, k, v, k_cache, v_cache, batch->pos, batch->seq_start, batch->slot, batch->block_table);
}

nlm_value nlm_graph_attention(nlm_graph *g, nlm_value q, nlm_value k_cache, nlm_value v_cache,
                              const nlm_batch_values *batch, float scale, int32_t window) {
    const nlm_attention_args params = {.scale = scale, .window = window};
    return EMIT(attention, &params, q, k_cache, v_cache, batch->pos, batch->seq_start, batch->slot,
                batch->block_table, NEW, NONE);
}

nlm_value nlm_graph_attention_plain(nlm_graph *g, nlm_value q, nlm_value k, nlm_value v, nlm_value seq_start,
                                    float scale, int32_t window, nlm_value *out_lse) {
    const nlm_attention_plain_args params = {.scale = scale, .window = window};
    const nlm_value y = EMIT(attention_plain, &params, q, k, v, seq_start, NEW, out_lse ? NEW : NONE);
    give(g, y, 5, out_lse);
    return y;
}

nlm_value nlm_graph_silu_mul(nlm_graph *g, nlm_value gate, nlm_value up) {
    return EMIT(silu_mul, NULL, gate, up, NEW);
}

nlm_value nlm_graph_add(nlm_graph *g, nlm_value a, nlm_value b) {
    return EMIT(add, NULL, a, b, NEW);
}

nlm_value nlm_graph_mul(nlm_graph *g, nlm_value a, nlm_value b) {
    return EMIT(mul, NULL, a, b, NEW);
}

nlm_value nlm_graph_scale(nlm_graph *g, nlm_value x, float factor, float offset) {
    const nlm_scale_args params = {.factor = factor, .offset = offset};
    return EMIT(scale, &params, x, NEW);
}

nlm_value nlm_graph_softmax(nlm_graph *g, nlm_value x, float factor) {
    const nlm_softmax_args params = {.factor = factor};
    return EMIT(softmax, &params, x, NEW);
}

nlm_value nlm_graph_conv1d_causal(nlm_graph *g, nlm_value x, nlm_value w, nlm_value bias, nlm_value state,
                                  nlm_value *out_state, const nlm_batch_values *batch, uint32_t flags) {
    const nlm_conv1d_causal_args params = {.flags = flags};
    const nlm_value y =
        EMIT(conv1d_causal, &params, x, w, bias, state, batch->seq_start, batch->slot, NEW, out_state ? NEW : state);
    give(g, y, 7, out_state);
    return y;
}

nlm_value nlm_graph_ssm_scan(nlm_graph *g, nlm_value x, nlm_value dt, nlm_value a, nlm_value b, nlm_value c,
                             nlm_value d, nlm_value z, nlm_value state, nlm_value *out_state,
                             const nlm_batch_values *batch) {
    const nlm_value y = EMIT(ssm_scan, NULL, x, dt, a, b, c, d, z, state, batch->seq_start, batch->slot, NEW,
                             out_state ? NEW : state);
    give(g, y, 11, out_state);
    return y;
}

nlm_value nlm_graph_copy(nlm_graph *g, nlm_value x, nlm_dtype dtype) {
    if (has_failed(g)) return NLM_NO_VALUE;
    const bool is_plain = nlm_field_accepts(NLM_TYPES_PLAIN, dtype);
    if (!is_plain || (is_value(g, x) && (g->values[x].tensor.dtype == NLM_I32) != (dtype == NLM_I32))) {
        nlm_fail(&g->error, NLM_INVALID_ARGUMENT, WHERE, "copy to %s: expected f32, f16 or bf16, or i32 from i32",
                 nlm_dtype_name(dtype));
        return NLM_NO_VALUE;
    }
    return nlm_graph_emit(g, NLM_OP_copy, NULL, dtype, FIELDS(x, NEW));
}

nlm_value nlm_graph_sum_over_ranks(nlm_graph *g, nlm_value x) {
    const nlm_value y = nlm_graph_copy(g, x, NLM_F32);
    if (y != NLM_NO_VALUE) g->nodes[g->n_nodes - 1].is_sum = true;
    return y;
}

nlm_value nlm_graph_argmax(nlm_graph *g, nlm_value x, uint32_t flags) {
    const nlm_argmax_args params = {.flags = flags};
    return EMIT(argmax, &params, x, NEW);
}

nlm_value nlm_graph_sample(nlm_graph *g, nlm_value x, nlm_value slot, nlm_value pos, nlm_value cuts,
                           nlm_value draws) {
    return EMIT(sample, NULL, x, slot, pos, cuts, draws, NEW);
}

void nlm_graph_advance(nlm_graph *g, nlm_value next, const nlm_next_values *values) {
    EMIT(advance, NULL, next, values->stops, values->ids, values->pos, values->slot, values->seq_start, values->live,
         values->tokens);
}

/* ---- training ------------------------------------------------------------------------------------ */

nlm_value nlm_graph_exp(nlm_graph *g, nlm_value x, float factor) {
    const nlm_exp_args params = {.factor = factor};
    return EMIT(exp, &params, x, NEW);
}

void nlm_graph_sum_sq(nlm_graph *g, nlm_value x, nlm_value total, bool adds) {
    const nlm_sum_sq_args params = {.flags = adds ? NLM_GRADIENT_ADD : 0};
    EMIT(sum_sq, &params, x, total);
}

/* Of a parameter its gradient. */
static nlm_value sum_of(nlm_graph *g, nlm_value value) {
    const bool is_parameter = is_value(g, value) && g->values[value].kind == NLM_VALUE_PARAMETER;
    return is_parameter ? nlm_graph_gradient(g, value) : NONE;
}

nlm_value nlm_graph_cross_entropy(nlm_graph *g, nlm_value x, nlm_value w, nlm_value bias, nlm_value labels,
                                  const nlm_cross_entropy_params *params, nlm_value *out_dx) {
    const nlm_cross_entropy_args numbers = {
        .flags = out_dx ? NLM_GRADIENT_ADD : 0, .smoothing = params->smoothing, .z_loss = params->z_loss};
    const nlm_value dw = out_dx ? sum_of(g, w) : NONE, db = out_dx ? sum_of(g, bias) : NONE;
    const nlm_value loss = EMIT(cross_entropy, &numbers, x, w, bias, labels, NEW, out_dx ? NEW : NONE, dw, db);
    give(g, loss, 5, out_dx);
    return loss;
}

void nlm_graph_adamw(nlm_graph *g, nlm_value parameter, const nlm_adamw_values *values,
                     const nlm_adamw_params *params) {
    const nlm_adamw_args numbers = {
        .beta1 = params->beta1, .beta2 = params->beta2, .eps = params->eps, .weight_decay = params->weight_decay};
    EMIT(adamw, &numbers, parameter, values->master, nlm_graph_gradient(g, parameter), values->m, values->v,
         values->rates);
}
