/* The tokens of documents in a file: written as they come, mapped to be read.
 *
 * A header of 64 bytes: magic, version, bytes a token, what it was made of, the tokenizer's fingerprint. Then blocks
 * of 4096 tokens: the ids in 2 or 4 bytes each, and a bit each for those that count for the loss. Then the first
 * token of each document, 8 bytes each; and what is known last: how many tokens and documents there are, and a
 * checksum of all that stands before it. Numbers are little-endian. */
#ifndef NLM_TRAIN_TOKEN_FILE_H
#define NLM_TRAIN_TOKEN_FILE_H

#include <stdbool.h>
#include "base/file.h"

#define NLM_TOKEN_BLOCK 4096u

/* What a file must have been made of to be of use. */
typedef struct nlm_token_key {
    uint64_t content;   /* a checksum of the text and of how it was cut into documents */
    uint64_t tokenizer; /* nlm_tokenizer_fingerprint */
    uint32_t n_vocab;   /* ids are below it; up to 65536 take 2 bytes */
} nlm_token_key;

/* Memory: a block, and 8 bytes a document. Errors as nlm_file_writer's. */
typedef struct nlm_token_writer nlm_token_writer;
nlm_status nlm_token_writer_create(const char *path, const nlm_token_key *key, nlm_token_writer **out,
                                   nlm_error *err);
/* What is added from here on is another document. */
nlm_status nlm_token_writer_begin(nlm_token_writer *writer, nlm_error *err);
nlm_status nlm_token_writer_add(nlm_token_writer *writer, const int32_t *ids, size_t count, bool is_counted,
                                nlm_error *err);
uint64_t nlm_token_writer_documents(const nlm_token_writer *writer);
uint64_t nlm_token_writer_tokens(const nlm_token_writer *writer);
nlm_status nlm_token_writer_commit(nlm_token_writer *writer, nlm_error *err);
void nlm_token_writer_destroy(nlm_token_writer *writer); /* NULL is fine; what is not committed is gone */

typedef struct nlm_token_file {
    nlm_file_map map;
    const unsigned char *blocks, *starts;
    uint64_t n_tokens, n_documents;
    uint32_t token_bytes;
} nlm_token_file;

/* Maps a file, and reads it once to see that it is whole. Errors NOT_FOUND, BAD_FORMAT (damaged), UNSUPPORTED (made
 * of something else, or of another version), PERMISSION (somebody else may write to it), and nlm_file_map_open's. */
nlm_status nlm_token_file_open(const char *path, const nlm_token_key *key, nlm_token_file *out, nlm_error *err);
void nlm_token_file_close(nlm_token_file *file); /* leaves a valid empty one */

/* Where a document begins; that of one past the last: where it ends. */
uint64_t nlm_token_file_start(const nlm_token_file *file, uint64_t document);

static inline uint32_t nlm_token_block_bytes(uint32_t token_bytes) {
    return NLM_TOKEN_BLOCK * token_bytes + NLM_TOKEN_BLOCK / 8;
}

static inline int32_t nlm_token_at(const nlm_token_file *file, uint64_t at) {
    const unsigned char *block = file->blocks + at / NLM_TOKEN_BLOCK * nlm_token_block_bytes(file->token_bytes);
    const unsigned char *id = block + at % NLM_TOKEN_BLOCK * file->token_bytes;
    const uint32_t low = id[0] | (uint32_t)id[1] << 8;
    return (int32_t)(file->token_bytes == 2 ? low : low | (uint32_t)id[2] << 16 | (uint32_t)id[3] << 24);
}

static inline bool nlm_token_counts(const nlm_token_file *file, uint64_t at) {
    const unsigned char *block = file->blocks + at / NLM_TOKEN_BLOCK * nlm_token_block_bytes(file->token_bytes);
    const uint64_t bit = at % NLM_TOKEN_BLOCK;
    return block[NLM_TOKEN_BLOCK * file->token_bytes + bit / 8] >> bit % 8 & 1;
}

#endif
