/* nlm.h's text and token calls: the tokenizer and the chat template of a loaded model. */
#include <nlm/plugin.h>
#include <string.h>

#include "base/log.h"
#include "base/status.h"
#include "session/runtime.h"
#include "session/text_out.h"

#define KNOWN_FLAGS (NLM_TEXT_BOS | NLM_TEXT_SPECIAL)

static nlm_status check_flags(uint32_t flags, uint32_t known, const char *where, nlm_error *err) {
    if ((flags & ~known) == 0) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, where, "flags 0x%x are not known", flags & ~known);
}

static nlm_status fail_capacity(size_t capacity, size_t count, const char *where, nlm_error *err) {
    return nlm_fail(err, NLM_LIMIT, where, "there is room for %zu, and %zu are needed", capacity, count);
}

static nlm_status ids_out(const nlm_ids *ids, int32_t *out_ids, size_t capacity, size_t *out_count, const char *where,
                          nlm_error *err) {
    *out_count = ids->count;
    if (!out_ids) return NLM_OK;
    const size_t n = ids->count < capacity ? ids->count : capacity;
    if (n) memcpy(out_ids, ids->data, n * sizeof *out_ids);
    return n == ids->count ? NLM_OK : fail_capacity(capacity, ids->count, where, err);
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
    if (status == NLM_OK) status = ids_out(&ids, out_ids, capacity, out_count, "nlm_encode", error);
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
        status = fail_capacity(capacity, *out_length, "nlm_decode", error);
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

/* nlm_message and nlm_chat_message are the same two strings; one is stable, the other internal. */
_Static_assert(sizeof(nlm_message) == sizeof(nlm_chat_message) &&
                   offsetof(nlm_message, content) == offsetof(nlm_chat_message, content),
               "an nlm_message can be read as an nlm_chat_message");

static void warn_of_token(const nlm_runtime *runtime, const char *token, const char *whose) {
    if (nlm_tokenizer_find(runtime->tokenizer, token, strlen(token)) >= 0) return;
    nlm_log(
        NLM_LOG_WARN,
        "%s: the vocabulary has no token '%s', which %s chat template is made of: it is spelled in parts, which the "
        "model was hardly trained on",
        nlm_gguf_path(nlm_model_gguf(runtime->model)), token, whose);
}

/* Once a model, when a known template is first used: of its tokens that the vocabulary lacks, and, where the model's
 * own should have been used, why that could not be. */
static void warn_of_known(nlm_runtime *runtime, const nlm_error *why) {
    if (atomic_exchange(&runtime->is_chat_warned, true)) return;
    const char *path = nlm_gguf_path(nlm_model_gguf(runtime->model)), *name = nlm_chat_template_name(runtime->chat);
    if (why) {
        nlm_log(NLM_LOG_WARN,
                "%s: the model's chat template fails (%s: %s); %s, which is the same but for that, is used", path,
                why->where, why->msg, name);
    }
    size_t n_needed;
    const char *const *tokens = nlm_chat_template_tokens(runtime->chat, &n_needed);
    for (size_t i = 0; i < n_needed; i++) warn_of_token(runtime, tokens[i], name);
}

/* Once a model: of tokens that its template wrote into this text and the vocabulary lacks. */
static void warn_of_own(nlm_runtime *runtime, const nlm_str *text) {
    if (text->length == 0 || atomic_exchange(&runtime->is_chat_warned, true)) return;
    for (const char *const *token = nlm_chat_own_tokens(runtime->own_chat); *token; token++) {
        if (memmem(text->data, text->length, *token, strlen(*token))) warn_of_token(runtime, *token, "the model's");
    }
}

/* A text being made of messages, and its ids. */
typedef struct chat_text {
    nlm_str text;
    nlm_text_spans spans;
    nlm_ids ids;
} chat_text;

/* In the model's own template, or a known one that was named, or renders as the model's does where that fails.
 * *out_has_bos: the text begins with a BOS. */
static nlm_status format(nlm_runtime *runtime, const nlm_chat_message *messages, size_t count, size_t n_before,
                         bool opens_turn, chat_text *t, bool *out_has_bos, nlm_error *err) {
    nlm_error why = runtime->chat_error;
    *out_has_bos = false;
    if (runtime->own_chat) {
        why = (nlm_error)NLM_ERROR_INIT;
        const nlm_status status =
            nlm_chat_own_format(runtime->own_chat, messages, count, n_before, opens_turn, &t->text, &t->spans, &why);
        *out_has_bos = status == NLM_OK && nlm_chat_own_begins(runtime->own_chat, &t->text, &t->spans);
        if (status == NLM_OK) warn_of_own(runtime, &t->text);
        if (status == NLM_OK) return NLM_OK;
        t->text.length = t->spans.count = 0;
    }
    if (!runtime->chat) {
        nlm_error_give(err, &why);
        return why.code;
    }
    warn_of_known(runtime, why.code == NLM_OK ? NULL : &why);
    return nlm_chat_template_format(runtime->chat, messages, count, n_before, opens_turn, &t->text, &t->spans, err);
}

static nlm_status encode_text(nlm_runtime *runtime, const nlm_message *messages, size_t count, size_t n_before,
                              bool opens_turn, chat_text *t, nlm_error *err) {
    bool has_bos;
    NLM_TRY(format(runtime, (const nlm_chat_message *)messages, count, n_before, opens_turn, t, &has_bos, err));
    if (t->text.has_failed) return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_encode_chat", "no memory for the text");
    const uint32_t flags = NLM_ENCODE_SPECIAL | (n_before == 0 && !has_bos ? NLM_ENCODE_BOS : 0u);
    return nlm_tokenizer_encode_spans(runtime->tokenizer, t->text.data ? t->text.data : "", t->text.length, flags,
                                      &t->spans, &t->ids, err);
}

static nlm_status check_messages(const nlm_message *messages, size_t count, nlm_error *err) {
    for (size_t i = 0; i < count; i++) {
        if (messages && messages[i].role && messages[i].content) continue;
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_encode_chat", "message %zu has no role or no content", i);
    }
    return NLM_OK;
}

/* opens_turn: the assistant's, behind the messages; else the last of them stays open. */
static nlm_status encode_chat(const nlm_model *model, const nlm_message *messages, size_t count, size_t n_before,
                              bool opens_turn, int32_t *out_ids, size_t capacity, size_t *out_count, nlm_error *err) {
    NLM_NEEDS(model, err);
    NLM_NEEDS(out_count, err);
    NLM_TRY(check_messages(messages, count, err));
    nlm_runtime *runtime = nlm_model_runtime(model);
    NLM_TRY(nlm_runtime_check_text(runtime, err));
    chat_text t = {0};
    const nlm_log_sink *outer_log = nlm_gate_redirect_log(&runtime->engine->gate);
    nlm_status status = encode_text(runtime, messages, count, n_before, opens_turn, &t, err);
    nlm_log_redirect(outer_log);
    if (status == NLM_OK) status = ids_out(&t.ids, out_ids, capacity, out_count, "nlm_encode_chat", err);
    nlm_ids_release(&t.ids);
    nlm_text_spans_release(&t.spans);
    nlm_str_release(&t.text);
    return status;
}

nlm_status nlm_encode_chat(const nlm_model *model, const nlm_message *messages, size_t count, size_t n_before,
                           int32_t *out_ids, size_t capacity, size_t *out_count, nlm_error *error) {
    return encode_chat(model, messages, count, n_before, true, out_ids, capacity, out_count, error);
}

nlm_status nlm_encode_chat_continue(const nlm_model *model, const nlm_message *messages, size_t count,
                                    size_t n_before, int32_t *out_ids, size_t capacity, size_t *out_count,
                                    nlm_error *error) {
    NLM_TRY(check_messages(messages, count, error));
    if (count == 0 || strcmp(messages[count - 1].role, "assistant") != 0) {
        return nlm_fail(error, NLM_INVALID_ARGUMENT, "nlm_encode_chat_continue",
                        "the last message has the role '%s'; expected assistant, whose message is gone on with",
                        count ? messages[count - 1].role : "");
    }
    return encode_chat(model, messages, count, n_before, false, out_ids, capacity, out_count, error);
}
