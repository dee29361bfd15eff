#include "plugin/loaded.h"

#include "base/clock.h"
#include "plugin/leftovers.h"
#include "plugin/vet_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_OUTPUT_BYTES (1u << 20)

/* Shared with the child. */
typedef struct report {
    volatile nlm_vet_stage stage;
    nlm_verdict verdict;
} report;

typedef struct job {
    const char *path;
    const char *expected_name;
    const nlm_host_v1 *host;
    report *report;
    bool has_ended_badly; /* the child crashed, left or was stopped */
    int done[2];          /* a pipe: the child's end closes when it is gone, whatever the reason */
} job;

static const char *stage_text(nlm_vet_stage stage) {
    switch (stage) {
        case NLM_VET_LOAD: return "being loaded";
        case NLM_VET_QUERY: return "in " NLM_PLUGIN_QUERY_SYMBOL;
        case NLM_VET_PROBE: return "in its probe";
        default: return "being unloaded";
    }
}

/* ---- the child ---------------------------------------------------------------------------- */

/* A crash must be a crash, not a visit to the host's handlers; nor leave a core file; nor outlive us. */
static void enter_child(void) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const struct sigaction standard = {.sa_handler = SIG_DFL};
    for (int i = 1; i < NSIG; i++) sigaction(i, &standard, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES});
}

/* Standard output and error go to a file in memory, so that what a plugin prints is seen. What the
 * host had not flushed goes there first. Returns the file, or -1. */
static int catch_output(void) {
    const int file = memfd_create("plugin output", MFD_CLOEXEC);
    if (file < 0) return -1;
    fflush(NULL);
    dup2(file, STDOUT_FILENO);
    dup2(file, STDERR_FILENO);
    return file;
}

static off_t output_size(int file) {
    struct stat info;
    return file >= 0 && fstat(file, &info) == 0 ? info.st_size : 0;
}

static void discard_log(void *self, int32_t level, const char *message) {
    (void)self;
    (void)level;
    (void)message;
}

static void run_child(const job *j) {
    enter_child();
    const int output = catch_output();
    nlm_vetted vetted;
    nlm_host_v1 host = *j->host;
    nlm_leftovers before;
    nlm_verdict *verdict = &j->report->verdict;
    host.log = discard_log; /* the plugin is asked again in this host, and heard then */
    nlm_leftovers_start(&before);
    const bool is_good = nlm_vet(j->path, j->expected_name, &host, &j->report->stage, &vetted, verdict) &&
                         nlm_leftovers_check(&before, "loading and probing it", verdict);
    fflush(NULL);
    if (is_good && output_size(output) > 0) {
        nlm_refuse(verdict, "it prints to standard output or standard error; it may only log");
    }
    const char byte = 'd';
    if (write(j->done[1], &byte, 1) != 1) _exit(1);
    _exit(0);
}

/* ---- the parent --------------------------------------------------------------------------- */

/* Waits for the child's byte; false when it ended without one or the time is over. */
static bool wait_for_byte(int fd, uint32_t timeout_ms, bool *out_is_late) {
    const uint64_t deadline = nlm_clock_ns() + (uint64_t)timeout_ms * 1000000u;
    for (;;) {
        const uint64_t now = nlm_clock_ns();
        *out_is_late = now >= deadline;
        if (*out_is_late) return false;
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        const int ready = poll(&waiting, 1, (int)((deadline - now) / 1000000u) + 1);
        if (ready <= 0) continue;
        char byte;
        const ssize_t got = read(fd, &byte, 1);
        if (got >= 0) return got == 1;
        if (errno != EINTR) return false;
    }
}

static bool judge_end(const job *j, bool is_late, uint32_t timeout_ms, int status, nlm_verdict *verdict) {
    const char *stage = stage_text(j->report->stage);
    if (is_late) {
        return nlm_refuse(verdict, "vetting it took longer than %u ms: it was stopped while %s", timeout_ms, stage);
    }
    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        return nlm_refuse(verdict, "it ended its process with SIG%s while %s", name ? name : "?", stage);
    }
    return nlm_refuse(verdict, "it ended its process with exit status %d while %s", WEXITSTATUS(status), stage);
}

static bool run_parent(job *j, pid_t child, uint32_t timeout_ms, nlm_verdict *verdict) {
    bool is_late;
    const bool is_done = wait_for_byte(j->done[0], timeout_ms, &is_late);
    /* Whatever it started goes too. Before the child's setpgid there is no group, so both. */
    if (is_late) kill(child, SIGKILL);
    kill(-child, SIGKILL);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    j->has_ended_badly = !is_done;
    if (!is_done) return judge_end(j, is_late, timeout_ms, status, verdict);
    if (j->report->verdict.state != NLM_ENTRY_REFUSED) return true;
    j->report->verdict.reason[sizeof j->report->verdict.reason - 1] = '\0';
    *verdict = j->report->verdict;
    return false;
}

static bool fork_and_vet(job *j, uint32_t timeout_ms, nlm_verdict *verdict) {
    if (pipe2(j->done, O_CLOEXEC) != 0) return nlm_refuse(verdict, "it cannot be vetted: %s", strerror(errno));
    const pid_t child = fork();
    if (child == 0) run_child(j);
    const int why = errno;
    close(j->done[1]);
    const bool is_good = child < 0 ? nlm_refuse(verdict, "it cannot be vetted: fork: %s", strerror(why))
                                   : run_parent(j, child, timeout_ms, verdict);
    close(j->done[0]);
    return is_good;
}

static bool vet_in_child(job *j, uint32_t timeout_ms, nlm_verdict *verdict) {
    j->report = mmap(NULL, sizeof *j->report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (j->report == MAP_FAILED) return nlm_refuse(verdict, "it cannot be vetted: %s", strerror(errno));
    const bool is_good = fork_and_vet(j, timeout_ms, verdict);
    munmap(j->report, sizeof *j->report);
    return is_good;
}

bool nlm_vet_in_child(const char *path, const char *expected_name, const nlm_host_v1 *host, uint32_t timeout_ms,
                      nlm_verdict *verdict) {
    job j = {.path = path, .expected_name = expected_name, .host = host};
    return vet_in_child(&j, timeout_ms, verdict);
}

/* Only what the code alone decides is kept: that it came back, or how it ended its process. An orderly
 * refusal may be for a dependency that is missing today, and costs little to find again. */
static void remember(const job *j, const nlm_vet_identity *before, bool is_good, const nlm_verdict *verdict) {
    nlm_vet_record record = {.identity = *before};
    nlm_vet_identity now;
    if (!is_good && !j->has_ended_badly) return;
    if (!nlm_vet_identify(j->path, &now) || memcmp(&now, before, sizeof now) != 0) return;
    if (!is_good) snprintf(record.reason, sizeof record.reason, "%.255s", verdict->reason);
    nlm_vet_cache_store(&record);
}

bool nlm_vet_isolated(const char *path, const char *expected_name, const nlm_host_v1 *host, uint32_t timeout_ms,
                      nlm_verdict *verdict) {
    nlm_vet_identity identity;
    nlm_vet_record known;
    job j = {.path = path, .expected_name = expected_name, .host = host};
    if (!nlm_vet_identify(path, &identity))
        return nlm_refuse(verdict, "%s cannot be found: %s", path, strerror(errno));
    if (!nlm_vet_cache_find(&identity, &known)) {
        const bool is_good = vet_in_child(&j, timeout_ms, verdict);
        remember(&j, &identity, is_good, verdict);
        return is_good;
    }
    if (!known.reason[0]) return true;
    char cache[PATH_MAX];
    return nlm_refuse(verdict, "%s; so it was found before: to have it vetted again remove %.200s", known.reason,
                      nlm_vet_cache_path(cache) ? cache : "the cache of verdicts");
}
