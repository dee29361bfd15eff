/* The trained model as a file that every program of nlm reads, and others; and adapters as one of their own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/status.h"
#include "format/safetensors.h"
#include "tensor/dtype.h"
#include "train/trainer_impl.h"

#define WHERE "nlm_trainer_export"

typedef struct exporting {
    const nlm_trainer *trainer;
    nlm_dtype dtype; /* NLM_EXPORT_AS_IT_IS, or of matrices */
    nlm_gguf_writer *writer;
    nlm_arena arena; /* what the writer borrows */
    float *room;     /* for the values of any tensor */
    nlm_error *err;
} exporting;

static nlm_status no_memory(const exporting *e, const char *name) {
    return nlm_fail(e->err, NLM_OUT_OF_MEMORY, WHERE, "no memory for %s", name);
}

/* ---- values ---------------------------------------------------------------------------------------- */

/* w + scale B A, row by row. */
static nlm_status add_adapter(const exporting *e, uint32_t a, uint32_t b, float *w) {
    nlm_parameters *parameters = e->trainer->parameters;
    const nlm_trained *low = nlm_parameters_at(parameters, a), *high = nlm_parameters_at(parameters, b);
    const int64_t rank = low->parameter.value.tensor.shape[0], columns = low->parameter.value.tensor.shape[1];
    const int64_t rows = high->parameter.value.tensor.shape[0];
    const float scale = nlm_parameters_lora_scale(parameters);
    float *values_a = malloc(nlm_trained_elements(low) * sizeof *values_a);
    float *values_b = malloc(nlm_trained_elements(high) * sizeof *values_b);
    nlm_status status = values_a && values_b ? NLM_OK : no_memory(e, low->name);
    if (status == NLM_OK) status = nlm_trainer_read(e->trainer, a, NLM_TRAINER_VALUE, values_a, e->err);
    if (status == NLM_OK) status = nlm_trainer_read(e->trainer, b, NLM_TRAINER_VALUE, values_b, e->err);
    for (int64_t i = 0; status == NLM_OK && i < rows * rank; i++) {
        const float factor = scale * values_b[i];
        for (int64_t k = 0; k < columns; k++) w[i / rank * columns + k] += factor * values_a[i % rank * columns + k];
    }
    free(values_a);
    free(values_b);
    return status;
}

/* The parameter that is the tensor, or that adapts it; false: the tensor is not trained. */
static bool find_trained(const exporting *e, const char *name, uint32_t *out_index) {
    nlm_parameters *parameters = e->trainer->parameters;
    for (uint32_t i = 0; i < nlm_parameters_count(parameters); i++) {
        if (strcmp(nlm_parameters_at(parameters, i)->weight->name, name) != 0) continue;
        *out_index = i; /* of an adapter A, which B follows */
        return true;
    }
    return false;
}

static nlm_status read_values(const exporting *e, uint32_t index) {
    const nlm_trained *trained = nlm_parameters_at(e->trainer->parameters, index);
    if (trained->part != NLM_TRAINED_WEIGHT) {
        NLM_TRY(nlm_trained_decode(trained, e->room, e->err));
        return add_adapter(e, index, index + 1, e->room);
    }
    NLM_TRY(nlm_trainer_read(e->trainer, index, NLM_TRAINER_VALUE, e->room, e->err));
    nlm_trained_to_weight(trained, e->room, nlm_trained_elements(trained));
    return NLM_OK;
}

/* ---- tensors ------------------------------------------------------------------------------------------ */

/* Of fewer bits than q8_0: a step of training moves such a weight by less than rounding does, so that to round it
 * once more forgets what was learned. */
static bool is_narrow(const nlm_tensor *t) {
    const uint64_t columns = (uint64_t)t->shape[t->rank - 1], bytes = nlm_dtype_row_bytes(NLM_Q8_0, columns);
    return bytes > 0 && nlm_dtype_row_bytes(t->dtype, columns) < bytes;
}

/* Vectors are f32, and so is what the families convert to it. */
static nlm_dtype dtype_of(const exporting *e, const nlm_tensor *t) {
    if (e->dtype == NLM_EXPORT_AS_IT_IS) return is_narrow(t) ? NLM_Q8_0 : t->dtype;
    if (t->rank != 2 || t->shape[1] < 32) return NLM_F32;
    return nlm_dtype_row_bytes(e->dtype, (uint64_t)t->shape[1]) ? e->dtype : NLM_F16;
}

/* A tensor while it is written. */
typedef struct writing {
    exporting *e;
    uint32_t index;
    nlm_dtype dtype;
} writing;

static nlm_status write_elements(void *user, int64_t first, int64_t count, void *out, nlm_error *err) {
    const writing *w = user;
    w->e->err = err;
    if (first == 0) NLM_TRY(read_values(w->e, w->index));
    return nlm_quantize_row(w->dtype, w->e->room + first, out, count, err);
}

static nlm_status add_tensor(exporting *e, const nlm_gguf_tensor *found) {
    const nlm_tensor *t = &found->tensor;
    char *name = nlm_arena_strndup(&e->arena, found->name.data, found->name.length);
    writing *w = nlm_arena_alloc(&e->arena, sizeof *w);
    if (!name || !w) return no_memory(e, "a tensor");
    *w = (writing){.e = e, .dtype = dtype_of(e, t)};
    if (find_trained(e, name, &w->index))
        nlm_gguf_writer_source(e->writer, name, w->dtype, t->rank, t->shape, (nlm_tensor_source){write_elements, w});
    else
        nlm_gguf_writer_tensor(e->writer, name, t);
    return NLM_OK;
}

static nlm_status make_room(exporting *e, const nlm_gguf *gguf) {
    uint64_t most = 1;
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++) {
        const nlm_tensor *t = &nlm_gguf_tensor_at(gguf, i)->tensor;
        const uint64_t elements = (uint64_t)t->shape[0] * (uint64_t)(t->rank == 2 ? t->shape[1] : 1);
        if (elements > most) most = elements;
    }
    e->room = malloc(most * sizeof *e->room);
    return e->room ? NLM_OK : no_memory(e, "the values of a tensor");
}

/* Is a tensor trained whose type is not the one it had? */
static bool has_other_types(const exporting *e, const nlm_gguf *gguf) {
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++) {
        const nlm_gguf_tensor *found = nlm_gguf_tensor_at(gguf, i);
        char name[128];
        uint32_t index;
        if (found->name.length >= sizeof name) continue;
        memcpy(name, found->name.data, found->name.length);
        name[found->name.length] = 0;
        if (dtype_of(e, &found->tensor) != found->tensor.dtype && find_trained(e, name, &index)) return true;
    }
    return false;
}

static nlm_status export_all(exporting *e, const char *path) {
    static const char type_key[] = "general.file_type";
    const nlm_gguf *gguf = nlm_model_gguf(e->trainer->model);
    const bool keeps_type = !has_other_types(e, gguf);
    for (size_t i = 0; i < nlm_gguf_entry_count(gguf); i++) {
        const nlm_gguf_entry *entry = nlm_gguf_entry_at(gguf, i);
        const bool is_type =
            entry->key.length == strlen(type_key) && memcmp(entry->key.data, type_key, entry->key.length) == 0;
        if (!is_type || keeps_type) nlm_gguf_writer_entry(e->writer, entry);
    }
    NLM_TRY(nlm_gguf_check_file(gguf, e->err));
    NLM_TRY(make_room(e, gguf));
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++) NLM_TRY(add_tensor(e, nlm_gguf_tensor_at(gguf, i)));
    return nlm_gguf_writer_finish(e->writer, path, e->err);
}

nlm_status nlm_trainer_export(const nlm_trainer *t, nlm_dtype dtype, const char *path, nlm_error *err) {
    if (dtype != NLM_EXPORT_AS_IT_IS && (!nlm_dtype_find(dtype) || dtype == NLM_I32)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "type %d is no type of weights", dtype);
    }
    exporting e = {.trainer = t, .dtype = dtype, .err = err};
    NLM_TRY(nlm_gguf_writer_create(&e.writer, err));
    const nlm_status status = export_all(&e, path);
    nlm_gguf_writer_destroy(e.writer);
    nlm_arena_release(&e.arena);
    free(e.room);
    return status;
}

/* ---- adapters ------------------------------------------------------------------------------------------- */

static nlm_status write_adapters(const nlm_trainer *t, nlm_arena *arena, nlm_safetensors_writer *w, nlm_error *err) {
    char text[32];
    const nlm_parameters_options *options = &t->options.parameters;
    snprintf(text, sizeof text, "%d", options->lora_rank);
    nlm_safetensors_writer_metadata(w, "lora_rank", text);
    snprintf(text, sizeof text, "%g", (double)options->lora_alpha);
    nlm_safetensors_writer_metadata(w, "lora_alpha", text);
    for (uint32_t i = 0; i < nlm_parameters_count(t->parameters); i++) {
        const nlm_trained *trained = nlm_parameters_at(t->parameters, i);
        nlm_tensor tensor = trained->parameter.value.tensor;
        float *values = nlm_arena_array(arena, nlm_trained_elements(trained), sizeof *values);
        if (!values) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for %s", trained->name);
        NLM_TRY(nlm_trainer_read(t, i, NLM_TRAINER_VALUE, values, err));
        NLM_TRY(nlm_tensor_init(&tensor, NLM_F32, 2, tensor.shape, values, err));
        nlm_safetensors_writer_tensor(w, trained->name, &tensor);
    }
    return NLM_OK;
}

nlm_status nlm_trainer_export_adapters(const nlm_trainer *t, const char *path, nlm_error *err) {
    if (t->options.parameters.lora_rank == 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "the model was trained without adapters");
    }
    nlm_safetensors_writer *w = NULL;
    nlm_arena arena = {0};
    NLM_TRY(nlm_safetensors_writer_create(&w, err));
    nlm_status status = write_adapters(t, &arena, w, err);
    if (status == NLM_OK) status = nlm_safetensors_writer_finish(w, path, err);
    nlm_safetensors_writer_destroy(w);
    nlm_arena_release(&arena);
    return status;
}
