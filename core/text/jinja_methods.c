/* Methods of lists, dictionaries and loops in chat templates, and the tables of all methods. */
#include <string.h>

#include "text/jinja_run.h"

#define METHOD(name) static nlm_jinja_value name(nlm_jinja_run *run, nlm_jinja_call *call)

/* ---- dictionaries ------------------------------------------------------------------------- */

METHOD(dict_get) {
    const nlm_jinja_value *found = nlm_jinja_find_key(run, call->self.dict, call->a[0]);
    if (found) return *found;
    return call->a[1].type == NLM_JINJA_ABSENT ? nlm_jinja_none() : call->a[1];
}

typedef enum part { KEYS, VALUES, ITEMS } part;

static nlm_jinja_value view(nlm_jinja_run *run, const nlm_jinja_dict *dict, part of) {
    const nlm_jinja_value made = nlm_jinja_sequence_new(run, NLM_JINJA_VIEW);
    for (size_t i = 0; i < dict->count && !nlm_jinja_has_failed(run); i++) {
        const nlm_jinja_pair *pair = &dict->pairs[i];
        nlm_jinja_push(run, made,
                       of == KEYS     ? pair->key
                       : of == VALUES ? pair->value
                                      : nlm_jinja_tuple(run, pair->key, pair->value));
    }
    return made;
}
METHOD(dict_keys) {
    return view(run, call->self.dict, KEYS);
}
METHOD(dict_values) {
    return view(run, call->self.dict, VALUES);
}
METHOD(dict_items) {
    return view(run, call->self.dict, ITEMS);
}

static void put_all(nlm_jinja_run *run, nlm_jinja_value to, const nlm_jinja_dict *from) {
    const size_t count = from->count;
    for (size_t i = 0; i < count && !nlm_jinja_has_failed(run); i++) {
        nlm_jinja_put(run, to, from->pairs[i].key, from->pairs[i].value);
    }
}

METHOD(dict_copy) {
    const nlm_jinja_value made = nlm_jinja_dict_new(run);
    put_all(run, made, call->self.dict);
    return made;
}

METHOD(dict_update) {
    if (call->all->count > 0 && call->all->items[0].type != NLM_JINJA_DICT) {
        return nlm_jinja_fail(run, "update() takes a mapping, not %s", nlm_jinja_type_name(call->all->items[0]));
    }
    if (call->all->count > 0) put_all(run, call->self, call->all->items[0].dict);
    for (size_t i = 0; i < call->all->n_named; i++) {
        nlm_jinja_put_named(run, call->self, call->all->named[i].name, call->all->named[i].value);
    }
    return nlm_jinja_none();
}

METHOD(dict_pop) {
    nlm_jinja_value value;
    if (nlm_jinja_remove(run, call->self.dict, call->a[0], &value)) return value;
    if (call->a[1].type != NLM_JINJA_ABSENT) return call->a[1];
    return nlm_jinja_fail(run, "pop(): there is no such key");
}

METHOD(dict_set_default) {
    const nlm_jinja_value *found = nlm_jinja_find_key(run, call->self.dict, call->a[0]);
    if (found) return *found;
    const nlm_jinja_value value = call->a[1].type == NLM_JINJA_ABSENT ? nlm_jinja_none() : call->a[1];
    nlm_jinja_put(run, call->self, call->a[0], value);
    return value;
}

METHOD(dict_clear) {
    (void)run;
    *call->self.dict = (nlm_jinja_dict){0};
    return nlm_jinja_none();
}

static const nlm_jinja_entry dict_methods[] = {
    {"get", dict_get, 1, {"key", "default"}}, {"keys", dict_keys, 0, {NULL}},
    {"values", dict_values, 0, {NULL}},       {"items", dict_items, 0, {NULL}},
    {"copy", dict_copy, 0, {NULL}},           {"update", dict_update, 0, {"*"}},
    {"pop", dict_pop, 1, {"key", "default"}}, {"setdefault", dict_set_default, 1, {"key", "default"}},
    {"clear", dict_clear, 0, {NULL}},
};

/* ---- lists -------------------------------------------------------------------------------- */

METHOD(list_append) {
    nlm_jinja_push(run, call->self, call->a[0]);
    return nlm_jinja_none();
}

METHOD(list_extend) {
    const nlm_jinja_sequence *items = nlm_jinja_iterate(run, call->a[0]);
    const size_t count = items->count;
    for (size_t i = 0; i < count && !nlm_jinja_has_failed(run); i++) nlm_jinja_push(run, call->self, items->items[i]);
    return nlm_jinja_none();
}

/* An index as insert takes it: what is beyond the ends is at them. */
METHOD(list_insert) {
    nlm_jinja_sequence *list = call->self.sequence;
    int64_t at = nlm_jinja_need_int(run, call->a[0], "insert's index");
    const int64_t count = (int64_t)list->count;
    if (at < 0) at = at < -count ? 0 : at + count;
    if (at > count) at = count;
    nlm_jinja_push(run, call->self, call->a[1]);
    if (nlm_jinja_has_failed(run) || !nlm_jinja_spend(run, (uint64_t)(count - at))) return nlm_jinja_none();
    memmove(&list->items[at + 1], &list->items[at], (size_t)(count - at) * sizeof *list->items);
    list->items[at] = call->a[1];
    return nlm_jinja_none();
}

static void remove_at(nlm_jinja_run *run, nlm_jinja_sequence *list, size_t at) {
    list->count--;
    nlm_jinja_spend(run, list->count - at);
    memmove(&list->items[at], &list->items[at + 1], (list->count - at) * sizeof *list->items);
}

METHOD(list_pop) {
    nlm_jinja_sequence *list = call->self.sequence;
    const int64_t count = (int64_t)list->count;
    int64_t at = call->a[0].type == NLM_JINJA_ABSENT ? -1 : nlm_jinja_need_int(run, call->a[0], "pop's index");
    if (at < 0 && at >= -count) at += count;
    if (at < 0 || at >= count) return nlm_jinja_fail(run, "pop index out of range");
    const nlm_jinja_value value = list->items[at];
    remove_at(run, list, (size_t)at);
    return value;
}

static size_t find_item(nlm_jinja_run *run, const nlm_jinja_sequence *list, nlm_jinja_value item) {
    size_t at = 0;
    while (at < list->count && !nlm_jinja_equal(run, list->items[at], item)) at++;
    if (at == list->count) nlm_jinja_fail(run, "the value is not in the list");
    return at;
}

METHOD(list_remove) {
    const size_t at = find_item(run, call->self.sequence, call->a[0]);
    if (!nlm_jinja_has_failed(run)) remove_at(run, call->self.sequence, at);
    return nlm_jinja_none();
}

METHOD(list_index) {
    return nlm_jinja_int((int64_t)find_item(run, call->self.sequence, call->a[0]));
}

METHOD(list_count) {
    int64_t count = 0;
    for (size_t i = 0; i < call->self.sequence->count; i++) {
        count += nlm_jinja_equal(run, call->self.sequence->items[i], call->a[0]);
    }
    return nlm_jinja_int(count);
}

METHOD(list_reverse) {
    nlm_jinja_sequence *list = call->self.sequence;
    if (!nlm_jinja_spend(run, list->count)) return nlm_jinja_none();
    for (size_t i = 0; i < list->count / 2; i++) {
        const nlm_jinja_value swapped = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = swapped;
    }
    return nlm_jinja_none();
}

METHOD(list_copy) {
    const nlm_jinja_value made = nlm_jinja_sequence_new(run, NLM_JINJA_LIST);
    for (size_t i = 0; i < call->self.sequence->count; i++) nlm_jinja_push(run, made, call->self.sequence->items[i]);
    return made;
}

METHOD(list_clear) {
    (void)run;
    call->self.sequence->count = 0;
    return nlm_jinja_none();
}

/* The first two are a tuple's too. */
static const nlm_jinja_entry list_methods[] = {
    {"index", list_index, 1, {"value"}},
    {"count", list_count, 1, {"value"}},
    {"append", list_append, 1, {"object"}},
    {"extend", list_extend, 1, {"iterable"}},
    {"insert", list_insert, 2, {"index", "object"}},
    {"pop", list_pop, 0, {"index"}},
    {"remove", list_remove, 1, {"value"}},
    {"reverse", list_reverse, 0, {NULL}},
    {"copy", list_copy, 0, {NULL}},
    {"clear", list_clear, 0, {NULL}},
};
#define TUPLE_METHODS 2

/* ---- loops -------------------------------------------------------------------------------- */

METHOD(loop_cycle) {
    if (call->all->count == 0) return nlm_jinja_fail(run, "no items for cycling given");
    return call->all->items[call->self.loop->at % call->all->count];
}

/* Whether the values are others than at the last call. */
METHOD(loop_changed) {
    const nlm_jinja_value now = nlm_jinja_sequence_new(run, NLM_JINJA_TUPLE);
    for (size_t i = 0; i < call->all->count; i++) nlm_jinja_push(run, now, call->all->items[i]);
    const bool is_same = nlm_jinja_equal(run, now, call->self.loop->last_changed);
    call->self.loop->last_changed = now;
    return nlm_jinja_bool(!is_same);
}

static const nlm_jinja_entry loop_methods[] = {
    {"cycle", loop_cycle, 0, {"*"}},
    {"changed", loop_changed, 0, {"*"}},
};

/* ---- all of them -------------------------------------------------------------------------- */

static const nlm_jinja_entry *find(const nlm_jinja_entry *table, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(table[i].name, name) == 0) return &table[i];
    }
    return NULL;
}

const nlm_jinja_entry *nlm_jinja_find_method(nlm_jinja_value self, const char *name) {
    switch (self.type) {
        case NLM_JINJA_STRING: return find(nlm_jinja_string_methods, nlm_jinja_string_method_count, name);
        case NLM_JINJA_DICT: return find(dict_methods, sizeof dict_methods / sizeof *dict_methods, name);
        case NLM_JINJA_LOOP: return find(loop_methods, sizeof loop_methods / sizeof *loop_methods, name);
        case NLM_JINJA_SEQUENCE:
            if (self.sequence->kind == NLM_JINJA_TUPLE) return find(list_methods, TUPLE_METHODS, name);
            if (self.sequence->kind != NLM_JINJA_LIST) return NULL;
            return find(list_methods, sizeof list_methods / sizeof *list_methods, name);
        default: return NULL;
    }
}
