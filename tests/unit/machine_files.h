/* A machine made of files, as in /proc and /sys, under a folder of its own. */
#ifndef NLM_TESTS_MACHINE_FILES_H
#define NLM_TESTS_MACHINE_FILES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "check.h"

typedef struct machine_file {
    const char *path, *text;
} machine_file;

typedef struct machine {
    char root[64];
} machine;

static inline void machine_write(const machine *m, const machine_file *what) {
    char path[512];
    snprintf(path, sizeof path, "%s%s", m->root, what->path);
    for (char *slash = strchr(path + strlen(m->root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(what->text, file);
    fclose(file);
}

/* Of the files up to the first without a path. */
static inline machine machine_make(const machine_file *files) {
    machine m = {"/tmp/nlm-machine-XXXXXX"};
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(m.root));
    for (; files->path; files++) machine_write(&m, files);
    return m;
}

static inline void machine_remove(const machine *m) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", m->root);
    CU_ASSERT_EQUAL(system(command), 0);
}

#endif
