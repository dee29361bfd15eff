/* The sampler of the settings. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "nlm-run/run.h"

/* "ID:BIAS" */
static nlm_status read_bias(const char *text, nlm_logit_bias *out, nlm_error *err) {
    char *end, *last;
    const long id = strtol(text, &end, 10);
    const double bias = *end == ':' ? strtod(end + 1, &last) : NAN;
    if (end != text && *end == ':' && last != end + 1 && *last == '\0' && id >= 0 && id <= INT32_MAX &&
        !isnan(bias)) {
        *out = (nlm_logit_bias){(int32_t)id, (float)bias};
        return NLM_OK;
    }
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "sampler.biases", "'%s' is no ID:BIAS, such as 15:-2.5 or 15:-inf",
                    text);
}

static nlm_status open_with(run *r, nlm_logit_bias *biases, nlm_error *err) {
    const settings *set = r->set;
    for (size_t i = 0; i < set->biases.count; i++) NLM_TRY(read_bias(set->biases.items[i], &biases[i], err));
    const nlm_sampler_options options = {.struct_size = sizeof options,
                                         .repeat_last_n = (uint32_t)set->repeat_last_n,
                                         .seed = r->seed,
                                         .temperature = (float)set->temperature,
                                         .top_p = (float)set->top_p,
                                         .min_p = (float)set->min_p,
                                         .repeat_penalty = (float)set->repeat_penalty,
                                         .top_k = (int32_t)set->top_k,
                                         .frequency_penalty = (float)set->frequency_penalty,
                                         .presence_penalty = (float)set->presence_penalty,
                                         .biases = biases,
                                         .n_biases = set->biases.count,
                                         .typical_p = (float)set->typical_p,
                                         .top_n_sigma = (float)set->top_n_sigma,
                                         .xtc_probability = (float)set->xtc_probability,
                                         .xtc_threshold = (float)set->xtc_threshold,
                                         .dry_multiplier = (float)set->dry_multiplier,
                                         .dry_base = (float)set->dry_base,
                                         .dry_allowed_length = (uint32_t)set->dry_allowed_length,
                                         .dry_last_n = (uint32_t)set->dry_last_n,
                                         .dry_breakers = set->dry_breakers.items,
                                         .n_dry_breakers = set->dry_breakers.count,
                                         .temperature_range = (float)set->temperature_range,
                                         .temperature_exponent = (float)set->temperature_exponent,
                                         .mirostat_tau = (float)set->mirostat_tau,
                                         .mirostat_eta = (float)set->mirostat_eta,
                                         .order = set->order.items,
                                         .n_order = set->order.count};
    return nlm_sampler_create(r->model, &options, &r->sampler, err);
}

nlm_status run_open_sampler(run *r, nlm_error *err) {
    nlm_sampler_destroy(r->sampler);
    r->sampler = NULL;
    nlm_logit_bias *biases = calloc(r->set->biases.count + 1, sizeof *biases);
    if (!biases) return nlm_fail(err, NLM_OUT_OF_MEMORY, "sampler.biases", "no memory for biases");
    const nlm_status status = open_with(r, biases, err);
    free(biases);
    return status;
}
