/* Binding each name of a table to a tensor of the file, layer by layer. */
#include "model/weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/checked.h"
#include "base/status.h"
#include "tensor/dtype.h"

typedef struct bound_spec {
    const nlm_weight_spec *spec;
    int32_t n_layer;      /* 1 for a name without "%d" */
    nlm_weight **weights; /* [n_layer] */
} bound_spec;

struct nlm_weights {
    nlm_arena arena;
    const nlm_gguf *gguf;
    int32_t n_specs;
    bound_spec *specs;
    size_t n_bound;
    nlm_pack_cache *cache; /* or NULL */
};

static nlm_status no_memory(nlm_error *err, const nlm_weights *weights) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, nlm_gguf_path(weights->gguf), "no memory for the table of weights");
}

static nlm_status check_source(void *user, nlm_error *err) {
    return nlm_gguf_check_file(user, err);
}

static void drop_source(void *user, const void *data, uint64_t bytes) {
    nlm_gguf_drop_pages(user, data, bytes);
}

/* "[3, 4]", outermost first. */
static const char *shape_text(const nlm_tensor *tensor, char *buffer, size_t size) {
    size_t used = 0;
    for (int32_t i = 0; i < tensor->rank && used < size; i++) {
        const int n = snprintf(buffer + used, size - used, "%s%" PRId64, i ? ", " : "[", tensor->shape[i]);
        used += n > 0 ? (size_t)n : 0;
    }
    if (used < size) snprintf(buffer + used, size - used, "]");
    return buffer;
}

/* "f32, f16, ..." */
static const char *type_names(char *buffer, size_t size) {
    size_t used = 0;
    for (nlm_dtype dtype = 0; dtype < 64 && used < size; dtype++) {
        if (!(NLM_TYPES_DECODED >> dtype & 1)) continue;
        const int n = snprintf(buffer + used, size - used, "%s%s", used ? ", " : "", nlm_dtype_name(dtype));
        used += n > 0 ? (size_t)n : 0;
    }
    return buffer;
}

static nlm_status check_type(const nlm_weights *weights, const char *name, const nlm_gguf_tensor *found,
                             nlm_error *err) {
    if (!found->is_supported) {
        char known[256], number[16];
        const char *type = nlm_gguf_tensor_type_name(found->type);
        snprintf(number, sizeof number, "%" PRIu32, found->type);
        return nlm_fail(err, NLM_UNSUPPORTED, nlm_gguf_path(weights->gguf),
                        "'%s' has tensor type %s, which is none of %s", name, type ? type : number,
                        type_names(known, sizeof known));
    }
    if (found->tensor.dtype == NLM_I32) {
        return nlm_fail(err, NLM_BAD_FORMAT, nlm_gguf_path(weights->gguf),
                        "'%s' holds integers (i32); expected a floating-point or quantised type", name);
    }
    return NLM_OK;
}

static nlm_status check_shape(const nlm_weights *weights, const char *name, const nlm_tensor *tensor, int64_t rows,
                              int64_t cols, nlm_error *err) {
    const bool is_vector = rows < 0;
    const bool fits = is_vector ? tensor->rank == 1 && tensor->shape[0] == cols
                                : tensor->rank == 2 && tensor->shape[0] == rows && tensor->shape[1] == cols;
    if (fits) return NLM_OK;
    char found[128], expected[64];
    if (is_vector) snprintf(expected, sizeof expected, "[%" PRId64 "]", cols);
    if (!is_vector) snprintf(expected, sizeof expected, "[%" PRId64 ", %" PRId64 "]", rows, cols);
    return nlm_fail(err, NLM_BAD_FORMAT, nlm_gguf_path(weights->gguf),
                    "'%s' has shape %s (outermost first); the hyper-parameters want %s", name,
                    shape_text(tensor, found, sizeof found), expected);
}

/* An f32 copy that the arena owns, 64-aligned; its source pages are not needed any more. */
static nlm_status convert_to_f32(nlm_weights *weights, const char *name, const nlm_tensor *from, nlm_tensor *out,
                                 nlm_error *err) {
    const int64_t cols = from->shape[from->rank - 1];
    const int64_t rows = from->rank == 1 ? 1 : from->shape[0];
    uint64_t count, bytes;
    if (!nlm_mul_u64((uint64_t)rows, (uint64_t)cols, &count) || !nlm_mul_u64(count, sizeof(float), &bytes) ||
        !nlm_add_u64(bytes, 64, &bytes)) {
        return nlm_fail(err, NLM_BAD_FORMAT, nlm_gguf_path(weights->gguf), "the size of '%s' wraps", name);
    }
    char *memory = nlm_arena_alloc(&weights->arena, bytes);
    if (!memory) return no_memory(err, weights);
    float *values = (float *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
    const uint64_t row_bytes = nlm_dtype_row_bytes(from->dtype, (uint64_t)cols);
    for (int64_t r = 0; r < rows; r++) {
        nlm_decode_row(from->dtype, (const char *)from->data + (uint64_t)r * row_bytes, values + r * cols, cols);
    }
    nlm_gguf_drop_pages(weights->gguf, from->data, (uint64_t)rows * row_bytes);
    return nlm_tensor_init(out, NLM_F32, from->rank, from->shape, values, err);
}

/* Binds one name; *out stays NULL for an optional weight that is absent, and for one that the layer has not. */
static nlm_status bind_one(nlm_weights *weights, const nlm_hparams *hparams, const nlm_weight_spec *spec,
                           int32_t layer, const char *name, nlm_weight **out, nlm_error *err) {
    const int64_t rows = spec->rows ? spec->rows(hparams, layer) : -1, cols = spec->cols(hparams, layer);
    if (rows == 0 || cols == 0) return NLM_OK;
    const nlm_gguf_tensor *found = nlm_gguf_find_tensor(weights->gguf, name);
    if (!found) {
        if (spec->flags & NLM_WEIGHT_OPTIONAL) return NLM_OK;
        return nlm_fail(err, NLM_BAD_FORMAT, nlm_gguf_path(weights->gguf), "tensor '%s' is missing", name);
    }
    NLM_TRY(check_type(weights, name, found, err));
    NLM_TRY(check_shape(weights, name, &found->tensor, rows, cols, err));
    nlm_weight *weight = nlm_arena_alloc(&weights->arena, sizeof *weight);
    if (!weight) return no_memory(err, weights);
    weight->name = name;
    weight->source = found->tensor;
    /* Vectors are copied too: read in place, each would keep its neighbours in the file resident, up to a
     * large folio of the page cache. */
    const bool is_vector = found->tensor.rank == 1;
    if ((spec->flags & NLM_WEIGHT_F32_ONLY) && (is_vector || found->tensor.dtype != NLM_F32)) {
        NLM_TRY(convert_to_f32(weights, name, &found->tensor, &weight->source, err));
    } else {
        weight->drop_source = drop_source;
        weight->check_source = check_source;
        weight->source_user = (void *)(uintptr_t)weights->gguf;
    }
    weights->n_bound++;
    *out = weight;
    return NLM_OK;
}

const char *nlm_weight_name(nlm_arena *arena, const char *pattern, int32_t layer) {
    const char *hole = strstr(pattern, "%d");
    if (!hole) return pattern;
    return nlm_arena_printf(arena, "%.*s%d%s", (int)(hole - pattern), pattern, layer, hole + 2);
}

static nlm_status bind_spec(nlm_weights *weights, const nlm_hparams *hparams, const nlm_weight_spec *spec,
                            bound_spec *bound, nlm_error *err) {
    bound->spec = spec;
    bound->n_layer = strstr(spec->name, "%d") ? hparams->n_layer : 1;
    bound->weights = nlm_arena_array(&weights->arena, (size_t)bound->n_layer, sizeof *bound->weights);
    if (!bound->weights) return no_memory(err, weights);
    for (int32_t layer = 0; layer < bound->n_layer; layer++) {
        const char *name = nlm_weight_name(&weights->arena, spec->name, layer);
        if (!name) return no_memory(err, weights);
        NLM_TRY(bind_one(weights, hparams, spec, layer, name, &bound->weights[layer], err));
    }
    return NLM_OK;
}

static bool is_bound(const nlm_weights *weights, nlm_gguf_string name) {
    for (int32_t i = 0; i < weights->n_specs; i++) {
        const bound_spec *bound = &weights->specs[i];
        for (int32_t layer = 0; layer < bound->n_layer; layer++) {
            const nlm_weight *weight = bound->weights[layer];
            if (weight && strlen(weight->name) == name.length && !memcmp(weight->name, name.data, name.length)) {
                return true;
            }
        }
    }
    return false;
}

/* A tensor that the family has no place for would change the result if it were heeded. */
static nlm_status refuse_strangers(const nlm_weights *weights, nlm_error *err) {
    const size_t count = nlm_gguf_tensor_count(weights->gguf);
    if (weights->n_bound == count) return NLM_OK; /* names are unique in a file and in a table */
    for (size_t i = 0; i < count; i++) {
        const nlm_gguf_string name = nlm_gguf_tensor_at(weights->gguf, i)->name;
        if (is_bound(weights, name)) continue;
        return nlm_fail(err, NLM_UNSUPPORTED, nlm_gguf_path(weights->gguf),
                        "tensor '%.*s' has no place in this architecture with these hyper-parameters",
                        name.length < 200 ? (int)name.length : 200, name.data);
    }
    return NLM_OK;
}

static nlm_status bind_all(nlm_weights *weights, const nlm_hparams *hparams, const nlm_weight_spec *specs,
                           nlm_error *err) {
    NLM_TRY(nlm_gguf_check_file(weights->gguf, err)); /* vectors are read here */
    while (specs[weights->n_specs].name) weights->n_specs++;
    weights->specs = nlm_arena_array(&weights->arena, (size_t)weights->n_specs, sizeof *weights->specs);
    if (!weights->specs) return no_memory(err, weights);
    for (int32_t i = 0; i < weights->n_specs; i++) {
        NLM_TRY(bind_spec(weights, hparams, &specs[i], &weights->specs[i], err));
    }
    return refuse_strangers(weights, err);
}

nlm_status nlm_weights_bind(const nlm_gguf *gguf, const nlm_hparams *hparams, const nlm_weight_spec *specs,
                            nlm_weights **out, nlm_error *err) {
    *out = NULL;
    nlm_weights *weights = calloc(1, sizeof *weights);
    if (!weights) return nlm_fail(err, NLM_OUT_OF_MEMORY, nlm_gguf_path(gguf), "no memory for the table of weights");
    weights->gguf = gguf;
    const nlm_status status = bind_all(weights, hparams, specs, err);
    if (status != NLM_OK) {
        nlm_weights_destroy(weights);
        return status;
    }
    *out = weights;
    return NLM_OK;
}

/* Calls fn for each weight there is. */
static void for_each(nlm_weights *weights, void (*fn)(nlm_weights *weights, nlm_weight *weight)) {
    for (int32_t i = 0; weights->specs && i < weights->n_specs; i++) {
        const bound_spec *bound = &weights->specs[i];
        for (int32_t layer = 0; bound->weights && layer < bound->n_layer; layer++) {
            if (bound->weights[layer]) fn(weights, bound->weights[layer]);
        }
    }
}

static void release_one(nlm_weights *weights, nlm_weight *weight) {
    (void)weights;
    nlm_weight_release(weight);
}

void nlm_weights_destroy(nlm_weights *weights) {
    if (!weights) return;
    for_each(weights, release_one);
    nlm_pack_cache_close(weights->cache);
    nlm_arena_release(&weights->arena);
    free(weights);
}

static void set_cache(nlm_weights *weights, nlm_weight *weight) {
    weight->cache = weights->cache;
}

void nlm_weights_take_cache(nlm_weights *weights, nlm_pack_cache *cache) {
    nlm_pack_cache_close(weights->cache);
    weights->cache = cache;
    for_each(weights, set_cache);
}

nlm_pack_cache *nlm_weights_cache(const nlm_weights *weights) {
    return weights->cache;
}

nlm_weight *nlm_weights_get(nlm_weights *weights, int32_t id, int32_t layer) {
    for (int32_t i = 0; i < weights->n_specs; i++) {
        const bound_spec *bound = &weights->specs[i];
        if (bound->spec->id != id) continue;
        if (!strstr(bound->spec->name, "%d")) layer = 0;
        return layer >= 0 && layer < bound->n_layer ? bound->weights[layer] : NULL;
    }
    return NULL;
}
