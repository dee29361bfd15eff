/* Rounds of requests to servers, and what they took. */
#include "nlm-bench/server_load.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "base/str.h"
#include "common/json.h"
#include "nlm-bench/report.h"
#include "nlm-bench/server_client.h"

/* What a server did with so many clients. */
typedef struct server_run {
    const server_url *url;
    uint32_t n_clients;
    samples first, between;       /* seconds */
    samples requests_s, tokens_s; /* of each round */
} server_run;

typedef struct client {
    const settings *set;
    const server_url *url;
    uint64_t first_prompt; /* its requests have prompts of their own, from here on */
    samples first, between;
    uint64_t tokens;
    nlm_status status;
    nlm_error error;
    pthread_t thread;
} client;

/* ---- prompts ------------------------------------------------------------------------------------------ */

static void write_body(const settings *set, uint64_t number, nlm_str *out) {
    static const char *const words[] = {
        "the",    "a",      "one",   "small",  "old",     "green",   "quiet",     "bright", "river", "mountain",
        "garden", "window", "table", "letter", "morning", "evening", "bird",      "horse",  "child", "friend",
        "walks",  "sings",  "finds", "opens",  "carries", "follows", "remembers", "under",  "over",  "behind",
        "beside", "with",   "and",   "then",   "because", "while",   "until"};
    uint64_t state = set->is_same ? 1 : number + 1;
    nlm_str_puts(out, "{\"prompt\": \"");
    for (int64_t i = 0; i < set->prompt; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        nlm_str_printf(out, "%s%s", i ? " " : "", words[(state >> 33) % (sizeof words / sizeof *words)]);
    }
    nlm_str_printf(out,
                   "\", \"max_tokens\": %lld, \"temperature\": 0, \"stream\": true, \"ignore_eos\": true, "
                   "\"stream_options\": {\"include_usage\": true}}",
                   (long long)set->gen);
}

/* ---- a round ------------------------------------------------------------------------------------------ */

static void *ask_all(void *user) {
    client *c = user;
    for (int64_t i = 0; i < c->set->requests && c->status == NLM_OK; i++) {
        nlm_str body = {0};
        server_answer answer = {.gaps = &c->between};
        write_body(c->set, c->first_prompt + (uint64_t)i, &body);
        c->status = body.has_failed ? nlm_fail(&c->error, NLM_OUT_OF_MEMORY, c->url->text, "no memory")
                                    : server_ask(c->url, c->set->key, body.data, &answer, &c->error);
        if (c->status == NLM_OK) samples_add(&c->first, answer.first_seconds);
        c->tokens += answer.tokens;
        nlm_str_release(&body);
    }
    return NULL;
}

static bool make_samples(samples *s, size_t capacity) {
    *s = (samples){.values = calloc(capacity, sizeof *s->values), .capacity = capacity};
    return s->values != NULL;
}

static void append(samples *to, const samples *from) {
    for (size_t i = 0; i < from->count; i++) samples_add(to, from->values[i]);
}

static nlm_status run_clients(client *clients, server_run *run, nlm_error *err) {
    uint32_t n_started = 0;
    const uint64_t start = nlm_clock_ns();
    for (; n_started < run->n_clients; n_started++) {
        errno = pthread_create(&clients[n_started].thread, NULL, ask_all, &clients[n_started]);
        if (errno != 0) break;
    }
    for (uint32_t i = 0; i < n_started; i++) pthread_join(clients[i].thread, NULL);
    if (n_started < run->n_clients) return nlm_fail_errno(err, NLM_IO, run->url->text, "no thread");
    const double seconds = (double)(nlm_clock_ns() - start) * 1e-9;
    uint64_t tokens = 0;
    size_t n = 0;
    for (uint32_t i = 0; i < run->n_clients; i++) {
        const client *c = &clients[i];
        if (c->status != NLM_OK) {
            nlm_error_give(err, &c->error);
            return nlm_status_prefix(c->status, err, "%u clients", run->n_clients);
        }
        append(&run->first, &c->first);
        append(&run->between, &c->between);
        tokens += c->tokens;
        n += c->first.count;
    }
    samples_add(&run->requests_s, (double)n / seconds);
    samples_add(&run->tokens_s, (double)tokens / seconds);
    return NLM_OK;
}

static nlm_status run_round(const settings *set, server_run *run, uint64_t first_prompt, nlm_error *err) {
    client *clients = calloc(run->n_clients, sizeof *clients);
    bool has_memory = clients != NULL;
    for (uint32_t i = 0; has_memory && i < run->n_clients; i++) {
        clients[i] = (client){.set = set,
                              .url = run->url,
                              .first_prompt = first_prompt + i * (uint64_t)set->requests,
                              .error = NLM_ERROR_INIT};
        has_memory = make_samples(&clients[i].first, (size_t)set->requests);
        has_memory = make_samples(&clients[i].between, (size_t)(set->requests * set->gen)) && has_memory;
    }
    const nlm_status status =
        has_memory ? run_clients(clients, run, err)
                   : nlm_fail(err, NLM_OUT_OF_MEMORY, "--clients", "no memory for %u clients", run->n_clients);
    for (uint32_t i = 0; clients && i < run->n_clients; i++) {
        free(clients[i].first.values);
        free(clients[i].between.values);
    }
    free(clients);
    return status;
}

/* ---- all ---------------------------------------------------------------------------------------------- */

static void print_times(const char *label, const samples *s) {
    const stats of = stats_of(s);
    if (of.count == 0)
        printf("    %s-\n", label);
    else
        printf("    %sp50 %.1f  p95 %.1f  p99 %.1f\n", label, 1e3 * of.p50, 1e3 * of.p95, 1e3 * of.p99);
}

static void print_run(const server_run *run) {
    printf("%s  %u clients  %.3g requests/s  %.4g tokens/s\n", run->url->text, run->n_clients,
           stats_of(&run->requests_s).median, stats_of(&run->tokens_s).median);
    print_times("first piece, ms     ", &run->first);
    print_times("between pieces, ms  ", &run->between);
    fflush(stdout);
}

static void add_run(const server_run *run, nlm_json *json) {
    nlm_json_begin_object(json, NULL);
    nlm_json_string(json, "url", run->url->text);
    nlm_json_u64(json, "clients", run->n_clients);
    nlm_json_f64(json, "requests_s", stats_of(&run->requests_s).median);
    nlm_json_f64(json, "tokens_s", stats_of(&run->tokens_s).median);
    report_stats_json(&run->first, "first_s", json);
    report_stats_json(&run->between, "between_s", json);
    nlm_json_end(json);
}

static void release_run(server_run *run) {
    free(run->first.values);
    free(run->between.values);
    free(run->requests_s.values);
    free(run->tokens_s.values);
}

static bool make_run(const settings *set, const server_url *url, uint32_t n_clients, server_run *out) {
    const size_t n = (size_t)(set->repeat * set->requests) * n_clients;
    *out = (server_run){.url = url, .n_clients = n_clients};
    bool has_memory = make_samples(&out->first, n);
    has_memory = make_samples(&out->between, n * (size_t)set->gen) && has_memory;
    has_memory = make_samples(&out->requests_s, (size_t)set->repeat) && has_memory;
    return make_samples(&out->tokens_s, (size_t)set->repeat) && has_memory;
}

/* A, B, A, B, ...: what else the machine does meets all of them. */
static nlm_status run_rounds(const settings *set, server_run *runs, uint64_t *prompt, nlm_error *err) {
    for (int64_t round = 0; round < set->repeat; round++) {
        for (size_t i = 0; i < set->servers.count; i++) NLM_TRY(run_round(set, &runs[i], *prompt, err));
        *prompt += (uint64_t)set->requests * runs[0].n_clients;
    }
    return NLM_OK;
}

static nlm_status run_with(const settings *set, const server_url *urls, uint32_t n_clients, uint64_t *prompt,
                           nlm_json *json, nlm_error *err) {
    server_run runs[NLM_OPTION_TEXTS_MAX] = {0};
    bool has_memory = true;
    for (size_t i = 0; i < set->servers.count; i++) {
        has_memory = make_run(set, &urls[i], n_clients, &runs[i]) && has_memory;
    }
    nlm_status status = has_memory ? run_rounds(set, runs, prompt, err)
                                   : nlm_fail(err, NLM_OUT_OF_MEMORY, "--clients", "no memory for %u", n_clients);
    for (size_t i = 0; i < set->servers.count; i++) {
        if (status == NLM_OK && set->is_json) add_run(&runs[i], json);
        if (status == NLM_OK && !set->is_json) print_run(&runs[i]);
        release_run(&runs[i]);
    }
    return status;
}

nlm_status server_load_run(const settings *set, nlm_error *err) {
    server_url urls[NLM_OPTION_TEXTS_MAX];
    nlm_json json = {0};
    nlm_status status = NLM_OK;
    uint64_t prompt = 0;
    for (size_t i = 0; i < set->servers.count; i++) {
        NLM_TRY(server_url_read(set->servers.items[i], &urls[i], err));
        urls[i].timeout = set->timeout;
    }
    nlm_json_begin_object(&json, NULL);
    nlm_json_i64(&json, "requests", set->requests);
    nlm_json_i64(&json, "repeat", set->repeat);
    nlm_json_i64(&json, "prompt_words", set->prompt);
    nlm_json_i64(&json, "gen", set->gen);
    nlm_json_bool(&json, "same", set->is_same);
    nlm_json_begin_array(&json, "runs");
    for (size_t i = 0; i < set->n_clients && status == NLM_OK; i++) {
        status = run_with(set, urls, set->clients[i], &prompt, &json, err);
    }
    nlm_json_end(&json);
    if (status == NLM_OK && set->is_json) status = nlm_json_print(&json, stdout, err);
    nlm_json_release(&json);
    return status;
}
