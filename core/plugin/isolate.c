/* Vetting a plugin from outside: by nlm-vet, a program of nlm's own, so that whatever the plugin does happens to a
 * process in which nothing else has begun. A fork of the host would not do: what the host has started by then
 * (threads, a GPU's runtime) does not work in a forked child. */
#include "plugin/loaded.h"

#include "base/clock.h"
#include "base/printable.h"
#include "plugin/discover.h"
#include "plugin/trust.h"
#include "plugin/vet_answer.h"
#include "plugin/vet_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* What nlm-vet may take beyond the plugin's time, to start and to end what the plugin has left. */
#define GRACE_MS 5000u

typedef struct vetting {
    char program[PATH_MAX];
    const char **arguments; /* NULL at the end */
    int output;             /* a file in memory: what the program and the plugin print */
    int answer[2];          /* a pipe; the program goes when its reader has */
    pid_t child;
} vetting;

/* ---- starting it -------------------------------------------------------------------------- */

static bool find_program(char out[PATH_MAX], nlm_verdict *verdict) {
    char found[PATH_MAX];
    nlm_verdict trust = {0};
    if (!nlm_discover_program(NLM_VET_PROGRAM, found)) {
        return nlm_refuse(verdict, "it is not loaded because it cannot be vetted: " NLM_VET_PROGRAM
                                   ", which belongs beside nlm's own plugins, is missing; if you trust the library, "
                                   "its registry entry may say isolate = false");
    }
    return nlm_trust_check(found, out, &trust) || nlm_refuse(verdict, "it cannot be vetted: %.480s", trust.reason);
}

static bool set_arguments(vetting *v, const nlm_vet_job *job) {
    static const size_t n_fixed = 5;
    size_t n_options = 0;
    while (job->options && job->options[n_options] && job->options[n_options + 1]) n_options += 2;
    v->arguments = calloc(n_fixed + n_options + 1, sizeof *v->arguments);
    if (!v->arguments) return false;
    v->arguments[0] = v->program;
    v->arguments[1] = NLM_VET_PROTOCOL;
    v->arguments[2] = job->path;
    v->arguments[3] = job->expected_name ? job->expected_name : "";
    for (size_t i = 0; i < n_options; i++) v->arguments[n_fixed + i] = job->options[i];
    return true;
}

/* The same file under a number that none of the child's own descriptors has. */
static int moved_up(int fd) {
    const int above = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, NLM_VET_ANSWER_FD + 1);
    const int why = errno;
    if (fd >= 0) close(fd);
    errno = why;
    return above;
}

static bool open_files(vetting *v) {
    v->output = moved_up(memfd_create("plugin output", MFD_CLOEXEC));
    if (v->output < 0 || pipe2(v->answer, O_CLOEXEC) != 0) return false;
    v->answer[0] = moved_up(v->answer[0]);
    v->answer[1] = moved_up(v->answer[1]);
    return v->answer[0] >= 0 && v->answer[1] >= 0;
}

static void close_files(const vetting *v) {
    const int files[] = {v->output, v->answer[0], v->answer[1]};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (files[i] >= 0) close(files[i]);
    }
}

/* A session of its own, no signal ignored, handled or blocked, and no descriptor of the host's. */
static int spawn(vetting *v) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    int why = posix_spawn_file_actions_init(&files);
    if (why) return why;
    why = posix_spawnattr_init(&how);
    if (!why) why = posix_spawnattr_setsigdefault(&how, &all);
    if (!why) why = posix_spawnattr_setsigmask(&how, &none);
    if (!why) {
        why = posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
    }
    if (!why) why = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!why) why = posix_spawn_file_actions_adddup2(&files, v->output, STDOUT_FILENO);
    if (!why) why = posix_spawn_file_actions_adddup2(&files, v->output, STDERR_FILENO);
    if (!why) why = posix_spawn_file_actions_adddup2(&files, v->answer[1], NLM_VET_ANSWER_FD);
    if (!why) why = posix_spawn_file_actions_addclosefrom_np(&files, NLM_VET_ANSWER_FD + 1);
    if (!why) why = posix_spawn(&v->child, v->program, &files, &how, (char *const *)v->arguments, environ);
    posix_spawnattr_destroy(&how);
    posix_spawn_file_actions_destroy(&files);
    return why;
}

/* ---- hearing from it ---------------------------------------------------------------------- */

/* false: it ended without an answer, or is late. */
static bool read_answer(int fd, uint32_t timeout_ms, nlm_vet_answer *out) {
    const uint64_t deadline = nlm_clock_ns() + ((uint64_t)timeout_ms + GRACE_MS) * 1000000u;
    for (size_t length = 0; length < sizeof *out;) {
        const uint64_t now = nlm_clock_ns();
        if (now >= deadline) return false;
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        if (poll(&waiting, 1, (int)((deadline - now) / 1000000u) + 1) <= 0) continue;
        const ssize_t got = read(fd, (char *)out + length, sizeof *out - length);
        if (got == 0 || (got < 0 && errno != EINTR)) return false;
        if (got > 0) length += (size_t)got;
    }
    return true;
}

static bool refuse_silence(const vetting *v, nlm_verdict *verdict) {
    char text[256] = "";
    const ssize_t length = pread(v->output, text, sizeof text - 1, 0);
    text[length > 0 ? length : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    nlm_make_printable(text, sizeof text);
    return nlm_refuse(verdict, "it cannot be vetted: %.180s gave no answer%s%s", v->program, *text ? ": " : "", text);
}

/* Whether its status can be had is the host's affair (SIGCHLD may be ignored): the answer alone counts. */
static bool hear(vetting *v, const nlm_vet_job *job, nlm_vet_answer *answer, nlm_verdict *verdict) {
    close(v->answer[1]); /* else the pipe would not end with the child */
    v->answer[1] = -1;
    const bool has_answered = read_answer(v->answer[0], job->timeout_ms, answer);
    kill(-v->child, SIGKILL); /* its process group, as it may not have lived to end what the plugin started */
    while (waitpid(v->child, NULL, 0) < 0 && errno == EINTR) continue;
    if (!has_answered) return refuse_silence(v, verdict);
    nlm_make_printable(answer->reason, sizeof answer->reason);
    return answer->is_good || nlm_refuse(verdict, "%s", answer->reason);
}

static bool run(vetting *v, const nlm_vet_job *job, nlm_vet_answer *answer, nlm_verdict *verdict) {
    char timeout[16];
    if (!find_program(v->program, verdict)) return false;
    if (!set_arguments(v, job)) return nlm_refuse(verdict, "it cannot be vetted: there is no memory");
    snprintf(timeout, sizeof timeout, "%u", job->timeout_ms);
    v->arguments[4] = timeout;
    if (!open_files(v)) return nlm_refuse(verdict, "it cannot be vetted: %s", strerror(errno));
    const int why = spawn(v);
    if (why) return nlm_refuse(verdict, "it cannot be vetted: %.300s: %s", v->program, strerror(why));
    return hear(v, job, answer, verdict);
}

static bool vet_in_child(const nlm_vet_job *job, nlm_vet_answer *answer, nlm_verdict *verdict) {
    vetting v = {.output = -1, .answer = {-1, -1}};
    *answer = (nlm_vet_answer){0};
    const bool is_good = run(&v, job, answer, verdict);
    close_files(&v);
    free(v.arguments);
    return is_good;
}

bool nlm_vet_in_child(const nlm_vet_job *job, nlm_verdict *verdict) {
    nlm_vet_answer answer;
    return vet_in_child(job, &answer, verdict);
}

/* ---- remembering it ----------------------------------------------------------------------- */

/* Only what the code alone decides is kept: that it came back, or how it ended its process. An orderly
 * refusal may be for a dependency that is missing today, and costs little to find again. */
static void remember(const char *path, const nlm_vet_identity *before, const nlm_vet_answer *answer) {
    nlm_vet_record record = {.identity = *before};
    nlm_vet_identity now;
    if (!answer->is_good && !answer->has_ended_it) return;
    if (!nlm_vet_identify(path, &now) || memcmp(&now, before, sizeof now) != 0) return;
    if (!answer->is_good) snprintf(record.reason, sizeof record.reason, "%.255s", answer->reason);
    nlm_vet_cache_store(&record);
}

bool nlm_vet_isolated(const nlm_vet_job *job, nlm_verdict *verdict) {
    nlm_vet_identity identity;
    nlm_vet_record known;
    if (!nlm_vet_identify(job->path, &identity))
        return nlm_refuse(verdict, "%s cannot be found: %s", job->path, strerror(errno));
    if (!nlm_vet_cache_find(&identity, &known)) {
        nlm_vet_answer answer;
        const bool is_good = vet_in_child(job, &answer, verdict);
        remember(job->path, &identity, &answer);
        return is_good;
    }
    if (!known.reason[0]) return true;
    char cache[PATH_MAX];
    return nlm_refuse(verdict, "%s; so it was found before: to have it vetted again remove %.200s", known.reason,
                      nlm_vet_cache_path(cache) ? cache : "the cache of verdicts");
}
