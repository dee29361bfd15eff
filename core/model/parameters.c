/* Parameters made of a model's weights, and their values on the way in and out. */
#include "model/parameters.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/status.h"
#include "model/family.h"
#include "tensor/dtype.h"

#define WHERE "nlm_parameters"

struct nlm_parameters {
    nlm_arena arena;   /* names */
    nlm_trained *list; /* those there are, in the order of the table, layer by layer */
    uint32_t count;
    int32_t *places; /* [n_specs * stride * 3], 1 + the place in the list; 0: there is none */
    const nlm_weight_spec *specs;
    int32_t n_specs, stride;
    nlm_parameters_options options;
};

enum { PARTS = NLM_TRAINED_LORA_B + 1 };

static nlm_status no_memory(nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for parameters");
}

static nlm_trained *add(nlm_parameters *p, int32_t spec, int32_t layer, nlm_weight *weight, nlm_trained_part part) {
    const bool is_layered = strstr(p->specs[spec].name, "%d") != NULL;
    nlm_trained *trained = &p->list[p->count];
    *trained = (nlm_trained){.name = weight->name, .part = part, .weight = weight, .layer = is_layered ? layer : -1};
    p->places[(spec * p->stride + layer) * PARTS + (int32_t)part] = (int32_t)++p->count;
    return trained;
}

static nlm_status add_weight(nlm_parameters *p, int32_t spec, int32_t layer, nlm_weight *weight, nlm_error *err) {
    const nlm_tensor *source = &weight->source;
    const uint32_t flags = p->specs[spec].flags;
    nlm_trained *trained = add(p, spec, layer, weight, NLM_TRAINED_WEIGHT);
    trained->is_log = (flags & NLM_WEIGHT_HF_LOG) != 0;
    trained->decays = source->rank == 2 && !trained->is_log;
    return nlm_parameter_init(&trained->parameter, trained->name,
                              flags & NLM_WEIGHT_F32_ONLY ? NLM_F32 : p->options.dtype, source->rank, source->shape,
                              err);
}

static bool is_target(const nlm_parameters *p, int32_t spec, const nlm_weight *weight) {
    const bool is_layered = strstr(p->specs[spec].name, "%d") != NULL;
    if (weight->source.rank != 2 || !is_layered || (p->specs[spec].flags & NLM_WEIGHT_F32_ONLY)) return false;
    if (!p->options.lora_targets) return true;
    for (const char *const *target = p->options.lora_targets; *target; target++) {
        if (strstr(weight->name, *target)) return true;
    }
    return false;
}

static nlm_status add_adapter(nlm_parameters *p, int32_t spec, int32_t layer, nlm_weight *weight, nlm_error *err) {
    const int64_t rank = p->options.lora_rank, *shape = weight->source.shape;
    for (int part = NLM_TRAINED_LORA_A; part <= NLM_TRAINED_LORA_B; part++) {
        const bool is_a = part == NLM_TRAINED_LORA_A;
        nlm_trained *trained = add(p, spec, layer, weight, (nlm_trained_part)part);
        trained->name = nlm_arena_printf(&p->arena, "%s.lora_%s", weight->name, is_a ? "a" : "b");
        trained->decays = true;
        if (!trained->name) return no_memory(err);
        const int64_t sizes[2] = {is_a ? rank : shape[0], is_a ? shape[1] : rank};
        NLM_TRY(nlm_parameter_init(&trained->parameter, trained->name, p->options.dtype, 2, sizes, err));
    }
    return NLM_OK;
}

static nlm_status describe_all(nlm_parameters *p, nlm_weights *weights, nlm_error *err) {
    for (int32_t s = 0; s < p->n_specs; s++) {
        const bool is_layered = strstr(p->specs[s].name, "%d") != NULL;
        for (int32_t layer = 0; layer < (is_layered ? p->stride : 1); layer++) {
            nlm_weight *weight = nlm_weights_get(weights, p->specs[s].id, layer);
            if (!weight || (p->specs[s].flags & NLM_WEIGHT_CONSTANT)) continue;
            if (p->options.lora_rank == 0)
                NLM_TRY(add_weight(p, s, layer, weight, err));
            else if (is_target(p, s, weight))
                NLM_TRY(add_adapter(p, s, layer, weight, err));
        }
    }
    if (p->count > 0) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE,
                    "no matrix of the model has a name with one of the targets in it");
}

nlm_status nlm_parameters_create(nlm_model *model, const nlm_parameters_options *options, nlm_parameters **out,
                                 nlm_error *err) {
    *out = NULL;
    const nlm_model_family *family = nlm_model_family_of(model);
    if (!family->is_trained) {
        return nlm_fail(err, NLM_UNSUPPORTED, WHERE, "models of the family %s are not trained", family->name);
    }
    if (options->lora_rank < 0 || options->lora_rank > 65536) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "lora_rank is %d; expected 0 to 65536", options->lora_rank);
    }
    nlm_parameters *p = calloc(1, sizeof *p);
    if (!p) return no_memory(err);
    p->options = *options;
    p->specs = family->weights;
    while (p->specs[p->n_specs].name) p->n_specs++;
    p->stride = nlm_model_hparams(model)->n_layer;
    const size_t most = (size_t)p->n_specs * (size_t)p->stride;
    p->list = calloc(2 * most + 1, sizeof *p->list);
    p->places = calloc(PARTS * most + 1, sizeof *p->places);
    const nlm_status status = p->list && p->places ? describe_all(p, nlm_model_weights(model), err) : no_memory(err);
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
    nlm_arena_release(&p->arena);
    free(p);
}

uint32_t nlm_parameters_count(const nlm_parameters *p) {
    return p->count;
}

nlm_trained *nlm_parameters_at(nlm_parameters *p, uint32_t index) {
    return &p->list[index];
}

nlm_trained *nlm_parameters_get(nlm_parameters *p, int32_t id, int32_t layer, nlm_trained_part part) {
    for (int32_t s = 0; s < p->n_specs; s++) {
        if (p->specs[s].id != id) continue;
        if (!strstr(p->specs[s].name, "%d")) layer = 0;
        const bool is_layer = layer >= 0 && layer < p->stride;
        const int32_t place = is_layer ? p->places[(s * p->stride + layer) * PARTS + (int32_t)part] : 0;
        return place ? &p->list[place - 1] : NULL;
    }
    return NULL;
}

nlm_dtype nlm_parameters_dtype(const nlm_parameters *p) {
    return p->options.dtype;
}

float nlm_parameters_lora_scale(const nlm_parameters *p) {
    return p->options.lora_rank ? p->options.lora_alpha / (float)p->options.lora_rank : 0;
}

bool nlm_parameters_adapter(nlm_parameters *p, const char *weight, uint32_t *out_a, uint32_t *out_b) {
    for (uint32_t i = 0; i + 1 < p->count; i++) {
        if (p->list[i].part != NLM_TRAINED_LORA_A || strcmp(p->list[i].weight->name, weight) != 0) continue;
        *out_a = i;
        *out_b = i + 1;
        return true;
    }
    return false;
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
