/* Parameters made of a model's weights, and their values on the way in and out. */
#include "model/parameters.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "model/family.h"
#include "tensor/dtype.h"

#define WHERE "nlm_parameters"

struct nlm_parameters {
    nlm_trained *list; /* those there are, in the order of the table, layer by layer */
    uint32_t count;
    int32_t *places; /* [n_specs * stride], 1 + the place in the list; 0: the model has no such weight */
    const nlm_weight_spec *specs;
    int32_t n_specs, stride;
};

static nlm_status describe(nlm_trained *trained, const nlm_weight_spec *spec, nlm_weight *weight, int32_t layer,
                           nlm_dtype dtype, nlm_error *err) {
    const nlm_tensor *source = &weight->source;
    const bool is_log = (spec->flags & NLM_WEIGHT_HF_LOG) != 0;
    *trained =
        (nlm_trained){.weight = weight, .layer = layer, .is_log = is_log, .decays = source->rank == 2 && !is_log};
    const bool is_f32 = (spec->flags & NLM_WEIGHT_F32_ONLY) != 0;
    return nlm_parameter_init(&trained->parameter, weight->name, is_f32 ? NLM_F32 : dtype, source->rank,
                              source->shape, err);
}

static nlm_status describe_all(nlm_parameters *p, nlm_weights *weights, nlm_dtype dtype, nlm_error *err) {
    for (int32_t s = 0; s < p->n_specs; s++) {
        const bool is_layered = strstr(p->specs[s].name, "%d") != NULL;
        for (int32_t layer = 0; layer < (is_layered ? p->stride : 1); layer++) {
            nlm_weight *weight = nlm_weights_get(weights, p->specs[s].id, layer);
            if (!weight || (p->specs[s].flags & NLM_WEIGHT_CONSTANT)) continue;
            NLM_TRY(describe(&p->list[p->count], &p->specs[s], weight, is_layered ? layer : -1, dtype, err));
            p->places[s * p->stride + layer] = (int32_t)++p->count;
        }
    }
    return NLM_OK;
}

nlm_status nlm_parameters_create(nlm_model *model, nlm_dtype dtype, nlm_parameters **out, nlm_error *err) {
    *out = NULL;
    const nlm_model_family *family = nlm_model_family_of(model);
    if (!family->is_trained) {
        return nlm_fail(err, NLM_UNSUPPORTED, WHERE, "models of the family %s are not trained", family->name);
    }
    nlm_parameters *p = calloc(1, sizeof *p);
    if (!p) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for parameters");
    p->specs = family->weights;
    while (p->specs[p->n_specs].name) p->n_specs++;
    p->stride = nlm_model_hparams(model)->n_layer;
    const size_t most = (size_t)p->n_specs * (size_t)p->stride;
    p->list = calloc(most, sizeof *p->list);
    p->places = calloc(most, sizeof *p->places);
    const nlm_status status = p->list && p->places
                                  ? describe_all(p, nlm_model_weights(model), dtype, err)
                                  : nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for parameters");
    if (status != NLM_OK) {
        nlm_parameters_destroy(p);
        return status;
    }
    *out = p;
    return NLM_OK;
}

void nlm_parameters_destroy(nlm_parameters *p) {
    if (!p) return;
    for (uint32_t i = 0; i < p->count; i++) nlm_parameter_release(&p->list[i].parameter);
    free(p->list);
    free(p->places);
    free(p);
}

uint32_t nlm_parameters_count(const nlm_parameters *p) {
    return p->count;
}

nlm_trained *nlm_parameters_at(nlm_parameters *p, uint32_t index) {
    return &p->list[index];
}

nlm_trained *nlm_parameters_get(nlm_parameters *p, int32_t id, int32_t layer) {
    for (int32_t s = 0; s < p->n_specs; s++) {
        if (p->specs[s].id != id) continue;
        if (!strstr(p->specs[s].name, "%d")) layer = 0;
        const int32_t place = layer >= 0 && layer < p->stride ? p->places[s * p->stride + layer] : 0;
        return place ? &p->list[place - 1] : NULL;
    }
    return NULL;
}

uint64_t nlm_trained_elements(const nlm_trained *trained) {
    const nlm_tensor *t = &trained->parameter.value.tensor;
    return (uint64_t)t->shape[0] * (uint64_t)(t->rank == 2 ? t->shape[1] : 1);
}

uint64_t nlm_parameters_elements(const nlm_parameters *p) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < p->count; i++) sum += nlm_trained_elements(&p->list[i]);
    return sum;
}

/* ---- values ---------------------------------------------------------------------------------------- */

void nlm_trained_from_weight(const nlm_trained *trained, float *values, uint64_t count) {
    for (uint64_t i = 0; trained->is_log && i < count; i++) values[i] = logf(-values[i]);
}

void nlm_trained_to_weight(const nlm_trained *trained, float *values, uint64_t count) {
    for (uint64_t i = 0; trained->is_log && i < count; i++) values[i] = -expf(values[i]);
}

nlm_status nlm_trained_write(nlm_trained *trained, nlm_state *master, const float *values, nlm_error *err) {
    nlm_state *state = &trained->parameter.value;
    const uint64_t count = nlm_trained_elements(trained);
    if (master) NLM_TRY(nlm_state_write(master, 0, values, count * sizeof *values, err));
    if (state->tensor.dtype == NLM_F32) return nlm_state_write(state, 0, values, count * sizeof *values, err);
    const nlm_dtype dtype = state->tensor.dtype;
    const uint64_t bytes = nlm_dtype_row_bytes(dtype, count);
    void *rounded = malloc(bytes);
    if (!rounded) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for the values of %s", state->name);
    nlm_status status = nlm_quantize_row(dtype, values, rounded, (int64_t)count, err);
    if (status == NLM_OK) status = nlm_state_write(state, 0, rounded, bytes, err);
    free(rounded);
    return status;
}

nlm_status nlm_trained_read(const nlm_trained *trained, const nlm_state *master, float *out, nlm_error *err) {
    const nlm_state *state = &trained->parameter.value;
    const uint64_t count = nlm_trained_elements(trained);
    if (master) return nlm_state_read(master, 0, out, count * sizeof *out, err);
    if (state->tensor.dtype == NLM_F32) return nlm_state_read(state, 0, out, count * sizeof *out, err);
    const uint64_t bytes = nlm_dtype_row_bytes(state->tensor.dtype, count);
    void *stored = malloc(bytes);
    if (!stored) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for the values of %s", state->name);
    const nlm_status status = nlm_state_read(state, 0, stored, bytes, err);
    if (status == NLM_OK) nlm_decode_row(state->tensor.dtype, stored, out, (int64_t)count);
    free(stored);
    return status;
}

nlm_status nlm_trained_decode(const nlm_trained *trained, float *out, nlm_error *err) {
    const nlm_weight *weight = trained->weight;
    const nlm_tensor *source = &weight->source;
    if (weight->check_source) NLM_TRY(weight->check_source(weight->source_user, err));
    const int64_t rows = source->rank == 2 ? source->shape[0] : 1, columns = source->shape[source->rank - 1];
    const uint64_t row_bytes = nlm_dtype_row_bytes(source->dtype, (uint64_t)columns);
    for (int64_t r = 0; r < rows; r++)
        nlm_decode_row(source->dtype, (const char *)source->data + (uint64_t)r * row_bytes, out + r * columns,
                       columns);
    nlm_trained_from_weight(trained, out, nlm_trained_elements(trained));
    return NLM_OK;
}
