/* What the server is, and how it is. */
#include <string.h>

#include "nlm-server/embedded.h"
#include "nlm-server/json_out.h"
#include "nlm-server/routes.h"

void info_health(server *s, http_exchange *x) {
    nlm_str out = {0};
    scheduler_stats stats;
    scheduler_get_stats(s->sched, &stats);
    json_out j = json_begin(&out);
    json_object(&j, NULL);
    json_string(&j, "status", s->is_draining ? "draining" : "ok");
    json_u64(&j, "slots", stats.slots);
    json_u64(&j, "running", stats.running);
    json_u64(&j, "queued", stats.queued);
    json_end_object(&j);
    api_reply_json(s, x, s->is_draining ? 503 : 200, &out);
    nlm_str_release(&out);
}

static void put_model(const server *s, json_out *j) {
    json_object(j, NULL);
    json_string(j, "id", s->model_name);
    json_string(j, "object", "model");
    json_i64(j, "created", s->started_at);
    json_string(j, "owned_by", "nlm");
    json_object(j, "meta");
    json_string(j, "family", s->info.family);
    json_i64(j, "n_vocab", s->info.n_vocab);
    json_i64(j, "n_layer", s->info.n_layer);
    json_i64(j, "n_embd", s->info.n_embd);
    json_i64(j, "n_ctx_train", s->info.n_ctx_train);
    json_u64(j, "n_ctx", s->info.context_length);
    json_u64(j, "size", s->info.file_bytes);
    json_end_object(j);
    json_end_object(j);
}

void info_models(server *s, http_exchange *x) {
    nlm_str out = {0};
    json_out j = json_begin(&out);
    json_object(&j, NULL);
    json_string(&j, "object", "list");
    json_array(&j, "data");
    put_model(s, &j);
    json_end_array(&j);
    json_end_object(&j);
    api_reply_json(s, x, 200, &out);
    nlm_str_release(&out);
}

/* The value of "%2F"'s digits, or -1. */
static int hex_pair(const char *digits) {
    int value = 0;
    for (int i = 0; i < 2; i++) {
        const char c = (char)(digits[i] | 0x20);
        if (c >= '0' && c <= '9')
            value = value * 16 + (c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value * 16 + (c - 'a' + 10);
        else
            return -1;
    }
    return value;
}

/* Is `path`, which may have escapes, the text `name`? */
static bool names(const char *path, const char *name) {
    for (; *path; path++, name++) {
        int c = (unsigned char)*path;
        if (c == '%') {
            c = hex_pair(path + 1);
            if (c <= 0) return false;
            path += 2;
        }
        if (c != (unsigned char)*name) return false;
    }
    return !*name;
}

/* GET /v1/models/NAME */
void info_model(server *s, http_exchange *x) {
    nlm_str out = {0};
    if (!names(http_request(x)->path + strlen("/v1/models/"), s->model_name)) {
        api_fail(s, x, 404, "model", "this server has no model of that name; /v1/models lists what it has");
        return;
    }
    json_out j = json_begin(&out);
    put_model(s, &j);
    api_reply_json(s, x, 200, &out);
    nlm_str_release(&out);
}

static void put_defaults(const server *s, json_out *j) {
    const settings *set = s->set;
    json_object(j, "default_generation_settings");
    json_u64(j, "n_ctx", s->info.context_length);
    json_f64(j, "temperature", set->shared.temperature);
    json_f64(j, "top_p", set->shared.top_p);
    json_f64(j, "min_p", set->shared.min_p);
    json_f64(j, "repeat_penalty", set->shared.repeat_penalty);
    json_i64(j, "top_k", set->shared.top_k);
    json_i64(j, "max_tokens", set->max_tokens);
    json_end_object(j);
}

void info_props(server *s, http_exchange *x) {
    nlm_str out = {0};
    nlm_engine_info engine = {.struct_size = sizeof engine};
    json_out j = json_begin(&out);
    json_object(&j, NULL);
    put_defaults(s, &j);
    json_u64(&j, "total_slots", (uint64_t)s->set->slots);
    json_string(&j, "model", s->model_name);
    if (s->info.chat_template)
        json_string(&j, "chat_template_name", s->info.chat_template);
    else
        json_null(&j, "chat_template_name");
    json_string(&j, "build_info", nlm_version());
    if (nlm_engine_describe(s->engine, &engine, NULL) == NLM_OK) {
        json_string(&j, "backend", engine.backend);
        json_string(&j, "device", engine.device);
        json_u64(&j, "threads", engine.threads);
    }
    json_object(&j, "modalities");
    json_bool(&j, "vision", false);
    json_bool(&j, "audio", false);
    json_end_object(&j);
    json_end_object(&j);
    api_reply_json(s, x, 200, &out);
    nlm_str_release(&out);
}

void info_openapi(server *s, http_exchange *x) {
    (void)s;
    http_reply(x, 200, "application/json", (const char *)embedded_openapi, embedded_openapi_size);
}
