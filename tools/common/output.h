/* Files that a program writes, which must be none of those that it reads. */
#ifndef NLM_COMMON_OUTPUT_H
#define NLM_COMMON_OUTPUT_H

#include <nlm/status.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/options.h"

/* By whatever names: links, ways through other folders. Of files that do not exist yet, too. NULL is no file. */
bool nlm_is_same_file(const char *a, const char *b);

/* NLM_OPTIONS_GO_ON; or what to exit with, which has been told, where `path` is one of the files that are read.
 * `name` is what the user gave it as: "OUT", "--logits". NULLs among `inputs`, and a `path` of NULL, are none. */
int nlm_check_output(const nlm_command *command, const char *name, const char *path, const char *const *inputs,
                     size_t n_inputs);

/* Whether a file can be written there, before minutes of work: the errors of nlm_file_writer_create. */
nlm_status nlm_check_place(const char *path, nlm_error *err);

#endif
