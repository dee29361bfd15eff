/* Objects of JSON Schema: declared properties in their order, then others; a graph whose states are how many of the
 * declared ones were passed, and how many properties there are. */
#include <string.h>

#include "text/json_schema_impl.h"

#define PROPERTIES_MAX 5000u
#define COUNT_MAX      1000u /* that minProperties and maxProperties may be */
#define PATTERNS_MAX   5     /* of patternProperties that apply to one object: each set of them is a case */

typedef struct property {
    const char *name;
    bool is_required;
    const nlm_tree *value;
} property;

typedef struct pattern {
    const cJSON *owner; /* the schema */
    const cJSON *value;
    const nlm_dfa *names;
} pattern;

typedef struct object {
    property *properties; /* those that may be there or have to */
    uint32_t n_properties, n_required;
    size_t capacity;
    pattern patterns[PATTERNS_MAX];
    unsigned n_patterns;
    const nlm_dfa *names;  /* by propertyNames; NULL: any */
    const nlm_tree *other; /* a property that is not declared; NULL: there is none */
    uint32_t least, most;
    bool is_never;
} object;

/* ---- what there is --------------------------------------------------------------------------- */

static property *find_property(object *o, const char *name) {
    for (uint32_t i = 0; i < o->n_properties; i++) {
        if (strcmp(o->properties[i].name, name) == 0) return &o->properties[i];
    }
    return NULL;
}

static property *add_property(nlm_schema_reader *r, object *o, const cJSON *at, const char *name) {
    property *found = find_property(o, name);
    if (found) return found;
    if (o->n_properties == PROPERTIES_MAX) {
        nlm_schema_fail(r, at, NLM_LIMIT, "more than %u properties", PROPERTIES_MAX);
    }
    property *items = nlm_rules_grow(r->rules, o->properties, o->n_properties, &o->capacity, sizeof *items);
    if (!items) return NULL;
    o->properties = items;
    items[o->n_properties] = (property){.name = name};
    return &items[o->n_properties++];
}

static void find_patterns(nlm_schema_reader *r, object *o, const cJSON *schema) {
    const cJSON *table = nlm_schema_get(schema, "patternProperties");
    for (const cJSON *item = table ? table->child : NULL; item && nlm_schema_is_ok(r); item = item->next) {
        if (o->n_patterns == PATTERNS_MAX) {
            nlm_schema_fail(r, table, NLM_LIMIT, "more than %d patterns of properties", PATTERNS_MAX);
            return;
        }
        o->patterns[o->n_patterns++] = (pattern){schema, item, nlm_schema_pattern(r, item, item->string)};
    }
}

/* The names that a schema of propertyNames admits. */
static const nlm_dfa *names_of(nlm_schema_reader *r, const cJSON *schema) {
    nlm_conjunction all = {0};
    nlm_conjunction_add(r, &all, schema, 0);
    nlm_schema_flatten(r, &all);
    if (!nlm_schema_is_ok(r) || !(nlm_schema_types(r, &all) & NLM_TYPE_STRING)) {
        return nlm_dfa_of_words(r->rules, NULL, 0);
    }
    const nlm_dfa *names = nlm_schema_string_dfa(r, &all, true);
    for (size_t i = 0; i < all.count && nlm_schema_is_ok(r); i++) {
        const cJSON *one = nlm_schema_get(all.items[i].schema, "const");
        const cJSON *list = nlm_schema_get(all.items[i].schema, "enum");
        if (nlm_schema_get(all.items[i].schema, "anyOf") || nlm_schema_get(all.items[i].schema, "oneOf")) {
            nlm_schema_fail(r, all.items[i].schema, NLM_UNSUPPORTED,
                            "'anyOf' and 'oneOf' of names are not supported");
        }
        if (!one && !list) continue;
        const size_t count = one ? 1 : (size_t)cJSON_GetArraySize(list);
        const char **words = nlm_rules_alloc(r->rules, count + 1, sizeof *words);
        size_t n = 0;
        for (const cJSON *item = one ? one : list->child; words && item; item = one ? NULL : item->next) {
            if (cJSON_IsString(item)) words[n++] = item->valuestring;
        }
        const nlm_dfa *listed = nlm_dfa_of_words(r->rules, words, words ? n : 0);
        names = names ? nlm_dfa_intersect(r->rules, names, listed) : listed;
    }
    return names;
}

static void find_bounds(nlm_schema_reader *r, object *o, const cJSON *schema) {
    const cJSON *least = nlm_schema_get(schema, "minProperties"), *most = nlm_schema_get(schema, "maxProperties");
    const cJSON *names = nlm_schema_get(schema, "propertyNames");
    const uint32_t from = least ? nlm_schema_count(r, least, COUNT_MAX) : 0;
    const uint32_t to = most ? nlm_schema_count(r, most, COUNT_MAX) : NLM_NO_LIMIT;
    if (from > o->least) o->least = from;
    if (to < o->most) o->most = to;
    if (!names) return;
    const nlm_dfa *these = names_of(r, names);
    o->names = o->names ? nlm_dfa_intersect(r->rules, o->names, these) : these;
}

static void gather(nlm_schema_reader *r, object *o, const nlm_conjunction *all) {
    for (size_t i = 0; i < all->count && nlm_schema_is_ok(r); i++) {
        const cJSON *schema = all->items[i].schema, *table = nlm_schema_get(schema, "properties");
        for (const cJSON *item = table ? table->child : NULL; item; item = item->next) {
            if (!nlm_schema_is_ok(r)) return;
            add_property(r, o, item, item->string);
        }
        find_patterns(r, o, schema);
        find_bounds(r, o, schema);
    }
    for (size_t i = 0; i < all->count && nlm_schema_is_ok(r); i++) {
        const cJSON *required = nlm_schema_get(all->items[i].schema, "required");
        for (const cJSON *item = required ? required->child : NULL; item; item = item->next) {
            property *found = add_property(r, o, item, item->valuestring);
            if (found) found->is_required = true;
        }
    }
}

/* ---- what values must satisfy ---------------------------------------------------------------- */

/* Of the property `name`; NULL: of one that is not declared and matches the patterns of `matches`. */
static nlm_conjunction values_of(nlm_schema_reader *r, const object *o, const nlm_conjunction *all, const char *name,
                                 unsigned matches) {
    nlm_conjunction values = {0};
    for (size_t i = 0; i < all->count; i++) {
        const cJSON *schema = all->items[i].schema, *table = nlm_schema_get(schema, "properties");
        const cJSON *own = table && name ? nlm_schema_get(table, name) : NULL;
        const cJSON *additional = nlm_schema_get(schema, "additionalProperties");
        bool is_known = own != NULL;
        if (own) nlm_conjunction_add(r, &values, own, 0);
        for (unsigned p = 0; p < o->n_patterns; p++) {
            const pattern *pattern = &o->patterns[p];
            const bool is_match = name ? nlm_dfa_matches(pattern->names, name) : (matches >> p & 1) != 0;
            if (pattern->owner != schema || !is_match) continue;
            nlm_conjunction_add(r, &values, pattern->value, 0);
            is_known = true;
        }
        if (!is_known && additional) nlm_conjunction_add(r, &values, additional, 0);
    }
    return values;
}

/* Finds the values of declared properties; those that must not be there are dropped. */
static void declare(nlm_schema_reader *r, object *o, const nlm_conjunction *all) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < o->n_properties && nlm_schema_is_ok(r); i++) {
        property p = o->properties[i];
        const nlm_conjunction values = values_of(r, o, all, p.name, 0);
        const bool is_never = values.is_never || (o->names && !nlm_dfa_matches(o->names, p.name));
        if (is_never && p.is_required) o->is_never = true;
        if (is_never) continue;
        p.value = nlm_schema_value(r, &values);
        o->n_required += p.is_required;
        o->properties[kept++] = p;
    }
    o->n_properties = kept;
}

static const nlm_tree *member(nlm_schema_reader *r, const nlm_tree *key, const nlm_tree *value) {
    nlm_tree *sequence = nlm_tree_sequence(r->rules);
    nlm_tree_add(r->rules, sequence, key);
    nlm_tree_add(r->rules, sequence, nlm_tree_string(r->rules, ":"));
    nlm_tree_add(r->rules, sequence, nlm_schema_blank(r));
    nlm_tree_add(r->rules, sequence, value);
    return sequence;
}

static const nlm_tree *in_quotes(nlm_schema_reader *r, const nlm_tree *content) {
    nlm_tree *sequence = nlm_tree_sequence(r->rules);
    nlm_tree_add(r->rules, sequence, nlm_tree_string(r->rules, "\""));
    nlm_tree_add(r->rules, sequence, content);
    nlm_tree_add(r->rules, sequence, nlm_tree_string(r->rules, "\""));
    return sequence;
}

/* Names that are not declared (also those that must not be there), as propertyNames says; NULL: any. */
static const nlm_dfa *other_names(nlm_schema_reader *r, const object *o) {
    const char **words = nlm_rules_alloc(r->rules, o->n_properties + 1, sizeof *words);
    if (!words || o->n_properties == 0) return o->names;
    for (uint32_t i = 0; i < o->n_properties; i++) words[i] = o->properties[i].name;
    const nlm_dfa *others = nlm_dfa_complement(r->rules, nlm_dfa_of_words(r->rules, words, o->n_properties));
    return o->names ? nlm_dfa_intersect(r->rules, others, o->names) : others;
}

/* Properties that are not declared: a case for each set of patterns that a name may match. */
static void find_others(nlm_schema_reader *r, object *o, const nlm_conjunction *all) {
    const nlm_dfa *names = other_names(r, o);
    nlm_tree *choice = nlm_tree_choice(r->rules);
    for (unsigned matches = 0; matches < 1u << o->n_patterns && nlm_schema_is_ok(r); matches++) {
        const nlm_conjunction values = values_of(r, o, all, NULL, matches);
        const nlm_dfa *those = names;
        if (values.is_never) continue;
        for (unsigned p = 0; p < o->n_patterns && nlm_schema_is_ok(r); p++) {
            const nlm_dfa *matched = o->patterns[p].names;
            if (!(matches >> p & 1)) matched = nlm_dfa_complement(r->rules, matched);
            those = those ? nlm_dfa_intersect(r->rules, those, matched) : matched;
        }
        if (those && nlm_dfa_is_empty(those)) continue;
        const nlm_tree *key = those ? in_quotes(r, nlm_dfa_tree(r->rules, those, true)) : nlm_schema_any_string(r);
        nlm_tree_add(r->rules, choice, member(r, key, nlm_schema_value(r, &values)));
    }
    if (choice->list.count == 0) return;
    const uint32_t rule = nlm_rules_add(r->rules, NULL, 0);
    if (nlm_schema_is_ok(r)) r->rules->items[rule].body = choice;
    o->other = nlm_tree_rule(r->rules, rule);
}

/* ---- the graph ------------------------------------------------------------------------------- */

typedef struct grid {
    nlm_tree *graph;
    uint32_t columns; /* counts of properties that are told apart: 0 .. columns - 1, the last standing for more too */
} grid;

static uint32_t at(const grid *g, uint32_t passed, uint32_t count) {
    return passed * g->columns + count;
}

static uint32_t one_more(const object *o, const grid *g, uint32_t count) {
    if (count >= o->most) return UINT32_MAX;
    return count + 1 < g->columns ? count + 1 : count;
}

static const nlm_tree *after_comma(nlm_schema_reader *r, const nlm_tree *tree, bool has_comma) {
    if (!has_comma) return tree;
    nlm_tree *sequence = nlm_tree_sequence(r->rules);
    nlm_tree_add(r->rules, sequence, nlm_tree_string(r->rules, ","));
    nlm_tree_add(r->rules, sequence, nlm_schema_gap(r));
    nlm_tree_add(r->rules, sequence, tree);
    return sequence;
}

static void connect_declared(nlm_schema_reader *r, const object *o, const grid *g, uint32_t i) {
    const property *p = &o->properties[i];
    const nlm_tree *body = member(r, nlm_schema_quoted(r, p->name), p->value);
    const uint32_t rule = nlm_rules_add(r->rules, NULL, 0);
    if (!nlm_schema_is_ok(r)) return;
    r->rules->items[rule].body = body;
    const nlm_tree *first = nlm_tree_rule(r->rules, rule), *later = after_comma(r, first, true);
    const nlm_tree *nothing = nlm_tree_sequence(r->rules);
    for (uint32_t count = 0; count < g->columns; count++) {
        const uint32_t next = one_more(o, g, count);
        if (next != UINT32_MAX) {
            nlm_tree_connect(r->rules, g->graph, at(g, i, count), at(g, i + 1, next), count ? later : first);
        }
        if (!p->is_required) nlm_tree_connect(r->rules, g->graph, at(g, i, count), at(g, i + 1, count), nothing);
    }
}

/* Behind the declared ones, in the row that follows theirs. Names may be repeated there, so that of minProperties the
 * first alone counts. */
static void connect_others(nlm_schema_reader *r, const object *o, const grid *g) {
    const uint32_t row = o->n_properties;
    const nlm_tree *first = o->other, *later = after_comma(r, o->other, true);
    for (uint32_t count = 0; count < g->columns; count++) {
        const uint32_t next = one_more(o, g, count);
        if (next == UINT32_MAX) continue;
        if (count + 1 >= o->least) {
            nlm_tree_connect(r->rules, g->graph, at(g, row, count), at(g, row + 1, next), count ? later : first);
        }
        if (count) nlm_tree_connect(r->rules, g->graph, at(g, row + 1, count), at(g, row + 1, next), later);
    }
}

static const nlm_tree *properties_graph(nlm_schema_reader *r, const object *o) {
    uint32_t greatest = o->least > 1 ? o->least : 1;
    if (o->most != NLM_NO_LIMIT && o->most > greatest) greatest = o->most;
    const uint32_t rows = o->n_properties + (o->other ? 2 : 1);
    grid g = {.columns = greatest + 1};
    g.graph = nlm_tree_graph(r->rules, rows * g.columns);
    for (uint32_t i = 0; i < o->n_properties && nlm_schema_is_ok(r); i++) connect_declared(r, o, &g, i);
    if (o->other) connect_others(r, o, &g);
    for (uint32_t count = 0; count < g.columns && nlm_schema_is_ok(r); count++) {
        if (count <= o->most) g.graph->graph.is_final[at(&g, o->n_properties, count)] = count >= o->least;
        if (o->other && count <= o->most) g.graph->graph.is_final[at(&g, o->n_properties + 1, count)] = count > 0;
    }
    return g.graph;
}

const nlm_tree *nlm_schema_object(nlm_schema_reader *r, const nlm_conjunction *all) {
    object o = {.most = NLM_NO_LIMIT};
    gather(r, &o, all);
    find_others(r, &o, all);
    declare(r, &o, all);
    if (!nlm_schema_is_ok(r) || o.is_never || o.most < o.least) return nlm_tree_choice(r->rules);
    if (o.other && o.least > o.n_properties + 1) {
        const cJSON *least = nlm_schema_first(all, "minProperties");
        nlm_schema_fail(r, least, NLM_UNSUPPORTED,
                        "'minProperties' of more than one property that is not declared is not supported");
    }
    nlm_tree *sequence = nlm_tree_sequence(r->rules);
    nlm_tree_add(r->rules, sequence, nlm_tree_string(r->rules, "{"));
    nlm_tree_add(r->rules, sequence, nlm_schema_gap(r));
    nlm_tree_add(r->rules, sequence, properties_graph(r, &o));
    nlm_tree_add(r->rules, sequence, nlm_schema_gap(r));
    nlm_tree_add(r->rules, sequence, nlm_tree_string(r->rules, "}"));
    return sequence;
}
