/* One request to a server of OpenAI's interface, whose text comes in pieces. */
#ifndef NLM_BENCH_SERVER_CLIENT_H
#define NLM_BENCH_SERVER_CLIENT_H

#include <nlm/status.h>
#include "nlm-bench/stats.h"

/* "http://host:port" */
typedef struct server_url {
    const char *text;
    char host[256], port[16];
    int64_t timeout; /* seconds of silence that are a failure: at least 1; server_url_read leaves it at 0 */
} server_url;

/* Errors INVALID_ARGUMENT. */
nlm_status server_url_read(const char *text, server_url *out, nlm_error *err);

typedef struct server_answer {
    double first_seconds; /* to the first piece of text */
    uint64_t tokens;      /* as the server counts them, else pieces */
    samples *gaps;        /* where the seconds between pieces go */
} server_answer;

/* Posts the JSON to /v1/completions. key: an API key, or NULL. Errors IO (no connection, or it ended in the middle
 * of an answer, or nothing came for url->timeout), BAD_FORMAT (an answer that is none), UNSUPPORTED (another status
 * than 200: which, and what the server says). */
nlm_status server_ask(const server_url *url, const char *key, const char *body, server_answer *out, nlm_error *err);

#endif
