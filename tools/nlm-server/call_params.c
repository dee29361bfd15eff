/* What requests of all forms have beside the sampler: what ends a text, and how it is told. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "nlm-server/call.h"
#include "nlm-server/json_in.h"
#include "nlm-server/sampler_params.h"
#include "nlm-server/texts.h"

#define STOPS_MAX   16
#define CHOICES_MAX 128

static nlm_status read_stops(const cJSON *body, const char *key, call_params *p, nlm_error *err) {
    const cJSON *stop;
    NLM_TRY(json_get(body, key, cJSON_String | cJSON_Array, "a string or an array of strings", &stop, err));
    if (cJSON_IsArray(stop)) {
        NLM_TRY(sampler_params_strings(stop, key, STOPS_MAX, &p->stops, &p->request.n_stops, err));
    } else if (stop && *stop->valuestring) {
        p->stops = calloc(1, sizeof *p->stops);
        if (!p->stops) return nlm_fail(err, NLM_OUT_OF_MEMORY, key, "no memory");
        p->stops[0] = stop->valuestring;
        p->request.n_stops = 1;
    } else if (stop) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, key, "'%s' has to hold strings that are not empty", key);
    }
    p->request.stops = p->stops;
    return NLM_OK;
}

/* As requests call it; -1: until the context is full. */
static nlm_status read_max_tokens(const cJSON *body, int64_t *out, nlm_error *err) {
    static const char *const names[] = {"n_predict", "max_tokens", "max_completion_tokens", "max_output_tokens"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int64_t given = -2;
        NLM_TRY(json_get_int(body, names[i], -1, INT32_MAX, &given, err));
        if (given == 0) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, names[i],
                            "'%s' is 0; expected 1 or more, or -1 for all that "
                            "the context has room for",
                            names[i]);
        }
        if (given != -2) *out = given;
    }
    return NLM_OK;
}

static nlm_status read_limits(const server *s, const cJSON *body, generation_request *request, nlm_error *err) {
    int64_t max_tokens = s->set->max_tokens, n = 1, priority = 0;
    double seconds = s->set->request_seconds;
    NLM_TRY(read_max_tokens(body, &max_tokens, err));
    NLM_TRY(json_get_int(body, "n", 1, CHOICES_MAX, &n, err));
    NLM_TRY(json_get_int(body, "priority", -1000, 1000, &priority, err));
    NLM_TRY(json_get_number(body, "timeout_seconds", 0, 86400, &seconds, err));
    if (s->set->request_seconds > 0 && (seconds <= 0 || seconds > s->set->request_seconds)) {
        seconds = s->set->request_seconds;
    }
    request->max_tokens = max_tokens < 0 ? 0 : (uint64_t)max_tokens;
    request->n = (uint32_t)n;
    request->priority = (int32_t)priority;
    request->seconds = seconds;
    return json_get_bool(body, "ignore_eos", &request->ignores_end, err);
}

nlm_status call_read_params(server *s, uint64_t client, const cJSON *body, const char *stop_key, call_params *out,
                            nlm_error *err) {
    const cJSON *options;
    *out = (call_params){.request = {.n_top = TASK_NO_LOGPROBS, .client = client}};
    NLM_TRY(sampler_params_read(s, body, out, err));
    NLM_TRY(read_limits(s, body, &out->request, err));
    NLM_TRY(read_stops(body, stop_key, out, err));
    NLM_TRY(grammars_read(&s->grammars, s->model, body, &out->start, err));
    NLM_TRY(json_get_bool(body, "stream", &out->stream, err));
    NLM_TRY(json_get(body, "stream_options", cJSON_Object, "an object", &options, err));
    return options ? json_get_bool(options, "include_usage", &out->has_usage, err) : NLM_OK;
}

/* Appends the text's tokens to the prompt. */
static nlm_status go_on_with(const server *s, const char *text, call_prompts *prompts, nlm_error *err) {
    int32_t *more = NULL;
    size_t count = 0;
    NLM_TRY(text_encode(s->model, text, strlen(text), NLM_TEXT_SPECIAL, &more, &count, err));
    int32_t *all = realloc(prompts->ids[0], (prompts->n_ids[0] + count) * sizeof *all);
    if (all) {
        memcpy(all + prompts->n_ids[0], more, count * sizeof *all);
        prompts->ids[0] = all;
        prompts->n_ids[0] += count;
    }
    free(more);
    return all ? NLM_OK : nlm_fail(err, NLM_OUT_OF_MEMORY, "tools", "no memory for the prompt");
}

nlm_status call_force_tools(server *s, call_params *params, const chat_request *request, call_prompts *prompts,
                            nlm_error *err) {
    if (request->choice != TOOLS_REQUIRED && request->choice != TOOLS_ONE) return NLM_OK;
    if (params->start) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "tool_choice",
                        "a tool that has to be called and a grammar or schema of the answer exclude each other");
    }
    NLM_TRY(grammars_of_tools(&s->grammars, s->model, request->tools, request->tool, &params->start, err));
    const char *prefix = tools_prefix(s->template_text);
    return prefix ? go_on_with(s, prefix, prompts, err) : NLM_OK;
}

void call_params_release(call_params *params) {
    nlm_grammar_state_destroy(params->start);
    free(params->stops);
    free(params->breakers);
    free(params->order);
    free(params->biases);
    *params = (call_params){0};
}
