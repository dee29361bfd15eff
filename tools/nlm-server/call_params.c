/* What requests of all forms have: how tokens are chosen, and what ends a text. */
#include <errno.h>
#include <float.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/status.h"
#include "nlm-server/call.h"
#include "nlm-server/json_in.h"

#define STOPS_MAX   16
#define CHOICES_MAX 128
#define SEED_LIMIT  (INT64_C(1) << 53) /* what a number of JSON holds exactly */

static nlm_status read_stops(const cJSON *body, const char *key, call_params *p, nlm_error *err) {
    const cJSON *stop;
    NLM_TRY(json_get(body, key, cJSON_String | cJSON_Array, "a string or an array of strings", &stop, err));
    if (!stop) return NLM_OK;
    const int count = cJSON_IsString(stop) ? 1 : cJSON_GetArraySize(stop);
    if (count > STOPS_MAX) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, key, "'%s' has %d strings, at most %d are possible", key, count,
                        STOPS_MAX);
    }
    p->stops = calloc((size_t)count + 1, sizeof *p->stops);
    if (!p->stops) return nlm_fail(err, NLM_OUT_OF_MEMORY, key, "no memory");
    for (int i = 0; i < count; i++) {
        const cJSON *item = cJSON_IsString(stop) ? stop : cJSON_GetArrayItem(stop, i);
        if (!cJSON_IsString(item) || !*item->valuestring) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, key, "'%s' has to hold strings that are not empty", key);
        }
        p->stops[i] = item->valuestring;
    }
    p->request.stops = p->stops;
    p->request.n_stops = (size_t)count;
    return NLM_OK;
}

static nlm_status read_biases(const server *s, const cJSON *body, call_params *p, nlm_error *err) {
    const cJSON *map;
    NLM_TRY(json_get(body, "logit_bias", cJSON_Object, "an object of numbers by token id", &map, err));
    if (!map) return NLM_OK;
    p->biases = calloc((size_t)cJSON_GetArraySize(map) + 1, sizeof *p->biases);
    if (!p->biases) return nlm_fail(err, NLM_OUT_OF_MEMORY, "logit_bias", "no memory");
    for (const cJSON *item = map->child; item; item = item->next) {
        char *end = NULL;
        errno = 0;
        const long id = strtol(item->string, &end, 10);
        if (errno || end == item->string || *end || id < 0 || id >= s->info.n_vocab) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, "logit_bias", "'%s' is no token id of 0 to %d", item->string,
                            s->info.n_vocab - 1);
        }
        if (!cJSON_IsNumber(item) || !(item->valuedouble >= -1000 && item->valuedouble <= 1000)) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, "logit_bias", "the bias of %ld is no number of -1000 to 1000",
                            id);
        }
        p->biases[p->request.n_biases++] = (token_bias){(int32_t)id, (float)item->valuedouble};
    }
    p->request.biases = p->biases;
    return NLM_OK;
}

static nlm_status read_float(const cJSON *body, const char *key, double min, double max, float *out, nlm_error *err) {
    double value = (double)*out;
    NLM_TRY(json_get_number(body, key, min, max, &value, err));
    *out = (float)value;
    return NLM_OK;
}

static uint64_t draw_seed(void) {
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed) seed = (uint64_t)server_now();
    return seed & (uint64_t)(SEED_LIMIT - 1);
}

static nlm_status read_seed(const server *s, const cJSON *body, nlm_sampler_options *sampler, nlm_error *err) {
    int64_t seed = SETTINGS_NO_SEED;
    NLM_TRY(json_get_int(body, "seed", -SEED_LIMIT, SEED_LIMIT, &seed, err));
    if (seed == SETTINGS_NO_SEED || seed == -1) seed = s->set->seed;
    sampler->seed = seed == SETTINGS_NO_SEED ? draw_seed() : (uint64_t)seed;
    return NLM_OK;
}

static nlm_status read_sampler(const server *s, const cJSON *body, nlm_sampler_options *out, nlm_error *err) {
    const settings *set = s->set;
    int64_t top_k = set->top_k, repeat_last_n = set->repeat_last_n;
    *out = (nlm_sampler_options){.struct_size = sizeof *out,
                                 .temperature = (float)set->temperature,
                                 .top_p = (float)set->top_p,
                                 .min_p = (float)set->min_p,
                                 .repeat_penalty = (float)set->repeat_penalty};
    NLM_TRY(read_float(body, "temperature", 0, 100, &out->temperature, err));
    NLM_TRY(read_float(body, "top_p", 0, 1, &out->top_p, err));
    NLM_TRY(read_float(body, "min_p", 0, 1, &out->min_p, err));
    NLM_TRY(read_float(body, "repeat_penalty", 0, 100, &out->repeat_penalty, err));
    NLM_TRY(read_float(body, "repetition_penalty", 0, 100, &out->repeat_penalty, err));
    NLM_TRY(json_get_int(body, "top_k", -1, INT32_MAX, &top_k, err));
    NLM_TRY(json_get_int(body, "repeat_last_n", 0, INT32_MAX, &repeat_last_n, err));
    const cJSON *top_p = cJSON_GetObjectItemCaseSensitive(body, "top_p");
    if (cJSON_IsNumber(top_p) && out->top_p <= 0)
        out->top_p = FLT_MIN; /* the likeliest token; 0 is no cut in nlm.h */
    out->top_k = top_k < 0 ? 0 : (int32_t)top_k;
    out->repeat_last_n = (uint32_t)repeat_last_n;
    return read_seed(s, body, out, err);
}

static nlm_status read_limits(const server *s, const cJSON *body, generation_request *request, nlm_error *err) {
    int64_t max_tokens = s->set->max_tokens, n = 1, priority = 0;
    double seconds = s->set->request_seconds;
    NLM_TRY(json_get_int(body, "max_tokens", 1, INT32_MAX, &max_tokens, err));
    NLM_TRY(json_get_int(body, "max_completion_tokens", 1, INT32_MAX, &max_tokens, err));
    NLM_TRY(json_get_int(body, "max_output_tokens", 1, INT32_MAX, &max_tokens, err));
    NLM_TRY(json_get_int(body, "n", 1, CHOICES_MAX, &n, err));
    NLM_TRY(json_get_int(body, "priority", -1000, 1000, &priority, err));
    NLM_TRY(json_get_number(body, "timeout_seconds", 0, 86400, &seconds, err));
    if (s->set->request_seconds > 0 && (seconds <= 0 || seconds > s->set->request_seconds)) {
        seconds = s->set->request_seconds;
    }
    request->max_tokens = (uint64_t)max_tokens;
    request->n = (uint32_t)n;
    request->priority = (int32_t)priority;
    request->seconds = seconds;
    return json_get_bool(body, "ignore_eos", &request->ignores_end, err);
}

nlm_status call_read_params(const server *s, const http_exchange *x, const cJSON *body, const char *stop_key,
                            call_params *out, nlm_error *err) {
    const cJSON *options;
    *out = (call_params){.request = {.n_top = TASK_NO_LOGPROBS, .client = routes_client(s, x)}};
    NLM_TRY(read_sampler(s, body, &out->request.sampler, err));
    NLM_TRY(read_limits(s, body, &out->request, err));
    NLM_TRY(read_stops(body, stop_key, out, err));
    NLM_TRY(read_biases(s, body, out, err));
    NLM_TRY(json_get_bool(body, "stream", &out->stream, err));
    NLM_TRY(json_get(body, "stream_options", cJSON_Object, "an object", &options, err));
    return options ? json_get_bool(options, "include_usage", &out->has_usage, err) : NLM_OK;
}

void call_params_release(call_params *params) {
    free(params->stops);
    free(params->biases);
    params->stops = NULL;
    params->biases = NULL;
}
