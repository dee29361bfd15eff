/* Fields of the sampler, under the names that other servers have for them too. */
#include "nlm-server/sampler_params.h"

#include <errno.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/status.h"
#include "format/json.h"
#include "nlm-server/json_in.h"

#define DRAWN_LIMIT  (INT64_C(1) << 53) /* what all readers of JSON hold exactly */
#define BREAKERS_MAX 64
#define ORDER_MAX    32

typedef struct float_field {
    const char *key;
    size_t offset; /* in nlm_sampler_options */
    double min, max;
} float_field;

#define AT(field) offsetof(nlm_sampler_options, field)

static const float_field floats[] = {
    {"temperature", AT(temperature), 0, 100},
    {"top_p", AT(top_p), 0, 1},
    {"min_p", AT(min_p), 0, 1},
    {"repeat_penalty", AT(repeat_penalty), 0, 100},
    {"repetition_penalty", AT(repeat_penalty), 0, 100},
    {"frequency_penalty", AT(frequency_penalty), -100, 100},
    {"presence_penalty", AT(presence_penalty), -100, 100},
    {"typical_p", AT(typical_p), 0, 1},
    {"top_n_sigma", AT(top_n_sigma), 0, 1000},
    {"xtc_probability", AT(xtc_probability), 0, 1},
    {"xtc_threshold", AT(xtc_threshold), 0, 1},
    {"dry_multiplier", AT(dry_multiplier), 0, 1000},
    {"dry_base", AT(dry_base), 1, 1000},
    {"dynatemp_range", AT(temperature_range), 0, 100},
    {"dynatemp_exponent", AT(temperature_exponent), 0, 100},
    {"mirostat_tau", AT(mirostat_tau), 0, 1000},
    {"mirostat_eta", AT(mirostat_eta), 0, 1},
};

typedef struct count_field {
    const char *key;
    size_t offset; /* of an int32 in nlm_sampler_options; -1, which is all or none, is 0 there */
} count_field;

static const count_field counts[] = {
    {"top_k", AT(top_k)},
    {"repeat_last_n", AT(repeat_last_n)},
    {"dry_allowed_length", AT(dry_allowed_length)},
    {"dry_penalty_last_n", AT(dry_last_n)},
};

static nlm_status read_numbers(const cJSON *body, nlm_sampler_options *out, nlm_error *err) {
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        float *field = (float *)(void *)((char *)out + floats[i].offset);
        double value = (double)*field;
        NLM_TRY(json_get_number(body, floats[i].key, floats[i].min, floats[i].max, &value, err));
        *field = (float)value;
    }
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        int32_t *field = (int32_t *)(void *)((char *)out + counts[i].offset);
        int64_t value = *field;
        NLM_TRY(json_get_int(body, counts[i].key, -1, INT32_MAX, &value, err));
        *field = value < 0 ? 0 : (int32_t)value;
    }
    /* The likeliest token alone; 0 is no cut in nlm.h. */
    if (cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(body, "top_p")) && out->top_p <= 0) out->top_p = FLT_MIN;
    return NLM_OK;
}

/* Elsewhere it is 0 for none, 1 and 2 for its versions. */
static nlm_status read_mirostat(const cJSON *body, nlm_sampler_options *out, nlm_error *err) {
    int64_t version = -1;
    NLM_TRY(json_get_int(body, "mirostat", 0, 2, &version, err));
    if (version == 1) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "mirostat", "'mirostat' is 1; only its version 2 is supported");
    }
    if (version == 0) out->mirostat_tau = 0;
    if (version == 2 && out->mirostat_tau <= 0) out->mirostat_tau = 5;
    return NLM_OK;
}

nlm_status sampler_params_strings(const cJSON *array, const char *key, size_t most, const char ***out,
                                  size_t *out_count, nlm_error *err) {
    const size_t count = (size_t)cJSON_GetArraySize(array);
    if (count > most) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, key, "'%s' has %zu strings, at most %zu are possible", key, count,
                        most);
    }
    *out = calloc(count + 1, sizeof **out);
    if (!*out) return nlm_fail(err, NLM_OUT_OF_MEMORY, key, "no memory");
    for (const cJSON *item = array->child; item; item = item->next) {
        if (!cJSON_IsString(item) || !*item->valuestring) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, key, "'%s' has to hold strings that are not empty", key);
        }
        (*out)[(*out_count)++] = item->valuestring;
    }
    return NLM_OK;
}

static nlm_status read_lists(const cJSON *body, call_params *p, nlm_error *err) {
    const cJSON *breakers, *order;
    nlm_sampler_options *sampler = &p->request.sampler;
    NLM_TRY(json_get(body, "dry_sequence_breakers", cJSON_Array, "an array of strings", &breakers, err));
    NLM_TRY(json_get(body, "samplers", cJSON_Array, "an array of strings", &order, err));
    if (breakers) {
        NLM_TRY(sampler_params_strings(breakers, "dry_sequence_breakers", BREAKERS_MAX, &p->breakers,
                                       &sampler->n_dry_breakers, err));
        sampler->dry_breakers = p->breakers;
    }
    if (order) {
        NLM_TRY(sampler_params_strings(order, "samplers", ORDER_MAX, &p->order, &sampler->n_order, err));
        sampler->order = p->order;
    }
    return NLM_OK;
}

static nlm_status read_biases(const server *s, const cJSON *body, call_params *p, nlm_error *err) {
    const cJSON *map;
    nlm_sampler_options *sampler = &p->request.sampler;
    NLM_TRY(json_get(body, "logit_bias", cJSON_Object, "an object of numbers by token id", &map, err));
    if (!map) return NLM_OK;
    sampler->n_biases = 0;
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
        if (!nlm_json_is_number(item) || !(item->valuedouble >= -1000 && item->valuedouble <= 1000)) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, "logit_bias", "the bias of %ld is no number of -1000 to 1000",
                            id);
        }
        p->biases[sampler->n_biases++] = (nlm_logit_bias){(int32_t)id, (float)item->valuedouble};
    }
    sampler->biases = p->biases;
    return NLM_OK;
}

static uint64_t draw_seed(void) {
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed) seed = (uint64_t)server_now();
    return seed & (uint64_t)(DRAWN_LIMIT - 1);
}

static nlm_status read_seed(const server *s, const cJSON *body, nlm_sampler_options *sampler, nlm_error *err) {
    int64_t seed = NLM_NO_SEED;
    NLM_TRY(json_get_int(body, "seed", -INT64_MAX, INT64_MAX, &seed, err));
    if (seed == NLM_NO_SEED || seed == -1) seed = s->set->shared.seed;
    sampler->seed = seed == NLM_NO_SEED ? draw_seed() : (uint64_t)seed;
    return NLM_OK;
}

nlm_status sampler_params_read(const server *s, const cJSON *body, call_params *p, nlm_error *err) {
    nlm_sampler_options *out = &p->request.sampler;
    *out = s->sampler;
    NLM_TRY(read_numbers(body, out, err));
    NLM_TRY(read_mirostat(body, out, err));
    NLM_TRY(read_lists(body, p, err));
    NLM_TRY(read_biases(s, body, p, err));
    return read_seed(s, body, out, err);
}
