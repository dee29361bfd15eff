/* A folder of transformers as a GGUF: its keys, then its tensors, found by the family's table. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/status.h"
#include "format/safetensors.h"
#include "model/hf.h"
#include "model/hf_config.h"
#include "model/hf_stream.h"
#include "tensor/dtype.h"

struct nlm_hf_import {
    nlm_arena arena; /* what the writer borrows: streams, names */
    nlm_safetensors *st;
    nlm_hf_config config;
    nlm_gguf_writer *w;
    nlm_dtype dtype;
    bool *is_used; /* [tensors of st] */
    nlm_hf_stream **streams;
    size_t n_streams;
    float *scratch;
    uint64_t n_vocab;
};

static nlm_status no_memory(const nlm_hf_import *in, nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, nlm_safetensors_path(in->st), "no memory for the table of weights");
}

static nlm_status check_file(const void *owner, nlm_error *err) {
    return nlm_safetensors_check(owner, err);
}

static void drop_tensor(const void *owner, const void *tensor) {
    nlm_safetensors_drop_pages(owner, tensor);
}

static nlm_dtype type_for(const nlm_hf_import *in, const nlm_weight_spec *spec, nlm_dtype own) {
    if (spec->flags & NLM_WEIGHT_F32_ONLY) return NLM_F32;
    return in->dtype == NLM_HF_KEEP ? own : in->dtype;
}

/* The shape in the GGUF: a kernel loses its middle dimension; a scalar, which no model has, stays a vector of one. */
static int shape_for(const nlm_weight_spec *spec, const nlm_tensor *tensor, int64_t shape[4]) {
    memcpy(shape, tensor->shape, sizeof tensor->shape);
    if (!(spec->flags & NLM_WEIGHT_HF_KERNEL) || tensor->rank != 3 || shape[1] != 1) return tensor->rank;
    shape[1] = shape[2];
    shape[2] = 1;
    return 2;
}

static nlm_status add_tensor(nlm_hf_import *in, const nlm_weight_spec *spec, int32_t layer,
                             const nlm_safetensors_tensor *found, nlm_error *err) {
    if (!found->is_supported || found->tensor.dtype == NLM_I32) {
        return nlm_fail(err, NLM_UNSUPPORTED, nlm_safetensors_path(in->st),
                        "'%s' is of type %s with %llu bytes; F32, F16 and BF16 are supported", found->name,
                        found->type, (unsigned long long)found->bytes);
    }
    nlm_hf_stream *stream = nlm_arena_alloc(&in->arena, sizeof *stream);
    const char *name = nlm_weight_name(&in->arena, spec->name, layer);
    if (!stream || !name) return no_memory(in, err);
    int64_t shape[4];
    const int rank = shape_for(spec, &found->tensor, shape);
    *stream = (nlm_hf_stream){.name = found->name,
                              .data = found->data,
                              .from = found->tensor.dtype,
                              .to = type_for(in, spec, found->tensor.dtype),
                              .form = spec->flags,
                              .is_import = true,
                              .scratch = in->scratch,
                              .check = check_file,
                              .drop = drop_tensor,
                              .owner = in->st,
                              .dropped = found};
    nlm_hf_stream_shape(stream, rank, shape);
    in->streams[in->n_streams++] = stream;
    if (strcmp(spec->name, "token_embd.weight") == 0) in->n_vocab = (uint64_t)shape[0];
    nlm_gguf_writer_source(in->w, name, stream->to, rank, shape, nlm_hf_stream_source(stream));
    return NLM_OK;
}

static bool is_head(const nlm_weight_spec *spec) {
    return strcmp(spec->name, "output.weight") == 0;
}

static bool is_required(const nlm_hf_import *in, const nlm_weight_spec *spec) {
    return !(spec->flags & NLM_WEIGHT_OPTIONAL) || (is_head(spec) && in->config.is_untied);
}

static nlm_status add_line(nlm_hf_import *in, const nlm_weight_spec *spec, nlm_error *err) {
    const int32_t layers = strstr(spec->hf_name, "%d") ? in->config.read.n_layer : 1;
    for (int32_t layer = 0; layer < layers; layer++) {
        const char *name = nlm_weight_name(&in->arena, spec->hf_name, layer);
        if (!name) return no_memory(in, err);
        const nlm_safetensors_tensor *found = nlm_safetensors_find(in->st, name);
        if (found) in->is_used[found - nlm_safetensors_at(in->st, 0)] = true;
        if (is_head(spec) && in->config.is_tied) continue; /* even where a copy of the embedding is stored */
        if (found) {
            NLM_TRY(add_tensor(in, spec, layer, found, err));
        } else if (is_required(in, spec)) {
            return nlm_fail(err, NLM_BAD_FORMAT, nlm_safetensors_path(in->st), "tensor '%s' is missing", name);
        }
    }
    return NLM_OK;
}

/* What older files have beside the weights: the angles of RoPE, which follow from the keys. */
static bool is_angles(const char *name) {
    static const char ending[] = ".rotary_emb.inv_freq";
    const size_t length = strlen(name), least = sizeof ending - 1;
    return length >= least && strcmp(name + length - least, ending) == 0;
}

/* A tensor that the family has no place for would change the result if it were heeded. */
static nlm_status refuse_strangers(const nlm_hf_import *in, nlm_error *err) {
    for (size_t i = 0; i < nlm_safetensors_count(in->st); i++) {
        const char *name = nlm_safetensors_at(in->st, i)->name;
        if (in->is_used[i] || is_angles(name)) continue;
        return nlm_fail(err, NLM_UNSUPPORTED, nlm_safetensors_path(in->st),
                        "tensor '%s' has no place in a %s with these numbers", name, in->config.kind->name);
    }
    return NLM_OK;
}

static nlm_status add_weights(nlm_hf_import *in, nlm_error *err) {
    const size_t count = nlm_safetensors_count(in->st);
    in->is_used = nlm_arena_array(&in->arena, count + 1, sizeof *in->is_used);
    in->streams = nlm_arena_array(&in->arena, count + 1, sizeof *in->streams);
    in->scratch = nlm_arena_array(&in->arena, NLM_SOURCE_ELEMENTS, sizeof *in->scratch);
    if (!in->is_used || !in->streams || !in->scratch) return no_memory(in, err);
    for (const nlm_weight_spec *spec = in->config.family->weights; spec->name; spec++) {
        if (spec->hf_name) NLM_TRY(add_line(in, spec, err));
    }
    return refuse_strangers(in, err);
}

/* A name for people: the folder's. */
static void add_general(nlm_hf_import *in, const char *folder) {
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/') length--;
    size_t from = length;
    while (from > 0 && folder[from - 1] != '/') from--;
    nlm_gguf_writer_string(in->w, "general.name", folder + from, length - from);
}

static nlm_status open_folder(nlm_hf_import *in, const char *folder, nlm_error *err) {
    NLM_TRY(nlm_hf_config_import(folder, &in->arena, in->w, &in->config, err));
    NLM_TRY(nlm_safetensors_open(folder, &in->st, err));
    add_general(in, folder);
    return add_weights(in, err);
}

nlm_status nlm_hf_import_open(const char *folder, nlm_dtype dtype, nlm_gguf_writer *w, nlm_hf_import **out,
                              nlm_error *err) {
    *out = NULL;
    nlm_hf_import *in = calloc(1, sizeof *in);
    if (!in) return nlm_fail(err, NLM_OUT_OF_MEMORY, folder, "out of memory");
    in->w = w;
    in->dtype = dtype;
    const nlm_status status = open_folder(in, folder, err);
    if (status != NLM_OK) {
        nlm_hf_import_close(in);
        return status;
    }
    *out = in;
    return NLM_OK;
}

uint64_t nlm_hf_import_vocab(const nlm_hf_import *in) {
    return in->n_vocab;
}

/* Opens the model with zeros for weights: what a GGUF of these keys and shapes would be told, before it is written.
 */
nlm_status nlm_hf_import_check(nlm_hf_import *in, nlm_error *err) {
    nlm_gguf *gguf = NULL;
    nlm_model *model = NULL;
    NLM_TRY(nlm_gguf_writer_map(in->w, nlm_safetensors_path(in->st), &gguf, err));
    NLM_TRY(nlm_model_take_gguf(gguf, &model, err));
    const nlm_hparams *h = nlm_model_hparams(model);
    for (size_t i = 0; i < in->n_streams; i++) {
        const bool is_turned = (in->streams[i]->form & NLM_WEIGHT_HF_ROPE) && !h->is_rope_half_split;
        in->streams[i]->head_rows = is_turned ? h->head_dim : 0;
    }
    nlm_model_close(model);
    return NLM_OK;
}

void nlm_hf_import_close(nlm_hf_import *in) {
    if (!in) return;
    nlm_safetensors_close(in->st);
    nlm_arena_release(&in->arena);
    free(in);
}
