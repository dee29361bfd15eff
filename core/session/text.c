/* nlm.h's text and token calls: the tokenizer of a loaded model. */
#include <nlm/plugin.h>
#include <string.h>

#include "base/status.h"
#include "session/runtime.h"
#include "session/text_out.h"

#define KNOWN_FLAGS (NLM_TEXT_BOS | NLM_TEXT_SPECIAL)

static nlm_status check_flags(uint32_t flags, uint32_t known, const char *where, nlm_error *err) {
    if ((flags & ~known) == 0) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, where, "flags 0x%x are not known", flags & ~known);
}

static uint32_t encode_flags(uint32_t flags) {
    return (flags & NLM_TEXT_BOS ? NLM_ENCODE_BOS : 0u) | (flags & NLM_TEXT_SPECIAL ? NLM_ENCODE_SPECIAL : 0u);
}

nlm_status nlm_encode(const nlm_model *model, const char *text, size_t length, uint32_t flags, int32_t *out_ids,
                      size_t capacity, size_t *out_count, nlm_error *error) {
    NLM_NEEDS(model, error);
    NLM_NEEDS(out_count, error);
    if (length > 0) NLM_NEEDS(text, error);
    NLM_TRY(check_flags(flags, KNOWN_FLAGS, "nlm_encode", error));
    NLM_TRY(nlm_runtime_check_text(nlm_model_runtime(model), error));
    nlm_ids ids = {0};
    nlm_status status =
        nlm_tokenizer_encode(nlm_model_runtime(model)->tokenizer, text, length, encode_flags(flags), &ids, error);
    if (status == NLM_OK) status = nlm_ids_out(&ids, out_ids, capacity, out_count, "nlm_encode", error);
    nlm_ids_release(&ids);
    return status;
}

nlm_status nlm_decode(const nlm_model *model, const int32_t *ids, size_t count, uint32_t flags, char *out_text,
                      size_t capacity, size_t *out_length, nlm_error *error) {
    NLM_NEEDS(model, error);
    NLM_NEEDS(out_length, error);
    if (count > 0) NLM_NEEDS(ids, error);
    NLM_TRY(check_flags(flags, NLM_TEXT_SPECIAL, "nlm_decode", error));
    NLM_TRY(nlm_runtime_check_text(nlm_model_runtime(model), error));
    nlm_str text = {0};
    nlm_status status = nlm_tokenizer_decode_all(nlm_model_runtime(model)->tokenizer, ids, count,
                                                 (flags & NLM_TEXT_SPECIAL) != 0, &text, error);
    if (status == NLM_OK) status = nlm_text_out(&text, false, out_text, out_text ? capacity : 0, out_length, error);
    if (status == NLM_OK && out_text && *out_length > capacity) {
        status = nlm_fail_capacity(capacity, *out_length, "nlm_decode", error);
    }
    nlm_str_release(&text);
    return status;
}

nlm_status nlm_token_text(const nlm_model *model, int32_t id, uint32_t flags, const char **out_text,
                          size_t *out_length, nlm_error *error) {
    NLM_NEEDS(model, error);
    NLM_NEEDS(out_text, error);
    NLM_NEEDS(out_length, error);
    NLM_TRY(check_flags(flags, NLM_TEXT_SPECIAL, "nlm_token_text", error));
    NLM_TRY(nlm_runtime_check_text(nlm_model_runtime(model), error));
    nlm_piece piece;
    NLM_TRY(nlm_tokenizer_piece(nlm_model_runtime(model)->tokenizer, id, &piece, error));
    const bool is_shown = !piece.is_hidden || (flags & NLM_TEXT_SPECIAL);
    *out_text = is_shown ? piece.text : "";
    *out_length = is_shown ? piece.length : 0;
    return NLM_OK;
}

int32_t nlm_token_is_end(const nlm_model *model, int32_t id) {
    const nlm_tokenizer *tokenizer = model ? nlm_model_runtime(model)->tokenizer : NULL;
    return tokenizer && nlm_tokenizer_is_end(tokenizer, id);
}
