/* Texts to tokens and back. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "nlm-server/json_in.h"
#include "nlm-server/json_out.h"
#include "nlm-server/request.h"
#include "nlm-server/routes.h"
#include "nlm-server/texts.h"

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

static nlm_status tokenize(request *r, nlm_error *err) {
    const server *s = r->s;
    const cJSON *body = r->body;
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
    json_out j = json_begin(&r->out);
    json_object(&j, NULL);
    put_tokens(s, &j, ids, count, with_pieces);
    json_end_object(&j);
    free(ids);
    return NLM_OK;
}

void tokens_tokenize(server *s, http_exchange *x) {
    static const request_form form = {.read = tokenize};
    request_begin(s, x, &form, NULL);
}

/* ---- POST /detokenize ------------------------------------------------------------------------------- */

static nlm_status detokenize(request *r, nlm_error *err) {
    const server *s = r->s;
    const cJSON *body = r->body;
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
    json_out j = json_begin(&r->out);
    json_object(&j, NULL);
    json_bytes(&j, "content", text.data, text.length);
    json_end_object(&j);
    nlm_str_release(&text);
    return status;
}

void tokens_detokenize(server *s, http_exchange *x) {
    static const request_form form = {.read = detokenize};
    request_begin(s, x, &form, NULL);
}

/* ---- POST /apply-template --------------------------------------------------------------------------- */

static nlm_status apply_template(request *r, nlm_error *err) {
    call_prompts *prompts = &r->prompts;
    nlm_str text = {0};
    NLM_TRY(chat_request_openai(r->body, &r->chat, err));
    NLM_TRY(chat_request_encode(r->s->model, &r->chat, &prompts->ids[0], &prompts->n_ids[0], err));
    prompts->count = 1;
    NLM_TRY(chat_request_render(r->s->model, &r->chat, &text, err));
    json_out j = json_begin(&r->out);
    json_object(&j, NULL);
    json_bytes(&j, "prompt", text.data, text.length);
    put_tokens(r->s, &j, prompts->ids[0], prompts->n_ids[0], false);
    json_end_object(&j);
    if (text.has_failed) r->out.has_failed = true;
    nlm_str_release(&text);
    return NLM_OK;
}

void tokens_apply_template(server *s, http_exchange *x) {
    static const request_form form = {.read = apply_template};
    request_begin(s, x, &form, NULL);
}
