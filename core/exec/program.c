/* What a program tells about itself: its inputs and outputs, sizes, fallbacks and a dump of its steps. */
#include "exec/program_impl.h"

#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "tensor/dtype.h"

void *nlm_program_input(nlm_program *program, int32_t value) {
    for (uint32_t i = 0; i < program->n_inputs; i++) {
        if (program->inputs[i].value == value) return program->inputs[i].tensor.data;
    }
    return NULL;
}

const void *nlm_program_output(const nlm_program *program, int32_t value) {
    for (uint32_t i = 0; i < program->n_outputs; i++) {
        if (program->outputs[i].value == value) return program->outputs[i].host->data;
    }
    return NULL;
}

uint64_t nlm_program_activation_bytes(const nlm_program *program) {
    return program->activation_bytes;
}

uint64_t nlm_program_unpacked_bytes(const nlm_program *program) {
    return program->unpacked_bytes;
}

uint32_t nlm_program_steps(const nlm_program *program) {
    return program->n_steps;
}

/* ---- fallbacks ------------------------------------------------------------------------------- */

static bool is_same_fallback(const nlm_step *a, const nlm_step *b) {
    return b->is_fallback && a->op == b->op && a->device == b->device && strcmp(a->reason, b->reason) == 0;
}

/* What a run moves between host and device for the step, when all rows are live. */
static uint64_t moved_bytes(const nlm_program *program, uint32_t step) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < program->n_items; i++) {
        const nlm_transfer *transfer = &program->items[i].transfer;
        if (program->items[i].kind != NLM_ITEM_TRANSFER || transfer->consumer != step) continue;
        bytes += (uint64_t)transfer->rows->shape[0] * transfer->row_bytes;
    }
    return bytes;
}

/* Appends the line about a fallback of which step `index` is the first; false if it is not one. */
static bool fallback_at(const nlm_program *program, uint32_t index, nlm_str *out) {
    const nlm_step *step = &program->steps[index];
    if (!step->is_fallback) return false;
    for (uint32_t i = 0; i < index; i++) {
        if (is_same_fallback(step, &program->steps[i])) return false;
    }
    uint32_t count = 0;
    uint64_t bytes = 0;
    for (uint32_t i = index; i < program->n_steps; i++) {
        if (!is_same_fallback(step, &program->steps[i])) continue;
        count++;
        bytes += moved_bytes(program, i);
    }
    nlm_str_printf(out, "%s: %u on %s, %" PRIu64 " bytes moved to it a run: %s", nlm_op_spec_of(step->op)->name,
                   count, step->device->backend, bytes, step->reason);
    return true;
}

void nlm_program_fallbacks(const nlm_program *program, nlm_str *out) {
    for (uint32_t i = 0; i < program->n_steps; i++) {
        if (fallback_at(program, i, out)) nlm_str_puts(out, "\n");
    }
}

void nlm_program_warn_of_fallbacks(const nlm_program *program) {
    nlm_activations *activations = program->own_activations ? program->own_activations : program->env.activations;
    for (uint32_t i = 0; i < program->n_steps; i++) {
        const nlm_step *step = &program->steps[i];
        nlm_str line = {0}, topic = {0};
        if (fallback_at(program, i, &line) && line.data) {
            nlm_str_printf(&topic, "%u %s %s", step->op, step->device->backend, step->reason);
            if (topic.data && nlm_activations_is_news(activations, topic.data)) {
                nlm_log(NLM_LOG_WARN, "not on %s: %s", program->env.devices[0]->backend, line.data);
            }
        }
        nlm_str_release(&line);
        nlm_str_release(&topic);
    }
}

/* ---- dump -------------------------------------------------------------------------------------- */

static void dump_tensor(const nlm_tensor *tensor, nlm_str *out) {
    for (int i = 0; i < tensor->rank; i++) nlm_str_printf(out, "%s%" PRId64, i ? "," : "[", tensor->shape[i]);
    nlm_str_printf(out, "] %s", nlm_dtype_name(tensor->dtype));
}

static void dump_fields(const nlm_step *step, bool is_result, nlm_str *out) {
    const nlm_op_spec *spec = nlm_op_spec_of(step->op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_op_field *field = &spec->fields[i];
        const nlm_tensor *tensor = nlm_args_tensor(&step->args, field);
        if (!tensor || ((field->use & NLM_FIELD_OUT) != 0) != is_result) continue;
        nlm_str_puts(out, " ");
        if (!is_result) nlm_str_printf(out, "%s ", field->name);
        dump_tensor(tensor, out);
        if (tensor->layout) nlm_str_printf(out, " layout %u", tensor->layout);
    }
}

void nlm_program_dump(const nlm_program *program, nlm_str *out) {
    for (uint32_t i = 0; i < program->n_steps; i++) {
        const nlm_step *step = &program->steps[i];
        nlm_str_printf(out, "%u %s %s", i, nlm_op_spec_of(step->op)->name, step->device->backend);
        if (step->layer >= 0) nlm_str_printf(out, " layer %" PRId32, step->layer);
        dump_fields(step, true, out);
        nlm_str_puts(out, " <-");
        dump_fields(step, false, out);
        nlm_str_puts(out, "\n");
    }
}
