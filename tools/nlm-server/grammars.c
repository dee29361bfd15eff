/* From a request's fields to constraints. */
#include "nlm-server/grammars.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "nlm-server/json_in.h"

#define MASK_BYTES (UINT64_C(32) << 20) /* of masks and states that each grammar keeps */

/* ---- compiled ones --------------------------------------------------------------------------------------- */

static void drop(grammar_cache *cache, size_t i) {
    nlm_grammar_destroy(cache->kept[i].grammar); /* texts that follow it keep it */
    free(cache->kept[i].text);
    memset(&cache->kept[i], 0, sizeof cache->kept[i]);
}

void grammars_release(grammar_cache *cache) {
    for (size_t i = 0; i < GRAMMARS_KEPT; i++) drop(cache, i);
}

/* In `where` there may be the place in the grammar. */
static nlm_status told(nlm_status status, const char *param, nlm_error *err) {
    char where[sizeof err->where];
    memcpy(where, err->where, sizeof where);
    const size_t length = strlen(param);
    memcpy(err->where, param, length + 1);
    if (status == NLM_BAD_FORMAT) err->code = status = NLM_INVALID_ARGUMENT;
    if (status == NLM_LIMIT) err->code = status = NLM_INVALID_ARGUMENT; /* of the grammar, not of the server */
    if (strncmp(where, param, length) == 0) return nlm_status_prefix(status, err, "%s", where);
    return nlm_status_prefix(status, err, "%s: %s", param, where);
}

/* With the mutex held; NULL: it is not there. */
static nlm_grammar *find(grammar_cache *cache, uint32_t kind, const char *text) {
    for (size_t i = 0; i < GRAMMARS_KEPT; i++) {
        if (!cache->kept[i].grammar || cache->kept[i].kind != kind || strcmp(cache->kept[i].text, text) != 0)
            continue;
        cache->kept[i].last_used = ++cache->clock;
        return cache->kept[i].grammar;
    }
    return NULL;
}

/* Takes grammar and text, in place of those used least recently; not where another thread was faster. */
static void keep(grammar_cache *cache, uint32_t kind, char *text, nlm_grammar *grammar) {
    size_t oldest = 0;
    pthread_mutex_lock(&cache->mutex);
    for (size_t i = 0; i < GRAMMARS_KEPT; i++) {
        if (cache->kept[i].last_used < cache->kept[oldest].last_used) oldest = i;
    }
    if (find(cache, kind, text)) {
        nlm_grammar_destroy(grammar);
        free(text);
    } else {
        drop(cache, oldest);
        cache->kept[oldest].grammar = grammar;
        cache->kept[oldest].kind = kind;
        cache->kept[oldest].text = text;
        cache->kept[oldest].last_used = ++cache->clock;
    }
    pthread_mutex_unlock(&cache->mutex);
}

static nlm_status compile(grammar_cache *cache, const nlm_model *model, uint32_t kind, const char *text,
                          const char *param, nlm_grammar_state **out, nlm_error *err) {
    const nlm_grammar_options options = {.struct_size = sizeof options, .cache_bytes = MASK_BYTES};
    nlm_grammar *grammar = NULL;
    const nlm_status status = nlm_grammar_create(model, kind, text, strlen(text), &options, &grammar, err);
    if (status != NLM_OK) return told(status, param, err);
    char *copy = strdup(text);
    if (!copy || nlm_grammar_state_create(grammar, out, NULL) != NLM_OK) {
        free(copy);
        nlm_grammar_destroy(grammar);
        return nlm_fail(err, NLM_OUT_OF_MEMORY, param, "no memory for the grammar");
    }
    keep(cache, kind, copy, grammar);
    return NLM_OK;
}

nlm_status grammars_get(grammar_cache *cache, const nlm_model *model, uint32_t kind, const char *text,
                        const char *param, nlm_grammar_state **out, nlm_error *err) {
    nlm_status status = NLM_OK;
    pthread_mutex_lock(&cache->mutex);
    nlm_grammar *grammar = find(cache, kind, text);
    if (grammar) status = nlm_grammar_state_create(grammar, out, err);
    pthread_mutex_unlock(&cache->mutex);
    return grammar ? status : compile(cache, model, kind, text, param, out, err);
}

static nlm_status get_schema(grammar_cache *cache, const nlm_model *model, const cJSON *schema, const char *param,
                             nlm_grammar_state **out, nlm_error *err) {
    char *text = cJSON_PrintUnformatted(schema);
    if (!text) return nlm_fail(err, NLM_OUT_OF_MEMORY, param, "no memory for the schema");
    const nlm_status status = grammars_get(cache, model, NLM_GRAMMAR_JSON_SCHEMA, text, param, out, err);
    cJSON_free(text);
    return status;
}

/* ---- what requests say ------------------------------------------------------------------------------------ */

/* {"type": "json_schema", "json_schema": {"schema": ...}} or, as in Responses, {"type", "schema"}. */
static nlm_status read_format(grammar_cache *cache, const nlm_model *model, const cJSON *format, const char *param,
                              nlm_grammar_state **out, nlm_error *err) {
    const char *type = "text";
    const cJSON *inner, *schema;
    NLM_TRY(json_get_string(format, "type", &type, err));
    if (strcmp(type, "text") == 0) return NLM_OK;
    NLM_TRY(json_get(format, "json_schema", cJSON_Object, "an object", &inner, err));
    NLM_TRY(json_get(inner ? inner : format, "schema", cJSON_Object, "an object", &schema, err));
    if (strcmp(type, "json_object") == 0 && !schema) {
        return grammars_get(cache, model, NLM_GRAMMAR_JSON_OBJECT, "", param, out, err);
    }
    if (strcmp(type, "json_schema") != 0 && strcmp(type, "json_object") != 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, param,
                        "'%s' is none of the types text, json_object and json_schema", type);
    }
    if (!schema) return nlm_fail(err, NLM_INVALID_ARGUMENT, param, "'%s' has no schema", param);
    return get_schema(cache, model, schema, param, out, err);
}

nlm_status grammars_read(grammar_cache *cache, const nlm_model *model, const cJSON *body, nlm_grammar_state **out,
                         nlm_error *err) {
    const char *grammar = NULL;
    const cJSON *schema, *format, *text;
    *out = NULL;
    NLM_TRY(json_get_string(body, "grammar", &grammar, err));
    NLM_TRY(json_get(body, "json_schema", cJSON_Object, "an object", &schema, err));
    NLM_TRY(json_get(body, "response_format", cJSON_Object, "an object", &format, err));
    NLM_TRY(json_get(body, "text", cJSON_Object, "an object", &text, err));
    const cJSON *inner = cJSON_GetObjectItemCaseSensitive(text, "format");
    const bool has_grammar = grammar && *grammar;
    if (has_grammar + !!schema + !!format + cJSON_IsObject(inner) > 1) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "response_format",
                        "'grammar', 'json_schema' and 'response_format' exclude each other");
    }
    if (has_grammar) return grammars_get(cache, model, NLM_GRAMMAR_GBNF, grammar, "grammar", out, err);
    if (schema) return get_schema(cache, model, schema, "json_schema", out, err);
    if (format) return read_format(cache, model, format, "response_format", out, err);
    if (cJSON_IsObject(inner)) return read_format(cache, model, inner, "text.format", out, err);
    return NLM_OK;
}

/* {"name": NAME, "arguments": {...}} */
static cJSON *schema_of_call(const cJSON *function, bool has_parameters) {
    const cJSON *own = cJSON_GetObjectItemCaseSensitive(function, "parameters");
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(function, "name");
    static const char *const required[] = {"name", "arguments"};
    cJSON *schema = cJSON_CreateObject();
    cJSON *properties = schema ? cJSON_AddObjectToObject(schema, "properties") : NULL;
    cJSON *of_name = properties ? cJSON_AddObjectToObject(properties, "name") : NULL;
    cJSON *arguments = cJSON_IsObject(own) && has_parameters ? cJSON_Duplicate(own, 1) : cJSON_CreateObject();
    const bool is_added = properties && arguments && cJSON_AddItemToObject(properties, "arguments", arguments);
    if (!is_added) cJSON_Delete(arguments);
    bool is_whole = is_added && of_name && cJSON_AddStringToObject(of_name, "const", name->valuestring) &&
                    cJSON_AddStringToObject(schema, "type", "object") &&
                    cJSON_AddFalseToObject(schema, "additionalProperties");
    if (is_whole && !cJSON_GetObjectItemCaseSensitive(arguments, "type")) {
        is_whole = cJSON_AddStringToObject(arguments, "type", "object") != NULL;
    }
    cJSON *list = is_whole ? cJSON_CreateStringArray(required, 2) : NULL;
    if (list && cJSON_AddItemToObject(schema, "required", list)) return schema;
    cJSON_Delete(list);
    cJSON_Delete(schema);
    return NULL;
}

static nlm_status get_calls(grammar_cache *cache, const nlm_model *model, const cJSON *tools, const char *name,
                            bool has_parameters, nlm_grammar_state **out, nlm_error *err) {
    cJSON *schema = cJSON_CreateObject();
    cJSON *any = schema ? cJSON_AddArrayToObject(schema, "anyOf") : NULL;
    bool is_whole = any != NULL;
    for (const cJSON *tool = tools->child; tool && is_whole; tool = tool->next) {
        const cJSON *function = cJSON_GetObjectItemCaseSensitive(tool, "function");
        const cJSON *own = cJSON_GetObjectItemCaseSensitive(function, "name");
        if (name && strcmp(own->valuestring, name) != 0) continue;
        cJSON *one = schema_of_call(function, has_parameters);
        is_whole = one && cJSON_AddItemToArray(any, one);
        if (!is_whole) cJSON_Delete(one);
    }
    const nlm_status status = is_whole ? get_schema(cache, model, schema, "tools", out, err)
                                       : nlm_fail(err, NLM_OUT_OF_MEMORY, "tools", "no memory for the schema");
    cJSON_Delete(schema);
    return status;
}

static bool are_strict(const cJSON *tools) {
    for (const cJSON *tool = tools->child; tool; tool = tool->next) {
        const cJSON *function = cJSON_GetObjectItemCaseSensitive(tool, "function");
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(function, "strict"))) return true;
    }
    return false;
}

/* Parameters with keywords that are not known are kept to being an object, unless a tool wants more. */
nlm_status grammars_of_tools(grammar_cache *cache, const nlm_model *model, const cJSON *tools, const char *name,
                             nlm_grammar_state **out, nlm_error *err) {
    nlm_error why = NLM_ERROR_INIT;
    const nlm_status status = get_calls(cache, model, tools, name, true, out, &why);
    const bool is_of_schema = status == NLM_UNSUPPORTED || status == NLM_INVALID_ARGUMENT;
    if (is_of_schema && !are_strict(tools)) return get_calls(cache, model, tools, name, false, out, err);
    if (status != NLM_OK) nlm_error_give(err, &why);
    return status;
}

/* ---- for a task --------------------------------------------------------------------------------------------- */

typedef struct text_states {
    uint32_t count;
    nlm_grammar_state **states;
    nlm_constraint *constraints;
    const nlm_constraint **pointers;
} text_states;

static void release_states(void *user) {
    text_states *all = user;
    for (uint32_t i = 0; all->states && i < all->count; i++) nlm_grammar_state_destroy(all->states[i]);
    free(all->states);
    free(all->constraints);
    free(all->pointers);
    free(all);
}

static nlm_status make_states(text_states *all, const nlm_grammar_state *start, nlm_error *err) {
    all->states = calloc(all->count, sizeof *all->states);
    all->constraints = calloc(all->count, sizeof *all->constraints);
    all->pointers = calloc(all->count, sizeof *all->pointers);
    if (!all->states || !all->constraints || !all->pointers) {
        return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory for the grammar");
    }
    for (uint32_t i = 0; i < all->count; i++) {
        NLM_TRY(nlm_grammar_state_fork(start, &all->states[i], err));
        all->constraints[i].struct_size = sizeof all->constraints[i];
        NLM_TRY(nlm_grammar_state_constraint(all->states[i], &all->constraints[i], err));
        all->pointers[i] = &all->constraints[i];
    }
    return NLM_OK;
}

nlm_status grammars_constrain(const nlm_grammar_state *start, generation_request *request, nlm_error *err) {
    text_states *all = calloc(1, sizeof *all);
    if (!all) return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory for the grammar");
    all->count = request->n;
    const nlm_status status = make_states(all, start, err);
    if (status != NLM_OK) {
        release_states(all);
        return status;
    }
    request->constraints = all->pointers;
    request->release = release_states;
    request->release_user = all;
    request->ignores_end = false; /* a text that is complete may have nothing but its end */
    return NLM_OK;
}
