/* Threads on made-up topologies, as Linux would show them, and the CPU quota on machines made of files. */
#include "unit/check.h"

#include "base/cgroup.h"
#include "base/placement.h"
#include "base/status.h"
#include "machine_files.h"

#include <hwloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- threads and cores -------------------------------------------------------------------- */

typedef struct machine_row {
    const char *machine; /* hwloc's synthetic description */
    const char *allowed; /* a list of CPUs; NULL: all */
    double quota_cpus;
    uint32_t requested;
    uint32_t threads;
    uint32_t cores;
    bool is_bound;
    bool has_cpu_for_all;
    const char *reason;
} machine_row;

static const machine_row machines[] = {
    {"core:2 pu:1", NULL, 0, 0, 2, 2, true, true,
     "2 threads: one per physical core of 2 allowed CPUs (no cgroup quota)"},
    {"core:1 pu:1", NULL, 0, 0, 1, 1, true, true,
     "1 thread: one per physical core of 1 allowed CPU (no cgroup quota)"},
    {"package:2 core:8 pu:2", NULL, 0, 0, 16, 16, true, true,
     "16 threads: one per physical core of 32 allowed CPUs (no cgroup quota)"},
    {"package:1 core:4 pu:2", "2-4", 0, 0, 2, 2, true, true,
     "2 threads: one per physical core of 3 allowed CPUs (no cgroup quota)"},
    {"package:1 core:4 pu:2", "1", 0, 0, 1, 1, true, true,
     "1 thread: one per physical core of 1 allowed CPU (no cgroup quota)"},
    {"core:2 pu:1", NULL, 2, 0, 2, 2, true, true,
     "2 threads: one per physical core of 2 allowed CPUs (cgroup quota of 2 CPUs)"},
    {"core:8 pu:2", NULL, 1.5, 0, 2, 8, false, true,
     "2 threads: the cgroup quota of 1.5 CPUs, on 8 physical cores and 16 allowed CPUs"},
    {"core:8 pu:1", NULL, 0.25, 0, 1, 8, false, true,
     "1 thread: the cgroup quota of 0.25 CPUs, on 8 physical cores and 8 allowed CPUs"},
    {"core:4 pu:1", NULL, 1e9, 0, 4, 4, true, true,
     "4 threads: one per physical core of 4 allowed CPUs (cgroup quota of 1e+09 CPUs)"},
    {"core:4 pu:2", NULL, 0, 2, 2, 4, false, true,
     "2 threads: as asked for, on 4 physical cores and 8 allowed CPUs (no cgroup quota)"},
    {"core:4 pu:2", NULL, 0, 4, 4, 4, true, true,
     "4 threads: as asked for, on 4 physical cores and 8 allowed CPUs (no cgroup quota)"},
    {"core:4 pu:2", NULL, 0, 8, 8, 4, false, true,
     "8 threads: as asked for, on 4 physical cores and 8 allowed CPUs (no cgroup quota)"},
    {"core:4 pu:2", NULL, 0, 9, 9, 4, false, false,
     "9 threads: as asked for, on 4 physical cores and 8 allowed CPUs (no cgroup quota); "
     "more threads than can run at once"},
    {"core:4 pu:1", NULL, 2, 3, 3, 4, false, false,
     "3 threads: as asked for, on 4 physical cores and 4 allowed CPUs (cgroup quota of 2 CPUs); "
     "more threads than can run at once"},
    /* A mask the topology knows nothing of: its CPUs count as cores. */
    {"core:2 pu:1", "5-7", 0, 0, 3, 3, true, true,
     "3 threads: one per physical core of 3 allowed CPUs (no cgroup quota)"},
    {"pu:3", NULL, 0, 0, 3, 3, true, true, "3 threads: one per physical core of 3 allowed CPUs (no cgroup quota)"},
};

static hwloc_topology_t synthetic(const char *description) {
    hwloc_topology_t topology;
    CU_ASSERT_EQUAL_FATAL(hwloc_topology_init(&topology), 0);
    CU_ASSERT_EQUAL_FATAL(hwloc_topology_set_synthetic(topology, description), 0);
    CU_ASSERT_EQUAL_FATAL(hwloc_topology_load(topology), 0);
    return topology;
}

static void write_of_cpu(const machine *m, unsigned cpu, const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/topology/%s", cpu, name);
    machine_write(m, &(machine_file){path, text});
}

/* What Linux shows of the machine that hwloc has; nothing of a CPU without a core. `list` is the file's name, which
 * newer kernels have changed. */
static machine machine_of(hwloc_topology_t topology, const char *list) {
    const machine_file none = {NULL, NULL};
    const machine m = machine_make(&none);
    hwloc_obj_t pu = NULL;
    while ((pu = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, pu))) {
        char text[64];
        hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, pu);
        hwloc_obj_t package = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_PACKAGE, pu);
        if (!core) continue;
        hwloc_bitmap_list_snprintf(text, sizeof text - 1, core->cpuset);
        write_of_cpu(&m, pu->os_index, list, strcat(text, "\n"));
        snprintf(text, sizeof text, "%u\n", package ? package->os_index : 0);
        write_of_cpu(&m, pu->os_index, "physical_package_id", text);
    }
    return m;
}

static nlm_status choose(const machine_row *row, nlm_placement *out, nlm_error *err) {
    nlm_status status = NLM_OK;
    static const char *const lists[] = {"core_cpus_list", "thread_siblings_list"};
    for (size_t i = 0; i < 2 && status == NLM_OK; i++) {
        hwloc_topology_t topology = synthetic(row->machine);
        hwloc_bitmap_t allowed = hwloc_bitmap_dup(hwloc_topology_get_topology_cpuset(topology));
        const machine m = machine_of(topology, lists[i]);
        if (row->allowed) hwloc_bitmap_list_sscanf(allowed, row->allowed);
        if (i > 0) nlm_placement_release(out);
        status = nlm_placement_choose(m.root, allowed, row->quota_cpus, row->requested, out, err);
        machine_remove(&m);
        hwloc_bitmap_free(allowed);
        hwloc_topology_destroy(topology);
    }
    return status;
}

static void one_thread_per_allowed_core_within_the_quota(void) {
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        const machine_row *row = &machines[i];
        nlm_error err = NLM_ERROR_INIT;
        nlm_placement placement;
        CU_ASSERT_EQUAL_FATAL(choose(row, &placement, &err), NLM_OK);
        CU_ASSERT_EQUAL(placement.threads, row->threads);
        CU_ASSERT_EQUAL(placement.core_count, row->cores);
        CU_ASSERT_EQUAL(placement.is_bound, row->is_bound);
        CU_ASSERT_EQUAL(placement.has_cpu_for_all, row->has_cpu_for_all);
        CU_ASSERT_STRING_EQUAL(placement.reason, row->reason);
        if (strcmp(placement.reason, row->reason) != 0) printf("\n    got \"%s\"", placement.reason);
        nlm_placement_release(&placement);
    }
}

static void expect_cores(const machine_row *row, const char *const *expected, uint32_t count) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_placement placement;
    CU_ASSERT_EQUAL_FATAL(choose(row, &placement, &err), NLM_OK);
    CU_ASSERT_EQUAL_FATAL(placement.core_count, count);
    for (uint32_t i = 0; i < count; i++) {
        char text[32];
        hwloc_bitmap_list_snprintf(text, sizeof text, placement.cores[i]);
        CU_ASSERT_STRING_EQUAL(text, expected[i]);
    }
    nlm_placement_release(&placement);
    nlm_placement_release(&placement); /* a zeroed one */
}

static void cores_are_disjoint_and_hold_all_their_allowed_cpus(void) {
    const machine_row row = {.machine = "package:2 core:2 pu:2", .allowed = "0-2,6-7"};
    expect_cores(&row, (const char *const[]){"0-1", "2", "6-7"}, 3);
}

/* CPUs numbered across packages, then across the threads of a core. */
static void cores_of_a_package_stand_together(void) {
    const machine_row row = {.machine = "package:2 core:2 pu:2(indexes=0,4,2,6,1,5,3,7)"};
    expect_cores(&row, (const char *const[]){"0,4", "2,6", "1,5", "3,7"}, 4);
}

/* What a file says that makes no sense is as if there were none. */
static void a_cpu_whose_core_makes_no_sense_is_one_of_its_own(void) {
    static const machine_file files[] = {{"/sys/devices/system/cpu/cpu0/topology/core_cpus_list", "5-6\n"},
                                         {"/sys/devices/system/cpu/cpu1/topology/core_cpus_list", "\n"},
                                         {"/sys/devices/system/cpu/cpu2/topology/core_cpus_list", "2-3\n"},
                                         {NULL, NULL}};
    const machine m = machine_make(files);
    nlm_error err = NLM_ERROR_INIT;
    nlm_placement placement;
    hwloc_bitmap_t allowed = hwloc_bitmap_alloc();
    CU_ASSERT_EQUAL(hwloc_bitmap_list_sscanf(allowed, "0-3"), 0);
    CU_ASSERT_EQUAL_FATAL(nlm_placement_choose(m.root, allowed, 0, 0, &placement, &err), NLM_OK);
    CU_ASSERT_EQUAL(placement.core_count, 3);
    CU_ASSERT_EQUAL(hwloc_bitmap_weight(placement.cores[2]), 2);
    nlm_placement_release(&placement);
    hwloc_bitmap_free(allowed);
    machine_remove(&m);
}

static void more_threads_than_possible_are_refused(void) {
    const machine_row row = {.machine = "core:2 pu:1", .requested = NLM_THREADS_MAX + 1};
    nlm_error err = NLM_ERROR_INIT;
    nlm_placement placement;
    CU_ASSERT_EQUAL(choose(&row, &placement, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NULL(placement.cores);
}

/* ---- cgroup quota ------------------------------------------------------------------------- */

typedef struct quota_row {
    const char *what;
    double quota_cpus;
    machine_file files[8];
} quota_row;

#define CGROUP  "/proc/self/cgroup"
#define MOUNTS  "/proc/self/mountinfo"
#define V2      "25 20 0:22 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_CPU  "31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:12 - cgroup cgroup rw,cpu,cpuacct\n"
#define V1_SETS "32 25 0:28 / /sys/fs/cgroup/cpuset rw shared:13 - cgroup cgroup rw,cpuset\n"
#define FS      "/sys/fs/cgroup"

static const quota_row quotas[] = {
    {"no /proc", 0, {{NULL, NULL}}},
    {"no cgroup mounted", 0, {{MOUNTS, "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"}, {CGROUP, "0::/\n"}}},
    {"v2 without a limit", 0, {{MOUNTS, V2}, {CGROUP, "0::/app\n"}, {FS "/app/cpu.max", "max 100000\n"}}},
    {"v2 with a limit", 1.5, {{MOUNTS, V2}, {CGROUP, "0::/app\n"}, {FS "/app/cpu.max", "150000 100000\n"}}},
    {"v2 limit of an ancestor",
     0.5,
     {{MOUNTS, V2},
      {CGROUP, "0::/slice/app/inner\n"},
      {FS "/slice/app/inner/cpu.max", "max 100000\n"},
      {FS "/slice/app/cpu.max", "200000 100000\n"},
      {FS "/slice/cpu.max", "25000 50000\n"}}},
    {"v2 limit of a sibling",
     0,
     {{MOUNTS, V2}, {CGROUP, "0::/app\n"}, {FS "/app/cpu.max", "max 100000\n"}, {FS "/ap/cpu.max", "1000 100000\n"}}},
    {"v2 in a container with its own namespace",
     3,
     {{MOUNTS, V2}, {CGROUP, "0::/\n"}, {FS "/cpu.max", "300000 100000\n"}}},
    {"v2 in a container that sees the host's path",
     2,
     {{MOUNTS, "25 20 0:22 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n"},
      {CGROUP, "0::/docker/abc\n"},
      {FS "/cpu.max", "200000 100000\n"}}},
    {"v2 with a path outside the namespace",
     2,
     {{MOUNTS, V2}, {CGROUP, "0::/../other\n"}, {FS "/cpu.max", "200000 100000\n"}}},
    {"v2 mounted where blanks are",
     4,
     {{MOUNTS, "25 20 0:22 / /my\\040mount rw - cgroup2 none rw\n"},
      {CGROUP, "0::/\n"},
      {"/my mount/cpu.max", "400000 100000\n"}}},
    {"v2 with nonsense in the file", 0, {{MOUNTS, V2}, {CGROUP, "0::/\n"}, {FS "/cpu.max", "-1 0\n"}}},
    {"v1 without a limit",
     0,
     {{MOUNTS, V1_SETS V1_CPU},
      {CGROUP, "4:cpuset:/\n3:cpu,cpuacct:/app\n"},
      {FS "/cpu,cpuacct/app/cpu.cfs_quota_us", "-1\n"},
      {FS "/cpu,cpuacct/app/cpu.cfs_period_us", "100000\n"}}},
    {"v1 with a limit of the parent",
     2.5,
     {{MOUNTS, V1_SETS V1_CPU},
      {CGROUP, "4:cpuset:/\n3:cpu,cpuacct:/a/b\n1:name=systemd:/x\n"},
      {FS "/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1\n"},
      {FS "/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n"},
      {FS "/cpu,cpuacct/a/cpu.cfs_quota_us", "250000\n"},
      {FS "/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"}}},
    {"both, the smaller one counts",
     1,
     {{MOUNTS, V1_CPU "40 25 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"},
      {CGROUP, "3:cpu,cpuacct:/\n0::/u\n"},
      {FS "/unified/u/cpu.max", "600000 100000\n"},
      {FS "/cpu,cpuacct/cpu.cfs_quota_us", "50000\n"},
      {FS "/cpu,cpuacct/cpu.cfs_period_us", "50000\n"}}},
    {"a controller whose name only begins with cpu",
     0,
     {{MOUNTS, V1_SETS},
      {CGROUP, "4:cpuset:/\n"},
      {FS "/cpuset/cpu.cfs_quota_us", "50000\n"},
      {FS "/cpuset/cpu.cfs_period_us", "50000\n"}}},
};

static void quota_is_the_smallest_from_the_cgroup_to_its_root(void) {
    for (size_t i = 0; i < sizeof quotas / sizeof *quotas; i++) {
        const machine m = machine_make(quotas[i].files);
        const double quota = nlm_cgroup_cpu_quota(m.root);
        CU_ASSERT_DOUBLE_EQUAL(quota, quotas[i].quota_cpus, 1e-12);
        if (fabs(quota - quotas[i].quota_cpus) > 1e-12) printf("\n    %s: got %g", quotas[i].what, quota);
        machine_remove(&m);
    }
}

static const check_case cases[] = {
    CHECK_CASE(one_thread_per_allowed_core_within_the_quota),
    CHECK_CASE(cores_are_disjoint_and_hold_all_their_allowed_cpus),
    CHECK_CASE(cores_of_a_package_stand_together),
    CHECK_CASE(a_cpu_whose_core_makes_no_sense_is_one_of_its_own),
    CHECK_CASE(more_threads_than_possible_are_refused),
    CHECK_CASE(quota_is_the_smallest_from_the_cgroup_to_its_root),
};

CHECK_MAIN("placement", cases)
