/* Renders chat templates for other programs: a JSON object a line in, one a line out.
 *
 * in   {"template": "...", "globals": {...}, "trusted": ["bos_token", ...]}: all texts are a user's but those of the
 *      globals that are named
 *      {"template": "...", "chat": {"messages": "...", "tools": "...", "arguments": "..."}, "end": 0}: texts of JSON,
 *      as nlm_conversation has them, of a model whose template it is; `end` is an nlm_chat_end
 * out  {"text": "...", "user": [[from, to], ...]} in bytes, or {"error": "...", "line": "chat template:3"};
 *      of a chat with "form": [has text arguments, has empty content] */
#include <cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat_own.h"
#include "text/jinja.h"
#include "unit/vocab_bytes.h"

static uint8_t mark_of(const cJSON *trusted, const char *name) {
    const cJSON *item;
    cJSON_ArrayForEach(item, trusted) {
        if (cJSON_IsString(item) && strcmp(item->valuestring, name) == 0) return NLM_JINJA_TEMPLATE;
    }
    return NLM_JINJA_USER;
}

static nlm_jinja_value globals_of(nlm_jinja_run *run, const cJSON *job) {
    const cJSON *globals = cJSON_GetObjectItemCaseSensitive(job, "globals"), *item;
    const cJSON *trusted = cJSON_GetObjectItemCaseSensitive(job, "trusted");
    const nlm_jinja_value made = nlm_jinja_dict_new(run);
    cJSON_ArrayForEach(item, globals) {
        const uint8_t mark = mark_of(trusted, item->string);
        nlm_jinja_put_named(run, made, item->string, nlm_jinja_from_cjson(run, item, mark));
    }
    return made;
}

static nlm_status render(const cJSON *job, nlm_str *out, nlm_text_spans *spans, nlm_error *err) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(job, "template"));
    nlm_jinja *jinja = NULL;
    nlm_status status = nlm_jinja_create(text ? text : "", text ? strlen(text) : 0, &jinja, err);
    if (status != NLM_OK) return status;
    nlm_jinja_run *run = nlm_jinja_run_create(&nlm_jinja_default_limits, err);
    if (run) {
        status = nlm_jinja_render(jinja, run, globals_of(run, job), out, spans, NULL, err);
    } else {
        status = NLM_OUT_OF_MEMORY;
    }
    nlm_jinja_run_destroy(run);
    nlm_jinja_destroy(jinja);
    return status;
}

/* A model's template, of a file whose tokens are <unk>, <s>, </s> and <pad>. */
static nlm_status open_own(const cJSON *job, nlm_chat_own **out, nlm_error *err) {
    static const char *const tokens[] = {"<unk>", "<s>", "</s>", "<pad>"};
    vocab_bytes v = {0};
    nlm_gguf *gguf = NULL;
    vocab_strings(&v, "tokenizer.ggml.tokens", tokens, 4);
    vocab_number(&v, "tokenizer.ggml.unknown_token_id", 0);
    vocab_number(&v, "tokenizer.ggml.bos_token_id", 1);
    vocab_number(&v, "tokenizer.ggml.eos_token_id", 2);
    vocab_number(&v, "tokenizer.ggml.padding_token_id", 3);
    vocab_string(&v, "tokenizer.chat_template",
                 cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(job, "template")));
    nlm_status status = nlm_gguf_parse("m", v.bytes.data, v.bytes.length, &gguf, err);
    if (status == NLM_OK) status = nlm_chat_own_create(gguf, out, err);
    nlm_gguf_close(gguf);
    nlm_str_release(&v.bytes);
    return status;
}

static nlm_status render_chat(const cJSON *job, cJSON *made, nlm_str *out, nlm_text_spans *spans, nlm_error *err) {
    const cJSON *chat = cJSON_GetObjectItemCaseSensitive(job, "chat");
    const char *texts[3], *const names[3] = {"messages", "tools", "arguments"};
    for (int i = 0; i < 3; i++) texts[i] = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(chat, names[i]));
    const nlm_chat_end end = (nlm_chat_end)cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(job, "end"));
    nlm_chat_own *own = NULL;
    nlm_chat_json json = {0};
    nlm_status status = open_own(job, &own, err);
    if (status == NLM_OK) status = nlm_chat_json_read(texts[0], texts[1], texts[2], &json, err);
    if (status == NLM_OK) {
        const nlm_chat_form form = nlm_chat_own_form(own);
        const int shown[2] = {form.has_text_arguments, form.has_empty_content};
        cJSON_AddItemToObject(made, "form", cJSON_CreateIntArray(shown, 2));
        status = nlm_chat_json_shape(&json, form, err);
    }
    if (status == NLM_OK) status = nlm_chat_own_format_json(own, &json, end, out, spans, err);
    nlm_chat_json_release(&json);
    nlm_chat_own_destroy(own);
    return status;
}

static cJSON *answer(const cJSON *job) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_str text = {0};
    nlm_text_spans spans = {0};
    cJSON *made = cJSON_CreateObject();
    const bool is_chat = cJSON_HasObjectItem(job, "chat");
    const nlm_status status =
        is_chat ? render_chat(job, made, &text, &spans, &err) : render(job, &text, &spans, &err);
    if (status == NLM_OK) {
        cJSON_AddStringToObject(made, "text", text.data ? text.data : "");
        cJSON *user = cJSON_AddArrayToObject(made, "user");
        for (size_t i = 0; i < spans.count; i++) {
            const double span[2] = {(double)spans.data[i].from, (double)spans.data[i].to};
            cJSON_AddItemToArray(user, cJSON_CreateDoubleArray(span, 2));
        }
    } else {
        cJSON_AddStringToObject(made, "error", err.msg);
        cJSON_AddStringToObject(made, "line", err.where);
    }
    nlm_text_spans_release(&spans);
    nlm_str_release(&text);
    return made;
}

int main(void) {
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stdin) > 0) {
        cJSON *job = cJSON_Parse(line), *made = job ? answer(job) : NULL;
        char *text = made ? cJSON_PrintUnformatted(made) : NULL;
        puts(text ? text : "{\"error\": \"no JSON\", \"line\": \"\"}");
        free(text);
        cJSON_Delete(made);
        cJSON_Delete(job);
    }
    free(line);
    return 0;
}
