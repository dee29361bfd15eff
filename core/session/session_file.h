/* Sessions in files, and in memory as a file has them.
 *
 * Version 3, little-endian (version 2, which is read too, had no mu, and its tokens at 56):
 *   0   8 bytes   "nlmsess\n"
 *   8   u32       version, 3
 *   12  u32       what the states are made of: the KV type's number, 0xffffffff without KV
 *   16  u64       the model: nlm_session_shape.fingerprint
 *   24  u64       n_tokens
 *   32  u64       n_logits: the size of the vocabulary; 0 without tokens
 *   40  u64       state_bytes
 *   48  u64       n_text
 *   56  f64       mirostat's mu (session.h), 0 without one
 *   64  i32[]     the tokens
 *       f32[]     the logits after the last of them
 *       u8[]      n_text bytes of text that is held back (text_stream.h), and as many of their marks
 *       bytes     the states (states.c says in which order)
 *   end u64       the checksum (base/checksum.h) of all bytes before */
#ifndef NLM_SESSION_SESSION_FILE_H
#define NLM_SESSION_SESSION_FILE_H

#include <nlm/status.h>
#include "base/checksum.h"
#include "base/file.h"

/* What a file must fit: the model, and how large its states are. */
typedef struct nlm_session_shape {
    uint64_t fingerprint;
    uint32_t state_kind; /* the KV type's number, or NLM_SESSION_NO_KV */
    int32_t n_vocab;
    uint64_t max_tokens;
    uint64_t bytes_per_token; /* of state */
    uint64_t fixed_bytes;     /* of state, whatever the length */
} nlm_session_shape;

#define NLM_SESSION_NO_KV 0xffffffffu

/* A checked file: pointers into the given memory, unaligned. */
typedef struct nlm_session_view {
    uint64_t n_tokens, n_text;
    double mu;                   /* finite */
    const unsigned char *tokens; /* i32[n_tokens], each within the vocabulary */
    const unsigned char *logits; /* f32[n_vocab], finite; NULL without tokens */
    const char *text, *marks;    /* [n_text] */
    const unsigned char *state;
    uint64_t state_bytes;
} nlm_session_view;

/* Checks data[0..size) and points into it; `name` stands for the path in errors. Errors BAD_FORMAT (no
 * session file, truncated, changed: where; an id outside the vocabulary, a logit that is no number), UNSUPPORTED
 * (another version, model or KV type), LIMIT (more tokens than the context holds). */
nlm_status nlm_session_file_parse(const char *name, const void *data, size_t size, const nlm_session_shape *shape,
                                  nlm_session_view *out, nlm_error *err);

typedef struct nlm_session_counts {
    uint64_t n_tokens, n_logits, n_text;
    double mu;
} nlm_session_counts;

/* How large the file of such a session is. */
uint64_t nlm_session_file_bytes(const nlm_session_shape *shape, const nlm_session_counts *counts);

/* Writing: to a file or to memory, begin, put every part in order, commit. */
typedef struct nlm_session_writer {
    nlm_file_writer *file;
    unsigned char *at;     /* where the next byte goes, without a file */
    nlm_checksum checksum; /* of what was put so far */
} nlm_session_writer;

nlm_status nlm_session_writer_to_file(nlm_session_writer *writer, const char *path, nlm_error *err);
/* nlm_session_file_bytes of it. */
void nlm_session_writer_to_memory(nlm_session_writer *writer, void *memory);
nlm_status nlm_session_writer_begin(nlm_session_writer *writer, const nlm_session_shape *shape,
                                    const nlm_session_counts *counts, nlm_error *err);
nlm_status nlm_session_writer_put(nlm_session_writer *writer, const void *data, size_t bytes, nlm_error *err);
/* Appends the checksum and gives the file its name. */
nlm_status nlm_session_writer_commit(nlm_session_writer *writer, nlm_error *err);
void nlm_session_writer_release(nlm_session_writer *writer); /* also after commit */

#endif
