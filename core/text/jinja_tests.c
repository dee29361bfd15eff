/* Tests of chat templates: what may stand behind `is`. */
#include <string.h>
#include <utf8proc.h>

#include "text/jinja_run.h"
#include "text/utf8.h"

#define TEST(name) static nlm_jinja_value name(nlm_jinja_run *run, nlm_jinja_call *call)

/* Tests of a value's type alone. */
#define TYPE_TEST(name, condition)            \
    TEST(name) {                              \
        const nlm_jinja_value v = call->self; \
        (void)run;                            \
        return nlm_jinja_bool(condition);     \
    }

TYPE_TEST(is_defined, v.type != NLM_JINJA_UNDEFINED)
TYPE_TEST(is_undefined, v.type == NLM_JINJA_UNDEFINED)
TYPE_TEST(is_none, v.type == NLM_JINJA_NONE)
TYPE_TEST(is_string, v.type == NLM_JINJA_STRING)
TYPE_TEST(is_mapping, v.type == NLM_JINJA_DICT)
TYPE_TEST(is_iterable, v.type == NLM_JINJA_STRING || v.type == NLM_JINJA_SEQUENCE || v.type == NLM_JINJA_DICT ||
                           v.type == NLM_JINJA_UNDEFINED)
TYPE_TEST(is_sequence, v.type == NLM_JINJA_STRING || v.type == NLM_JINJA_DICT || v.type == NLM_JINJA_UNDEFINED ||
                           (v.type == NLM_JINJA_SEQUENCE && v.sequence->kind <= NLM_JINJA_RANGE))
TYPE_TEST(is_boolean, v.type == NLM_JINJA_BOOL)
TYPE_TEST(is_true, v.type == NLM_JINJA_BOOL && v.boolean)
TYPE_TEST(is_false, v.type == NLM_JINJA_BOOL && !v.boolean)
TYPE_TEST(is_number, nlm_jinja_is_number(v))
TYPE_TEST(is_integer, v.type == NLM_JINJA_INT)
TYPE_TEST(is_float, v.type == NLM_JINJA_FLOAT)
TYPE_TEST(is_callable, v.type == NLM_JINJA_FUNCTION || v.type == NLM_JINJA_LOOP)
TYPE_TEST(is_escaped, v.type == NLM_JINJA_STRING && v.string->is_markup)
TYPE_TEST(is_filter, v.type == NLM_JINJA_STRING && nlm_jinja_find_filter(nlm_jinja_name(run, v.string)))
TYPE_TEST(is_test, v.type == NLM_JINJA_STRING && nlm_jinja_find_test(nlm_jinja_name(run, v.string)))

static bool has_rest(nlm_jinja_run *run, nlm_jinja_value value, nlm_jinja_value divisor, int64_t rest) {
    const nlm_jinja_value left = nlm_jinja_arithmetic(run, NLM_JINJA_PERCENT, value, divisor);
    return nlm_jinja_is_number(left) && nlm_jinja_number(left) == (double)rest;
}

TEST(is_odd) {
    return nlm_jinja_bool(has_rest(run, call->self, nlm_jinja_int(2), 1));
}
TEST(is_even) {
    return nlm_jinja_bool(has_rest(run, call->self, nlm_jinja_int(2), 0));
}
TEST(is_divisible) {
    return nlm_jinja_bool(has_rest(run, call->self, call->a[0], 0));
}

#define COMPARISON(name, op)                                                          \
    TEST(name) {                                                                      \
        return nlm_jinja_bool(nlm_jinja_compare_by(run, op, call->self, call->a[0])); \
    }

COMPARISON(is_eq, NLM_JINJA_EQ)
COMPARISON(is_ne, NLM_JINJA_NE)
COMPARISON(is_lt, NLM_JINJA_LT)
COMPARISON(is_le, NLM_JINJA_LE)
COMPARISON(is_gt, NLM_JINJA_GT)
COMPARISON(is_ge, NLM_JINJA_GE)
COMPARISON(is_in, NLM_JINJA_IN)

/* One thing, not two that are equal: of texts, numbers and truth values these are the same here. */
TEST(is_same) {
    const nlm_jinja_value a = call->self, b = call->a[0];
    if (a.type != b.type) return nlm_jinja_bool(false);
    if (a.type == NLM_JINJA_SEQUENCE) return nlm_jinja_bool(a.sequence == b.sequence);
    if (a.type == NLM_JINJA_DICT) return nlm_jinja_bool(a.dict == b.dict);
    return nlm_jinja_bool(nlm_jinja_equal(run, a, b));
}

bool nlm_jinja_has_case(const nlm_jinja_string *string, bool is_upper) {
    bool has_any = false;
    size_t bytes;
    for (size_t at = 0; at < string->length; at += bytes) {
        const uint32_t code = nlm_utf8_next(string->data + at, string->length - at, &bytes);
        if (code >= NLM_UTF8_INVALID) continue;
        const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
        if (category == (is_upper ? UTF8PROC_CATEGORY_LL : UTF8PROC_CATEGORY_LU) ||
            category == UTF8PROC_CATEGORY_LT) {
            return false;
        }
        has_any = has_any || category == (is_upper ? UTF8PROC_CATEGORY_LU : UTF8PROC_CATEGORY_LL);
    }
    return has_any;
}

TEST(is_lower) {
    return nlm_jinja_bool(nlm_jinja_has_case(nlm_jinja_str(run, call->self), false));
}
TEST(is_upper) {
    return nlm_jinja_bool(nlm_jinja_has_case(nlm_jinja_str(run, call->self), true));
}

static const nlm_jinja_entry tests[] = {
    {"defined", is_defined, 0, {NULL}},   {"undefined", is_undefined, 0, {NULL}},
    {"none", is_none, 0, {NULL}},         {"string", is_string, 0, {NULL}},
    {"mapping", is_mapping, 0, {NULL}},   {"iterable", is_iterable, 0, {NULL}},
    {"sequence", is_sequence, 0, {NULL}}, {"boolean", is_boolean, 0, {NULL}},
    {"true", is_true, 0, {NULL}},         {"false", is_false, 0, {NULL}},
    {"number", is_number, 0, {NULL}},     {"integer", is_integer, 0, {NULL}},
    {"float", is_float, 0, {NULL}},       {"callable", is_callable, 0, {NULL}},
    {"escaped", is_escaped, 0, {NULL}},   {"filter", is_filter, 0, {NULL}},
    {"test", is_test, 0, {NULL}},         {"odd", is_odd, 0, {NULL}},
    {"even", is_even, 0, {NULL}},         {"divisibleby", is_divisible, 1, {"num"}},
    {"eq", is_eq, 1, {"other"}},          {"equalto", is_eq, 1, {"other"}},
    {"==", is_eq, 1, {"other"}},          {"ne", is_ne, 1, {"other"}},
    {"!=", is_ne, 1, {"other"}},          {"lt", is_lt, 1, {"other"}},
    {"lessthan", is_lt, 1, {"other"}},    {"<", is_lt, 1, {"other"}},
    {"le", is_le, 1, {"other"}},          {"<=", is_le, 1, {"other"}},
    {"gt", is_gt, 1, {"other"}},          {"greaterthan", is_gt, 1, {"other"}},
    {">", is_gt, 1, {"other"}},           {"ge", is_ge, 1, {"other"}},
    {">=", is_ge, 1, {"other"}},          {"in", is_in, 1, {"seq"}},
    {"sameas", is_same, 1, {"other"}},    {"lower", is_lower, 0, {NULL}},
    {"upper", is_upper, 0, {NULL}},
};

const nlm_jinja_entry *nlm_jinja_find_test(const char *name) {
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        if (strcmp(tests[i].name, name) == 0) return &tests[i];
    }
    return NULL;
}
