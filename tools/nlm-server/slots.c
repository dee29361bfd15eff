/* What the slots hold: shown, saved, restored, erased. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "nlm-server/scheduler_internal.h"

uint32_t scheduler_slots(scheduler *s, slot_info *out, uint32_t capacity) {
    pthread_mutex_lock(&s->mutex);
    const uint32_t n = s->options.slots < capacity ? s->options.slots : capacity;
    if (n) memcpy(out, s->shown, n * sizeof *out);
    pthread_mutex_unlock(&s->mutex);
    return s->options.slots;
}

nlm_status scheduler_slot(scheduler *s, uint32_t number, uint32_t action, const char *path, slot_done_fn fn,
                          void *user, nlm_error *err) {
    if (number >= s->options.slots) {
        return nlm_fail(err, NLM_NOT_FOUND, "slots", "there is no slot %u; the last one is %u", number,
                        s->options.slots - 1);
    }
    slot_job *job = calloc(1, sizeof *job);
    char *copy = path ? strdup(path) : NULL;
    if (!job || (path && !copy)) {
        free(job);
        free(copy);
        return nlm_fail(err, NLM_OUT_OF_MEMORY, "slots", "no memory");
    }
    *job = (slot_job){.slot = number, .action = action, .path = copy, .fn = fn, .user = user};
    pthread_mutex_lock(&s->mutex);
    *s->jobs_last = job;
    s->jobs_last = &job->next;
    pthread_cond_signal(&s->came);
    pthread_mutex_unlock(&s->mutex);
    return NLM_OK;
}

static nlm_status perform(slot *at, const slot_job *job, nlm_error *err) {
    if (at->user) return nlm_fail(err, NLM_INVALID_ARGUMENT, "slots", "slot %u is in use", job->slot);
    switch (job->action) {
        case SLOT_SAVE: return nlm_session_save(at->session, job->path, err);
        case SLOT_RESTORE: return nlm_session_restore(at->session, job->path, err);
        default: return nlm_session_reset(at->session, err);
    }
}

void scheduler_run_job(scheduler *s, slot_job *job) {
    slot *at = &s->slots[job->slot];
    nlm_error err = NLM_ERROR_INIT;
    size_t n = 0;
    job->status = perform(at, job, &err);
    memcpy(job->message, err.msg, sizeof err.msg);
    nlm_session_tokens(at->session, &n);
    job->n_tokens = n;
    job->next = NULL;
    pthread_mutex_lock(&s->mutex);
    s->shown[job->slot].n_tokens = n; /* who is told that it is done may look at once */
    *s->done_jobs_last = job;
    s->done_jobs_last = &job->next;
    const uint64_t one = 1;
    if (!s->is_woken) s->is_woken = write(s->event_fd, &one, sizeof one) == sizeof one;
    pthread_mutex_unlock(&s->mutex);
}
