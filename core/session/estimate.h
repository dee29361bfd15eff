/* How much memory a model takes, and the sizes chosen so that it fits. */
#ifndef NLM_SESSION_ESTIMATE_H
#define NLM_SESSION_ESTIMATE_H

#include "model/model.h"
#include "session/engine.h"

/* Checks and copies options of the caller's size. */
nlm_status nlm_take_model_options(const nlm_model_options *options, nlm_model_options *own, nlm_error *err);

/* nlm_model_open with the metadata that the options override. */
nlm_status nlm_open_as_asked(const char *path, const nlm_model_options *options, nlm_model **out, nlm_error *err);

/* The cache that the options ask for, and how many tokens a session may hold. */
nlm_status nlm_choose_cache(const nlm_model *model, const nlm_model_options *options, nlm_cache_options *out,
                            int32_t *out_context_length, nlm_error *err);

/* Tokens a batch: as many as keep the activations a few percent of the model's size. */
int32_t nlm_choose_rows(const nlm_model *model, const nlm_engine *engine);

/* Says in the log what an open model needs with this cache, described but not placed, and what there is: *out;
 * OUT_OF_MEMORY when it cannot fit a device's own memory. */
nlm_status nlm_check_memory(const nlm_engine *engine, const nlm_model *model, const nlm_cache *cache,
                            int32_t context_length, nlm_memory_estimate *out, nlm_error *err);

#endif
