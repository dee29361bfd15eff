/* How many threads to run, and on which cores each. */
#include "base/placement.h"

#include "base/cgroup.h"
#include "base/status.h"

#include <hwloc/glibc-sched.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

void nlm_placement_release(nlm_placement *placement) {
    for (uint32_t i = 0; i < placement->core_count; i++) hwloc_bitmap_free(placement->cores[i]);
    free(placement->cores);
    hwloc_bitmap_free(placement->allowed);
    *placement = (nlm_placement){0};
}

static bool add_core(nlm_placement *out, uint32_t capacity) {
    if (out->core_count == capacity) return false;
    out->cores[out->core_count] = hwloc_bitmap_alloc();
    if (!out->cores[out->core_count]) return false;
    out->core_count++;
    return true;
}

/* One set per physical core with an allowed CPU. A CPU without a core (virtual machines that hide
 * theirs) is a core of its own. */
static bool find_cores(hwloc_topology_t topology, nlm_placement *out) {
    const int cpus = hwloc_bitmap_weight(out->allowed);
    if (cpus <= 0) return false;
    out->cores = calloc((size_t)cpus, sizeof *out->cores);
    if (!out->cores) return false;
    hwloc_obj_t pu = NULL, last_core = NULL;
    while ((pu = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, pu))) {
        if (!hwloc_bitmap_isset(out->allowed, pu->os_index)) continue;
        hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, pu);
        if (!core || core != last_core) {
            if (!add_core(out, (uint32_t)cpus)) return false;
        }
        last_core = core;
        if (hwloc_bitmap_set(out->cores[out->core_count - 1], pu->os_index) < 0) return false;
    }
    return true;
}

/* For a machine hwloc knows nothing about: every allowed CPU is a core. */
static bool cpus_as_cores(nlm_placement *out) {
    const int cpus = hwloc_bitmap_weight(out->allowed);
    for (int cpu = hwloc_bitmap_first(out->allowed); cpu >= 0; cpu = hwloc_bitmap_next(out->allowed, cpu)) {
        if (!add_core(out, (uint32_t)cpus)) return false;
        if (hwloc_bitmap_set(out->cores[out->core_count - 1], (unsigned)cpu) < 0) return false;
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

nlm_status nlm_placement_choose(hwloc_topology_t topology, hwloc_const_bitmap_t allowed, double quota_cpus,
                                uint32_t requested, nlm_placement *out, nlm_error *err) {
    *out = (nlm_placement){0};
    if (requested > NLM_THREADS_MAX) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_placement", "%u threads asked for, at most %u are possible",
                        requested, NLM_THREADS_MAX);
    }
    out->allowed = hwloc_bitmap_dup(allowed);
    if (!out->allowed) return no_memory(out, err);
    hwloc_const_cpuset_t known = hwloc_topology_get_topology_cpuset(topology);
    if (hwloc_bitmap_intersects(out->allowed, known)) hwloc_bitmap_and(out->allowed, out->allowed, known);
    if (!find_cores(topology, out)) return no_memory(out, err);
    if (out->core_count == 0 && !cpus_as_cores(out)) return no_memory(out, err);
    choose_count(out, quota_cpus, requested);
    return NLM_OK;
}

/* The calling thread's affinity mask, of a machine with any number of CPUs; NULL without memory. */
static hwloc_bitmap_t affinity_mask(hwloc_topology_t topology) {
    hwloc_bitmap_t mask = hwloc_bitmap_alloc();
    if (!mask) return NULL;
    for (size_t cpus = CPU_SETSIZE; cpus <= (1u << 20); cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC(cpus);
        if (!set) break;
        const size_t bytes = CPU_ALLOC_SIZE(cpus);
        const bool fits = sched_getaffinity(0, bytes, set) == 0;
        if (fits) hwloc_cpuset_from_glibc_sched_affinity(topology, mask, set, bytes);
        CPU_FREE(set);
        if (fits) break;
    }
    if (hwloc_bitmap_iszero(mask)) hwloc_bitmap_only(mask, 0);
    return mask;
}

static int load_topology(hwloc_topology_t *out) {
    if (hwloc_topology_init(out) < 0) return -1;
    /* Cores and CPUs are all that is asked of it. */
    hwloc_topology_set_all_types_filter(*out, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_type_filter(*out, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
    if (hwloc_topology_load(*out) == 0) return 0;
    hwloc_topology_destroy(*out);
    return -1;
}

nlm_status nlm_placement_here(uint32_t requested, nlm_placement *out, nlm_error *err) {
    *out = (nlm_placement){0};
    hwloc_topology_t topology;
    if (load_topology(&topology) < 0) {
        return nlm_fail_errno(err, NLM_INTERNAL, "nlm_placement", "hwloc cannot read the machine's topology");
    }
    hwloc_bitmap_t mask = affinity_mask(topology);
    const nlm_status status =
        mask ? nlm_placement_choose(topology, mask, nlm_cgroup_cpu_quota(""), requested, out, err)
             : no_memory(out, err);
    hwloc_bitmap_free(mask);
    hwloc_topology_destroy(topology);
    return status;
}
