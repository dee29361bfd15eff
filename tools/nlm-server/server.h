/* The running server: what all requests share. Everything here is of the event loop's thread; workers read what does
 * not change, and use the grammars. */
#ifndef NLM_SERVER_SERVER_H
#define NLM_SERVER_SERVER_H

#include <nlm/nlm.h>

#include "nlm-server/grammars.h"
#include "nlm-server/http.h"
#include "nlm-server/keys.h"
#include "nlm-server/scheduler.h"
#include "nlm-server/settings.h"
#include "nlm-server/workers.h"

struct event;

/* Answers by status, for /metrics. */
typedef struct request_counts {
    uint64_t by_class[6]; /* [5]: 500 to 599; [0]: clients that went away */
} request_counts;

typedef struct server {
    const settings *set;
    struct event_base *base;
    struct event *events[8]; /* signals, the scheduler's, the drain's timer */
    size_t n_events;
    http_server *http;
    nlm_engine *engine;
    nlm_model *model;
    nlm_model_info info;
    scheduler *sched;
    workers *workers;
    grammar_cache grammars;
    nlm_sampler_options sampler; /* of requests that say nothing */
    nlm_logit_bias *biases;      /* its own */
    char *template_text;         /* the model's own, or NULL */
    api_keys keys;
    char model_name[256];
    char address[512]; /* to open */
    request_counts counts;
    uint64_t next_id;
    int64_t started_at; /* seconds since 1970 */
    uint64_t calls;     /* under way */
    uint32_t n_reading; /* requests that workers have, or will have */
    bool is_draining;
    bool keeps_prompts; /* in the cache file, when it ends */
} server;

/* The answer says it in the form that the route's clients know. */
void api_fail(server *s, http_exchange *x, int status, const char *param, const char *message);
/* The same for a failed call. */
void api_fail_with(server *s, http_exchange *x, const nlm_error *err);
/* What becomes of a status: 400 for INVALID_ARGUMENT, ... */
int api_status_of(nlm_status status);
/* The error object alone, for one that comes within a stream. */
void api_error_json(const http_exchange *x, int status, const char *param, const char *message, nlm_str *out);
/* A JSON answer; 500 where memory for it was missing. */
void api_reply_json(server *s, http_exchange *x, int status, const nlm_str *body);

/* Fills the callbacks of an HTTP server with the routes. */
void routes_install(server *s, http_options *options);
/* Whom a request comes from: clients of the scheduler take turns. */
uint64_t routes_client(const server *s, const http_exchange *x);
/* The path of the route that takes the request, which lives for ever. */
const char *routes_path(const http_exchange *x);

/* An id that no other answer of this server has: "chatcmpl-5f3c...". */
void server_make_id(server *s, const char *prefix, char out[64]);
int64_t server_now(void);
/* No call is under way, and the server is draining: the loop ends. */
void server_check_drained(server *s);

#endif
