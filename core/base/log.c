/* The one sink of all messages and what is loud enough for it. */
#include "base/log.h"

#include <nlm/plugin.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/printable.h"

static void to_stderr(void *user, int32_t level, const char *message) {
    (void)user;
    static const char *const prefix[] = {"error: ", "warning: ", "", "debug: "};
    fprintf(stderr, "%s%s\n", prefix[level], message);
}

static pthread_mutex_t sink_mutex = PTHREAD_MUTEX_INITIALIZER;
static nlm_log_fn sink_fn = to_stderr;
static void *sink_user;
static _Atomic int32_t sink_level = NLM_LOG_WARN;
static _Thread_local const nlm_log_sink *own_sink; /* or NULL */

void nlm_log_set_sink(nlm_log_fn fn, void *user) {
    pthread_mutex_lock(&sink_mutex);
    sink_fn = fn ? fn : to_stderr;
    sink_user = user;
    pthread_mutex_unlock(&sink_mutex);
}

void nlm_log_set_level(int32_t level) {
    atomic_store(&sink_level, level);
}

int32_t nlm_log_level(void) {
    return own_sink ? own_sink->level : atomic_load(&sink_level);
}

const nlm_log_sink *nlm_log_redirect(const nlm_log_sink *sink) {
    const nlm_log_sink *before = own_sink;
    own_sink = sink;
    return before;
}

const nlm_log_sink *nlm_log_redirected(void) {
    return own_sink;
}

static nlm_log_sink current_sink(void) {
    if (own_sink) return *own_sink;
    pthread_mutex_lock(&sink_mutex);
    const nlm_log_sink sink = {sink_fn, sink_user, atomic_load(&sink_level)};
    pthread_mutex_unlock(&sink_mutex);
    return sink;
}

void nlm_log(int32_t level, const char *format, ...) {
    if (level > nlm_log_level()) return;
    if (level < NLM_LOG_ERROR) level = NLM_LOG_ERROR;
    if (level > NLM_LOG_DEBUG) level = NLM_LOG_DEBUG;
    char message[1000];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    nlm_make_printable(message, sizeof message);
    const nlm_log_sink sink = current_sink();
    sink.fn(sink.user, level, message);
}
