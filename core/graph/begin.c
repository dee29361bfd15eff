/* Gradients that a program begins: the first op that touches one writes all of it, so that nothing has to be there
 * before, and until then the memory is free for activations. */
#include "graph/plan_impl.h"

/* What an earlier program has placed stays as it is. */
static bool is_free(const nlm_plan *plan, nlm_value value) {
    return plan->values[value].is_gradient && !plan->values[value].state->device;
}

/* Can the node write whole gradients, none of which was touched before it? */
static bool may_begin(const nlm_plan *plan, const nlm_node *node, const bool *is_touched) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->op);
    uint32_t n_gradients = 0;
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_value value = node->fields[i];
        if (value < 0 || !plan->values[value].is_gradient) continue;
        if (!(spec->fields[i].use & NLM_FIELD_OUT) || !is_free(plan, value) || is_touched[value]) return false;
        n_gradients++;
    }
    return n_gradients > 0 && (node->args.head.flags & NLM_GRADIENT_ADD);
}

nlm_status nlm_plan_begin(nlm_plan *plan, nlm_error *err) {
    bool *is_touched;
    NLM_TRY(nlm_plan_array(plan, plan->n_values, sizeof *is_touched, &is_touched, err));
    for (uint32_t n = 0; n < plan->n_nodes; n++) {
        nlm_node *node = &plan->nodes[n].node;
        const bool begins = may_begin(plan, node, is_touched);
        if (begins) node->args.head.flags &= ~NLM_GRADIENT_ADD;
        for (uint32_t i = 0; i < nlm_op_spec_of(node->op)->n_fields; i++) {
            const nlm_value value = node->fields[i];
            if (value < 0 || !plan->values[value].is_gradient) continue;
            is_touched[value] = true;
            if (begins) plan->is_begun[value] = true;
        }
    }
    return NLM_OK;
}
