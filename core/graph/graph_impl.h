/* What a graph is inside: values, nodes, and what the stages of planning share about them. */
#ifndef NLM_GRAPH_GRAPH_IMPL_H
#define NLM_GRAPH_GRAPH_IMPL_H

#include "base/arena.h"
#include "base/status.h"
#include "exec/op_spec.h"
#include "graph/graph.h"

/* In a node's fields: a result that the builder is to create. */
#define NLM_VALUE_NEW (-2)

typedef enum nlm_value_kind {
    NLM_VALUE_INPUT,
    NLM_VALUE_WEIGHT,
    NLM_VALUE_STATE,
    NLM_VALUE_PARAMETER,
    NLM_VALUE_RESULT,
    NLM_VALUE_VIEW
} nlm_value_kind;

typedef struct nlm_value_info {
    nlm_value_kind kind;
    bool is_output;
    bool is_counts;        /* an input: the counts of live rows */
    nlm_value base;        /* of a view the value with the memory, else itself */
    uint64_t offset_bytes; /* of a view, within its base */
    nlm_tensor tensor;     /* data NULL; of a weight the source, of a state its tensor */
    const char *name;      /* of leaves, else NULL */
    nlm_weight *weight;
    nlm_state *state; /* of a state, and a parameter's value */
    nlm_parameter *parameter;
    bool is_gradient;      /* a state */
    nlm_value gradient_of; /* the parameter, if it is */
} nlm_value_info;

/* Memory that outlives a run, on one device. */
static inline bool nlm_value_is_held(const nlm_value_info *info) {
    return info->kind == NLM_VALUE_STATE || info->kind == NLM_VALUE_PARAMETER;
}

typedef struct nlm_node {
    nlm_op op;
    int32_t layer;
    bool is_sum;                         /* a copy whose result is summed over ranks */
    bool is_backward;                    /* of the pass that begins with nlm_graph_begin_backward */
    nlm_any_args args;                   /* the numbers; tensor pointers NULL */
    nlm_value fields[NLM_OP_MAX_FIELDS]; /* as the op's nlm_op_spec lists them */
} nlm_node;

/* leaves.c: the value of each weight, state and parameter. */
typedef struct nlm_leaf {
    const void *object; /* NULL: free */
    nlm_value_kind kind;
    nlm_value value;
} nlm_leaf;

typedef struct nlm_leaves {
    nlm_leaf *entries; /* from calloc */
    uint32_t capacity, count;
} nlm_leaves;

/* NLM_NO_VALUE if it has none yet. */
nlm_value nlm_leaves_find(const nlm_leaves *leaves, const void *object, nlm_value_kind kind);
/* Of one that has none. False without memory. */
bool nlm_leaves_add(nlm_leaves *leaves, const void *object, nlm_value_kind kind, nlm_value value);

struct nlm_graph {
    nlm_arena arena; /* names */
    nlm_leaves leaves;
    nlm_value_info *values;
    uint32_t n_values, value_capacity;
    nlm_node *nodes;
    uint32_t n_nodes, node_capacity;
    int32_t layer;
    bool is_backward, pauses, begins_gradients;
    nlm_error error; /* the first; code NLM_OK while there is none */
};

/* Adds a node and its results. `params` has the numbers of the op's argument struct, NULL: all zero; `fields` is in
 * the order of its spec, NLM_VALUE_NEW where a result is to be created, of `dtype` (NLM_INFERRED_DTYPE: as the table
 * says). An OUT field may also be a view of a result that was made by nlm_graph_empty_like: several ops may write
 * their columns of one value, which all of them have done before the first op reads it. Returns the first new result,
 * or NLM_NO_VALUE (also where there is none). */
#define NLM_INFERRED_DTYPE (-1)
nlm_value nlm_graph_emit(nlm_graph *graph, nlm_op op, const void *params, nlm_dtype dtype, const nlm_value *fields,
                         size_t count);
/* A result of the shape and type of `like` whose parts ops write. */
nlm_value nlm_graph_empty_like(nlm_graph *graph, nlm_value like);

/* Checks a node's arguments against the op's spec and its special rules. For fields that are
 * NLM_VALUE_NEW, results[field] receives the descriptor of the result (dtype f32 or i32; for copy the
 * caller sets it). Errors INVALID_ARGUMENT: op, layer, field, shapes. */
nlm_status nlm_shape_check(const nlm_value_info *values, const nlm_node *node, nlm_tensor *results, nlm_error *err);

/* "matmul, layer 3" */
void nlm_node_title(const nlm_node *node, char *out, size_t capacity);
/* "[8,64] f32" */
void nlm_tensor_describe(const nlm_tensor *tensor, char *out, size_t capacity);

/* Is the value all of its base's memory, in order? */
bool nlm_value_is_whole(const nlm_value_info *values, nlm_value value);

#endif
