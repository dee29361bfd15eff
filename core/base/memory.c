/* The memory that the machine has left, from /proc/meminfo and the limits of cgroups. */
#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/cgroup.h"
#include "base/str.h"

static uint64_t read_meminfo(const char *root) {
    nlm_str path = {0};
    nlm_str_printf(&path, "%s/proc/meminfo", root);
    FILE *file = path.has_failed ? NULL : fopen(path.data, "re");
    nlm_str_release(&path);
    if (!file) return UINT64_MAX;
    char line[256];
    uint64_t kib = UINT64_MAX / 1024;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1) break;
    }
    fclose(file);
    return kib >= UINT64_MAX / 1024 ? UINT64_MAX : kib * 1024;
}

uint64_t nlm_memory_available(const char *root) {
    const uint64_t machine = read_meminfo(root), groups = nlm_cgroup_memory_left(root);
    const uint64_t bytes = machine < groups ? machine : groups;
    return bytes == UINT64_MAX ? 0 : bytes;
}
