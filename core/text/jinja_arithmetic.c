/* Operators of chat templates, with Python's rules. */
#include <math.h>
#include <string.h>

#include "text/jinja_run.h"

static const char *const spellings[] = {"+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">="};

static nlm_jinja_value fail_overflow(nlm_jinja_run *run) {
    return nlm_jinja_fail(run, "an integer of more than 64 bits");
}

static nlm_jinja_value fail_zero(nlm_jinja_run *run) {
    return nlm_jinja_fail(run, "division by zero");
}

static nlm_jinja_value int_power(nlm_jinja_run *run, int64_t base, int64_t exponent) {
    int64_t result = 1;
    if (exponent < 0) {
        if (base == 0) return fail_zero(run);
        return nlm_jinja_float(pow((double)base, (double)exponent));
    }
    while (exponent > 0) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) return fail_overflow(run);
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return fail_overflow(run);
    }
    return nlm_jinja_int(result);
}

/* Rounded down, and what is left then: of the sign of b. */
static nlm_jinja_value int_divide(nlm_jinja_run *run, int64_t a, int64_t b, bool is_rest) {
    if (b == 0) return fail_zero(run);
    if (b == -1) { /* INT64_MIN / -1 is beyond C */
        int64_t negated;
        if (is_rest) return nlm_jinja_int(0);
        return __builtin_sub_overflow(0, a, &negated) ? fail_overflow(run) : nlm_jinja_int(negated);
    }
    const int64_t rest = a % b, is_below = rest != 0 && (rest < 0) != (b < 0);
    return nlm_jinja_int(is_rest ? rest + (is_below ? b : 0) : a / b - is_below);
}

static nlm_jinja_value int_arithmetic(nlm_jinja_run *run, nlm_jinja_operator op, int64_t a, int64_t b) {
    int64_t result = 0;
    bool overflows = false;
    switch (op) {
        case NLM_JINJA_PLUS: overflows = __builtin_add_overflow(a, b, &result); break;
        case NLM_JINJA_MINUS: overflows = __builtin_sub_overflow(a, b, &result); break;
        case NLM_JINJA_STAR: overflows = __builtin_mul_overflow(a, b, &result); break;
        case NLM_JINJA_SLASH: return b == 0 ? fail_zero(run) : nlm_jinja_float((double)a / (double)b);
        case NLM_JINJA_FLOOR: return int_divide(run, a, b, false);
        case NLM_JINJA_PERCENT: return int_divide(run, a, b, true);
        default: return int_power(run, a, b);
    }
    return overflows ? fail_overflow(run) : nlm_jinja_int(result);
}

static nlm_jinja_value float_arithmetic(nlm_jinja_run *run, nlm_jinja_operator op, double a, double b) {
    const bool divides = op == NLM_JINJA_SLASH || op == NLM_JINJA_FLOOR || op == NLM_JINJA_PERCENT;
    if (divides && b == 0) return fail_zero(run);
    double rest;
    switch (op) {
        case NLM_JINJA_PLUS: return nlm_jinja_float(a + b);
        case NLM_JINJA_MINUS: return nlm_jinja_float(a - b);
        case NLM_JINJA_STAR: return nlm_jinja_float(a * b);
        case NLM_JINJA_SLASH: return nlm_jinja_float(a / b);
        case NLM_JINJA_FLOOR: return nlm_jinja_float(floor(a / b));
        case NLM_JINJA_PERCENT:
            rest = fmod(a, b);
            return nlm_jinja_float(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
        default: return nlm_jinja_float(pow(a, b));
    }
}

static nlm_jinja_value repeat(nlm_jinja_run *run, nlm_jinja_value value, int64_t times) {
    if (value.type == NLM_JINJA_STRING) {
        nlm_jinja_text text = {0};
        for (int64_t i = 0; i < times && value.string->length && nlm_jinja_spend(run, 1); i++) {
            nlm_jinja_add_string(run, &text, value.string);
        }
        return nlm_jinja_finish(run, &text);
    }
    const nlm_jinja_value made = nlm_jinja_sequence_new(run, value.sequence->kind);
    for (int64_t i = 0; i < times && value.sequence->count && nlm_jinja_spend(run, 1); i++) {
        for (size_t k = 0; k < value.sequence->count; k++) nlm_jinja_push(run, made, value.sequence->items[k]);
    }
    return made;
}

static bool can_repeat(nlm_jinja_value value) {
    return value.type == NLM_JINJA_STRING ||
           (value.type == NLM_JINJA_SEQUENCE && value.sequence->kind <= NLM_JINJA_TUPLE);
}

static nlm_jinja_value join_lists(nlm_jinja_run *run, const nlm_jinja_sequence *a, const nlm_jinja_sequence *b) {
    const nlm_jinja_value made = nlm_jinja_sequence_new(run, a->kind);
    for (size_t i = 0; i < a->count; i++) nlm_jinja_push(run, made, a->items[i]);
    for (size_t i = 0; i < b->count; i++) nlm_jinja_push(run, made, b->items[i]);
    return made;
}

static nlm_jinja_value join_strings(nlm_jinja_run *run, const nlm_jinja_string *a, const nlm_jinja_string *b) {
    if (!a->is_markup && !b->is_markup) return nlm_jinja_concat(run, a, b);
    const nlm_jinja_value left =
        a->is_markup ? (nlm_jinja_value){.type = NLM_JINJA_STRING, .string = a} : nlm_jinja_escape(run, a);
    const nlm_jinja_value right =
        b->is_markup ? (nlm_jinja_value){.type = NLM_JINJA_STRING, .string = b} : nlm_jinja_escape(run, b);
    nlm_jinja_text text = {0};
    nlm_jinja_add_string(run, &text, left.string);
    nlm_jinja_add_string(run, &text, right.string);
    const nlm_jinja_value joined = nlm_jinja_finish(run, &text);
    return joined.type == NLM_JINJA_STRING ? nlm_jinja_markup(run, joined.string) : joined;
}

static nlm_jinja_value fail_operands(nlm_jinja_run *run, nlm_jinja_operator op, nlm_jinja_value a,
                                     nlm_jinja_value b) {
    const char *why = a.type == NLM_JINJA_UNDEFINED ? a.why : b.type == NLM_JINJA_UNDEFINED ? b.why : NULL;
    if (why) return nlm_jinja_fail(run, "%s", why);
    if (op == NLM_JINJA_PLUS && a.type == NLM_JINJA_STRING) {
        return nlm_jinja_fail(run, "can only concatenate str (not \"%s\") to str", nlm_jinja_type_name(b));
    }
    return nlm_jinja_fail(run, "unsupported operand type(s) for %s: '%s' and '%s'", spellings[op],
                          nlm_jinja_type_name(a), nlm_jinja_type_name(b));
}

nlm_jinja_value nlm_jinja_arithmetic(nlm_jinja_run *run, nlm_jinja_operator op, nlm_jinja_value a,
                                     nlm_jinja_value b) {
    int64_t x, y;
    if (nlm_jinja_has_failed(run)) return nlm_jinja_undefined(NULL);
    if (op == NLM_JINJA_TILDE) return nlm_jinja_concat(run, nlm_jinja_str(run, a), nlm_jinja_str(run, b));
    if (op == NLM_JINJA_PERCENT && a.type == NLM_JINJA_STRING) return nlm_jinja_percent(run, a.string, b);
    if (nlm_jinja_as_int(a, &x) && nlm_jinja_as_int(b, &y)) return int_arithmetic(run, op, x, y);
    if (nlm_jinja_is_number(a) && nlm_jinja_is_number(b)) {
        return float_arithmetic(run, op, nlm_jinja_number(a), nlm_jinja_number(b));
    }
    if (op == NLM_JINJA_PLUS && a.type == NLM_JINJA_STRING && b.type == NLM_JINJA_STRING) {
        return join_strings(run, a.string, b.string);
    }
    if (op == NLM_JINJA_PLUS && can_repeat(a) && can_repeat(b) && a.type == b.type &&
        a.sequence->kind == b.sequence->kind) {
        return join_lists(run, a.sequence, b.sequence);
    }
    if (op == NLM_JINJA_STAR && can_repeat(a) && nlm_jinja_as_int(b, &y)) return repeat(run, a, y);
    if (op == NLM_JINJA_STAR && can_repeat(b) && nlm_jinja_as_int(a, &x)) return repeat(run, b, x);
    return fail_operands(run, op, a, b);
}

bool nlm_jinja_compare_by(nlm_jinja_run *run, nlm_jinja_operator op, nlm_jinja_value a, nlm_jinja_value b) {
    switch (op) {
        case NLM_JINJA_EQ: return nlm_jinja_equal(run, a, b);
        case NLM_JINJA_NE: return !nlm_jinja_equal(run, a, b);
        case NLM_JINJA_IN: return nlm_jinja_contains(run, b, a);
        case NLM_JINJA_NOT_IN: return !nlm_jinja_contains(run, b, a);
        default: break;
    }
    const int order = nlm_jinja_compare(run, a, b, spellings[op]);
    if (nlm_jinja_has_failed(run)) return false;
    switch (op) {
        case NLM_JINJA_LT: return order < 0;
        case NLM_JINJA_LE: return order <= 0;
        case NLM_JINJA_GT: return order > 0;
        default: return order >= 0;
    }
}
