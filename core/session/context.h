/* Batches through a model: one planned program per bucket of rows, built when first needed. */
#ifndef NLM_SESSION_CONTEXT_H
#define NLM_SESSION_CONTEXT_H

#include "model/kv_pages.h"
#include "model/model.h"

typedef struct nlm_context nlm_context;

typedef struct nlm_context_options {
    nlm_model *model; /* all borrowed */
    nlm_cache *cache;
    const nlm_kv_pages *pages; /* NULL for Mamba */
    const nlm_env *env;
    int32_t max_rows; /* tokens a batch, a power of two up to NLM_CONTEXT_MAX_ROWS */
} nlm_context_options;

#define NLM_CONTEXT_MAX_ROWS 512

/* Plans the program of a single token, which places all weights and states. Errors as nlm_graph_plan. */
nlm_status nlm_context_create(const nlm_context_options *options, nlm_context **out, nlm_error *err);
void nlm_context_destroy(nlm_context *context);
int32_t nlm_context_max_rows(const nlm_context *context);
uint64_t nlm_context_activation_bytes(const nlm_context *context);

/* One sequence's part of a batch: tokens ids[0..n) at positions pos.. of its slot, whose pages have room
 * for them. The logits after the last n_outputs of them are wanted (at least 1). */
typedef struct nlm_batch_item {
    int32_t slot;
    int32_t pos;
    int32_t n;
    int32_t n_outputs;
    const int32_t *ids;
} nlm_batch_item;

/* Runs the items, each of another slot, at most max_rows tokens in all. *out_logits: the wanted rows in
 * order, [sum of n_outputs, n_vocab] f32, valid until the next run. Allocates nothing once the bucket has
 * its program.
 * Errors   NUMERIC (a logit is not finite: token, position, backend), those of planning and running. */
nlm_status nlm_context_run(nlm_context *context, const nlm_batch_item *items, int32_t n_items,
                           const float **out_logits, nlm_error *err);

#endif
