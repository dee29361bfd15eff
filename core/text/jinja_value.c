/* Values of chat templates, as Python compares, orders and walks them. */
#include <string.h>

#include "text/jinja_run.h"
#include "text/utf8.h"

nlm_jinja_value nlm_jinja_undefined(const char *why) {
    return (nlm_jinja_value){.type = NLM_JINJA_UNDEFINED, .why = why};
}

const char *nlm_jinja_type_name(nlm_jinja_value value) {
    static const char *const kinds[] = {[NLM_JINJA_LIST] = "list",
                                        [NLM_JINJA_TUPLE] = "tuple",
                                        [NLM_JINJA_RANGE] = "range",
                                        [NLM_JINJA_VIEW] = "dict_items",
                                        [NLM_JINJA_GENERATOR] = "generator"};
    static const char *const names[] = {
        [NLM_JINJA_ABSENT] = "NoneType",   [NLM_JINJA_UNDEFINED] = "Undefined",
        [NLM_JINJA_NONE] = "NoneType",     [NLM_JINJA_BOOL] = "bool",
        [NLM_JINJA_INT] = "int",           [NLM_JINJA_FLOAT] = "float",
        [NLM_JINJA_STRING] = "str",        [NLM_JINJA_SEQUENCE] = "list",
        [NLM_JINJA_DICT] = "dict",         [NLM_JINJA_NAMESPACE] = "Namespace",
        [NLM_JINJA_FUNCTION] = "function", [NLM_JINJA_LOOP] = "LoopContext",
    };
    return value.type == NLM_JINJA_SEQUENCE ? kinds[value.sequence->kind] : names[value.type];
}

bool nlm_jinja_is_number(nlm_jinja_value value) {
    return value.type == NLM_JINJA_BOOL || value.type == NLM_JINJA_INT || value.type == NLM_JINJA_FLOAT;
}

double nlm_jinja_number(nlm_jinja_value value) {
    if (value.type == NLM_JINJA_FLOAT) return value.number;
    return value.type == NLM_JINJA_BOOL ? value.boolean : (double)value.integer;
}

bool nlm_jinja_as_int(nlm_jinja_value value, int64_t *out) {
    if (value.type != NLM_JINJA_INT && value.type != NLM_JINJA_BOOL) return false;
    *out = value.type == NLM_JINJA_INT ? value.integer : value.boolean;
    return true;
}

bool nlm_jinja_is_named(nlm_jinja_value value, const char *text) {
    return value.type == NLM_JINJA_STRING && value.string->length == strlen(text) &&
           memcmp(value.string->data, text, value.string->length) == 0;
}

bool nlm_jinja_truth(nlm_jinja_run *run, nlm_jinja_value value) {
    (void)run;
    switch (value.type) {
        case NLM_JINJA_ABSENT:
        case NLM_JINJA_UNDEFINED:
        case NLM_JINJA_NONE: return false;
        case NLM_JINJA_BOOL: return value.boolean;
        case NLM_JINJA_INT: return value.integer != 0;
        case NLM_JINJA_FLOAT: return value.number != 0;
        case NLM_JINJA_STRING: return value.string->length > 0;
        case NLM_JINJA_SEQUENCE: return value.sequence->count > 0 || value.sequence->kind == NLM_JINJA_GENERATOR;
        case NLM_JINJA_DICT: return value.dict->count > 0;
        default: return true;
    }
}

/* ---- comparing ---------------------------------------------------------------------------- */

static int order(double a, double b) {
    return a < b ? -1 : a > b;
}

static int order_numbers(nlm_jinja_value a, nlm_jinja_value b) {
    int64_t x, y;
    if (nlm_jinja_as_int(a, &x) && nlm_jinja_as_int(b, &y)) return x < y ? -1 : x > y;
    return order(nlm_jinja_number(a), nlm_jinja_number(b));
}

/* Valid UTF-8 is ordered as its characters are. */
static int order_strings(nlm_jinja_run *run, const nlm_jinja_string *a, const nlm_jinja_string *b) {
    const size_t shared = a->length < b->length ? a->length : b->length;
    nlm_jinja_spend(run, shared / 32);
    const int by_bytes = shared ? memcmp(a->data, b->data, shared) : 0;
    return by_bytes ? by_bytes : order((double)a->length, (double)b->length);
}

static bool equal_sequences(nlm_jinja_run *run, const nlm_jinja_sequence *a, const nlm_jinja_sequence *b) {
    if (a == b) return true;
    if (a->kind != b->kind || a->count != b->count || a->kind == NLM_JINJA_GENERATOR) return false;
    for (size_t i = 0; i < a->count; i++) {
        if (!nlm_jinja_equal(run, a->items[i], b->items[i])) return false;
    }
    return true;
}

static bool equal_dicts(nlm_jinja_run *run, const nlm_jinja_dict *a, const nlm_jinja_dict *b) {
    if (a == b) return true;
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++) {
        const nlm_jinja_value *other = nlm_jinja_find_key(run, b, a->pairs[i].key);
        if (!other || !nlm_jinja_equal(run, a->pairs[i].value, *other)) return false;
    }
    return true;
}

static bool equal_inside(nlm_jinja_run *run, nlm_jinja_value a, nlm_jinja_value b) {
    if (nlm_jinja_is_number(a) && nlm_jinja_is_number(b)) {
        int64_t x, y;
        if (nlm_jinja_as_int(a, &x) && nlm_jinja_as_int(b, &y)) return x == y;
        return nlm_jinja_number(a) == nlm_jinja_number(b);
    }
    if (a.type != b.type) return false;
    switch (a.type) {
        case NLM_JINJA_STRING:
            return a.string->length == b.string->length && order_strings(run, a.string, b.string) == 0;
        case NLM_JINJA_SEQUENCE: return equal_sequences(run, a.sequence, b.sequence);
        case NLM_JINJA_DICT: return equal_dicts(run, a.dict, b.dict);
        case NLM_JINJA_NAMESPACE: return a.dict == b.dict;
        case NLM_JINJA_FUNCTION: return a.function == b.function;
        case NLM_JINJA_LOOP: return a.loop == b.loop;
        default: return true; /* none, undefined */
    }
}

bool nlm_jinja_equal(nlm_jinja_run *run, nlm_jinja_value a, nlm_jinja_value b) {
    if (!nlm_jinja_enter(run)) return false;
    const bool is_equal = equal_inside(run, a, b);
    nlm_jinja_exit(run);
    return is_equal;
}

static bool are_ordered_sequences(nlm_jinja_value a, nlm_jinja_value b) {
    return a.type == NLM_JINJA_SEQUENCE && b.type == NLM_JINJA_SEQUENCE && a.sequence->kind == b.sequence->kind &&
           a.sequence->kind <= NLM_JINJA_TUPLE;
}

static int compare_sequences(nlm_jinja_run *run, const nlm_jinja_sequence *a, const nlm_jinja_sequence *b,
                             const char *op) {
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        if (!nlm_jinja_equal(run, a->items[i], b->items[i])) {
            return nlm_jinja_has_failed(run) ? 0 : nlm_jinja_compare(run, a->items[i], b->items[i], op);
        }
    }
    return order((double)a->count, (double)b->count);
}

int nlm_jinja_compare(nlm_jinja_run *run, nlm_jinja_value a, nlm_jinja_value b, const char *op) {
    int result = 0;
    if (!nlm_jinja_enter(run)) return 0;
    if (nlm_jinja_is_number(a) && nlm_jinja_is_number(b)) {
        result = order_numbers(a, b);
    } else if (a.type == NLM_JINJA_STRING && b.type == NLM_JINJA_STRING) {
        result = order_strings(run, a.string, b.string);
    } else if (are_ordered_sequences(a, b)) {
        result = compare_sequences(run, a.sequence, b.sequence, op);
    } else if (a.type == NLM_JINJA_UNDEFINED || b.type == NLM_JINJA_UNDEFINED) {
        const char *why = a.type == NLM_JINJA_UNDEFINED ? a.why : b.why;
        nlm_jinja_fail(run, "%s", why ? why : "a value is undefined");
    } else {
        nlm_jinja_fail(run, "'%s' not supported between instances of '%s' and '%s'", op, nlm_jinja_type_name(a),
                       nlm_jinja_type_name(b));
    }
    nlm_jinja_exit(run);
    return result;
}

bool nlm_jinja_contains(nlm_jinja_run *run, nlm_jinja_value container, nlm_jinja_value item) {
    if (container.type == NLM_JINJA_STRING) {
        if (item.type != NLM_JINJA_STRING) {
            nlm_jinja_fail(run, "'in <string>' requires string as left operand, not %s", nlm_jinja_type_name(item));
            return false;
        }
        nlm_jinja_spend(run, container.string->length / 32);
        return nlm_jinja_find(container.string, 0, container.string->length, item.string, false) != SIZE_MAX;
    }
    if (container.type == NLM_JINJA_DICT) return nlm_jinja_find_key(run, container.dict, item) != NULL;
    if (container.type == NLM_JINJA_UNDEFINED) return false;
    if (container.type != NLM_JINJA_SEQUENCE) {
        nlm_jinja_fail(run, "argument of type '%s' is not iterable", nlm_jinja_type_name(container));
        return false;
    }
    for (size_t i = 0; i < container.sequence->count; i++) {
        if (nlm_jinja_equal(run, container.sequence->items[i], item)) return true;
    }
    return false;
}

/* ---- walking ------------------------------------------------------------------------------ */

static const nlm_jinja_sequence no_items = {.kind = NLM_JINJA_GENERATOR};

static const nlm_jinja_sequence *characters(nlm_jinja_run *run, const nlm_jinja_string *string) {
    const nlm_jinja_value list = nlm_jinja_sequence_new(run, NLM_JINJA_LIST);
    size_t bytes;
    for (size_t at = 0; at < string->length && !nlm_jinja_has_failed(run); at += bytes) {
        nlm_utf8_next(string->data + at, string->length - at, &bytes);
        nlm_jinja_push(run, list, nlm_jinja_part(run, string, at, at + bytes));
    }
    return list.type == NLM_JINJA_SEQUENCE ? list.sequence : &no_items;
}

static const nlm_jinja_sequence *keys(nlm_jinja_run *run, const nlm_jinja_dict *dict) {
    const nlm_jinja_value list = nlm_jinja_sequence_new(run, NLM_JINJA_LIST);
    for (size_t i = 0; i < dict->count && !nlm_jinja_has_failed(run); i++) {
        nlm_jinja_push(run, list, dict->pairs[i].key);
    }
    return list.type == NLM_JINJA_SEQUENCE ? list.sequence : &no_items;
}

const nlm_jinja_sequence *nlm_jinja_iterate(nlm_jinja_run *run, nlm_jinja_value value) {
    switch (value.type) {
        case NLM_JINJA_SEQUENCE: return value.sequence;
        case NLM_JINJA_STRING: return characters(run, value.string);
        case NLM_JINJA_DICT: return keys(run, value.dict);
        case NLM_JINJA_UNDEFINED: return &no_items;
        default: nlm_jinja_fail(run, "'%s' object is not iterable", nlm_jinja_type_name(value)); return &no_items;
    }
}

size_t nlm_jinja_length(nlm_jinja_run *run, nlm_jinja_value value) {
    switch (value.type) {
        case NLM_JINJA_SEQUENCE:
            if (value.sequence->kind == NLM_JINJA_GENERATOR) break;
            return value.sequence->count;
        case NLM_JINJA_STRING:
            nlm_jinja_spend(run, value.string->length / 32);
            return nlm_jinja_count_characters(value.string->data, value.string->length);
        case NLM_JINJA_DICT: return value.dict->count;
        case NLM_JINJA_UNDEFINED: return 0;
        default: break;
    }
    nlm_jinja_fail(run, "object of type '%s' has no len()", nlm_jinja_type_name(value));
    return 0;
}

const nlm_jinja_string *nlm_jinja_need_string(nlm_jinja_run *run, nlm_jinja_value value, const char *what) {
    static const nlm_jinja_string empty = {.data = ""};
    if (value.type == NLM_JINJA_STRING) return value.string;
    nlm_jinja_fail(run, "%s must be str, not %s", what, nlm_jinja_type_name(value));
    return &empty;
}

int64_t nlm_jinja_need_int(nlm_jinja_run *run, nlm_jinja_value value, const char *what) {
    int64_t number = 0;
    if (!nlm_jinja_as_int(value, &number)) {
        nlm_jinja_fail(run, "%s must be int, not %s", what, nlm_jinja_type_name(value));
    }
    return number;
}

/* ---- sequences ---------------------------------------------------------------------------- */

nlm_jinja_value nlm_jinja_sequence_new(nlm_jinja_run *run, nlm_jinja_kind kind) {
    nlm_jinja_sequence *sequence = nlm_jinja_alloc(run, 1, sizeof *sequence);
    if (!sequence) return nlm_jinja_undefined(NULL);
    sequence->kind = kind;
    return (nlm_jinja_value){.type = NLM_JINJA_SEQUENCE, .sequence = sequence};
}

void nlm_jinja_push(nlm_jinja_run *run, nlm_jinja_value sequence, nlm_jinja_value item) {
    if (sequence.type != NLM_JINJA_SEQUENCE || !nlm_jinja_spend(run, 1)) return;
    nlm_jinja_sequence *s = sequence.sequence;
    if (s->count == s->capacity) {
        const size_t capacity = s->capacity ? s->capacity * 2 : 4;
        nlm_jinja_value *items = nlm_jinja_alloc(run, capacity, sizeof *items);
        if (!items) return;
        if (s->count) memcpy(items, s->items, s->count * sizeof *items);
        s->items = items;
        s->capacity = capacity;
    }
    s->items[s->count++] = item;
}

nlm_jinja_value nlm_jinja_tuple(nlm_jinja_run *run, nlm_jinja_value a, nlm_jinja_value b) {
    const nlm_jinja_value tuple = nlm_jinja_sequence_new(run, NLM_JINJA_TUPLE);
    nlm_jinja_push(run, tuple, a);
    nlm_jinja_push(run, tuple, b);
    return tuple;
}
