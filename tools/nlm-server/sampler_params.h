/* How tokens are chosen, as a request says it. */
#ifndef NLM_SERVER_SAMPLER_PARAMS_H
#define NLM_SERVER_SAMPLER_PARAMS_H

#include "nlm-server/call.h"

/* Fills p->request.sampler from the body, over what the settings say; arrays go to p. Errors INVALID_ARGUMENT. */
nlm_status sampler_params_read(const server *s, const cJSON *body, call_params *p, nlm_error *err);

/* Strings of an array, borrowed from it; at most `most`, none of them empty. *out is to be freed. */
nlm_status sampler_params_strings(const cJSON *array, const char *key, size_t most, const char ***out,
                                  size_t *out_count, nlm_error *err);

#endif
