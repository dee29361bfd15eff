/* Making a program: its memory, queues and tensors. */
#include "exec/program_build.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/status.h"
#include "exec/program_impl.h"
#include "tensor/dtype.h"

#define WHERE           "nlm_program_create"
#define INPUT_ALIGNMENT 64u
#define PAGE_ALIGNMENT  4096u

static nlm_status out_of_memory(nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for a program");
}

static nlm_status keep(nlm_program *program, size_t count, size_t item_bytes, void *out_pointer, nlm_error *err) {
    void *memory = nlm_arena_array(&program->arena, count, item_bytes);
    if (!memory) return out_of_memory(err);
    memcpy(out_pointer, &memory, sizeof memory);
    return NLM_OK;
}

/* Appends a part to memory that ends at *end; LIMIT when that wraps. */
static nlm_status append_part(uint64_t *end, uint64_t bytes, uint64_t alignment, uint64_t *out_offset,
                              nlm_error *err) {
    if (nlm_align_u64(*end, alignment, out_offset) && nlm_add_u64(*out_offset, bytes, end)) return NLM_OK;
    return nlm_fail(err, NLM_LIMIT, WHERE, "the program's memory is larger than can be addressed");
}

/* ---- inputs ---------------------------------------------------------------------------------- */

static int compare_inputs(const void *a, const void *b) {
    const nlm_program_input_info *x = a, *y = b;
    const uint64_t x_bytes = nlm_tensor_bytes(&x->tensor), y_bytes = nlm_tensor_bytes(&y->tensor);
    if (x_bytes != y_bytes) return x_bytes < y_bytes ? -1 : 1;
    return x->value < y->value ? -1 : x->value > y->value;
}

/* The greatest live rows are those of the smallest input of the kind. */
static void find_bucket_rows(nlm_program *program) {
    for (uint32_t kind = 0; kind < NLM_ROWS_KINDS; kind++) program->bucket_rows[kind] = INT32_MAX;
    for (uint32_t i = 0; i < program->n_inputs; i++) {
        const nlm_tensor *tensor = &program->inputs[i].tensor;
        int32_t *bucket = &program->bucket_rows[tensor->row_kind];
        if (tensor->shape[0] < *bucket) *bucket = (int32_t)tensor->shape[0];
    }
}

/* The counts of live rows and then all inputs stand one after another, the small ones first: those change with each
 * run, so that what is to be sent stands together. */
static nlm_status make_inputs(nlm_program *program, const nlm_program_needs *needs, nlm_error *err) {
    program->n_inputs = needs->n_inputs;
    NLM_TRY(keep(program, needs->n_inputs, sizeof *program->inputs, &program->inputs, err));
    for (uint32_t i = 0; i < needs->n_inputs; i++) {
        program->inputs[i] = (nlm_program_input_info){.value = needs->inputs[i].value,
                                                      .tensor = needs->inputs[i].tensor,
                                                      .is_counts = needs->inputs[i].is_counts};
    }
    if (needs->n_inputs) qsort(program->inputs, needs->n_inputs, sizeof *program->inputs, compare_inputs);
    uint64_t end = NLM_ROWS_KINDS * sizeof(int32_t);
    for (uint32_t i = 0; i < program->n_inputs; i++) {
        nlm_program_input_info *input = &program->inputs[i];
        if (input->is_counts) continue; /* offset 0 */
        NLM_TRY(append_part(&end, nlm_tensor_bytes(&input->tensor), INPUT_ALIGNMENT, &input->offset, err));
    }
    NLM_TRY(append_part(&end, 0, INPUT_ALIGNMENT, &program->input_bytes, err));
    program->input_memory = aligned_alloc(INPUT_ALIGNMENT, program->input_bytes);
    if (!program->input_memory) return out_of_memory(err);
    memset(program->input_memory, 0, program->input_bytes);
    for (uint32_t i = 0; i < program->n_inputs; i++) {
        program->inputs[i].tensor.data = program->input_memory + program->inputs[i].offset;
    }
    find_bucket_rows(program);
    return NLM_OK;
}

/* In memory that transfers to the first of the devices are fastest from. */
static nlm_status make_sent(nlm_program *program, nlm_device *device, nlm_error *err) {
    void *memory = NULL;
    if (device->api.host_alloc) {
        NLM_TRY(nlm_status_prefix(device->api.host_alloc(device->api.self, program->input_bytes, &memory, err), err,
                                  "inputs for %s", device->backend));
        program->sent_owner = device;
    } else {
        memory = aligned_alloc(INPUT_ALIGNMENT, program->input_bytes);
        if (!memory) return out_of_memory(err);
    }
    program->sent = memory;
    return NLM_OK;
}

static void free_sent(nlm_program *program) {
    if (program->sent_owner && program->sent)
        program->sent_owner->api.host_free(program->sent_owner->api.self, program->sent);
    else
        free(program->sent);
}

static nlm_status make_device_inputs(nlm_program *program, nlm_queue *queue, bool has_inputs, nlm_error *err) {
    const nlm_device_v1 *api = &queue->device->api;
    if (!program->sent) NLM_TRY(make_sent(program, queue->device, err));
    queue->inputs_bytes = has_inputs ? program->input_bytes : NLM_ROWS_KINDS * sizeof(int32_t);
    void *address = NULL;
    NLM_TRY(nlm_status_prefix(api->buffer_alloc(api->self, queue->inputs_bytes, &queue->inputs_buffer, &address, err),
                              err, "inputs on %s", queue->device->backend));
    queue->inputs = address;
    return NLM_OK;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static nlm_status in_slot_barrier(const nlm_exec_v1 *x) {
    const nlm_worker *worker = x->host;
    return nlm_pool_barrier(worker->pool, x->ith);
}

static uint32_t in_slot_claim(const nlm_exec_v1 *x, uint32_t of) {
    const nlm_worker *worker = x->host;
    return nlm_pool_claim(worker->pool, of, worker->op);
}

static nlm_status make_workers(nlm_program *program, nlm_error *err) {
    program->n_workers = nlm_pool_threads(program->env.pool);
    NLM_TRY(keep(program, program->n_workers, sizeof *program->workers, &program->workers, err));
    for (uint32_t i = 0; i < program->n_workers; i++) {
        nlm_worker *worker = &program->workers[i];
        worker->pool = program->env.pool;
        worker->x = (nlm_exec_v1){.struct_size = sizeof worker->x,
                                  .ith = i,
                                  .nth = program->n_workers,
                                  .barrier = in_slot_barrier,
                                  .host = worker,
                                  .error = &worker->error,
                                  .claim = in_slot_claim};
    }
    return NLM_OK;
}

/* Activations, then the shared workspace, then each worker's scratch. */
static nlm_status make_host_memory(nlm_program *program, const nlm_space_needs *needs, nlm_activations *activations,
                                   nlm_error *err) {
    uint64_t end = needs->activation_bytes, workspace_at = 0, scratch_at = 0;
    NLM_TRY(append_part(&end, needs->workspace_bytes, PAGE_ALIGNMENT, &workspace_at, err));
    for (uint32_t i = 0; i < program->n_workers; i++) {
        NLM_TRY(append_part(&end, needs->scratch_bytes, PAGE_ALIGNMENT, &scratch_at, err));
        program->workers[i].x.scratch_bytes = scratch_at; /* until the base is known */
    }
    NLM_TRY(nlm_activations_host(activations, end, &program->host_base, err));
    program->working_bytes += end;
    for (uint32_t i = 0; i < program->n_workers; i++) {
        nlm_exec_v1 *x = &program->workers[i].x;
        x->workspace = program->host_base + workspace_at;
        x->workspace_bytes = needs->workspace_bytes;
        x->scratch = program->host_base + x->scratch_bytes;
        x->scratch_bytes = needs->scratch_bytes;
    }
    return NLM_OK;
}

/* They name addresses of the region. */
static void drop_recordings(void *user) {
    const nlm_queue *queue = user;
    nlm_recordings_drop(queue->program, (uint32_t)(queue - queue->program->queues));
}

/* The same on a stream device; one with host memory uses the host's. */
static nlm_status make_queue(nlm_program *program, uint32_t device, const nlm_program_needs *all,
                             nlm_activations *activations, nlm_error *err) {
    nlm_queue *queue = &program->queues[device];
    const nlm_space space = nlm_env_space(&program->env, device);
    const nlm_space_needs *needs = &all->spaces[space];
    queue->device = program->env.devices[device];
    program->n_queues = device + 1;
    nlm_exec_v1 *x = &queue->worker.x;
    *x = (nlm_exec_v1){.struct_size = sizeof *x,
                       .nth = 1,
                       .device = queue->device->api.self,
                       .workspace = program->workers[0].x.workspace,
                       .workspace_bytes = needs->workspace_bytes,
                       .scratch = program->workers[0].x.scratch,
                       .scratch_bytes = needs->scratch_bytes,
                       .error = &queue->worker.error};
    uint64_t end = 0;
    if (space != NLM_SPACE_HOST) {
        end = needs->activation_bytes;
        NLM_TRY(append_part(&end, needs->workspace_bytes, PAGE_ALIGNMENT, &queue->workspace_offset, err));
        NLM_TRY(append_part(&end, needs->scratch_bytes, PAGE_ALIGNMENT, &queue->scratch_offset, err));
        NLM_TRY(keep(program, all->n_tensors, sizeof *queue->rebinds, &queue->rebinds, err));
        NLM_TRY(make_device_inputs(program, queue, needs->has_inputs, err));
    }
    NLM_TRY(nlm_activations_device(activations, queue->device, end, &queue->region, err));
    program->working_bytes += end;
    x->stream = queue->region->stream;
    x->live_rows_device = queue->inputs ? queue->inputs : program->input_memory;
    x->live_rows_buffer = queue->inputs_buffer;
    queue->program = program;
    queue->watcher = (nlm_region_watcher){.before_move = drop_recordings, .user = queue};
    nlm_region_watch(queue->region, &queue->watcher);
    return nlm_timing_create(program, queue, all->n_steps, err);
}

static nlm_status make_memory(nlm_program *program, const nlm_program_needs *needs, nlm_error *err) {
    nlm_activations *activations = program->env.activations;
    if (!activations || needs->pauses) {
        NLM_TRY(nlm_activations_create(&program->own_activations, err));
        activations = program->own_activations;
    }
    for (uint32_t space = 0; space < NLM_SPACES; space++) {
        program->activation_bytes += needs->spaces[space].activation_bytes;
    }
    program->unpacked_bytes = needs->unpacked_bytes;
    NLM_TRY(make_host_memory(program, &needs->spaces[NLM_SPACE_HOST], activations, err));
    for (uint32_t d = 0; d < program->env.n_devices; d++) {
        if (!needs->uses_device[d] || nlm_device_is_sliced(program->env.devices[d])) continue;
        NLM_TRY(make_queue(program, d, needs, activations, err));
    }
    return NLM_OK;
}

nlm_status nlm_program_create(const nlm_env *env, const nlm_program_needs *needs, nlm_program **out, nlm_error *err) {
    nlm_program *program = calloc(1, sizeof *program);
    *out = program;
    if (!program) return out_of_memory(err);
    program->env = *env;
    NLM_TRY(keep(program, needs->n_steps, sizeof *program->steps, &program->steps, err));
    NLM_TRY(keep(program, needs->n_items, sizeof *program->items, &program->items, err));
    NLM_TRY(keep(program, needs->n_items, sizeof *program->is_wanted, &program->is_wanted, err));
    NLM_TRY(keep(program, needs->n_items, sizeof *program->recordings, &program->recordings, err));
    NLM_TRY(keep(program, needs->n_items, sizeof *program->landings, &program->landings, err));
    NLM_TRY(keep(program, needs->n_outputs, sizeof *program->outputs, &program->outputs, err));
    NLM_TRY(keep(program, needs->n_lent, sizeof(nlm_state *), &program->lent, err));
    NLM_TRY(make_workers(program, err));
    NLM_TRY(make_inputs(program, needs, err));
    return make_memory(program, needs, err);
}

static void release_queue(nlm_program *program, uint32_t device) {
    nlm_queue *queue = &program->queues[device];
    nlm_recordings_drop(program, device);
    nlm_timing_destroy(queue);
    if (queue->region) nlm_region_unwatch(queue->region, &queue->watcher);
    if (queue->inputs) queue->device->api.buffer_free(queue->device->api.self, queue->inputs_buffer);
}

static void free_landings(nlm_program *program) {
    for (uint32_t i = 0; i < program->n_items; i++) {
        if (!program->landings[i]) continue;
        const nlm_device_v1 *api = &program->queues[program->items[i].device].device->api;
        api->host_free(api->self, program->landings[i]);
    }
}

static void take_back(nlm_program *program) {
    for (uint32_t i = 0; i < program->n_lent; i++) {
        nlm_state *state = program->lent[i];
        for (uint32_t d = 0; d < program->n_queues; d++) {
            nlm_queue *queue = &program->queues[d];
            if (queue->device == state->device && state->buffer) queue->region->n_lent--;
        }
        nlm_state_release(state);
    }
}

void nlm_program_destroy(nlm_program *program) {
    if (!program) return;
    take_back(program);
    for (uint32_t d = 0; d < NLM_ENV_DEVICES; d++) {
        if (program->queues[d].device) release_queue(program, d);
    }
    free_landings(program);
    nlm_activations_destroy(program->own_activations);
    free_sent(program);
    free(program->input_memory);
    nlm_arena_release(&program->arena);
    free(program);
}

/* ---- tensors --------------------------------------------------------------------------------- */

static nlm_status copy_tensor(nlm_program *program, const nlm_tensor *like, nlm_tensor **out, nlm_error *err) {
    nlm_tensor *tensor = NULL;
    NLM_TRY(keep(program, 1, sizeof *tensor, &tensor, err));
    *tensor = *like;
    *out = tensor;
    return NLM_OK;
}

nlm_status nlm_program_add_activation(nlm_program *program, const nlm_tensor *like, nlm_space space, uint64_t offset,
                                      const nlm_tensor **out, nlm_error *err) {
    nlm_tensor *tensor = NULL;
    NLM_TRY(copy_tensor(program, like, &tensor, err));
    *out = tensor;
    if (space == NLM_SPACE_HOST) {
        tensor->data = program->host_base + offset;
        return NLM_OK;
    }
    nlm_queue *queue = &program->queues[space - 1];
    queue->rebinds[queue->n_rebinds++] = (nlm_rebind){tensor, offset};
    return NLM_OK;
}

static const nlm_program_input_info *find_input(const nlm_program *program, int32_t value) {
    for (uint32_t i = 0; i < program->n_inputs; i++) {
        if (program->inputs[i].value == value) return &program->inputs[i];
    }
    return NULL;
}

nlm_status nlm_program_add_input_view(nlm_program *program, const nlm_tensor *like, nlm_space space, int32_t value,
                                      uint64_t offset, const nlm_tensor **out, nlm_error *err) {
    const nlm_program_input_info *input = find_input(program, value);
    if (!input) return nlm_fail(err, NLM_INTERNAL, WHERE, "value %d is no input", (int)value);
    nlm_tensor *tensor = NULL;
    NLM_TRY(copy_tensor(program, like, &tensor, err));
    *out = tensor;
    if (space == NLM_SPACE_HOST) {
        tensor->data = program->input_memory + input->offset + offset;
        return NLM_OK;
    }
    const nlm_queue *queue = &program->queues[space - 1];
    tensor->data = queue->inputs + input->offset + offset;
    tensor->buffer = queue->inputs_buffer;
    return NLM_OK;
}

nlm_status nlm_program_add_tensor(nlm_program *program, const nlm_tensor *like, const nlm_tensor **out,
                                  nlm_error *err) {
    nlm_tensor *tensor = NULL;
    NLM_TRY(copy_tensor(program, like, &tensor, err));
    *out = tensor;
    return NLM_OK;
}

nlm_status nlm_program_lend(nlm_program *program, nlm_state *state, uint32_t device, uint64_t offset,
                            nlm_error *err) {
    if (state->device) return nlm_fail(err, NLM_INTERNAL, WHERE, "state %s has memory", state->name);
    if (nlm_env_space(&program->env, device) == NLM_SPACE_HOST) {
        nlm_state_lend(state, program->env.devices[device], program->host_base + offset, 0, 0);
    } else {
        nlm_device_region *region = program->queues[device].region;
        nlm_state_lend(state, program->env.devices[device], region->address + offset, region->buffer, offset);
        region->n_lent++;
    }
    program->lent[program->n_lent++] = state;
    return NLM_OK;
}

/* ---- steps, items, outputs ------------------------------------------------------------------- */

static nlm_status prepare(const nlm_program *program, const nlm_step *step, nlm_error *err) {
    const nlm_device_v1 *api = &step->device->api;
    if (!api->prepare) return NLM_OK;
    const uint32_t nth = nlm_device_is_sliced(step->device) ? program->n_workers : 1;
    return nlm_status_prefix(api->prepare(api->self, step->op, &step->args, nth, err), err,
                             "preparing %s, layer %d, on %s", nlm_op_spec_of(step->op)->name, (int)step->layer,
                             step->device->backend);
}

/* Inputs that the step leaves changed, on a device with memory of its own. */
static void find_written(nlm_program *program, const nlm_step *step) {
    const nlm_op_spec *spec = nlm_op_spec_of(step->op);
    for (uint32_t f = 0; f < spec->n_fields; f++) {
        const uint32_t use = spec->fields[f].use;
        const nlm_tensor *tensor = nlm_args_tensor(&step->args, &spec->fields[f]);
        if (!tensor || !(use & NLM_FIELD_INPUT) || !(use & NLM_FIELD_WRITES)) continue;
        for (uint32_t d = 0; d < program->n_queues; d++) {
            nlm_queue *queue = &program->queues[d];
            if (queue->device != step->device || !queue->inputs || tensor->buffer != queue->inputs_buffer) continue;
            const uint64_t end = (uint64_t)((char *)tensor->data - queue->inputs) + nlm_tensor_bytes(tensor);
            program->writer = queue;
            if (end > program->written_bytes) program->written_bytes = end;
        }
    }
}

nlm_status nlm_program_add_step(nlm_program *program, const nlm_step *step, nlm_error *err) {
    nlm_step *added = &program->steps[program->n_steps];
    *added = *step;
    if (step->is_fallback) {
        added->reason = nlm_arena_strndup(&program->arena, step->reason, strlen(step->reason));
        if (!added->reason) return out_of_memory(err);
    }
    program->n_steps++;
    find_written(program, added);
    if (step->output != NLM_NO_OUTPUT) program->outputs[step->output].is_lazy = true;
    return prepare(program, added, err);
}

nlm_status nlm_program_add_item(nlm_program *program, const nlm_item *item, nlm_error *err) {
    nlm_recording **recordings = &program->recordings[program->n_items];
    if (item->kind == NLM_ITEM_STREAM && nlm_device_can_capture(program->env.devices[item->device])) {
        NLM_TRY(keep(program, NLM_CONTEXT_BUCKETS, sizeof **recordings, recordings, err));
    }
    if (item->kind == NLM_ITEM_SUM) program->has_sums = true;
    program->items[program->n_items++] = *item;
    return NLM_OK;
}

/* Where the transfer of an output ends, in pinned memory: a device need not stop for it. Views of one value land
 * together. */
static nlm_status make_landing(nlm_program *program, uint32_t item, const nlm_tensor **host, nlm_error *err) {
    const nlm_transfer *transfer = &program->items[item].transfer;
    const nlm_device *device = program->queues[program->items[item].device].device;
    const nlm_device_v1 *api = &device->api;
    char **landing = &program->landings[item];
    if (!api->host_alloc) return NLM_OK;
    if (!*landing) {
        void *memory = NULL;
        const uint64_t bytes = (uint64_t)transfer->rows->shape[0] * transfer->row_bytes;
        NLM_TRY(nlm_status_prefix(api->host_alloc(api->self, bytes, &memory, err), err, "outputs of %s",
                                  device->backend));
        memset(memory, 0, bytes);
        *landing = memory;
    }
    nlm_tensor landed = **host;
    landed.data = *landing + ((char *)landed.data - (program->host_base + transfer->host_offset));
    return nlm_program_add_tensor(program, &landed, host, err);
}

nlm_status nlm_program_add_output(nlm_program *program, int32_t value, const nlm_tensor *host, uint32_t item,
                                  nlm_error *err) {
    if (item != NLM_NO_ITEM) NLM_TRY(make_landing(program, item, &host, err));
    nlm_program_output_info *output = &program->outputs[program->n_outputs++];
    output->value = value;
    output->host = host;
    output->item = item;
    return NLM_OK;
}
