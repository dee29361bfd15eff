/* Runs one series of measurements in a child process. */
#include "nlm-bench/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/status.h"
#include "common/child.h"

const char *run_series_name(int series) {
    static const char *const names[] = {
#define RUN_NAME(NAME, name, per_repetition) name,
        RUN_SERIES(RUN_NAME)
#undef RUN_NAME
    };
    return names[series];
}

static size_t capacity_of(const settings *set, int series) {
    const size_t gen = (size_t)set->gen;
    const size_t per_repetition[] = {
#define RUN_CAPACITY(NAME, name, per_repetition) per_repetition,
        RUN_SERIES(RUN_CAPACITY)
#undef RUN_CAPACITY
    };
    return per_repetition[series] * (size_t)set->repeat;
}

static size_t result_bytes(const settings *set) {
    size_t values = 0;
    for (int i = 0; i < RUN_N_SERIES; i++) values += capacity_of(set, i);
    return sizeof(run_result) + values * sizeof(double);
}

/* Shared with the child; the samples follow the struct. */
static run_result *result_create(const settings *set, nlm_error *err) {
    const size_t bytes = result_bytes(set);
    run_result *result = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (result == MAP_FAILED) {
        nlm_fail_errno(err, NLM_OUT_OF_MEMORY, "nlm-bench", "no memory for %zu bytes of samples", bytes);
        return NULL;
    }
    double *values = (double *)(void *)(result + 1);
    for (int i = 0; i < RUN_N_SERIES; i++) {
        result->series[i] = (samples){.values = values, .capacity = capacity_of(set, i)};
        values += result->series[i].capacity;
    }
    return result;
}

void run_free(const settings *set, run_result *result) {
    if (result) munmap(result, result_bytes(set));
}

/* The status of a child that did not say it itself. */
static void take_end(run_result *result, pid_t child) {
    int end = 0;
    while (waitpid(child, &end, 0) < 0) {}
    if (WIFEXITED(end) && WEXITSTATUS(end) == 0) return;
    if (result->status != NLM_OK) return;
    result->error = (nlm_error)NLM_ERROR_INIT;
    result->status =
        WIFSIGNALED(end)
            ? nlm_fail(&result->error, NLM_INTERNAL, "nlm-bench", "the run was ended by signal %d (%s)",
                       WTERMSIG(end), strsignal(WTERMSIG(end)))
            : nlm_fail(&result->error, NLM_INTERNAL, "nlm-bench", "the run exited with %d", WEXITSTATUS(end));
}

run_result *run_in_child(const settings *set, uint32_t threads, nlm_error *err) {
    run_result *result = result_create(set, err);
    if (!result) return NULL;
    fflush(NULL); /* else the child would write it again */
    const pid_t child = nlm_fork();
    if (child == 0) {
        result->error = (nlm_error)NLM_ERROR_INIT;
        result->status = run_measure(set, threads, result, &result->error);
        exit(0);
    }
    if (child > 0) {
        take_end(result, child);
        return result;
    }
    nlm_fail_errno(err, NLM_INTERNAL, "nlm-bench", "fork");
    run_free(set, result);
    return NULL;
}
