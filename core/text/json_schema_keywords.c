/* Keywords of JSON Schema: which there are, what their values are, and where references lead. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "text/json_schema_impl.h"

typedef enum value_kind {
    IGNORED,
    REFUSED,
    REFUSED_IF_TRUE,
    SCHEMA,
    SCHEMAS,      /* a list of them, not empty */
    SCHEMA_TABLE, /* an object of them */
    NAMES_TABLE,  /* an object of lists of strings */
    EITHER_TABLE, /* an object of schemas and of such lists */
    STRING,
    STRINGS, /* a list */
    TYPES,
    NUMBER,
    COUNT,
    LIST,
    ANYTHING
} value_kind;

typedef struct keyword {
    const char *name;
    value_kind kind;
} keyword;

static const keyword keywords[] = {
    {"type", TYPES},
    {"enum", LIST},
    {"const", ANYTHING},
    {"anyOf", SCHEMAS},
    {"oneOf", SCHEMAS},
    {"allOf", SCHEMAS},
    {"$ref", STRING},
    {"$defs", SCHEMA_TABLE},
    {"definitions", SCHEMA_TABLE},
    {"properties", SCHEMA_TABLE},
    {"patternProperties", SCHEMA_TABLE},
    {"additionalProperties", SCHEMA},
    {"propertyNames", SCHEMA},
    {"required", STRINGS},
    {"minProperties", COUNT},
    {"maxProperties", COUNT},
    {"items", SCHEMA},
    {"prefixItems", SCHEMAS},
    {"minItems", COUNT},
    {"maxItems", COUNT},
    {"uniqueItems", REFUSED_IF_TRUE},
    {"minLength", COUNT},
    {"maxLength", COUNT},
    {"pattern", STRING},
    {"format", STRING},
    {"minimum", NUMBER},
    {"maximum", NUMBER},
    {"exclusiveMinimum", NUMBER},
    {"exclusiveMaximum", NUMBER},
    {"multipleOf", NUMBER},
    {"title", IGNORED},
    {"description", IGNORED},
    {"default", IGNORED},
    {"examples", IGNORED},
    {"example", IGNORED},
    {"deprecated", IGNORED},
    {"readOnly", IGNORED},
    {"writeOnly", IGNORED},
    {"discriminator", IGNORED},
    {"contentEncoding", IGNORED},
    {"contentMediaType", IGNORED},
    {"contentSchema", IGNORED},
    {"$schema", IGNORED},
    {"$id", IGNORED},
    {"$anchor", IGNORED},
    {"$comment", IGNORED},
    {"not", REFUSED},
    {"if", REFUSED},
    {"then", REFUSED},
    {"else", REFUSED},
    {"contains", REFUSED},
    {"minContains", REFUSED},
    {"maxContains", REFUSED},
    {"dependentRequired", NAMES_TABLE},
    {"dependentSchemas", SCHEMA_TABLE},
    {"dependencies", EITHER_TABLE},
    {"additionalItems", REFUSED},
    {"unevaluatedItems", REFUSED},
    {"unevaluatedProperties", REFUSED},
    {"nullable", REFUSED},
    {"$dynamicRef", REFUSED},
    {"$dynamicAnchor", REFUSED},
    {"$recursiveRef", REFUSED},
    {"$recursiveAnchor", REFUSED},
    {"$vocabulary", REFUSED},
};
#define N_KEYWORDS (sizeof keywords / sizeof *keywords)

/* ---- places ---------------------------------------------------------------------------------- */

/* Writes the way from `from` to `at` behind what `out` has, if `at` is there. */
static bool find_way(const cJSON *from, const cJSON *at, char *out, size_t used) {
    if (from == at) return true;
    size_t index = 0;
    for (const cJSON *item = from->child; item; item = item->next, index++) {
        size_t more;
        if (cJSON_IsObject(from)) {
            more = (size_t)snprintf(out + used, NLM_SCHEMA_WHERE_MAX - used, "/%s", item->string);
        } else {
            more = (size_t)snprintf(out + used, NLM_SCHEMA_WHERE_MAX - used, "/%zu", index);
        }
        if (used + more >= NLM_SCHEMA_WHERE_MAX) more = NLM_SCHEMA_WHERE_MAX - 1 - used;
        if (find_way(item, at, out, used + more)) return true;
        out[used] = '\0';
    }
    return false;
}

void nlm_schema_where(const nlm_schema_reader *r, const cJSON *at, char out[NLM_SCHEMA_WHERE_MAX]) {
    const int used = snprintf(out, NLM_SCHEMA_WHERE_MAX, "schema#");
    if (!find_way(r->root, at, out, (size_t)used)) out[used] = '\0';
}

void nlm_schema_fail(nlm_schema_reader *r, const cJSON *at, nlm_status code, const char *format, ...) {
    char where[NLM_SCHEMA_WHERE_MAX], message[400];
    if (!nlm_schema_is_ok(r)) return;
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    nlm_schema_where(r, at, where);
    nlm_rules_fail(r->rules, code, where, "%s", message);
}

/* ---- values of keywords ---------------------------------------------------------------------- */

static bool is_schema(const cJSON *value) {
    return cJSON_IsObject(value) || cJSON_IsBool(value);
}

static bool all_are(const cJSON *list, bool (*is_one)(const cJSON *)) {
    for (const cJSON *item = list->child; item; item = item->next) {
        if (!is_one(item)) return false;
    }
    return true;
}

static bool is_string(const cJSON *value) {
    return cJSON_IsString(value);
}

static bool is_names(const cJSON *value) {
    return cJSON_IsArray(value) && all_are(value, is_string);
}

static bool is_schema_or_names(const cJSON *value) {
    return is_schema(value) || is_names(value);
}

static bool is_count(const cJSON *value) {
    return cJSON_IsNumber(value) && value->valuedouble >= 0 && value->valuedouble <= 9007199254740992.0 &&
           value->valuedouble == (double)(uint64_t)value->valuedouble;
}

/* What was expected where a value is of the wrong kind; NULL where it is right. */
static const char *what_is_wrong(value_kind kind, const cJSON *value) {
    switch (kind) {
        case SCHEMA: return is_schema(value) ? NULL : "a schema: an object, true or false";
        case SCHEMAS:
            return cJSON_IsArray(value) && value->child && all_are(value, is_schema) ? NULL : "a list of schemas";
        case SCHEMA_TABLE: return cJSON_IsObject(value) && all_are(value, is_schema) ? NULL : "an object of schemas";
        case STRING: return is_string(value) ? NULL : "a string";
        case NAMES_TABLE:
            return cJSON_IsObject(value) && all_are(value, is_names) ? NULL : "an object of lists of names";
        case EITHER_TABLE:
            return cJSON_IsObject(value) && all_are(value, is_schema_or_names)
                       ? NULL
                       : "an object of schemas and lists of names";
        case STRINGS: return is_names(value) ? NULL : "a list of strings";
        case TYPES:
            return is_string(value) || (cJSON_IsArray(value) && value->child && all_are(value, is_string))
                       ? NULL
                       : "the name of a type, or a list of them";
        case NUMBER: return cJSON_IsNumber(value) ? NULL : "a number";
        case COUNT: return is_count(value) ? NULL : "a whole number, 0 or more";
        case LIST: return cJSON_IsArray(value) ? NULL : "a list";
        case IGNORED:
        case REFUSED:
        case REFUSED_IF_TRUE:
        case ANYTHING: break;
    }
    return NULL;
}

static void fail_unknown(nlm_schema_reader *r, const cJSON *member) {
    const char *names[N_KEYWORDS];
    for (size_t i = 0; i < N_KEYWORDS; i++) names[i] = keywords[i].name;
    const char *nearest = nlm_nearest(member->string, names, N_KEYWORDS);
    nlm_schema_fail(r, member, NLM_UNSUPPORTED, "the keyword '%.60s' is not known%s%s%s", member->string,
                    nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
}

static const keyword *find_keyword(const char *name) {
    for (size_t i = 0; i < N_KEYWORDS; i++) {
        if (strcmp(keywords[i].name, name) == 0) return &keywords[i];
    }
    return NULL;
}

void nlm_schema_each_inner(nlm_schema_reader *r, cJSON *schema, void (*fn)(nlm_schema_reader *r, cJSON *inner)) {
    for (cJSON *member = cJSON_IsObject(schema) ? schema->child : NULL; member; member = member->next) {
        const keyword *known = find_keyword(member->string);
        if (!known) continue;
        if (known->kind == SCHEMA) fn(r, member);
        if (known->kind != SCHEMAS && known->kind != SCHEMA_TABLE && known->kind != EITHER_TABLE) continue;
        for (cJSON *item = member->child; item; item = item->next) fn(r, item);
    }
}

static void check_member(nlm_schema_reader *r, const cJSON *member) {
    const keyword *known = find_keyword(member->string);
    if (!known && strncmp(member->string, "x-", 2) == 0) return;
    if (!known) {
        fail_unknown(r, member);
        return;
    }
    if (strcmp(known->name, "items") == 0 && cJSON_IsArray(member)) {
        nlm_schema_fail(r, member, NLM_UNSUPPORTED, "a list of 'items' is of older drafts: write 'prefixItems'");
    }
    if (known->kind == REFUSED || (known->kind == REFUSED_IF_TRUE && !cJSON_IsFalse(member))) {
        nlm_schema_fail(r, member, NLM_UNSUPPORTED, "the keyword '%s' is not supported", known->name);
    }
    const char *expected = what_is_wrong(known->kind, member);
    if (expected) nlm_schema_fail(r, member, NLM_BAD_FORMAT, "'%s' is none; expected %s", known->name, expected);
}

void nlm_schema_check(nlm_schema_reader *r, const cJSON *schema) {
    for (const cJSON *member = schema->child; member && nlm_schema_is_ok(r); member = member->next) {
        check_member(r, member);
        if (cJSON_GetObjectItemCaseSensitive(schema, member->string) != member) {
            nlm_schema_fail(r, schema, NLM_BAD_FORMAT, "'%.60s' is there twice", member->string);
        }
    }
}

const cJSON *nlm_schema_get(const cJSON *schema, const char *keyword_name) {
    return cJSON_GetObjectItemCaseSensitive(schema, keyword_name);
}

uint32_t nlm_schema_count(nlm_schema_reader *r, const cJSON *value, uint32_t most) {
    if (value->valuedouble <= (double)most) return (uint32_t)value->valuedouble;
    nlm_schema_fail(r, value, NLM_LIMIT, "'%s' is %.0f; at most %u is supported", value->string, value->valuedouble,
                    most);
    return 0;
}

/* ---- references ------------------------------------------------------------------------------ */

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The next part of a JSON pointer in a fragment, up to '/' or the end, without its escapes (RFC 6901). */
static bool next_part(const char **at, char *out, size_t capacity) {
    size_t n = 0;
    for (; **at && **at != '/'; (*at)++) {
        char c = **at;
        if (n + 1 == capacity) return false;
        if (c == '%' && hex_value((*at)[1]) >= 0 && hex_value((*at)[2]) >= 0) {
            c = (char)(hex_value((*at)[1]) * 16 + hex_value((*at)[2]));
            *at += 2;
        }
        if (c == '~' && ((*at)[1] == '0' || (*at)[1] == '1')) {
            c = (*at)[1] == '0' ? '~' : '/';
            (*at)++;
        }
        out[n++] = c;
    }
    out[n] = '\0';
    return true;
}

static const cJSON *follow_pointer(const cJSON *from, const char *at) {
    char part[512];
    while (from && *at == '/') {
        at++;
        if (!next_part(&at, part, sizeof part)) return NULL;
        if (cJSON_IsArray(from)) {
            char *end;
            const unsigned long index = strtoul(part, &end, 10);
            if (*end || !part[0] || index > INT32_MAX) return NULL;
            from = cJSON_GetArrayItem(from, (int)index);
        } else {
            from = cJSON_GetObjectItemCaseSensitive(from, part);
        }
    }
    return from;
}

static const cJSON *find_anchor(const cJSON *from, const char *name) {
    const cJSON *anchor = cJSON_IsObject(from) ? nlm_schema_get(from, "$anchor") : NULL;
    if (anchor && cJSON_IsString(anchor) && strcmp(anchor->valuestring, name) == 0) return from;
    const cJSON *found = NULL;
    for (const cJSON *item = from->child; item && !found; item = item->next) found = find_anchor(item, name);
    return found;
}

const cJSON *nlm_schema_resolve(nlm_schema_reader *r, const cJSON *ref) {
    const char *text = ref->valuestring;
    const cJSON *id = nlm_schema_get(r->root, "$id");
    if (id && cJSON_IsString(id)) { /* the schema may call itself by its name */
        const size_t length = strlen(id->valuestring);
        if (length && strncmp(text, id->valuestring, length) == 0 && (text[length] == '#' || text[length] == '\0')) {
            text += length;
        }
    }
    if (text[0] != '#' && text[0] != '\0') {
        nlm_schema_fail(r, ref, NLM_UNSUPPORTED,
                        "'$ref' to '%.100s': only references within the schema, '#...', are followed",
                        ref->valuestring);
        return NULL;
    }
    text += text[0] == '#';
    const cJSON *found = *text == '/' || *text == '\0' ? follow_pointer(r->root, text) : find_anchor(r->root, text);
    if (!found || !is_schema(found)) {
        nlm_schema_fail(r, ref, NLM_BAD_FORMAT, "'$ref' to '%.100s', where there is no schema", ref->valuestring);
        return NULL;
    }
    return found;
}
