/* The files that text for training is read from. */
#ifndef NLM_TRAIN_INPUT_H
#define NLM_TRAIN_INPUT_H

#include <nlm/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/checksum.h"

/* Paths of files, in the order in which they are read; zeroed is empty. */
typedef struct nlm_input_list {
    char **paths;
    size_t count, capacity;
} nlm_input_list;

/* What there is under `paths`, as nlm_dataset_options says. Errors NOT_FOUND, PERMISSION, IO, OUT_OF_MEMORY. Release
 * the list after an error too. */
nlm_status nlm_input_list_find(nlm_input_list *list, const char *const *paths, size_t n_paths, nlm_error *err);
void nlm_input_list_release(nlm_input_list *list);

/* Whether its lines are JSON: of the name. */
bool nlm_input_is_json(const char *path);

/* A file that is read from its beginning to its end, through a window that is moved and grown; *sum is kept of all
 * that was read. */
typedef struct nlm_input {
    const char *path;
    int fd;
    nlm_checksum *sum;
    char *data;      /* what is at hand: data[0..length) */
    size_t length;   /* of it */
    uint64_t offset; /* of data[0] in the file */
    bool is_at_end;  /* nothing follows what is at hand */
    char *buffer;
    size_t capacity;
} nlm_input;

/* Errors NOT_FOUND, PERMISSION, IO (also: not a regular file). */
nlm_status nlm_input_open(nlm_input *input, const char *path, nlm_checksum *sum, nlm_error *err);
/* Reads on until `bytes` are at hand or the file ends. Errors IO, OUT_OF_MEMORY. */
nlm_status nlm_input_fill(nlm_input *input, size_t bytes, nlm_error *err);
/* Drops the first `bytes` of what is at hand. */
void nlm_input_skip(nlm_input *input, size_t bytes);
/* After the last byte: adds to the sum where the file ended, and what kind of text it is. */
void nlm_input_close(nlm_input *input);

#endif
