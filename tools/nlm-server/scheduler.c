/* The scheduler's thread, and the queues to and from it. */
#include "nlm-server/scheduler_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/status.h"

#define DEFAULT_STEP_TOKENS 256
#define DEFAULT_MAX_QUEUE   256

const double histogram_bounds[HISTOGRAM_BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                    0.25,  0.5,    1,     2.5,  5,     10,   30};

void histogram_add(histogram *h, double seconds) {
    size_t i = 0;
    while (i < HISTOGRAM_BUCKETS && seconds > histogram_bounds[i]) i++;
    h->counts[i]++;
    h->count++;
    h->sum += seconds;
}

/* ---- events ------------------------------------------------------------------------------------ */

/* With the mutex held. */
static void wake_client(scheduler *s) {
    if (s->is_woken) return;
    s->is_woken = true;
    const uint64_t one = 1;
    if (write(s->event_fd, &one, sizeof one) != sizeof one) s->is_woken = false; /* cannot be full: it holds 1 */
}

void scheduler_post(scheduler *s, task_event *event) {
    if (!event) return;
    task *owner = event->owner;
    pthread_mutex_lock(&s->mutex);
    if (event->kind != TASK_TEXT) event->is_last = --owner->n_open == 0;
    event->next = NULL;
    *s->events_last = event;
    s->events_last = &event->next;
    wake_client(s);
    pthread_mutex_unlock(&s->mutex);
}

void scheduler_end(scheduler *s, sequence *seq, const nlm_error *failure) {
    const bool was_cancelled = seq->ended_by == NLM_ENDED_BY_CANCEL || (failure && failure->code == NLM_CANCELLED);
    for (uint32_t i = 0; i < s->options.slots; i++) {
        if (s->slots[i].user != seq) continue;
        s->slots[i].user = NULL;
        s->slots[i].last_used = ++s->clock;
    }
    seq->state = SEQUENCE_IS_DONE;
    seq->session = NULL;
    if (seq->index == 0) seq->owner->is_prefilled = true;
    pthread_mutex_lock(&s->mutex);
    s->stats.failed += failure && !was_cancelled;
    s->stats.cancelled += was_cancelled;
    pthread_mutex_unlock(&s->mutex);
    scheduler_post(s, sequence_event(seq, failure));
}

static void tell_job(slot_job *job) {
    job->fn(job->user, job->status, job->n_tokens, job->message);
    free(job->path);
    free(job);
}

static void tell_embeds(embed_job *first) {
    for (embed_job *job = first, *next; job; job = next) {
        next = job->next;
        job->fn(job->user, job->status, job->status == NLM_OK ? job->rows : NULL, job->error.msg);
        embed_job_destroy(job);
    }
}

void scheduler_dispatch(scheduler *s) {
    uint64_t count;
    if (read(s->event_fd, &count, sizeof count) < 0 && errno != EAGAIN) return;
    pthread_mutex_lock(&s->mutex);
    task_event *events = s->events;
    slot_job *jobs = s->done_jobs;
    embed_job *embeds = s->done_embeds;
    s->done_embeds = NULL;
    s->done_embeds_last = &s->done_embeds;
    s->events = NULL;
    s->events_last = &s->events;
    s->done_jobs = NULL;
    s->done_jobs_last = &s->done_jobs;
    s->is_woken = false;
    pthread_mutex_unlock(&s->mutex);
    for (task_event *event = events, *next; event; event = next) {
        next = event->next;
        task *owner = event->owner;
        if (owner->fn) owner->fn(owner->user, event);
        if (event->is_last) task_destroy(owner);
        task_event_destroy(event);
    }
    for (slot_job *job = jobs, *next; job; job = next) {
        next = job->next;
        tell_job(job);
    }
    tell_embeds(embeds);
}

int scheduler_fd(const scheduler *s) {
    return s->event_fd;
}

/* ---- the thread -------------------------------------------------------------------------------- */

static void take_submitted(scheduler *s, task *first) {
    for (task *t = first, *next; t; t = next) {
        next = t->next;
        for (uint32_t i = 0; i < t->request.n; i++) {
            *s->waiting_last = &t->sequences[i];
            s->waiting_last = &t->sequences[i].next;
        }
    }
}

static double age(const sequence *seq) {
    return (double)(nlm_clock_ns() - seq->owner->submitted_ns) * 1e-9;
}

/* Is it over before its next step? Then *err says why, or seq->ended_by. */
static bool is_over(const scheduler *s, sequence *seq, nlm_error *err) {
    const generation_request *request = &seq->owner->request;
    if (atomic_load(&seq->owner->is_cancelled)) {
        seq->ended_by = NLM_ENDED_BY_CANCEL;
        return true;
    }
    const bool waits = seq->state == SEQUENCE_WAITS && !seq->owner->has_begun;
    if (waits && s->options.queue_seconds > 0 && age(seq) > s->options.queue_seconds) {
        nlm_fail(err, NLM_LIMIT, "queue", "no slot became free within %g seconds", s->options.queue_seconds);
        return true;
    }
    if (request->seconds <= 0 || age(seq) <= request->seconds) return false;
    if (seq->n_generated > 0)
        seq->ended_by = TASK_ENDED_BY_DEADLINE;
    else
        nlm_fail(err, NLM_LIMIT, "deadline", "the %g seconds of the request have passed", request->seconds);
    return true;
}

static void dequeue(scheduler *s, uint32_t n) {
    pthread_mutex_lock(&s->mutex);
    s->n_queued -= n;
    pthread_mutex_unlock(&s->mutex);
}

static void end_what_is_over(scheduler *s) {
    for (uint32_t i = 0; i < s->options.slots; i++) {
        nlm_error err = NLM_ERROR_INIT;
        sequence *seq = s->slots[i].user;
        if (seq && is_over(s, seq, &err)) scheduler_end(s, seq, err.code ? &err : NULL);
    }
    for (sequence **link = &s->waiting; *link;) {
        nlm_error err = NLM_ERROR_INIT;
        sequence *seq = *link;
        if (!is_over(s, seq, &err)) {
            link = &seq->next;
            continue;
        }
        *link = seq->next;
        dequeue(s, 1);
        scheduler_end(s, seq, err.code ? &err : NULL);
    }
    s->waiting_last = &s->waiting;
    while (*s->waiting_last) s->waiting_last = &(*s->waiting_last)->next;
}

/* Into the slot: what its session holds of the prompt stays. */
static nlm_status start(slot *at, sequence *seq, const nlm_model *model, nlm_error *err) {
    size_t n_held = 0;
    const generation_request *request = &seq->owner->request;
    NLM_TRY(sequence_open(seq, model, err));
    const int32_t *held = nlm_session_tokens(at->session, &n_held);
    const bool begins = n_held < request->n_ids && memcmp(held, request->ids, n_held * sizeof *held) == 0;
    if (!begins) NLM_TRY(nlm_session_reset(at->session, err));
    nlm_metrics metrics = {.struct_size = sizeof metrics};
    NLM_TRY(nlm_session_metrics(at->session, &metrics, err));
    seq->session = at->session;
    seq->n_cached_before = metrics.cached_tokens;
    seq->n_held = seq->n_cached = begins ? n_held : 0;
    seq->state = SEQUENCE_PREFILLS;
    return NLM_OK;
}

static void admit(scheduler *s) {
    while (s->waiting) {
        bool has_idle = false;
        for (uint32_t i = 0; i < s->options.slots; i++) has_idle |= !s->slots[i].user;
        sequence *seq = has_idle ? scheduler_next_waiting(s) : NULL;
        if (!seq) return;
        slot *at = scheduler_find_slot(s, seq);
        nlm_error err = NLM_ERROR_INIT;
        at->user = seq;
        seq->owner->has_begun = true;
        const nlm_status status = start(at, seq, s->model, &err);
        pthread_mutex_lock(&s->mutex);
        s->n_queued--;
        s->stats.cached_tokens += seq->n_cached;
        histogram_add(&s->stats.queue_time, age(seq));
        pthread_mutex_unlock(&s->mutex);
        if (status != NLM_OK) scheduler_end(s, seq, &err);
    }
}

static void show_slots(scheduler *s) {
    pthread_mutex_lock(&s->mutex);
    s->stats.running = 0;
    for (uint32_t i = 0; i < s->options.slots; i++) {
        const sequence *seq = s->slots[i].user;
        size_t n = 0;
        nlm_session_tokens(s->slots[i].session, &n);
        s->shown[i] = (slot_info){.is_busy = seq != NULL, .n_tokens = n};
        if (!seq) continue;
        s->stats.running++;
        s->shown[i].n_prompt = seq->owner->request.n_ids;
        s->shown[i].n_generated = seq->n_generated;
    }
    pthread_mutex_unlock(&s->mutex);
}

/* Waits until there is something to do; false: it is over. */
static bool take_work(scheduler *s, bool is_idle) {
    pthread_mutex_lock(&s->mutex);
    while (is_idle && !s->submitted && !s->jobs && !s->embeds && !s->is_stopping)
        pthread_cond_wait(&s->came, &s->mutex);
    task *submitted = s->submitted;
    slot_job *jobs = s->jobs;
    const bool is_over = s->is_stopping;
    s->submitted = NULL;
    s->submitted_last = &s->submitted;
    s->jobs = NULL;
    s->jobs_last = &s->jobs;
    pthread_mutex_unlock(&s->mutex);
    take_submitted(s, submitted);
    for (slot_job *job = jobs, *next; job; job = next) {
        next = job->next;
        scheduler_run_job(s, job);
    }
    return !is_over;
}

static void *run(void *user) {
    scheduler *s = user;
    bool is_idle = true;
    while (take_work(s, is_idle)) {
        end_what_is_over(s);
        admit(s);
        const uint32_t room = scheduler_run_embed(s, scheduler_room(s));
        is_idle = !scheduler_step(s, room) && !s->waiting;
        show_slots(s);
    }
    /* Tasks that are left are the destroyer's to free: all of them get their last event. */
    for (uint32_t i = 0; i < s->options.slots; i++) {
        if (s->slots[i].user) atomic_store(&s->slots[i].user->owner->is_cancelled, true);
    }
    for (sequence *seq = s->waiting; seq; seq = seq->next) atomic_store(&seq->owner->is_cancelled, true);
    end_what_is_over(s);
    return NULL;
}

/* ---- making and ending it ----------------------------------------------------------------------- */

static void *take_array(size_t count, size_t size, bool *has_failed) {
    void *items = calloc(count, size);
    if (!items) *has_failed = true;
    return items;
}

static nlm_status allocate(scheduler *s, nlm_error *err) {
    const uint32_t n = s->options.slots;
    bool has_failed = false;
    s->slots = take_array(n, sizeof *s->slots, &has_failed);
    s->shown = take_array(n, sizeof *s->shown, &has_failed);
    s->items = take_array(n, sizeof *s->items, &has_failed);
    s->errors = take_array(n, sizeof *s->errors, &has_failed);
    s->stepped = take_array(n, sizeof(slot *), &has_failed);
    s->tops = take_array((size_t)n * TASK_TOP_MAX, sizeof *s->tops, &has_failed);
    if (has_failed) return nlm_fail(err, NLM_OUT_OF_MEMORY, "scheduler", "no memory for %u slots", n);
    return NLM_OK;
}

static nlm_status open_thread(scheduler *s, nlm_error *err) {
    s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->event_fd < 0) return nlm_fail_errno(err, NLM_IO, "scheduler", "no eventfd");
    if (pthread_mutex_init(&s->mutex, NULL) != 0 || pthread_cond_init(&s->came, NULL) != 0) {
        return nlm_fail(err, NLM_IO, "scheduler", "no mutex");
    }
    s->has_mutex = true;
    errno = pthread_create(&s->thread, NULL, run, s);
    if (errno != 0) return nlm_fail_errno(err, NLM_IO, "scheduler", "no thread");
    s->has_thread = true;
    return NLM_OK;
}

static nlm_status open_all(scheduler *s, nlm_error *err) {
    nlm_model_info info = {.struct_size = sizeof info};
    NLM_TRY(nlm_model_describe(s->model, &info, err));
    s->context = info.context_length;
    s->n_embd = (size_t)info.n_embd;
    NLM_TRY(allocate(s, err));
    for (uint32_t i = 0; i < s->options.slots; i++) NLM_TRY(nlm_session_create(s->model, &s->slots[i].session, err));
    return open_thread(s, err);
}

nlm_status scheduler_create(nlm_model *model, const scheduler_options *options, scheduler **out, nlm_error *err) {
    scheduler *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return nlm_fail(err, NLM_OUT_OF_MEMORY, "scheduler", "no memory");
    s->model = model;
    s->options = *options;
    if (s->options.slots == 0) s->options.slots = 1;
    if (s->options.step_tokens == 0) s->options.step_tokens = DEFAULT_STEP_TOKENS;
    if (s->options.max_queue == 0) s->options.max_queue = DEFAULT_MAX_QUEUE;
    s->event_fd = -1;
    s->stats.slots = s->options.slots;
    s->submitted_last = &s->submitted;
    s->jobs_last = &s->jobs;
    s->events_last = &s->events;
    s->done_jobs_last = &s->done_jobs;
    s->embeds_last = &s->embeds;
    s->done_embeds_last = &s->done_embeds;
    s->waiting_last = &s->waiting;
    const nlm_status status = open_all(s, err);
    if (status == NLM_OK)
        *out = s;
    else
        scheduler_destroy(s);
    return status;
}

static void forget_all(scheduler *s) {
    for (task_event *event = s->events, *next; event; event = next) {
        next = event->next;
        if (event->is_last) task_destroy(event->owner);
        task_event_destroy(event);
    }
    for (task *t = s->submitted, *next; t; t = next) {
        next = t->next;
        task_destroy(t);
    }
    for (embed_job *job = s->embeds; job; job = job->next) job->status = NLM_CANCELLED;
    tell_embeds(s->embeds);
    tell_embeds(s->done_embeds);
    slot_job *lists[] = {s->jobs, s->done_jobs};
    for (size_t i = 0; i < 2; i++) {
        for (slot_job *job = lists[i], *next; job; job = next) {
            next = job->next;
            job->status = NLM_CANCELLED;
            tell_job(job);
        }
    }
}

void scheduler_destroy(scheduler *s) {
    if (!s) return;
    if (s->has_thread) {
        pthread_mutex_lock(&s->mutex);
        s->is_stopping = true;
        pthread_cond_signal(&s->came);
        pthread_mutex_unlock(&s->mutex);
        pthread_join(s->thread, NULL);
    }
    forget_all(s);
    for (uint32_t i = 0; s->slots && i < s->options.slots; i++) nlm_session_destroy(s->slots[i].session);
    if (s->has_mutex) {
        pthread_cond_destroy(&s->came);
        pthread_mutex_destroy(&s->mutex);
    }
    if (s->event_fd >= 0) close(s->event_fd);
    free(s->slots);
    free(s->shown);
    free(s->items);
    free(s->errors);
    free(s->stepped);
    free(s->tops);
    free(s);
}

/* ---- requests ------------------------------------------------------------------------------------ */

static nlm_status check_request(const scheduler *s, const generation_request *request, nlm_error *err) {
    if (request->n_ids == 0) return nlm_fail(err, NLM_INVALID_ARGUMENT, "prompt", "the prompt has no token");
    if (request->n_ids >= s->context) {
        nlm_fail(err, NLM_INVALID_ARGUMENT, "prompt",
                 "the prompt has %zu tokens, and the context of %u has to hold it and at least one more",
                 request->n_ids, s->context);
        err->native_code = TASK_TOO_LONG;
        return NLM_INVALID_ARGUMENT;
    }
    if (request->n == 0) return nlm_fail(err, NLM_INVALID_ARGUMENT, "n", "at least one text has to be asked for");
    if (request->n_top <= TASK_TOP_MAX) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "logprobs",
                    "%d of the likeliest tokens are asked for, at most %d are told", request->n_top, TASK_TOP_MAX);
}

nlm_status scheduler_submit(scheduler *s, const generation_request *request, task_event_fn fn, void *user, task **out,
                            nlm_error *err) {
    *out = NULL;
    const nlm_status checked = check_request(s, request, err);
    if (checked != NLM_OK && request->release) request->release(request->release_user);
    if (checked != NLM_OK) return checked;
    task *t = task_create(request, fn, user);
    if (!t) return nlm_fail(err, NLM_OUT_OF_MEMORY, "queue", "no memory for the request");
    nlm_status status = NLM_OK;
    pthread_mutex_lock(&s->mutex);
    if (s->n_queued + request->n > s->options.max_queue) {
        status = nlm_fail(err, NLM_LIMIT, "queue", "%u texts wait already, at most %u may", s->n_queued,
                          s->options.max_queue);
        s->stats.refused++;
    } else {
        s->n_queued += request->n;
        s->stats.tasks++;
        *s->submitted_last = t;
        s->submitted_last = &t->next;
        pthread_cond_signal(&s->came);
    }
    pthread_mutex_unlock(&s->mutex);
    if (status == NLM_OK)
        *out = t;
    else
        task_destroy(t);
    return status;
}

void scheduler_cancel(scheduler *s, task *t) {
    (void)s;
    t->fn = NULL;
    atomic_store(&t->is_cancelled, true);
}

void scheduler_get_stats(scheduler *s, scheduler_stats *out) {
    pthread_mutex_lock(&s->mutex);
    *out = s->stats;
    out->queued = s->n_queued;
    pthread_mutex_unlock(&s->mutex);
}
