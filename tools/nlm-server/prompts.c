/* Prompts from JSON. */
#include "nlm-server/prompts.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "nlm-server/texts.h"

void call_prompts_release(call_prompts *prompts) {
    for (uint32_t i = 0; i < prompts->count; i++) free(prompts->ids[i]);
    prompts->count = 0;
}

static nlm_status read_ids(const server *s, const cJSON *array, const char *key, int32_t **out_ids, size_t *out_count,
                           nlm_error *err) {
    size_t n = 0;
    int32_t *ids = malloc(((size_t)cJSON_GetArraySize(array) + 1) * sizeof *ids);
    if (!ids) return nlm_fail(err, NLM_OUT_OF_MEMORY, key, "no memory for the tokens");
    for (const cJSON *item = array->child; item; item = item->next) {
        const double value = cJSON_IsNumber(item) ? item->valuedouble : -1;
        if (!(value >= 0 && value < s->info.n_vocab) || value != (double)(int32_t)value) {
            free(ids);
            return nlm_fail(err, NLM_INVALID_ARGUMENT, key, "item %zu is no token id of 0 to %d", n,
                            s->info.n_vocab - 1);
        }
        ids[n++] = (int32_t)value;
    }
    *out_ids = ids;
    *out_count = n;
    return NLM_OK;
}

static nlm_status read_one(const server *s, const cJSON *item, const char *key, call_prompts *out, nlm_error *err) {
    if (out->count == PROMPTS_MAX) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, key, "'%s' has more than %d items, which are taken at once", key,
                        PROMPTS_MAX);
    }
    int32_t **ids = &out->ids[out->count];
    size_t *n = &out->n_ids[out->count];
    if (cJSON_IsString(item)) {
        NLM_TRY(text_encode(s->model, item->valuestring, strlen(item->valuestring), NLM_TEXT_BOS, ids, n, err));
    } else if (cJSON_IsArray(item)) {
        NLM_TRY(read_ids(s, item, key, ids, n, err));
    } else {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, key, "'%s' is neither a string nor an array of token ids", key);
    }
    out->count++;
    return NLM_OK;
}

nlm_status call_prompts_read(const server *s, const cJSON *body, const char *key, call_prompts *out, nlm_error *err) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(body, key);
    const bool are_many = cJSON_IsArray(item) && (cJSON_IsString(item->child) || cJSON_IsArray(item->child));
    if (!item || cJSON_IsNull(item)) return nlm_fail(err, NLM_INVALID_ARGUMENT, key, "there is no '%s'", key);
    if (!are_many) return read_one(s, item, key, out, err);
    for (const cJSON *one = item->child; one; one = one->next) NLM_TRY(read_one(s, one, key, out, err));
    return NLM_OK;
}
