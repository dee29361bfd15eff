/* AdamW over all parameters of a model, and the norm of their gradients: two programs. */
#ifndef NLM_TRAIN_OPTIMIZER_H
#define NLM_TRAIN_OPTIMIZER_H

#include "model/parameters.h"

typedef struct nlm_optimizer nlm_optimizer;

/* Plans both programs. Parameters that are not f32 get masters. weight_decay is of the parameters that decay. What
 * computes the gradients is planned before, so that parameters are where most work is. The env and the parameters
 * outlive it. Errors UNSUPPORTED (an op no device has), OUT_OF_MEMORY. */
nlm_status nlm_optimizer_create(const nlm_env *env, nlm_parameters *parameters, const nlm_adamw_params *params,
                                nlm_optimizer **out, nlm_error *err);
void nlm_optimizer_destroy(nlm_optimizer *optimizer);
/* Gradients get other memory: before that, the programs go; after it, they are planned again. Errors as above. */
void nlm_optimizer_unplan(nlm_optimizer *optimizer);
nlm_status nlm_optimizer_plan(nlm_optimizer *optimizer, nlm_error *err);

/* The root of the sum of squares of all gradients. Allocates nothing. */
nlm_status nlm_optimizer_norm(nlm_optimizer *optimizer, double *out, nlm_error *err);
/* Step number `number`, from 1, with gradients times `factor`, which are zero afterwards. Allocates nothing. */
nlm_status nlm_optimizer_update(nlm_optimizer *optimizer, uint64_t number, double rate, double factor,
                                nlm_error *err);
/* Makes the gradients zero. */
nlm_status nlm_optimizer_clear(nlm_optimizer *optimizer, nlm_error *err);

/* Values of parameter `index`, all f32 [elements]: the parameter (its master if it has one), m and v. */
enum { NLM_OPTIMIZER_VALUE, NLM_OPTIMIZER_M, NLM_OPTIMIZER_V, NLM_OPTIMIZER_KINDS };
nlm_status nlm_optimizer_read(const nlm_optimizer *optimizer, uint32_t index, int kind, float *out, nlm_error *err);
nlm_status nlm_optimizer_write(nlm_optimizer *optimizer, uint32_t index, int kind, const float *values,
                               nlm_error *err);

/* Of moments and masters. */
uint64_t nlm_optimizer_bytes(const nlm_optimizer *optimizer);

#endif
