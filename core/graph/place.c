/* Weights, states and parameters go where their nodes run; each node's needs are settled. */
#include "exec/packed_memory.h"
#include "graph/plan_impl.h"
#include "tensor/dtype.h"

#define WHERE "nlm_graph_plan"

/* Before the first weight is packed: a weight is packed once for all its roles. */
static void collect_roles(const nlm_plan *plan) {
    for (uint32_t n = 0; n < plan->n_nodes; n++) {
        const nlm_node *node = &plan->nodes[n].node;
        const nlm_op_spec *spec = nlm_op_spec_of(node->op);
        for (uint32_t i = 0; i < spec->n_fields; i++) {
            if (node->fields[i] < 0 || plan->values[node->fields[i]].kind != NLM_VALUE_WEIGHT) continue;
            plan->values[node->fields[i]].weight->roles |= spec->fields[i].role;
        }
    }
}

static nlm_status place_field(nlm_plan *plan, nlm_plan_node *node, uint32_t index, nlm_error *err) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->node.op);
    const int weight = nlm_weight_index(spec, &spec->fields[index]);
    const nlm_value_info *info = &plan->values[node->node.fields[index]];
    nlm_device *device = plan->env->devices[node->device];
    if (plan->is_begun[node->node.fields[index]]) {
        plan->homes[node->node.fields[index]] = node->device;
        return NLM_OK;
    }
    if (nlm_value_is_held(info)) return nlm_state_place(info->state, device, err);
    const nlm_value_info *base = &plan->values[info->base];
    if (base->kind != NLM_VALUE_WEIGHT) return NLM_OK;
    /* A view shows the weight as the file has it. */
    const bool may_pack = weight >= 0 && info == base;
    const uint32_t layout = may_pack ? node->caps.weight_layout[weight] : NLM_LAYOUT_ROW_MAJOR;
    const int32_t places = base->weight->n_places;
    NLM_TRY(nlm_weight_place_on(base->weight, device, layout, base->weight->roles, plan->env->pool,
                                &node->weights[index], err));
    nlm_placing *placing = plan->env->placing;
    if (!placing || base->weight->n_places == places) return NLM_OK;
    return placing->placed(placing, nlm_tensor_bytes(&base->weight->source), err);
}

static void raise(uint64_t *greatest, uint64_t value) {
    if (value > *greatest) *greatest = value;
}

static nlm_status place_node(nlm_plan *plan, nlm_plan_node *node, nlm_error *err) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->node.op);
    if (nlm_plan_query(plan, &node->node, node->device, &node->caps) != NLM_OK) {
        return nlm_fail(err, NLM_INTERNAL, WHERE, "%s said yes to %s and then no: %s",
                        plan->env->devices[node->device]->backend, spec->name, node->caps.reason);
    }
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (node->node.fields[i] >= 0) NLM_TRY(place_field(plan, node, i, err));
    }
    nlm_space_needs *needs = &plan->needs.spaces[nlm_plan_space(plan, node)];
    raise(&needs->workspace_bytes, node->caps.workspace_bytes);
    raise(&needs->scratch_bytes, node->caps.scratch_bytes);
    plan->needs.uses_device[node->device] = true;
    return NLM_OK;
}

/* Matmuls first: they want packed weights, and an embedding may read what they packed. */
nlm_status nlm_plan_place(nlm_plan *plan, nlm_error *err) {
    collect_roles(plan);
    for (uint32_t n = 0; n < plan->n_nodes; n++) {
        if (plan->nodes[n].node.op != NLM_OP_embed) NLM_TRY(place_node(plan, &plan->nodes[n], err));
    }
    for (uint32_t n = 0; n < plan->n_nodes; n++) {
        if (plan->nodes[n].node.op == NLM_OP_embed) NLM_TRY(place_node(plan, &plan->nodes[n], err));
    }
    nlm_packed_settle();
    return NLM_OK;
}
