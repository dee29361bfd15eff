/* The CPU bandwidth and the memory that cgroups leave this process. In both functions `root` goes before every
 * path: "" for this machine, a folder in tests.
 * Source   Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/cgroups.rst and proc_pid_mountinfo(5). */
#ifndef NLM_BASE_CGROUP_H
#define NLM_BASE_CGROUP_H

#include <stdint.h>

/* The smallest quota, in CPUs (1.5: 150 ms of CPU time every 100 ms), of the process's cgroup and its
 * ancestors, in the v2 hierarchy (cpu.max) and v1's cpu controller (cpu.cfs_quota_us); 0 if none is
 * set or none can be read. */
double nlm_cgroup_cpu_quota(const char *root);

/* The fewest bytes that a memory limit of the same cgroups leaves, pages of files not counted as used; UINT64_MAX if
 * none is set or none can be read. */
uint64_t nlm_cgroup_memory_left(const char *root);

#endif
