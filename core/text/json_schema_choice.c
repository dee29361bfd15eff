/* oneOf: branches are taken as those of anyOf where it can be shown that no value matches two of them. */
#include <string.h>

#include "text/json_schema_impl.h"

#define BRANCHES_MAX 200
#define DEPTH_MAX    4 /* of properties that tell objects apart */

static bool are_apart(nlm_schema_reader *r, const nlm_conjunction *a, const nlm_conjunction *b, unsigned depth);

static nlm_conjunction conjunction_of(nlm_schema_reader *r, const cJSON *schema) {
    nlm_conjunction all = {0};
    nlm_conjunction_add(r, &all, schema, 0);
    nlm_schema_flatten(r, &all);
    return all;
}

/* The value list that an enum or const leaves; NULL: it is not bounded. A const is its own list: *out_is_one. */
static const cJSON *value_list(const nlm_conjunction *all, bool *out_is_one) {
    const cJSON *one = nlm_schema_first(all, "const");
    *out_is_one = one != NULL;
    return one ? one : nlm_schema_first(all, "enum");
}

static uint32_t types_of(nlm_schema_reader *r, const nlm_conjunction *all) {
    uint32_t types = nlm_schema_types(r, all), listed = 0;
    bool is_one;
    const cJSON *list = value_list(all, &is_one);
    if (!list) return types;
    for (const cJSON *item = is_one ? list : list->child; item; item = is_one ? NULL : item->next) {
        listed |= nlm_schema_type_of(item);
    }
    return types & listed;
}

static bool have_no_common_value(const cJSON *a, bool a_is_one, const cJSON *b, bool b_is_one) {
    for (const cJSON *x = a_is_one ? a : a->child; x; x = a_is_one ? NULL : x->next) {
        for (const cJSON *y = b_is_one ? b : b->child; y; y = b_is_one ? NULL : y->next) {
            if (cJSON_Compare(x, y, true)) return false;
        }
    }
    return true;
}

static bool requires(const nlm_conjunction *all, const char *name) {
    for (size_t i = 0; i < all->count; i++) {
        const cJSON *required = nlm_schema_get(all->items[i].schema, "required");
        for (const cJSON *item = required ? required->child : NULL; item; item = item->next) {
            if (strcmp(item->valuestring, name) == 0) return true;
        }
    }
    return false;
}

/* What is declared of a property, and whether it must not be there. */
static nlm_conjunction property_of(nlm_schema_reader *r, const nlm_conjunction *all, const char *name) {
    nlm_conjunction found = {0};
    for (size_t i = 0; i < all->count; i++) {
        const cJSON *schema = all->items[i].schema, *properties = nlm_schema_get(schema, "properties");
        const cJSON *property = properties ? nlm_schema_get(properties, name) : NULL;
        const bool has_patterns = nlm_schema_get(schema, "patternProperties") != NULL;
        const cJSON *additional = nlm_schema_get(schema, "additionalProperties");
        if (!property && additional && !has_patterns) property = additional;
        if (property) nlm_conjunction_add(r, &found, property, 0);
    }
    nlm_schema_flatten(r, &found);
    return found;
}

/* Whether a property that one of them requires tells them apart. */
static bool property_tells(nlm_schema_reader *r, const nlm_conjunction *a, const nlm_conjunction *b, unsigned depth) {
    for (size_t i = 0; i < a->count && depth < DEPTH_MAX; i++) {
        const cJSON *required = nlm_schema_get(a->items[i].schema, "required");
        for (const cJSON *item = required ? required->child : NULL; item && nlm_schema_is_ok(r); item = item->next) {
            const nlm_conjunction in_b = property_of(r, b, item->valuestring);
            if (in_b.is_never) return true;
            if (!requires(b, item->valuestring)) continue;
            const nlm_conjunction in_a = property_of(r, a, item->valuestring);
            if (are_apart(r, &in_a, &in_b, depth + 1)) return true;
        }
    }
    return false;
}

static bool texts_are_apart(nlm_schema_reader *r, const nlm_dfa *a, const nlm_dfa *b) {
    return a && b && nlm_dfa_is_empty(nlm_dfa_intersect(r->rules, a, b));
}

static bool are_apart(nlm_schema_reader *r, const nlm_conjunction *a, const nlm_conjunction *b, unsigned depth) {
    bool a_is_one, b_is_one;
    uint32_t common = types_of(r, a) & types_of(r, b);
    const cJSON *in_a = value_list(a, &a_is_one), *in_b = value_list(b, &b_is_one);
    if (in_a && in_b && have_no_common_value(in_a, a_is_one, in_b, b_is_one)) return true;
    if ((common & NLM_TYPE_OBJECT) && (property_tells(r, a, b, depth) || property_tells(r, b, a, depth))) {
        common &= ~(uint32_t)NLM_TYPE_OBJECT;
    }
    if ((common & NLM_TYPE_STRING) &&
        texts_are_apart(r, nlm_schema_string_dfa(r, a, true), nlm_schema_string_dfa(r, b, true))) {
        common &= ~(uint32_t)NLM_TYPE_STRING;
    }
    const bool is_integer = !(common & NLM_TYPE_FRACTION);
    if ((common & NLM_TYPE_INTEGER) &&
        texts_are_apart(r, nlm_schema_number_dfa(r, a, is_integer), nlm_schema_number_dfa(r, b, is_integer))) {
        common &= ~(uint32_t)(NLM_TYPE_INTEGER | NLM_TYPE_FRACTION);
    }
    return common == 0;
}

void nlm_schema_check_apart(nlm_schema_reader *r, const cJSON *one_of) {
    if (cJSON_GetArraySize(one_of) > BRANCHES_MAX) {
        nlm_schema_fail(r, one_of, NLM_LIMIT, "'oneOf' has more than %d branches", BRANCHES_MAX);
    }
    size_t i = 0;
    for (const cJSON *x = one_of->child; x && nlm_schema_is_ok(r); x = x->next, i++) {
        const nlm_conjunction a = conjunction_of(r, x);
        size_t j = i + 1;
        for (const cJSON *y = x->next; y && nlm_schema_is_ok(r); y = y->next, j++) {
            const nlm_conjunction b = conjunction_of(r, y);
            if (are_apart(r, &a, &b, 0)) continue;
            nlm_schema_fail(
                r, one_of, NLM_UNSUPPORTED,
                "'oneOf' whose branches %zu and %zu a value might both match is not supported; say 'anyOf', "
                "or tell them apart by their types or by a required property",
                i, j);
        }
    }
}
