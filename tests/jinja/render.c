/* Renders chat templates for other programs: a JSON object a line in, one a line out.
 *
 * in   {"template": "...", "globals": {...}, "trusted": ["bos_token", ...]}: all texts are a user's but those of the
 *      globals that are named
 * out  {"text": "...", "user": [[from, to], ...]} in bytes, or {"error": "...", "line": "chat template:3"} */
#include <cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja.h"

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

static cJSON *answer(const cJSON *job) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_str text = {0};
    nlm_text_spans spans = {0};
    cJSON *made = cJSON_CreateObject();
    if (render(job, &text, &spans, &err) == NLM_OK) {
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
