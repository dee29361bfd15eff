/* POST /v1/completions: texts that go on. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "nlm-server/json_in.h"
#include "nlm-server/openai.h"
#include "nlm-server/request.h"
#include "nlm-server/texts.h"
#include "text/utf8.h"

/* ---- logprobs: arrays beside each other ------------------------------------------------------------ */

/* A token as a key: its text, or "bytes:\\xff" where that is none. */
static void put_token_key(const call *c, json_out *j, int32_t id, float logprob) {
    const char *text = "";
    size_t length = 0;
    nlm_str key = {0};
    nlm_token_text(c->s->model, id, NLM_TEXT_SPECIAL, &text, &length, NULL);
    if (nlm_utf8_valid_prefix(text, length) == length && !memchr(text, 0, length)) {
        nlm_str_append(&key, text, length);
    } else {
        nlm_str_puts(&key, "bytes:");
        for (size_t i = 0; i < length; i++) nlm_str_printf(&key, "\\x%02x", (unsigned char)text[i]);
    }
    json_f64(j, key.data ? key.data : "", (double)logprob);
    nlm_str_release(&key);
}

static void put_logprobs(const call *c, json_out *j, const task_event *event, uint64_t offset) {
    json_object(j, NULL);
    json_array(j, "tokens");
    for (size_t i = 0; i < event->n_tokens; i++) {
        const char *text = "";
        size_t length = 0;
        nlm_token_text(c->s->model, event->tokens[i].id, NLM_TEXT_SPECIAL, &text, &length, NULL);
        json_bytes(j, NULL, text, length);
    }
    json_end_array(j);
    json_array(j, "token_logprobs");
    for (size_t i = 0; i < event->n_tokens; i++) json_f64(j, NULL, (double)event->tokens[i].logprob);
    json_end_array(j);
    json_array(j, "top_logprobs");
    for (size_t i = 0; i < event->n_tokens; i++) {
        json_object(j, NULL);
        for (uint32_t k = 0; k < event->tokens[i].n_top; k++) {
            put_token_key(c, j, event->tokens[i].top[k].id, event->tokens[i].top[k].logprob);
        }
        json_end_object(j);
    }
    json_end_array(j);
    json_array(j, "text_offset");
    for (size_t i = 0; i < event->n_tokens; i++) {
        const char *text = "";
        size_t length = 0;
        json_u64(j, NULL, offset);
        nlm_token_text(c->s->model, event->tokens[i].id, NLM_TEXT_SPECIAL, &text, &length, NULL);
        offset += length;
    }
    json_end_array(j);
    json_end_object(j);
}

/* ---- answers ---------------------------------------------------------------------------------------- */

static void put_choice(call *c, json_out *j, uint32_t index, const char *text, size_t length, const char *reason,
                       const char *logprobs) {
    json_object(j, NULL);
    json_u64(j, "index", index);
    json_bytes(j, "text", text, length);
    if (logprobs)
        json_raw(j, "logprobs", logprobs);
    else
        json_null(j, "logprobs");
    if (reason)
        json_string(j, "finish_reason", reason);
    else
        json_null(j, "finish_reason");
    json_end_object(j);
    (void)c;
}

static void send_chunk(call *c, uint32_t index, const char *text, size_t length, const char *reason,
                       const char *logprobs) {
    nlm_str data = {0};
    json_out j = json_begin(&data);
    openai_begin(c, &j, "text_completion");
    json_array(&j, "choices");
    put_choice(c, &j, index, text, length, reason, logprobs);
    json_end_array(&j);
    if (c->has_usage) json_null(&j, "usage");
    json_end_object(&j);
    call_send(c, NULL, &data);
    nlm_str_release(&data);
}

static void begin(call *c) {
    for (uint32_t i = 0; c->echoes && i < c->n_choices; i++) {
        const nlm_str *echo = &c->echoes[i / c->n_each];
        send_chunk(c, i, echo->data, echo->length, NULL, NULL);
    }
}

/* The tokens of an answer that is not streamed are kept until it is written. */
static void keep_tokens(call_choice *choice, const task_event *event) {
    nlm_str_append(&choice->logprobs, (const char *)event->tokens, event->n_tokens * sizeof *event->tokens);
}

static void text(call *c, uint32_t index, const char *content, size_t n, const task_event *event) {
    call_choice *choice = &c->choices[index];
    if (!c->stream) {
        if (event->n_tokens) keep_tokens(choice, event);
        return;
    }
    if (n == 0 && event->n_tokens == 0) return;
    nlm_str logprobs = {0};
    if (c->n_top != TASK_NO_LOGPROBS) {
        json_out j = json_begin(&logprobs);
        put_logprobs(c, &j, event, choice->logprob_bytes);
        choice->logprob_bytes += n;
    }
    send_chunk(c, index, content, n, NULL, logprobs.data);
    nlm_str_release(&logprobs);
}

static void end_choice(call *c, uint32_t index) {
    send_chunk(c, index, "", 0, call_finish_reason(&c->choices[index]), NULL);
}

static void end(call *c) {
    static const char done[] = "data: [DONE]\n\n";
    if (c->has_usage) {
        nlm_str data = {0};
        json_out j = json_begin(&data);
        openai_begin(c, &j, "text_completion");
        json_array(&j, "choices");
        json_end_array(&j);
        openai_usage(c, &j);
        json_end_object(&j);
        call_send(c, NULL, &data);
        nlm_str_release(&data);
    }
    http_stream_write(c->x, done, sizeof done - 1);
}

static void whole(call *c, nlm_str *out) {
    json_out j = json_begin(out);
    openai_begin(c, &j, "text_completion");
    json_array(&j, "choices");
    for (uint32_t i = 0; i < c->n_choices; i++) {
        call_choice *choice = &c->choices[i];
        nlm_str joined = {0}, logprobs = {0};
        if (c->echoes) nlm_str_append(&joined, c->echoes[i / c->n_each].data, c->echoes[i / c->n_each].length);
        nlm_str_append(&joined, choice->text.data, choice->text.length);
        if (c->n_top != TASK_NO_LOGPROBS) {
            const task_event event = {.tokens = (task_token *)(void *)choice->logprobs.data,
                                      .n_tokens = choice->logprobs.length / sizeof(task_token)};
            json_out inner = json_begin(&logprobs);
            put_logprobs(c, &inner, &event, 0);
        }
        put_choice(c, &j, i, joined.data, joined.length, call_finish_reason(choice), logprobs.data);
        if (joined.has_failed || logprobs.has_failed) out->has_failed = true;
        nlm_str_release(&joined);
        nlm_str_release(&logprobs);
    }
    json_end_array(&j);
    openai_usage(c, &j);
    json_end_object(&j);
}

static const call_form form = {
    .id_prefix = "cmpl-", .begin = begin, .text = text, .end_choice = end_choice, .end = end, .whole = whole};

/* ---- requests --------------------------------------------------------------------------------------- */

/* What stands before the texts, where it is asked for. */
static nlm_status read_echo(request *r, nlm_error *err) {
    bool is_wanted = false;
    const call_prompts *prompts = &r->prompts;
    NLM_TRY(json_get_bool(r->body, "echo", &is_wanted, err));
    if (!is_wanted) return NLM_OK;
    if (r->params.request.n_top != TASK_NO_LOGPROBS) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "echo", "'echo' with 'logprobs' is not supported");
    }
    r->echoes = calloc(prompts->count, sizeof *r->echoes);
    if (!r->echoes) return nlm_fail(err, NLM_OUT_OF_MEMORY, "echo", "no memory");
    for (uint32_t i = 0; i < prompts->count; i++) {
        NLM_TRY(text_decode(r->s->model, prompts->ids[i], prompts->n_ids[i], 0, &r->echoes[i], err));
    }
    return NLM_OK;
}

static nlm_status check_unsupported(const cJSON *body, uint32_t n, nlm_error *err) {
    int64_t best_of = n;
    const char *suffix = NULL;
    NLM_TRY(json_get_int(body, "best_of", 1, 128, &best_of, err));
    if (best_of != n)
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "best_of", "'best_of' other than 'n' is not supported");
    NLM_TRY(json_get_string(body, "suffix", &suffix, err));
    if (suffix && *suffix) return nlm_fail(err, NLM_INVALID_ARGUMENT, "suffix", "'suffix' is not supported");
    return NLM_OK;
}

static nlm_status read_completion(request *r, nlm_error *err) {
    int64_t n_top = TASK_NO_LOGPROBS;
    NLM_TRY(call_read_params(r->s, r->client, r->body, "stop", &r->params, err));
    NLM_TRY(json_get_int(r->body, "logprobs", 0, TASK_TOP_MAX, &n_top, err));
    r->params.request.n_top = (int32_t)n_top;
    NLM_TRY(check_unsupported(r->body, r->params.request.n, err));
    NLM_TRY(call_prompts_read(r->s, r->body, "prompt", &r->prompts, err));
    return read_echo(r, err);
}

static nlm_status start(request *r, nlm_error *err) {
    call *c = call_create(r->s, r->x, &form, &r->params);
    if (!c) return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory");
    c->echoes = r->echoes;
    c->n_echoes = r->echoes ? r->prompts.count : 0;
    r->echoes = NULL;
    const nlm_status status = call_start(c, &r->params, &r->prompts, err);
    if (status != NLM_OK) call_destroy(c);
    return status;
}

void openai_completion(server *s, http_exchange *x) {
    static const request_form completion = {.read = read_completion, .answer = start};
    request_begin(s, x, &completion, NULL);
}
