/* Shapes of models by name, for benchmarks and for training from nothing. */
#ifndef NLM_MODEL_PRESETS_H
#define NLM_MODEL_PRESETS_H

#include <stddef.h>
#include "format/gguf.h"
#include "model/hparams.h"

enum {
    NLM_PRESET_UNTIED = 1,    /* a head of its own beside the embedding */
    NLM_PRESET_HEAD_BIAS = 2, /* the head has a bias */
};

/* The Mamba presets small, default, medium and large are of an engine without a vocabulary, whose input goes
 * through a projection [d_model, input_dim = d_model] with bias. Here the vocabulary has d_model entries and
 * the tied head with its bias is that product: the same parameters, the same work a step. */
typedef struct nlm_preset {
    const char *name;         /* "small_125m" */
    const char *architecture; /* general.architecture of its files */
    uint32_t flags;           /* NLM_PRESET_* */
    nlm_hparams hparams;
    const struct nlm_model_family *family; /* NULL: that of the architecture */
} nlm_preset;

size_t nlm_preset_count(void);
const nlm_preset *nlm_preset_at(size_t index);
const nlm_preset *nlm_preset_find(const char *name); /* NULL: there is none */

/* Elements of all its tensors. */
uint64_t nlm_preset_parameters(const nlm_preset *preset);

/* A file of this shape in memory (nlm_gguf_writer_map), without a tokenizer, all tensors zero. Matrices are of
 * `dtype`, those whose rows are no multiple of its block f16; vectors and what else a family converts on load
 * are f32. Errors INVALID_ARGUMENT (a dtype that no weight has), OUT_OF_MEMORY. */
nlm_status nlm_preset_gguf(const nlm_preset *preset, nlm_dtype dtype, nlm_gguf **out, nlm_error *err);
/* The same with the tokenizer of `vocabulary`, and as many entries as it has. Errors also BAD_FORMAT: it has none. */
nlm_status nlm_preset_gguf_with(const nlm_preset *preset, nlm_dtype dtype, const nlm_gguf *vocabulary, nlm_gguf **out,
                                nlm_error *err);

#endif
