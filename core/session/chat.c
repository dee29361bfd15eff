/* nlm.h's conversations: the chat template of a loaded model. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/status.h"
#include "session/options.h"
#include "session/runtime.h"
#include "session/text_out.h"

#define KNOWN_FLAGS (NLM_CHAT_NO_PROMPT | NLM_CHAT_CONTINUE)

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

static void release(chat_text *t) {
    nlm_ids_release(&t->ids);
    nlm_text_spans_release(&t->spans);
    nlm_str_release(&t->text);
}

/* The ids of the text; BOS in front where the model wants one, unless it `has_bos` or is not the beginning. */
static nlm_status encode_text(nlm_runtime *runtime, bool is_beginning, bool has_bos, chat_text *t, nlm_error *err) {
    if (t->text.has_failed) return nlm_fail(err, NLM_OUT_OF_MEMORY, "chat template", "no memory for the text");
    const uint32_t flags = NLM_ENCODE_SPECIAL | (is_beginning && !has_bos ? NLM_ENCODE_BOS : 0u);
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
    bool has_bos;
    nlm_status status =
        format(runtime, (const nlm_chat_message *)messages, count, n_before, opens_turn, &t, &has_bos, err);
    nlm_log_redirect(outer_log);
    if (status == NLM_OK) status = encode_text(runtime, n_before == 0, has_bos, &t, err);
    if (status == NLM_OK) status = nlm_ids_out(&t.ids, out_ids, capacity, out_count, "nlm_encode_chat", err);
    release(&t);
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

/* ---- conversations of JSON ---------------------------------------------------------------- */

/* The messages in a template that has roles and contents alone. */
static nlm_status format_plain(const nlm_runtime *runtime, const nlm_chat_json *chat, nlm_chat_end end, chat_text *t,
                               nlm_error *err) {
    nlm_chat_message *messages = NULL;
    size_t count = 0;
    NLM_TRY(nlm_chat_json_plain(chat, nlm_chat_template_name(runtime->chat), &messages, &count, err));
    const bool opens_turn = end == NLM_CHAT_END_PROMPT;
    nlm_status status =
        nlm_chat_template_format(runtime->chat, messages, count, 0, opens_turn, &t->text, &t->spans, err);
    /* that text leaves an answer's turn open, for whatever follows to close */
    if (status == NLM_OK && end == NLM_CHAT_END_CLOSED && strcmp(nlm_chat_json_last_role(chat), "assistant") == 0) {
        status = nlm_chat_template_close(runtime->chat, &t->text, err);
    }
    free(messages);
    return status;
}

/* As `format`: in the model's own template, or in a known one if that has all that is in the conversation. */
static nlm_status format_json(nlm_runtime *runtime, nlm_chat_json *chat, nlm_chat_end end, chat_text *t,
                              bool *out_has_bos, nlm_error *err) {
    nlm_error why = runtime->chat_error;
    *out_has_bos = false;
    nlm_chat_form form = {true, true};
    if (runtime->own_chat && nlm_chat_json_has_choices(chat)) form = nlm_chat_own_form(runtime->own_chat);
    NLM_TRY(nlm_chat_json_shape(chat, form, err));
    if (runtime->own_chat) {
        why = (nlm_error)NLM_ERROR_INIT;
        const nlm_status status = nlm_chat_own_format_json(runtime->own_chat, chat, end, &t->text, &t->spans, &why);
        *out_has_bos = status == NLM_OK && nlm_chat_own_begins(runtime->own_chat, &t->text, &t->spans);
        if (status == NLM_OK) warn_of_own(runtime, &t->text);
        if (status == NLM_OK) return NLM_OK;
        t->text.length = t->spans.count = 0;
    }
    if (runtime->chat) {
        const nlm_status status = format_plain(runtime, chat, end, t, runtime->own_chat ? NULL : err);
        if (status == NLM_OK) warn_of_known(runtime, why.code == NLM_OK ? NULL : &why);
        if (status == NLM_OK || !runtime->own_chat) return status;
        t->text.length = t->spans.count = 0;
    }
    nlm_error_give(err, &why);
    return why.code;
}

/* Renders what the caller gave; *out_has_bos as above. */
static nlm_status render(const nlm_model *model, const nlm_conversation *conversation, chat_text *t,
                         bool *out_has_bos, nlm_error *err) {
    nlm_runtime *runtime = nlm_model_runtime(model);
    nlm_conversation own = {0};
    nlm_chat_json chat;
    NLM_TRY(nlm_take_options(&own, sizeof own, conversation, "nlm_conversation", err));
    if (own.flags & ~(uint32_t)KNOWN_FLAGS || own.flags == KNOWN_FLAGS) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_conversation", "flags 0x%x are not known, or not together",
                        own.flags);
    }
    if (!own.messages) return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_conversation", "messages is NULL");
    NLM_TRY(nlm_runtime_check_text(runtime, err));
    NLM_TRY(nlm_chat_json_read(own.messages, own.tools, own.arguments, &chat, err));
    const char *last = nlm_chat_json_last_role(&chat);
    nlm_status status = NLM_OK;
    if ((own.flags & NLM_CHAT_CONTINUE) && strcmp(last, "assistant") != 0) {
        status =
            nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_conversation",
                     "the last message has the role '%s'; expected assistant, whose message is gone on with", last);
    }
    const nlm_chat_end end = own.flags & NLM_CHAT_CONTINUE    ? NLM_CHAT_END_OPEN
                             : own.flags & NLM_CHAT_NO_PROMPT ? NLM_CHAT_END_CLOSED
                                                              : NLM_CHAT_END_PROMPT;
    const nlm_log_sink *outer_log = nlm_gate_redirect_log(&runtime->engine->gate);
    if (status == NLM_OK) status = format_json(runtime, &chat, end, t, out_has_bos, err);
    nlm_log_redirect(outer_log);
    nlm_chat_json_release(&chat);
    return status;
}

nlm_status nlm_encode_conversation(const nlm_model *model, const nlm_conversation *conversation, int32_t *out_ids,
                                   size_t capacity, size_t *out_count, nlm_error *error) {
    NLM_NEEDS(model, error);
    NLM_NEEDS(conversation, error);
    NLM_NEEDS(out_count, error);
    chat_text t = {0};
    bool has_bos = false;
    nlm_status status = render(model, conversation, &t, &has_bos, error);
    if (status == NLM_OK) status = encode_text(nlm_model_runtime(model), true, has_bos, &t, error);
    if (status == NLM_OK) {
        status = nlm_ids_out(&t.ids, out_ids, capacity, out_count, "nlm_encode_conversation", error);
    }
    release(&t);
    return status;
}

nlm_status nlm_render_conversation(const nlm_model *model, const nlm_conversation *conversation, char *out_text,
                                   size_t capacity, size_t *out_length, nlm_error *error) {
    NLM_NEEDS(model, error);
    NLM_NEEDS(conversation, error);
    NLM_NEEDS(out_length, error);
    chat_text t = {0};
    bool has_bos;
    nlm_status status = render(model, conversation, &t, &has_bos, error);
    if (status == NLM_OK) {
        status = nlm_text_out(&t.text, false, out_text, out_text ? capacity : 0, out_length, error);
    }
    if (status == NLM_OK && out_text && *out_length > capacity) {
        status = nlm_fail_capacity(capacity, *out_length, "nlm_render_conversation", error);
    }
    release(&t);
    return status;
}
