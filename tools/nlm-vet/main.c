/* nlm-vet: loads and probes a plugin in a process of its own, for libnlm (plugin/vet_answer.h).
 *
 * It is three processes. The plugin runs in the third, and may do what it likes to it; the second outlives that, says
 * how it went, and ends whatever the plugin has started. Should the plugin end or stop the second, the first ends it
 * all: what loses its parent is handed up to the next of them. Forking is safe here, as nothing has begun in the
 * first. */
#include "descendants.h"

#include "base/clock.h"
#include "plugin/leftovers.h"
#include "plugin/loaded.h"
#include "plugin/vet_answer.h"

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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_OUTPUT_BYTES (1u << 20)

/* Shared by the two processes. */
typedef struct report {
    volatile nlm_vet_stage stage;
    nlm_verdict verdict;
    bool holds_device;
} report;

static const char *stage_text(nlm_vet_stage stage) {
    switch (stage) {
        case NLM_VET_LOAD: return "being loaded";
        case NLM_VET_QUERY: return "in " NLM_PLUGIN_QUERY_SYMBOL;
        case NLM_VET_PROBE: return "in its probe";
        default: return "being unloaded";
    }
}

/* ---- the third process -------------------------------------------------------------------- */

/* Leaves no core file, writes no disk full, does not outlive the second, and is no member of its process group. A
 * sanitizer's handlers go: a crash must be a crash. */
static void enter_child(void) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    const struct sigaction standard = {.sa_handler = SIG_DFL};
    for (int i = 1; i < NSIG; i++) sigaction(i, &standard, NULL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES});
}

/* libnlm makes standard output and error one file in memory. */
static off_t output_size(void) {
    struct stat info;
    return fstat(STDOUT_FILENO, &info) == 0 ? info.st_size : 0;
}

static void discard_log(void *self, int32_t level, const char *message) {
    (void)self;
    (void)level;
    (void)message;
}

static void vet(const nlm_vet_job *job, report *out) {
    nlm_host *owned;
    nlm_vetted vetted;
    nlm_leftovers before;
    if (nlm_host_create(job->path, job->options, NULL, &owned, NULL) != NLM_OK) {
        nlm_refuse(&out->verdict, "there is no memory to vet it");
        return;
    }
    nlm_host_v1 host = *nlm_host_table(owned);
    host.log = discard_log; /* the plugin is asked again in the host, and heard then */
    const off_t printed = output_size();
    nlm_leftovers_start(&before);
    const bool is_good = nlm_vet(job->path, job->expected_name, &host, &out->stage, &vetted, &out->verdict) &&
                         nlm_leftovers_check(&before, "loading and probing it", &out->verdict);
    out->holds_device = nlm_leftovers_hold_device(&before);
    fflush(NULL);
    if (is_good && output_size() > printed) {
        nlm_refuse(&out->verdict, "it prints to standard output or standard error; it may only log");
    }
}

static void run_child(const nlm_vet_job *job, report *out, int done) {
    const char byte = 'd';
    enter_child();
    vet(job, out);
    _exit(write(done, &byte, 1) == 1 ? 0 : 1); /* without the exit handlers of the plugin */
}

/* ---- the second process ------------------------------------------------------------------- */

typedef enum end { END_DONE, END_GONE, END_LATE, END_UNWANTED } end;

/* Waits for the child's byte, or its end, which a daemon that has its end of the pipe does not put off. Unwanted is
 * an answer that nobody will read any more, or that the first process, whose end of a pipe closes with it, is gone.
 */
static end wait_for_end(pid_t child, int done, int above, uint32_t timeout_ms) {
    const int ended = (int)syscall(SYS_pidfd_open, child, 0); /* -1 on an old kernel: poll passes over it */
    const uint64_t deadline = nlm_clock_ns() + (uint64_t)timeout_ms * 1000000u;
    for (;;) {
        const uint64_t now = nlm_clock_ns();
        if (now >= deadline) return END_LATE;
        struct pollfd waiting[] = {{.fd = done, .events = POLLIN},
                                   {.fd = NLM_VET_ANSWER_FD},
                                   {.fd = above},
                                   {.fd = ended, .events = POLLIN}};
        if (poll(waiting, 4, (int)((deadline - now) / 1000000u) + 1) <= 0) continue;
        if (waiting[1].revents || waiting[2].revents) return END_UNWANTED;
        if (!waiting[0].revents) return END_GONE;
        char byte;
        const ssize_t got = read(done, &byte, 1);
        if (got >= 0) return got == 1 ? END_DONE : END_GONE;
        if (errno != EINTR) return END_GONE;
    }
}

static void judge_end(end how, const report *seen, int status, uint32_t timeout_ms, nlm_verdict *verdict) {
    const char *stage = stage_text(seen->stage);
    if (how == END_LATE) {
        nlm_refuse(verdict, "vetting it took longer than %u ms: it was stopped while %s", timeout_ms, stage);
    } else if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        nlm_refuse(verdict, "it ended its process with SIG%s while %s", name ? name : "?", stage);
    } else {
        nlm_refuse(verdict, "it ended its process with exit status %d while %s", WEXITSTATUS(status), stage);
    }
}

/* Ends the child and all it has started, then judges. */
static void finish(pid_t child, end how, const report *seen, uint32_t timeout_ms, nlm_vet_answer *out) {
    int status = 0;
    nlm_verdict verdict = {0};
    if (how != END_GONE) kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    const size_t n_left = end_descendants();
    if (how != END_DONE)
        judge_end(how, seen, status, timeout_ms, &verdict);
    else if (seen->verdict.state == NLM_ENTRY_REFUSED)
        verdict = seen->verdict;
    else if (n_left > 0 && !seen->holds_device)
        nlm_refuse(&verdict, "loading and probing it leaves %zu process%s running; a plugin starts none of its own",
                   n_left, n_left == 1 ? "" : "es");
    out->is_good = verdict.state == NLM_ENTRY_READY;
    out->has_ended_it = how != END_DONE;
    snprintf(out->reason, sizeof out->reason, "%.511s", verdict.reason);
}

static bool vet_in_child(const nlm_vet_job *job, int above, nlm_vet_answer *answer) {
    int done[2]; /* the child's end closes when it is gone, whatever the reason */
    report *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || pipe2(done, O_CLOEXEC) != 0) return false;
    const pid_t child = fork();
    if (child < 0) return false;
    if (child == 0) {
        close(NLM_VET_ANSWER_FD);
        close(above);
        close(done[0]);
        run_child(job, shared, done[1]);
    }
    close(done[1]);
    finish(child, wait_for_end(child, done[0], above, job->timeout_ms), shared, job->timeout_ms, answer);
    return true;
}

static int fail(void) {
    fprintf(stderr, "%s\n", strerror(errno));
    return 1;
}

static int answer_for(const nlm_vet_job *job, int above) {
    nlm_vet_answer answer = {0};
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0 || !vet_in_child(job, above, &answer)) return fail();
    return write(NLM_VET_ANSWER_FD, &answer, sizeof answer) == (ssize_t)sizeof answer ? 0 : 1;
}

/* ---- the first process -------------------------------------------------------------------- */

/* Waits for the second, and ends what that could not. */
static int stand_by(pid_t second) {
    int status = 0;
    for (;;) {
        const pid_t changed = waitpid(second, &status, WUNTRACED);
        if (changed < 0 && errno != EINTR) break;
        if (changed != second) continue;
        if (!WIFSTOPPED(status)) break;
        kill(second, SIGKILL); /* it would never end */
    }
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    end_descendants();
    return 1;
}

int main(int argc, char **argv) {
    if (argc < 5 || argc % 2 == 0 || strcmp(argv[1], NLM_VET_PROTOCOL) != 0 ||
        fcntl(NLM_VET_ANSWER_FD, F_GETFD) < 0) {
        fputs("nlm-vet is run by libnlm of the same version, to look at a plugin in a process of its own\n", stderr);
        return 2;
    }
    const nlm_vet_job job = {
        .path = argv[2],
        .expected_name = *argv[3] ? argv[3] : NULL,
        .options = (const char *const *)(argv + 5),
        .timeout_ms = (uint32_t)strtoul(argv[4], NULL, 10),
    };
    int above[2];
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0 || pipe2(above, O_CLOEXEC) != 0) return fail();
    const pid_t second = fork();
    if (second < 0) return fail();
    if (second > 0) close(above[0]);
    if (second > 0) return stand_by(second);
    close(above[1]);
    return answer_for(&job, above[0]);
}
