/* Arrays of JSON Schema: a graph whose states count the items. */
#include "text/json_schema_impl.h"

#define ITEMS_MAX 65536u /* that are counted */

typedef struct array {
    uint32_t least, most; /* most: NLM_NO_LIMIT for any number */
    uint32_t n_prefix;    /* of items that have schemas of their own */
} array;

/* What the item at an index must satisfy; one behind all prefixes stands for all that follow. */
static nlm_conjunction item_at(nlm_schema_reader *r, const nlm_conjunction *all, uint32_t index) {
    nlm_conjunction of_item = {0};
    for (size_t i = 0; i < all->count; i++) {
        const cJSON *prefix = nlm_schema_get(all->items[i].schema, "prefixItems");
        const cJSON *items = nlm_schema_get(all->items[i].schema, "items");
        const cJSON *own = prefix && index <= INT32_MAX ? cJSON_GetArrayItem(prefix, (int)index) : NULL;
        if (own || items) nlm_conjunction_add(r, &of_item, own ? own : items, 0);
    }
    return of_item;
}

static array bounds_of(nlm_schema_reader *r, const nlm_conjunction *all) {
    array a = {.most = NLM_NO_LIMIT};
    for (size_t i = 0; i < all->count; i++) {
        const cJSON *least = nlm_schema_get(all->items[i].schema, "minItems");
        const cJSON *most = nlm_schema_get(all->items[i].schema, "maxItems");
        const cJSON *prefix = nlm_schema_get(all->items[i].schema, "prefixItems");
        const uint32_t from = least ? nlm_schema_count(r, least, ITEMS_MAX) : 0;
        const uint32_t to = most ? nlm_schema_count(r, most, ITEMS_MAX) : NLM_NO_LIMIT;
        const uint32_t n_prefix = prefix ? (uint32_t)cJSON_GetArraySize(prefix) : 0;
        if (from > a.least) a.least = from;
        if (to < a.most) a.most = to;
        if (n_prefix > a.n_prefix) a.n_prefix = n_prefix;
    }
    return a;
}

/* An item with the comma in front of it, if it is not the first. */
static const nlm_tree *next_item(nlm_schema_reader *r, const nlm_tree *value, bool is_first) {
    if (is_first) return value;
    nlm_tree *item = nlm_tree_sequence(r->rules);
    nlm_tree_add(r->rules, item, nlm_tree_string(r->rules, ","));
    nlm_tree_add(r->rules, item, nlm_schema_gap(r));
    nlm_tree_add(r->rules, item, value);
    return item;
}

/* State i is behind i items; where there may be any number, the last goes back to itself. */
static const nlm_tree *items_graph(nlm_schema_reader *r, const nlm_conjunction *all, const array *a) {
    uint32_t last = a->most;
    if (last == NLM_NO_LIMIT) {
        last = a->least > a->n_prefix ? a->least : a->n_prefix;
        last = last ? last : 1;
    }
    nlm_tree *graph = nlm_tree_graph(r->rules, last + 1);
    const nlm_conjunction rest = item_at(r, all, UINT32_MAX);
    const nlm_tree *rest_value = a->most > a->n_prefix ? nlm_schema_value(r, &rest) : NULL;
    for (uint32_t i = 0; i <= last && nlm_schema_is_ok(r); i++) {
        graph->graph.is_final[i] = i >= a->least;
        if (i == last) break;
        const nlm_conjunction own = i < a->n_prefix ? item_at(r, all, i) : rest;
        const nlm_tree *value = i < a->n_prefix ? nlm_schema_value(r, &own) : rest_value;
        nlm_tree_connect(r->rules, graph, i, i + 1, next_item(r, value, i == 0));
    }
    if (a->most == NLM_NO_LIMIT) nlm_tree_connect(r->rules, graph, last, last, next_item(r, rest_value, false));
    return graph;
}

const nlm_tree *nlm_schema_array(nlm_schema_reader *r, const nlm_conjunction *all) {
    const array a = bounds_of(r, all);
    if (a.most < a.least) return nlm_tree_choice(r->rules);
    nlm_tree *sequence = nlm_tree_sequence(r->rules);
    nlm_tree_add(r->rules, sequence, nlm_tree_string(r->rules, "["));
    nlm_tree_add(r->rules, sequence, nlm_schema_gap(r));
    nlm_tree_add(r->rules, sequence, items_graph(r, all, &a));
    nlm_tree_add(r->rules, sequence, nlm_schema_gap(r));
    nlm_tree_add(r->rules, sequence, nlm_tree_string(r->rules, "]"));
    return sequence;
}
