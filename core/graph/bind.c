/* The program: steps with their tensors, memory, inputs and outputs. */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "graph/plan_impl.h"
#include "tensor/dtype.h"

#define WHERE           "nlm_graph_plan"
#define INPUT_ALIGNMENT 64u
#define PAGE_ALIGNMENT  4096u

typedef struct binder {
    nlm_plan *plan;
    nlm_program *program;
    nlm_tensor **tensors[NLM_SPACES]; /* [n_values], as they are made */
    char *host_base;                  /* of the activations */
    nlm_error *err;
} binder;

static nlm_status out_of_memory(nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for a program");
}

static nlm_status keep(binder *b, size_t count, size_t item_bytes, void *out_pointer) {
    void *memory = nlm_arena_array(&b->program->arena, count, item_bytes);
    if (!memory) return out_of_memory(b->err);
    memcpy(out_pointer, &memory, sizeof memory);
    return NLM_OK;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Appends a part to a region that ends at *end; LIMIT when that wraps. */
static nlm_status append_part(uint64_t *end, uint64_t bytes, uint64_t alignment, uint64_t *out_offset,
                              nlm_error *err) {
    if (nlm_align_u64(*end, alignment, out_offset) && nlm_add_u64(*out_offset, bytes, end)) return NLM_OK;
    return nlm_fail(err, NLM_LIMIT, WHERE, "the graph's memory is larger than can be addressed");
}

/* Inputs stand one after another in memory of the program's own, which never moves. */
static nlm_status bind_inputs(binder *b) {
    nlm_plan *plan = b->plan;
    uint64_t *offsets, end = 0;
    NLM_TRY(nlm_plan_array(plan, plan->n_values, sizeof *offsets, &offsets, b->err));
    for (uint32_t v = 0; v < plan->n_values; v++) {
        if (plan->values[v].kind != NLM_VALUE_INPUT) continue;
        NLM_TRY(append_part(&end, nlm_tensor_bytes(&plan->values[v].tensor), INPUT_ALIGNMENT, &offsets[v], b->err));
    }
    uint64_t total = INPUT_ALIGNMENT;
    const bool fits = end == 0 || nlm_align_u64(end, INPUT_ALIGNMENT, &total);
    b->program->input_memory = fits ? aligned_alloc(INPUT_ALIGNMENT, total) : NULL;
    if (!b->program->input_memory) return out_of_memory(b->err);
    memset(b->program->input_memory, 0, total);
    for (uint32_t v = 0; v < plan->n_values; v++) {
        if (plan->values[v].kind != NLM_VALUE_INPUT) continue;
        nlm_tensor *tensor = NULL;
        NLM_TRY(keep(b, 1, sizeof *tensor, &tensor));
        *tensor = plan->values[v].tensor;
        tensor->data = (char *)b->program->input_memory + offsets[v];
        b->tensors[NLM_SPACE_HOST][v] = tensor;
    }
    return NLM_OK;
}

/* Activations, then the shared workspace, then each worker's scratch. */
static nlm_status bind_host_memory(binder *b, nlm_activations *activations) {
    const nlm_plan *plan = b->plan;
    nlm_program *program = b->program;
    const uint64_t workspace = plan->workspace_bytes[NLM_SPACE_HOST];
    const uint64_t scratch = plan->scratch_bytes[NLM_SPACE_HOST];
    uint64_t end = plan->extent[NLM_SPACE_HOST], workspace_at = 0, scratch_at = 0;
    NLM_TRY(append_part(&end, workspace, PAGE_ALIGNMENT, &workspace_at, b->err));
    for (uint32_t i = 0; i < program->n_workers; i++) {
        NLM_TRY(append_part(&end, scratch, PAGE_ALIGNMENT, &scratch_at, b->err));
        program->workers[i].x.scratch_bytes = scratch_at; /* until the base is known */
    }
    NLM_TRY(nlm_activations_host(activations, end, &b->host_base, b->err));
    for (uint32_t i = 0; i < program->n_workers; i++) {
        nlm_exec_v1 *x = &program->workers[i].x;
        x->workspace = b->host_base + workspace_at;
        x->workspace_bytes = workspace;
        x->scratch = b->host_base + x->scratch_bytes;
        x->scratch_bytes = scratch;
    }
    return NLM_OK;
}

/* The same on the stream device; one with host memory uses the host's. */
static nlm_status bind_device_memory(binder *b, nlm_activations *activations) {
    const nlm_plan *plan = b->plan;
    nlm_program *program = b->program;
    const nlm_space space = nlm_space_of(program->stream_device);
    nlm_exec_v1 *x = &program->stream_worker.x;
    x->workspace = program->workers[0].x.workspace;
    x->workspace_bytes = plan->workspace_bytes[space];
    x->scratch = program->workers[0].x.scratch;
    x->scratch_bytes = plan->scratch_bytes[space];
    uint64_t end = 0;
    if (space == NLM_SPACE_DEVICE) {
        end = plan->extent[space];
        NLM_TRY(append_part(&end, x->workspace_bytes, PAGE_ALIGNMENT, &program->device_workspace_offset, b->err));
        NLM_TRY(append_part(&end, x->scratch_bytes, PAGE_ALIGNMENT, &program->device_scratch_offset, b->err));
    }
    NLM_TRY(nlm_activations_device(activations, program->stream_device, end, &program->region, b->err));
    x->stream = program->region->stream;
    return NLM_OK;
}

static nlm_status bind_memory(binder *b) {
    nlm_program *program = b->program;
    nlm_activations *activations = program->env.activations;
    if (!activations) {
        NLM_TRY(nlm_activations_create(&program->own_activations, b->err));
        activations = program->own_activations;
    }
    program->activation_bytes = b->plan->extent[NLM_SPACE_HOST] + b->plan->extent[NLM_SPACE_DEVICE];
    program->unpacked_bytes = b->plan->unpacked_bytes;
    NLM_TRY(bind_host_memory(b, activations));
    return program->stream_device ? bind_device_memory(b, activations) : NLM_OK;
}

/* ---- tensors ----------------------------------------------------------------------------------- */

/* The tensor of an activation or of a view of one, made at its first use in a space. */
static nlm_status tensor_of(binder *b, nlm_value value, nlm_space space, const nlm_tensor **out) {
    nlm_tensor **slot = &b->tensors[space][value];
    *out = *slot;
    if (*slot) return NLM_OK;
    const nlm_value_info *info = &b->plan->values[value];
    nlm_tensor *tensor = NULL;
    NLM_TRY(keep(b, 1, sizeof *tensor, &tensor));
    *tensor = info->tensor;
    const uint64_t offset = b->plan->blocks[space][info->base].offset + info->offset_bytes;
    if (space == NLM_SPACE_DEVICE) {
        b->program->rebinds[b->program->n_rebinds++] = (nlm_rebind){tensor, offset};
    } else if (b->plan->values[info->base].kind == NLM_VALUE_INPUT) {
        tensor->data = (char *)b->tensors[space][info->base]->data + info->offset_bytes;
    } else {
        tensor->data = b->host_base + offset;
    }
    *slot = tensor;
    *out = tensor;
    return NLM_OK;
}

static nlm_status weight_tensor(binder *b, const nlm_value_info *info, const nlm_tensor *placed,
                                const nlm_tensor **out) {
    *out = placed;
    if (info->kind == NLM_VALUE_WEIGHT) return NLM_OK;
    nlm_tensor *view = NULL;
    NLM_TRY(keep(b, 1, sizeof *view, &view));
    *view = info->tensor;
    view->data = (char *)placed->data + info->offset_bytes;
    view->buffer = placed->buffer;
    *out = view;
    return NLM_OK;
}

static nlm_status bind_field(binder *b, const nlm_plan_node *node, uint32_t index, nlm_step *step) {
    const nlm_value value = node->node.fields[index];
    const nlm_value_info *info = &b->plan->values[value];
    const nlm_tensor *tensor = NULL;
    if (info->kind == NLM_VALUE_STATE)
        tensor = &info->state->tensor;
    else if (node->weights[index])
        NLM_TRY(weight_tensor(b, info, node->weights[index], &tensor));
    else
        NLM_TRY(tensor_of(b, value, nlm_space_of(step->device), &tensor));
    nlm_args_set_tensor(&step->args, &nlm_op_spec_of(step->op)->fields[index], tensor);
    return NLM_OK;
}

/* ---- steps, items, inputs and outputs ------------------------------------------------------------ */

static nlm_status bind_step(binder *b, uint32_t n, bool needs_barrier) {
    const nlm_plan_node *node = &b->plan->nodes[n];
    nlm_step *step = &b->program->steps[n];
    *step = (nlm_step){.op = node->node.op,
                       .layer = node->node.layer,
                       .device = b->plan->env->devices[node->device],
                       .args = node->node.args,
                       .needs_barrier = needs_barrier,
                       .is_fallback = node->device > 0};
    if (step->is_fallback) {
        const char *reason = node->reason ? node->reason : "";
        step->reason = nlm_arena_strndup(&b->program->arena, reason, strlen(reason));
        if (!step->reason) return out_of_memory(b->err);
    }
    for (uint32_t i = 0; i < nlm_op_spec_of(step->op)->n_fields; i++) {
        if (node->node.fields[i] >= 0) NLM_TRY(bind_field(b, node, i, step));
    }
    return NLM_OK;
}

static nlm_status bind_item(binder *b, const nlm_plan_item *from, nlm_item *item) {
    *item = (nlm_item){.kind = from->kind, .first = from->first, .count = from->count, .consumer = from->consumer};
    if (from->kind != NLM_ITEM_UPLOAD && from->kind != NLM_ITEM_DOWNLOAD) return NLM_OK;
    NLM_TRY(tensor_of(b, from->value, NLM_SPACE_HOST, &item->host));
    item->device_offset = b->plan->blocks[NLM_SPACE_DEVICE][from->value].offset;
    item->row_bytes = nlm_tensor_bytes(item->host) / (uint64_t)item->host->shape[0];
    return NLM_OK;
}

static nlm_status bind_io(binder *b) {
    const nlm_plan *plan = b->plan;
    nlm_program *program = b->program;
    NLM_TRY(keep(b, plan->n_values, sizeof *program->io, &program->io));
    for (uint32_t kind = 0; kind < NLM_ROWS_KINDS; kind++) program->bucket_rows[kind] = INT32_MAX;
    for (uint32_t v = 0; v < plan->n_values; v++) {
        const nlm_value_info *info = &plan->values[v];
        const bool is_input = info->kind == NLM_VALUE_INPUT;
        if (!is_input && !info->is_output) continue;
        nlm_program_io *io = &program->io[program->n_io++];
        *io = (nlm_program_io){.value = (int32_t)v, .is_input = is_input};
        NLM_TRY(tensor_of(b, (nlm_value)v, NLM_SPACE_HOST, &io->host));
        int32_t *bucket = &program->bucket_rows[info->tensor.row_kind];
        if (is_input && info->tensor.shape[0] < *bucket) *bucket = (int32_t)info->tensor.shape[0];
    }
    return NLM_OK;
}

/* An upper bound of the tensors in device memory: a value has at most one there. */
static nlm_status make_tables(binder *b) {
    nlm_plan *plan = b->plan;
    nlm_program *program = b->program;
    for (int space = 0; space < NLM_SPACES; space++) {
        NLM_TRY(nlm_plan_array(plan, plan->n_values, sizeof(nlm_tensor *), &b->tensors[space], b->err));
    }
    NLM_TRY(keep(b, plan->n_nodes, sizeof *program->steps, &program->steps));
    NLM_TRY(keep(b, plan->n_items, sizeof *program->items, &program->items));
    const uint32_t n_rebinds = program->stream_device ? plan->n_values : 0;
    return keep(b, n_rebinds, sizeof *program->rebinds, &program->rebinds);
}

static nlm_status in_slot_barrier(const nlm_exec_v1 *x) {
    return nlm_pool_barrier(x->host, x->ith);
}

static nlm_status make_workers(binder *b) {
    nlm_program *program = b->program;
    nlm_pool *pool = program->env.pool;
    program->n_workers = nlm_pool_threads(pool);
    NLM_TRY(keep(b, program->n_workers, sizeof *program->workers, &program->workers));
    for (uint32_t i = 0; i < program->n_workers; i++) {
        nlm_worker *worker = &program->workers[i];
        worker->x = (nlm_exec_v1){.struct_size = sizeof worker->x,
                                  .ith = i,
                                  .nth = program->n_workers,
                                  .barrier = in_slot_barrier,
                                  .host = pool,
                                  .error = &worker->error};
    }
    nlm_worker *stream = &program->stream_worker;
    stream->x = (nlm_exec_v1){.struct_size = sizeof stream->x, .nth = 1, .error = &stream->error};
    if (program->stream_device) stream->x.device = program->stream_device->api.self;
    return NLM_OK;
}

nlm_status nlm_plan_bind(nlm_plan *plan, nlm_program *program, nlm_error *err) {
    binder b = {.plan = plan, .program = program, .err = err};
    program->env = *plan->env;
    for (uint32_t d = 0; d < plan->env->n_devices; d++) {
        if (!nlm_device_is_sliced(plan->env->devices[d])) program->stream_device = plan->env->devices[d];
    }
    NLM_TRY(make_tables(&b));
    NLM_TRY(make_workers(&b));
    NLM_TRY(bind_inputs(&b));
    NLM_TRY(bind_memory(&b));
    bool *needs_barrier;
    NLM_TRY(nlm_plan_array(plan, plan->n_nodes, sizeof *needs_barrier, &needs_barrier, err));
    nlm_plan_barriers(plan, needs_barrier);
    program->n_steps = plan->n_nodes;
    for (uint32_t n = 0; n < plan->n_nodes; n++) NLM_TRY(bind_step(&b, n, needs_barrier[n]));
    program->n_items = plan->n_items;
    for (uint32_t i = 0; i < plan->n_items; i++) NLM_TRY(bind_item(&b, &plan->items[i], &program->items[i]));
    return bind_io(&b);
}
