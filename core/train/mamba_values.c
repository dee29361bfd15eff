/* nlm/mamba.h: parameters by name, and in files. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "format/safetensors.h"
#include "session/options.h"
#include "train/mamba_impl.h"

/* ---- by name ------------------------------------------------------------------------------------------ */

nlm_status nlm_mamba_parameter_at(const nlm_mamba *mamba, uint32_t index, nlm_mamba_parameter *out_parameter,
                                  nlm_error *error) {
    NLM_NEEDS(mamba, error);
    NLM_NEEDS(out_parameter, error);
    const uint32_t count = nlm_parameters_count(mamba->parameters);
    if (index >= count) return nlm_fail(error, NLM_NOT_FOUND, __func__, "parameter %u; there are %u", index, count);
    const nlm_mamba_name *name = &mamba->names[index];
    nlm_mamba_parameter parameter = {.rank = (uint32_t)name->rank,
                                     .name = name->name,
                                     .n_elements = nlm_trained_elements(nlm_parameters_at(mamba->parameters, index))};
    memcpy(parameter.shape, name->shape, sizeof parameter.shape);
    return nlm_give_struct(out_parameter, &parameter, sizeof parameter, "nlm_mamba_parameter", error);
}

static nlm_status find(const nlm_mamba *m, const char *name, uint64_t count, uint32_t *out_index, nlm_error *err) {
    for (uint32_t i = 0; i < nlm_parameters_count(m->parameters); i++) {
        if (strcmp(m->names[i].name, name) != 0) continue;
        const uint64_t elements = nlm_trained_elements(nlm_parameters_at(m->parameters, i));
        *out_index = i;
        if (count == elements) return NLM_OK;
        return nlm_fail(err, NLM_INVALID_ARGUMENT, NLM_MAMBA_WHERE,
                        "'%s' has %" PRIu64 " elements, room is for %" PRIu64, name, elements, count);
    }
    return nlm_fail(err, NLM_NOT_FOUND, NLM_MAMBA_WHERE, "there is no parameter '%s'", name);
}

nlm_status nlm_mamba_read(const nlm_mamba *mamba, const char *name, float *out_values, uint64_t count,
                          nlm_error *error) {
    NLM_NEEDS(mamba, error);
    NLM_NEEDS(name, error);
    NLM_NEEDS(out_values, error);
    NLM_ENTER(&mamba->engine->gate, error);
    uint32_t index = 0;
    NLM_TRY(find(mamba, name, count, &index, error));
    return nlm_optimizer_read(mamba->optimizer, index, NLM_OPTIMIZER_VALUE, out_values, error);
}

nlm_status nlm_mamba_write(nlm_mamba *mamba, const char *name, const float *values, uint64_t count,
                           nlm_error *error) {
    NLM_NEEDS(mamba, error);
    NLM_NEEDS(name, error);
    NLM_NEEDS(values, error);
    NLM_ENTER(&mamba->engine->gate, error);
    uint32_t index = 0;
    NLM_TRY(find(mamba, name, count, &index, error));
    mamba->is_paused = false;
    return nlm_optimizer_write(mamba->optimizer, index, NLM_OPTIMIZER_VALUE, values, error);
}

nlm_status nlm_mamba_read_gradient(const nlm_mamba *mamba, const char *name, float *out_values, uint64_t count,
                                   nlm_error *error) {
    NLM_NEEDS(mamba, error);
    NLM_NEEDS(name, error);
    NLM_NEEDS(out_values, error);
    NLM_ENTER(&mamba->engine->gate, error);
    uint32_t index = 0;
    NLM_TRY(find(mamba, name, count, &index, error));
    const nlm_state *gradient = &nlm_parameters_at(mamba->parameters, index)->parameter.gradient;
    return nlm_state_read(gradient, 0, out_values, count * sizeof *out_values, error);
}

/* ---- files ---------------------------------------------------------------------------------------------- */

static const char *const prefixes[NLM_OPTIMIZER_KINDS] = {"", "adamw_m.", "adamw_v."};

static int kinds_of(uint32_t flags) {
    return flags & NLM_MAMBA_WITH_OPTIMIZER ? NLM_OPTIMIZER_KINDS : 1;
}

static nlm_status check_flags(uint32_t flags, nlm_error *err) {
    if (!(flags & ~(uint32_t)NLM_MAMBA_WITH_OPTIMIZER)) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, NLM_MAMBA_WHERE, "flags 0x%x: expected NLM_MAMBA_WITH_OPTIMIZER or 0",
                    flags);
}

/* One tensor while it is written: read when its first element is asked for. */
typedef struct source {
    const nlm_mamba *mamba;
    uint32_t index;
    int kind;
} source;

static nlm_status read_source(void *user, int64_t first, int64_t count, void *out, nlm_error *err) {
    const source *s = user;
    const nlm_mamba *m = s->mamba;
    if (first == 0) NLM_TRY(nlm_optimizer_read(m->optimizer, s->index, s->kind, m->room, err));
    memcpy(out, m->room + first, (size_t)count * sizeof *m->room);
    return NLM_OK;
}

static void tensor_name(const nlm_mamba *m, uint32_t index, int kind, char *out, size_t capacity) {
    snprintf(out, capacity, "%s%s", prefixes[kind], m->names[index].name);
}

static nlm_status write_file(const nlm_mamba *m, const char *path, int kinds, source *sources, nlm_error *err) {
    char text[128];
    nlm_safetensors_writer *w = NULL;
    NLM_TRY(nlm_safetensors_writer_create(&w, err));
    snprintf(text, sizeof text, "%" PRIu64, m->steps);
    nlm_safetensors_writer_metadata(w, "nlm.steps", text);
    for (uint32_t i = 0; i < nlm_parameters_count(m->parameters); i++) {
        for (int kind = 0; kind < kinds; kind++) {
            source *s = &sources[i * (uint32_t)kinds + (uint32_t)kind];
            *s = (source){m, i, kind};
            tensor_name(m, i, kind, text, sizeof text);
            nlm_safetensors_writer_source(w, text, NLM_F32, m->names[i].rank, m->names[i].shape,
                                          (nlm_tensor_source){read_source, s});
        }
    }
    const nlm_status status = nlm_safetensors_writer_finish(w, path, err);
    nlm_safetensors_writer_destroy(w);
    return status;
}

nlm_status nlm_mamba_save(const nlm_mamba *mamba, const char *path, uint32_t flags, nlm_error *error) {
    NLM_NEEDS(mamba, error);
    NLM_NEEDS(path, error);
    NLM_ENTER(&mamba->engine->gate, error);
    NLM_TRY(check_flags(flags, error));
    const int kinds = kinds_of(flags);
    source *sources = calloc((size_t)nlm_parameters_count(mamba->parameters) * (size_t)kinds, sizeof *sources);
    if (!sources) return nlm_fail(error, NLM_OUT_OF_MEMORY, path, "no memory for a file");
    const nlm_status status = write_file(mamba, path, kinds, sources, error);
    free(sources);
    return status;
}

static const nlm_safetensors_tensor *find_tensor(const nlm_mamba *m, const nlm_safetensors *st, uint32_t index,
                                                 int kind, nlm_error *err) {
    char text[128];
    const nlm_mamba_name *name = &m->names[index];
    tensor_name(m, index, kind, text, sizeof text);
    const nlm_safetensors_tensor *t = nlm_safetensors_find(st, text);
    const bool fits = t && t->is_supported && t->tensor.dtype == NLM_F32 && t->rank == name->rank &&
                      memcmp(t->shape, name->shape, (size_t)t->rank * sizeof *t->shape) == 0;
    if (!fits) {
        nlm_fail(err, NLM_INVALID_ARGUMENT, nlm_safetensors_path(st),
                 "'%s' is missing, or no f32 tensor of its shape: it is of another mamba%s", text,
                 kind > 0 ? ", or was saved without the optimizer" : "");
    }
    return fits ? t : NULL;
}

/* Looks at all of them, then takes them. */
static nlm_status take_tensors(nlm_mamba *m, const nlm_safetensors *st, int kinds, bool takes, nlm_error *err) {
    for (uint32_t i = 0; i < nlm_parameters_count(m->parameters); i++) {
        for (int kind = 0; kind < kinds; kind++) {
            const nlm_safetensors_tensor *tensor = find_tensor(m, st, i, kind, err);
            if (!tensor) return NLM_INVALID_ARGUMENT;
            if (!takes) continue;
            memcpy(m->room, tensor->data, tensor->bytes); /* which a file need not align */
            NLM_TRY(nlm_optimizer_write(m->optimizer, i, kind, m->room, err));
        }
    }
    return NLM_OK;
}

static nlm_status take_steps(nlm_mamba *m, const nlm_safetensors *st, nlm_error *err) {
    const char *text = nlm_safetensors_metadata(st, "nlm.steps");
    uint64_t steps;
    int end = 0;
    if (!text || sscanf(text, "%" SCNu64 "%n", &steps, &end) != 1 || text[end]) {
        return nlm_fail(err, NLM_BAD_FORMAT, nlm_safetensors_path(st), "nlm.steps is %s; expected a number",
                        text ? text : "missing");
    }
    m->steps = steps;
    return NLM_OK;
}

static nlm_status load_open(nlm_mamba *m, const nlm_safetensors *st, uint32_t flags, nlm_error *err) {
    NLM_TRY(take_tensors(m, st, kinds_of(flags), false, err));
    if (flags & NLM_MAMBA_WITH_OPTIMIZER) NLM_TRY(take_steps(m, st, err));
    m->is_paused = false;
    NLM_TRY(take_tensors(m, st, kinds_of(flags), true, err));
    return nlm_optimizer_clear(m->optimizer, err);
}

nlm_status nlm_mamba_load(nlm_mamba *mamba, const char *path, uint32_t flags, nlm_error *error) {
    NLM_NEEDS(mamba, error);
    NLM_NEEDS(path, error);
    NLM_ENTER(&mamba->engine->gate, error);
    NLM_TRY(check_flags(flags, error));
    nlm_safetensors *st = NULL;
    NLM_TRY(nlm_safetensors_open(path, &st, error));
    const nlm_status status = load_open(mamba, st, flags, error);
    nlm_safetensors_close(st);
    return status;
}
