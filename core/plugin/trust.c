/* Whether others could have written a library or a folder above it. */
#include "plugin/trust.h"

#include "plugin/discover.h"

#include <errno.h>
#include <stdio.h>
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

/* nlm's own code and its folder: whoever may change one of them can change what runs already. */
typedef struct own_code {
    struct stat file, folder;
} own_code;

static bool may_own(uid_t user, const own_code *own) {
    return user == 0 || user == geteuid() || (own && (user == own->file.st_uid || user == own->folder.st_uid));
}

/* Those of the bits of group and others that let nobody in who may not write to `code` as well. */
static mode_t shared_bits(const struct stat *part, const struct stat *code) {
    return (code->st_mode & S_IWOTH) | (code->st_gid == part->st_gid ? code->st_mode & S_IWGRP : 0);
}

static bool check_part(const char *path, const struct stat *info, const own_code *own, nlm_verdict *verdict) {
    if (!may_own(info->st_uid, own)) {
        return nlm_refuse(
            verdict,
            "%s belongs to user %u; expected root or the user who runs this (%u): chown -h %u '%s', or use "
            "a copy of your own",
            path, (unsigned)info->st_uid, (unsigned)geteuid(), (unsigned)geteuid(), path);
    }
    mode_t others = info->st_mode & (S_IWGRP | S_IWOTH);
    if (own) others &= ~(shared_bits(info, &own->file) | shared_bits(info, &own->folder));
    const bool is_sticky = S_ISDIR(info->st_mode) && (info->st_mode & S_ISVTX);
    if (!others || is_sticky) return true;
    const bool is_group = !(others & S_IWOTH);
    return nlm_refuse(verdict, "%s can be written by %s (mode %03o); expected by its owner alone: chmod %s '%s'",
                      path, is_group ? "its group" : "everybody", (unsigned)(info->st_mode & 07777),
                      is_group ? "g-w" : "go-w", path);
}

/* Checks "/", "/a", "/a/b", ... up to the path itself, which has no links; parts that end before `from` are left out.
 */
static bool check_parts(char *path, size_t from, const own_code *own, nlm_verdict *verdict) {
    struct stat info;
    const size_t length = strlen(path);
    for (size_t end = from; end <= length; end++) {
        if (end > 1 && end < length && path[end] != '/') continue;
        const char saved = path[end];
        path[end] = '\0';
        const bool is_known = lstat(path, &info) == 0;
        const bool is_trusted = is_known && check_part(path, &info, own, verdict);
        if (!is_known) nlm_refuse(verdict, "%s cannot be examined: %s", path, strerror(errno));
        path[end] = saved;
        if (!is_trusted) return false;
    }
    if (S_ISREG(info.st_mode)) return true;
    return nlm_refuse(verdict, "%s is %s; expected a regular file", path, kind_text(info.st_mode));
}

/* Behind the last folder that is above both. */
static size_t behind_common_folder(const char *a, const char *b) {
    size_t behind = 1;
    for (size_t i = 0; a[i] && a[i] == b[i]; i++) {
        if (a[i] == '/') behind = i + 1;
    }
    return behind;
}

bool nlm_trust_check_own(const char *path, const char *code, char resolved[PATH_MAX], nlm_verdict *verdict) {
    char folder[PATH_MAX];
    own_code own;
    snprintf(folder, sizeof folder, "%s", code);
    *(strrchr(folder, '/') + 1) = '\0';
    if (!realpath(path, resolved)) return nlm_refuse(verdict, "%s cannot be found: %s", path, strerror(errno));
    if (stat(code, &own.file) != 0 || stat(folder, &own.folder) != 0) return check_parts(resolved, 1, NULL, verdict);
    return check_parts(resolved, behind_common_folder(resolved, code), &own, verdict);
}

/* Does the path without links lie in the folder of nlm's own plugins? */
static bool is_own(const char *resolved, char code[PATH_MAX]) {
    char folder[PATH_MAX];
    if (!nlm_discover_code(code) || !nlm_discover_folder(folder)) return false;
    const size_t length = strlen(folder);
    return strncmp(resolved, folder, length) == 0 && resolved[length] == '/';
}

bool nlm_trust_check(const char *path, char resolved[PATH_MAX], nlm_verdict *verdict) {
    if (!*path) return nlm_refuse(verdict, "the library has an empty name");
    if (*path != '/') return nlm_refuse(verdict, "'%s' is not an absolute path", path);
    if (!realpath(path, resolved)) return nlm_refuse(verdict, "%s cannot be found: %s", path, strerror(errno));
    char code[PATH_MAX];
    if (is_own(resolved, code)) return nlm_trust_check_own(path, code, resolved, verdict);
    return check_parts(resolved, 1, NULL, verdict);
}
