/* The trained model as a file that every program of nlm reads, and others. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/status.h"
#include "tensor/dtype.h"
#include "train/trainer_impl.h"

#define WHERE "nlm_trainer_export"

typedef struct exporting {
    const nlm_trainer *trainer;
    nlm_dtype dtype;
    nlm_gguf_writer *writer;
    nlm_arena arena; /* what the writer borrows */
    nlm_error *err;
} exporting;

static nlm_dtype dtype_of(const exporting *e, const nlm_trained *trained) {
    const nlm_tensor *t = &trained->parameter.value.tensor;
    if (!trained->decays || t->dtype != e->trainer->options.dtype) return NLM_F32;
    return nlm_dtype_row_bytes(e->dtype, (uint64_t)t->shape[1]) ? e->dtype : NLM_F16;
}

static nlm_status add_values(exporting *e, uint32_t index, float *values) {
    const nlm_trained *trained = nlm_parameters_at(e->trainer->parameters, index);
    const nlm_tensor *t = &trained->parameter.value.tensor;
    const nlm_dtype dtype = dtype_of(e, trained);
    const int64_t columns = t->shape[t->rank - 1], rows = t->rank == 2 ? t->shape[0] : 1;
    const uint64_t row_bytes = nlm_dtype_row_bytes(dtype, (uint64_t)columns);
    char *data = nlm_arena_alloc(&e->arena, row_bytes * (uint64_t)rows);
    if (!data) return nlm_fail(e->err, NLM_OUT_OF_MEMORY, WHERE, "no memory for %s", trained->weight->name);
    NLM_TRY(nlm_trainer_read(e->trainer, index, NLM_TRAINER_VALUE, values, e->err));
    nlm_trained_to_weight(trained, values, nlm_trained_elements(trained));
    for (int64_t r = 0; r < rows; r++)
        NLM_TRY(nlm_quantize_row(dtype, values + r * columns, data + (uint64_t)r * row_bytes, columns, e->err));
    nlm_tensor tensor;
    NLM_TRY(nlm_tensor_init(&tensor, dtype, t->rank, t->shape, data, e->err));
    nlm_gguf_writer_tensor(e->writer, trained->weight->name, &tensor);
    return NLM_OK;
}

static nlm_status add_parameters(exporting *e) {
    for (uint32_t i = 0; i < nlm_parameters_count(e->trainer->parameters); i++) {
        const uint64_t elements = nlm_trained_elements(nlm_parameters_at(e->trainer->parameters, i));
        float *values = malloc(elements * sizeof *values);
        if (!values) return nlm_fail(e->err, NLM_OUT_OF_MEMORY, WHERE, "no memory for the values of a parameter");
        const nlm_status status = add_values(e, i, values);
        free(values);
        NLM_TRY(status);
    }
    return NLM_OK;
}

/* Tensors that are not trained go as they are. */
static nlm_status add_others(exporting *e, const nlm_gguf *gguf) {
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++) {
        const nlm_gguf_tensor *tensor = nlm_gguf_tensor_at(gguf, i);
        char *name = nlm_arena_strndup(&e->arena, tensor->name.data, tensor->name.length);
        if (!name) return nlm_fail(e->err, NLM_OUT_OF_MEMORY, WHERE, "no memory for a name");
        bool is_trained = false;
        for (uint32_t p = 0; p < nlm_parameters_count(e->trainer->parameters) && !is_trained; p++)
            is_trained = strcmp(nlm_parameters_at(e->trainer->parameters, p)->weight->name, name) == 0;
        if (!is_trained) nlm_gguf_writer_tensor(e->writer, name, &tensor->tensor);
    }
    return NLM_OK;
}

static nlm_status export_all(exporting *e, const char *path) {
    const nlm_gguf *gguf = nlm_model_gguf(e->trainer->model);
    for (size_t i = 0; i < nlm_gguf_entry_count(gguf); i++) {
        const nlm_gguf_entry *entry = nlm_gguf_entry_at(gguf, i);
        const bool is_type = entry->key.length == strlen("general.file_type") &&
                             memcmp(entry->key.data, "general.file_type", entry->key.length) == 0;
        if (!is_type) nlm_gguf_writer_entry(e->writer, entry);
    }
    NLM_TRY(add_parameters(e));
    NLM_TRY(add_others(e, gguf));
    return nlm_gguf_writer_finish(e->writer, path, e->err);
}

nlm_status nlm_trainer_export(const nlm_trainer *t, nlm_dtype dtype, const char *path, nlm_error *err) {
    if (!nlm_dtype_find(dtype) || dtype == NLM_I32) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "type %d is no type of weights", dtype);
    }
    exporting e = {.trainer = t, .dtype = dtype, .err = err};
    NLM_TRY(nlm_gguf_writer_create(&e.writer, err));
    const nlm_status status = export_all(&e, path);
    nlm_gguf_writer_destroy(e.writer);
    nlm_arena_release(&e.arena);
    return status;
}
