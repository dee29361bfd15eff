/* What keeps texts to a grammar or a schema: compiled once, used by many requests, which workers read. */
#ifndef NLM_SERVER_GRAMMARS_H
#define NLM_SERVER_GRAMMARS_H

#include <cJSON.h>
#include <nlm/grammar.h>
#include <pthread.h>

#include "nlm-server/scheduler.h"

/* The grammars used latest, by kind and text. */
#define GRAMMARS_KEPT 8

typedef struct grammar_cache {
    pthread_mutex_t mutex;
    struct {
        nlm_grammar *grammar;
        uint32_t kind;
        char *text;
        uint64_t last_used;
    } kept[GRAMMARS_KEPT];
    uint64_t clock;
} grammar_cache;

#define GRAMMAR_CACHE_INIT \
    { .mutex = PTHREAD_MUTEX_INITIALIZER }

/* *out is where a text begins, the caller's to destroy. From any thread. Errors as nlm_grammar_create, with `where`
 * as `param`. */
nlm_status grammars_get(grammar_cache *cache, const nlm_model *model, uint32_t kind, const char *text,
                        const char *param, nlm_grammar_state **out, nlm_error *err);
void grammars_release(grammar_cache *cache);

/* What a request says of its texts: `grammar`, `json_schema`, `response_format`, or Responses' `text.format`. *out is
 * NULL where it says nothing. Errors INVALID_ARGUMENT, and those of grammars_get. */
nlm_status grammars_read(grammar_cache *cache, const nlm_model *model, const cJSON *body, nlm_grammar_state **out,
                         nlm_error *err);
/* Of one of OpenAI's tools, or a call of the one that is named: {"name": ..., "arguments": ...}. */
nlm_status grammars_of_tools(grammar_cache *cache, const nlm_model *model, const cJSON *tools, const char *name,
                             nlm_grammar_state **out, nlm_error *err);

/* Gives the request a constraint for each of its texts, from `start` on; they end with its task. */
nlm_status grammars_constrain(const nlm_grammar_state *start, generation_request *request, nlm_error *err);

#endif
