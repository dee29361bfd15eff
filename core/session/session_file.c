/* The layout of a session's file, checked before anything of it is used. */
#include "session/session_file.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/little_endian.h"
#include "base/status.h"
#include "session/text_stream.h"

#define VERSION      3u
#define HEADER_BYTES 64u
#define END_BYTES    8u

/* The version before, without mu at the end of its header. */
#define OLD_VERSION      2u
#define OLD_HEADER_BYTES 56u

static const unsigned char magic[8] = {'n', 'l', 'm', 's', 'e', 's', 's', '\n'};

typedef struct header {
    uint32_t version, state_kind;
    uint64_t fingerprint, n_tokens, n_logits, state_bytes, n_text;
    double mu;
} header;

static size_t header_bytes(const header *h) {
    return h->version == OLD_VERSION ? OLD_HEADER_BYTES : HEADER_BYTES;
}

static header get_header(const unsigned char *at) {
    return (header){.version = (uint32_t)nlm_get_le(at + 8, 4),
                    .state_kind = (uint32_t)nlm_get_le(at + 12, 4),
                    .fingerprint = nlm_get_le(at + 16, 8),
                    .n_tokens = nlm_get_le(at + 24, 8),
                    .n_logits = nlm_get_le(at + 32, 8),
                    .state_bytes = nlm_get_le(at + 40, 8),
                    .n_text = nlm_get_le(at + 48, 8)};
}

/* What a header of this version has beside. */
static void get_mu(header *h, const unsigned char *at) {
    const uint64_t bits = nlm_get_le(at + OLD_HEADER_BYTES, 8);
    memcpy(&h->mu, &bits, sizeof h->mu);
}

static void put_header(unsigned char *at, const header *h) {
    memcpy(at, magic, sizeof magic);
    nlm_put_le(at + 8, h->version, 4);
    nlm_put_le(at + 12, h->state_kind, 4);
    nlm_put_le(at + 16, h->fingerprint, 8);
    nlm_put_le(at + 24, h->n_tokens, 8);
    nlm_put_le(at + 32, h->n_logits, 8);
    nlm_put_le(at + 40, h->state_bytes, 8);
    nlm_put_le(at + 48, h->n_text, 8);
    uint64_t mu;
    memcpy(&mu, &h->mu, sizeof mu);
    nlm_put_le(at + OLD_HEADER_BYTES, mu, 8);
}

/* 0 when it wraps. */
static uint64_t file_bytes(const header *h) {
    uint64_t tokens, logits, text, sum;
    if (!nlm_mul_u64(h->n_tokens, 4, &tokens) || !nlm_mul_u64(h->n_logits, 4, &logits)) return 0;
    if (!nlm_mul_u64(h->n_text, 2, &text)) return 0;
    if (!nlm_add_u64(header_bytes(h) + END_BYTES, tokens, &sum)) return 0;
    if (!nlm_add_u64(sum, logits, &sum) || !nlm_add_u64(sum, text, &sum)) return 0;
    if (!nlm_add_u64(sum, h->state_bytes, &sum)) return 0;
    return sum;
}

static nlm_status check_whole(const char *name, const unsigned char *data, size_t size, const header *h,
                              nlm_error *err) {
    const uint64_t expected = file_bytes(h);
    if (expected != size) {
        return nlm_fail(err, NLM_BAD_FORMAT, name,
                        "the header (%" PRIu64 " tokens, %" PRIu64 " logits, %" PRIu64 " bytes of state, %" PRIu64
                        " of text) asks for a file of %" PRIu64 " bytes, and it has %zu: truncated or changed",
                        h->n_tokens, h->n_logits, h->state_bytes, h->n_text, expected, size);
    }
    const uint64_t stored = nlm_get_le(data + size - END_BYTES, 8);
    if (nlm_checksum_of(data, size - END_BYTES) == stored) return NLM_OK;
    return nlm_fail(err, NLM_BAD_FORMAT, name, "the checksum at offset %zu does not match: the file was changed",
                    size - END_BYTES);
}

static nlm_status check_fit(const char *name, const header *h, const nlm_session_shape *shape, nlm_error *err) {
    if (h->fingerprint != shape->fingerprint) {
        return nlm_fail(err, NLM_UNSUPPORTED, name,
                        "this session was saved with another model (%016" PRIx64 ", and this one is %016" PRIx64 ")",
                        h->fingerprint, shape->fingerprint);
    }
    if (h->state_kind != shape->state_kind) {
        return nlm_fail(err, NLM_UNSUPPORTED, name,
                        "this session was saved with another type of KV cache (%" PRIu32 ", and this one is %" PRIu32
                        ")",
                        h->state_kind, shape->state_kind);
    }
    if (h->n_tokens > shape->max_tokens) {
        return nlm_fail(err, NLM_LIMIT, name, "the session has %" PRIu64 " tokens and the context holds %" PRIu64,
                        h->n_tokens, shape->max_tokens);
    }
    uint64_t state_bytes;
    const int has_size = nlm_mul_u64(h->n_tokens, shape->bytes_per_token, &state_bytes) &&
                         nlm_add_u64(state_bytes, shape->fixed_bytes, &state_bytes);
    if (!has_size || h->state_bytes != state_bytes) {
        return nlm_fail(err, NLM_BAD_FORMAT, name,
                        "%" PRIu64 " bytes of state for %" PRIu64 " tokens; expected %" PRIu64, h->state_bytes,
                        h->n_tokens, has_size ? state_bytes : 0);
    }
    const uint64_t n_logits = h->n_tokens ? (uint64_t)shape->n_vocab : 0;
    if (h->n_logits == n_logits) return NLM_OK;
    return nlm_fail(err, NLM_BAD_FORMAT, name, "%" PRIu64 " logits for %" PRIu64 " tokens; expected %" PRIu64,
                    h->n_logits, h->n_tokens, n_logits);
}

static nlm_status check_tokens(const char *name, const nlm_session_view *view, int32_t n_vocab, nlm_error *err) {
    for (uint64_t i = 0; i < view->n_tokens; i++) {
        const uint64_t id = nlm_get_le(view->tokens + 4 * i, 4);
        if (id < (uint64_t)n_vocab) continue;
        return nlm_fail(err, NLM_BAD_FORMAT, name,
                        "token %" PRIu64 " is %" PRIu64 ", outside the vocabulary of %" PRId32, i, id, n_vocab);
    }
    return NLM_OK;
}

static nlm_status check_marks(const char *name, const nlm_session_view *view, nlm_error *err) {
    for (uint64_t i = 0; i < view->n_text; i++) {
        if ((unsigned char)view->marks[i] < NLM_TEXT_MARKS) continue;
        return nlm_fail(err, NLM_BAD_FORMAT, name, "byte %" PRIu64 " of the text has mark %d; expected 0 to %d", i,
                        (unsigned char)view->marks[i], NLM_TEXT_MARKS - 1);
    }
    return NLM_OK;
}

/* What is sampled from must be numbers, as what is computed is. */
static nlm_status check_logits(const char *name, const nlm_session_view *view, int32_t n_vocab, nlm_error *err) {
    for (int32_t i = 0; view->logits && i < n_vocab; i++) {
        float logit;
        memcpy(&logit, view->logits + 4 * (size_t)i, sizeof logit);
        if (isfinite(logit)) continue;
        return nlm_fail(err, NLM_BAD_FORMAT, name, "the logit of token %" PRId32 " is %f", i, (double)logit);
    }
    return NLM_OK;
}

static nlm_status fail_header(const char *name, size_t size, size_t bytes, nlm_error *err) {
    return nlm_fail(err, NLM_BAD_FORMAT, name, "the file ends inside its header, at %zu of at least %zu bytes", size,
                    bytes + END_BYTES);
}

nlm_status nlm_session_file_parse(const char *name, const void *data, size_t size, const nlm_session_shape *shape,
                                  nlm_session_view *out, nlm_error *err) {
    const unsigned char *at = data;
    if (size < sizeof magic || memcmp(at, magic, sizeof magic) != 0) {
        return nlm_fail(err, NLM_BAD_FORMAT, name, "this is not a session file (it does not begin with 'nlmsess')");
    }
    if (size < OLD_HEADER_BYTES + END_BYTES) return fail_header(name, size, OLD_HEADER_BYTES, err);
    header h = get_header(at);
    if (h.version != VERSION && h.version != OLD_VERSION) {
        return nlm_fail(err, NLM_UNSUPPORTED, name,
                        "session file version %" PRIu32 "; this program reads versions %u and %u", h.version,
                        OLD_VERSION, VERSION);
    }
    if (size < header_bytes(&h) + END_BYTES) return fail_header(name, size, header_bytes(&h), err);
    if (h.version != OLD_VERSION) get_mu(&h, at);
    NLM_TRY(check_whole(name, at, size, &h, err));
    NLM_TRY(check_fit(name, &h, shape, err));
    if (!isfinite(h.mu)) return nlm_fail(err, NLM_BAD_FORMAT, name, "mirostat's mu is %f", h.mu);
    *out = (nlm_session_view){.n_tokens = h.n_tokens, .n_text = h.n_text, .mu = h.mu, .state_bytes = h.state_bytes};
    out->tokens = at + header_bytes(&h);
    out->logits = h.n_logits ? out->tokens + 4 * h.n_tokens : NULL;
    out->text = (const char *)out->tokens + 4 * (h.n_tokens + h.n_logits);
    out->marks = out->text + h.n_text;
    out->state = (const unsigned char *)out->marks + h.n_text;
    NLM_TRY(check_tokens(name, out, shape->n_vocab, err));
    NLM_TRY(check_marks(name, out, err));
    return check_logits(name, out, shape->n_vocab, err);
}

static header header_of(const nlm_session_shape *shape, const nlm_session_counts *counts) {
    return (header){.version = VERSION,
                    .state_kind = shape->state_kind,
                    .fingerprint = shape->fingerprint,
                    .n_tokens = counts->n_tokens,
                    .n_logits = counts->n_logits,
                    .state_bytes = counts->n_tokens * shape->bytes_per_token + shape->fixed_bytes,
                    .n_text = counts->n_text,
                    .mu = counts->mu};
}

uint64_t nlm_session_file_bytes(const nlm_session_shape *shape, const nlm_session_counts *counts) {
    const header h = header_of(shape, counts);
    return file_bytes(&h);
}

nlm_status nlm_session_writer_to_file(nlm_session_writer *writer, const char *path, nlm_error *err) {
    *writer = (nlm_session_writer){0};
    return nlm_file_writer_create(path, &writer->file, err);
}

void nlm_session_writer_to_memory(nlm_session_writer *writer, void *memory) {
    *writer = (nlm_session_writer){.at = memory};
}

/* Without counting it in the checksum. */
static nlm_status write_bytes(nlm_session_writer *writer, const void *data, size_t bytes, nlm_error *err) {
    if (writer->file) return nlm_file_writer_write(writer->file, data, bytes, err);
    if (bytes) memcpy(writer->at, data, bytes);
    writer->at += bytes;
    return NLM_OK;
}

nlm_status nlm_session_writer_begin(nlm_session_writer *writer, const nlm_session_shape *shape,
                                    const nlm_session_counts *counts, nlm_error *err) {
    const header h = header_of(shape, counts);
    unsigned char bytes[HEADER_BYTES];
    nlm_checksum_init(&writer->checksum);
    put_header(bytes, &h);
    return nlm_session_writer_put(writer, bytes, sizeof bytes, err);
}

nlm_status nlm_session_writer_put(nlm_session_writer *writer, const void *data, size_t bytes, nlm_error *err) {
    nlm_checksum_update(&writer->checksum, data, bytes);
    return write_bytes(writer, data, bytes, err);
}

nlm_status nlm_session_writer_commit(nlm_session_writer *writer, nlm_error *err) {
    unsigned char bytes[END_BYTES];
    nlm_put_le(bytes, nlm_checksum_value(&writer->checksum), 8);
    NLM_TRY(write_bytes(writer, bytes, sizeof bytes, err));
    return writer->file ? nlm_file_writer_commit(writer->file, err) : NLM_OK;
}

void nlm_session_writer_release(nlm_session_writer *writer) {
    nlm_file_writer_destroy(writer->file);
    writer->file = NULL;
}
