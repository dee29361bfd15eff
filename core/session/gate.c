/* One call at a time on an engine, and ends in the right order whatever order they are asked for. */
#include "session/gate.h"

#include <unistd.h>

void nlm_gate_init(nlm_gate *gate, const nlm_log_sink *log) {
    *gate = (nlm_gate){.pid = getpid(), .log = *log};
    pthread_mutex_init(&gate->mutex, NULL);
}

void nlm_gate_release(nlm_gate *gate) {
    pthread_mutex_destroy(&gate->mutex);
}

static bool is_open(const nlm_gate *gate) {
    return gate->depth == 0 || (pthread_equal(gate->owner, pthread_self()) && !gate->is_in_callback);
}

static void begin(nlm_gate *gate) {
    gate->owner = pthread_self();
    if (gate->depth++ == 0) gate->outer_log = nlm_gate_redirect_log(gate);
}

nlm_status nlm_gate_enter(nlm_gate *gate, const char *call, nlm_error *err) {
    if (gate->pid != getpid()) {
        return nlm_fail(
            err, NLM_INVALID_ARGUMENT, call,
            "the engine was made before fork(), and its threads are in process %ld alone; make an engine in "
            "this process",
            (long)gate->pid);
    }
    pthread_mutex_lock(&gate->mutex);
    const bool may_enter = is_open(gate);
    if (may_enter) begin(gate);
    pthread_mutex_unlock(&gate->mutex);
    if (may_enter) return NLM_OK;
    return nlm_fail(
        err, NLM_INVALID_ARGUMENT, call,
        "a call on the same engine is under way; an engine, its models and their sessions are used by one "
        "thread at a time, and not from a callback");
}

/* The next thing to end, once the outermost call is done; NULL: the gate is free, or its user's call goes on. */
static nlm_ending *next_ending(nlm_gate *gate) {
    if (gate->depth > 1) {
        gate->depth--;
        return NULL;
    }
    nlm_ending *ending = gate->endings;
    if (ending) gate->endings = ending->next;
    if (!ending) gate->depth = 0;
    return ending;
}

void nlm_gate_leave(nlm_gate *gate) {
    nlm_ending *ending, *last = NULL;
    const nlm_log_sink *outer_log = gate->outer_log; /* the next to enter has one of its own */
    bool is_left;
    do {
        pthread_mutex_lock(&gate->mutex);
        ending = next_ending(gate);
        is_left = gate->depth == 0;
        if (is_left && gate->n_users == 0) last = gate->last;
        pthread_mutex_unlock(&gate->mutex);
        if (ending) ending->end(ending);
    } while (ending);
    if (last) last->end(last);
    if (is_left) nlm_log_redirect(outer_log);
}

void nlm_gate_end(nlm_gate *gate, nlm_ending *ending) {
    if (gate->pid != getpid()) return;
    pthread_mutex_lock(&gate->mutex);
    const bool is_now = is_open(gate);
    if (is_now) {
        begin(gate);
    } else {
        ending->next = gate->endings;
        gate->endings = ending;
    }
    pthread_mutex_unlock(&gate->mutex);
    if (!is_now) return;
    ending->end(ending);
    nlm_gate_leave(gate);
}

void nlm_gate_end_last(nlm_gate *gate, nlm_ending *ending) {
    if (gate->pid != getpid()) return;
    pthread_mutex_lock(&gate->mutex);
    gate->last = ending;
    const bool is_now = gate->depth == 0 && gate->n_users == 0;
    pthread_mutex_unlock(&gate->mutex);
    if (!is_now) return;
    const nlm_log_sink *outer_log = nlm_gate_redirect_log(gate);
    ending->end(ending);
    nlm_log_redirect(outer_log);
}
