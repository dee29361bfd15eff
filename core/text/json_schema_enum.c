/* enum and const: the texts of listed values, less those that other keywords rule out. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/json_schema_impl.h"

uint32_t nlm_schema_type_of(const cJSON *value) {
    if (cJSON_IsNull(value)) return NLM_TYPE_NULL;
    if (cJSON_IsBool(value)) return NLM_TYPE_BOOLEAN;
    if (cJSON_IsObject(value)) return NLM_TYPE_OBJECT;
    if (cJSON_IsArray(value)) return NLM_TYPE_ARRAY;
    if (cJSON_IsString(value)) return NLM_TYPE_STRING;
    return floor(value->valuedouble) == value->valuedouble ? NLM_TYPE_INTEGER : NLM_TYPE_FRACTION;
}

bool nlm_schema_number_text(double value, char out[32]) {
    if (fabs(value) > 9007199254740992.0 && fabs(value) < 1e21) return false; /* digits are lost already */
    if (fabs(value) <= 9007199254740992.0 && floor(value) == value) {
        snprintf(out, 32, "%.0f", value == 0 ? 0.0 : value);
        return true;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, 32, "%.*g", digits, value);
        if (strtod(out, NULL) == value) break;
    }
    char *comma = strchr(out, ',');
    if (comma) *comma = '.';
    return isfinite(value);
}

/* ---- as text --------------------------------------------------------------------------------- */

static const nlm_tree *value_tree(nlm_schema_reader *r, const cJSON *value);

static const nlm_tree *members_tree(nlm_schema_reader *r, const cJSON *value) {
    const bool is_object = cJSON_IsObject(value);
    nlm_tree *sequence = nlm_tree_sequence(r->rules);
    nlm_tree_add(r->rules, sequence, nlm_tree_string(r->rules, is_object ? "{" : "["));
    nlm_tree_add(r->rules, sequence, nlm_schema_gap(r));
    for (const cJSON *item = value->child; item; item = item->next) {
        if (is_object) {
            nlm_tree_add(r->rules, sequence, nlm_schema_quoted(r, item->string));
            nlm_tree_add(r->rules, sequence, nlm_tree_string(r->rules, ":"));
            nlm_tree_add(r->rules, sequence, nlm_schema_blank(r));
        }
        nlm_tree_add(r->rules, sequence, value_tree(r, item));
        if (item->next) nlm_tree_add(r->rules, sequence, nlm_tree_string(r->rules, ","));
        nlm_tree_add(r->rules, sequence, nlm_schema_gap(r));
    }
    nlm_tree_add(r->rules, sequence, nlm_tree_string(r->rules, is_object ? "}" : "]"));
    return sequence;
}

static const nlm_tree *value_tree(nlm_schema_reader *r, const cJSON *value) {
    char number[32];
    if (cJSON_IsNull(value)) return nlm_tree_string(r->rules, "null");
    if (cJSON_IsBool(value)) return nlm_tree_string(r->rules, cJSON_IsTrue(value) ? "true" : "false");
    if (cJSON_IsString(value)) return nlm_schema_quoted(r, value->valuestring);
    if (!cJSON_IsNumber(value)) return members_tree(r, value);
    if (!nlm_schema_number_text(value->valuedouble, number)) {
        nlm_schema_fail(r, value, NLM_LIMIT, "a number beyond 2^53, which is not told apart from its neighbours");
        return nlm_tree_sequence(r->rules);
    }
    return nlm_tree_string(r->rules, number);
}

/* ---- which values ---------------------------------------------------------------------------- */

static bool is_listed(const cJSON *list, const cJSON *value) {
    for (const cJSON *item = list->child; item; item = item->next) {
        if (cJSON_Compare(item, value, true)) return true;
    }
    return false;
}

static void refuse_beside(nlm_schema_reader *r, const nlm_conjunction *all, const cJSON *value) {
    static const char *const of_objects[] = {
        "properties",    "required",      "additionalProperties", "patternProperties",
        "propertyNames", "minProperties", "maxProperties",        NULL};
    static const char *const of_arrays[] = {"items", "prefixItems", "minItems", "maxItems", NULL};
    for (const char *const *name = cJSON_IsObject(value) ? of_objects : of_arrays; *name; name++) {
        const cJSON *found = nlm_schema_first(all, *name);
        if (found) nlm_schema_fail(r, found, NLM_UNSUPPORTED, "'%s' beside an enum or const of such values", *name);
    }
}

/* Whether what else is asked of the value holds. number, string: NULL if nothing is. */
static bool is_admitted(nlm_schema_reader *r, const nlm_conjunction *all, uint32_t types, const nlm_dfa *number,
                        const nlm_dfa *string, const cJSON *value) {
    char text[32];
    if (!(types & nlm_schema_type_of(value))) return false;
    for (size_t i = 0; i < all->count; i++) {
        const cJSON *list = nlm_schema_get(all->items[i].schema, "enum");
        const cJSON *one = nlm_schema_get(all->items[i].schema, "const");
        if ((list && !is_listed(list, value)) || (one && !cJSON_Compare(one, value, true))) return false;
    }
    if (cJSON_IsString(value)) return !string || nlm_dfa_matches(string, value->valuestring);
    if (cJSON_IsObject(value) || cJSON_IsArray(value)) refuse_beside(r, all, value);
    if (!cJSON_IsNumber(value) || !number) return true;
    if (!nlm_schema_number_text(value->valuedouble, text) || strchr(text, 'e')) {
        nlm_schema_fail(r, value, NLM_UNSUPPORTED, "a number as large or small as this beside bounds");
        return false;
    }
    return nlm_dfa_matches(number, text);
}

const nlm_tree *nlm_schema_enum(nlm_schema_reader *r, const nlm_conjunction *all, uint32_t types) {
    const cJSON *one = nlm_schema_first(all, "const"), *list = nlm_schema_first(all, "enum");
    const nlm_dfa *number = nlm_schema_number_dfa(r, all, false);
    const nlm_dfa *string = types & NLM_TYPE_STRING ? nlm_schema_string_dfa(r, all, true) : NULL;
    nlm_tree *choice = nlm_tree_choice(r->rules);
    for (const cJSON *value = one ? one : list->child; value && nlm_schema_is_ok(r);
         value = one ? NULL : value->next) {
        if (is_admitted(r, all, types, number, string, value)) nlm_tree_add(r->rules, choice, value_tree(r, value));
    }
    return choice;
}
