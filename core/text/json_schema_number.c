/* Numbers of JSON Schema. Bounds and multiples are automata over the digits, joined. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/grammar_regex.h"
#include "text/json_schema_impl.h"

/* What a number may have, so that a model cannot go on with digits for ever. */
#define WHOLE_DIGITS    20 /* before the point */
#define FRACTION_DIGITS 20 /* behind it */
#define DIGITS_MAX      400
#define MULTIPLE_MAX    20000

#define WHOLE    "(?:0|[1-9][0-9]{0,19})"
#define FRACTION "(?:\\.[0-9]{1,20})"

/* A bound in digits: |value| = whole.fraction, without zeros in front or behind. */
typedef struct decimal {
    bool is_negative;
    char whole[DIGITS_MAX], fraction[DIGITS_MAX];
} decimal;

static bool read_decimal(double value, decimal *out) {
    char text[40], digits[40];
    *out = (decimal){.is_negative = value < 0};
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision - 1, fabs(value));
        if (strtod(text, NULL) == fabs(value)) break;
    }
    const char *exponent = strchr(text, 'e');
    if (!isfinite(value) || !exponent) return false;
    int point = 1 + (int)strtol(exponent + 1, NULL, 10), n = 0;
    for (const char *at = text; at < exponent; at++) {
        if (*at >= '0' && *at <= '9') digits[n++] = *at;
    }
    while (n > 0 && digits[n - 1] == '0') n--;
    if (n == 0) point = 0;
    if (point > DIGITS_MAX - 2 || n - point > DIGITS_MAX - 2) return false;
    size_t n_whole = 0, n_fraction = 0;
    for (int i = 0; i < point; i++) out->whole[n_whole++] = i < n ? digits[i] : '0';
    if (n_whole == 0) out->whole[n_whole++] = '0';
    for (int i = point; i < n; i++) out->fraction[n_fraction++] = i < 0 ? '0' : digits[i];
    return true;
}

/* ---- automata over the characters of numbers ------------------------------------------------- */

enum { CLASS_MINUS = 1, CLASS_POINT = 2, CLASS_DIGIT = 4 /* that of 0, the others follow */, N_CLASSES = 15 };

static nlm_dfa *new_dfa(nlm_schema_reader *r, uint32_t n_states) {
    nlm_dfa *dfa = nlm_dfa_new(r->rules, n_states, N_CLASSES);
    if (!dfa) return NULL;
    static const uint32_t bounds[N_CLASSES] = {0,   '-', '.', '/', '0', '1', '2', '3',
                                               '4', '5', '6', '7', '8', '9', ':'};
    memcpy(dfa->bounds, bounds, sizeof bounds);
    return dfa;
}

static void connect(nlm_dfa *dfa, uint32_t from, uint32_t class, uint32_t to) {
    dfa->next[(size_t)from * N_CLASSES + class] = to;
}

static const nlm_dfa *nothing(nlm_schema_reader *r) {
    return nlm_dfa_of_words(r->rules, NULL, 0);
}

enum { LESS = 0, EQUAL = 1, GREATER = 2 };
#define ACCEPTS(order) (1u << (order))
#define ACCEPTS_ALL    7u

/* States that compare digits without a sign to a bound, from `base` on: after i digits of the whole part with what
 * they say; then after j digits of the fraction that are the bound's; then where the order is known. */
static uint32_t whole_state(uint32_t base, uint32_t i, uint32_t order) {
    return base + 3 * i + order;
}
static uint32_t fraction_state(uint32_t base, uint32_t j) {
    return base + 3 * (WHOLE_DIGITS + 1) + j;
}
static uint32_t known_state(const decimal *bound, uint32_t base, uint32_t order) {
    return fraction_state(base, (uint32_t)strlen(bound->fraction) + 1) + (order == GREATER);
}
static uint32_t n_compare_states(const decimal *bound) {
    return 3 * (WHOLE_DIGITS + 1) + (uint32_t)strlen(bound->fraction) + 3;
}

static uint32_t order_of(uint32_t digit, char of) {
    const uint32_t other = (uint32_t)(of - '0');
    return digit < other ? LESS : digit == other ? EQUAL : GREATER;
}

/* What a whole part of i digits is beside the bound's. */
static uint32_t whole_order(const decimal *bound, uint32_t i, uint32_t order) {
    const uint32_t length = (uint32_t)strlen(bound->whole);
    return i < length ? LESS : i > length ? GREATER : order;
}

static void fill_fraction(nlm_dfa *dfa, const decimal *bound, uint32_t base, uint32_t accepts) {
    const uint32_t length = (uint32_t)strlen(bound->fraction);
    for (uint32_t j = 0; j <= length; j++) {
        const uint32_t state = fraction_state(base, j);
        dfa->is_final[state] = (accepts & ACCEPTS(j < length ? LESS : EQUAL)) != 0;
        for (uint32_t digit = 0; digit < 10; digit++) {
            const uint32_t order = order_of(digit, j < length ? bound->fraction[j] : '0');
            const uint32_t same = fraction_state(base, j < length ? j + 1 : j);
            connect(dfa, state, CLASS_DIGIT + digit, order == EQUAL ? same : known_state(bound, base, order));
        }
    }
    for (uint32_t order = LESS; order <= GREATER; order += 2) {
        const uint32_t state = known_state(bound, base, order);
        dfa->is_final[state] = (accepts & ACCEPTS(order)) != 0;
        for (uint32_t digit = 0; digit < 10; digit++) connect(dfa, state, CLASS_DIGIT + digit, state);
    }
}

static void fill_compare(nlm_dfa *dfa, const decimal *bound, uint32_t base, uint32_t accepts) {
    const uint32_t length = (uint32_t)strlen(bound->whole);
    for (uint32_t i = 0; i <= WHOLE_DIGITS; i++) {
        for (uint32_t order = LESS; order <= GREATER; order++) {
            const uint32_t state = whole_state(base, i, order), whole = whole_order(bound, i, order);
            const bool is_less = whole == EQUAL && bound->fraction[0];
            dfa->is_final[state] = i > 0 && (accepts & ACCEPTS(is_less ? LESS : whole)) != 0;
            connect(dfa, state, CLASS_POINT,
                    whole == EQUAL ? fraction_state(base, 0) : known_state(bound, base, whole));
            for (uint32_t digit = 0; digit < 10 && i < WHOLE_DIGITS; digit++) {
                const uint32_t next = order == EQUAL && i < length ? order_of(digit, bound->whole[i]) : order;
                connect(dfa, state, CLASS_DIGIT + digit, whole_state(base, i + 1, next));
            }
        }
    }
    fill_fraction(dfa, bound, base, accepts);
}

/* Numbers beside a bound: those above (is_least) or below it, itself if it is not exclusive. */
static const nlm_dfa *beside(nlm_schema_reader *r, const cJSON *value, bool is_least, bool is_exclusive) {
    decimal bound;
    if (!read_decimal(value->valuedouble, &bound)) {
        nlm_schema_fail(r, value, NLM_LIMIT, "'%s' has too many digits", value->string);
        return nothing(r);
    }
    const uint32_t equal = is_exclusive ? 0 : ACCEPTS(EQUAL);
    const uint32_t above = ACCEPTS(GREATER) | equal, below = ACCEPTS(LESS) | equal;
    uint32_t positive, negative; /* of digits without their sign */
    if (is_least) {
        positive = bound.is_negative ? ACCEPTS_ALL : above;
        negative = bound.is_negative ? below : 0;
    } else {
        positive = bound.is_negative ? 0 : below;
        negative = bound.is_negative ? above : ACCEPTS_ALL;
    }
    const uint32_t half = n_compare_states(&bound);
    nlm_dfa *dfa = new_dfa(r, 2 * half);
    if (!dfa) return nothing(r);
    /* The first state is to be 0: before any digit, which compares as equal. */
    fill_compare(dfa, &bound, 0, positive);
    fill_compare(dfa, &bound, half, negative);
    memcpy(dfa->next, dfa->next + (size_t)whole_state(0, 0, EQUAL) * N_CLASSES, N_CLASSES * sizeof *dfa->next);
    dfa->next[CLASS_MINUS] = whole_state(half, 0, EQUAL);
    dfa->is_final[0] = 0;
    return nlm_dfa_trim(r->rules, dfa);
}

/* Multiples of m = of / 10^places: after each digit what is left of the number by division, and how many digits of
 * the fraction there were. */
static const nlm_dfa *multiples(nlm_schema_reader *r, uint32_t of, uint32_t places) {
    nlm_dfa *dfa = new_dfa(r, of * (places + 2));
    if (!dfa) return nothing(r);
    for (uint32_t rest = 0; rest < of; rest++) {
        for (uint32_t phase = 0; phase <= places + 1; phase++) { /* 0: whole; 1 + digits behind the point */
            const uint32_t state = phase * of + rest;
            uint64_t scaled = rest;
            for (uint32_t i = phase ? phase - 1 : 0; i < places; i++) scaled = scaled * 10 % of;
            dfa->is_final[state] = scaled == 0;
            if (phase == 0) connect(dfa, state, CLASS_POINT, of + rest);
            for (uint32_t digit = 0; digit < 10; digit++) {
                const uint32_t next = (uint32_t)(((uint64_t)rest * 10 + digit) % of);
                if (phase <= places) {
                    connect(dfa, state, CLASS_DIGIT + digit, (phase ? phase + 1 : 0) * of + next);
                } else if (digit == 0) {
                    connect(dfa, state, CLASS_DIGIT, state); /* zeros change nothing */
                }
            }
        }
    }
    dfa->next[CLASS_MINUS] = 0;
    return nlm_dfa_trim(r->rules, dfa);
}

static const nlm_dfa *multiples_of(nlm_schema_reader *r, const cJSON *value) {
    decimal m;
    if (value->valuedouble <= 0) {
        nlm_schema_fail(r, value, NLM_BAD_FORMAT, "'multipleOf' is %g; expected more than 0", value->valuedouble);
        return nothing(r);
    }
    const bool is_read = read_decimal(value->valuedouble, &m);
    const size_t places = is_read ? strlen(m.fraction) : 0;
    char digits[2 * DIGITS_MAX];
    snprintf(digits, sizeof digits, "%s%s", m.whole, m.fraction);
    const unsigned long of = strlen(digits) < 18 ? strtoul(digits, NULL, 10) : ULONG_MAX;
    if (!is_read || of > MULTIPLE_MAX || places > 6) {
        nlm_schema_fail(r, value, NLM_LIMIT,
                        "'multipleOf' is %g; without its point it may be %d at most, with 6 digits behind it",
                        value->valuedouble, MULTIPLE_MAX);
        return nothing(r);
    }
    return multiples(r, (uint32_t)of, (uint32_t)places);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static const nlm_dfa *join(nlm_schema_reader *r, const nlm_dfa *a, const nlm_dfa *b) {
    return a ? nlm_dfa_intersect(r->rules, a, b) : b;
}

const nlm_dfa *nlm_schema_number_dfa(nlm_schema_reader *r, const nlm_conjunction *all, bool is_integer) {
    static const struct {
        const char *name;
        bool is_least, is_exclusive;
    } bounds[] = {{"minimum", true, false},
                  {"exclusiveMinimum", true, true},
                  {"maximum", false, false},
                  {"exclusiveMaximum", false, true}};
    const nlm_dfa *dfa = NULL;
    for (size_t i = 0; i < all->count && nlm_schema_is_ok(r); i++) {
        const cJSON *schema = all->items[i].schema, *multiple = nlm_schema_get(schema, "multipleOf");
        for (size_t b = 0; b < sizeof bounds / sizeof *bounds; b++) {
            const cJSON *bound = nlm_schema_get(schema, bounds[b].name);
            if (bound) dfa = join(r, dfa, beside(r, bound, bounds[b].is_least, bounds[b].is_exclusive));
        }
        if (multiple) dfa = join(r, dfa, multiples_of(r, multiple));
    }
    if (!dfa) return NULL;
    /* Without an exponent, and without a zero that is negative. */
    const char *syntax = is_integer ? "^(?:" WHOLE "|-[1-9][0-9]{0,19})$"
                                    : "^(?:" WHOLE FRACTION "?|-[1-9][0-9]{0,19}" FRACTION
                                      "?|-0\\.0{0,19}[1-9][0-9]{0,19})$";
    return join(r, dfa, nlm_schema_pattern(r, r->root, syntax));
}

static const nlm_tree *digits(nlm_schema_reader *r, char first, uint32_t least, uint32_t most) {
    nlm_code_set set = {0};
    nlm_code_set_add(r->rules, &set, (uint32_t)first, '9');
    nlm_code_set_finish(&set);
    return nlm_tree_repeat(r->rules, nlm_tree_set(r->rules, &set), least, most);
}

static const nlm_tree *optional(nlm_schema_reader *r, const char *text) {
    return nlm_tree_repeat(r->rules, nlm_tree_string(r->rules, text), 0, 1);
}

static const nlm_tree *whole_tree(nlm_schema_reader *r) {
    nlm_tree *whole = nlm_tree_choice(r->rules), *longer = nlm_tree_sequence(r->rules);
    nlm_tree_add(r->rules, longer, digits(r, '1', 1, 1));
    nlm_tree_add(r->rules, longer, digits(r, '0', 0, WHOLE_DIGITS - 1));
    nlm_tree_add(r->rules, whole, nlm_tree_string(r->rules, "0"));
    nlm_tree_add(r->rules, whole, longer);
    return whole;
}

/* [eE][+-]?[0-9]{1,3} */
static const nlm_tree *exponent_tree(nlm_schema_reader *r) {
    nlm_rules *rules = r->rules;
    nlm_tree *letter = nlm_tree_choice(rules), *sign = nlm_tree_choice(rules), *exponent = nlm_tree_sequence(rules);
    nlm_tree_add(rules, letter, nlm_tree_string(rules, "e"));
    nlm_tree_add(rules, letter, nlm_tree_string(rules, "E"));
    nlm_tree_add(rules, sign, nlm_tree_string(rules, "+"));
    nlm_tree_add(rules, sign, nlm_tree_string(rules, "-"));
    nlm_tree_add(rules, exponent, letter);
    nlm_tree_add(rules, exponent, nlm_tree_repeat(rules, sign, 0, 1));
    nlm_tree_add(rules, exponent, digits(r, '0', 1, 3));
    return exponent;
}

const nlm_tree *nlm_schema_number(nlm_schema_reader *r, const nlm_conjunction *all, bool is_integer) {
    const nlm_dfa *dfa = nlm_schema_number_dfa(r, all, is_integer);
    if (dfa) return nlm_dfa_tree(r->rules, dfa, false);
    nlm_tree *number = nlm_tree_sequence(r->rules);
    nlm_tree_add(r->rules, number, optional(r, "-"));
    nlm_tree_add(r->rules, number, whole_tree(r));
    if (is_integer) return number;
    nlm_tree *fraction = nlm_tree_sequence(r->rules);
    nlm_tree_add(r->rules, fraction, nlm_tree_string(r->rules, "."));
    nlm_tree_add(r->rules, fraction, digits(r, '0', 1, FRACTION_DIGITS));
    nlm_tree_add(r->rules, number, nlm_tree_repeat(r->rules, fraction, 0, 1));
    nlm_tree_add(r->rules, number, nlm_tree_repeat(r->rules, exponent_tree(r), 0, 1));
    return number;
}
