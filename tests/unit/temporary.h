/* A folder of a test's own, removed with what is in it. */
#ifndef NLM_TESTS_TEMPORARY_H
#define NLM_TESTS_TEMPORARY_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct temporary {
    char folder[256];
    char path[512]; /* of the last temporary_path */
} temporary;

/* 0 if the folder could not be made. */
static inline int temporary_make(temporary *t) {
    const char *root = getenv("TMPDIR");
    snprintf(t->folder, sizeof t->folder, "%s/nlm-test-XXXXXX", root && root[0] ? root : "/tmp");
    return mkdtemp(t->folder) != NULL;
}

/* The path of `name` in the folder; valid until the next call. */
static inline const char *temporary_path(temporary *t, const char *name) {
    snprintf(t->path, sizeof t->path, "%s/%s", t->folder, name);
    return t->path;
}

/* How many entries the folder has. */
static inline int temporary_count(const temporary *t) {
    DIR *dir = opendir(t->folder);
    if (!dir) return -1;
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    closedir(dir);
    return count;
}

/* Its files (no folders within) and itself. */
static inline void temporary_remove(temporary *t) {
    DIR *dir = opendir(t->folder);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        unlink(temporary_path(t, entry->d_name));
    }
    closedir(dir);
    rmdir(t->folder);
}

#endif
