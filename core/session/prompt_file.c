/* The layout of the file of prompts, checked before anything of it is used. */
#include "session/prompt_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/little_endian.h"
#include "base/status.h"

#define VERSION      1u
#define HEADER_BYTES 56u
#define BLOCK_BYTES  8u
#define END_BYTES    8u

static const unsigned char magic[8] = {'n', 'l', 'm', 'p', 'r', 'm', 't', '\n'};

static void put_header(unsigned char *at, const nlm_prompt_shape *shape, uint64_t n_blocks) {
    memcpy(at, magic, sizeof magic);
    nlm_put_le(at + 8, VERSION, 4);
    nlm_put_le(at + 12, shape->state_kind, 4);
    nlm_put_le(at + 16, shape->fingerprint, 8);
    nlm_put_le(at + 24, shape->maker, 8);
    nlm_put_le(at + 32, shape->token_bytes, 8);
    nlm_put_le(at + 40, shape->slot_bytes, 8);
    nlm_put_le(at + 48, n_blocks, 8);
}

/* ---- reading ------------------------------------------------------------------------------ */

static nlm_status check_fit(const char *name, const unsigned char *at, const nlm_prompt_shape *shape,
                            nlm_error *err) {
    if (nlm_get_le(at + 16, 8) != shape->fingerprint) {
        return nlm_fail(err, NLM_UNSUPPORTED, name, "these prompts were computed with another model");
    }
    if (nlm_get_le(at + 12, 4) != shape->state_kind || nlm_get_le(at + 32, 8) != shape->token_bytes ||
        nlm_get_le(at + 40, 8) != shape->slot_bytes) {
        return nlm_fail(err, NLM_UNSUPPORTED, name, "these prompts were kept with another type of KV cache");
    }
    if (nlm_get_le(at + 24, 8) == shape->maker) return NLM_OK;
    return nlm_fail(err, NLM_UNSUPPORTED, name,
                    "these prompts were computed by another backend, or another version of it");
}

static nlm_status check_whole(const char *name, const unsigned char *at, size_t size, const nlm_prompt_shape *shape,
                              nlm_error *err) {
    if (size < sizeof magic || memcmp(at, magic, sizeof magic) != 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, name,
                        "this is no file of prompts (it does not begin with 'nlmprmt')");
    }
    if (size < HEADER_BYTES + END_BYTES) {
        return nlm_fail(err, NLM_BAD_FORMAT, name, "the file ends inside its header, at %zu of at least %u bytes",
                        size, HEADER_BYTES + END_BYTES);
    }
    const uint32_t version = (uint32_t)nlm_get_le(at + 8, 4);
    if (version != VERSION) {
        return nlm_fail(err, NLM_UNSUPPORTED, name,
                        "file of prompts, version %" PRIu32 "; this program reads version %u", version, VERSION);
    }
    if (nlm_get_le(at + size - END_BYTES, 8) != nlm_checksum_of(at, size - END_BYTES)) {
        return nlm_fail(err, NLM_BAD_FORMAT, name,
                        "the checksum at offset %zu does not match: the file was cut or changed", size - END_BYTES);
    }
    return check_fit(name, at, shape, err);
}

/* The block at *offset, which moves behind it. */
static nlm_status take_block(const char *name, const unsigned char *at, size_t end, uint64_t index,
                             const nlm_prompt_shape *shape, size_t *offset, nlm_prompt_view *out, nlm_error *err) {
    const size_t left = end - *offset;
    const unsigned char *block = at + *offset;
    const int32_t parent = left < BLOCK_BYTES ? 0 : (int32_t)nlm_get_le(block, 4);
    const int32_t n = left < BLOCK_BYTES ? 0 : (int32_t)nlm_get_le(block + 4, 4);
    if (n < 1 || n > shape->block_tokens || n % shape->grain != 0 || parent < NLM_PROMPT_NONE ||
        (parent >= 0 && (uint64_t)parent >= index)) {
        return nlm_fail(err, NLM_BAD_FORMAT, name,
                        "block %" PRIu64 " at offset %zu: %" PRId32 " tokens after block %" PRId32, index, *offset, n,
                        parent);
    }
    const uint64_t bytes = (uint64_t)n * (4 + shape->token_bytes) + shape->slot_bytes;
    if (left - BLOCK_BYTES < bytes) {
        return nlm_fail(err, NLM_BAD_FORMAT, name,
                        "block %" PRIu64 " at offset %zu needs %" PRIu64 " bytes, and %zu are left", index, *offset,
                        bytes, left - BLOCK_BYTES);
    }
    *out = (nlm_prompt_view){
        .parent = parent, .n_tokens = n, .tokens = block + BLOCK_BYTES, .state = block + BLOCK_BYTES + 4 * n};
    for (int32_t i = 0; i < n; i++) {
        if (nlm_get_le(out->tokens + 4 * i, 4) < (uint64_t)shape->n_vocab) continue;
        return nlm_fail(err, NLM_BAD_FORMAT, name, "token %" PRId32 " of block %" PRIu64 " is outside the vocabulary",
                        i, index);
    }
    *offset += BLOCK_BYTES + bytes;
    return NLM_OK;
}

nlm_status nlm_prompt_file_parse(const char *name, const void *data, size_t size, const nlm_prompt_shape *shape,
                                 nlm_prompt_fn fn, void *user, nlm_error *err) {
    const unsigned char *at = data;
    nlm_prompt_view block;
    NLM_TRY(check_whole(name, at, size, shape, err));
    const uint64_t n_blocks = nlm_get_le(at + 48, 8);
    const size_t end = size - END_BYTES;
    size_t offset = HEADER_BYTES;
    for (uint64_t i = 0; i < n_blocks; i++) NLM_TRY(take_block(name, at, end, i, shape, &offset, &block, err));
    if (offset != end) {
        return nlm_fail(err, NLM_BAD_FORMAT, name, "%zu bytes are left behind the last block", end - offset);
    }
    offset = HEADER_BYTES;
    for (uint64_t i = 0; i < n_blocks; i++) {
        NLM_TRY(take_block(name, at, end, i, shape, &offset, &block, err));
        if (!fn(user, i, &block)) return NLM_OK;
    }
    return NLM_OK;
}

/* ---- writing ------------------------------------------------------------------------------ */

static nlm_status put(nlm_prompt_writer *writer, const void *data, size_t bytes, nlm_error *err) {
    nlm_checksum_update(&writer->checksum, data, bytes);
    return nlm_file_writer_write(writer->file, data, bytes, err);
}

nlm_status nlm_prompt_writer_begin(nlm_prompt_writer *writer, const char *path, const nlm_prompt_shape *shape,
                                   uint64_t n_blocks, nlm_error *err) {
    unsigned char header[HEADER_BYTES];
    *writer = (nlm_prompt_writer){0};
    nlm_checksum_init(&writer->checksum);
    NLM_TRY(nlm_file_writer_create_private(path, &writer->file, err));
    put_header(header, shape, n_blocks);
    return put(writer, header, sizeof header, err);
}

nlm_status nlm_prompt_writer_put(nlm_prompt_writer *writer, const nlm_prompt_block *block, int32_t parent,
                                 const void *state, uint64_t state_bytes, nlm_error *err) {
    unsigned char numbers[BLOCK_BYTES];
    nlm_put_le(numbers, (uint32_t)parent, 4);
    nlm_put_le(numbers + 4, (uint32_t)block->n_tokens, 4);
    NLM_TRY(put(writer, numbers, sizeof numbers, err));
    NLM_TRY(put(writer, block->tokens, (size_t)block->n_tokens * sizeof *block->tokens, err));
    return put(writer, state, state_bytes, err);
}

nlm_status nlm_prompt_writer_commit(nlm_prompt_writer *writer, nlm_error *err) {
    unsigned char bytes[END_BYTES];
    nlm_put_le(bytes, nlm_checksum_value(&writer->checksum), 8);
    NLM_TRY(nlm_file_writer_write(writer->file, bytes, sizeof bytes, err));
    return nlm_file_writer_commit(writer->file, err);
}

void nlm_prompt_writer_release(nlm_prompt_writer *writer) {
    nlm_file_writer_destroy(writer->file);
    writer->file = NULL;
}
