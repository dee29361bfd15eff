/* Keywords that stand for others, written out before a schema is read: where a property asks for more of the object,
 * either it is not there, or what it asks for holds. */
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

/* Values of the wrong kind stay as they are: the check of keywords tells them. */
static void rewrite(nlm_schema_reader *r, cJSON *schema) {
    static const char *const keywords[] = {"dependentRequired", "dependentSchemas", "dependencies"};
    const cJSON *all_of = nlm_schema_get(schema, "allOf");
    if (!cJSON_IsObject(schema) || (all_of && !cJSON_IsArray(all_of))) return;
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
    nlm_schema_each_inner(r, schema, nlm_schema_rewrite);
    if (nlm_schema_is_ok(r)) rewrite(r, schema);
}
