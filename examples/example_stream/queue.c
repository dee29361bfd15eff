/* Streams: a queue each, and a thread that works it off. Errors of work stay with its stream until a sync tells them.
 */
#include "device.h"

#include <signal.h>
#include <stdlib.h>

/* ---- work ---------------------------------------------------------------------------------- */

work *work_create(work_kind kind, nlm_error *error) {
    work *w = calloc(1, sizeof *w);
    if (w) {
        w->kind = kind;
    } else {
        nlm_kit_fail(error, NLM_OUT_OF_MEMORY, "enqueue", "no memory for a piece of work");
    }
    return w;
}

nlm_status enqueue(stream *s, work *w) {
    device *d = s->device;
    pthread_mutex_lock(&d->mutex);
    w->number = ++d->n_given;
    *s->last = w;
    s->last = &w->next;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->mutex);
    return NLM_OK;
}

static void let_go(mark *m) {
    if (m && --m->holders == 0) free(m);
}

static nlm_status run(work *w, nlm_error *error) {
    if (w->kind == WORK_OP) return run_op(w, error);
    if (w->kind == WORK_MOVE) memmove(w->to, w->from, w->bytes);
    return NLM_OK;
}

/* The work is done: the stream goes on behind it. With the mutex held. */
static void finish(stream *s, work *w, nlm_status status, const nlm_error *error) {
    if (status != NLM_OK && s->error.code == NLM_OK) s->error = *error;
    if (w->kind == WORK_RECORD) w->mark->is_done = true;
    let_go(w->mark);
    s->first = w->next;
    if (!s->first) s->last = &s->first;
    free(w);
    release_freed(s->device);
    pthread_cond_broadcast(&s->device->changed);
}

static bool can_go_on(const stream *s) {
    if (!s->first) return s->is_ending;
    return s->first->kind != WORK_WAIT || s->first->mark->is_done;
}

static void *work_off(void *user) {
    stream *s = user;
    pthread_mutex_t *mutex = &s->device->mutex;
    pthread_mutex_lock(mutex);
    for (;;) {
        while (!can_go_on(s)) pthread_cond_wait(&s->device->changed, mutex);
        if (!s->first) break;
        work *w = s->first;
        nlm_error error = NLM_ERROR_INIT;
        pthread_mutex_unlock(mutex);
        const nlm_status status = run(w, &error);
        pthread_mutex_lock(mutex);
        finish(s, w, status, &error);
    }
    pthread_mutex_unlock(mutex);
    return NULL;
}

/* ---- streams ------------------------------------------------------------------------------- */

/* The host's signals are for its own threads; faults must reach the one that made them. */
static int start_thread(stream *s) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    const int result = pthread_create(&s->thread, NULL, work_off, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

nlm_status stream_create(void *self, void **out_stream, nlm_error *error) {
    device *d = self;
    stream *s = calloc(1, sizeof *s);
    if (!s) return nlm_kit_fail(error, NLM_OUT_OF_MEMORY, "stream_create", "no memory");
    s->device = d;
    s->last = &s->first;
    s->error = (nlm_error)NLM_ERROR_INIT;
    if (start_thread(s) != 0) {
        free(s);
        return nlm_kit_fail(error, NLM_OUT_OF_MEMORY, "stream_create", "no thread can be started");
    }
    pthread_mutex_lock(&d->mutex);
    s->next = d->streams;
    d->streams = s;
    pthread_mutex_unlock(&d->mutex);
    *out_stream = s;
    return NLM_OK;
}

void stream_destroy(void *self, void *destroyed) {
    device *d = self;
    stream *s = destroyed, **link = &d->streams;
    pthread_mutex_lock(&d->mutex);
    s->is_ending = true; /* once its work is done */
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->mutex);
    pthread_join(s->thread, NULL);
    pthread_mutex_lock(&d->mutex);
    while (*link != s) link = &(*link)->next;
    *link = s->next;
    pthread_mutex_unlock(&d->mutex);
    free(s);
}

/* Tells the error of a stream, once. With the mutex held. */
static nlm_status take_error(stream *s, nlm_error *error) {
    const nlm_status status = s->error.code;
    if (status != NLM_OK) nlm_kit_fail(error, status, s->error.where, "%s", s->error.msg);
    s->error = (nlm_error)NLM_ERROR_INIT;
    return status;
}

nlm_status stream_sync(void *self, void *waited, nlm_error *error) {
    device *d = self;
    nlm_status status = NLM_OK;
    pthread_mutex_lock(&d->mutex);
    for (stream *s = d->streams; s; s = s->next) {
        if (waited && s != waited) continue;
        while (s->first) pthread_cond_wait(&d->changed, &d->mutex);
        const nlm_status told = take_error(s, status == NLM_OK ? error : NULL);
        if (status == NLM_OK) status = told;
    }
    pthread_mutex_unlock(&d->mutex);
    return status;
}

/* ---- events -------------------------------------------------------------------------------- */

typedef struct event {
    mark *latest; /* NULL: never recorded */
} event;

nlm_status event_create(void *self, uint32_t flags, void **out_event, nlm_error *error) {
    (void)self;
    (void)flags; /* it has no event_elapsed */
    *out_event = calloc(1, sizeof(event));
    return *out_event ? NLM_OK : nlm_kit_fail(error, NLM_OUT_OF_MEMORY, "event_create", "no memory");
}

void event_destroy(void *self, void *destroyed) {
    device *d = self;
    event *e = destroyed;
    pthread_mutex_lock(&d->mutex);
    let_go(e->latest); /* who waits for it holds it too */
    pthread_mutex_unlock(&d->mutex);
    free(e);
}

nlm_status event_record(void *self, void *on, void *recorded, nlm_error *error) {
    device *d = self;
    event *e = recorded;
    work *w = work_create(WORK_RECORD, error);
    mark *m = calloc(1, sizeof *m);
    if (!w || !m) {
        free(w);
        free(m);
        return nlm_kit_fail(error, NLM_OUT_OF_MEMORY, "event_record", "no memory");
    }
    w->mark = m;
    m->holders = 2; /* the event, and the work */
    pthread_mutex_lock(&d->mutex);
    let_go(e->latest);
    e->latest = m;
    pthread_mutex_unlock(&d->mutex);
    return enqueue(on, w);
}

nlm_status event_wait(void *self, void *on, void *waited, nlm_error *error) {
    device *d = self;
    event *e = waited;
    if (!e->latest) return NLM_OK;
    work *w = work_create(WORK_WAIT, error);
    if (!w) return NLM_OUT_OF_MEMORY;
    pthread_mutex_lock(&d->mutex);
    w->mark = e->latest;
    w->mark->holders++;
    pthread_mutex_unlock(&d->mutex);
    return enqueue(on, w);
}
