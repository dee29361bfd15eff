/* What a model family is: one of these, in a file of its own. */
#ifndef NLM_MODEL_FAMILY_H
#define NLM_MODEL_FAMILY_H

#include "model/model.h"
#include "model/weights.h"

typedef struct nlm_model_family {
    const char *name;
    const char *const *architectures; /* values of general.architecture, NULL-terminated */
    nlm_status (*read_hparams)(const nlm_gguf *gguf, nlm_hparams *out, nlm_error *err);
    const nlm_weight_spec *weights; /* terminated by a zeroed one */
    const nlm_state_spec *states;   /* terminated by a zeroed one */
    /* Emits the forward pass from io's inputs, which are there, and sets io->logits; sticky builder
     * errors are enough. */
    void (*build)(nlm_model *model, nlm_cache *cache, const nlm_graph_dims *dims, nlm_graph *graph, nlm_graph_io *io);
} nlm_model_family;

nlm_weights *nlm_model_weights(nlm_model *model);

extern const nlm_model_family nlm_family_llama;
extern const nlm_model_family nlm_family_mamba;

#endif
