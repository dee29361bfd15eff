/* The program: the executor is told what the stages have found. */
#include <string.h>

#include "graph/plan_impl.h"
#include "tensor/dtype.h"

#define SEVERAL (NLM_NO_OUTPUT - 1) /* outputs are views of the value */

typedef struct binder {
    nlm_plan *plan;
    nlm_program *program;
    uint32_t *outputs; /* [n_values], by base: the number of its output, NLM_NO_OUTPUT or SEVERAL */
    uint32_t *uses;    /* [n_values], by base: nodes that read it */
    const nlm_tensor **tensors[NLM_SPACES]; /* [n_values], as they are made; NULL where no node works */
    nlm_error *err;
} binder;

/* ---- needs ----------------------------------------------------------------------------------- */

static nlm_status list_inputs(nlm_plan *plan, nlm_error *err) {
    nlm_program_input_spec *inputs;
    NLM_TRY(nlm_plan_array(plan, plan->n_values, sizeof *inputs, &inputs, err));
    plan->needs.inputs = inputs;
    for (uint32_t v = 0; v < plan->n_values; v++) {
        if (plan->values[v].kind != NLM_VALUE_INPUT) continue;
        inputs[plan->needs.n_inputs++] = (nlm_program_input_spec){
            .value = (int32_t)v, .tensor = plan->values[v].tensor, .is_counts = plan->values[v].is_counts};
    }
    return NLM_OK;
}

static nlm_status list_uses(binder *b) {
    const nlm_plan *plan = b->plan;
    NLM_TRY(nlm_plan_array(b->plan, plan->n_values, sizeof *b->outputs, &b->outputs, b->err));
    NLM_TRY(nlm_plan_array(b->plan, plan->n_values, sizeof *b->uses, &b->uses, b->err));
    for (uint32_t v = 0; v < plan->n_values; v++) b->outputs[v] = NLM_NO_OUTPUT;
    uint32_t n_outputs = 0;
    for (uint32_t v = 0; v < plan->n_values; v++) {
        if (!plan->values[v].is_output) continue;
        uint32_t *output = &b->outputs[plan->values[v].base];
        *output = *output == NLM_NO_OUTPUT ? n_outputs : SEVERAL;
        n_outputs++;
    }
    for (uint32_t n = 0; n < plan->n_nodes; n++) {
        const nlm_node *node = &plan->nodes[n].node;
        const nlm_op_spec *spec = nlm_op_spec_of(node->op);
        for (uint32_t i = 0; i < spec->n_fields; i++) {
            const bool is_read = (spec->fields[i].use & NLM_FIELD_IN) && node->fields[i] >= 0;
            if (is_read) b->uses[plan->values[node->fields[i]].base]++;
        }
    }
    return NLM_OK;
}

static nlm_status make_tables(binder *b) {
    nlm_plan *plan = b->plan;
    for (nlm_space space = 0; space < NLM_SPACES; space++) {
        if (!plan->blocks[space]) continue;
        NLM_TRY(nlm_plan_array(plan, plan->n_values, sizeof(nlm_tensor *), &b->tensors[space], b->err));
    }
    NLM_TRY(list_inputs(plan, b->err));
    NLM_TRY(list_uses(b));
    plan->needs.n_steps = plan->n_nodes;
    plan->needs.n_tensors = plan->n_values; /* a value has at most one in a memory */
    for (uint32_t v = 0; v < plan->n_values; v++) plan->needs.n_lent += plan->is_begun[v];
    return NLM_OK;
}

/* ---- tensors ----------------------------------------------------------------------------------- */

/* The tensor of an activation or of a view of one, made at its first use in a space. */
static nlm_status tensor_of(binder *b, nlm_value value, nlm_space space, const nlm_tensor **out) {
    const nlm_tensor **slot = &b->tensors[space][value];
    const nlm_value_info *info = &b->plan->values[value];
    if (!*slot && b->plan->values[info->base].kind == NLM_VALUE_INPUT) {
        NLM_TRY(nlm_program_add_input_view(b->program, &info->tensor, space, info->base, info->offset_bytes, slot,
                                           b->err));
    } else if (!*slot) {
        const uint64_t offset = b->plan->blocks[space][info->base].offset + info->offset_bytes;
        NLM_TRY(nlm_program_add_activation(b->program, &info->tensor, space, offset, slot, b->err));
    }
    *out = *slot;
    return NLM_OK;
}

static nlm_status weight_tensor(binder *b, const nlm_value_info *info, const nlm_tensor *placed,
                                const nlm_tensor **out) {
    *out = placed;
    if (info->kind == NLM_VALUE_WEIGHT) return NLM_OK;
    nlm_tensor view = info->tensor;
    view.data = (char *)placed->data + info->offset_bytes;
    view.buffer = placed->buffer;
    return nlm_program_add_tensor(b->program, &view, out, b->err);
}

static nlm_status bind_field(binder *b, const nlm_plan_node *node, uint32_t index, nlm_step *step) {
    const nlm_value value = node->node.fields[index];
    const nlm_value_info *info = &b->plan->values[value];
    const nlm_tensor *tensor = NULL;
    if (nlm_value_is_held(info))
        tensor = &info->state->tensor;
    else if (node->weights[index])
        NLM_TRY(weight_tensor(b, info, node->weights[index], &tensor));
    else
        NLM_TRY(tensor_of(b, value, nlm_plan_space(b->plan, node), &tensor));
    nlm_args_set_tensor(&step->args, &nlm_op_spec_of(step->op)->fields[index], tensor);
    return NLM_OK;
}

/* ---- steps, items, outputs ----------------------------------------------------------------------- */

/* The output that is all a node of a sliced device is for. */
static uint32_t sole_output(const binder *b, const nlm_plan_node *node) {
    const nlm_op_spec *spec = nlm_op_spec_of(node->node.op);
    uint32_t output = NLM_NO_OUTPUT;
    const bool is_sliced = nlm_device_is_sliced(b->plan->env->devices[node->device]);
    if (!is_sliced || node->node.is_sum) return NLM_NO_OUTPUT; /* other ranks wait for a sum */
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_value value = node->node.fields[i];
        if (value < 0 || !(spec->fields[i].use & (NLM_FIELD_OUT | NLM_FIELD_WRITES))) continue;
        if (output != NLM_NO_OUTPUT || (spec->fields[i].use & NLM_FIELD_WRITES)) return NLM_NO_OUTPUT;
        const nlm_value base = b->plan->values[value].base;
        if (base != value || b->uses[value] || b->outputs[value] >= SEVERAL) return NLM_NO_OUTPUT;
        output = b->outputs[value];
    }
    return output;
}

static nlm_status bind_step(binder *b, uint32_t n, bool needs_barrier) {
    const nlm_plan_node *node = &b->plan->nodes[n];
    nlm_step step = {.op = node->node.op,
                     .layer = node->node.layer,
                     .device = b->plan->env->devices[node->device],
                     .args = node->node.args,
                     .needs_barrier = needs_barrier,
                     .is_fallback = node->device != node->choice,
                     .reason = node->reason ? node->reason : "",
                     .output = sole_output(b, node)};
    for (uint32_t i = 0; i < nlm_op_spec_of(step.op)->n_fields; i++) {
        if (node->node.fields[i] >= 0) NLM_TRY(bind_field(b, node, i, &step));
    }
    return nlm_program_add_step(b->program, &step, b->err);
}

static nlm_status bind_steps(binder *b) {
    const nlm_plan *plan = b->plan;
    bool *needs_barrier;
    NLM_TRY(nlm_plan_array(b->plan, plan->n_nodes, sizeof *needs_barrier, &needs_barrier, b->err));
    nlm_plan_barriers(plan, needs_barrier);
    for (uint32_t n = 0; n < plan->n_nodes; n++) NLM_TRY(bind_step(b, n, needs_barrier[n]));
    return NLM_OK;
}

static nlm_status bind_item(binder *b, const nlm_plan_item *from) {
    nlm_item item = from->item;
    if (item.kind == NLM_ITEM_TRANSFER) {
        nlm_transfer *transfer = &item.transfer;
        NLM_TRY(tensor_of(b, from->value, transfer->from, &transfer->rows));
        transfer->from_offset = b->plan->blocks[transfer->from][from->value].offset;
        transfer->to_offset = b->plan->blocks[transfer->to][from->value].offset;
        transfer->host_offset = b->plan->blocks[NLM_SPACE_HOST][from->value].offset;
        transfer->row_bytes = nlm_tensor_bytes(transfer->rows) / (uint64_t)transfer->rows->shape[0];
    }
    return nlm_program_add_item(b->program, &item, b->err);
}

static nlm_status bind_outputs(binder *b) {
    const nlm_plan *plan = b->plan;
    for (uint32_t v = 0; v < plan->n_values; v++) {
        if (!plan->values[v].is_output) continue;
        const nlm_tensor *host = NULL;
        NLM_TRY(tensor_of(b, (nlm_value)v, NLM_SPACE_HOST, &host));
        NLM_TRY(nlm_program_add_output(b->program, (int32_t)v, host, plan->output_items[v], b->err));
    }
    return NLM_OK;
}

/* Steps name the states of gradients themselves, which therefore have their addresses first. */
static nlm_status lend_gradients(binder *b) {
    const nlm_plan *plan = b->plan;
    for (uint32_t v = 0; v < plan->n_values; v++) {
        if (!plan->is_begun[v]) continue;
        const uint32_t home = plan->homes[v];
        const nlm_space space = nlm_env_space(plan->env, home);
        NLM_TRY(nlm_program_lend(b->program, plan->values[v].state, home, plan->blocks[space][v].offset, b->err));
    }
    return NLM_OK;
}

nlm_status nlm_plan_bind(nlm_plan *plan, nlm_program **out, nlm_error *err) {
    binder b = {.plan = plan, .err = err};
    NLM_TRY(make_tables(&b));
    NLM_TRY(nlm_program_create(plan->env, &plan->needs, out, err));
    b.program = *out;
    NLM_TRY(lend_gradients(&b));
    NLM_TRY(bind_steps(&b));
    for (uint32_t i = 0; i < plan->needs.n_items; i++) NLM_TRY(bind_item(&b, &plan->items[i]));
    return bind_outputs(&b);
}
