/* Keywords that stand for others, written out before a schema is read: where a property asks for more of the object,
 * either it is not there, or what it asks for holds. And what is said with keywords that are not supported, but says
 * nothing more than others do: {"if": true, "then": S} is S. */
#include "text/json_schema_impl.h"

/* Takes both, and puts `item` behind the others of object[key], a list. */
static bool add_to_list(cJSON *object, const char *key, cJSON *item) {
    cJSON *list = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!list) list = cJSON_AddArrayToObject(object, key);
    if (item && list && cJSON_AddItemToArray(list, item)) return true;
    cJSON_Delete(item);
    return false;
}

/* {"properties": {NAME: false}} */
static cJSON *without(const char *name) {
    cJSON *schema = cJSON_CreateObject();
    cJSON *properties = schema ? cJSON_AddObjectToObject(schema, "properties") : NULL;
    if (properties && cJSON_AddFalseToObject(properties, name)) return schema;
    cJSON_Delete(schema);
    return NULL;
}

/* {"required": [NAME, and those of `asked` if it is a list], "allOf": [asked if it is a schema]} */
static cJSON *with(const char *name, const cJSON *asked) {
    cJSON *schema = cJSON_CreateObject();
    bool is_whole = schema && add_to_list(schema, "required", cJSON_CreateString(name));
    if (cJSON_IsArray(asked)) {
        for (const cJSON *item = asked->child; item && is_whole; item = item->next) {
            is_whole = add_to_list(schema, "required", cJSON_Duplicate(item, 0));
        }
    } else if (is_whole) {
        is_whole = add_to_list(schema, "allOf", cJSON_Duplicate(asked, 1));
    }
    if (is_whole) return schema;
    cJSON_Delete(schema);
    return NULL;
}

static bool add_choice(cJSON *schema, const char *name, const cJSON *asked) {
    cJSON *choice = cJSON_CreateObject();
    if (choice && add_to_list(choice, "anyOf", without(name)) && add_to_list(choice, "anyOf", with(name, asked))) {
        return add_to_list(schema, "allOf", choice);
    }
    cJSON_Delete(choice);
    return false;
}

/* ---- keywords that say nothing more --------------------------------------------------------------- */

static bool takes_all(const cJSON *schema) {
    return cJSON_IsTrue(schema) || (cJSON_IsObject(schema) && !schema->child);
}

static bool is_schema(const cJSON *value) {
    return cJSON_IsObject(value) || cJSON_IsBool(value);
}

static void drop(cJSON *schema, const char *key) {
    cJSON_DeleteItemFromObjectCaseSensitive(schema, key);
}

static cJSON *take(cJSON *schema, const char *key) {
    return cJSON_DetachItemFromObjectCaseSensitive(schema, key);
}

static bool rename_key(cJSON *schema, const char *from, const char *to) {
    cJSON *value = take(schema, from);
    if (cJSON_AddItemToObject(schema, to, value)) return true;
    cJSON_Delete(value);
    return false;
}

static bool simplify_not(cJSON *schema) {
    const cJSON *inner = nlm_schema_get(schema, "not");
    const bool is_never = takes_all(inner);
    if (!is_never && !cJSON_IsFalse(inner)) return true;
    drop(schema, "not");
    return !is_never || add_to_list(schema, "allOf", cJSON_CreateFalse());
}

static bool simplify_if(cJSON *schema) {
    const cJSON *condition = nlm_schema_get(schema, "if"), *then = nlm_schema_get(schema, "then");
    const cJSON *otherwise = nlm_schema_get(schema, "else");
    if ((then && !is_schema(then)) || (otherwise && !is_schema(otherwise))) return true;
    const bool is_known = takes_all(condition) || cJSON_IsFalse(condition);
    const bool is_needless = !condition || (is_schema(condition) && !then && !otherwise);
    if (!is_known && !is_needless) return true;
    const char *key = takes_all(condition) ? "then" : "else";
    cJSON *chosen = is_known ? take(schema, key) : NULL;
    drop(schema, "if");
    drop(schema, "then");
    drop(schema, "else");
    return !chosen || add_to_list(schema, "allOf", chosen);
}

/* Counts alone: those of items. */
static bool count_items(cJSON *schema) {
    cJSON *counts = cJSON_CreateObject(), *least = take(schema, "minContains"), *most = take(schema, "maxContains");
    if (counts && !least) least = cJSON_CreateNumber(1);
    bool is_whole = counts && least && cJSON_AddItemToObject(counts, "minItems", least);
    if (!is_whole) cJSON_Delete(least);
    if (!is_whole || (most && !cJSON_AddItemToObject(counts, "maxItems", most))) {
        cJSON_Delete(most);
        is_whole = false;
    }
    drop(schema, "contains");
    if (is_whole) return add_to_list(schema, "allOf", counts);
    cJSON_Delete(counts);
    return false;
}

static bool simplify_contains(cJSON *schema) {
    const cJSON *inner = nlm_schema_get(schema, "contains"), *least = nlm_schema_get(schema, "minContains");
    const cJSON *most = nlm_schema_get(schema, "maxContains");
    if ((least && !cJSON_IsNumber(least)) || (most && !cJSON_IsNumber(most))) return true;
    if (takes_all(inner)) return count_items(schema);
    const bool is_none = is_schema(inner) && least && least->valuedouble == 0 && !most;
    if (inner && !is_none) return true;
    drop(schema, "contains");
    drop(schema, "minContains");
    drop(schema, "maxContains");
    return true;
}

static bool simplify_items(cJSON *schema) {
    const cJSON *items = nlm_schema_get(schema, "items"), *most = nlm_schema_get(schema, "maxItems");
    const cJSON *additional = nlm_schema_get(schema, "additionalItems");
    if (cJSON_IsNumber(most) && most->valuedouble <= 1 && cJSON_IsTrue(nlm_schema_get(schema, "uniqueItems"))) {
        drop(schema, "uniqueItems");
    }
    if (is_schema(additional) && !cJSON_IsArray(items)) drop(schema, "additionalItems"); /* of a list of items */
    return true;
}

/* What other schemas that apply to the same value evaluate is not known here. */
static bool has_others_beside(const cJSON *schema) {
    static const char *const keys[] = {"$ref", "$dynamicRef", "$recursiveRef",    "allOf",        "anyOf", "oneOf",
                                       "not",  "if",          "dependentSchemas", "dependencies", "then",  "else"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (nlm_schema_get(schema, keys[i])) return true;
    }
    return false;
}

/* Left over by the schema's own keywords is what `rest` is about: it has said it, or `key` stands for it. */
static bool simplify_unevaluated(cJSON *schema, const char *key, const char *rest) {
    const cJSON *inner = nlm_schema_get(schema, key), *own = nlm_schema_get(schema, rest);
    if (!is_schema(inner)) return true;
    if (takes_all(inner) || is_schema(own)) {
        drop(schema, key);
        return true;
    }
    return own || has_others_beside(schema) || nlm_schema_get(schema, "contains") || rename_key(schema, key, rest);
}

static bool simplify(cJSON *schema) {
    if (cJSON_IsFalse(nlm_schema_get(schema, "nullable"))) drop(schema, "nullable");
    return simplify_unevaluated(schema, "unevaluatedProperties", "additionalProperties") &&
           simplify_unevaluated(schema, "unevaluatedItems", "items") && simplify_items(schema) &&
           simplify_not(schema) && simplify_if(schema) && simplify_contains(schema);
}

/* ---- all of them ---------------------------------------------------------------------------------- */

static bool has_place_for_more(const cJSON *schema) {
    const cJSON *all_of = nlm_schema_get(schema, "allOf");
    return cJSON_IsObject(schema) && (!all_of || cJSON_IsArray(all_of));
}

/* Values of the wrong kind stay as they are: the check of keywords tells them. */
static void rewrite(nlm_schema_reader *r, cJSON *schema) {
    static const char *const keywords[] = {"dependentRequired", "dependentSchemas", "dependencies"};
    if (!has_place_for_more(schema)) return;
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        const cJSON *table = nlm_schema_get(schema, keywords[i]);
        for (const cJSON *item = cJSON_IsObject(table) ? table->child : NULL; item; item = item->next) {
            if (add_choice(schema, item->string, item)) continue;
            nlm_schema_fail(r, item, NLM_OUT_OF_MEMORY, "no memory for '%s'", keywords[i]);
            return;
        }
    }
}

void nlm_schema_rewrite(nlm_schema_reader *r, cJSON *schema) {
    if (has_place_for_more(schema) && !simplify(schema)) {
        nlm_schema_fail(r, schema, NLM_OUT_OF_MEMORY, "no memory for the schema");
        return;
    }
    nlm_schema_each_inner(r, schema, nlm_schema_rewrite);
    if (nlm_schema_is_ok(r)) rewrite(r, schema);
}
