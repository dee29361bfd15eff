#include "exec/program_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "tensor/dtype.h"

static const nlm_program_io *find_io(const nlm_program *program, int32_t value, bool is_input) {
    for (uint32_t i = 0; i < program->n_io; i++) {
        if (program->io[i].value == value && program->io[i].is_input == is_input) return &program->io[i];
    }
    return NULL;
}

void *nlm_program_input(nlm_program *program, int32_t value) {
    const nlm_program_io *io = find_io(program, value, true);
    return io ? io->host->data : NULL;
}

const void *nlm_program_output(const nlm_program *program, int32_t value) {
    const nlm_program_io *io = find_io(program, value, false);
    return io ? io->host->data : NULL;
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

void nlm_program_destroy(nlm_program *program) {
    if (!program) return;
    nlm_activations_destroy(program->own_activations);
    free(program->input_memory);
    nlm_arena_release(&program->arena);
    free(program);
}

/* ---- fallbacks ------------------------------------------------------------------------------- */

static bool is_same_fallback(const nlm_step *a, const nlm_step *b) {
    return b->is_fallback && a->op == b->op && a->device == b->device && strcmp(a->reason, b->reason) == 0;
}

/* What a run moves between host and device for the step, when all rows are live. */
static uint64_t moved_bytes(const nlm_program *program, uint32_t step) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < program->n_items; i++) {
        const nlm_item *item = &program->items[i];
        const bool is_transfer = item->kind == NLM_ITEM_UPLOAD || item->kind == NLM_ITEM_DOWNLOAD;
        if (is_transfer && item->consumer == step) bytes += (uint64_t)item->host->shape[0] * item->row_bytes;
    }
    return bytes;
}

bool nlm_program_fallback_at(const nlm_program *program, uint32_t index, nlm_str *out) {
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
        if (nlm_program_fallback_at(program, i, out)) nlm_str_puts(out, "\n");
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
