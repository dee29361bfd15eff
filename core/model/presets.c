/* Well-known model shapes by name, for benchmarks without a file. */
#include "model/presets.h"

#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "model/family.h"
#include "tensor/dtype.h"

/* ---- the table ---------------------------------------------------------------------------- */

enum { TIED = 0, UNTIED = NLM_PRESET_UNTIED, BIASED = NLM_PRESET_HEAD_BIAS };

/* X(name, n_vocab, n_ctx_train, n_embd, n_layer, n_head, n_head_kv, n_ff, flags) */
#define LLAMAS(X)                                                   \
    X("llama_15m", 32000, 256, 288, 6, 6, 6, 768, TIED)             \
    X("small_125m", 50304, 4096, 768, 12, 12, 12, 2048, TIED)       \
    X("medium_350m", 50304, 4096, 1024, 24, 16, 16, 2736, TIED)     \
    X("large_1.3b", 50304, 4096, 2048, 24, 16, 16, 5472, TIED)      \
    X("tinyllama_1.1b", 32000, 4096, 2048, 22, 32, 4, 5632, UNTIED) \
    X("llama_7b", 32000, 4096, 4096, 32, 32, 32, 11008, UNTIED)

/* X(name, n_vocab, n_embd, n_layer, dt_rank, flags); d_inner is 2 n_embd, d_state 16, d_conv 4. */
#define MAMBAS(X)                              \
    X("small", 64, 64, 2, 4, BIASED)           \
    X("default", 128, 128, 3, 8, BIASED)       \
    X("medium", 256, 256, 4, 16, BIASED)       \
    X("large", 512, 512, 6, 32, BIASED)        \
    X("mamba_130m", 50280, 768, 24, 48, TIED)  \
    X("mamba_370m", 50280, 1024, 48, 64, TIED) \
    X("mamba_1.4b", 50280, 2048, 48, 128, TIED)

static const nlm_preset presets[] = {
#define LLAMA(preset_name, vocab, context, embd, layers, heads, heads_kv, ff, preset_flags) \
    {.name = preset_name,                                                                   \
     .architecture = "llama",                                                               \
     .flags = preset_flags,                                                                 \
     .hparams = {.n_vocab = vocab,                                                          \
                 .n_layer = layers,                                                         \
                 .n_embd = embd,                                                            \
                 .n_ctx_train = context,                                                    \
                 .rms_norm_eps = 1e-5f,                                                     \
                 .n_head = {.most = heads},                                                 \
                 .n_head_kv = {.most = heads_kv},                                           \
                 .head_dim = embd / heads,                                                  \
                 .n_ff = {.most = ff},                                                      \
                 .n_rot = embd / heads}},
    LLAMAS(LLAMA)
#undef LLAMA
#define MAMBA(preset_name, vocab, embd, layers, rank, preset_flags) \
    {.name = preset_name,                                           \
     .architecture = "mamba",                                       \
     .flags = preset_flags,                                         \
     .hparams = {.n_vocab = vocab,                                  \
                 .n_layer = layers,                                 \
                 .n_embd = embd,                                    \
                 .n_ctx_train = 1 << 20,                            \
                 .rms_norm_eps = 1e-5f,                             \
                 .d_inner = 2 * embd,                               \
                 .d_state = 16,                                     \
                 .d_conv = 4,                                       \
                 .dt_rank = rank}},
        MAMBAS(MAMBA)
#undef MAMBA
};

size_t nlm_preset_count(void) {
    return sizeof presets / sizeof *presets;
}

const nlm_preset *nlm_preset_at(size_t index) {
    return &presets[index];
}

const nlm_preset *nlm_preset_find(const char *name) {
    for (size_t i = 0; i < nlm_preset_count(); i++) {
        if (strcmp(presets[i].name, name) == 0) return &presets[i];
    }
    return NULL;
}

/* ---- tensors ------------------------------------------------------------------------------ */

static const nlm_model_family *family_of(const nlm_preset *preset) {
    return preset->family ? preset->family : nlm_family_find(preset->architecture);
}

static bool has_tensor(const nlm_preset *preset, const nlm_weight_spec *spec) {
    if (!(spec->flags & NLM_WEIGHT_OPTIONAL)) return true;
    if (strcmp(spec->name, "output.weight") == 0) return (preset->flags & NLM_PRESET_UNTIED) != 0;
    if (strcmp(spec->name, "output.bias") == 0) return (preset->flags & NLM_PRESET_HEAD_BIAS) != 0;
    return strcmp(spec->name, "blk.%d.ssm_conv1d.bias") == 0; /* as published Mambas have */
}

/* How many tensors a line of the family's table stands for. */
static int32_t layers_of(const nlm_preset *preset, const nlm_weight_spec *spec) {
    if (!has_tensor(preset, spec)) return 0;
    return strstr(spec->name, "%d") ? preset->hparams.n_layer : 1;
}

uint64_t nlm_preset_parameters(const nlm_preset *preset) {
    uint64_t parameters = 0;
    for (const nlm_weight_spec *spec = family_of(preset)->weights; spec->name; spec++) {
        const int64_t rows = spec->rows ? spec->rows(&preset->hparams, 0) : 1;
        const uint64_t elements = (uint64_t)rows * (uint64_t)spec->cols(&preset->hparams, 0);
        parameters += elements * (uint64_t)layers_of(preset, spec);
    }
    return parameters;
}

static nlm_dtype dtype_of(const nlm_weight_spec *spec, int64_t cols, nlm_dtype dtype) {
    if (!spec->rows || (spec->flags & NLM_WEIGHT_F32_ONLY)) return NLM_F32;
    return nlm_dtype_row_bytes(dtype, (uint64_t)cols) ? dtype : NLM_F16;
}

static nlm_status add_tensors(const nlm_preset *preset, const nlm_weight_spec *spec, nlm_dtype dtype,
                              nlm_gguf_writer *w, nlm_error *err) {
    const int64_t cols = spec->cols(&preset->hparams, 0); /* all layers of a preset are alike */
    const int64_t matrix[2] = {spec->rows ? spec->rows(&preset->hparams, 0) : 1, cols};
    nlm_tensor tensor;
    NLM_TRY(nlm_tensor_init(&tensor, dtype_of(spec, cols, dtype), spec->rows ? 2 : 1, spec->rows ? matrix : &cols,
                            NULL, err));
    const char *hole = strstr(spec->name, "%d");
    for (int32_t layer = 0; layer < layers_of(preset, spec); layer++) {
        char name[96];
        if (hole) {
            snprintf(name, sizeof name, "%.*s%d%s", (int)(hole - spec->name), spec->name, layer, hole + 2);
        } else {
            snprintf(name, sizeof name, "%s", spec->name);
        }
        nlm_gguf_writer_tensor(w, name, &tensor);
    }
    return NLM_OK;
}

/* ---- metadata ----------------------------------------------------------------------------- */

typedef struct preset_key {
    const char *name;
    size_t offset; /* of the int32_t in nlm_hparams; what is 0, for want of it in a family, is not written */
} preset_key;

#define FIELD(field) offsetof(nlm_hparams, field)

static const preset_key keys[] = {
    {"vocab_size", FIELD(n_vocab)},
    {"context_length", FIELD(n_ctx_train)},
    {"embedding_length", FIELD(n_embd)},
    {"input_length", FIELD(n_input)},
    {"block_count", FIELD(n_layer)},
    {"feed_forward_length", FIELD(n_ff.most)},
    {"attention.head_count", FIELD(n_head.most)},
    {"attention.head_count_kv", FIELD(n_head_kv.most)},
    {"ssm.conv_kernel", FIELD(d_conv)},
    {"ssm.inner_size", FIELD(d_inner)},
    {"ssm.state_size", FIELD(d_state)},
    {"ssm.time_step_rank", FIELD(dt_rank)},
};

static void add_tokenizer(const nlm_gguf *vocabulary, nlm_gguf_writer *w) {
    static const char prefix[] = "tokenizer.";
    if (!vocabulary) {
        nlm_gguf_writer_string(w, "tokenizer.ggml.model", "none", strlen("none"));
        return;
    }
    for (size_t i = 0; i < nlm_gguf_entry_count(vocabulary); i++) {
        const nlm_gguf_entry *entry = nlm_gguf_entry_at(vocabulary, i);
        if (entry->key.length > strlen(prefix) && memcmp(entry->key.data, prefix, strlen(prefix)) == 0)
            nlm_gguf_writer_entry(w, entry);
    }
}

static void add_metadata(const nlm_preset *preset, const nlm_gguf *vocabulary, nlm_gguf_writer *w) {
    char name[96];
    nlm_gguf_writer_string(w, "general.architecture", preset->architecture, strlen(preset->architecture));
    nlm_gguf_writer_string(w, "general.name", preset->name, strlen(preset->name));
    add_tokenizer(vocabulary, w);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        int32_t value;
        memcpy(&value, (const char *)&preset->hparams + keys[i].offset, sizeof value);
        if (value == 0) continue;
        snprintf(name, sizeof name, "%s.%s", preset->architecture, keys[i].name);
        nlm_gguf_writer_u32(w, name, (uint32_t)value);
    }
    snprintf(name, sizeof name, "%s.attention.layer_norm_rms_epsilon", preset->architecture);
    nlm_gguf_writer_f32(w, name, preset->hparams.rms_norm_eps);
}

static nlm_status write_all(const nlm_preset *preset, nlm_dtype dtype, const nlm_gguf *vocabulary, nlm_gguf_writer *w,
                            nlm_gguf **out, nlm_error *err) {
    add_metadata(preset, vocabulary, w);
    for (const nlm_weight_spec *spec = family_of(preset)->weights; spec->name; spec++) {
        NLM_TRY(add_tensors(preset, spec, dtype, w, err));
    }
    return nlm_gguf_writer_map(w, preset->name, out, err);
}

nlm_status nlm_preset_gguf(const nlm_preset *preset, nlm_dtype dtype, nlm_gguf **out, nlm_error *err) {
    return nlm_preset_gguf_with(preset, dtype, NULL, out, err);
}

static nlm_status take_vocabulary(const nlm_gguf *vocabulary, nlm_preset *preset, nlm_error *err) {
    const nlm_gguf_entry *tokens = nlm_gguf_find(vocabulary, "tokenizer.ggml.tokens");
    if (!tokens || tokens->count < 1 || tokens->count > INT32_MAX) {
        return nlm_fail(err, NLM_BAD_FORMAT, nlm_gguf_path(vocabulary), "has no vocabulary (tokenizer.ggml.tokens)");
    }
    preset->hparams.n_vocab = (int32_t)tokens->count;
    return NLM_OK;
}

nlm_status nlm_preset_gguf_with(const nlm_preset *preset, nlm_dtype dtype, const nlm_gguf *vocabulary, nlm_gguf **out,
                                nlm_error *err) {
    *out = NULL;
    if (!nlm_dtype_find(dtype) || dtype == NLM_I32) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, preset->name, "type %d is no type of weights", dtype);
    }
    nlm_preset sized = *preset;
    if (vocabulary) NLM_TRY(take_vocabulary(vocabulary, &sized, err));
    nlm_gguf_writer *w = NULL;
    NLM_TRY(nlm_gguf_writer_create(&w, err));
    const nlm_status status = write_all(&sized, dtype, vocabulary, w, out, err);
    nlm_gguf_writer_destroy(w);
    return status;
}
