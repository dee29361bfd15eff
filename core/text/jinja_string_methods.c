/* Methods of strings in chat templates. */
#include <string.h>
#include <utf8proc.h>

#include "text/jinja_run.h"
#include "text/utf8.h"

#define METHOD(name) static nlm_jinja_value name(nlm_jinja_run *run, nlm_jinja_call *call)

static bool is_given(nlm_jinja_value value) {
    return value.type != NLM_JINJA_ABSENT && value.type != NLM_JINJA_NONE;
}

static nlm_jinja_value part(nlm_jinja_run *run, const nlm_jinja_call *call, size_t from, size_t to) {
    return nlm_jinja_part(run, call->self.string, from, to);
}

/* ---- cutting ------------------------------------------------------------------------------ */

static nlm_jinja_value strip(nlm_jinja_run *run, nlm_jinja_call *call, bool at_start, bool at_end) {
    const nlm_jinja_string *set = is_given(call->a[0]) ? nlm_jinja_need_string(run, call->a[0], "strip arg") : NULL;
    return nlm_jinja_strip(run, call->self.string, set, at_start, at_end);
}
METHOD(strip_both) {
    return strip(run, call, true, true);
}
METHOD(strip_left) {
    return strip(run, call, true, false);
}
METHOD(strip_right) {
    return strip(run, call, false, true);
}

static bool is_blank_at(const nlm_jinja_string *string, size_t at, size_t *bytes) {
    return nlm_jinja_is_blank(nlm_utf8_next(string->data + at, string->length - at, bytes));
}

/* At blanks, of which none remain but those of the last piece, when it holds what is beyond `most`. */
static nlm_jinja_value split_blanks(nlm_jinja_run *run, const nlm_jinja_string *string, int64_t most) {
    const nlm_jinja_value made = nlm_jinja_sequence_new(run, NLM_JINJA_LIST);
    size_t at = 0, bytes, end;
    while (!nlm_jinja_has_failed(run)) {
        while (at < string->length && is_blank_at(string, at, &bytes)) at += bytes;
        if (at == string->length) break;
        end = most == 0 ? string->length : at;
        while (end < string->length && !is_blank_at(string, end, &bytes)) end += bytes;
        nlm_jinja_push(run, made, nlm_jinja_part(run, string, at, end));
        if (most-- == 0) break;
        at = end;
    }
    return made;
}

static nlm_jinja_value split_at(nlm_jinja_run *run, const nlm_jinja_string *string, const nlm_jinja_string *separator,
                                int64_t most) {
    const nlm_jinja_value made = nlm_jinja_sequence_new(run, NLM_JINJA_LIST);
    size_t at = 0;
    while (most-- != 0 && !nlm_jinja_has_failed(run)) {
        const size_t found = nlm_jinja_find(string, at, string->length, separator, false);
        if (found == SIZE_MAX) break;
        nlm_jinja_push(run, made, nlm_jinja_part(run, string, at, found));
        at = found + separator->length;
    }
    nlm_jinja_push(run, made, nlm_jinja_part(run, string, at, string->length));
    return made;
}

static void reverse(nlm_jinja_value list) {
    if (list.type != NLM_JINJA_SEQUENCE) return;
    nlm_jinja_sequence *s = list.sequence;
    for (size_t i = 0; i < s->count / 2; i++) {
        const nlm_jinja_value swapped = s->items[i];
        s->items[i] = s->items[s->count - 1 - i];
        s->items[s->count - 1 - i] = swapped;
    }
}

static nlm_jinja_value split_at_from_right(nlm_jinja_run *run, const nlm_jinja_string *string,
                                           const nlm_jinja_string *separator, int64_t most) {
    const nlm_jinja_value made = nlm_jinja_sequence_new(run, NLM_JINJA_LIST);
    size_t end = string->length;
    while (most-- != 0 && nlm_jinja_spend(run, string->length / 32)) {
        const size_t found = nlm_jinja_find(string, 0, end, separator, true);
        if (found == SIZE_MAX) break;
        nlm_jinja_push(run, made, nlm_jinja_part(run, string, found + separator->length, end));
        end = found;
    }
    nlm_jinja_push(run, made, nlm_jinja_part(run, string, 0, end));
    reverse(made);
    return made;
}

/* From the right only the number of pieces matters: those that are too many at the left stay one. */
static nlm_jinja_value split_blanks_from_right(nlm_jinja_run *run, const nlm_jinja_string *string, int64_t most) {
    const nlm_jinja_value all = split_blanks(run, string, -1);
    if (most < 0 || all.type != NLM_JINJA_SEQUENCE || (int64_t)all.sequence->count <= most + 1) return all;
    const nlm_jinja_value made = nlm_jinja_sequence_new(run, NLM_JINJA_LIST);
    const size_t first = all.sequence->count - (size_t)most;
    const nlm_jinja_string *end = all.sequence->items[first - 1].string;
    nlm_jinja_push(run, made, nlm_jinja_part(run, string, 0, (size_t)(end->data + end->length - string->data)));
    for (size_t i = first; i < all.sequence->count; i++) nlm_jinja_push(run, made, all.sequence->items[i]);
    return made;
}

static nlm_jinja_value split(nlm_jinja_run *run, nlm_jinja_call *call, bool is_from_right) {
    const int64_t most = call->a[1].type == NLM_JINJA_ABSENT ? -1 : nlm_jinja_need_int(run, call->a[1], "maxsplit");
    if (!is_given(call->a[0])) {
        return (is_from_right ? split_blanks_from_right : split_blanks)(run, call->self.string, most);
    }
    const nlm_jinja_string *separator = nlm_jinja_need_string(run, call->a[0], "a separator");
    if (nlm_jinja_has_failed(run)) return nlm_jinja_undefined(NULL);
    if (separator->length == 0) return nlm_jinja_fail(run, "empty separator");
    return (is_from_right ? split_at_from_right : split_at)(run, call->self.string, separator, most);
}
METHOD(split_left) {
    return split(run, call, false);
}
METHOD(split_right) {
    return split(run, call, true);
}

METHOD(split_lines) {
    return nlm_jinja_split_lines(run, call->self.string, nlm_jinja_truth(run, call->a[0]));
}

static nlm_jinja_value partition(nlm_jinja_run *run, nlm_jinja_call *call, bool is_last) {
    const nlm_jinja_string *string = call->self.string;
    const nlm_jinja_string *separator = nlm_jinja_need_string(run, call->a[0], "a separator");
    if (separator->length == 0) return nlm_jinja_fail(run, "empty separator");
    const size_t found = nlm_jinja_find(string, 0, string->length, separator, is_last);
    const size_t none = is_last ? 0 : string->length;
    const size_t from = found == SIZE_MAX ? none : found, to = found == SIZE_MAX ? none : found + separator->length;
    const nlm_jinja_value made = nlm_jinja_sequence_new(run, NLM_JINJA_TUPLE);
    nlm_jinja_push(run, made, part(run, call, 0, from));
    nlm_jinja_push(run, made, part(run, call, from, to));
    nlm_jinja_push(run, made, part(run, call, to, string->length));
    return made;
}
METHOD(partition_left) {
    return partition(run, call, false);
}
METHOD(partition_right) {
    return partition(run, call, true);
}

/* ---- looking ------------------------------------------------------------------------------ */

static bool begins(const nlm_jinja_string *string, const nlm_jinja_string *with) {
    return with->length <= string->length && memcmp(string->data, with->data, with->length) == 0;
}

static bool ends(const nlm_jinja_string *string, const nlm_jinja_string *with) {
    return with->length <= string->length &&
           memcmp(string->data + string->length - with->length, with->data, with->length) == 0;
}

/* One text, or any of a tuple of them. */
static nlm_jinja_value is_one_of(nlm_jinja_run *run, nlm_jinja_call *call,
                                 bool (*fits)(const nlm_jinja_string *string, const nlm_jinja_string *with)) {
    const nlm_jinja_value wanted = call->a[0];
    if (wanted.type != NLM_JINJA_SEQUENCE || wanted.sequence->kind != NLM_JINJA_TUPLE) {
        return nlm_jinja_bool(
            fits(call->self.string, nlm_jinja_need_string(run, wanted, "what a text begins or ends with")));
    }
    for (size_t i = 0; i < wanted.sequence->count && nlm_jinja_spend(run, 1); i++) {
        if (fits(call->self.string, nlm_jinja_need_string(run, wanted.sequence->items[i], "a prefix or suffix"))) {
            return nlm_jinja_bool(true);
        }
    }
    return nlm_jinja_bool(false);
}
METHOD(begins_with) {
    return is_one_of(run, call, begins);
}
METHOD(ends_with) {
    return is_one_of(run, call, ends);
}

METHOD(remove_prefix) {
    const nlm_jinja_string *string = call->self.string, *prefix = nlm_jinja_need_string(run, call->a[0], "a prefix");
    return part(run, call, begins(string, prefix) ? prefix->length : 0, string->length);
}
METHOD(remove_suffix) {
    const nlm_jinja_string *string = call->self.string, *suffix = nlm_jinja_need_string(run, call->a[0], "a suffix");
    return part(run, call, 0, string->length - (ends(string, suffix) ? suffix->length : 0));
}

/* The bytes from and to which a search goes, of characters that count from the end if they are negative. */
static size_t bound(nlm_jinja_run *run, const nlm_jinja_string *string, nlm_jinja_value value, size_t otherwise) {
    if (!is_given(value)) return otherwise;
    int64_t at = nlm_jinja_need_int(run, value, "a bound");
    if (at < 0) {
        at += (int64_t)nlm_jinja_count_characters(string->data, string->length);
        if (at < 0) at = 0;
    }
    return nlm_jinja_byte_of(string, (size_t)at);
}

static nlm_jinja_value find(nlm_jinja_run *run, nlm_jinja_call *call, bool is_last, bool must_be) {
    const nlm_jinja_string *string = call->self.string,
                           *wanted = nlm_jinja_need_string(run, call->a[0], "a substring");
    const size_t from = bound(run, string, call->a[1], 0), to = bound(run, string, call->a[2], string->length);
    const size_t found = nlm_jinja_find(string, from, to, wanted, is_last);
    nlm_jinja_spend(run, string->length / 32);
    if (found != SIZE_MAX) return nlm_jinja_int((int64_t)nlm_jinja_count_characters(string->data, found));
    return must_be ? nlm_jinja_fail(run, "substring not found") : nlm_jinja_int(-1);
}
METHOD(find_first) {
    return find(run, call, false, false);
}
METHOD(find_last) {
    return find(run, call, true, false);
}
METHOD(index_first) {
    return find(run, call, false, true);
}
METHOD(index_last) {
    return find(run, call, true, true);
}

METHOD(count) {
    const nlm_jinja_string *string = call->self.string,
                           *wanted = nlm_jinja_need_string(run, call->a[0], "a substring");
    int64_t count = 0;
    if (wanted->length == 0) {
        return nlm_jinja_int((int64_t)nlm_jinja_count_characters(string->data, string->length) + 1);
    }
    for (size_t at = 0; nlm_jinja_spend(run, 1); count++) {
        const size_t found = nlm_jinja_find(string, at, string->length, wanted, false);
        if (found == SIZE_MAX) break;
        at = found + wanted->length;
    }
    return nlm_jinja_int(count);
}

/* ---- kinds of characters ------------------------------------------------------------------ */

typedef bool (*character_test)(uint32_t code, utf8proc_category_t category);

static bool is_decimal(uint32_t code, utf8proc_category_t category) {
    (void)code;
    return category == UTF8PROC_CATEGORY_ND;
}
static bool is_digit(uint32_t code, utf8proc_category_t category) {
    const bool is_raised = code == 0xB2 || code == 0xB3 || code == 0xB9;
    return category == UTF8PROC_CATEGORY_ND || is_raised || code == 0x2070 || (code >= 0x2074 && code <= 0x2079) ||
           (code >= 0x2080 && code <= 0x2089);
}
static bool is_numeric(uint32_t code, utf8proc_category_t category) {
    (void)code;
    return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}
static bool is_alpha(uint32_t code, utf8proc_category_t category) {
    (void)code;
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}
static bool is_alnum(uint32_t code, utf8proc_category_t category) {
    return is_alpha(code, category) || is_numeric(code, category);
}
static bool is_space(uint32_t code, utf8proc_category_t category) {
    (void)category;
    return nlm_jinja_is_blank(code);
}

/* Whether all characters are so, and there are any. */
static nlm_jinja_value are_all(nlm_jinja_run *run, const nlm_jinja_string *string, character_test test) {
    size_t bytes;
    if (!nlm_jinja_spend(run, string->length / 32)) return nlm_jinja_undefined(NULL);
    for (size_t at = 0; at < string->length; at += bytes) {
        const uint32_t code = nlm_utf8_next(string->data + at, string->length - at, &bytes);
        if (code >= NLM_UTF8_INVALID || !test(code, utf8proc_category((utf8proc_int32_t)code))) {
            return nlm_jinja_bool(false);
        }
    }
    return nlm_jinja_bool(string->length > 0);
}

#define CHARACTER_METHOD(name, test)                  \
    METHOD(name) {                                    \
        return are_all(run, call->self.string, test); \
    }

CHARACTER_METHOD(all_decimal, is_decimal)
CHARACTER_METHOD(all_digits, is_digit)
CHARACTER_METHOD(all_numeric, is_numeric)
CHARACTER_METHOD(all_alpha, is_alpha)
CHARACTER_METHOD(all_alnum, is_alnum)
CHARACTER_METHOD(all_space, is_space)

METHOD(all_lower) {
    (void)run;
    return nlm_jinja_bool(nlm_jinja_has_case(call->self.string, false));
}
METHOD(all_upper) {
    (void)run;
    return nlm_jinja_bool(nlm_jinja_has_case(call->self.string, true));
}

/* ---- making others ------------------------------------------------------------------------ */

METHOD(lower) {
    return nlm_jinja_recase(run, call->self.string, NLM_JINJA_LOWER);
}
METHOD(upper) {
    return nlm_jinja_recase(run, call->self.string, NLM_JINJA_UPPER);
}
METHOD(title) {
    return nlm_jinja_recase(run, call->self.string, NLM_JINJA_TITLE);
}
METHOD(capitalize) {
    return nlm_jinja_recase(run, call->self.string, NLM_JINJA_CAPITALIZE);
}

METHOD(replace) {
    const nlm_jinja_string *old = nlm_jinja_need_string(run, call->a[0], "replace() argument 1");
    const nlm_jinja_string *with = nlm_jinja_need_string(run, call->a[1], "replace() argument 2");
    const int64_t most = is_given(call->a[2]) ? nlm_jinja_need_int(run, call->a[2], "replace() argument 3") : -1;
    return nlm_jinja_replace(run, call->self.string, old, with, most);
}

METHOD(join) {
    const nlm_jinja_sequence *items = nlm_jinja_iterate(run, call->a[0]);
    for (size_t i = 0; i < items->count && !nlm_jinja_has_failed(run); i++) {
        nlm_jinja_need_string(run, items->items[i], "an item of join()");
    }
    return nlm_jinja_join(run, call->self.string, items);
}

/* Filled up to a width: how much of the fill stands before, of 2. */
static nlm_jinja_value pad(nlm_jinja_run *run, nlm_jinja_call *call, int64_t before_of_2) {
    static const nlm_jinja_string blank = {.data = " ", .length = 1};
    const nlm_jinja_string *string = call->self.string;
    const nlm_jinja_string *fill = is_given(call->a[1]) ? nlm_jinja_need_string(run, call->a[1], "a fill") : &blank;
    const int64_t missing = nlm_jinja_need_int(run, call->a[0], "a width") -
                            (int64_t)nlm_jinja_count_characters(string->data, string->length);
    nlm_jinja_text text = {0};
    if (missing <= 0) return call->self;
    /* str.center puts the odd one on the left when the width is odd too. */
    const int64_t width_is_odd = (missing + (int64_t)string->length) & missing & 1;
    const int64_t before = before_of_2 == 1 ? missing / 2 + width_is_odd : missing * before_of_2 / 2;
    for (int64_t i = 0; i < before && nlm_jinja_spend(run, 1); i++) nlm_jinja_add_string(run, &text, fill);
    nlm_jinja_add_string(run, &text, string);
    for (int64_t i = before; i < missing && nlm_jinja_spend(run, 1); i++) nlm_jinja_add_string(run, &text, fill);
    return nlm_jinja_finish(run, &text);
}
METHOD(pad_right) {
    return pad(run, call, 0);
}
METHOD(pad_both) {
    return pad(run, call, 1);
}
METHOD(pad_left) {
    return pad(run, call, 2);
}

METHOD(fill_zeros) {
    const nlm_jinja_string *string = call->self.string;
    const int64_t missing = nlm_jinja_need_int(run, call->a[0], "a width") -
                            (int64_t)nlm_jinja_count_characters(string->data, string->length);
    const size_t sign = string->length > 0 && (string->data[0] == '-' || string->data[0] == '+');
    nlm_jinja_text text = {0};
    nlm_jinja_add_part(run, &text, string, 0, sign);
    for (int64_t i = 0; i < missing && nlm_jinja_spend(run, 1); i++) {
        nlm_jinja_add(run, &text, "0", 1, NLM_JINJA_TEMPLATE);
    }
    nlm_jinja_add_part(run, &text, string, sign, string->length);
    return nlm_jinja_finish(run, &text);
}

const nlm_jinja_entry nlm_jinja_string_methods[] = {
    {"capitalize", capitalize, 0, {NULL}},
    {"casefold", lower, 0, {NULL}},
    {"center", pad_both, 1, {"width", "fillchar"}},
    {"count", count, 1, {"sub"}},
    {"endswith", ends_with, 1, {"suffix"}},
    {"find", find_first, 1, {"sub", "start", "end"}},
    {"format", nlm_jinja_format, 0, {"*"}},
    {"index", index_first, 1, {"sub", "start", "end"}},
    {"isalnum", all_alnum, 0, {NULL}},
    {"isalpha", all_alpha, 0, {NULL}},
    {"isdecimal", all_decimal, 0, {NULL}},
    {"isdigit", all_digits, 0, {NULL}},
    {"islower", all_lower, 0, {NULL}},
    {"isnumeric", all_numeric, 0, {NULL}},
    {"isspace", all_space, 0, {NULL}},
    {"isupper", all_upper, 0, {NULL}},
    {"join", join, 1, {"iterable"}},
    {"ljust", pad_right, 1, {"width", "fillchar"}},
    {"lower", lower, 0, {NULL}},
    {"lstrip", strip_left, 0, {"chars"}},
    {"partition", partition_left, 1, {"sep"}},
    {"removeprefix", remove_prefix, 1, {"prefix"}},
    {"removesuffix", remove_suffix, 1, {"suffix"}},
    {"replace", replace, 2, {"old", "new", "count"}},
    {"rfind", find_last, 1, {"sub", "start", "end"}},
    {"rindex", index_last, 1, {"sub", "start", "end"}},
    {"rjust", pad_left, 1, {"width", "fillchar"}},
    {"rpartition", partition_right, 1, {"sep"}},
    {"rsplit", split_right, 0, {"sep", "maxsplit"}},
    {"rstrip", strip_right, 0, {"chars"}},
    {"split", split_left, 0, {"sep", "maxsplit"}},
    {"splitlines", split_lines, 0, {"keepends"}},
    {"startswith", begins_with, 1, {"prefix"}},
    {"strip", strip_both, 0, {"chars"}},
    {"title", title, 0, {NULL}},
    {"upper", upper, 0, {NULL}},
    {"zfill", fill_zeros, 1, {"width"}},
};
const size_t nlm_jinja_string_method_count = sizeof nlm_jinja_string_methods / sizeof *nlm_jinja_string_methods;
