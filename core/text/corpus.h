/* Texts to learn from, out of files and folders, a part at a time. */
#ifndef NLM_TEXT_CORPUS_H
#define NLM_TEXT_CORPUS_H

#include "text/bpe_train.h"

typedef struct nlm_corpus_options {
    bool is_spm;       /* what the texts are cut for: see nlm_bpe_train_cut */
    bool has_lines;    /* each line of a file, with its end, is a text; else the whole file */
    const char *field; /* of JSON lines: the key whose value is the text */
} nlm_corpus_options;

/* Takes some texts, which it may use until it returns; none when a signal came, to ask whether to go on. */
typedef nlm_status (*nlm_corpus_fn)(void *user, const nlm_train_text *texts, size_t count, nlm_error *err);

/* Hands out the texts of a file, of the standard input ("-"), or of the files of a folder and those within it, in the
 * order of their names: not those whose name begins with a dot, of links to folders, and those that hold a NUL in
 * their first 4 KiB. In a file named *.jsonl or *.ndjson each line is a JSON object. What it holds in memory is a few
 * MiB, or as much of a text as cannot be cut. Errors NOT_FOUND, PERMISSION, IO, LIMIT (that is over 256 MiB),
 * BAD_FORMAT (a line that is no such object: which), OUT_OF_MEMORY, and what the callee returns. */
nlm_status nlm_corpus_read(const char *path, const nlm_corpus_options *options, nlm_corpus_fn take, void *user,
                           nlm_error *err);

#endif
