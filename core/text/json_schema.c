/* JSON Schema to rules: conjunctions of schemas, one rule each. */
#include "text/json_schema.h"

#include <string.h>

#include "format/json.h"
#include "text/json_schema_impl.h"

#define CONJUNCTION_MAX 1000 /* schemas that apply to one value */
#define RULES_MAX       20000

void nlm_conjunction_add(nlm_schema_reader *r, nlm_conjunction *all, const cJSON *schema, uint32_t made) {
    if (cJSON_IsFalse(schema)) all->is_never = true;
    if (!cJSON_IsObject(schema)) return;
    for (size_t i = 0; i < all->count; i++) {
        if (all->items[i].schema == schema) return;
    }
    if (all->count == CONJUNCTION_MAX) {
        nlm_schema_fail(r, schema, NLM_LIMIT, "more than %d schemas apply to one value", CONJUNCTION_MAX);
    }
    nlm_conjunct *items = nlm_rules_grow(r->rules, all->items, all->count, &all->capacity, sizeof *items);
    if (!items) return;
    all->items = items;
    items[all->count++] = (nlm_conjunct){schema, made};
}

void nlm_schema_flatten(nlm_schema_reader *r, nlm_conjunction *all) {
    for (size_t i = 0; i < all->count && nlm_schema_is_ok(r); i++) { /* grows on the way */
        const cJSON *schema = all->items[i].schema;
        nlm_schema_check(r, schema);
        if (!nlm_schema_is_ok(r)) return;
        const cJSON *ref = nlm_schema_get(schema, "$ref"), *all_of = nlm_schema_get(schema, "allOf");
        const cJSON *target = ref ? nlm_schema_resolve(r, ref) : NULL;
        if (target) nlm_conjunction_add(r, all, target, 0);
        for (const cJSON *item = all_of ? all_of->child : NULL; item; item = item->next) {
            nlm_conjunction_add(r, all, item, 0);
        }
    }
}

const cJSON *nlm_schema_first(const nlm_conjunction *all, const char *keyword) {
    const cJSON *found = NULL;
    for (size_t i = 0; i < all->count && !found; i++) found = nlm_schema_get(all->items[i].schema, keyword);
    return found;
}

/* ---- types ----------------------------------------------------------------------------------- */

static uint32_t type_of_name(nlm_schema_reader *r, const cJSON *name) {
    static const struct {
        const char *name;
        uint32_t types;
    } types[] = {{"null", NLM_TYPE_NULL},
                 {"boolean", NLM_TYPE_BOOLEAN},
                 {"object", NLM_TYPE_OBJECT},
                 {"array", NLM_TYPE_ARRAY},
                 {"string", NLM_TYPE_STRING},
                 {"integer", NLM_TYPE_INTEGER},
                 {"number", NLM_TYPE_INTEGER | NLM_TYPE_FRACTION}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, name->valuestring) == 0) return types[i].types;
    }
    nlm_schema_fail(
        r, name, NLM_BAD_FORMAT,
        "the type '%.60s' is not known; there are null, boolean, object, array, string, integer and number",
        name->valuestring);
    return 0;
}

uint32_t nlm_schema_types(nlm_schema_reader *r, const nlm_conjunction *all) {
    uint32_t types = all->is_never ? 0 : NLM_TYPE_ANY;
    for (size_t i = 0; i < all->count; i++) {
        const cJSON *type = nlm_schema_get(all->items[i].schema, "type");
        if (!type) continue;
        uint32_t given = cJSON_IsString(type) ? type_of_name(r, type) : 0;
        for (const cJSON *item = type->child; item; item = item->next) given |= type_of_name(r, item);
        types &= given;
    }
    return types;
}

/* ---- values ---------------------------------------------------------------------------------- */

static const nlm_tree *value_of_types(nlm_schema_reader *r, const nlm_conjunction *all, uint32_t types) {
    nlm_rules *rules = r->rules;
    nlm_tree *choice = nlm_tree_choice(rules);
    if (types & NLM_TYPE_NULL) nlm_tree_add(rules, choice, nlm_tree_string(rules, "null"));
    if (types & NLM_TYPE_BOOLEAN) nlm_tree_add(rules, choice, nlm_tree_string(rules, "true"));
    if (types & NLM_TYPE_BOOLEAN) nlm_tree_add(rules, choice, nlm_tree_string(rules, "false"));
    if (types & NLM_TYPE_OBJECT) nlm_tree_add(rules, choice, nlm_schema_object(r, all));
    if (types & NLM_TYPE_ARRAY) nlm_tree_add(rules, choice, nlm_schema_array(r, all));
    if (types & NLM_TYPE_STRING) nlm_tree_add(rules, choice, nlm_schema_string(r, all));
    if (types & NLM_TYPE_INTEGER) {
        nlm_tree_add(rules, choice, nlm_schema_number(r, all, !(types & NLM_TYPE_FRACTION)));
    }
    return choice;
}

/* The first schema with a choice between branches that was not made; NULL: all are. */
static nlm_conjunct *open_choice(const nlm_conjunction *all, const cJSON **out_branches, uint32_t *out_made) {
    for (size_t i = 0; i < all->count; i++) {
        nlm_conjunct *item = &all->items[i];
        const cJSON *any_of = nlm_schema_get(item->schema, "anyOf"), *one_of = nlm_schema_get(item->schema, "oneOf");
        const bool is_any = any_of && !(item->made & NLM_MADE_ANY_OF);
        if (!is_any && (!one_of || (item->made & NLM_MADE_ONE_OF))) continue;
        *out_branches = is_any ? any_of : one_of;
        *out_made = is_any ? NLM_MADE_ANY_OF : NLM_MADE_ONE_OF;
        return item;
    }
    return NULL;
}

/* What the rule of a conjunction stands for. */
static const nlm_tree *make_body(nlm_schema_reader *r, const nlm_conjunction *of_rule) {
    const cJSON *branches;
    uint32_t made;
    nlm_conjunction all = {.is_never = of_rule->is_never};
    for (size_t i = 0; i < of_rule->count; i++) {
        nlm_conjunction_add(r, &all, of_rule->items[i].schema, of_rule->items[i].made);
    }
    nlm_schema_flatten(r, &all);
    const uint32_t types = nlm_schema_is_ok(r) ? nlm_schema_types(r, &all) : 0;
    nlm_tree *choice = nlm_tree_choice(r->rules);
    if (types == 0) return choice;
    nlm_conjunct *open = open_choice(&all, &branches, &made);
    if (!open) {
        const bool has_enum = nlm_schema_first(&all, "enum") || nlm_schema_first(&all, "const");
        return has_enum ? nlm_schema_enum(r, &all, types) : value_of_types(r, &all, types);
    }
    if (made == NLM_MADE_ONE_OF) nlm_schema_check_apart(r, branches);
    open->made |= made;
    for (const cJSON *branch = branches->child; branch && nlm_schema_is_ok(r); branch = branch->next) {
        nlm_conjunction with = {.is_never = all.is_never};
        for (size_t i = 0; i < all.count; i++) nlm_conjunction_add(r, &with, all.items[i].schema, all.items[i].made);
        nlm_conjunction_add(r, &with, branch, 0);
        nlm_tree_add(r->rules, choice, nlm_schema_value(r, &with));
    }
    return choice;
}

static bool is_same(const nlm_conjunction *a, const nlm_conjunction *b) {
    if (a->count != b->count || a->is_never != b->is_never) return false;
    for (size_t i = 0; i < a->count; i++) {
        if (a->items[i].schema != b->items[i].schema || a->items[i].made != b->items[i].made) return false;
    }
    return true;
}

const nlm_tree *nlm_schema_value(nlm_schema_reader *r, const nlm_conjunction *all) {
    uint64_t hash = all->is_never;
    for (size_t i = 0; i < all->count; i++) {
        hash = (hash ^ (uint64_t)(uintptr_t)all->items[i].schema ^ all->items[i].made) * UINT64_C(0x9E3779B97F4A7C15);
    }
    nlm_schema_rule **bucket = &r->known[(hash >> 40) % NLM_SCHEMA_BUCKETS];
    for (const nlm_schema_rule *known = *bucket; known; known = known->same_hash) {
        if (is_same(&known->all, all)) return nlm_tree_rule(r->rules, known->rule);
    }
    if (r->rules->count > RULES_MAX) {
        nlm_schema_fail(r, r->root, NLM_LIMIT, "it becomes more than %d rules, by the choices that it combines",
                        RULES_MAX);
    }
    nlm_schema_rule *made = nlm_rules_alloc(r->rules, 1, sizeof *made);
    if (!made) return nlm_tree_sequence(r->rules);
    *made = (nlm_schema_rule){.all = *all, .rule = nlm_rules_add(r->rules, NULL, 0), .same_hash = *bucket};
    *bucket = made;
    *r->todo_end = made;
    r->todo_end = &made->next;
    return nlm_tree_rule(r->rules, made->rule);
}

static void read_root(nlm_schema_reader *r) {
    nlm_conjunction all = {0};
    if (!cJSON_IsObject(r->root) && !cJSON_IsBool(r->root)) {
        nlm_rules_fail(r->rules, NLM_BAD_FORMAT, "schema#", "the schema is no object, true or false");
        return;
    }
    nlm_conjunction_add(r, &all, r->root, 0);
    nlm_schema_value(r, &all);
    for (nlm_schema_rule *next = r->todo; next && nlm_schema_is_ok(r); next = next->next) {
        const nlm_tree *body = make_body(r, &next->all);
        if (nlm_schema_is_ok(r)) r->rules->items[next->rule].body = body;
    }
}

void nlm_json_schema_read(nlm_rules *rules, const char *text, size_t length, bool is_compact) {
    nlm_error err = NLM_ERROR_INIT;
    cJSON *root = NULL;
    if (nlm_json_parse("schema", text, length, &root, &err) != NLM_OK) {
        nlm_rules_fail(rules, err.code, err.where, "%s", err.msg);
        return;
    }
    nlm_schema_reader r = {.rules = rules, .root = root, .is_compact = is_compact};
    r.todo_end = &r.todo;
    nlm_schema_rewrite(&r, root);
    if (nlm_schema_is_ok(&r)) read_root(&r);
    cJSON_Delete(root);
}
