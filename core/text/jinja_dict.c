/* Dictionaries of chat templates: in the order of insertion, large ones with an index by hash. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "text/jinja_run.h"

#define INDEXED_FROM 16 /* fewer pairs are looked through */

static uint64_t mix(uint64_t hash, uint64_t more) {
    hash = (hash ^ more) * 0x9E3779B97F4A7C15u;
    return hash ^ (hash >> 29);
}

/* The same for values that are equal. */
static uint64_t hash_of(nlm_jinja_run *run, nlm_jinja_value key) {
    uint64_t hash = 1469598103934665603u;
    switch (key.type) {
        case NLM_JINJA_STRING:
            nlm_jinja_spend(run, key.string->length / 32);
            for (size_t i = 0; i < key.string->length; i++) hash = mix(hash, (unsigned char)key.string->data[i]);
            return hash;
        case NLM_JINJA_BOOL:
        case NLM_JINJA_INT:
        case NLM_JINJA_FLOAT: {
            const double number = nlm_jinja_number(key) + 0.0; /* no negative zero */
            uint64_t bits;
            memcpy(&bits, &number, sizeof bits);
            return mix(hash, bits);
        }
        case NLM_JINJA_SEQUENCE:
            if (key.sequence->kind != NLM_JINJA_TUPLE || !nlm_jinja_enter(run)) break;
            for (size_t i = 0; i < key.sequence->count; i++) hash = mix(hash, hash_of(run, key.sequence->items[i]));
            nlm_jinja_exit(run);
            return hash;
        case NLM_JINJA_DICT: break;
        default: return mix(hash, (uint64_t)key.type);
    }
    nlm_jinja_fail(run, "unhashable type: '%s'", nlm_jinja_type_name(key));
    return 0;
}

nlm_jinja_value nlm_jinja_dict_new(nlm_jinja_run *run) {
    nlm_jinja_dict *dict = nlm_jinja_alloc(run, 1, sizeof *dict);
    if (!dict) return nlm_jinja_undefined(NULL);
    return (nlm_jinja_value){.type = NLM_JINJA_DICT, .dict = dict};
}

/* ---- finding ------------------------------------------------------------------------------ */

static bool is_pair(nlm_jinja_run *run, const nlm_jinja_pair *pair, uint64_t hash, nlm_jinja_value key) {
    return pair->hash == hash && nlm_jinja_equal(run, pair->key, key);
}

/* The index of the key's pair; the count if there is none. */
static size_t find(nlm_jinja_run *run, const nlm_jinja_dict *dict, uint64_t hash, nlm_jinja_value key) {
    if (dict->slots) {
        for (size_t slot = hash & (dict->n_slots - 1); dict->slots[slot]; slot = (slot + 1) & (dict->n_slots - 1)) {
            if (!nlm_jinja_spend(run, 1)) break;
            if (is_pair(run, &dict->pairs[dict->slots[slot] - 1], hash, key)) return dict->slots[slot] - 1;
        }
        return dict->count;
    }
    size_t i = 0;
    while (i < dict->count && !is_pair(run, &dict->pairs[i], hash, key)) i++;
    return i;
}

nlm_jinja_value *nlm_jinja_find_key(nlm_jinja_run *run, const nlm_jinja_dict *dict, nlm_jinja_value key) {
    const uint64_t hash = hash_of(run, key);
    const size_t at = nlm_jinja_has_failed(run) ? dict->count : find(run, dict, hash, key);
    return at < dict->count ? &dict->pairs[at].value : NULL;
}

nlm_jinja_value *nlm_jinja_find_name(nlm_jinja_run *run, const nlm_jinja_dict *dict, const char *name) {
    const nlm_jinja_string string = {.data = name, .length = strlen(name)};
    return nlm_jinja_find_key(run, dict, (nlm_jinja_value){.type = NLM_JINJA_STRING, .string = &string});
}

/* ---- changing ----------------------------------------------------------------------------- */

static void add_to_index(nlm_jinja_dict *dict, size_t pair) {
    size_t slot = dict->pairs[pair].hash & (dict->n_slots - 1);
    while (dict->slots[slot]) slot = (slot + 1) & (dict->n_slots - 1);
    dict->slots[slot] = (uint32_t)pair + 1;
}

/* Of all pairs, for up to `capacity` of them. Without memory there is a failure, and the pairs are looked through. */
static void make_index(nlm_jinja_run *run, nlm_jinja_dict *dict, size_t capacity) {
    dict->slots = NULL;
    if (capacity < INDEXED_FROM || capacity > UINT32_MAX / 4) return;
    dict->n_slots = INDEXED_FROM;
    while (dict->n_slots < capacity * 2) dict->n_slots *= 2;
    dict->slots = nlm_jinja_alloc(run, dict->n_slots, sizeof *dict->slots);
    for (size_t i = 0; dict->slots && i < dict->count; i++) add_to_index(dict, i);
}

static bool grow(nlm_jinja_run *run, nlm_jinja_dict *dict) {
    if (dict->count < dict->capacity) return true;
    const size_t capacity = dict->capacity ? dict->capacity * 2 : 4;
    nlm_jinja_pair *pairs = nlm_jinja_alloc(run, capacity, sizeof *pairs);
    if (!pairs) return false;
    if (dict->count) memcpy(pairs, dict->pairs, dict->count * sizeof *pairs);
    dict->pairs = pairs;
    dict->capacity = capacity;
    make_index(run, dict, capacity);
    return !nlm_jinja_has_failed(run);
}

void nlm_jinja_put(nlm_jinja_run *run, nlm_jinja_value of, nlm_jinja_value key, nlm_jinja_value value) {
    if (of.type != NLM_JINJA_DICT && of.type != NLM_JINJA_NAMESPACE) return;
    nlm_jinja_dict *dict = of.dict;
    const uint64_t hash = hash_of(run, key);
    if (!nlm_jinja_spend(run, 1)) return;
    const size_t at = find(run, dict, hash, key);
    if (at < dict->count) {
        dict->pairs[at].value = value;
    } else if (grow(run, dict)) {
        dict->pairs[dict->count] = (nlm_jinja_pair){key, value, hash};
        if (dict->slots) add_to_index(dict, dict->count);
        dict->count++;
    }
}

void nlm_jinja_put_named(nlm_jinja_run *run, nlm_jinja_value dict, const char *name, nlm_jinja_value value) {
    nlm_jinja_put(run, dict, nlm_jinja_string_static(run, name, NLM_JINJA_TEMPLATE), value);
}

bool nlm_jinja_remove(nlm_jinja_run *run, nlm_jinja_dict *dict, nlm_jinja_value key, nlm_jinja_value *out) {
    const nlm_jinja_value *found = nlm_jinja_find_key(run, dict, key);
    if (!found || !nlm_jinja_spend(run, dict->count)) return false;
    const size_t at =
        (size_t)((const nlm_jinja_pair *)((const char *)found - offsetof(nlm_jinja_pair, value)) - dict->pairs);
    *out = *found;
    dict->count--;
    memmove(&dict->pairs[at], &dict->pairs[at + 1], (dict->count - at) * sizeof *dict->pairs);
    make_index(run, dict, dict->capacity);
    return true;
}

/* ---- from JSON ---------------------------------------------------------------------------- */

static nlm_jinja_value from_number(double number) {
    const bool is_whole =
        number >= -9007199254740992.0 && number <= 9007199254740992.0 && number == (double)(int64_t)number;
    return is_whole ? nlm_jinja_int((int64_t)number) : nlm_jinja_float(number);
}

/* A number whose digits were kept: an integer of 64 bits, else the nearest float. */
static nlm_jinja_value from_digits(const cJSON *item) {
    char *end = NULL;
    errno = 0;
    const long long value = strtoll(item->valuestring, &end, 10);
    return errno || *end ? nlm_jinja_float(item->valuedouble) : nlm_jinja_int(value);
}

static nlm_jinja_value from_container(nlm_jinja_run *run, const cJSON *item, uint8_t mark) {
    const bool is_list = cJSON_IsArray(item);
    const nlm_jinja_value made = is_list ? nlm_jinja_sequence_new(run, NLM_JINJA_LIST) : nlm_jinja_dict_new(run);
    for (const cJSON *child = item->child; child && !nlm_jinja_has_failed(run); child = child->next) {
        const nlm_jinja_value value = nlm_jinja_from_cjson(run, child, mark);
        if (is_list) {
            nlm_jinja_push(run, made, value);
        } else {
            nlm_jinja_put(run, made, nlm_jinja_string_new(run, child->string, strlen(child->string), mark), value);
        }
    }
    return made;
}

nlm_jinja_value nlm_jinja_from_cjson(nlm_jinja_run *run, const cJSON *item, uint8_t mark) {
    if (cJSON_IsBool(item)) return nlm_jinja_bool(cJSON_IsTrue(item));
    if (cJSON_IsNumber(item)) return from_number(item->valuedouble);
    if (cJSON_IsRaw(item)) return from_digits(item);
    if (cJSON_IsString(item)) return nlm_jinja_string_new(run, item->valuestring, strlen(item->valuestring), mark);
    if (!cJSON_IsArray(item) && !cJSON_IsObject(item)) return nlm_jinja_none();
    if (!nlm_jinja_enter(run)) return nlm_jinja_none();
    const nlm_jinja_value made = from_container(run, item, mark);
    nlm_jinja_exit(run);
    return made;
}
