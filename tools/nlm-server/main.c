/* nlm-server: a model served over HTTP. */
#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "base/status.h"
#include "nlm-server/listen.h"
#include "nlm-server/log.h"
#include "nlm-server/open.h"
#include "nlm-server/tls.h"

#define LOG_WARNING     1
#define LOG_INFORMATION 2

int64_t server_now(void) {
    return (int64_t)time(NULL);
}

/* Not to be guessed, and never twice: random, then a count. */
void server_make_id(server *s, const char *prefix, char out[64]) {
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, 0) != sizeof random) random = (uint64_t)server_now();
    snprintf(out, 64, "%s%016" PRIx64 "%08" PRIx64, prefix, random, s->next_id++);
}

/* ---- the loop ------------------------------------------------------------------------------------------- */

void server_check_drained(server *s) {
    if (s->is_draining && s->http && s->calls == 0 && http_server_connections(s->http) == 0)
        event_base_loopbreak(s->base);
}

static void on_scheduler(evutil_socket_t fd, short what, void *user) {
    (void)fd;
    (void)what;
    server *s = user;
    scheduler_dispatch(s->sched);
}

/* Once a while when draining: connections end later than calls. */
static void on_drain_timer(evutil_socket_t fd, short what, void *user) {
    (void)fd;
    (void)what;
    server_check_drained(user);
}

static void on_drain_end(evutil_socket_t fd, short what, void *user) {
    (void)fd;
    (void)what;
    server *s = user;
    log_text(LOG_WARNING, "%" PRIu64 " requests have not ended in time", s->calls);
    event_base_loopbreak(s->base);
}

static void on_stop(evutil_socket_t number, short what, void *user) {
    (void)number;
    (void)what;
    server *s = user;
    const struct timeval often = {.tv_usec = 50000};
    const double seconds = s->set->drain_seconds;
    const struct timeval limit = {.tv_sec = (time_t)seconds,
                                  .tv_usec = (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
    if (s->is_draining) { /* the second time */
        event_base_loopbreak(s->base);
        return;
    }
    s->is_draining = true;
    listen_notify("STOPPING=1");
    log_text(LOG_INFORMATION, "stopping: %" PRIu64 " requests are under way", s->calls);
    http_server_drain(s->http);
    event_base_once(s->base, -1, EV_TIMEOUT, on_drain_end, s, &limit);
    struct event *timer = event_new(s->base, -1, EV_PERSIST, on_drain_timer, s);
    if (timer) {
        event_add(timer, &often);
        s->events[s->n_events++] = timer;
    }
}

static void on_reload(evutil_socket_t number, short what, void *user) {
    (void)number;
    (void)what;
    server *s = user;
    nlm_error err = NLM_ERROR_INIT;
    struct stat info;
    if (!s->set->api_key_file) return;
    if (stat(s->set->api_key_file, &info) == 0 && !S_ISREG(info.st_mode))
        log_text(0, "the API keys stay as they were: %s is no regular file, and may keep all waiting",
                 s->set->api_key_file);
    else if (keys_read(s->set->api_key_file, &s->keys, &err) == NLM_OK)
        log_text(LOG_INFORMATION, "%zu API keys read", s->keys.count);
    else
        log_text(0, "the API keys stay as they were: %s: %s", err.where, err.msg);
}

static nlm_status watch(server *s, struct event *event, nlm_error *err) {
    if (!event || event_add(event, NULL) != 0) {
        if (event) event_free(event);
        return nlm_fail(err, NLM_IO, "server", "an event cannot be watched");
    }
    s->events[s->n_events++] = event;
    return NLM_OK;
}

static nlm_status watch_all(server *s, nlm_error *err) {
    NLM_TRY(watch(s, evsignal_new(s->base, SIGTERM, on_stop, s), err));
    NLM_TRY(watch(s, evsignal_new(s->base, SIGINT, on_stop, s), err));
    NLM_TRY(watch(s, evsignal_new(s->base, SIGHUP, on_reload, s), err));
    return watch(s, event_new(s->base, scheduler_fd(s->sched), EV_READ | EV_PERSIST, on_scheduler, s), err);
}

/* ---- the prompt cache in a file ---------------------------------------------------------------------------- */

/* A file that cannot be used is said, and is no reason not to serve: it is replaced at the end, unless it is none of
 * a server's. */
static void read_prompts(server *s) {
    nlm_error err = NLM_ERROR_INIT;
    uint64_t n = 0;
    const char *path = s->set->cache_file;
    if (!path) return;
    const nlm_status status = nlm_model_restore_prompts(s->model, path, &n, &err);
    s->keeps_prompts = status != NLM_INVALID_ARGUMENT && status != NLM_PERMISSION && status != NLM_IO;
    if (status == NLM_OK) log_text(LOG_INFORMATION, "%s: %" PRIu64 " tokens of prompts are known", path, n);
    if (status == NLM_OK || status == NLM_NOT_FOUND) return;
    log_text(LOG_WARNING, "%s: %s; the server begins without%s", err.where, err.msg,
             s->keeps_prompts ? "" : ", and leaves the file as it is");
}

static void write_prompts(const server *s) {
    nlm_error err = NLM_ERROR_INIT;
    uint64_t n = 0;
    if (!s->keeps_prompts) return;
    const uint64_t most = (uint64_t)s->set->cache_file_mib << 20;
    if (nlm_model_save_prompts(s->model, s->set->cache_file, most, &n, &err) == NLM_OK)
        log_text(LOG_INFORMATION, "%s: %" PRIu64 " tokens of prompts kept", s->set->cache_file, n);
    else
        log_text(LOG_WARNING, "the prompts are not kept: %s: %s", err.where, err.msg);
}

/* ---- from start to end ------------------------------------------------------------------------------------ */

static nlm_status open_http(server *s, struct ssl_ctx_st *tls, nlm_error *err) {
    const settings *set = s->set;
    http_options options = {.base = s->base,
                            .tls = tls,
                            .limits = {.head_bytes = (size_t)set->max_head_kib << 10,
                                       .body_bytes = (size_t)set->max_body_kib << 10,
                                       .output_bytes = (size_t)set->max_output_kib << 10,
                                       .connections = (uint32_t)set->max_connections,
                                       .head_seconds = set->head_seconds,
                                       .body_seconds = set->body_seconds,
                                       .idle_seconds = set->idle_seconds,
                                       .write_seconds = set->write_seconds}};
    routes_install(s, &options);
    NLM_TRY(http_server_create(&options, &s->http, err));
    return listen_open(s, err);
}

static nlm_status open_scheduler(server *s, nlm_error *err) {
    const scheduler_options options = {.slots = (uint32_t)s->set->slots,
                                       .step_tokens = (uint32_t)s->set->step_tokens,
                                       .max_queue = (uint32_t)s->set->max_queue,
                                       .queue_seconds = s->set->queue_seconds};
    return scheduler_create(s->model, &options, &s->sched, err);
}

static void tell_start(const server *s) {
    nlm_engine_info engine = {.struct_size = sizeof engine};
    nlm_engine_describe(s->engine, &engine, NULL);
    log_text(LOG_INFORMATION,
             "%s (%s, %" PRIu64 " MiB, loaded in %.2f s) on %s, %u threads; %d slots of %u tokens; API keys: %s",
             s->model_name, s->info.family, s->info.file_bytes >> 20, s->info.load_seconds, engine.backend,
             engine.threads, (int)s->set->slots, s->info.context_length, s->keys.are_needed ? "needed" : "none");
    if (printf("%s\n", s->address) < 0 || fflush(stdout) != 0)
        log_text(LOG_WARNING, "standard output cannot be written; listening on %s", s->address);
    listen_notify("READY=1");
}

static nlm_status serve(server *s, struct ssl_ctx_st **tls, int *code, nlm_error *err) {
    const settings *set = s->set;
    if (set->api_key_file) NLM_TRY(keys_read(set->api_key_file, &s->keys, err));
    if (set->tls_cert) NLM_TRY(tls_create(set->tls_cert, set->tls_key, tls, err));
    NLM_TRY(open_model(s, code, err));
    read_prompts(s);
    NLM_TRY(open_scheduler(s, err));
    s->base = event_base_new();
    if (!s->base) return nlm_fail(err, NLM_IO, "server", "no event loop");
    NLM_TRY(workers_create(s->base, &s->workers, err));
    NLM_TRY(open_http(s, *tls, err));
    NLM_TRY(watch_all(s, err));
    tell_start(s);
    if (event_base_dispatch(s->base) < 0) return nlm_fail(err, NLM_IO, "server", "the event loop has failed");
    return NLM_OK;
}

static void close_server(server *s, struct ssl_ctx_st *tls) {
    if (s->http) listen_close(s);
    http_server_destroy(s->http); /* its calls cancel their tasks */
    s->http = NULL;
    scheduler_destroy(s->sched);
    workers_destroy(s->workers);
    write_prompts(s);
    for (size_t i = 0; i < s->n_events; i++) event_free(s->events[i]);
    if (s->base) event_base_free(s->base);
    tls_destroy(tls);
    keys_release(&s->keys);
    grammars_release(&s->grammars);
    free(s->template_text);
    free(s->biases);
    nlm_model_unload(s->model);
    nlm_engine_destroy(s->engine);
}

static int perform(const settings *set) {
    server s = {.set = set, .started_at = server_now(), .grammars = GRAMMAR_CACHE_INIT};
    struct ssl_ctx_st *tls = NULL;
    nlm_error err = NLM_ERROR_INIT;
    int code = NLM_EXIT_FAILED;
    log_open(strcmp(set->log_format, "json") == 0, set->is_quiet);
    nlm_set_log(log_line, NULL, set->is_verbose ? LOG_INFORMATION : LOG_WARNING);
    signal(SIGPIPE, SIG_IGN);
    const nlm_status status = serve(&s, &tls, &code, &err);
    close_server(&s, tls);
    if (status == NLM_OK) return NLM_EXIT_OK;
    nlm_tell(&nlm_server_command, &err);
    return code;
}

int main(int argc, char **argv) {
    nlm_arena arena = {0};
    settings set;
    int code = settings_read(argc, argv, &arena, &set);
    if (code == NLM_OPTIONS_GO_ON) code = perform(&set);
    nlm_arena_release(&arena);
    return code;
}
