/* What a model family is: one of these, in a file of its own, and a line of NLM_FAMILIES. */
#ifndef NLM_MODEL_FAMILY_H
#define NLM_MODEL_FAMILY_H

#include "model/builder.h"
#include "model/keys.h"
#include "model/model.h"
#include "model/weights.h"

struct nlm_hf;

typedef struct nlm_model_family {
    const char *name;
    const char *const *architectures; /* values of general.architecture, NULL-terminated */
    const struct nlm_hf *hf;          /* of transformers' models of this family; NULL: they are not converted */
    /* Tables, each terminated by a zeroed line. */
    const nlm_key *keys;
    const nlm_key_refused *refused;
    const nlm_weight_spec *weights;
    const nlm_state_spec *states;
    /* After the keys are read: what follows from them, and what must fit together. NULL: nothing. */
    nlm_status (*derive)(const nlm_keys *keys, nlm_hparams *out, nlm_error *err);
    /* Emits the forward pass from b->io's inputs, which are there, and returns the logits, or when training
     * (b->training) the losses; sticky builder errors are enough. */
    nlm_value (*build)(nlm_builder *b);
    bool is_trained; /* build knows what to do then */
    bool takes_rows; /* of numbers, b->io->rows, and returns rows: it has no vocabulary and makes no logits */
} nlm_model_family;

/* X(name): nlm_family_NAME stands in NAME.c. */
#define NLM_FAMILIES(X) \
    X(llama)            \
    X(qwen3)            \
    X(smollm3)          \
    X(granite)          \
    X(mamba)

#define NLM_DECLARE_FAMILY(name) extern const nlm_model_family nlm_family_##name;
NLM_FAMILIES(NLM_DECLARE_FAMILY)
#undef NLM_DECLARE_FAMILY

/* NULL beyond the last. */
const nlm_model_family *nlm_family_at(size_t index);
/* The family of an architecture, or NULL. */
const nlm_model_family *nlm_family_find(const char *architecture);

/* As nlm_model_take_gguf for a family that need not be known; it is borrowed; NULL: found by the
 * architecture. */
nlm_status nlm_model_take_gguf_as(nlm_gguf *gguf, const nlm_model_family *family, nlm_model **out, nlm_error *err);

nlm_weights *nlm_model_weights(nlm_model *model);
const nlm_model_family *nlm_model_family_of(const nlm_model *model);

#endif
