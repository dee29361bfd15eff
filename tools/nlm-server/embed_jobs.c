/* Embeddings between the scheduler's steps. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "nlm-server/scheduler_internal.h"

void embed_job_destroy(embed_job *job) {
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

/* The first job is done: it goes to the client. */
static void hand_over(scheduler *s, embed_job *job) {
    const uint64_t one = 1;
    pthread_mutex_lock(&s->mutex);
    s->embeds = job->next;
    if (!s->embeds) s->embeds_last = &s->embeds;
    s->n_embeds--;
    s->stats.embedded += job->n_done;
    job->next = NULL;
    *s->done_embeds_last = job;
    s->done_embeds_last = &job->next;
    if (!s->is_woken) s->is_woken = write(s->event_fd, &one, sizeof one) == sizeof one;
    pthread_mutex_unlock(&s->mutex);
}

void scheduler_run_embed(scheduler *s) {
    pthread_mutex_lock(&s->mutex);
    embed_job *job = s->embeds;
    pthread_mutex_unlock(&s->mutex);
    if (!job) return;
    const int32_t *ids = job->ids + job->id_at;
    if (atomic_load(&job->is_cancelled)) {
        job->status = nlm_fail(&job->error, NLM_CANCELLED, "embeddings", "nobody waits for them");
    } else {
        job->status = nlm_embed(s->model, &ids, &job->counts[job->n_done], 1, &job->options,
                                job->rows + job->n_done * s->n_embd, &job->error);
    }
    if (job->status == NLM_OK) job->id_at += job->counts[job->n_done++];
    if (job->status != NLM_OK || job->n_done == job->n) hand_over(s, job);
}
