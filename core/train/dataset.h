/* Text for training: documents as tokens in one file that is mapped, and the batches that are cut from it.
 *
 * The file is built once from text files, directories and JSON lines, and named after their content and the
 * tokenizer's. Documents are packed: a row of a batch is a stretch of the stream, of one document or several, whose
 * sequences begin anew. Which stretch a step sees follows from the seed and the step's number alone, so a run that is
 * resumed goes on where it was. */
#ifndef NLM_TRAIN_DATASET_H
#define NLM_TRAIN_DATASET_H

#include <nlm/status.h>
#include <stdbool.h>
#include "text/tokenizer.h"

typedef struct nlm_dataset nlm_dataset;

/* How a JSON line becomes a document. */
typedef struct nlm_dataset_options {
    const char *const *paths; /* files or directories (every regular file in them, in order of name) */
    size_t n_paths;
    const char *json_field;   /* of .jsonl files: the text ("text"); its `messages` are a chat where it has them */
    const char *cache_folder; /* where token files are kept */
    double validation;        /* the share of documents that is kept for validation, 0 to 0.5 */
    uint64_t seed;
} nlm_dataset_options;

/* Which part of it. */
enum { NLM_SPLIT_TRAIN, NLM_SPLIT_VALIDATION };

/* One batch of `rows` rows of `length` tokens, as the training graph takes it. Memory is the caller's. */
typedef struct nlm_batch_shape {
    int32_t rows, length;
    int32_t max_seqs; /* sequences in all; a row whose documents are more is continued by what fits */
} nlm_batch_shape;

typedef struct nlm_train_batch {
    int32_t *ids, *labels, *pos; /* [rows * length]; labels -1: not counted */
    int32_t *seq_start;          /* [max_seqs + 1] */
    int32_t n_tokens, n_seqs;
    int64_t n_counted; /* labels that are */
} nlm_train_batch;

/* Opens the token file of these documents, after building it if it is not there. Errors NOT_FOUND, IO, PERMISSION,
 * BAD_FORMAT (a line that is no JSON or lacks the field: file:line), INVALID_ARGUMENT (no text at all, or too little
 * for one row), OUT_OF_MEMORY. */
nlm_status nlm_dataset_open(const nlm_tokenizer *tokenizer, const nlm_dataset_options *options, nlm_dataset **out,
                            nlm_error *err);
void nlm_dataset_close(nlm_dataset *dataset);

uint64_t nlm_dataset_tokens(const nlm_dataset *dataset, int split);
uint64_t nlm_dataset_documents(const nlm_dataset *dataset, int split);
/* Batches that see every token once. */
uint64_t nlm_dataset_batches(const nlm_dataset *dataset, int split, const nlm_batch_shape *shape);

/* Fills batch number `index` of the endless sequence of batches: of training in an order that is shuffled anew for
 * each pass over the data, of validation in the order of the file. Pure; any thread. */
void nlm_dataset_batch(const nlm_dataset *dataset, int split, const nlm_batch_shape *shape, uint64_t index,
                       nlm_train_batch *out);

#endif
