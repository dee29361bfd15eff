/* How many threads to run, and on which cores each. Of hwloc its sets of CPUs alone: its reading of a machine ends
 * the process at some allocations that fail (2.9.0), and this one is the host's. */
#include "base/placement.h"

#include "base/cgroup.h"
#include "base/status.h"

#include <fcntl.h>
#include <hwloc.h>
#include <hwloc/glibc-sched.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void nlm_placement_release(nlm_placement *placement) {
    for (uint32_t i = 0; i < placement->core_count; i++) hwloc_bitmap_free(placement->cores[i]);
    free(placement->cores);
    hwloc_bitmap_free(placement->allowed);
    *placement = (nlm_placement){0};
}

#define LIST_BYTES   4096 /* what sysfs shows of a file at once */
#define GREATEST_CPU (1u << 20)

/* Reads a file of the CPU's into text, a string; false: there is none. Allocates nothing. */
static bool read_topology(const char *root, int cpu, const char *name, char text[LIST_BYTES]) {
    char path[512];
    const int length = snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%d/topology/%s", root, cpu, name);
    const int fd = length < (int)sizeof path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return false;
    const ssize_t n = read(fd, text, LIST_BYTES - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* Adds the CPUs of a list as "0-3,8" to the set; what makes no sense ends it. False without memory. */
static bool add_list(const char *list, hwloc_bitmap_t out) {
    for (;;) {
        char *end;
        const unsigned long first = strtoul(list, &end, 10);
        if (end == list) return true;
        list = end;
        const unsigned long last = *list == '-' ? strtoul(list + 1, &end, 10) : first;
        if (first > last || last > GREATEST_CPU) return true;
        if (hwloc_bitmap_set_range(out, (unsigned)first, (int)last) < 0) return false;
        if (*end != ',') return true;
        list = end + 1;
    }
}

/* The CPUs of the CPU's physical core: it alone where that is not known (virtual machines that hide theirs). False
 * without memory. */
static bool find_siblings(const char *root, int cpu, hwloc_bitmap_t out) {
    char list[LIST_BYTES];
    if (!read_topology(root, cpu, "core_cpus_list", list) && !read_topology(root, cpu, "thread_siblings_list", list))
        list[0] = '\0';
    if (!add_list(list, out)) return false;
    return hwloc_bitmap_isset(out, (unsigned)cpu) || hwloc_bitmap_only(out, (unsigned)cpu) == 0;
}

static long package_of(const char *root, int cpu) {
    char number[LIST_BYTES];
    return read_topology(root, cpu, "physical_package_id", number) ? strtol(number, NULL, 10) : 0;
}

/* Adds the core of a CPU that none has so far, behind those of its package. */
static bool add_core(const char *root, int cpu, nlm_placement *out) {
    hwloc_bitmap_t core = hwloc_bitmap_alloc();
    if (!core) return false;
    uint32_t at = out->core_count;
    out->core_count++;
    for (; at > 0 && package_of(root, hwloc_bitmap_first(out->cores[at - 1])) > package_of(root, cpu); at--)
        out->cores[at] = out->cores[at - 1];
    out->cores[at] = core;
    return find_siblings(root, cpu, core) && hwloc_bitmap_and(core, core, out->allowed) == 0;
}

static bool is_in_a_core(const nlm_placement *placement, int cpu) {
    for (uint32_t i = 0; i < placement->core_count; i++) {
        if (hwloc_bitmap_isset(placement->cores[i], (unsigned)cpu)) return true;
    }
    return false;
}

/* One set per physical core with an allowed CPU, package by package. */
static bool find_cores(const char *root, nlm_placement *out) {
    const int cpus = hwloc_bitmap_weight(out->allowed);
    if (cpus <= 0) return false;
    out->cores = calloc((size_t)cpus, sizeof *out->cores);
    if (!out->cores) return false;
    for (int cpu = hwloc_bitmap_first(out->allowed); cpu >= 0; cpu = hwloc_bitmap_next(out->allowed, cpu)) {
        if (!is_in_a_core(out, cpu) && !add_core(root, cpu, out)) return false;
    }
    return true;
}

static uint32_t quota_ceiling(double quota_cpus) {
    if (quota_cpus >= NLM_THREADS_MAX) return NLM_THREADS_MAX;
    const uint32_t whole = (uint32_t)quota_cpus;
    return (double)whole < quota_cpus ? whole + 1 : whole;
}

static const char *plural(uint32_t count) {
    return count == 1 ? "" : "s";
}

static void choose_count(nlm_placement *out, double quota_cpus, uint32_t requested) {
    const uint32_t cpus = (uint32_t)hwloc_bitmap_weight(out->allowed);
    const uint32_t quota_threads = quota_cpus > 0 ? quota_ceiling(quota_cpus) : NLM_THREADS_MAX;
    const uint32_t cores = out->core_count < NLM_THREADS_MAX ? out->core_count : NLM_THREADS_MAX;
    out->threads = requested ? requested : quota_threads < cores ? quota_threads : cores;
    out->is_bound = out->threads == out->core_count;
    out->has_cpu_for_all = out->threads <= cpus && out->threads <= quota_threads;

    char quota[64] = "no cgroup quota";
    if (quota_cpus > 0) snprintf(quota, sizeof quota, "cgroup quota of %.4g CPUs", quota_cpus);
    const char *const s = plural(out->threads);
    if (requested) {
        snprintf(out->reason, sizeof out->reason,
                 "%u thread%s: as asked for, on %u physical core%s and %u allowed CPU%s (%s)%s", out->threads, s,
                 out->core_count, plural(out->core_count), cpus, plural(cpus), quota,
                 out->has_cpu_for_all ? "" : "; more threads than can run at once");
    } else if (quota_threads < cores) {
        snprintf(out->reason, sizeof out->reason, "%u thread%s: the %s, on %u physical cores and %u allowed CPUs",
                 out->threads, s, quota, out->core_count, cpus);
    } else {
        snprintf(out->reason, sizeof out->reason, "%u thread%s: one per physical core of %u allowed CPU%s (%s)",
                 out->threads, s, cpus, plural(cpus), quota);
    }
}

static nlm_status no_memory(nlm_placement *out, nlm_error *err) {
    nlm_placement_release(out);
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_placement", "out of memory laying out threads");
}

nlm_status nlm_placement_choose(const char *root, hwloc_const_bitmap_t allowed, double quota_cpus, uint32_t requested,
                                nlm_placement *out, nlm_error *err) {
    *out = (nlm_placement){0};
    if (requested > NLM_THREADS_MAX) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_placement", "%u threads asked for, at most %u are possible",
                        requested, NLM_THREADS_MAX);
    }
    out->allowed = hwloc_bitmap_dup(allowed);
    if (!out->allowed || !find_cores(root, out)) return no_memory(out, err);
    choose_count(out, quota_cpus, requested);
    return NLM_OK;
}

/* The calling thread's affinity mask, of a machine with any number of CPUs; false without memory. */
static bool read_affinity(hwloc_bitmap_t mask) {
    bool has_memory = true, fits = false;
    for (size_t cpus = CPU_SETSIZE; cpus <= GREATEST_CPU && has_memory && !fits; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC(cpus);
        if (!set) return false;
        const size_t bytes = CPU_ALLOC_SIZE(cpus);
        fits = sched_getaffinity(0, bytes, set) == 0;
        if (fits) has_memory = hwloc_cpuset_from_glibc_sched_affinity(NULL, mask, set, bytes) == 0;
        CPU_FREE(set);
    }
    return has_memory && (!hwloc_bitmap_iszero(mask) || hwloc_bitmap_only(mask, 0) == 0);
}

nlm_status nlm_placement_here(uint32_t requested, nlm_placement *out, nlm_error *err) {
    *out = (nlm_placement){0};
    hwloc_bitmap_t mask = hwloc_bitmap_alloc();
    const nlm_status status = mask && read_affinity(mask)
                                  ? nlm_placement_choose("", mask, nlm_cgroup_cpu_quota(""), requested, out, err)
                                  : no_memory(out, err);
    hwloc_bitmap_free(mask);
    return status;
}
