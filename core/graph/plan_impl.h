/* The stages of planning and what they hand on:
 *   begin    which gradients the program begins
 *   assign   which device runs each node
 *   fuse     nodes that a device takes as one
 *   again    what those leave out and the backward pass reads, where it reads it
 *   place    weights and states where their nodes run, and each node's needs
 *   memory   transfers, lifetimes, offsets
 *   bind     the program */
#ifndef NLM_GRAPH_PLAN_IMPL_H
#define NLM_GRAPH_PLAN_IMPL_H

#include "exec/program_build.h"
#include "graph/graph_impl.h"

typedef struct nlm_plan_node {
    nlm_node node;
    uint32_t device;    /* index into env->devices */
    uint32_t choice;    /* the one asked first: devices[0], or that of its layer */
    const char *reason; /* why not that one, or NULL */
    bool is_again;      /* a part of a fused op, computed once more for the backward pass */
    nlm_caps_v1 caps;
    const nlm_tensor *weights[NLM_OP_MAX_FIELDS]; /* fields that are weights, where they were placed */
} nlm_plan_node;

/* The memory of one value in one space. Two blocks share memory when one's op works in place. */
typedef struct nlm_block {
    uint64_t bytes;       /* 0: the value is not in this space */
    uint32_t first, last; /* node indices, both inclusive; n_nodes: after the run */
    int32_t merged_into;  /* the value whose block this is part of, or -1 */
    uint64_t offset;
} nlm_block;

/* An item of the program before values have addresses: of a transfer the rest is known when memory is. */
typedef struct nlm_plan_item {
    nlm_item item;
    nlm_value value; /* of a transfer: a base */
} nlm_plan_item;

typedef struct nlm_plan {
    const nlm_env *env;
    nlm_plan_options options;
    nlm_arena arena; /* gone when planned */
    const nlm_value_info *values;
    uint32_t n_values;
    bool *is_output; /* [n_values], by base: it or a view of it is an output */
    bool *is_begun;  /* [n_values]: a gradient that has memory among the activations */
    uint32_t *homes; /* [n_values] of those: a device of the memory that all who touch it share */
    nlm_plan_node *nodes;
    uint32_t n_nodes;

    nlm_plan_item *items;
    uint32_t *output_items;        /* [n_values] of outputs: the item that brings them to the host, or NLM_NO_ITEM */
    nlm_block *blocks[NLM_SPACES]; /* [n_values], by base; NULL: no node works there */
    nlm_program_needs needs;       /* sizes, as the stages find them */
} nlm_plan;

/* Memory of the plan's arena, zeroed; sets err. */
nlm_status nlm_plan_array(nlm_plan *plan, size_t count, size_t item_bytes, void *out_pointer, nlm_error *err);

/* The device's answer for a node, its weights in the layout the device holds them in already or, if
 * that will not do, row-major. OK or UNSUPPORTED with the reason in *out. */
nlm_status nlm_plan_query(const nlm_plan *plan, const nlm_node *node, uint32_t device, nlm_caps_v1 *out);

nlm_status nlm_plan_begin(nlm_plan *plan, nlm_error *err);
nlm_status nlm_plan_assign(nlm_plan *plan, nlm_error *err);
nlm_status nlm_plan_fuse(nlm_plan *plan, nlm_error *err);
nlm_status nlm_plan_again(nlm_plan *plan, nlm_error *err);
nlm_status nlm_plan_place(nlm_plan *plan, nlm_error *err);
nlm_status nlm_plan_memory(nlm_plan *plan, nlm_error *err);
/* On failure *out is NULL or to be destroyed. */
nlm_status nlm_plan_bind(nlm_plan *plan, nlm_program **out, nlm_error *err);

static inline nlm_space nlm_plan_space(const nlm_plan *plan, const nlm_plan_node *node) {
    return nlm_env_space(plan->env, node->device);
}

/* For each node: must all workers be done with it before the next begins? */
void nlm_plan_barriers(const nlm_plan *plan, bool *out_needed);

#endif
