/* POST /v1/embeddings. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "nlm-server/json_in.h"
#include "nlm-server/json_out.h"
#include "nlm-server/request.h"
#include "nlm-server/routes.h"

/* In an answer: to write them takes long. */
#define MANY_NUMBERS (64u << 10)

typedef struct wanted {
    work w;
    server *s;
    http_exchange *x; /* NULL: its client has gone */
    embed_job *job;
    uint32_t count;
    uint64_t n_tokens, client;
    bool is_base64;
    float *rows; /* [count, n_embd] a copy */
    nlm_str out;
} wanted;

static void forget_client(void *user) {
    wanted *w = user;
    w->x = NULL;
    if (w->job) scheduler_cancel_embed(w->job);
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

/* On a worker: many numbers take their time. */
static void write_answer(work *user) {
    wanted *w = (wanted *)user;
    const size_t n_embd = (size_t)w->s->info.n_embd;
    json_out j = json_begin(&w->out);
    json_object(&j, NULL);
    json_string(&j, "object", "list");
    json_array(&j, "data");
    for (uint32_t i = 0; i < w->count; i++) {
        const float *row = w->rows + i * n_embd;
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
}

static void release(wanted *w) {
    server *s = w->s;
    if (w->x) http_on_close(w->x, NULL, NULL);
    nlm_str_release(&w->out);
    free(w->rows);
    free(w);
    s->calls--;
    server_check_drained(s);
}

static void answer(work *user) {
    wanted *w = (wanted *)user;
    http_exchange *x = w->x;
    if (x) http_on_close(x, NULL, NULL);
    if (x) api_reply_json(w->s, x, 200, &w->out);
    w->x = NULL;
    release(w);
}

static void fail(wanted *w, nlm_status status, const char *message) {
    http_exchange *x = w->x;
    if (x) http_on_close(x, NULL, NULL);
    if (x) api_fail(w->s, x, api_status_of(status), NULL, *message ? message : nlm_status_string(status));
    w->x = NULL;
    release(w);
}

static void done(void *user, nlm_status status, const float *rows, const char *message) {
    wanted *w = user;
    const size_t bytes = w->count * (size_t)w->s->info.n_embd * sizeof *rows;
    w->job = NULL;
    if (status != NLM_OK || !w->x) {
        fail(w, status, message);
        return;
    }
    w->rows = malloc(bytes);
    if (!w->rows) {
        fail(w, NLM_OUT_OF_MEMORY, "no memory for the answer");
        return;
    }
    memcpy(w->rows, rows, bytes);
    w->w = (work){.run = write_answer,
                  .done = answer,
                  .client = w->client,
                  .is_long = w->count * (size_t)w->s->info.n_embd > MANY_NUMBERS};
    workers_add(w->s->workers, &w->w);
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

static nlm_status read_inputs(request *r, nlm_error *err) {
    NLM_TRY(read_options(r->s, r->body, &r->embed, &r->is_base64, err));
    return call_prompts_read(r->s, r->body, "input", &r->prompts, err);
}

static nlm_status start(request *r, nlm_error *err) {
    server *s = r->s;
    const call_prompts *inputs = &r->prompts;
    wanted *w = calloc(1, sizeof *w);
    if (!w) return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory");
    *w = (wanted){.s = s, .x = r->x, .client = r->client, .count = inputs->count, .is_base64 = r->is_base64};
    for (uint32_t i = 0; i < inputs->count; i++) w->n_tokens += inputs->n_ids[i];
    const nlm_status status =
        scheduler_embed(s->sched, inputs->ids, inputs->n_ids, inputs->count, &r->embed, done, w, &w->job, err);
    if (status != NLM_OK) {
        free(w);
        return status;
    }
    s->calls++;
    http_on_close(r->x, forget_client, w);
    return NLM_OK;
}

void embeddings_create(server *s, http_exchange *x) {
    static const request_form form = {.read = read_inputs, .answer = start};
    request_begin(s, x, &form, NULL);
}
