/* Models as Hugging Face's transformers keep them: a folder with config.json and safetensors. Their names of keys and
 * weights stand in the tables of the families, beside GGUF's.
 *
 * Both ways stream: of the weights no more than one tensor is in memory, as pages of the file that it is read from.
 * Source: config.json and the names of weights as transformers 5 writes and reads them. */
#ifndef NLM_MODEL_HF_H
#define NLM_MODEL_HF_H

#include "base/str.h"
#include "model/family.h"

struct cJSON;

/* A class of transformers that a family computes. */
typedef struct nlm_hf_class {
    const char *name;         /* "LlamaForCausalLM": of `architectures` */
    const char *model_type;   /* "llama" */
    const char *architecture; /* of GGUF */
    bool has_window;          /* it reads `sliding_window`, for all layers */
} nlm_hf_class;

/* A config.json on its way into a GGUF. */
typedef struct nlm_hf_config {
    const char *path;
    const struct cJSON *root;
    const nlm_model_family *family;
    const nlm_hf_class *kind;
    nlm_hparams read; /* the keys of the family's table that it has */
    bool is_tied;     /* the head is the embedding */
    bool is_untied;   /* it says so; neither: the tensors tell */
    nlm_arena *arena; /* of what the writer borrows */
    nlm_gguf_writer *out;
} nlm_hf_config;

/* What a family has of transformers beside the names in its tables. */
typedef struct nlm_hf {
    const nlm_hf_class *classes;    /* ended by a zeroed one */
    const nlm_key_refused *refused; /* keys of config.json */
    /* Adds keys (and tensors) that follow from others; says what is not supported. */
    nlm_status (*import)(nlm_hf_config *config, nlm_error *err);
    /* Appends members of config.json, and says what has no place there. */
    nlm_status (*export)(const nlm_model *model, const nlm_hf_class *kind, nlm_str *out, nlm_error *err);
} nlm_hf;

#define NLM_HF_KEEP (-1) /* in place of a type: each weight has the type that it has */

/* Opens a folder and collects in `w` what its model is as a GGUF: keys, and tensors that are read when w is finished.
 * Vectors, and what must be, are f32; matrices are of `dtype`, which is f32, f16, bf16 or NLM_HF_KEEP.
 * Errors NOT_FOUND, BAD_FORMAT and UNSUPPORTED as nlm_model_open, naming the key of config.json or the tensor. */
typedef struct nlm_hf_import nlm_hf_import;
nlm_status nlm_hf_import_open(const char *folder, nlm_dtype dtype, nlm_gguf_writer *w, nlm_hf_import **out,
                              nlm_error *err);
/* Rows of the embedding. */
uint64_t nlm_hf_import_vocab(const nlm_hf_import *import);
/* Whether all that w has (a tokenizer that was added too) is a model as nlm opens it. Before w is finished. */
nlm_status nlm_hf_import_check(nlm_hf_import *import, nlm_error *err);
void nlm_hf_import_close(nlm_hf_import *import); /* after w is finished */

/* Writes a model's weights and config.json into a folder that is there. A weight has the type that it has (a
 * quantised one f32) or `dtype`. `most_bytes`: as nlm_safetensors_writer_finish_folder. Errors UNSUPPORTED (what
 * transformers has no place for, by its name), IO, NUMERIC (a value that `dtype` has not). */
nlm_status nlm_hf_export(const nlm_model *model, const char *folder, nlm_dtype dtype, uint64_t most_bytes,
                         nlm_error *err);

/* ---- for the families --------------------------------------------------------------------- */

/* A member of config.json, or of its `rope_parameters`; NULL if it is absent or null. BAD_FORMAT: twice there. */
nlm_status nlm_hf_member(const nlm_hf_config *config, const char *key, const struct cJSON **out, nlm_error *err);
/* Fails about a member: "'hidden_act' MESSAGE". */
nlm_status nlm_hf_fail(const nlm_hf_config *config, nlm_error *err, nlm_status code, const char *key,
                       const char *format, ...) __attribute__((format(printf, 5, 6), cold));
/* Adds the key "llama.NAME" to the GGUF. */
void nlm_hf_write_u32(const nlm_hf_config *config, const char *name, uint32_t value);
void nlm_hf_write_f32(const nlm_hf_config *config, const char *name, float value);
void nlm_hf_write_text(const nlm_hf_config *config, const char *name, const char *value);

/* Appends a member to config.json; the value is JSON. */
void nlm_hf_put(nlm_str *out, const char *key, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Appends one with the fewest digits that give the number back. */
void nlm_hf_put_f32(nlm_str *out, const char *key, float value);
/* In how many layers a GGUF has the tensor "blk.%d.NAME". */
int32_t nlm_hf_layers_with(const nlm_model *model, const char *name);

/* import and export of Llama's kin, and what they refuse. */
nlm_status nlm_transformer_import(nlm_hf_config *config, nlm_error *err);
nlm_status nlm_transformer_export(const nlm_model *model, const nlm_hf_class *kind, nlm_str *out, nlm_error *err);
/* clang-format off */
#define NLM_TRANSFORMER_HF_REFUSED                          \
    {"use_sliding_window", 0, "a window in some layers"},   \
    {"partial_rotary_factor", 1, "positions in a part of a head"}
/* clang-format on */

#endif
