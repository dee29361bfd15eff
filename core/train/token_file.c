/* Writing token files block by block, and checking one before it is used. */
#include "train/token_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/checksum.h"
#include "base/little_endian.h"
#include "base/status.h"

#define VERSION       1u
#define HEADER_BYTES  64u
#define TRAILER_BYTES 24u
#define NARROW_VOCAB  65536u /* the most ids that 2 bytes tell apart */

static const unsigned char magic[8] = {'n', 'l', 'm', 't', 'o', 'k', 's', '\n'};

static uint32_t bytes_of_token(const nlm_token_key *key) {
    return key->n_vocab <= NARROW_VOCAB ? 2 : 4;
}

static void put_header(const nlm_token_key *key, unsigned char out[HEADER_BYTES]) {
    memset(out, 0, HEADER_BYTES);
    memcpy(out, magic, sizeof magic);
    nlm_put_le(out + 8, VERSION, 4);
    nlm_put_le(out + 12, bytes_of_token(key), 4);
    nlm_put_le(out + 16, key->content, 8);
    nlm_put_le(out + 24, key->tokenizer, 8);
}

/* ---- writing -------------------------------------------------------------------------------------------- */

struct nlm_token_writer {
    nlm_file_writer *file;
    nlm_checksum sum;
    uint64_t *starts; /* of documents */
    size_t n_starts, capacity;
    uint64_t n_tokens;
    uint32_t token_bytes;
    unsigned char block[NLM_TOKEN_BLOCK * 4 + NLM_TOKEN_BLOCK / 8]; /* the one that is being filled */
};

static nlm_status put(nlm_token_writer *writer, const void *data, size_t bytes, nlm_error *err) {
    nlm_checksum_update(&writer->sum, data, bytes);
    return nlm_file_writer_write(writer->file, data, bytes, err);
}

nlm_status nlm_token_writer_create(const char *path, const nlm_token_key *key, nlm_token_writer **out,
                                   nlm_error *err) {
    nlm_token_writer *writer = calloc(1, sizeof *writer);
    if (!writer) return nlm_fail(err, NLM_OUT_OF_MEMORY, path, "no memory to write tokens");
    unsigned char header[HEADER_BYTES];
    put_header(key, header);
    writer->token_bytes = bytes_of_token(key);
    nlm_checksum_init(&writer->sum);
    nlm_status status = nlm_file_writer_create_private(path, &writer->file, err);
    if (status == NLM_OK) status = put(writer, header, sizeof header, err);
    if (status != NLM_OK) {
        nlm_token_writer_destroy(writer);
        return status;
    }
    *out = writer;
    return NLM_OK;
}

nlm_status nlm_token_writer_begin(nlm_token_writer *writer, nlm_error *err) {
    if (writer->n_starts == writer->capacity) {
        const size_t capacity = writer->capacity ? 2 * writer->capacity : 1024;
        uint64_t *starts = realloc(writer->starts, capacity * sizeof *starts);
        if (!starts) return nlm_fail(err, NLM_OUT_OF_MEMORY, __func__, "no memory for %zu documents", capacity);
        writer->starts = starts;
        writer->capacity = capacity;
    }
    writer->starts[writer->n_starts++] = writer->n_tokens;
    return NLM_OK;
}

static nlm_status put_block(nlm_token_writer *writer, nlm_error *err) {
    const size_t bytes = nlm_token_block_bytes(writer->token_bytes);
    NLM_TRY(put(writer, writer->block, bytes, err));
    memset(writer->block, 0, bytes);
    return NLM_OK;
}

nlm_status nlm_token_writer_add(nlm_token_writer *writer, const int32_t *ids, size_t count, bool is_counted,
                                nlm_error *err) {
    const uint32_t token_bytes = writer->token_bytes;
    unsigned char *bits = writer->block + (size_t)NLM_TOKEN_BLOCK * token_bytes;
    for (size_t i = 0; i < count; i++) {
        const uint32_t at = (uint32_t)(writer->n_tokens % NLM_TOKEN_BLOCK);
        nlm_put_le(writer->block + (size_t)at * token_bytes, (uint32_t)ids[i], (int)token_bytes);
        if (is_counted) bits[at / 8] = (unsigned char)(bits[at / 8] | 1u << at % 8);
        writer->n_tokens++;
        if (at == NLM_TOKEN_BLOCK - 1) NLM_TRY(put_block(writer, err));
    }
    return NLM_OK;
}

uint64_t nlm_token_writer_documents(const nlm_token_writer *writer) {
    return writer->n_starts;
}

uint64_t nlm_token_writer_tokens(const nlm_token_writer *writer) {
    return writer->n_tokens;
}

nlm_status nlm_token_writer_commit(nlm_token_writer *writer, nlm_error *err) {
    if (writer->n_tokens % NLM_TOKEN_BLOCK != 0) NLM_TRY(put_block(writer, err));
    unsigned char number[8];
    for (size_t i = 0; i < writer->n_starts; i++) {
        nlm_put_le(number, writer->starts[i], 8);
        NLM_TRY(put(writer, number, sizeof number, err));
    }
    const uint64_t counts[] = {writer->n_tokens, writer->n_starts};
    for (size_t i = 0; i < 2; i++) {
        nlm_put_le(number, counts[i], 8);
        NLM_TRY(put(writer, number, sizeof number, err));
    }
    nlm_put_le(number, nlm_checksum_value(&writer->sum), 8);
    NLM_TRY(nlm_file_writer_write(writer->file, number, sizeof number, err));
    return nlm_file_writer_commit(writer->file, err);
}

void nlm_token_writer_destroy(nlm_token_writer *writer) {
    if (!writer) return;
    nlm_file_writer_destroy(writer->file);
    free(writer->starts);
    free(writer);
}

/* ---- reading -------------------------------------------------------------------------------------------- */

static nlm_status check_header(const char *path, const unsigned char *data, size_t size, const nlm_token_key *key,
                               nlm_error *err) {
    unsigned char expected[HEADER_BYTES];
    put_header(key, expected);
    if (size < HEADER_BYTES + TRAILER_BYTES || memcmp(data, magic, sizeof magic) != 0) {
        return nlm_fail(err, NLM_BAD_FORMAT, path, "this is not a file of tokens (it has %zu bytes)", size);
    }
    const uint32_t version = (uint32_t)nlm_get_le(data + 8, 4);
    if (version != VERSION) {
        return nlm_fail(err, NLM_UNSUPPORTED, path, "version %" PRIu32 " of token files; this program has %u",
                        version, VERSION);
    }
    if (memcmp(data, expected, HEADER_BYTES) == 0) return NLM_OK;
    return nlm_fail(err, NLM_UNSUPPORTED, path, "it was made of another text, or by another tokenizer");
}

/* Whether the counts fit the size. */
static bool is_size(uint64_t size, uint64_t n_tokens, uint64_t n_documents, uint32_t token_bytes) {
    uint64_t blocks, starts, sum;
    const uint64_t n_blocks = n_tokens / NLM_TOKEN_BLOCK + (n_tokens % NLM_TOKEN_BLOCK != 0);
    return nlm_mul_u64(n_blocks, nlm_token_block_bytes(token_bytes), &blocks) &&
           nlm_mul_u64(n_documents, 8, &starts) && nlm_add_u64(blocks, starts, &sum) &&
           nlm_add_u64(sum, HEADER_BYTES + TRAILER_BYTES, &sum) && sum == size;
}

/* A checksum does not say that whoever wrote the file was right. */
static nlm_status check_content(const char *path, const nlm_token_file *file, const nlm_token_key *key,
                                nlm_error *err) {
    uint64_t before = 0;
    for (uint64_t i = 0; i < file->n_documents; i++) {
        const uint64_t start = nlm_token_file_start(file, i);
        if ((i == 0 ? start == 0 : start > before) && start < file->n_tokens) {
            before = start;
            continue;
        }
        return nlm_fail(err, NLM_BAD_FORMAT, path, "document %" PRIu64 " begins at token %" PRIu64 " of %" PRIu64, i,
                        start, file->n_tokens);
    }
    for (uint64_t i = 0; i < file->n_tokens; i++) {
        const uint32_t id = (uint32_t)nlm_token_at(file, i);
        if (id < key->n_vocab) continue;
        return nlm_fail(err, NLM_BAD_FORMAT, path, "token %" PRIu64 " is %" PRIu32 "; expected less than %" PRIu32, i,
                        id, key->n_vocab);
    }
    return NLM_OK;
}

static nlm_status check_file(const char *path, nlm_token_file *file, const nlm_token_key *key, nlm_error *err) {
    if (!file->map.is_ours) {
        return nlm_fail(err, NLM_PERMISSION, path,
                        "somebody else may write to it; expected a file of the user's own or root's, mode 600");
    }
    const unsigned char *data = file->map.data;
    const size_t size = file->map.size;
    NLM_TRY(check_header(path, data, size, key, err));
    const unsigned char *trailer = data + size - TRAILER_BYTES;
    file->n_tokens = nlm_get_le(trailer, 8);
    file->n_documents = nlm_get_le(trailer + 8, 8);
    file->token_bytes = bytes_of_token(key);
    file->blocks = data + HEADER_BYTES;
    if (!is_size(size, file->n_tokens, file->n_documents, file->token_bytes)) {
        return nlm_fail(err, NLM_BAD_FORMAT, path,
                        "%zu bytes do not hold the %" PRIu64 " tokens and %" PRIu64
                        " documents it ends with: damaged",
                        size, file->n_tokens, file->n_documents);
    }
    file->starts = trailer - file->n_documents * 8;
    if (nlm_checksum_of(data, size - 8) != nlm_get_le(data + size - 8, 8)) {
        return nlm_fail(err, NLM_BAD_FORMAT, path, "its checksum does not match: damaged");
    }
    return check_content(path, file, key, err);
}

nlm_status nlm_token_file_open(const char *path, const nlm_token_key *key, nlm_token_file *out, nlm_error *err) {
    *out = (nlm_token_file){0};
    NLM_TRY(nlm_file_map_open(path, &out->map, err));
    const nlm_status status = check_file(path, out, key, err);
    if (status != NLM_OK) nlm_token_file_close(out);
    return status;
}

void nlm_token_file_close(nlm_token_file *file) {
    nlm_file_map_close(&file->map);
    *file = (nlm_token_file){0};
}

uint64_t nlm_token_file_start(const nlm_token_file *file, uint64_t document) {
    return document == file->n_documents ? file->n_tokens : nlm_get_le(file->starts + 8 * document, 8);
}
