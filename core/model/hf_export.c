/* A model as a folder of transformers: its weights, then its config.json. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/status.h"
#include "format/safetensors.h"
#include "model/hf.h"
#include "model/hf_config.h"
#include "model/hf_stream.h"
#include "tensor/dtype.h"

typedef struct exporter {
    const nlm_model *model;
    nlm_dtype dtype;
    nlm_safetensors_writer *w;
    nlm_arena arena; /* names and streams */
    float *scratch;
} exporter;

static const nlm_gguf *gguf_of(const exporter *e) {
    return nlm_model_gguf(e->model);
}

static nlm_status no_memory(const exporter *e, nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, nlm_gguf_path(gguf_of(e)), "no memory for the table of weights");
}

static nlm_status check_file(const void *owner, nlm_error *err) {
    return nlm_gguf_check_file(owner, err);
}

static void drop_tensor(const void *owner, const void *tensor) {
    const nlm_gguf_tensor *dropped = tensor;
    nlm_gguf_drop_pages(owner, dropped->tensor.data, dropped->bytes);
}

/* The same, f32 for what the format has not: no number is lost. */
static nlm_dtype own_type(nlm_dtype dtype) {
    return dtype == NLM_F16 || dtype == NLM_BF16 ? dtype : NLM_F32;
}

static int shape_for(const nlm_weight_spec *spec, const nlm_tensor *tensor, int64_t shape[4]) {
    memcpy(shape, tensor->shape, sizeof tensor->shape);
    if (!(spec->flags & NLM_WEIGHT_HF_KERNEL)) return tensor->rank;
    shape[2] = shape[1];
    shape[1] = 1;
    return 3;
}

static nlm_status add_tensor(exporter *e, const nlm_weight_spec *spec, int32_t layer, const nlm_gguf_tensor *found,
                             nlm_error *err) {
    const nlm_hparams *h = nlm_model_hparams(e->model);
    const bool is_turned = (spec->flags & NLM_WEIGHT_HF_ROPE) && !h->is_rope_half_split;
    nlm_hf_stream *stream = nlm_arena_alloc(&e->arena, sizeof *stream);
    const char *name = nlm_weight_name(&e->arena, spec->hf_name, layer);
    if (!stream || !name) return no_memory(e, err);
    if (is_turned && !spec->rows && nlm_dtype_find(found->tensor.dtype)->block_elements > 1) {
        return nlm_fail(err, NLM_UNSUPPORTED, nlm_gguf_path(gguf_of(e)), "'%s' is a vector of type %s", name,
                        nlm_dtype_name(found->tensor.dtype));
    }
    int64_t shape[4];
    const int rank = shape_for(spec, &found->tensor, shape);
    *stream = (nlm_hf_stream){.name = name,
                              .data = found->tensor.data,
                              .from = found->tensor.dtype,
                              .to = e->dtype == NLM_HF_KEEP ? own_type(found->tensor.dtype) : e->dtype,
                              .head_rows = is_turned ? h->head_dim : 0,
                              .form = spec->flags,
                              .scratch = e->scratch,
                              .check = check_file,
                              .drop = drop_tensor,
                              .owner = gguf_of(e),
                              .dropped = found};
    nlm_hf_stream_shape(stream, rank, shape);
    nlm_safetensors_writer_source(e->w, name, stream->to, rank, shape, nlm_hf_stream_source(stream));
    return NLM_OK;
}

static nlm_status add_line(exporter *e, const nlm_weight_spec *spec, nlm_error *err) {
    const int32_t layers = strstr(spec->name, "%d") ? nlm_model_hparams(e->model)->n_layer : 1;
    for (int32_t layer = 0; layer < layers; layer++) {
        const char *name = nlm_weight_name(&e->arena, spec->name, layer);
        if (!name) return no_memory(e, err);
        const nlm_gguf_tensor *found = nlm_gguf_find_tensor(gguf_of(e), name);
        if (found && spec->hf_name) NLM_TRY(add_tensor(e, spec, layer, found, err));
    }
    return NLM_OK;
}

/* What has no name there; rope_freqs.weight, which has none either, is told by config.json. */
static nlm_status refuse_nameless(const exporter *e, nlm_error *err) {
    if (!nlm_gguf_find_tensor(gguf_of(e), "output.bias")) return NLM_OK;
    return nlm_fail(err, NLM_UNSUPPORTED, nlm_gguf_path(gguf_of(e)), "transformers has no place for 'output.bias'");
}

static const char *type_name(const exporter *e) {
    const nlm_gguf_tensor *embedding = nlm_gguf_find_tensor(gguf_of(e), "token_embd.weight");
    const nlm_dtype dtype = e->dtype == NLM_HF_KEEP ? own_type(embedding->tensor.dtype) : e->dtype;
    return dtype == NLM_BF16 ? "bfloat16" : dtype == NLM_F16 ? "float16" : "float32";
}

/* config.json is made first, for what it cannot say, and written last: with it the folder is a model. */
static nlm_status export_all(exporter *e, const char *folder, uint64_t most_bytes, nlm_str *config, nlm_error *err) {
    const nlm_model_family *family = NULL;
    NLM_TRY(refuse_nameless(e, err));
    NLM_TRY(nlm_hf_config_export(e->model, type_name(e), config, &family, err));
    e->scratch = nlm_arena_array(&e->arena, NLM_SOURCE_ELEMENTS, sizeof *e->scratch);
    const char *path = nlm_arena_printf(&e->arena, "%s/" NLM_HF_CONFIG_JSON, folder);
    if (!e->scratch || !path) return no_memory(e, err);
    nlm_safetensors_writer_metadata(e->w, "format", "pt"); /* transformers asks for it */
    for (const nlm_weight_spec *spec = family->weights; spec->name; spec++) NLM_TRY(add_line(e, spec, err));
    NLM_TRY(nlm_safetensors_writer_finish_folder(e->w, folder, most_bytes, err));
    return nlm_file_write(path, config->data, config->length, err);
}

nlm_status nlm_hf_export(const nlm_model *model, const char *folder, nlm_dtype dtype, uint64_t most_bytes,
                         nlm_error *err) {
    exporter e = {.model = model, .dtype = dtype};
    nlm_str config = {0};
    NLM_TRY(nlm_safetensors_writer_create(&e.w, err));
    const nlm_status status = export_all(&e, folder, most_bytes, &config, err);
    nlm_safetensors_writer_destroy(e.w);
    nlm_arena_release(&e.arena);
    nlm_str_release(&config);
    return status;
}
