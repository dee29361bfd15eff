/* Strings of JSON Schema: free ones, lengths, patterns and formats; and the blanks between values. */
#include <string.h>

#include "text/grammar_regex.h"
#include "text/json_schema_impl.h"

#define LENGTH_MAX 65536u /* characters that are counted */

typedef struct named_format {
    const char *name, *pattern;
} named_format;

#define YEAR     "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)" /* 0001 to 9999 */
#define LEAP     "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
#define MONTH_31 "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
#define MONTH_30 "(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
#define DATE     "(?:" YEAR "-(?:" MONTH_31 "|" MONTH_30 "|02-(?:0[1-9]|1[0-9]|2[0-8]))|" LEAP "-02-29)"
#define TIME \
    "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
#define BYTE "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define IPV4 "(?:" BYTE "\\.){3}" BYTE
#define H16  "[0-9A-Fa-f]{1,4}"
#define IPV6                                                                                                         \
    "(?:" H16 ":){7}" H16 "|(?:" H16 ":){1,7}:|(?:" H16 ":){1,6}:" H16 "|(?:" H16 ":){1,5}(?::" H16 "){1,2}|(?:" H16 \
    ":){1,4}(?::" H16 "){1,3}|(?:" H16 ":){1,3}(?::" H16 "){1,4}|(?:" H16 ":){1,2}(?::" H16 "){1,5}|" H16            \
    ":(?::" H16 "){1,6}|:(?:(?::" H16 "){1,7}|:)"
#define UNRESERVED "[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2}" /* and what delimits parts */
#define PCHAR      "[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2}"
#define LABEL      "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define LOCAL      "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,30}(?:\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,30}){0,1}"

/* Texts that RFC 3339, 5321, 1123, 2673, 4291, 4122, 3986 and 6901 allow; not all of them. */
static const named_format formats[] = {
    {"date", "^" DATE "$"},
    {"time", "^" TIME "$"},
    {"date-time", "^" DATE "[Tt]" TIME "$"},
    {"duration",
     "^P(?:[0-9]{1,9}W|(?:[0-9]{1,9}Y(?:[0-9]{1,9}M(?:[0-9]{1,9}D)?)?|[0-9]{1,9}M(?:[0-9]{1,9}D)?|[0-9]{1,9}D)"
     "(?:T(?:[0-9]{1,9}H(?:[0-9]{1,9}M(?:[0-9]{1,9}S)?)?|[0-9]{1,9}M(?:[0-9]{1,9}S)?|[0-9]{1,9}S))?|"
     "T(?:[0-9]{1,9}H(?:[0-9]{1,9}M(?:[0-9]{1,9}S)?)?|[0-9]{1,9}M(?:[0-9]{1,9}S)?|[0-9]{1,9}S))$"},
    {"email", "^" LOCAL "@" LABEL "(?:\\." LABEL "){0,2}$"},
    {"hostname", "^" LABEL "(?:\\." LABEL "){0,2}$"},
    {"ipv4", "^" IPV4 "$"},
    {"ipv6", "^(?:" IPV6 ")$"},
    {"uuid", "^[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}$"},
    {"uri", "^[A-Za-z][A-Za-z0-9+.-]*:(?://(?:(?:" UNRESERVED "|:)*@)?(?:(?:" UNRESERVED ")+|\\[(?:" IPV6
            ")\\])(?::[0-9]{0,5})?(?:/(?:" PCHAR ")*)*|/?(?:(?:" PCHAR ")+(?:/(?:" PCHAR ")*)*)?)(?:\\?(?:" PCHAR
            "|[/?])*)?(?:#(?:" PCHAR "|[/?])*)?$"},
    {"json-pointer", "^(?:/(?:[^~/]|~[01])*)*$"},
};
#define N_FORMATS (sizeof formats / sizeof *formats)

const char *nlm_schema_format(nlm_schema_reader *r, const cJSON *format) {
    for (size_t i = 0; i < N_FORMATS; i++) {
        if (strcmp(formats[i].name, format->valuestring) == 0) return formats[i].pattern;
    }
    nlm_schema_fail(
        r, format, NLM_UNSUPPORTED,
        "the format '%.60s' is not supported; there are date, time, date-time, duration, email, hostname, "
        "ipv4, ipv6, uuid, uri and json-pointer",
        format->valuestring);
    return NULL;
}

const nlm_dfa *nlm_schema_pattern(nlm_schema_reader *r, const cJSON *at, const char *pattern) {
    char where[NLM_SCHEMA_WHERE_MAX];
    nlm_schema_where(r, at, where);
    return nlm_dfa_of_tree(r->rules, nlm_regex_read(r->rules, where, pattern));
}

/* The bounds of all minLength and maxLength; false if there is none. */
static bool find_lengths(nlm_schema_reader *r, const nlm_conjunction *all, uint32_t *out_least, uint32_t *out_most) {
    bool is_bounded = false;
    *out_least = 0;
    *out_most = NLM_NO_LIMIT;
    for (size_t i = 0; i < all->count; i++) {
        const cJSON *least = nlm_schema_get(all->items[i].schema, "minLength");
        const cJSON *most = nlm_schema_get(all->items[i].schema, "maxLength");
        const uint32_t from = least ? nlm_schema_count(r, least, LENGTH_MAX) : 0;
        const uint32_t to = most ? nlm_schema_count(r, most, LENGTH_MAX) : NLM_NO_LIMIT;
        if (from > *out_least) *out_least = from;
        if (to < *out_most) *out_most = to;
        is_bounded |= least || most;
    }
    return is_bounded;
}

static const nlm_dfa *join(nlm_schema_reader *r, const nlm_dfa *a, const nlm_dfa *b) {
    return a ? nlm_dfa_intersect(r->rules, a, b) : b;
}

const nlm_dfa *nlm_schema_string_dfa(nlm_schema_reader *r, const nlm_conjunction *all, bool with_length) {
    const nlm_dfa *dfa = NULL;
    uint32_t least, most;
    for (size_t i = 0; i < all->count && nlm_schema_is_ok(r); i++) {
        const cJSON *pattern = nlm_schema_get(all->items[i].schema, "pattern");
        const cJSON *format = nlm_schema_get(all->items[i].schema, "format");
        if (pattern) dfa = join(r, dfa, nlm_schema_pattern(r, pattern, pattern->valuestring));
        const char *regex = format ? nlm_schema_format(r, format) : NULL;
        if (regex) dfa = join(r, dfa, nlm_schema_pattern(r, format, regex));
    }
    if ((dfa || with_length) && find_lengths(r, all, &least, &most)) {
        dfa = join(r, dfa, nlm_dfa_of_length(r->rules, least, most));
    }
    return dfa;
}

/* ---- trees ----------------------------------------------------------------------------------- */

static const nlm_tree *as_rule(nlm_schema_reader *r, const nlm_tree *body) {
    const uint32_t rule = nlm_rules_add(r->rules, NULL, 0);
    if (nlm_schema_is_ok(r)) r->rules->items[rule].body = body;
    return nlm_tree_rule(r->rules, rule);
}

static const nlm_tree *ranges(nlm_schema_reader *r, const nlm_code_range *of, size_t count) {
    nlm_code_set set = {0};
    for (size_t i = 0; i < count; i++) nlm_code_set_add(r->rules, &set, of[i].first, of[i].last);
    nlm_code_set_finish(&set);
    return nlm_tree_set(r->rules, &set);
}

/* \u and four digits: a character of its own, or a pair of surrogates. */
static const nlm_tree *unicode_escape(nlm_schema_reader *r) {
    static const nlm_code_range hex[] = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
    static const nlm_code_range not_d[] = {{'0', '9'}, {'A', 'C'}, {'E', 'F'}, {'a', 'c'}, {'e', 'f'}};
    static const nlm_code_range d[] = {{'D', 'D'}, {'d', 'd'}}, low[] = {{'0', '7'}};
    static const nlm_code_range high_half[] = {{'8', '9'}, {'A', 'B'}, {'a', 'b'}};
    static const nlm_code_range low_half[] = {{'C', 'F'}, {'c', 'f'}};
    nlm_rules *rules = r->rules;
    const nlm_tree *digit = ranges(r, hex, 3), *two = nlm_tree_repeat(rules, digit, 2, 2);
    nlm_tree *choice = nlm_tree_choice(rules), *plain = nlm_tree_sequence(rules), *below = nlm_tree_sequence(rules);
    nlm_tree *pair = nlm_tree_sequence(rules);
    nlm_tree_add(rules, plain, ranges(r, not_d, 5));
    nlm_tree_add(rules, plain, nlm_tree_repeat(rules, digit, 3, 3));
    nlm_tree_add(rules, below, ranges(r, d, 2));
    nlm_tree_add(rules, below, ranges(r, low, 1));
    nlm_tree_add(rules, below, two);
    nlm_tree_add(rules, pair, ranges(r, d, 2));
    nlm_tree_add(rules, pair, ranges(r, high_half, 3));
    nlm_tree_add(rules, pair, two);
    nlm_tree_add(rules, pair, nlm_tree_string(rules, "\\u"));
    nlm_tree_add(rules, pair, ranges(r, d, 2));
    nlm_tree_add(rules, pair, ranges(r, low_half, 2));
    nlm_tree_add(rules, pair, two);
    nlm_tree_add(rules, choice, plain);
    nlm_tree_add(rules, choice, below);
    nlm_tree_add(rules, choice, pair);
    return choice;
}

/* One character of a free string, as it is or as an escape. */
static const nlm_tree *character(nlm_schema_reader *r) {
    static const nlm_code_range plain[] = {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, NLM_CODE_MAX}};
    static const nlm_code_range letters[] = {{'"', '"'}, {'/', '/'}, {'\\', '\\'}, {'b', 'b'},
                                             {'f', 'f'}, {'n', 'n'}, {'r', 'r'},   {'t', 't'}};
    if (r->character) return r->character;
    nlm_rules *rules = r->rules;
    nlm_tree *choice = nlm_tree_choice(rules), *escape = nlm_tree_sequence(rules),
             *unicode = nlm_tree_sequence(rules);
    nlm_tree_add(rules, escape, nlm_tree_string(rules, "\\"));
    nlm_tree_add(rules, escape, ranges(r, letters, 8));
    nlm_tree_add(rules, unicode, nlm_tree_string(rules, "\\u"));
    nlm_tree_add(rules, unicode, unicode_escape(r));
    nlm_tree_add(rules, choice, ranges(r, plain, 3));
    nlm_tree_add(rules, choice, escape);
    nlm_tree_add(rules, choice, unicode);
    return r->character = as_rule(r, choice);
}

static const nlm_tree *in_quotes(nlm_schema_reader *r, const nlm_tree *content) {
    nlm_tree *sequence = nlm_tree_sequence(r->rules);
    nlm_tree_add(r->rules, sequence, nlm_tree_string(r->rules, "\""));
    nlm_tree_add(r->rules, sequence, content);
    nlm_tree_add(r->rules, sequence, nlm_tree_string(r->rules, "\""));
    return sequence;
}

const nlm_tree *nlm_schema_any_string(nlm_schema_reader *r) {
    if (r->string) return r->string;
    return r->string = as_rule(r, in_quotes(r, nlm_tree_repeat(r->rules, character(r), 0, NLM_NO_LIMIT)));
}

const nlm_tree *nlm_schema_quoted(nlm_schema_reader *r, const char *text) {
    return in_quotes(r, nlm_dfa_tree(r->rules, nlm_dfa_of_words(r->rules, &text, 1), true));
}

const nlm_tree *nlm_schema_string(nlm_schema_reader *r, const nlm_conjunction *all) {
    uint32_t least, most;
    const nlm_dfa *dfa = nlm_schema_string_dfa(r, all, false);
    if (dfa) return in_quotes(r, nlm_dfa_tree(r->rules, dfa, true));
    if (!find_lengths(r, all, &least, &most)) return nlm_schema_any_string(r);
    if (most < least) return nlm_tree_choice(r->rules);
    return in_quotes(r, nlm_tree_repeat(r->rules, character(r), least, most));
}

/* ---- blanks ---------------------------------------------------------------------------------- */

/* Nothing, a blank, or a newline and what the next line is indented by: bounded, so that a model cannot go on with
 * blanks for ever. */
const nlm_tree *nlm_schema_gap(nlm_schema_reader *r) {
    nlm_rules *rules = r->rules;
    if (r->gap) return r->gap;
    nlm_tree *choice = nlm_tree_choice(rules), *line = nlm_tree_sequence(rules), *indent = nlm_tree_choice(rules);
    nlm_tree_add(rules, choice, nlm_tree_sequence(rules));
    if (!r->is_compact) {
        const nlm_code_range blank[] = {{' ', ' '}}, tab[] = {{'\t', '\t'}};
        nlm_tree_add(rules, indent, nlm_tree_repeat(rules, ranges(r, blank, 1), 0, 32));
        nlm_tree_add(rules, indent, nlm_tree_repeat(rules, ranges(r, tab, 1), 1, 8));
        nlm_tree_add(rules, line, nlm_tree_string(rules, "\n"));
        nlm_tree_add(rules, line, indent);
        nlm_tree_add(rules, choice, nlm_tree_string(rules, " "));
        nlm_tree_add(rules, choice, line);
    }
    return r->gap = as_rule(r, choice);
}

const nlm_tree *nlm_schema_blank(nlm_schema_reader *r) {
    if (r->blank) return r->blank;
    return r->blank = r->is_compact ? nlm_tree_sequence(r->rules)
                                    : nlm_tree_repeat(r->rules, nlm_tree_string(r->rules, " "), 0, 1);
}
