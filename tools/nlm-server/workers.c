/* A queue to the threads, in turns, and one back. */
#include "nlm-server/workers.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/status.h"

/* All but one of the threads may be at work that takes long. */
#define N_THREADS 3

typedef struct finished_work {
    work *first, **last;
} finished_work;

struct workers {
    pthread_t threads[N_THREADS];
    size_t n_threads;
    int event_fd;
    struct event *event;
    bool has_mutex;

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t came;
    work_queue waiting;
    finished_work finished;
    size_t n_long; /* of the threads are at such */
    bool is_stopping;
};

static void append(finished_work *finished, work *w) {
    w->next = NULL;
    *finished->last = w;
    finished->last = &w->next;
}

static work *take_first(finished_work *finished) {
    work *w = finished->first;
    if (!w) return NULL;
    finished->first = w->next;
    if (!finished->first) finished->last = &finished->first;
    return w;
}

static void *run(void *user) {
    workers *all = user;
    const uint64_t one = 1;
    pthread_mutex_lock(&all->mutex);
    while (!all->is_stopping) {
        work *w = work_queue_take(&all->waiting, all->n_long < N_THREADS - 1);
        if (!w) {
            pthread_cond_wait(&all->came, &all->mutex);
            continue;
        }
        const bool is_long = w->is_long;
        all->n_long += is_long;
        pthread_mutex_unlock(&all->mutex);
        w->run(w);
        pthread_mutex_lock(&all->mutex);
        all->n_long -= is_long;
        append(&all->finished, w);
        if (write(all->event_fd, &one, sizeof one) != sizeof one) continue; /* full of such: it is readable */
    }
    pthread_mutex_unlock(&all->mutex);
    return NULL;
}

static void tell_finished(workers *all) {
    for (;;) {
        pthread_mutex_lock(&all->mutex);
        work *w = take_first(&all->finished);
        pthread_mutex_unlock(&all->mutex);
        if (!w) return;
        w->done(w);
    }
}

static void on_finished(evutil_socket_t fd, short what, void *user) {
    uint64_t count;
    (void)what;
    if (read(fd, &count, sizeof count) < 0 && errno != EAGAIN) return;
    tell_finished(user);
}

static nlm_status open_all(workers *all, struct event_base *base, nlm_error *err) {
    all->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (all->event_fd < 0) return nlm_fail_errno(err, NLM_IO, "workers", "no eventfd");
    all->event = event_new(base, all->event_fd, EV_READ | EV_PERSIST, on_finished, all);
    if (!all->event || event_add(all->event, NULL) != 0) return nlm_fail(err, NLM_IO, "workers", "no event");
    if (pthread_mutex_init(&all->mutex, NULL) != 0) return nlm_fail(err, NLM_IO, "workers", "no mutex");
    if (pthread_cond_init(&all->came, NULL) != 0) {
        pthread_mutex_destroy(&all->mutex);
        return nlm_fail(err, NLM_IO, "workers", "no condition");
    }
    all->has_mutex = true;
    for (; all->n_threads < N_THREADS; all->n_threads++) {
        errno = pthread_create(&all->threads[all->n_threads], NULL, run, all);
        if (errno != 0) return nlm_fail_errno(err, NLM_IO, "workers", "no thread");
    }
    return NLM_OK;
}

nlm_status workers_create(struct event_base *base, workers **out, nlm_error *err) {
    workers *all = calloc(1, sizeof *all);
    *out = NULL;
    if (!all) return nlm_fail(err, NLM_OUT_OF_MEMORY, "workers", "no memory");
    all->event_fd = -1;
    all->finished.last = &all->finished.first;
    const nlm_status status = open_all(all, base, err);
    if (status == NLM_OK)
        *out = all;
    else
        workers_destroy(all);
    return status;
}

void workers_add(workers *all, work *w) {
    pthread_mutex_lock(&all->mutex);
    work_queue_add(&all->waiting, w);
    pthread_cond_signal(&all->came);
    pthread_mutex_unlock(&all->mutex);
}

void workers_destroy(workers *all) {
    if (!all) return;
    if (all->has_mutex) {
        pthread_mutex_lock(&all->mutex);
        all->is_stopping = true;
        pthread_cond_broadcast(&all->came);
        pthread_mutex_unlock(&all->mutex);
    }
    for (size_t i = 0; i < all->n_threads; i++) pthread_join(all->threads[i], NULL);
    if (all->has_mutex) {
        tell_finished(all);
        for (work *w; (w = work_queue_take(&all->waiting, true));) { /* also what `done` has added */
            w->run(w);
            w->done(w);
        }
        pthread_cond_destroy(&all->came);
        pthread_mutex_destroy(&all->mutex);
    }
    if (all->event) event_free(all->event);
    if (all->event_fd >= 0) close(all->event_fd);
    free(all);
}
