/* What a sampler leaves to be drawn, for other programs: a JSON object a line in, one a line out.
 *
 * in   {"logits": [...], "history": [...], "options": {"top_k": 3, "biases": [[id, bias], ...], "order": [...], ...},
 *      "breakers": [ids], "allowed": [ids] or absent, "mu": 0}
 * out  {"ids": [...], "p": [...], "id": the token chosen, "mu": after it}, or {"error": "..."} */
#include <cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session/constraint.h"
#include "session/sampler.h"

#define N_MOST 4096

/* Where numbers of the options go. */
static const struct {
    const char *name;
    size_t offset;
    enum { A_FLOAT, A_U32, A_I32, A_U64 } type;
} numbers[] = {
#define FLOAT(field) \
    { #field, offsetof(nlm_sampler_options, field), A_FLOAT }
    FLOAT(temperature),
    FLOAT(top_p),
    FLOAT(min_p),
    FLOAT(repeat_penalty),
    FLOAT(frequency_penalty),
    FLOAT(presence_penalty),
    FLOAT(typical_p),
    FLOAT(top_n_sigma),
    FLOAT(xtc_probability),
    FLOAT(xtc_threshold),
    FLOAT(dry_multiplier),
    FLOAT(dry_base),
    FLOAT(temperature_range),
    FLOAT(temperature_exponent),
    FLOAT(mirostat_tau),
    FLOAT(mirostat_eta),
    {"repeat_last_n", offsetof(nlm_sampler_options, repeat_last_n), A_U32},
    {"dry_allowed_length", offsetof(nlm_sampler_options, dry_allowed_length), A_U32},
    {"dry_last_n", offsetof(nlm_sampler_options, dry_last_n), A_U32},
    {"top_k", offsetof(nlm_sampler_options, top_k), A_I32},
    {"seed", offsetof(nlm_sampler_options, seed), A_U64},
};

static void set(nlm_sampler_options *o, const char *name, double value) {
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        void *at = (char *)o + numbers[i].offset;
        if (strcmp(numbers[i].name, name) != 0) continue;
        if (numbers[i].type == A_FLOAT) *(float *)at = (float)value;
        if (numbers[i].type == A_U32) *(uint32_t *)at = (uint32_t)value;
        if (numbers[i].type == A_I32) *(int32_t *)at = (int32_t)value;
        if (numbers[i].type == A_U64) *(uint64_t *)at = (uint64_t)value;
        return;
    }
    fprintf(stderr, "no option is called %s\n", name);
    exit(1);
}

/* A number, or null for -INFINITY, which JSON has no word for. */
static float number(const cJSON *item) {
    return cJSON_IsNull(item) ? -INFINITY : (float)cJSON_GetNumberValue(item);
}

static size_t ids_of(const cJSON *job, const char *name, int32_t ids[N_MOST]) {
    const cJSON *item;
    size_t n = 0;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(job, name)) {
        if (n < N_MOST) ids[n++] = (int32_t)cJSON_GetNumberValue(item);
    }
    return n;
}

/* A mask from malloc of the ids that the job has under the name; NULL: it has none. */
static uint32_t *mask_of(const cJSON *job, const char *name, int32_t n_vocab) {
    int32_t ids[N_MOST];
    if (!cJSON_HasObjectItem(job, name)) return NULL;
    uint32_t *mask = calloc(nlm_mask_words(n_vocab), sizeof *mask);
    const size_t n = ids_of(job, name, ids);
    for (size_t i = 0; mask && i < n; i++) mask[ids[i] / 32] |= 1u << ids[i] % 32;
    return mask;
}

static nlm_status make(const cJSON *job, int32_t n_vocab, nlm_sampler **out, nlm_error *err) {
    nlm_sampler_options o = {.struct_size = sizeof o};
    nlm_logit_bias biases[64];
    const char *order[64];
    const cJSON *option, *item;
    cJSON_ArrayForEach(option, cJSON_GetObjectItemCaseSensitive(job, "options")) {
        if (strcmp(option->string, "biases") == 0) {
            o.biases = biases;
            cJSON_ArrayForEach(item, option) {
                const int32_t id = (int32_t)cJSON_GetNumberValue(cJSON_GetArrayItem(item, 0));
                biases[o.n_biases++] = (nlm_logit_bias){id, number(cJSON_GetArrayItem(item, 1))};
            }
        } else if (strcmp(option->string, "order") == 0) {
            o.order = order;
            cJSON_ArrayForEach(item, option) order[o.n_order++] = item->valuestring;
        } else {
            set(&o, option->string, cJSON_GetNumberValue(option));
        }
    }
    return nlm_sampler_new(n_vocab, &o, out, err);
}

static void run(nlm_sampler *sampler, const cJSON *job, const float *logits, cJSON *made) {
    static int32_t history[N_MOST], ids[N_MOST];
    static double p[N_MOST];
    const int32_t n_vocab = nlm_sampler_n_vocab(sampler);
    double mu =
        cJSON_HasObjectItem(job, "mu") ? cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(job, "mu")) : 0;
    uint32_t *allowed = mask_of(job, "allowed", n_vocab);
    nlm_sampler_take_breakers(sampler, mask_of(job, "breakers", n_vocab), NULL);
    const nlm_choice choice = {.logits = logits,
                               .history = history,
                               .n_history = ids_of(job, "history", history),
                               .allowed = allowed,
                               .mu = &mu};
    const int32_t n = nlm_sampler_distribution(sampler, &choice, ids, p);
    cJSON_AddItemToObject(made, "ids", cJSON_CreateIntArray(ids, n));
    cJSON_AddItemToObject(made, "p", cJSON_CreateDoubleArray(p, n));
    cJSON_AddNumberToObject(made, "id", nlm_sampler_choose(sampler, &choice));
    cJSON_AddNumberToObject(made, "mu", mu);
    free(allowed);
}

static cJSON *answer(const cJSON *job) {
    static float logits[N_MOST];
    nlm_error err = NLM_ERROR_INIT;
    nlm_sampler *sampler = NULL;
    const cJSON *item;
    int32_t n_vocab = 0;
    cJSON *made = cJSON_CreateObject();
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(job, "logits")) {
        if (n_vocab < N_MOST) logits[n_vocab++] = number(item);
    }
    if (make(job, n_vocab, &sampler, &err) == NLM_OK) {
        run(sampler, job, logits, made);
    } else {
        cJSON_AddStringToObject(made, "error", err.msg);
    }
    nlm_sampler_destroy(sampler);
    return made;
}

int main(void) {
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stdin) > 0) {
        cJSON *job = cJSON_Parse(line), *made = job ? answer(job) : NULL;
        char *text = made ? cJSON_PrintUnformatted(made) : NULL;
        puts(text ? text : "{\"error\": \"no JSON\"}");
        free(text);
        cJSON_Delete(made);
        cJSON_Delete(job);
    }
    free(line);
    return 0;
}
