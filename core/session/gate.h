/* The door to an engine: one thread at a time, not from a callback, not in a child of fork(); and ends that wait
 * until nothing needs what they end. */
#ifndef NLM_SESSION_GATE_H
#define NLM_SESSION_GATE_H

#include <nlm/status.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>
#include "base/log.h"
#include "base/status.h"

/* Something to end: in the struct that `end` frees. */
typedef struct nlm_ending {
    struct nlm_ending *next;
    void (*end)(struct nlm_ending *ending);
} nlm_ending;

typedef struct nlm_gate {
    pthread_mutex_t mutex;         /* of all that follows */
    pid_t pid;                     /* of the process that made it: its threads are in no other */
    pthread_t owner;               /* of the calls under way */
    uint32_t depth;                /* 0: none */
    bool is_in_callback;           /* the owner's program is running */
    nlm_log_sink log;              /* of the owner's messages, if it has a function */
    const nlm_log_sink *outer_log; /* where they went before the calls, and go in callbacks */
    nlm_ending *endings;           /* to do when the calls under way are done */
    nlm_ending *last;              /* to do after these, when no user is left: it frees the gate */
    uint32_t n_users;
} nlm_gate;

/* log: with or without a function. */
void nlm_gate_init(nlm_gate *gate, const nlm_log_sink *log);
void nlm_gate_release(nlm_gate *gate);

/* A call begins; nlm_gate_leave ends it. Calls of the same thread may nest.
 * Errors   INVALID_ARGUMENT (another thread's call or a callback is under way; a child of fork). */
nlm_status nlm_gate_enter(nlm_gate *gate, const char *call, nlm_error *err);
void nlm_gate_leave(nlm_gate *gate);

/* Ends now, or when the calls under way are done. In a child of fork() nothing is ended: threads that the end waits
 * for are not there. */
void nlm_gate_end(nlm_gate *gate, nlm_ending *ending);
/* As nlm_gate_end, when nothing uses the gate any more; it may release the gate. */
void nlm_gate_end_last(nlm_gate *gate, nlm_ending *ending);

/* For what may be called beside the calls under way: messages of this thread go where the gate's do. Returns where
 * they went before, to be given to nlm_log_redirect. */
static inline const nlm_log_sink *nlm_gate_redirect_log(const nlm_gate *gate) {
    return nlm_log_redirect(gate->log.fn ? &gate->log : NULL);
}

/* Around a callback. */
static inline void nlm_gate_call_out(nlm_gate *gate, bool begins) {
    gate->is_in_callback = begins;
    if (begins) {
        nlm_log_redirect(gate->outer_log);
    } else {
        nlm_gate_redirect_log(gate);
    }
}

/* At the head of a function of nlm.h: returns with an error where a pointer is NULL, and where the gate is shut;
 * leaves the gate when the function returns. */
#define NLM_NEEDS(pointer, err)                                                                       \
    do {                                                                                              \
        if (!(pointer)) return nlm_fail(err, NLM_INVALID_ARGUMENT, __func__, "%s is NULL", #pointer); \
    } while (0)
static inline void nlm_gate_leave_scope(nlm_gate **gate) {
    if (*gate) nlm_gate_leave(*gate);
}
#define NLM_ENTER(gate, err)                                                       \
    __attribute__((cleanup(nlm_gate_leave_scope))) nlm_gate *entered_gate_ = NULL; \
    NLM_TRY(nlm_gate_enter(gate, __func__, err));                                  \
    entered_gate_ = (gate)

#endif
