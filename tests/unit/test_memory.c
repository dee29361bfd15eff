#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "check.h"
#include "session/memory.h"

/* A machine made of files, as in /proc and /sys. */
typedef struct machine_file {
    const char *path, *text;
} machine_file;

static char root[64];

static void remove_machine(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    CU_ASSERT_EQUAL(system(command), 0);
}

static void make_machine(const machine_file *files, size_t count) {
    snprintf(root, sizeof root, "/tmp/nlm-memory-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(root));
    for (size_t i = 0; i < count && files[i].path; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s%s", root, files[i].path);
        for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
            *slash = '\0';
            mkdir(path, 0700);
            *slash = '/';
        }
        FILE *file = fopen(path, "w");
        CU_ASSERT_PTR_NOT_NULL_FATAL(file);
        fputs(files[i].text, file);
        fclose(file);
    }
}

#define MEMINFO "MemTotal:  2000 kB\nMemFree: 10 kB\nMemAvailable:    1000 kB\n"

static void memory_is_the_least_of_machine_and_groups(void) {
    static const struct {
        machine_file files[8];
        uint64_t expected;
    } machines[] = {
        {{{NULL, NULL}}, 0},
        {{{"/proc/meminfo", MEMINFO}}, 1000 * 1024},
        {{{"/proc/meminfo", MEMINFO},
          {"/proc/self/cgroup", "0::/a/b\n"},
          {"/sys/fs/cgroup/a/memory.max", "500000\n"},
          {"/sys/fs/cgroup/a/memory.current", "200000\n"},
          {"/sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 1000\nactive_file 200\n"},
          {"/sys/fs/cgroup/a/b/memory.max", "max\n"},
          {"/sys/fs/cgroup/a/b/memory.current", "100000\n"}},
         301200},
        {{{"/proc/meminfo", MEMINFO},
          {"/proc/self/cgroup", "0::/\n"},
          {"/sys/fs/cgroup/memory.max", "100\n"},
          {"/sys/fs/cgroup/memory.current", "200000\n"}},
         0},
        {{{"/proc/meminfo", MEMINFO},
          {"/proc/self/cgroup", "5:cpu:/x\n4:hugetlb,memory:/g\n"},
          {"/sys/fs/cgroup/memory/g/memory.limit_in_bytes", "4096\n"},
          {"/sys/fs/cgroup/memory/g/memory.usage_in_bytes", "96\n"}},
         4000},
        {{{"/proc/meminfo", MEMINFO}, {"/proc/self/cgroup", "garbage\n::::\n:\n"}}, 1000 * 1024},
    };
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        make_machine(machines[i].files, 8);
        CU_ASSERT_EQUAL(nlm_memory_available(root), machines[i].expected);
        remove_machine();
    }
}

static void memory_of_this_machine_is_read(void) {
    CU_ASSERT(nlm_memory_available("") > 0);
}

static const check_case cases[] = {
    CHECK_CASE(memory_is_the_least_of_machine_and_groups),
    CHECK_CASE(memory_of_this_machine_is_read),
};
CHECK_MAIN("memory", cases)
