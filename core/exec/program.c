/* What a program tells about itself: its inputs and outputs, sizes, fallbacks and a dump of its steps. */
#include "exec/program_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "tensor/dtype.h"

void *nlm_program_input(nlm_program *program, int32_t value) {
    for (uint32_t i = 0; i < program->n_inputs; i++) {
        if (program->inputs[i].value == value) return program->inputs[i].tensor.data;
    }
    return NULL;
}

const void *nlm_program_left(const nlm_program *program, int32_t value) {
    const char *memory = program->writer ? program->sent : program->input_memory;
    for (uint32_t i = 0; i < program->n_inputs; i++) {
        if (program->inputs[i].value == value) return memory + program->inputs[i].offset;
    }
    return NULL;
}

bool nlm_program_can_repeat(const nlm_program *program) {
    uint32_t n_streams = 0;
    if (program->env.profile || program->n_items == 0) return false;
    for (uint32_t i = 0; i < program->n_items; i++) {
        const nlm_item *item = &program->items[i];
        const bool is_stream = item->kind == NLM_ITEM_STREAM && program->recordings[i];
        const bool is_output = item->kind == NLM_ITEM_TRANSFER && item->transfer.is_optional;
        if (!is_stream && !is_output) return false;
        n_streams += is_stream;
    }
    return n_streams == 1;
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

uint64_t nlm_program_working_bytes(const nlm_program *program) {
    return program->working_bytes;
}

uint64_t nlm_program_unpacked_bytes(const nlm_program *program) {
    return program->unpacked_bytes;
}

uint32_t nlm_program_steps(const nlm_program *program) {
    return program->n_steps;
}

bool nlm_program_uses_first(const nlm_program *program) {
    for (uint32_t i = 0; i < program->n_steps; i++) {
        if (!program->steps[i].is_fallback) return true;
    }
    return false;
}

/* ---- fallbacks ------------------------------------------------------------------------------- */

/* Steps that run elsewhere alike: the same op, device and reason. */
typedef struct fallback {
    const nlm_step *step; /* the first of them */
    uint32_t count;
    uint64_t bytes; /* moved to them in a run of all rows */
} fallback;

typedef struct fallback_list {
    fallback *kinds;
    uint32_t n_kinds;
    uint64_t *moved; /* [n_steps] */
} fallback_list;

static bool is_same_fallback(const nlm_step *a, const nlm_step *b) {
    return a->op == b->op && a->device == b->device && strcmp(a->reason, b->reason) == 0;
}

static void list_moved(const nlm_program *program, uint64_t *moved) {
    for (uint32_t i = 0; i < program->n_items; i++) {
        const nlm_transfer *transfer = &program->items[i].transfer;
        if (program->items[i].kind != NLM_ITEM_TRANSFER || transfer->consumer >= program->n_steps) continue;
        moved[transfer->consumer] += (uint64_t)transfer->rows->shape[0] * transfer->row_bytes;
    }
}

static void list_kinds(const nlm_program *program, fallback_list *list) {
    for (uint32_t i = 0; i < program->n_steps; i++) {
        const nlm_step *step = &program->steps[i];
        if (!step->is_fallback) continue;
        uint32_t k = 0;
        while (k < list->n_kinds && !is_same_fallback(list->kinds[k].step, step)) k++;
        if (k == list->n_kinds) list->kinds[list->n_kinds++] = (fallback){.step = step};
        list->kinds[k].count++;
        list->kinds[k].bytes += list->moved[i];
    }
}

/* In the order of their first steps; empty without memory. The caller frees. */
static fallback_list list_fallbacks(const nlm_program *program) {
    fallback_list list = {.kinds = calloc(program->n_steps + 1u, sizeof *list.kinds),
                          .moved = calloc(program->n_steps + 1u, sizeof *list.moved)};
    if (!list.kinds || !list.moved) return list;
    list_moved(program, list.moved);
    list_kinds(program, &list);
    return list;
}

static void release_fallbacks(fallback_list *list) {
    free(list->kinds);
    free(list->moved);
}

static void print_fallback(const fallback *f, nlm_str *out) {
    nlm_str_printf(out, "%s: %u on %s, %" PRIu64 " bytes moved to it a run: %s", nlm_op_spec_of(f->step->op)->name,
                   f->count, f->step->device->backend, f->bytes, f->step->reason);
}

void nlm_program_fallbacks(const nlm_program *program, nlm_str *out) {
    fallback_list list = list_fallbacks(program);
    for (uint32_t i = 0; i < list.n_kinds; i++) {
        print_fallback(&list.kinds[i], out);
        nlm_str_puts(out, "\n");
    }
    release_fallbacks(&list);
}

static void warn_of(const nlm_program *program, const fallback *f, nlm_activations *activations) {
    nlm_str line = {0}, topic = {0};
    nlm_str_printf(&topic, "%u %s %s", f->step->op, f->step->device->backend, f->step->reason);
    print_fallback(f, &line);
    if (line.data && topic.data && nlm_activations_is_news(activations, topic.data)) {
        nlm_log(NLM_LOG_WARN, "not on %s: %s", program->env.devices[0]->backend, line.data);
    }
    nlm_str_release(&line);
    nlm_str_release(&topic);
}

void nlm_program_warn_of_fallbacks(const nlm_program *program) {
    nlm_activations *activations = program->own_activations ? program->own_activations : program->env.activations;
    fallback_list list = list_fallbacks(program);
    for (uint32_t i = 0; i < list.n_kinds; i++) warn_of(program, &list.kinds[i], activations);
    release_fallbacks(&list);
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
