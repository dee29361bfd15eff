/* Filters of chat templates that go through items. */
#include <string.h>

#include "text/jinja_run.h"

#define FILTER(name) static nlm_jinja_value name(nlm_jinja_run *run, nlm_jinja_call *call)

static bool is_given(nlm_jinja_value value) {
    return value.type != NLM_JINJA_ABSENT && value.type != NLM_JINJA_NONE;
}

static const nlm_jinja_sequence *items_of(nlm_jinja_run *run, const nlm_jinja_call *call) {
    return nlm_jinja_iterate(run, call->self);
}

static nlm_jinja_value copy(nlm_jinja_run *run, const nlm_jinja_sequence *items, nlm_jinja_kind kind) {
    const nlm_jinja_value made = nlm_jinja_sequence_new(run, kind);
    for (size_t i = 0; i < items->count && !nlm_jinja_has_failed(run); i++)
        nlm_jinja_push(run, made, items->items[i]);
    return made;
}

FILTER(to_list) {
    return copy(run, items_of(run, call), NLM_JINJA_LIST);
}

FILTER(first) {
    const nlm_jinja_sequence *items = items_of(run, call);
    return items->count ? items->items[0] : nlm_jinja_undefined("No first item, sequence was empty.");
}

FILTER(last) {
    const nlm_jinja_sequence *items = items_of(run, call);
    return items->count ? items->items[items->count - 1] : nlm_jinja_undefined("No last item, sequence was empty.");
}

FILTER(reverse) {
    const nlm_jinja_sequence *items = items_of(run, call);
    const nlm_jinja_value made = nlm_jinja_sequence_new(run, NLM_JINJA_GENERATOR);
    for (size_t i = items->count; i-- > 0;) nlm_jinja_push(run, made, items->items[i]);
    if (call->self.type != NLM_JINJA_STRING || made.type != NLM_JINJA_SEQUENCE) return made;
    static const nlm_jinja_string nothing = {.data = ""};
    return nlm_jinja_join(run, &nothing, made.sequence);
}

/* Each item's attribute, or the item. */
static nlm_jinja_value key_of(nlm_jinja_run *run, nlm_jinja_value item, nlm_jinja_value attribute, bool has_case) {
    const nlm_jinja_value key = is_given(attribute) ? nlm_jinja_path(run, item, attribute) : item;
    return has_case ? key : nlm_jinja_ignore_case(run, key);
}

FILTER(join) {
    static const nlm_jinja_string nothing = {.data = ""};
    const nlm_jinja_sequence *items = items_of(run, call);
    const nlm_jinja_string *separator =
        call->a[0].type == NLM_JINJA_ABSENT ? &nothing : nlm_jinja_str(run, call->a[0]);
    if (!is_given(call->a[1])) return nlm_jinja_join(run, separator, items);
    const nlm_jinja_value parts = nlm_jinja_sequence_new(run, NLM_JINJA_LIST);
    for (size_t i = 0; i < items->count && !nlm_jinja_has_failed(run); i++) {
        nlm_jinja_push(run, parts, key_of(run, items->items[i], call->a[1], true));
    }
    return parts.type == NLM_JINJA_SEQUENCE ? nlm_jinja_join(run, separator, parts.sequence) : parts;
}

static nlm_jinja_value pairs_of(nlm_jinja_run *run, const nlm_jinja_pair *pairs, size_t count, nlm_jinja_kind kind) {
    const nlm_jinja_value made = nlm_jinja_sequence_new(run, kind);
    for (size_t i = 0; i < count && !nlm_jinja_has_failed(run); i++) {
        nlm_jinja_push(run, made, nlm_jinja_tuple(run, pairs[i].key, pairs[i].value));
    }
    return made;
}

FILTER(items) {
    if (call->self.type == NLM_JINJA_UNDEFINED) return nlm_jinja_sequence_new(run, NLM_JINJA_GENERATOR);
    if (call->self.type != NLM_JINJA_DICT) return nlm_jinja_fail(run, "Can only get item pairs from a mapping.");
    return pairs_of(run, call->self.dict->pairs, call->self.dict->count, NLM_JINJA_GENERATOR);
}

FILTER(sort_dict) {
    const bool by_value = nlm_jinja_is_named(call->a[1], "value");
    if (call->a[1].type != NLM_JINJA_ABSENT && !by_value && !nlm_jinja_is_named(call->a[1], "key")) {
        return nlm_jinja_fail(run, "You can only sort by either \"key\" or \"value\"");
    }
    if (call->self.type != NLM_JINJA_DICT) {
        return nlm_jinja_fail(run, "'%s' object has no attribute 'items'", nlm_jinja_type_name(call->self));
    }
    const nlm_jinja_dict *dict = call->self.dict;
    const nlm_jinja_pair *sorted =
        nlm_jinja_sort_pairs(run, dict, by_value, nlm_jinja_truth(run, call->a[0]), nlm_jinja_truth(run, call->a[2]));
    return pairs_of(run, sorted, sorted ? dict->count : 0, NLM_JINJA_LIST);
}

static nlm_jinja_value *keys_of(nlm_jinja_run *run, const nlm_jinja_sequence *items, nlm_jinja_value attribute,
                                bool has_case) {
    nlm_jinja_value *keys = nlm_jinja_alloc(run, items->count, sizeof *keys);
    for (size_t i = 0; keys && i < items->count && !nlm_jinja_has_failed(run); i++) {
        keys[i] = key_of(run, items->items[i], attribute, has_case);
    }
    return nlm_jinja_has_failed(run) ? NULL : keys;
}

FILTER(sort) {
    const nlm_jinja_sequence *items = items_of(run, call);
    const nlm_jinja_value *keys = keys_of(run, items, call->a[2], nlm_jinja_truth(run, call->a[1]));
    const nlm_jinja_value made = nlm_jinja_sequence_new(run, NLM_JINJA_LIST);
    const size_t *order = keys ? nlm_jinja_order(run, keys, items->count, nlm_jinja_truth(run, call->a[0])) : NULL;
    for (size_t i = 0; order && i < items->count; i++) nlm_jinja_push(run, made, items->items[order[i]]);
    return made;
}

static nlm_jinja_value extreme(nlm_jinja_run *run, nlm_jinja_call *call, int sign) {
    const nlm_jinja_sequence *items = items_of(run, call);
    const nlm_jinja_value *keys = keys_of(run, items, call->a[1], nlm_jinja_truth(run, call->a[0]));
    size_t best = 0;
    if (items->count == 0) return nlm_jinja_undefined("No aggregated item, sequence was empty.");
    for (size_t i = 1; keys && i < items->count && !nlm_jinja_has_failed(run); i++) {
        if (nlm_jinja_compare(run, keys[i], keys[best], sign < 0 ? "<" : ">") * sign > 0) best = i;
    }
    return items->items[best];
}
FILTER(least) {
    return extreme(run, call, -1);
}
FILTER(greatest) {
    return extreme(run, call, 1);
}

FILTER(unique) {
    const nlm_jinja_sequence *items = items_of(run, call);
    const nlm_jinja_value *keys = keys_of(run, items, call->a[1], nlm_jinja_truth(run, call->a[0]));
    const nlm_jinja_value seen = nlm_jinja_dict_new(run), made = nlm_jinja_sequence_new(run, NLM_JINJA_GENERATOR);
    for (size_t i = 0; keys && i < items->count && !nlm_jinja_has_failed(run); i++) {
        if (nlm_jinja_find_key(run, seen.dict, keys[i])) continue;
        nlm_jinja_put(run, seen, keys[i], nlm_jinja_none());
        nlm_jinja_push(run, made, items->items[i]);
    }
    return made;
}

FILTER(sum) {
    const nlm_jinja_sequence *items = items_of(run, call);
    nlm_jinja_value total = call->a[1].type == NLM_JINJA_ABSENT ? nlm_jinja_int(0) : call->a[1];
    for (size_t i = 0; i < items->count && !nlm_jinja_has_failed(run); i++) {
        total = nlm_jinja_arithmetic(run, NLM_JINJA_PLUS, total, key_of(run, items->items[i], call->a[0], true));
    }
    return total;
}

FILTER(batch) {
    const nlm_jinja_sequence *items = items_of(run, call);
    const int64_t size = nlm_jinja_need_int(run, call->a[0], "batch's linecount");
    const nlm_jinja_value made = nlm_jinja_sequence_new(run, NLM_JINJA_GENERATOR);
    if (size < 1) return nlm_jinja_fail(run, "batch's linecount must be above zero");
    nlm_jinja_value row = {0};
    for (size_t i = 0; i < items->count && !nlm_jinja_has_failed(run); i++) {
        if (i % (size_t)size == 0) {
            row = nlm_jinja_sequence_new(run, NLM_JINJA_LIST);
            nlm_jinja_push(run, made, row);
        }
        nlm_jinja_push(run, row, items->items[i]);
    }
    while (is_given(call->a[1]) && row.type == NLM_JINJA_SEQUENCE && (int64_t)row.sequence->count < size &&
           !nlm_jinja_has_failed(run)) {
        nlm_jinja_push(run, row, call->a[1]);
    }
    return made;
}

/* ---- those that apply others -------------------------------------------------------------- */

/* What is false has no items here, whatever it is: None, for one. */
static const nlm_jinja_sequence *items_if_true(nlm_jinja_run *run, const nlm_jinja_call *call) {
    static const nlm_jinja_sequence none = {.kind = NLM_JINJA_GENERATOR};
    return nlm_jinja_truth(run, call->self) ? items_of(run, call) : &none;
}

/* The arguments behind the first n. */
static nlm_jinja_args rest_of(const nlm_jinja_args *args, size_t n) {
    return (nlm_jinja_args){args->items + n, args->count - n, args->named, args->n_named};
}

/* Keeps the items, or those whose attribute, for which the test that arguments from `at` name is `wanted`. */
static nlm_jinja_value choose(nlm_jinja_run *run, nlm_jinja_call *call, bool has_attribute, bool wanted) {
    const nlm_jinja_args *args = call->all;
    const size_t at = has_attribute ? 1 : 0;
    const nlm_jinja_entry *test = NULL;
    if (args->count < at) return nlm_jinja_fail(run, "Missing parameter for attribute name");
    if (args->count > at) {
        const char *name = nlm_jinja_name(run, nlm_jinja_need_string(run, args->items[at], "a test"));
        test = nlm_jinja_find_test(name);
        if (!test) return nlm_jinja_fail(run, "No test named '%s'.", name);
    }
    const nlm_jinja_args rest = test ? rest_of(args, at + 1) : (nlm_jinja_args){0};
    const nlm_jinja_sequence *items = items_if_true(run, call);
    const nlm_jinja_value made = nlm_jinja_sequence_new(run, NLM_JINJA_GENERATOR);
    for (size_t i = 0; i < items->count && !nlm_jinja_has_failed(run); i++) {
        nlm_jinja_value value = items->items[i];
        if (has_attribute) value = nlm_jinja_path(run, value, args->items[0]);
        if (test) value = nlm_jinja_call_entry(run, test, value, &rest);
        if (nlm_jinja_truth(run, value) == wanted) nlm_jinja_push(run, made, items->items[i]);
    }
    return made;
}
FILTER(select) {
    return choose(run, call, false, true);
}
FILTER(reject) {
    return choose(run, call, false, false);
}
FILTER(select_by) {
    return choose(run, call, true, true);
}
FILTER(reject_by) {
    return choose(run, call, true, false);
}

static nlm_jinja_value named_argument(const nlm_jinja_args *args, const char *name) {
    for (size_t i = 0; i < args->n_named; i++) {
        if (strcmp(args->named[i].name, name) == 0) return args->named[i].value;
    }
    return (nlm_jinja_value){0};
}

FILTER(map) {
    const nlm_jinja_args *args = call->all;
    const nlm_jinja_value attribute = named_argument(args, "attribute"), otherwise = named_argument(args, "default");
    const nlm_jinja_entry *filter = NULL;
    if (args->count > 0) {
        const char *name = nlm_jinja_name(run, nlm_jinja_need_string(run, args->items[0], "a filter"));
        filter = nlm_jinja_find_filter(name);
        if (!filter) return nlm_jinja_fail(run, "No filter named '%s'.", name);
    } else if (attribute.type == NLM_JINJA_ABSENT) {
        return nlm_jinja_fail(run, "map requires a filter argument");
    }
    const nlm_jinja_args rest = filter ? rest_of(args, 1) : (nlm_jinja_args){0};
    const nlm_jinja_sequence *items = items_if_true(run, call);
    const nlm_jinja_value made = nlm_jinja_sequence_new(run, NLM_JINJA_GENERATOR);
    for (size_t i = 0; i < items->count && !nlm_jinja_has_failed(run); i++) {
        nlm_jinja_value value = filter ? nlm_jinja_call_entry(run, filter, items->items[i], &rest)
                                       : nlm_jinja_path(run, items->items[i], attribute);
        if (!filter && value.type == NLM_JINJA_UNDEFINED && otherwise.type != NLM_JINJA_ABSENT) value = otherwise;
        nlm_jinja_push(run, made, value);
    }
    return made;
}

const nlm_jinja_entry nlm_jinja_list_filters[] = {
    {"batch", batch, 1, {"linecount", "fill_with"}},
    {"dictsort", sort_dict, 0, {"case_sensitive", "by", "reverse"}},
    {"first", first, 0, {NULL}},
    {"items", items, 0, {NULL}},
    {"join", join, 0, {"d", "attribute"}},
    {"last", last, 0, {NULL}},
    {"list", to_list, 0, {NULL}},
    {"map", map, 0, {"*"}},
    {"max", greatest, 0, {"case_sensitive", "attribute"}},
    {"min", least, 0, {"case_sensitive", "attribute"}},
    {"reject", reject, 0, {"*"}},
    {"rejectattr", reject_by, 0, {"*"}},
    {"reverse", reverse, 0, {NULL}},
    {"select", select, 0, {"*"}},
    {"selectattr", select_by, 0, {"*"}},
    {"sort", sort, 0, {"reverse", "case_sensitive", "attribute"}},
    {"sum", sum, 0, {"attribute", "start"}},
    {"unique", unique, 0, {"case_sensitive", "attribute"}},
};
const size_t nlm_jinja_list_filter_count = sizeof nlm_jinja_list_filters / sizeof *nlm_jinja_list_filters;
