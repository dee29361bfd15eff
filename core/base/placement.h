/* How many threads to run, and where: the decision behind nlm_pool_create, without its mechanics. */
#ifndef NLM_BASE_PLACEMENT_H
#define NLM_BASE_PLACEMENT_H

#include <hwloc/bitmap.h>
#include <nlm/status.h>
#include <stdbool.h>
#include <stdint.h>

#define NLM_THREADS_MAX 1024u

typedef struct nlm_placement {
    uint32_t threads;
    uint32_t core_count;   /* physical cores with an allowed CPU */
    hwloc_bitmap_t *cores; /* [core_count] the allowed CPUs of each core, in the machine's order */
    hwloc_bitmap_t allowed;
    bool is_bound;        /* thread i belongs on cores[i]; else anywhere in `allowed` */
    bool has_cpu_for_all; /* every thread can run at once: waiting threads may spin */
    char reason[256];
} nlm_placement;

/* Decides for a machine and what of it this process may use. Threads are bound only if they take
 * every allowed core: two processes that each bind to the first half of a machine would share it.
 *   root         "" for this machine, or a folder with another's /sys/devices/system/cpu
 *   allowed      CPUs of the affinity mask and cpuset; one whose core is not known is a core of its own
 *   quota_cpus   0 for none
 *   requested    threads asked for; 0: one per allowed core, at most the quota rounded up
 * Errors   INVALID_ARGUMENT (requested above NLM_THREADS_MAX), OUT_OF_MEMORY; out is released. */
nlm_status nlm_placement_choose(const char *root, hwloc_const_bitmap_t allowed, double quota_cpus, uint32_t requested,
                                nlm_placement *out, nlm_error *err);
/* As nlm_placement_choose, for this machine and the calling thread's affinity mask. */
nlm_status nlm_placement_here(uint32_t requested, nlm_placement *out, nlm_error *err);
/* Leaves a zeroed struct, which is valid to release. */
void nlm_placement_release(nlm_placement *placement);

#endif
