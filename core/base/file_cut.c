/* Mapped files that are cut while they are in use. */
#include "base/file_cut.h"

#include "base/status.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_WATCHED 1024 /* files at once: the largest models are some hundred */

/* The handler reads `from`, `to` and sets has_fault, whatever holds the mutex; all else is the mutex's. */
static struct watched {
    atomic_uintptr_t from, to; /* its pages; both 0: free */
    atomic_bool has_fault;
    size_t size;
    int fd;
    char *path; /* or NULL */
} watched[MAX_WATCHED];

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static nlm_error first_fault = NLM_ERROR_INIT; /* of a file that is watched no more */
static bool has_first_fault;
static struct sigaction before;
static uintptr_t page_bytes;

/* ---- the signal --------------------------------------------------------------------------- */

/* Puts zeros in place of what is gone, which is all from this page on; mmap is a system call and nothing more. */
static bool is_replaced(struct watched *file, uintptr_t at) {
    const uintptr_t from = atomic_load(&file->from), to = atomic_load(&file->to);
    if (at < from || at >= to) return false;
    const uintptr_t page = at & ~(page_bytes - 1);
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
    if (mmap((void *)page, to - page, PROT_READ, flags, -1, 0) == MAP_FAILED) return false;
    atomic_store(&file->has_fault, true);
    return true;
}

static void on_fault(int number, siginfo_t *info, void *context) {
    (void)context;
    const int kept = errno;
    const bool is_read = info->si_code == BUS_ADRERR; /* else a process or broken memory has sent it */
    bool is_ours = false;
    for (size_t i = 0; is_read && !is_ours && i < MAX_WATCHED; i++) {
        is_ours = is_replaced(&watched[i], (uintptr_t)info->si_addr);
    }
    if (!is_ours) {
        /* The instruction faults again, or what was sent is sent again, for whoever was there before. */
        sigaction(number, &before, NULL);
        if (info->si_code <= 0) raise(number);
    }
    errno = kept;
}

void nlm_file_cut_guard(void) {
    if (page_bytes) return;
    page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = (int)(SA_SIGINFO | SA_ONSTACK | SA_RESTART)};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &before);
}

/* ---- what is watched ---------------------------------------------------------------------- */

uint32_t nlm_file_cut_watch(const void *data, size_t size, int fd, const char *path) {
    uint32_t at = 0;
    pthread_mutex_lock(&mutex);
    while (at < MAX_WATCHED && atomic_load(&watched[at].to) != 0) at++;
    if (at < MAX_WATCHED) {
        struct watched *file = &watched[at];
        file->size = size;
        file->fd = fd;
        file->path = strdup(path);
        atomic_store(&file->has_fault, false);
        atomic_store(&file->from, (uintptr_t)data);
        atomic_store(&file->to, (uintptr_t)data + size);
    }
    pthread_mutex_unlock(&mutex);
    return at < MAX_WATCHED ? at + 1 : 0;
}

static nlm_status fail_watched(const struct watched *file, nlm_error *err) {
    return nlm_file_cut_fail(file->path ? file->path : "a file", file->size, file->fd, err);
}

void nlm_file_cut_unwatch(uint32_t watch) {
    if (watch == 0) return;
    struct watched *file = &watched[watch - 1];
    pthread_mutex_lock(&mutex);
    if (atomic_load(&file->has_fault) && !has_first_fault) {
        has_first_fault = true;
        (void)fail_watched(file, &first_fault);
    }
    free(file->path);
    file->path = NULL;
    atomic_store(&file->from, 0);
    atomic_store(&file->to, 0);
    pthread_mutex_unlock(&mutex);
}

bool nlm_file_cut_has_fault(uint32_t watch) {
    return watch > 0 && atomic_load(&watched[watch - 1].has_fault);
}

/* ---- what has happened -------------------------------------------------------------------- */

nlm_status nlm_file_cut_fail(const char *path, size_t size, int fd, nlm_error *err) {
    struct stat now;
    if (fstat(fd, &now) == 0 && (uint64_t)now.st_size < size) {
        return nlm_fail(err, NLM_IO, path,
                        "'%s' was cut from %zu bytes to %lld while it was in use; " NLM_FILE_CUT_ADVICE, path, size,
                        (long long)now.st_size);
    }
    return nlm_fail(err, NLM_IO, path,
                    "a part of '%s' was gone while it was in use: it was cut and has grown again, or its disk does "
                    "not read it; " NLM_FILE_CUT_ADVICE,
                    path);
}

nlm_status nlm_file_cut_check_open(nlm_error *err) {
    nlm_status status = NLM_OK;
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; status == NLM_OK && i < MAX_WATCHED; i++) {
        const bool is_watched = atomic_load(&watched[i].to) != 0;
        if (is_watched && atomic_load(&watched[i].has_fault)) status = fail_watched(&watched[i], err);
    }
    pthread_mutex_unlock(&mutex);
    return status;
}

nlm_status nlm_file_cut_check(nlm_error *err) {
    pthread_mutex_lock(&mutex);
    const bool has_fault = has_first_fault;
    if (has_fault) nlm_error_give(err, &first_fault);
    pthread_mutex_unlock(&mutex);
    return has_fault ? NLM_IO : nlm_file_cut_check_open(err);
}

nlm_status nlm_file_cut_check_memory(const void *data, nlm_error *err) {
    const uintptr_t at = (uintptr_t)data;
    nlm_status status = NLM_OK;
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; status == NLM_OK && i < MAX_WATCHED; i++) {
        if (at < atomic_load(&watched[i].from) || at >= atomic_load(&watched[i].to)) continue;
        atomic_store(&watched[i].has_fault, true);
        status = fail_watched(&watched[i], err);
    }
    pthread_mutex_unlock(&mutex);
    return status;
}
