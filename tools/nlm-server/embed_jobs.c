/* Embeddings between the scheduler's steps. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/status.h"
#include "nlm-server/scheduler_internal.h"

static void close_current(embed_job *job) {
    nlm_embedding_destroy(job->current);
    job->current = NULL;
}

void embed_job_destroy(embed_job *job) {
    close_current(job);
    free(job->ids);
    free(job->counts);
    free(job->rows);
    free(job);
}

/* n and the counts are not 0. */
static embed_job *create(const scheduler *s, int32_t *const *ids, const size_t *counts, size_t n) {
    size_t total = 0, at = 0;
    for (size_t i = 0; i < n; i++) total += counts[i];
    embed_job *job = calloc(1, sizeof *job);
    if (!job) return NULL;
    job->n = n;
    job->ids = calloc(total ? total : 1, sizeof *job->ids);
    job->counts = calloc(n, sizeof *job->counts);
    job->rows = calloc(n, s->n_embd * sizeof *job->rows);
    job->error = (nlm_error)NLM_ERROR_INIT;
    if (!job->ids || !job->counts || !job->rows) {
        embed_job_destroy(job);
        return NULL;
    }
    memcpy(job->counts, counts, n * sizeof *counts);
    for (size_t i = 0; i < n; at += counts[i++]) memcpy(job->ids + at, ids[i], counts[i] * sizeof **ids);
    return job;
}

static nlm_status check(const scheduler *s, const size_t *counts, size_t n, nlm_error *err) {
    if (n == 0) return nlm_fail(err, NLM_INVALID_ARGUMENT, "input", "there is nothing to embed");
    for (size_t i = 0; i < n; i++) {
        if (counts[i] == 0) return nlm_fail(err, NLM_INVALID_ARGUMENT, "input", "input %zu has no token", i);
        if (counts[i] <= s->context) continue;
        nlm_fail(err, NLM_INVALID_ARGUMENT, "input", "input %zu has %zu tokens, and the context %u", i, counts[i],
                 s->context);
        err->native_code = TASK_TOO_LONG;
        return NLM_INVALID_ARGUMENT;
    }
    return NLM_OK;
}

nlm_status scheduler_embed(scheduler *s, int32_t *const *ids, const size_t *counts, size_t n,
                           const nlm_embed_options *options, embed_done_fn fn, void *user, embed_job **out,
                           nlm_error *err) {
    NLM_TRY(check(s, counts, n, err));
    embed_job *job = create(s, ids, counts, n);
    if (!job) return nlm_fail(err, NLM_OUT_OF_MEMORY, "input", "no memory for the request");
    job->options = *options;
    job->fn = fn;
    job->user = user;
    job->submitted_ns = nlm_clock_ns();
    nlm_status status = NLM_OK;
    pthread_mutex_lock(&s->mutex);
    if (s->n_embeds >= s->options.max_queue) {
        status = nlm_fail(err, NLM_LIMIT, "queue", "%u requests for embeddings wait already", s->n_embeds);
    } else {
        s->n_embeds++;
        *s->embeds_last = job;
        s->embeds_last = &job->next;
        pthread_cond_signal(&s->came);
    }
    pthread_mutex_unlock(&s->mutex);
    if (status == NLM_OK)
        *out = job;
    else
        embed_job_destroy(job);
    return status;
}

void scheduler_cancel_embed(embed_job *job) {
    atomic_store(&job->is_cancelled, true);
}

/* The first job leaves the head of the queue: to the client, or behind those that wait. */
static void move_first(scheduler *s, bool is_over) {
    const uint64_t one = 1;
    pthread_mutex_lock(&s->mutex);
    embed_job *job = s->embeds;
    s->embeds = job->next;
    if (!s->embeds) s->embeds_last = &s->embeds;
    job->next = NULL;
    embed_job ***last = is_over ? &s->done_embeds_last : &s->embeds_last;
    **last = job;
    *last = &job->next;
    if (is_over) {
        s->n_embeds--;
        s->stats.embedded += job->n_done;
        if (!s->is_woken) s->is_woken = write(s->event_fd, &one, sizeof one) == sizeof one;
    }
    pthread_mutex_unlock(&s->mutex);
}

static nlm_status begin(const scheduler *s, embed_job *job, nlm_error *err) {
    const double seconds = s->options.queue_seconds, age = (double)(nlm_clock_ns() - job->submitted_ns) * 1e-9;
    if (!job->has_begun && seconds > 0 && age > seconds) {
        return nlm_fail(err, NLM_LIMIT, "queue", "its turn did not come within %g seconds", seconds);
    }
    job->has_begun = true;
    job->current_ids = job->ids + job->id_at;
    return nlm_embedding_create(s->model, &job->current_ids, &job->counts[job->n_done], 1, &job->options,
                                job->rows + job->n_done * s->n_embd, &job->current, err);
}

/* *out_used: tokens computed. */
static nlm_status go_on(const scheduler *s, embed_job *job, uint32_t most, uint64_t *out_used, nlm_error *err) {
    uint64_t left = 0, before = 0;
    if (atomic_load(&job->is_cancelled)) return nlm_fail(err, NLM_CANCELLED, "embeddings", "nobody waits for them");
    if (!job->current) {
        NLM_TRY(begin(s, job, err));
        job->n_left = job->counts[job->n_done];
    }
    before = job->n_left;
    NLM_TRY(nlm_embedding_run(job->current, most, &left, err));
    job->n_left = left;
    *out_used = before - left;
    if (left > 0) return NLM_OK;
    close_current(job);
    job->id_at += job->counts[job->n_done++];
    return NLM_OK;
}

/* Where prompts are computed too, half of the room is theirs. */
static uint32_t share_of(const scheduler *s, uint32_t room) {
    for (uint32_t i = 0; i < s->options.slots; i++) {
        const sequence *seq = s->slots[i].user;
        if (seq && seq->state == SEQUENCE_PREFILLS) return room > 1 ? room / 2 : 1;
    }
    return room;
}

uint32_t scheduler_run_embed(scheduler *s, uint32_t room) {
    uint64_t used = 0;
    pthread_mutex_lock(&s->mutex);
    embed_job *job = s->embeds;
    pthread_mutex_unlock(&s->mutex);
    if (!job) return room;
    job->status = go_on(s, job, share_of(s, room), &used, &job->error);
    const bool is_over = job->status != NLM_OK || job->n_done == job->n;
    if (is_over) close_current(job); /* its session is the next one's */
    if (is_over || !job->current) move_first(s, is_over);
    return used < room ? room - (uint32_t)used : 1;
}
