/* What the backward pass reads and a fused op does not give is computed again, as late as can be: until then it needs
 * no memory. fuse.c marks these nodes and leaves them where they were. */
#include "graph/plan_impl.h"

typedef struct order {
    const nlm_plan *plan;
    nlm_plan_node *nodes; /* the new order */
    uint32_t count;
    bool *is_placed;
} order;

/* Has the node a field of this use with this value, or a view of it? */
static bool has_field(const order *o, const nlm_node *node, uint32_t use, nlm_value base) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_value value = node->fields[i];
        if ((spec->fields[i].use & use) && value >= 0 && o->plan->values[value].base == base) return true;
    }
    return false;
}

static void place(order *o, uint32_t n);

static void place_those_with(order *o, uint32_t use, nlm_value base) {
    for (uint32_t n = 0; n < o->plan->n_nodes; n++) {
        const nlm_plan_node *node = &o->plan->nodes[n];
        if (node->is_again && !o->is_placed[n] && has_field(o, &node->node, use, base)) place(o, n);
    }
}

/* Before the node those that give what it reads, and those that read what it changes. */
static void place(order *o, uint32_t n) {
    const nlm_node *node = &o->plan->nodes[n].node;
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    o->is_placed[n] = true;
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (node->fields[i] < 0) continue;
        const nlm_value base = o->plan->values[node->fields[i]].base;
        if (spec->fields[i].use & NLM_FIELD_IN) place_those_with(o, NLM_FIELD_OUT, base);
        if (spec->fields[i].use & NLM_FIELD_WRITES) place_those_with(o, NLM_FIELD_IN, base);
    }
    o->nodes[o->count++] = o->plan->nodes[n];
}

nlm_status nlm_plan_again(nlm_plan *plan, nlm_error *err) {
    order o = {.plan = plan};
    bool has_any = false;
    for (uint32_t n = 0; n < plan->n_nodes; n++) has_any = has_any || plan->nodes[n].is_again;
    if (!has_any) return NLM_OK;
    NLM_TRY(nlm_plan_array(plan, plan->n_nodes, sizeof *o.nodes, &o.nodes, err));
    NLM_TRY(nlm_plan_array(plan, plan->n_nodes, sizeof *o.is_placed, &o.is_placed, err));
    for (uint32_t n = 0; n < plan->n_nodes; n++) {
        if (!plan->nodes[n].is_again) place(&o, n);
    }
    plan->nodes = o.nodes;
    plan->n_nodes = o.count;
    return NLM_OK;
}
