/* The prompt cache in a file, so that it outlives the program.
 *
 * Version 1, little-endian:
 *   0   8 bytes   "nlmprmt\n"
 *   8   u32       version, 1
 *   12  u32       what the states are made of: the KV type's number, 0xffffffff without KV
 *   16  u64       the model: nlm_runtime_fingerprint
 *   24  u64       what computed it: versions of nlm and of the backends, their CPU features and options, as a
 * checksum 32  u64       bytes of state for each token 40  u64       bytes of state besides 48  u64       n_blocks 56
 * blocks    those used latest first, none before the one that it follows: i32     which block it follows, by its
 * place in the file; -1: none i32     n_tokens, a multiple of a page's i32[]   the tokens bytes   the states
 * (snapshots.h) end u64       the checksum (base/checksum.h) of all bytes before */
#ifndef NLM_SESSION_PROMPT_FILE_H
#define NLM_SESSION_PROMPT_FILE_H

#include "base/checksum.h"
#include "base/file.h"
#include "session/prompt_cache.h"

/* What a file must have in common with the model as it is loaded. */
typedef struct nlm_prompt_shape {
    uint32_t state_kind;
    uint64_t fingerprint, maker, token_bytes, slot_bytes;
    int32_t n_vocab, block_tokens, grain;
} nlm_prompt_shape;

/* A checked block of a file: pointers into it, unaligned. */
typedef struct nlm_prompt_view {
    int32_t parent, n_tokens;
    const unsigned char *tokens, *state;
} nlm_prompt_view;

/* Checks data[0..size), and then calls fn for each block in the file's order until it returns false. `name` stands
 * for the path in errors. Errors INVALID_ARGUMENT (a file of another kind), BAD_FORMAT (truncated, changed),
 * UNSUPPORTED (another version, model, KV type or maker): fn was not called. */
typedef bool (*nlm_prompt_fn)(void *user, uint64_t index, const nlm_prompt_view *block);
nlm_status nlm_prompt_file_parse(const char *name, const void *data, size_t size, const nlm_prompt_shape *shape,
                                 nlm_prompt_fn fn, void *user, nlm_error *err);

/* Writing: begin, every block in order, commit. Errors of base/file.h. */
typedef struct nlm_prompt_writer {
    nlm_file_writer *file;
    nlm_checksum checksum;
} nlm_prompt_writer;

nlm_status nlm_prompt_writer_begin(nlm_prompt_writer *writer, const char *path, const nlm_prompt_shape *shape,
                                   uint64_t n_blocks, nlm_error *err);
nlm_status nlm_prompt_writer_put(nlm_prompt_writer *writer, const nlm_prompt_block *block, int32_t parent,
                                 const void *state, uint64_t state_bytes, nlm_error *err);
nlm_status nlm_prompt_writer_commit(nlm_prompt_writer *writer, nlm_error *err);
void nlm_prompt_writer_release(nlm_prompt_writer *writer); /* also after an error, and after commit */

#endif
