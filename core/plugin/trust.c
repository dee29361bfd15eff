/* Whether others could have written a library or a folder above it. */
#include "plugin/trust.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *kind_text(mode_t mode) {
    if (S_ISDIR(mode)) return "a directory";
    if (S_ISFIFO(mode)) return "a FIFO";
    if (S_ISSOCK(mode)) return "a socket";
    if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
    return "something else";
}

static bool check_part(const char *path, const struct stat *info, nlm_verdict *verdict) {
    if (info->st_uid != 0 && info->st_uid != geteuid()) {
        return nlm_refuse(verdict, "%s belongs to user %u; expected root or the user who runs this (%u)", path,
                          (unsigned)info->st_uid, (unsigned)geteuid());
    }
    const mode_t others = info->st_mode & (S_IWGRP | S_IWOTH);
    const bool is_sticky = S_ISDIR(info->st_mode) && (info->st_mode & S_ISVTX);
    if (!others || is_sticky) return true;
    const bool is_group = !(others & S_IWOTH);
    return nlm_refuse(verdict, "%s can be written by %s (mode %03o); expected by its owner alone: chmod %s '%s'",
                      path, is_group ? "its group" : "everybody", (unsigned)(info->st_mode & 07777),
                      is_group ? "g-w" : "go-w", path);
}

/* Checks "/", "/a", "/a/b", ... up to the path itself, which has no links. */
static bool check_parts(char *path, nlm_verdict *verdict) {
    struct stat info;
    const size_t length = strlen(path);
    for (size_t end = 1; end <= length; end++) {
        if (end > 1 && end < length && path[end] != '/') continue;
        const char saved = path[end];
        path[end] = '\0';
        const bool is_known = lstat(path, &info) == 0;
        const bool is_trusted = is_known && check_part(path, &info, verdict);
        if (!is_known) nlm_refuse(verdict, "%s cannot be examined: %s", path, strerror(errno));
        path[end] = saved;
        if (!is_trusted) return false;
    }
    if (S_ISREG(info.st_mode)) return true;
    return nlm_refuse(verdict, "%s is %s; expected a regular file", path, kind_text(info.st_mode));
}

bool nlm_trust_check(const char *path, char resolved[PATH_MAX], nlm_verdict *verdict) {
    if (!*path) return nlm_refuse(verdict, "the library has an empty name");
    if (*path != '/') return nlm_refuse(verdict, "'%s' is not an absolute path", path);
    if (!realpath(path, resolved)) return nlm_refuse(verdict, "%s cannot be found: %s", path, strerror(errno));
    return check_parts(resolved, verdict);
}
