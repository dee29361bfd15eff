/* Vetting a plugin in a process of its own: what it sees of the host, and what is left of it. */
#include "unit/plugin_folder.h"

#include "plugin/loaded.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static bool vet(const char *name, uint32_t timeout_ms, nlm_verdict *verdict) {
    static const char *const options[] = {"heirloom", "own", NULL};
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s.so", NLM_TEST_FIXTURES, name);
    *verdict = (nlm_verdict){0};
    return nlm_vet_in_child(&(nlm_vet_job){path, name, options, timeout_ms}, verdict);
}

static void expect_good(const char *name) {
    nlm_verdict verdict;
    const bool is_good = vet(name, 60000, &verdict);
    if (!is_good) printf("\n    %s\n", verdict.reason);
    CU_ASSERT_TRUE(is_good);
}

static void expect_refused(const char *name, uint32_t timeout_ms, const char *reason) {
    nlm_verdict verdict;
    CU_ASSERT_FALSE(vet(name, timeout_ms, &verdict));
    CU_ASSERT_EQUAL(verdict.state, NLM_ENTRY_REFUSED);
    expect_contains(verdict.reason, reason);
}

/* The name of a file that is not there yet, told to the fixtures. */
static void make_trace(char trace[64]) {
    snprintf(trace, 64, "/tmp/nlm_trace_XXXXXX");
    const int fd = mkstemp(trace);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    close(fd);
    unlink(trace);
    setenv("NLM_TEST_WITNESS", trace, 1);
}

/* The process that a fixture wrote there. */
static int read_trace(const char *trace) {
    int id = 0;
    unsetenv("NLM_TEST_WITNESS");
    FILE *file = fopen(trace, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_EQUAL(fscanf(file, "%d", &id), 1);
    fclose(file);
    unlink(trace);
    CU_ASSERT_TRUE_FATAL(id > 1);
    return id;
}

static void a_plugin_that_hangs_is_stopped(void) {
    expect_refused("probe_hangs", 200, "took longer than 200 ms: it was stopped while in its probe");
}

static void vetting_in_a_child_loads_nothing_here(void) {
    char trace[64];
    make_trace(trace);
    expect_good("witness");
    unsetenv("NLM_TEST_WITNESS");
    CU_ASSERT_EQUAL(unlink(trace), 0); /* the child did load it */
    FILE *maps = fopen("/proc/self/maps", "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(maps);
    char line[PATH_MAX + 128];
    while (fgets(line, sizeof line, maps)) CU_ASSERT_PTR_NULL(strstr(line, "witness.so"));
    fclose(maps);
}

/* Once this process has begun to use the runtime, a fork of it could not. */
static void begin_runtime(void) {
    void *runtime = dlopen(NLM_TEST_FIXTURES "/elsewhere/libnlm_fixture_runtime.so", RTLD_NOW);
    CU_ASSERT_PTR_NOT_NULL_FATAL(runtime);
    void *symbol = dlsym(runtime, "nlm_fixture_runtime_begin");
    CU_ASSERT_PTR_NOT_NULL_FATAL(symbol);
    int (*begin)(void);
    memcpy(&begin, &symbol, sizeof symbol);
    CU_ASSERT_TRUE_FATAL(begin());
    const pid_t child = fork();
    if (child == 0) _exit(begin() ? 1 : 0);
    int status = -1;
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_EQUAL(status, 0); /* the runtime is one that a fork would break */
}

static void a_vetted_plugin_inherits_nothing_of_its_host(void) {
    sigset_t blocked, before;
    begin_runtime();
    CU_ASSERT_EQUAL_FATAL(dup2(STDERR_FILENO, 200), 200);
    signal(SIGUSR1, SIG_IGN);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    expect_good("heir");
    sigprocmask(SIG_SETMASK, &before, NULL);
    signal(SIGUSR1, SIG_DFL);
    close(200);
}

static void a_daemon_of_a_plugin_is_ended_and_refused(void) {
    char trace[64];
    make_trace(trace);
    expect_refused("probe_leaves_process", 60000, "leaves 1 process running; a plugin starts none of its own");
    const int id = read_trace(trace);
    CU_ASSERT_EQUAL(kill(id, 0), -1);
    CU_ASSERT_EQUAL(errno, ESRCH);
}

/* Of a process that is ended, or soon will be. */
static void expect_end(int id) {
    struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, id, 0), .events = POLLIN};
    CU_ASSERT_TRUE(ended.fd >= 0 || errno == ESRCH);
    if (ended.fd < 0) return;
    CU_ASSERT_EQUAL(poll(&ended, 1, 10000), 1);
    close(ended.fd);
}

/* As nlm-vet does not live to do it. */
static void what_is_left_in_the_group_of_a_vetter_that_is_gone_is_ended(void) {
    char trace[64];
    make_trace(trace);
    expect_refused("probe_ends_its_vetter", 60000, "gave no answer");
    expect_end(read_trace(trace));
}

/* What is no member of any group that is known, too. */
static void a_daemon_is_ended_whatever_becomes_of_its_vetter(void) {
    static const struct {
        const char *name, *reason;
    } cases[] = {{"probe_daemon_ends_the_vetter", "gave no answer"},
                 {"probe_daemon_stops_the_vetter", "gave no answer"},
                 {"probe_daemon_ends_the_group", "ended its process with SIGKILL"},
                 {"probe_daemon_ends_the_vetters_parent", ""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char trace[64];
        make_trace(trace);
        expect_refused(cases[i].name, 60000, cases[i].reason);
        expect_end(read_trace(trace));
    }
}
static void a_host_without_standard_descriptors_can_vet(void) {
    int saved[3];
    nlm_verdict good, bad;
    fflush(NULL);
    for (int fd = 0; fd < 3; fd++) {
        saved[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 100);
        close(fd);
    }
    const bool is_good = vet("good", 60000, &good), is_bad = !vet("probe_prints", 60000, &bad);
    for (int fd = 0; fd < 3; fd++) {
        if (saved[fd] < 0) continue;
        dup2(saved[fd], fd);
        close(saved[fd]);
    }
    CU_ASSERT_TRUE(is_good);
    CU_ASSERT_TRUE(is_bad);
    expect_contains(bad.reason, "prints to standard output");
}

/* Its status is then nobody's to wait for. */
static void a_host_that_ignores_its_children_can_vet(void) {
    signal(SIGCHLD, SIG_IGN);
    expect_good("good");
    expect_refused("probe_crashes", 60000, "ended its process with SIGSEGV while in its probe");
    signal(SIGCHLD, SIG_DFL);
}

static const check_case cases[] = {
    CHECK_CASE(a_plugin_that_hangs_is_stopped),
    CHECK_CASE(vetting_in_a_child_loads_nothing_here),
    CHECK_CASE(a_vetted_plugin_inherits_nothing_of_its_host),
    CHECK_CASE(a_daemon_of_a_plugin_is_ended_and_refused),
    CHECK_CASE(what_is_left_in_the_group_of_a_vetter_that_is_gone_is_ended),
    CHECK_CASE(a_daemon_is_ended_whatever_becomes_of_its_vetter),
    CHECK_CASE(a_host_without_standard_descriptors_can_vet),
    CHECK_CASE(a_host_that_ignores_its_children_can_vet),
};

CHECK_MAIN("vetting of plugins", cases)
