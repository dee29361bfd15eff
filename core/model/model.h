/* A model: a GGUF's weights, its hyper-parameters, and the builder of its family's graph. */
#ifndef NLM_MODEL_MODEL_H
#define NLM_MODEL_MODEL_H

#include "format/gguf.h"
#include "graph/graph.h"
#include "model/builder.h"
#include "model/cache.h"
#include "model/hparams.h"

typedef struct nlm_model nlm_model;
struct nlm_runtime;

/* Maps the file, reads hyper-parameters and binds every weight by name, checking each shape and type.
 * Errors NOT_FOUND, UNSUPPORTED (architecture: named, with those that are known; a key or tensor that
 * asks for what is not implemented), BAD_FORMAT (a missing or misshapen weight or key: its name, what
 * was expected, what is there), and GGUF's. */
nlm_status nlm_model_open(const char *path, nlm_model **out, nlm_error *err);
/* As nlm_model_open over an open file, which is taken also when this fails. */
nlm_status nlm_model_take_gguf(nlm_gguf *gguf, nlm_model **out, nlm_error *err);
void nlm_model_close(nlm_model *model);

const nlm_gguf *nlm_model_gguf(const nlm_model *model);
/* As nlm_gguf_drop_strings: once the vocabulary was copied. */
void nlm_model_drop_strings(nlm_model *model);
const nlm_hparams *nlm_model_hparams(const nlm_model *model);
const char *nlm_model_family_name(const nlm_model *model); /* "llama", "mamba" */

/* What runs an open model (core/session); kept here so that one handle stands for both. Not owned. */
void nlm_model_set_runtime(nlm_model *model, struct nlm_runtime *runtime);
struct nlm_runtime *nlm_model_runtime(const nlm_model *model);

/* A cache for the states that the model's family describes. Errors as nlm_cache_create. */
nlm_status nlm_model_cache_create(const nlm_model *model, const nlm_cache_options *options, nlm_cache **out,
                                  nlm_error *err);
/* Some of its states grow with a sequence. */
bool nlm_model_is_paged(const nlm_model *model);

/* The sizes a graph is built for. */
typedef struct nlm_graph_dims {
    int32_t n_tokens, n_seqs, n_outputs;
} nlm_graph_dims;

/* Builds the graph of one forward pass over `cache`. */
nlm_status nlm_model_build(nlm_model *model, nlm_cache *cache, const nlm_graph_dims *dims, nlm_graph *graph,
                           nlm_graph_io *out_io, nlm_error *err);
/* The same up to the final norm: out_io->logits are hidden states, [n_outputs, n_embd], and there is no head. */
nlm_status nlm_model_build_hidden(nlm_model *model, nlm_cache *cache, const nlm_graph_dims *dims, nlm_graph *graph,
                                  nlm_graph_io *out_io, nlm_error *err);

/* The graph of one training step: losses and, if `training` wants them, gradients, which are added to those of its
 * parameters. n_outputs of dims is not used; `cache` has the states that are per slot, or is NULL where there are
 * none; out_io->logits receives the losses, an output [n_tokens]. training->states_after is memory for as many values
 * as the cache has states; with `carries` they become outputs. */
typedef struct nlm_training_dims {
    nlm_graph_dims batch;
    bool carries;
    nlm_recompute recompute;
    bool begins_gradients; /* nlm_backward */
} nlm_training_dims;
nlm_status nlm_model_build_training(nlm_model *model, nlm_cache *cache, const nlm_training_dims *dims,
                                    nlm_graph *graph, nlm_training_io *training, nlm_graph_io *out_io,
                                    nlm_error *err);

/* Bytes of weights that one decoded token reads (the embedding row counts as a row). */
uint64_t nlm_model_weight_bytes_per_token(const nlm_model *model);

#endif
