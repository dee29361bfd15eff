/* Files that a program writes, which must be none of those that it reads. */
#include "common/output.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/status.h"

static bool is_one(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Of two that are not there: the same name in the same folder. */
static bool will_be_one(const char *a, const char *b) {
    struct stat x, y;
    char *copies[] = {strdup(a), strdup(b), strdup(a), strdup(b)};
    bool is_same = copies[0] && copies[1] && copies[2] && copies[3];
    is_same = is_same && strcmp(basename(copies[0]), basename(copies[1])) == 0;
    is_same = is_same && stat(dirname(copies[2]), &x) == 0 && stat(dirname(copies[3]), &y) == 0 && is_one(&x, &y);
    for (size_t i = 0; i < sizeof copies / sizeof *copies; i++) free(copies[i]);
    return is_same;
}

bool nlm_is_same_file(const char *a, const char *b) {
    struct stat x, y;
    if (!a || !b) return false;
    const bool has_a = stat(a, &x) == 0, has_b = stat(b, &y) == 0;
    if (has_a != has_b) return false;
    return has_a ? is_one(&x, &y) : will_be_one(a, b);
}

int nlm_check_output(const nlm_command *command, const char *name, const char *path, const char *const *inputs,
                     size_t n_inputs) {
    for (size_t i = 0; path && i < n_inputs; i++) {
        if (nlm_is_same_file(path, inputs[i])) {
            return nlm_tell_usage(command, "%s is the file that is read; name another", name);
        }
    }
    return NLM_OPTIONS_GO_ON;
}

nlm_status nlm_check_place(const char *path, nlm_error *err) {
    nlm_file_writer *writer;
    NLM_TRY(nlm_file_writer_create(path, &writer, err));
    nlm_file_writer_destroy(writer);
    return NLM_OK;
}
