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
#include "text/chat_template.h"
#include "text/tokenizer.h"

typedef struct nlm_dataset nlm_dataset;

/* Where text comes from, and what a document of it is.
 *
 * A file is one document, whatever is in it, or several where `separator` stands between them; the line breaks around
 * a separator belong to it, and nothing between two is no document. There is none unless it is named: a text that
 * happens to spell one would be cut. Bytes are taken as the tokenizer does, and spell no control token.
 *
 * Of a folder it is every regular file in it and in the folders below, in order of their paths; but for hidden ones
 * (.name), links to folders, and those with a NUL in their first 8 KiB, which are no text (a warning in the log).
 *
 * A file whose name ends with .jsonl, .ndjson or .json has a JSON object a line (LIMIT: 16 MiB), which is a document:
 * the member `json_field`, a text or else messages, [{"role": ..., "content": ...}], which a template renders, with
 * the line's member "tools" if the template is the model's own. Of
 * messages only what the assistant says counts for the loss, with the token that ends its turn. */
typedef struct nlm_dataset_options {
    const char *const *paths; /* files or folders */
    size_t n_paths;
    const char *separator;  /* between the documents of a text file, "<|endoftext|>" or "\n\n"; NULL: none */
    const char *json_field; /* NULL: "messages" where a line has them, else "text" */
    const struct nlm_chat_own *own_chat; /* the model's own template, which renders messages; NULL: */
    const nlm_chat_template *chat;       /* does; NULL too: messages are refused */
    const char *cache_folder;            /* where token files are kept; made if it is missing */
    double validation;                   /* the share of documents that is kept for validation, 0 to 0.5 */
    uint64_t seed;
} nlm_dataset_options;

/* Which part of it. */
enum { NLM_SPLIT_TRAIN, NLM_SPLIT_VALIDATION };

/* One batch of `rows` rows of `length` tokens, as the training graph takes it. Memory is the caller's. */
typedef struct nlm_batch_shape {
    int32_t rows, length;
    int32_t max_seqs; /* sequences in all, at least `rows`: a row of more documents than its share ends early */
    bool carries;     /* a row goes on where that of the batch before ended, with the states from there */
    int32_t
        burn_in; /* tokens of its document that warm the states of a sequence which would begin within it without */
} nlm_batch_shape;

/* Lanes, which hold states between batches, that these batches name: rows of training, then of validation. */
static inline int32_t nlm_batch_lanes(const nlm_batch_shape *shape) {
    return shape->carries || shape->burn_in > 0 ? 2 * shape->rows : 0;
}

typedef struct nlm_train_batch {
    int32_t *ids, *labels, *pos; /* [rows * length]; labels -1: not counted */
    int32_t *seq_start;          /* [max_seqs + 1], of the rows one after the other */
    int32_t n_tokens, n_seqs;
    int64_t n_counted; /* labels that are */
    /* [max_seqs] the lane whose state a sequence begins with, and that which holds what is behind it; -1: zero, and
     * none. NULL: of all. */
    int32_t *from, *to;
    /* What is read before it, for the states alone; those behind n_history are room. */
    struct nlm_train_batch *history;
    int32_t n_history;
} nlm_train_batch;

/* Memory of a batch of this shape, with room for its history, from malloc. Errors OUT_OF_MEMORY. */
nlm_status nlm_train_batch_create(const nlm_batch_shape *shape, nlm_train_batch **out, nlm_error *err);
void nlm_train_batch_destroy(nlm_train_batch *batch); /* NULL is fine */

/* Opens the token file of these documents, after building it if it is not there or is damaged, in memory that does
 * not grow with the text (but for 8 bytes a document). Each document begins with BOS if the tokenizer adds one, and
 * ends with EOS if it has one; a chat ends as its template does. All the text is read each time, to know whether it
 * has changed. Several processes may do so at once. Errors   NOT_FOUND, IO (also: the text changed while it was
 * read), PERMISSION, BAD_FORMAT (a line that is no JSON or lacks the field: file:line), LIMIT (4 MiB of a document
 * without a blank or line break where it can be cut), INVALID_ARGUMENT (no text at all, or no more than a token of
 * it), OUT_OF_MEMORY. */
nlm_status nlm_dataset_open(const nlm_tokenizer *tokenizer, const nlm_dataset_options *options, nlm_dataset **out,
                            nlm_error *err);
void nlm_dataset_close(nlm_dataset *dataset); /* NULL is fine */

/* Seed and number of a document decide which split it is in; the first is of training always. The validation split of
 * few documents may be empty. */
uint64_t nlm_dataset_tokens(const nlm_dataset *dataset, int split);
uint64_t nlm_dataset_documents(const nlm_dataset *dataset, int split);
/* Tells its tokens from others': a checksum of the text, of how it is cut, and of the tokenizer. */
uint64_t nlm_dataset_fingerprint(const nlm_dataset *dataset);
/* Batches that see every token once: a row is a window of the split's documents one after the other, and windows
 * begin `length` tokens apart. (But for those of rows that end early.) */
uint64_t nlm_dataset_batches(const nlm_dataset *dataset, int split, const nlm_batch_shape *shape);

/* Fills batch number `index` of the endless sequence of batches: of training in an order that is shuffled anew for
 * each pass over the data, where a batch may have rows of two passes; of validation in the order of the file, from
 * its beginning again after nlm_dataset_batches, the last of which may have fewer rows. A sequence is what a row has
 * of one document. Behind n_tokens there are zeros, and labels of -1. An empty split has n_tokens 0.
 *
 * If the shape carries, each row has a stretch of windows of its own, in the order of the file, read one a batch; a
 * pass of training begins them at a place of its own. What begins such a stretch begins anew, as does what is behind
 * a row that ended early. `out` needs from, to and history where the shape has lanes. Pure; any thread. */
void nlm_dataset_batch(const nlm_dataset *dataset, int split, const nlm_batch_shape *shape, uint64_t index,
                       nlm_train_batch *out);

#endif
