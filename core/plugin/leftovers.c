/* What a plugin left behind in this process: threads, descriptors and mappings. */
#include "plugin/leftovers.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The number an entry of /proc stands for; -1 for "." and "..". */
static int entry_number(const struct dirent *entry) {
    return entry->d_name[0] == '.' ? -1 : atoi(entry->d_name);
}

static size_t count_threads(void) {
    size_t count = 0;
    DIR *list = opendir("/proc/self/task");
    if (!list) return 0;
    for (const struct dirent *entry; (entry = readdir(list));) count += entry_number(entry) >= 0;
    closedir(list);
    return count;
}

void nlm_leftovers_start(nlm_leftovers *before) {
    memset(before, 0, sizeof *before);
    before->n_threads = count_threads();
    DIR *list = opendir("/proc/self/fd");
    if (!list) return;
    for (const struct dirent *entry; (entry = readdir(list));) {
        const int fd = entry_number(entry);
        if (fd >= 0 && fd < NLM_LEFTOVERS_DESCRIPTORS && fd != dirfd(list)) before->is_open[fd] = true;
    }
    closedir(list);
}

static const char *descriptor_text(int fd, char buffer[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    buffer[length > 0 ? length : 0] = '\0';
    return buffer;
}

/* /dev/null, which anybody may open, is no driver's. */
static bool is_device_node(int fd) {
    struct stat info, null;
    if (fstat(fd, &info) != 0 || !S_ISCHR(info.st_mode)) return false;
    return stat("/dev/null", &null) != 0 || info.st_rdev != null.st_rdev;
}

static bool check_descriptors(const nlm_leftovers *before, const nlm_leftovers *now, const char *culprit,
                              nlm_verdict *verdict) {
    char text[PATH_MAX];
    for (int fd = 0; fd < NLM_LEFTOVERS_DESCRIPTORS; fd++) {
        if (now->is_open[fd] && !before->is_open[fd]) {
            return nlm_refuse(verdict, "%s leaves descriptor %d open (%.300s)", culprit, fd,
                              descriptor_text(fd, text));
        }
        if (before->is_open[fd] && !now->is_open[fd]) {
            return nlm_refuse(verdict, "%s closes descriptor %d, which is not its own", culprit, fd);
        }
    }
    return true;
}

bool nlm_leftovers_hold_device(const nlm_leftovers *before) {
    nlm_leftovers now;
    nlm_leftovers_start(&now);
    for (int fd = 0; fd < NLM_LEFTOVERS_DESCRIPTORS; fd++) {
        if (now.is_open[fd] && !before->is_open[fd] && is_device_node(fd)) return true;
    }
    return false;
}

bool nlm_leftovers_check(const nlm_leftovers *before, const char *culprit, nlm_verdict *verdict) {
    nlm_leftovers now;
    if (nlm_leftovers_hold_device(before)) return true;
    nlm_leftovers_start(&now);
    if (now.n_threads > before->n_threads) {
        return nlm_refuse(verdict, "%s leaves %zu thread%s running; a plugin starts none of its own", culprit,
                          now.n_threads - before->n_threads, now.n_threads - before->n_threads == 1 ? "" : "s");
    }
    return check_descriptors(before, &now, culprit, verdict);
}
