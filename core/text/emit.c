#include "text/emit.h"

#include "base/status.h"

nlm_status nlm_emit_id(int32_t id, nlm_ids *out, nlm_error *err) {
    if (nlm_ids_append(out, id) == NLM_OK) return NLM_OK;
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "tokenizer", "no memory for %zu token ids", out->count + 1);
}

nlm_status nlm_emit_bytes(const nlm_vocab *vocab, const char *text, size_t length, nlm_ids *out, nlm_error *err) {
    for (size_t i = 0; i < length; i++) {
        const unsigned char byte = (unsigned char)text[i];
        int32_t id = vocab->byte_ids[byte];
        if (id < 0) {
            id = vocab->unknown;
            if (id < 0) {
                return nlm_fail(err, NLM_UNSUPPORTED, "tokenizer",
                                "the vocabulary has no token for byte 0x%02X and none for the unknown", byte);
            }
            if (out->count > 0 && out->data[out->count - 1] == id) continue;
        }
        NLM_TRY(nlm_emit_id(id, out, err));
    }
    return NLM_OK;
}
