/* POST /v1/embeddings. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "nlm-server/json_in.h"
#include "nlm-server/json_out.h"
#include "nlm-server/prompts.h"
#include "nlm-server/routes.h"

typedef struct wanted {
    server *s;
    http_exchange *x; /* NULL: its client has gone */
    embed_job *job;
    uint32_t count;
    uint64_t n_tokens;
    bool is_base64;
} wanted;

static void forget_client(void *user) {
    wanted *w = user;
    w->x = NULL;
    scheduler_cancel_embed(w->job);
}

/* The floats' bytes, little-endian as they stand. */
static void put_base64(json_out *j, const float *row, size_t n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *bytes = (const unsigned char *)row;
    const size_t length = n * sizeof *row;
    nlm_str text = {0};
    for (size_t i = 0; i < length; i += 3) {
        const uint32_t left = length - i < 3 ? (uint32_t)(length - i) : 3;
        const uint32_t group = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0u) |
                               (left > 2 ? (uint32_t)bytes[i + 2] : 0u);
        const char four[4] = {digits[group >> 18], digits[group >> 12 & 63], left > 1 ? digits[group >> 6 & 63] : '=',
                              left > 2 ? digits[group & 63] : '='};
        nlm_str_append(&text, four, 4);
    }
    if (text.has_failed) j->text->has_failed = true;
    json_bytes(j, "embedding", text.data, text.length);
    nlm_str_release(&text);
}

static void answer(const wanted *w, const float *rows) {
    nlm_str out = {0};
    const size_t n_embd = (size_t)w->s->info.n_embd;
    json_out j = json_begin(&out);
    json_object(&j, NULL);
    json_string(&j, "object", "list");
    json_array(&j, "data");
    for (uint32_t i = 0; i < w->count; i++) {
        const float *row = rows + i * n_embd;
        json_object(&j, NULL);
        json_string(&j, "object", "embedding");
        json_u64(&j, "index", i);
        if (w->is_base64) {
            put_base64(&j, row, n_embd);
        } else {
            json_array(&j, "embedding");
            for (size_t k = 0; k < n_embd; k++) json_f64(&j, NULL, (double)row[k]);
            json_end_array(&j);
        }
        json_end_object(&j);
    }
    json_end_array(&j);
    json_string(&j, "model", w->s->model_name);
    json_object(&j, "usage");
    json_u64(&j, "prompt_tokens", w->n_tokens);
    json_u64(&j, "total_tokens", w->n_tokens);
    json_end_object(&j);
    json_end_object(&j);
    api_reply_json(w->s, w->x, 200, &out);
    nlm_str_release(&out);
}

static void done(void *user, nlm_status status, const float *rows, const char *message) {
    wanted *w = user;
    server *s = w->s;
    if (w->x) http_on_close(w->x, NULL, NULL);
    if (w->x && status == NLM_OK)
        answer(w, rows);
    else if (w->x)
        api_fail(s, w->x, api_status_of(status), NULL, *message ? message : nlm_status_string(status));
    free(w);
    s->calls--;
    server_check_drained(s);
}

static nlm_status read_options(const server *s, const cJSON *body, nlm_embed_options *out, bool *out_is_base64,
                               nlm_error *err) {
    const char *format = "float", *pooling = "mean";
    int64_t dimensions = s->info.n_embd;
    bool is_normal = true;
    NLM_TRY(json_get_string(body, "encoding_format", &format, err));
    NLM_TRY(json_get_string(body, "pooling", &pooling, err));
    NLM_TRY(json_get_bool(body, "normalize", &is_normal, err));
    NLM_TRY(json_get_int(body, "dimensions", s->info.n_embd, s->info.n_embd, &dimensions, err));
    *out_is_base64 = strcmp(format, "base64") == 0;
    if (!*out_is_base64 && strcmp(format, "float") != 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "encoding_format", "'%s' is neither 'float' nor 'base64'", format);
    }
    const bool is_last = strcmp(pooling, "last") == 0;
    if (!is_last && strcmp(pooling, "mean") != 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "pooling", "'%s' is neither 'mean' nor 'last'", pooling);
    }
    *out = (nlm_embed_options){.struct_size = sizeof *out,
                               .flags = is_normal ? NLM_EMBED_NORMALIZE : 0u,
                               .pooling = is_last ? NLM_POOLING_LAST : NLM_POOLING_MEAN};
    return NLM_OK;
}

static nlm_status start(server *s, http_exchange *x, const cJSON *body, call_prompts *inputs, nlm_error *err) {
    nlm_embed_options options;
    bool is_base64 = false;
    NLM_TRY(read_options(s, body, &options, &is_base64, err));
    NLM_TRY(call_prompts_read(s, body, "input", inputs, err));
    wanted *w = calloc(1, sizeof *w);
    if (!w) return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory");
    *w = (wanted){.s = s, .x = x, .count = inputs->count, .is_base64 = is_base64};
    for (uint32_t i = 0; i < inputs->count; i++) w->n_tokens += inputs->n_ids[i];
    const nlm_status status =
        scheduler_embed(s->sched, inputs->ids, inputs->n_ids, inputs->count, &options, done, w, &w->job, err);
    if (status != NLM_OK) {
        free(w);
        return status;
    }
    s->calls++;
    http_on_close(x, forget_client, w);
    return NLM_OK;
}

void embeddings_create(server *s, http_exchange *x) {
    nlm_error err = NLM_ERROR_INIT;
    size_t length;
    const char *text = http_body(x, &length);
    cJSON *body = NULL;
    call_prompts inputs = {0};
    nlm_status status = json_parse(text, length, &body, &err);
    if (status == NLM_OK) status = start(s, x, body, &inputs, &err);
    call_prompts_release(&inputs);
    cJSON_Delete(body);
    if (status != NLM_OK) api_fail_with(s, x, &err);
}
