#include "session/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PATH_SIZE 4096

/* The number in a file of one number; UINT64_MAX if there is none ("max", no such file). */
static uint64_t read_number(const char *root, const char *directory, const char *name) {
    char path[PATH_SIZE];
    const int length = snprintf(path, sizeof path, "%s%s/%s", root, directory, name);
    if (length < 0 || (size_t)length >= sizeof path) return UINT64_MAX;
    FILE *file = fopen(path, "re");
    if (!file) return UINT64_MAX;
    uint64_t value = UINT64_MAX;
    if (fscanf(file, "%" SCNu64, &value) != 1) value = UINT64_MAX;
    fclose(file);
    return value;
}

static uint64_t read_meminfo(const char *root) {
    char path[PATH_SIZE], line[256];
    const int length = snprintf(path, sizeof path, "%s/proc/meminfo", root);
    if (length < 0 || (size_t)length >= sizeof path) return UINT64_MAX;
    FILE *file = fopen(path, "re");
    if (!file) return UINT64_MAX;
    uint64_t kib = UINT64_MAX / 1024;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1) break;
    }
    fclose(file);
    return kib >= UINT64_MAX / 1024 ? UINT64_MAX : kib * 1024;
}

/* Pages of files that the group has read: counted as used, and given up when memory is short. */
static uint64_t read_file_pages(const char *root, const char *directory) {
    char path[PATH_SIZE], line[256];
    const int length = snprintf(path, sizeof path, "%s%s/memory.stat", root, directory);
    if (length < 0 || (size_t)length >= sizeof path) return 0;
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    uint64_t sum = 0, bytes;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "inactive_file %" SCNu64, &bytes) == 1) sum += bytes;
        if (sscanf(line, "active_file %" SCNu64, &bytes) == 1) sum += bytes;
    }
    fclose(file);
    return sum;
}

/* What one group's limit leaves. */
static uint64_t read_group(const char *root, const char *directory, const char *limit_name, const char *used_name) {
    const uint64_t limit = read_number(root, directory, limit_name);
    uint64_t used = read_number(root, directory, used_name);
    if (limit == UINT64_MAX || used == UINT64_MAX) return UINT64_MAX;
    const uint64_t file_pages = read_file_pages(root, directory);
    used = used > file_pages ? used - file_pages : 0;
    return limit > used ? limit - used : 0;
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* The least that the group and its ancestors leave. `group` is cut from the right as it goes. */
static uint64_t walk_group(const char *root, const char *mount, char *group, const char *limit, const char *used) {
    uint64_t left = UINT64_MAX;
    for (;;) {
        char directory[PATH_SIZE];
        const int length = snprintf(directory, sizeof directory, "%s%s", mount, group);
        if (length < 0 || (size_t)length >= sizeof directory) return left;
        left = least(left, read_group(root, directory, limit, used));
        char *slash = strrchr(group, '/');
        if (!slash) return left;
        *slash = '\0';
    }
}

static uint64_t read_groups(const char *root) {
    char path[PATH_SIZE], line[PATH_SIZE];
    const int length = snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    if (length < 0 || (size_t)length >= sizeof path) return UINT64_MAX;
    FILE *file = fopen(path, "re");
    if (!file) return UINT64_MAX;
    uint64_t left = UINT64_MAX;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *group++ = '\0';
        if (controllers[1] == '\0') {
            left = least(left, walk_group(root, "/sys/fs/cgroup", group, "memory.max", "memory.current"));
        } else if (strstr(controllers + 1, "memory")) {
            left = least(left, walk_group(root, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes",
                                          "memory.usage_in_bytes"));
        }
    }
    fclose(file);
    return left;
}

uint64_t nlm_memory_available(const char *root) {
    const uint64_t bytes = least(read_meminfo(root), read_groups(root));
    return bytes == UINT64_MAX ? 0 : bytes;
}
