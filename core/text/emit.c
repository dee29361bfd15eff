/* Ids for text that merging is done with, bytes for what has no token. */
#include "text/emit.h"

#include "base/status.h"

nlm_status nlm_emit_id(int32_t id, nlm_ids *out, nlm_error *err) {
    if (nlm_ids_append(out, id) == NLM_OK) return NLM_OK;
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "tokenizer", "no memory for %zu token ids", out->count + 1);
}

/* U+FFFD, the replacement character. */
static const unsigned char replacement[] = {0xEF, 0xBF, 0xBD};

static nlm_status emit_unknown(const nlm_vocab *vocab, unsigned char byte, nlm_ids *out, nlm_error *err) {
    if (nlm_vocab_drops(vocab, byte)) return NLM_OK;
    const int32_t unknown = vocab->unknown;
    if (unknown >= 0 && vocab->types[unknown] == NLM_TOKEN_UNKNOWN) {
        const bool is_in_run = out->count > 0 && out->data[out->count - 1] == unknown;
        return is_in_run ? NLM_OK : nlm_emit_id(unknown, out, err);
    }
    /* A file may call a control token unknown; what a user writes must not give one. */
    for (size_t i = 0; i < sizeof replacement; i++) {
        const int32_t id = vocab->byte_ids[replacement[i]];
        if (id < 0 && !vocab->is_spm) continue;
        if (id < 0) {
            return nlm_fail(err, NLM_UNSUPPORTED, "tokenizer",
                            "the vocabulary has no token for byte 0x%02X and none for the unknown", byte);
        }
        NLM_TRY(nlm_emit_id(id, out, err));
    }
    return NLM_OK;
}

nlm_status nlm_emit_bytes(const nlm_vocab *vocab, const char *text, size_t length, nlm_ids *out, nlm_error *err) {
    for (size_t i = 0; i < length; i++) {
        const unsigned char byte = (unsigned char)text[i];
        const int32_t id = vocab->byte_ids[byte];
        NLM_TRY(id >= 0 ? nlm_emit_id(id, out, err) : emit_unknown(vocab, byte, out, err));
    }
    return NLM_OK;
}
