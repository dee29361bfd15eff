/* The sampler of the settings. */
#include <stdlib.h>

#include "base/status.h"
#include "nlm-run/run.h"

nlm_status run_open_sampler(run *r, nlm_error *err) {
    nlm_sampler_options options;
    nlm_logit_bias *biases;
    nlm_sampler_destroy(r->sampler);
    r->sampler = NULL;
    NLM_TRY(nlm_shared_sampler(&r->set->shared, &options, &biases, err));
    options.seed = r->seed;
    const nlm_status status = nlm_sampler_create(r->model, &options, &r->sampler, err);
    free(biases);
    return status;
}
