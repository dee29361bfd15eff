/* What memory the machine and the process's cgroups leave, on machines made of files. */
#include "base/memory.h"
#include "machine_files.h"

#define MEMINFO "MemTotal:  2000 kB\nMemFree: 10 kB\nMemAvailable:    1000 kB\n"

#define V2         "25 20 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
#define V1_CPU     "31 25 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
#define V1_MEMORY  "32 25 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
#define HOST_PATH  "25 20 0:22 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
#define IN_MEMINFO "/proc/meminfo", MEMINFO
#define IN_MOUNTS  "/proc/self/mountinfo"
#define IN_GROUPS  "/proc/self/cgroup"
#define FS         "/sys/fs/cgroup"

static void memory_is_the_least_of_machine_and_groups(void) {
    static const struct {
        const char *what;
        uint64_t expected;
        machine_file files[9];
    } machines[] = {
        {"nothing", 0, {{NULL, NULL}}},
        {"no groups", 1000 * 1024, {{IN_MEMINFO}}},
        {"no meminfo",
         30,
         {{IN_MOUNTS, V2}, {IN_GROUPS, "0::/\n"}, {FS "/memory.max", "100\n"}, {FS "/memory.current", "70\n"}}},
        {"v2, limit of the parent; pages of files are not used",
         301200,
         {{IN_MEMINFO},
          {IN_MOUNTS, V2},
          {IN_GROUPS, "0::/a/b\n"},
          {FS "/a/memory.max", "500000\n"},
          {FS "/a/memory.current", "200000\n"},
          {FS "/a/memory.stat", "anon 5\ninactive_file 1000\nactive_file 200\n"},
          {FS "/a/b/memory.max", "max\n"},
          {FS "/a/b/memory.current", "100000\n"}}},
        {"v2, more used than allowed",
         0,
         {{IN_MEMINFO},
          {IN_MOUNTS, V2},
          {IN_GROUPS, "0::/\n"},
          {FS "/memory.max", "100\n"},
          {FS "/memory.current", "200000\n"}}},
        {"v2 in a container that sees the host's path",
         60,
         {{IN_MEMINFO},
          {IN_MOUNTS, HOST_PATH},
          {IN_GROUPS, "0::/docker/abc/x\n"},
          {FS "/memory.max", "100\n"},
          {FS "/memory.current", "40\n"},
          {FS "/x/memory.max", "100\n"},
          {FS "/x/memory.current", "20\n"}}},
        {"v1",
         4000,
         {{IN_MEMINFO},
          {IN_MOUNTS, V1_CPU V1_MEMORY},
          {IN_GROUPS, "5:cpu:/x\n4:hugetlb,memory:/g\n"},
          {FS "/memory/g/memory.limit_in_bytes", "4096\n"},
          {FS "/memory/g/memory.usage_in_bytes", "96\n"},
          {FS "/cpu/x/memory.limit_in_bytes", "1\n"},
          {FS "/cpu/x/memory.usage_in_bytes", "1\n"}}},
        {"v1 without a limit: the largest number of pages",
         1000 * 1024,
         {{IN_MEMINFO},
          {IN_MOUNTS, V1_MEMORY},
          {IN_GROUPS, "4:memory:/\n"},
          {FS "/memory/memory.limit_in_bytes", "9223372036854771712\n"},
          {FS "/memory/memory.usage_in_bytes", "96\n"}}},
        {"nonsense", 1000 * 1024, {{IN_MEMINFO}, {IN_MOUNTS, V2}, {IN_GROUPS, "garbage\n::::\n:\n"}}},
    };
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        const machine m = machine_make(machines[i].files);
        const uint64_t bytes = nlm_memory_available(m.root);
        CU_ASSERT_EQUAL(bytes, machines[i].expected);
        if (bytes != machines[i].expected) printf("\n    %s: got %llu", machines[i].what, (unsigned long long)bytes);
        machine_remove(&m);
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
