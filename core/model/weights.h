/* A model's weights, bound from a table of names and shapes. */
#ifndef NLM_MODEL_WEIGHTS_H
#define NLM_MODEL_WEIGHTS_H

#include "base/arena.h"
#include "exec/weight.h"
#include "format/gguf.h"
#include "model/hparams.h"

/* One line of a family's table. `name` may hold "%d" for the layer. rows and cols give the expected
 * shape from the hyper-parameters; rows NULL means a vector [cols]. A size of 0: this layer has no such
 * weight. */
typedef struct nlm_weight_spec {
    int32_t id;          /* the family's own enum */
    const char *name;    /* "blk.%d.attn_q.weight" */
    const char *hf_name; /* "model.layers.%d.self_attn.q_proj.weight"; NULL: Hugging Face's models have none */
    int64_t (*rows)(const nlm_hparams *, int32_t layer);
    int64_t (*cols)(const nlm_hparams *, int32_t layer);
    uint32_t flags; /* NLM_WEIGHT_* */
} nlm_weight_spec;

enum {
    NLM_WEIGHT_OPTIONAL = 1, /* absent: NULL */
    NLM_WEIGHT_F32_ONLY = 2, /* norms, biases, SSM vectors: converted to f32 on load if stored otherwise */
    /* How Hugging Face has it otherwise than GGUF. */
    NLM_WEIGHT_HF_ROPE = 4,    /* rows of a head that RoPE turns as pairs are halves there */
    NLM_WEIGHT_HF_LOG = 8,     /* w is log(-w) there */
    NLM_WEIGHT_HF_KERNEL = 16, /* [rows, cols] is [rows, 1, cols] there */
    NLM_WEIGHT_CONSTANT = 32   /* not trained */
};

/* A table and its ids from one X-list, X(id, name, hf_name, rows, cols, flags): the weight of line id is W_id. */
#define NLM_WEIGHT_ID(id, name, hf_name, rows, cols, flags)   W_##id,
#define NLM_WEIGHT_LINE(id, name, hf_name, rows, cols, flags) {W_##id, name, hf_name, rows, cols, flags},

/* The name of a line's tensor in a layer, from the arena (or the pattern itself); NULL without memory. */
const char *nlm_weight_name(nlm_arena *arena, const char *pattern, int32_t layer);

typedef struct nlm_weights nlm_weights;

/* Binds every line of `specs` (terminated by a zeroed one, kept) for every layer; the GGUF outlives it.
 * Errors BAD_FORMAT (a required weight is missing, has another shape, or holds integers: its name, what
 * was expected, what is there), UNSUPPORTED (a tensor type, or a tensor that no line names),
 * OUT_OF_MEMORY. */
nlm_status nlm_weights_bind(const nlm_gguf *gguf, const nlm_hparams *hparams, const nlm_weight_spec *specs,
                            nlm_weights **out, nlm_error *err);
void nlm_weights_destroy(nlm_weights *weights);
/* Where packed copies of these weights are kept between processes; taken. Before the first of them is placed. */
void nlm_weights_take_cache(nlm_weights *weights, nlm_pack_cache *cache);
/* NULL: none. */
nlm_pack_cache *nlm_weights_cache(const nlm_weights *weights);
/* layer is ignored for a name without "%d". NULL if the layer has none: its size is 0, or it is optional and
 * absent; also for an id or a layer that does not exist. */
nlm_weight *nlm_weights_get(nlm_weights *weights, int32_t id, int32_t layer);

#endif
