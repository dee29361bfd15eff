/* Texts to tokens and back. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "nlm-server/chat_request.h"
#include "nlm-server/json_in.h"
#include "nlm-server/json_out.h"
#include "nlm-server/routes.h"
#include "nlm-server/texts.h"

static nlm_status read_body(http_exchange *x, cJSON **out, nlm_error *err) {
    size_t length;
    const char *text = http_body(x, &length);
    return json_parse(text, length, out, err);
}

/* The answer, or why there is none. */
static void answer(server *s, http_exchange *x, nlm_status status, const nlm_error *err, nlm_str *out) {
    if (status == NLM_OK)
        api_reply_json(s, x, 200, out);
    else
        api_fail_with(s, x, err);
    nlm_str_release(out);
}

/* ---- POST /tokenize --------------------------------------------------------------------------------- */

static void put_tokens(const server *s, json_out *j, const int32_t *ids, size_t count, bool with_pieces) {
    json_array(j, "tokens");
    for (size_t i = 0; i < count; i++) {
        const char *text = "";
        size_t length = 0;
        if (!with_pieces) {
            json_i64(j, NULL, ids[i]);
            continue;
        }
        nlm_token_text(s->model, ids[i], NLM_TEXT_SPECIAL, &text, &length, NULL);
        json_object(j, NULL);
        json_i64(j, "id", ids[i]);
        json_bytes(j, "piece", text, length);
        json_end_object(j);
    }
    json_end_array(j);
    json_u64(j, "count", count);
}

static nlm_status tokenize(const server *s, const cJSON *body, nlm_str *out, nlm_error *err) {
    const char *content = NULL;
    bool add_special = false, parse_special = false, with_pieces = false;
    NLM_TRY(json_get_string(body, "content", &content, err));
    NLM_TRY(json_get_bool(body, "add_special", &add_special, err));
    NLM_TRY(json_get_bool(body, "parse_special", &parse_special, err));
    NLM_TRY(json_get_bool(body, "with_pieces", &with_pieces, err));
    if (!content) return nlm_fail(err, NLM_INVALID_ARGUMENT, "content", "there is no 'content'");
    int32_t *ids = NULL;
    size_t count = 0;
    const uint32_t flags = (add_special ? NLM_TEXT_BOS : 0u) | (parse_special ? NLM_TEXT_SPECIAL : 0u);
    NLM_TRY(text_encode(s->model, content, strlen(content), flags, &ids, &count, err));
    json_out j = json_begin(out);
    json_object(&j, NULL);
    put_tokens(s, &j, ids, count, with_pieces);
    json_end_object(&j);
    free(ids);
    return NLM_OK;
}

void tokens_tokenize(server *s, http_exchange *x) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_str out = {0};
    cJSON *body = NULL;
    nlm_status status = read_body(x, &body, &err);
    if (status == NLM_OK) status = tokenize(s, body, &out, &err);
    cJSON_Delete(body);
    answer(s, x, status, &err, &out);
}

/* ---- POST /detokenize ------------------------------------------------------------------------------- */

static nlm_status detokenize(const server *s, const cJSON *body, nlm_str *out, nlm_error *err) {
    const cJSON *tokens;
    bool special = true;
    nlm_str text = {0};
    NLM_TRY(json_get(body, "tokens", cJSON_Array, "an array of token ids", &tokens, err));
    NLM_TRY(json_get_bool(body, "special", &special, err));
    if (!tokens) return nlm_fail(err, NLM_INVALID_ARGUMENT, "tokens", "there is no 'tokens'");
    int32_t *ids = malloc(((size_t)cJSON_GetArraySize(tokens) + 1) * sizeof *ids);
    size_t count = 0;
    nlm_status status = ids ? NLM_OK : nlm_fail(err, NLM_OUT_OF_MEMORY, "tokens", "no memory");
    for (const cJSON *item = tokens->child; item && status == NLM_OK; item = item->next) {
        const double value = cJSON_IsNumber(item) ? item->valuedouble : -1;
        if (value >= 0 && value < s->info.n_vocab && value == (double)(int32_t)value)
            ids[count++] = (int32_t)value;
        else
            status = nlm_fail(err, NLM_INVALID_ARGUMENT, "tokens", "item %zu is no token id of 0 to %d", count,
                              s->info.n_vocab - 1);
    }
    if (status == NLM_OK) status = text_decode(s->model, ids, count, special ? NLM_TEXT_SPECIAL : 0u, &text, err);
    free(ids);
    json_out j = json_begin(out);
    json_object(&j, NULL);
    json_bytes(&j, "content", text.data, text.length);
    json_end_object(&j);
    nlm_str_release(&text);
    return status;
}

void tokens_detokenize(server *s, http_exchange *x) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_str out = {0};
    cJSON *body = NULL;
    nlm_status status = read_body(x, &body, &err);
    if (status == NLM_OK) status = detokenize(s, body, &out, &err);
    cJSON_Delete(body);
    answer(s, x, status, &err, &out);
}

/* ---- POST /apply-template --------------------------------------------------------------------------- */

static nlm_status apply_template(const server *s, const cJSON *body, nlm_str *out, nlm_error *err) {
    chat_request request = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    nlm_str text = {0};
    nlm_status status = chat_request_openai(body, &request, err);
    if (status == NLM_OK) status = chat_request_encode(s->model, &request, &ids, &count, err);
    if (status == NLM_OK) status = chat_request_render(s->model, &request, &text, err);
    chat_request_release(&request);
    if (status == NLM_OK) {
        json_out j = json_begin(out);
        json_object(&j, NULL);
        json_bytes(&j, "prompt", text.data, text.length);
        put_tokens(s, &j, ids, count, false);
        json_end_object(&j);
        if (text.has_failed) out->has_failed = true;
    }
    nlm_str_release(&text);
    free(ids);
    return status;
}

void tokens_apply_template(server *s, http_exchange *x) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_str out = {0};
    cJSON *body = NULL;
    nlm_status status = read_body(x, &body, &err);
    if (status == NLM_OK) status = apply_template(s, body, &out, &err);
    cJSON_Delete(body);
    answer(s, x, status, &err, &out);
}
