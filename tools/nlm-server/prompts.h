/* Texts and tokens that a request gives as they are: a string, token ids, or an array of either. */
#ifndef NLM_SERVER_PROMPTS_H
#define NLM_SERVER_PROMPTS_H

#include <cJSON.h>

#include "nlm-server/server.h"

#define PROMPTS_MAX 256

typedef struct call_prompts {
    int32_t *ids[PROMPTS_MAX];
    size_t n_ids[PROMPTS_MAX];
    uint32_t count;
} call_prompts;

/* body[key], appended to *out, texts with BOS where the model wants it. Errors INVALID_ARGUMENT; after one too,
 * call_prompts_release. */
nlm_status call_prompts_read(const server *s, const cJSON *body, const char *key, call_prompts *out, nlm_error *err);
void call_prompts_release(call_prompts *prompts);

#endif
