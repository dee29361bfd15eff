/* Which steps of a sliced segment need a barrier behind them. How a backend slices an op is its own
 * affair, so two ops may run without one between them only if neither writes memory that the other
 * touches: the three projections of attention, for example. */
#include "graph/plan_impl.h"

#define MAX_TOUCHED 64

typedef struct touched {
    const nlm_state *state; /* NULL: [from, to) of the activations */
    uint64_t from, to;
    bool is_written;
} touched;

/* What the steps since the last barrier have touched. */
typedef struct touched_list {
    touched items[MAX_TOUCHED];
    uint32_t count;
    bool has_workspace;
} touched_list;

static bool describe(const nlm_plan *plan, const nlm_op_field *field, nlm_value value, touched *out) {
    if (value < 0) return false;
    const nlm_value number = plan->values[value].base;
    const nlm_value_info *base = &plan->values[number];
    *out = (touched){.is_written = (field->use & (NLM_FIELD_OUT | NLM_FIELD_WRITES)) != 0};
    if (nlm_value_is_held(base) && !plan->is_begun[number]) {
        out->state = base->state;
        return true;
    }
    if (!plan->blocks[NLM_SPACE_HOST]) return false;
    const nlm_block *block = &plan->blocks[NLM_SPACE_HOST][number];
    if (block->bytes == 0) return false; /* weights and inputs are never written */
    out->from = block->offset;
    out->to = block->offset + block->bytes;
    return true;
}

static bool is_conflict(const touched *a, const touched *b) {
    if (!a->is_written && !b->is_written) return false;
    if (a->state || b->state) return a->state == b->state;
    return a->from < b->to && b->from < a->to;
}

static uint32_t list_node(const nlm_plan *plan, const nlm_plan_node *node, touched *out) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->node.op);
    uint32_t count = 0;
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (describe(plan, &spec->fields[i], node->node.fields[i], &out[count])) count++;
    }
    return count;
}

/* Inputs, which other nodes only read and the list does not have. */
static bool writes_inputs(const nlm_plan *plan, const nlm_plan_node *node) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->node.op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_value value = node->node.fields[i];
        if (value < 0 || !(spec->fields[i].use & NLM_FIELD_WRITES)) continue;
        if (plan->values[value].kind == NLM_VALUE_INPUT) return true;
    }
    return false;
}

static bool conflicts(const touched_list *list, const nlm_plan_node *node, const touched *mine, uint32_t n_mine) {
    if (list->has_workspace && node->caps.workspace_bytes) return true;
    if (list->count + n_mine > MAX_TOUCHED) return true;
    for (uint32_t i = 0; i < n_mine; i++) {
        for (uint32_t j = 0; j < list->count; j++) {
            if (is_conflict(&mine[i], &list->items[j])) return true;
        }
    }
    return false;
}

void nlm_plan_barriers(const nlm_plan *plan, bool *out_needed) {
    touched_list list = {.count = 0};
    for (uint32_t n = 0; n < plan->n_nodes; n++) {
        const nlm_plan_node *node = &plan->nodes[n];
        touched mine[NLM_OP_MAX_FIELDS];
        const uint32_t n_mine = list_node(plan, node, mine);
        const bool is_alone = writes_inputs(plan, node) || (n > 0 && writes_inputs(plan, &plan->nodes[n - 1]));
        if (n > 0 && (is_alone || conflicts(&list, node, mine, n_mine))) {
            out_needed[n - 1] = true;
            list.count = 0;
            list.has_workspace = false;
        }
        for (uint32_t i = 0; i < n_mine; i++) list.items[list.count++] = mine[i];
        if (node->caps.workspace_bytes) list.has_workspace = true;
    }
}
