/* Runs cases in a child that may crash or hang, and starts another behind the one that did. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/status.h"
#include "common/child.h"
#include "conform.h"
#include "guard.h"
#include "plugin/leftovers.h"
#include "plugin/watch.h"

/* What parent and child share. A child works through the cases from `next`; a parent starts another one
 * behind the case that ended the last. */
typedef struct board {
    atomic_size_t next;
    nlm_status open_status;
    nlm_error open_error;
    char *message; /* of the case under way, for the fault handler */
    bool is_sick;  /* the child ends because its device is of no more use */
    bool was_open; /* a child had a device */
    conform_case cases[];
} board;

/* A rule runs a few small ops at most, so one that takes longer hangs; unless everything takes long, as who allows a
 * case more than the usual two minutes says. */
#define RULE_LIMIT_S 60

static int64_t limit_of(conform_kind kind, int64_t timeout_s) {
    const int64_t rule_s = timeout_s / 2 > RULE_LIMIT_S ? timeout_s / 2 : RULE_LIMIT_S;
    return kind == CONFORM_RULE && rule_s < timeout_s ? rule_s : timeout_s;
}

enum { CHILD_SICK = 2, CHILD_DONE = 0, CHILD_CANNOT_OPEN = 3, CHILD_FAULT = 4, CHILD_PART_DONE = 5 };

static void leave_after_fault(void) {
    _exit(CHILD_FAULT);
}

/* One rule, without anything of another case in the process. */
static int check_rule(const conform_options *options, board *b, size_t at) {
    size_t n_rules;
    const conform_rule *rules = conform_rules(&n_rules);
    b->message = b->cases[at].result.message;
    guard_on_fault(&b->message, sizeof b->cases[at].result.message, leave_after_fault);
    for (size_t i = 0; i < n_rules; i++) {
        if (strcmp(rules[i].name, b->cases[at].name) == 0) rules[i].run(options, &b->cases[at].result);
    }
    atomic_store(&b->next, at + 1);
    return CHILD_PART_DONE;
}

static void run_case(conform_pools *pools, const nlm_device *device, const conform_options *options,
                     conform_case *c) {
    switch (c->kind) {
        case CONFORM_MODEL: conform_run_model(pools, device, options, c->name, &c->result); break;
        case CONFORM_ACTIVATION: conform_run_activation(pools, device, options, c->name, &c->result); break;
        case CONFORM_CAPTURED: conform_run_captured(pools, device, options, c->name, &c->result); break;
        default: conform_run_case(pools, device, options, c->name, &c->result); break;
    }
}

/* After a case that failed: does a stream device still do anything? An error of that case may be told once more. */
static bool is_well(const nlm_device *device) {
    const nlm_device_v1 *api = &device->api;
    void *stream = NULL;
    if (nlm_device_is_sliced(device)) return true;
    api->sync(api->self, NULL, NULL);
    if (api->sync(api->self, NULL, NULL) != NLM_OK || api->stream_create(api->self, &stream, NULL) != NLM_OK)
        return false;
    const nlm_status status = api->sync(api->self, stream, NULL);
    api->stream_destroy(api->self, stream);
    return status == NLM_OK;
}

/* What a child has opened, and what the process was like before. */
typedef struct opened {
    nlm_plugins *plugins;
    nlm_device *device;
    conform_pools pools;
    nlm_leftovers leftovers;
    nlm_watch watch;
} opened;

static nlm_status open_all(const conform_options *options, opened *o, nlm_error *err) {
    conform_make_first_thread();
    nlm_leftovers_start(&o->leftovers);
    nlm_watch_start(&o->watch);
    return conform_open(options, &o->plugins, &o->device, err);
}

static void close_all(opened *o) {
    conform_pools_destroy(&o->pools);
    conform_close(o->plugins, o->device);
}

static bool has_passed(const board *b, size_t at) {
    for (size_t i = 0; i < at; i++) {
        if (b->cases[i].level == b->cases[at].level && b->cases[i].result.verdict == CONFORM_PASSED) return true;
    }
    return false;
}

/* Closes the device behind the cases of a level. */
static void check_unload(opened *o, const board *b, size_t at, conform_result *result) {
    char what[64];
    nlm_verdict verdict = {0};
    snprintf(what, sizeof what, "close, after the cases of level %d,", b->cases[at].level);
    close_all(o);
    result->verdict = has_passed(b, at) ? CONFORM_PASSED : CONFORM_NOT_OFFERED;
    if (result->verdict == CONFORM_NOT_OFFERED) snprintf(result->message, sizeof result->message, "anything of it");
    if (!nlm_leftovers_check(&o->leftovers, what, &verdict) || !nlm_watch_check(&o->watch, what, &verdict))
        conform_fail(result, "%s", verdict.reason);
}

static int run_on_device(const conform_options *options, board *b, size_t count) {
    static opened o; /* large */
    guard_on_fault(&b->message, sizeof b->cases[0].result.message, leave_after_fault);
    b->open_error = (nlm_error)NLM_ERROR_INIT;
    b->open_status = open_all(options, &o, &b->open_error);
    if (b->open_status != NLM_OK) {
        close_all(&o);
        return CHILD_CANNOT_OPEN;
    }
    b->was_open = true;
    for (size_t i = atomic_load(&b->next); i < count; i++) {
        b->message = b->cases[i].result.message;
        if (b->cases[i].kind == CONFORM_UNLOAD) {
            check_unload(&o, b, i, &b->cases[i].result);
            atomic_store(&b->next, i + 1);
            return CHILD_PART_DONE;
        }
        run_case(&o.pools, o.device, options, &b->cases[i]);
        b->is_sick = b->cases[i].result.verdict == CONFORM_FAILED && !is_well(o.device);
        atomic_store(&b->next, i + 1);
        if (b->is_sick) _exit(CHILD_SICK); /* closing it may fail too: the next case gets a process of its own */
    }
    close_all(&o);
    return CHILD_DONE;
}

static int work(const conform_options *options, board *b, size_t count) {
    const size_t at = atomic_load(&b->next);
    return b->cases[at].kind == CONFORM_RULE ? check_rule(options, b, at) : run_on_device(options, b, count);
}

/* Waits for the child to end, or for a case to take longer than timeout_s: then kills it. */
static int wait_for(pid_t child, const board *b, int64_t timeout_s, bool *out_is_late) {
    const struct timespec poll = {.tv_sec = 1};
    const uint64_t limit_ns = (uint64_t)timeout_s * UINT64_C(1000000000);
    size_t seen = atomic_load(&b->next);
    uint64_t since = nlm_clock_ns();
    sigset_t ended;
    int status = 0;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    *out_is_late = false;
    while (waitpid(child, &status, WNOHANG) == 0) {
        sigtimedwait(&ended, NULL, &poll);
        const size_t now = atomic_load(&b->next);
        if (now != seen) since = nlm_clock_ns();
        seen = now;
        if (nlm_clock_ns() - since < limit_ns) continue;
        *out_is_late = true;
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        break;
    }
    return status;
}

/* The case under way when the child ended is the one that ended it. */
static void blame(board *b, size_t index, int status, bool is_late, int64_t timeout_s) {
    conform_result *result = &b->cases[index].result;
    if (result->verdict == CONFORM_FAILED) return; /* it has said why, and then ended as it had to */
    if (is_late) {
        conform_fail(result, "not done after %lld s", (long long)timeout_s);
    } else if (WIFSIGNALED(status)) {
        conform_fail(result, "the process died of signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) == CHILD_FAULT) {
        result->verdict = CONFORM_FAILED; /* the handler has said why */
    } else {
        conform_fail(result, "the process exited with status %d", WEXITSTATUS(status));
    }
}

/* The device was there once, and is not any more: what is left stays NOT_RUN. */
static nlm_status give_up(board *b, size_t from, size_t count) {
    for (size_t i = from; i < count; i++) {
        conform_result *result = &b->cases[i].result;
        snprintf(result->message, sizeof result->message, "the device cannot be opened again: %.600s",
                 b->open_error.msg);
    }
    return NLM_OK;
}

static nlm_status run_children(const conform_options *options, board *b, size_t count, nlm_error *err) {
    while (atomic_load(&b->next) < count) {
        const size_t from = atomic_load(&b->next);
        bool is_late;
        fflush(NULL);
        const pid_t child = nlm_fork();
        if (child < 0) return nlm_fail_errno(err, NLM_INTERNAL, "fork", "cannot start a child process");
        if (child == 0) exit(work(options, b, count)); /* not _exit: leak checkers run at exit */
        const int64_t limit_s = limit_of(b->cases[from].kind, options->timeout_s);
        const int status = wait_for(child, b, limit_s, &is_late);
        const bool is_exit = !is_late && WIFEXITED(status);
        if (is_exit && WEXITSTATUS(status) == CHILD_CANNOT_OPEN) {
            if (b->was_open) return give_up(b, from, count);
            if (err) *err = b->open_error;
            return b->open_status;
        }
        const size_t at = atomic_load(&b->next);
        if (b->is_sick) {
            b->is_sick = false;
            continue;
        }
        if (at > from && b->cases[from].kind == CONFORM_RULE) {
            /* A rule that was kept, by a plugin that spoils the end of the process. */
            const bool is_said = b->cases[from].result.verdict == CONFORM_FAILED;
            if (!is_said && (!is_exit || WEXITSTATUS(status) != CHILD_PART_DONE))
                blame(b, from, status, is_late, limit_s);
            continue;
        }
        if (is_exit && WEXITSTATUS(status) == CHILD_PART_DONE) continue;
        if (at == count && is_exit && WEXITSTATUS(status) == CHILD_DONE) break;
        if (at == count)
            return nlm_fail(err, NLM_INTERNAL, "close", "all cases ran, but the process did not end well");
        blame(b, at, status, is_late, limit_s);
        atomic_store(&b->next, at + 1);
    }
    return NLM_OK;
}

nlm_status conform_supervise(const conform_options *options, conform_case *cases, size_t count, nlm_error *err) {
    const size_t bytes = sizeof(board) + count * sizeof *cases;
    board *b = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (b == MAP_FAILED) return nlm_fail_errno(err, NLM_OUT_OF_MEMORY, "mmap", "no memory for %zu cases", count);
    sigset_t ended, before;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ended, &before);
    memcpy(b->cases, cases, count * sizeof *cases);
    const nlm_status status = run_children(options, b, count, err);
    memcpy(cases, b->cases, count * sizeof *cases);
    sigprocmask(SIG_SETMASK, &before, NULL);
    munmap(b, bytes);
    return status;
}
