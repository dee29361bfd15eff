/* What cgroups leave this process: one walk over the mounted hierarchies, and what it reads in each folder. */
#include "base/cgroup.h"

#include "base/str.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One mounted hierarchy that can carry the limit looked for. */
typedef struct hierarchy {
    bool is_v2;
    char cgroup[4096]; /* the cgroup shown at the mount point, usually "/" */
    char mount[4096];  /* where it is mounted */
} hierarchy;

static FILE *open_under(const char *root, const char *path) {
    nlm_str full = {0};
    nlm_str_printf(&full, "%s%s", root, path);
    FILE *file = full.has_failed ? NULL : fopen(full.data, "re");
    nlm_str_release(&full);
    return file;
}

/* Does the comma-separated list have the word? */
static bool list_has(const char *list, const char *word) {
    const size_t length = strlen(word);
    for (const char *at = list; at; at = strchr(at, ',')) {
        if (*at == ',') at++;
        if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == '\0')) return true;
    }
    return false;
}

/* The kernel writes blank, tab, newline and backslash of a path as \ooo. */
static void unescape(char *text) {
    char *to = text;
    for (const char *from = text; *from; to++) {
        unsigned code;
        if (from[0] == '\\' && sscanf(from + 1, "%3o", &code) == 1) {
            *to = (char)code;
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* A line of /proc/PID/mountinfo: "36 35 98:0 /cgroup /mount/point options [tags] - type source superoptions". */
static bool parse_mount(const char *line, const char *controller, hierarchy *out) {
    char type[64], options[1024];
    if (sscanf(line, "%*s %*s %*s %4095s %4095s", out->cgroup, out->mount) != 2) return false;
    const char *separator = strstr(line, " - ");
    if (!separator || sscanf(separator, " - %63s %*s %1023s", type, options) != 2) return false;
    out->is_v2 = strcmp(type, "cgroup2") == 0;
    if (!out->is_v2 && (strcmp(type, "cgroup") != 0 || !list_has(options, controller))) return false;
    unescape(out->cgroup);
    unescape(out->mount);
    return true;
}

/* The process's path in a hierarchy, from the lines "number:controllers:path" of /proc/self/cgroup; v2
 * has no controllers. */
static bool find_path(const char *root, bool is_v2, const char *controller, nlm_str *out) {
    FILE *file = open_under(root, "/proc/self/cgroup");
    if (!file) return false;
    char *line = NULL;
    size_t capacity = 0;
    bool found = false;
    while (!found && getline(&line, &capacity, file) > 0) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *path++ = '\0';
        controllers++;
        found = is_v2 ? *controllers == '\0' : list_has(controllers, controller);
        if (found) nlm_str_puts(out, path);
    }
    free(line);
    fclose(file);
    return found && !out->has_failed;
}

/* What of the path lies below the mounted cgroup; "" where it is that cgroup itself, or where a
 * cgroup namespace hides the relation. */
static const char *below_mount(const char *path, const char *mounted) {
    if (strstr(path, "/..")) return "";
    if (strcmp(mounted, "/") == 0) return strcmp(path, "/") == 0 ? "" : path;
    const size_t length = strlen(mounted);
    if (strncmp(path, mounted, length) != 0 || (path[length] != '/' && path[length] != '\0')) return "";
    return path + length;
}

/* Reads up to two numbers of a one-line file in a folder; how many. "max" is no number. */
static int read_numbers(const char *folder, const char *name, double *a, double *b) {
    FILE *file = open_under(folder, name);
    if (!file) return 0;
    const int count = fscanf(file, "%lf %lf", a, b);
    fclose(file);
    return count > 0 ? count : 0;
}

/* A limit that one folder of a hierarchy sets; INFINITY if it sets none. */
typedef struct limit {
    const char *controller; /* of v1 */
    double (*read)(const char *folder, bool is_v2);
} limit;

/* The smallest from the process's cgroup up to the mount point. */
static double smallest_in(const char *root, const hierarchy *tree, const limit *wanted) {
    nlm_str path = {0}, folder = {0};
    double smallest = INFINITY;
    if (find_path(root, tree->is_v2, wanted->controller, &path)) {
        nlm_str_printf(&folder, "%s%s", root, tree->mount);
        const size_t top = folder.length;
        nlm_str_puts(&folder, below_mount(path.data, tree->cgroup));
        while (!folder.has_failed) {
            smallest = fmin(smallest, wanted->read(folder.data, tree->is_v2));
            char *slash = strrchr(folder.data, '/');
            if (!slash || (size_t)(slash - folder.data) < top) break;
            *slash = '\0';
        }
    }
    nlm_str_release(&path);
    nlm_str_release(&folder);
    return smallest;
}

/* The smallest in all hierarchies. */
static double smallest_of(const char *root, const limit *wanted) {
    FILE *file = open_under(root, "/proc/self/mountinfo");
    if (!file) return INFINITY;
    char *line = NULL;
    size_t capacity = 0;
    double smallest = INFINITY;
    hierarchy tree;
    while (getline(&line, &capacity, file) > 0) {
        if (!parse_mount(line, wanted->controller, &tree)) continue;
        smallest = fmin(smallest, smallest_in(root, &tree, wanted));
    }
    free(line);
    fclose(file);
    return smallest;
}

static double read_quota(const char *folder, bool is_v2) {
    double quota_us = 0, period_us = 0, unused;
    if (is_v2) {
        if (read_numbers(folder, "/cpu.max", &quota_us, &period_us) != 2) return INFINITY;
    } else if (read_numbers(folder, "/cpu.cfs_quota_us", &quota_us, &unused) < 1 ||
               read_numbers(folder, "/cpu.cfs_period_us", &period_us, &unused) < 1) {
        return INFINITY;
    }
    return quota_us > 0 && period_us > 0 ? quota_us / period_us : INFINITY;
}

double nlm_cgroup_cpu_quota(const char *root) {
    const double quota = smallest_of(root, &(limit){"cpu", read_quota});
    return isinf(quota) ? 0 : quota;
}

/* Pages of files that the group has read: counted as used, and given up when memory is short. */
static double read_file_pages(const char *folder) {
    FILE *file = open_under(folder, "/memory.stat");
    if (!file) return 0;
    char line[256];
    double sum = 0, bytes;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "inactive_file %lf", &bytes) == 1) sum += bytes;
        if (sscanf(line, "active_file %lf", &bytes) == 1) sum += bytes;
    }
    fclose(file);
    return sum;
}

static double read_memory_left(const char *folder, bool is_v2) {
    double most, used, unused;
    if (read_numbers(folder, is_v2 ? "/memory.max" : "/memory.limit_in_bytes", &most, &unused) < 1 ||
        read_numbers(folder, is_v2 ? "/memory.current" : "/memory.usage_in_bytes", &used, &unused) < 1) {
        return INFINITY;
    }
    return fmax(0, most - fmax(0, used - read_file_pages(folder)));
}

uint64_t nlm_cgroup_memory_left(const char *root) {
    const double left = smallest_of(root, &(limit){"memory", read_memory_left});
    return left < 0x1p64 ? (uint64_t)left : UINT64_MAX;
}
