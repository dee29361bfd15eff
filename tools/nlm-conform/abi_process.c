/* Rules on what a plugin does to the process it is in. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "abi.h"
#include "plugin/leftovers.h"
#include "plugin/watch.h"

static bool none_held(void *user, const abi_host *host, const char *step, conform_result *result) {
    (void)user;
    const uint64_t held = atomic_load(&host->held);
    if (strcmp(step, "close") != 0 || held == 0) return true;
    return conform_fail(result, "after close %llu allocations from the host are not released",
                        (unsigned long long)held);
}

void abi_rule_memory(const conform_options *options, conform_result *result) {
    const abi_watcher watcher = {.after = none_held};
    if (abi_walk(options, &watcher, result)) result->verdict = CONFORM_PASSED;
}

/* An open device may keep its driver's threads; what is not open may keep nothing. */
static bool nothing_left(void *user, const abi_host *host, const char *step, conform_result *result) {
    const nlm_leftovers *before = user;
    nlm_verdict verdict = {0};
    (void)host;
    if (strcmp(step, "loading it") != 0 && strcmp(step, "probe") != 0 && strcmp(step, "close") != 0) return true;
    return nlm_leftovers_check(before, step, &verdict) || conform_fail(result, "%s", verdict.reason);
}

void abi_rule_leftovers(const conform_options *options, conform_result *result) {
    nlm_leftovers before;
    const abi_watcher watcher = {.after = nothing_left, .user = &before};
    nlm_leftovers_start(&before);
    if (abi_walk(options, &watcher, result)) result->verdict = CONFORM_PASSED;
}

static bool nothing_changed(void *user, const abi_host *host, const char *step, conform_result *result) {
    const nlm_watch *before = user;
    nlm_verdict verdict = {0};
    (void)host;
    return nlm_watch_check(before, step, &verdict) || conform_fail(result, "%s", verdict.reason);
}

void abi_rule_process_state(const conform_options *options, conform_result *result) {
    nlm_watch before;
    const abi_watcher watcher = {.after = nothing_changed, .user = &before};
    nlm_watch_start(&before);
    if (abi_walk(options, &watcher, result)) result->verdict = CONFORM_PASSED;
}

bool abi_output_begin(abi_output *output, conform_result *result) {
    fflush(NULL);
    *output = (abi_output){memfd_create("plugin output", MFD_CLOEXEC), {dup(STDOUT_FILENO), dup(STDERR_FILENO)}};
    if (output->file >= 0 && dup2(output->file, STDOUT_FILENO) >= 0 && dup2(output->file, STDERR_FILENO) >= 0)
        return true;
    abi_output_end(output);
    return conform_fail(result, "cannot see what is printed");
}

bool abi_output_is_empty(const abi_output *output) {
    struct stat info;
    fflush(NULL);
    return fstat(output->file, &info) == 0 && info.st_size == 0;
}

void abi_output_end(abi_output *output) {
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        dup2(output->saved[i], i ? STDERR_FILENO : STDOUT_FILENO);
        close(output->saved[i]);
    }
    close(output->file);
}

static bool nothing_printed(void *user, const abi_host *host, const char *step, conform_result *result) {
    const abi_output *output = user;
    (void)host;
    if (abi_output_is_empty(output)) return true;
    return conform_fail(result, "%s prints to standard output or standard error; a plugin may only log", step);
}

void abi_rule_output(const conform_options *options, conform_result *result) {
    abi_output output;
    const abi_watcher watcher = {.after = nothing_printed, .user = &output};
    if (!abi_output_begin(&output, result)) return;
    if (abi_walk(options, &watcher, result)) result->verdict = CONFORM_PASSED;
    abi_output_end(&output);
}
