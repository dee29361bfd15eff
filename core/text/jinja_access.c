/* Attributes, items and slices of values of chat templates. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "text/jinja_run.h"
#include "text/utf8.h"

/* As Jinja names what lacks something. */
static void name_of(nlm_jinja_value value, char *out, size_t capacity) {
    if (value.type == NLM_JINJA_NONE) {
        snprintf(out, capacity, "None");
    } else {
        snprintf(out, capacity, "%s object", nlm_jinja_type_name(value));
    }
}

static nlm_jinja_value fail_undefined(nlm_jinja_run *run, nlm_jinja_value value) {
    return nlm_jinja_fail(run, "%s", value.why ? value.why : "a value is undefined");
}

/* ---- loop --------------------------------------------------------------------------------- */

static nlm_jinja_value item_or_undefined(nlm_jinja_run *run, const nlm_jinja_loop *loop, size_t at, const char *why) {
    (void)run;
    return at < loop->items->count ? loop->items->items[at] : nlm_jinja_undefined(why);
}

static nlm_jinja_value loop_attribute(nlm_jinja_run *run, nlm_jinja_value value, const char *name) {
    const nlm_jinja_loop *loop = value.loop;
    const int64_t at = (int64_t)loop->at, count = (int64_t)loop->items->count, depth = loop->depth;
    const struct {
        const char *name;
        nlm_jinja_value value;
    } attributes[] = {
        {"index", nlm_jinja_int(at + 1)},
        {"index0", nlm_jinja_int(at)},
        {"revindex", nlm_jinja_int(count - at)},
        {"revindex0", nlm_jinja_int(count - at - 1)},
        {"first", nlm_jinja_bool(at == 0)},
        {"last", nlm_jinja_bool(at + 1 == count)},
        {"length", nlm_jinja_int(count)},
        {"depth", nlm_jinja_int(depth + 1)},
        {"depth0", nlm_jinja_int(depth)},
        {"previtem", item_or_undefined(run, loop, loop->at ? loop->at - 1 : SIZE_MAX, "there is no previous item")},
        {"nextitem", item_or_undefined(run, loop, loop->at + 1, "there is no next item")},
    };
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++) {
        if (strcmp(attributes[i].name, name) == 0) return attributes[i].value;
    }
    return nlm_jinja_undefined(NULL);
}

/* ---- attributes and items ----------------------------------------------------------------- */

static nlm_jinja_value method_of(nlm_jinja_run *run, nlm_jinja_value value, const char *name) {
    const nlm_jinja_entry *entry = nlm_jinja_find_method(value, name);
    if (!entry) return (nlm_jinja_value){0};
    return nlm_jinja_function_new(run, (nlm_jinja_function){.name = entry->name, .entry = entry, .self = value});
}

static nlm_jinja_value macro_attribute(nlm_jinja_run *run, nlm_jinja_value value, const char *name) {
    if (strcmp(name, "name") == 0) return nlm_jinja_string_static(run, value.function->name, NLM_JINJA_TEMPLATE);
    return (nlm_jinja_value){0};
}

nlm_jinja_value nlm_jinja_attribute(nlm_jinja_run *run, nlm_jinja_value value, const char *name) {
    char owner[40];
    if (value.type == NLM_JINJA_UNDEFINED) return fail_undefined(run, value);
    nlm_jinja_value found = method_of(run, value, name);
    if (found.type != NLM_JINJA_ABSENT) return found;
    if (value.type == NLM_JINJA_DICT || value.type == NLM_JINJA_NAMESPACE) {
        const nlm_jinja_value *item = nlm_jinja_find_name(run, value.dict, name);
        if (item) return *item;
    }
    if (value.type == NLM_JINJA_LOOP) found = loop_attribute(run, value, name);
    if (value.type == NLM_JINJA_FUNCTION) found = macro_attribute(run, value, name);
    if (found.type != NLM_JINJA_ABSENT) return found;
    name_of(value, owner, sizeof owner);
    return nlm_jinja_missing(run, "'%s' has no attribute '%s'", owner, name);
}

static nlm_jinja_value character(nlm_jinja_run *run, const nlm_jinja_string *string, int64_t index) {
    if (index < 0) index += (int64_t)nlm_jinja_count_characters(string->data, string->length);
    size_t from = 0, bytes = 0;
    if (index >= 0) from = nlm_jinja_byte_of(string, (size_t)index);
    if (index < 0 || from >= string->length)
        return nlm_jinja_missing(run, "str object has no element %" PRId64, index);
    nlm_utf8_next(string->data + from, string->length - from, &bytes);
    return nlm_jinja_part(run, string, from, from + bytes);
}

nlm_jinja_value nlm_jinja_item(nlm_jinja_run *run, nlm_jinja_value value, nlm_jinja_value index) {
    int64_t at;
    char owner[40];
    name_of(value, owner, sizeof owner);
    if (value.type == NLM_JINJA_UNDEFINED) return fail_undefined(run, value);
    if (value.type == NLM_JINJA_DICT) {
        const nlm_jinja_value *item = nlm_jinja_find_key(run, value.dict, index);
        if (item) return *item;
    }
    if (value.type == NLM_JINJA_STRING && nlm_jinja_as_int(index, &at)) return character(run, value.string, at);
    if (value.type == NLM_JINJA_SEQUENCE && value.sequence->kind <= NLM_JINJA_RANGE && nlm_jinja_as_int(index, &at)) {
        const int64_t count = (int64_t)value.sequence->count, from_start = at < 0 ? at + count : at;
        if (from_start >= 0 && from_start < count) return value.sequence->items[from_start];
        return nlm_jinja_missing(run, "%s has no element %" PRId64, owner, at);
    }
    if (index.type == NLM_JINJA_STRING && !memchr(index.string->data, 0, index.string->length)) {
        char name[80];
        snprintf(name, sizeof name, "%.*s", (int)(index.string->length < 79 ? index.string->length : 79),
                 index.string->data);
        return nlm_jinja_attribute(run, value, name);
    }
    return nlm_jinja_missing(run, "%s has no such element", owner);
}

nlm_jinja_value nlm_jinja_path(nlm_jinja_run *run, nlm_jinja_value value, nlm_jinja_value path) {
    int64_t index;
    if (nlm_jinja_as_int(path, &index)) return nlm_jinja_item(run, value, path);
    const nlm_jinja_string *text = nlm_jinja_need_string(run, path, "an attribute");
    for (size_t from = 0, to; from <= text->length && !nlm_jinja_has_failed(run); from = to + 1) {
        bool is_number = true;
        for (to = from; to < text->length && text->data[to] != '.'; to++) {
            is_number = is_number && text->data[to] >= '0' && text->data[to] <= '9';
        }
        index = 0;
        for (size_t i = from; is_number && i < to && index < INT32_MAX; i++) index = index * 10 + text->data[i] - '0';
        const nlm_jinja_value step =
            is_number && to > from ? nlm_jinja_int(index) : nlm_jinja_part(run, text, from, to);
        value = nlm_jinja_item(run, value, step);
    }
    return value;
}

/* ---- slices ------------------------------------------------------------------------------- */

typedef struct range {
    int64_t start, stop, step;
} range;

static int64_t bound(nlm_jinja_run *run, nlm_jinja_value value, int64_t otherwise, int64_t count, int64_t least,
                     int64_t most) {
    if (value.type == NLM_JINJA_ABSENT) return otherwise;
    int64_t at = nlm_jinja_need_int(run, value, "a bound of a slice");
    if (at < 0) at = at < -count ? least : at + count;
    return at < least ? least : at > most ? most : at;
}

static range range_of(nlm_jinja_run *run, const nlm_jinja_value bounds[3], int64_t count) {
    range r = {.step = 1};
    if (bounds[2].type != NLM_JINJA_ABSENT) r.step = nlm_jinja_need_int(run, bounds[2], "the step of a slice");
    if (r.step == 0) nlm_jinja_fail(run, "slice step cannot be zero");
    if (r.step == INT64_MIN) r.step++;
    if (r.step > 0) {
        r.start = bound(run, bounds[0], 0, count, 0, count);
        r.stop = bound(run, bounds[1], count, count, 0, count);
    } else {
        r.start = bound(run, bounds[0], count - 1, count, -1, count - 1);
        r.stop = bound(run, bounds[1], -1, count, -1, count - 1);
    }
    return r;
}

static bool is_inside(const range *r, int64_t at) {
    return r->step > 0 ? at < r->stop : at > r->stop;
}

/* Whether the next place fits, which then is in *at. */
static bool advance(const range *r, int64_t *at) {
    return !__builtin_add_overflow(*at, r->step, at) && is_inside(r, *at);
}

static nlm_jinja_value slice_string(nlm_jinja_run *run, const nlm_jinja_string *string,
                                    const nlm_jinja_value bounds[3]) {
    const size_t count = nlm_jinja_count_characters(string->data, string->length);
    if (!nlm_jinja_spend(run, string->length / 32)) return nlm_jinja_undefined(NULL);
    const range r = range_of(run, bounds, (int64_t)count);
    if (nlm_jinja_has_failed(run) || !is_inside(&r, r.start)) return nlm_jinja_part(run, string, 0, 0);
    if (r.step == 1) {
        return nlm_jinja_part(run, string, nlm_jinja_byte_of(string, (size_t)r.start),
                              nlm_jinja_byte_of(string, (size_t)r.stop));
    }
    const nlm_jinja_sequence *all =
        nlm_jinja_iterate(run, (nlm_jinja_value){.type = NLM_JINJA_STRING, .string = string});
    nlm_jinja_text text = {0};
    int64_t at = r.start;
    do {
        if (nlm_jinja_has_failed(run) || (size_t)at >= all->count) break;
        nlm_jinja_add_string(run, &text, all->items[at].string);
    } while (advance(&r, &at));
    return nlm_jinja_finish(run, &text);
}

nlm_jinja_value nlm_jinja_slice(nlm_jinja_run *run, nlm_jinja_value value, const nlm_jinja_value bounds[3]) {
    if (value.type == NLM_JINJA_UNDEFINED) return fail_undefined(run, value);
    if (value.type == NLM_JINJA_STRING) return slice_string(run, value.string, bounds);
    if (value.type != NLM_JINJA_SEQUENCE || value.sequence->kind > NLM_JINJA_RANGE) {
        return nlm_jinja_missing(run, "%s object has no slices", nlm_jinja_type_name(value));
    }
    const nlm_jinja_sequence *s = value.sequence;
    const range r = range_of(run, bounds, (int64_t)s->count);
    const nlm_jinja_value made = nlm_jinja_sequence_new(run, s->kind);
    if (nlm_jinja_has_failed(run) || !is_inside(&r, r.start)) return made;
    int64_t at = r.start;
    do {
        nlm_jinja_push(run, made, s->items[at]);
    } while (!nlm_jinja_has_failed(run) && advance(&r, &at));
    return made;
}
