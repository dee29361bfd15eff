/* Regular expressions from text to trees. */
#include "text/grammar_regex.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

#define DEPTH_MAX  100     /* of groups within groups */
#define REPEAT_MAX 100000u /* times */

typedef struct parser {
    nlm_rules *rules;
    const char *where, *pattern, *at;
    unsigned depth;
} parser;

static bool is_ok(const parser *p) {
    return p->rules->status == NLM_OK;
}

__attribute__((format(printf, 3, 4), cold)) static void fail_at(parser *p, nlm_status code, const char *format, ...) {
    char message[300];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    nlm_rules_fail(p->rules, code, p->where, "the pattern '%.120s' at its byte %zu: %s", p->pattern,
                   (size_t)(p->at - p->pattern), message);
}

static uint32_t next_code(parser *p) {
    size_t length = 1;
    const uint32_t code = nlm_utf8_next(p->at, strlen(p->at), &length);
    p->at += length;
    return code < NLM_UTF8_INVALID ? code : 0xFFFD; /* JSON text was checked to be UTF-8 */
}

/* ---- classes --------------------------------------------------------------------------------- */

static nlm_code_set set_of(parser *p, const nlm_code_range *ranges, size_t count, bool is_negated) {
    nlm_code_set set = {0};
    for (size_t i = 0; i < count; i++) nlm_code_set_add(p->rules, &set, ranges[i].first, ranges[i].last);
    nlm_code_set_finish(&set);
    return is_negated ? nlm_code_set_complement(p->rules, &set) : set;
}

/* \d, \w, \s and their opposites; false for another letter. */
static bool class_of_letter(parser *p, char letter, nlm_code_set *out) {
    static const nlm_code_range digits[] = {{'0', '9'}};
    static const nlm_code_range words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    static const nlm_code_range blanks[] = {{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680},
                                            {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                            {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
    switch (letter) {
        case 'd':
        case 'D': *out = set_of(p, digits, 1, letter == 'D'); return true;
        case 'w':
        case 'W': *out = set_of(p, words, 4, letter == 'W'); return true;
        case 's':
        case 'S': *out = set_of(p, blanks, sizeof blanks / sizeof *blanks, letter == 'S'); return true;
        default: return false;
    }
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static uint32_t hex_digits(parser *p, unsigned count) {
    uint32_t value = 0;
    for (unsigned i = 0; i < count; i++) {
        const int digit = hex_value(*p->at);
        if (digit < 0) {
            fail_at(p, NLM_BAD_FORMAT, "expected %u hexadecimal digits", count);
            return 0;
        }
        value = value << 4 | (uint32_t)digit;
        p->at++;
    }
    return value;
}

/* \u1234, a pair of surrogates, or \u{1F600} */
static uint32_t unicode_escape(parser *p) {
    if (*p->at != '{') {
        const uint32_t code = hex_digits(p, 4);
        if (code < 0xD800 || code >= 0xDC00 || p->at[0] != '\\' || p->at[1] != 'u') return code;
        p->at += 2;
        const uint32_t low = hex_digits(p, 4);
        if (is_ok(p) && (low < 0xDC00 || low >= 0xE000)) fail_at(p, NLM_BAD_FORMAT, "half of a surrogate pair");
        return 0x10000 + ((code - 0xD800) << 10) + ((low - 0xDC00) & 0x3FF);
    }
    uint32_t value = 0;
    for (p->at++; hex_value(*p->at) >= 0 && value <= NLM_CODE_MAX; p->at++) {
        value = value << 4 | (uint32_t)hex_value(*p->at);
    }
    if (*p->at != '}' || value > NLM_CODE_MAX) fail_at(p, NLM_BAD_FORMAT, "expected a code point and '}'");
    p->at += *p->at == '}';
    return value;
}

/* One character behind a backslash. */
static uint32_t escaped(parser *p, bool is_in_class) {
    const char c = *p->at;
    p->at += c != '\0';
    switch (c) {
        case 't': return '\t';
        case 'n': return '\n';
        case 'v': return '\v';
        case 'f': return '\f';
        case 'r': return '\r';
        case 'x': return hex_digits(p, 2);
        case 'u': return unicode_escape(p);
        case 'c':
            if ((*p->at >= 'a' && *p->at <= 'z') || (*p->at >= 'A' && *p->at <= 'Z')) return (uint32_t)*p->at++ & 31;
            fail_at(p, NLM_BAD_FORMAT, "\\c without a letter");
            return 0;
        case '0':
            if (*p->at < '0' || *p->at > '9') return 0;
            break;
        case 'b':
            if (is_in_class) return '\b';
            break;
        default: break;
    }
    if (c == '\0') {
        fail_at(p, NLM_BAD_FORMAT, "it ends in a backslash");
    } else if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
        p->at--;
        fail_at(p, NLM_UNSUPPORTED,
                "'\\%c' is not supported (nor are backreferences, word boundaries and properties)", c);
    } else {
        p->at--;
        return next_code(p);
    }
    return 0;
}

/* One character or a class like \d in a class; true for the latter, which is added to the set. */
static bool class_atom(parser *p, nlm_code_set *set, uint32_t *out) {
    nlm_code_set letters;
    *out = 0;
    if (*p->at != '\\') {
        *out = next_code(p);
        return false;
    }
    p->at++;
    if (!class_of_letter(p, *p->at, &letters)) {
        *out = escaped(p, true);
        return false;
    }
    p->at++;
    for (size_t i = 0; i < letters.count; i++) {
        nlm_code_set_add(p->rules, set, letters.ranges[i].first, letters.ranges[i].last);
    }
    return true;
}

static const nlm_tree *parse_class(parser *p) {
    nlm_code_set set = {0};
    const bool is_negated = *++p->at == '^';
    p->at += is_negated;
    while (is_ok(p) && *p->at != ']') {
        uint32_t first, last;
        if (*p->at == '\0') {
            fail_at(p, NLM_BAD_FORMAT, "a class without its ']'");
            break;
        }
        if (class_atom(p, &set, &first)) continue;
        last = first;
        if (p->at[0] == '-' && p->at[1] != ']' && p->at[1] != '\0') {
            p->at++;
            if (class_atom(p, &set, &last)) {
                nlm_code_set_add(p->rules, &set, '-', '-');
                last = first;
            }
        }
        if (is_ok(p) && last < first) fail_at(p, NLM_BAD_FORMAT, "a range of a class goes down");
        nlm_code_set_add(p->rules, &set, first, last);
    }
    p->at += *p->at == ']';
    nlm_code_set_finish(&set);
    if (is_negated) set = nlm_code_set_complement(p->rules, &set);
    return nlm_tree_set(p->rules, &set);
}

/* ---- expressions ----------------------------------------------------------------------------- */

static const nlm_tree *one_code(parser *p, uint32_t code) {
    nlm_code_set set = {0};
    nlm_code_set_add(p->rules, &set, code, code);
    return nlm_tree_set(p->rules, &set);
}

static const nlm_tree *all_but_line_ends(parser *p) {
    static const nlm_code_range ends[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
    const nlm_code_set set = set_of(p, ends, 3, true);
    return nlm_tree_set(p->rules, &set);
}

static const nlm_tree *parse_alternatives(parser *p);

static const nlm_tree *parse_group(parser *p) {
    p->at++;
    if (p->at[0] == '?' && p->at[1] == ':') {
        p->at += 2;
    } else if (p->at[0] == '?' && p->at[1] == '<' && p->at[2] != '=' && p->at[2] != '!') {
        while (*p->at && *p->at != '>') p->at++;
        p->at += *p->at == '>';
    } else if (p->at[0] == '?') {
        fail_at(p, NLM_UNSUPPORTED, "lookahead, lookbehind and flags, '(%.2s', are not supported", p->at);
        return nlm_tree_sequence(p->rules);
    }
    if (++p->depth > DEPTH_MAX) fail_at(p, NLM_LIMIT, "more than %d groups within one another", DEPTH_MAX);
    const nlm_tree *inner = is_ok(p) ? parse_alternatives(p) : nlm_tree_sequence(p->rules);
    if (is_ok(p) && *p->at != ')') fail_at(p, NLM_BAD_FORMAT, "a group without its ')'");
    p->at += *p->at == ')';
    p->depth--;
    return inner;
}

static const nlm_tree *parse_escape(parser *p) {
    nlm_code_set set;
    p->at++;
    if (!class_of_letter(p, *p->at, &set)) return one_code(p, escaped(p, false));
    p->at++;
    return nlm_tree_set(p->rules, &set);
}

/* {m}, {m,} or {m,n} at hand; false: the brace stands for itself. */
static bool parse_braces(parser *p, uint32_t *least, uint32_t *most) {
    const char *at = p->at + 1;
    uint64_t counts[2] = {0, 0};
    int n = 0;
    for (; n < 2; n++) {
        const char *start = at;
        for (; *at >= '0' && *at <= '9'; at++) {
            counts[n] = counts[n] > REPEAT_MAX ? counts[n] : counts[n] * 10 + (uint64_t)(*at - '0');
        }
        if (at == start && (n == 0 || *at != '}')) return false;
        if (at == start) counts[1] = NLM_NO_LIMIT;
        if (*at != ',' || n == 1) break;
        at++;
    }
    if (*at != '}') return false;
    if (n == 0) counts[1] = counts[0];
    p->at = at + 1;
    if (counts[0] > REPEAT_MAX || (counts[1] > REPEAT_MAX && counts[1] != NLM_NO_LIMIT)) {
        fail_at(p, NLM_LIMIT, "a repeat of more than %u times", REPEAT_MAX);
    } else if (counts[1] < counts[0]) {
        fail_at(p, NLM_BAD_FORMAT, "a repeat whose bounds go down");
    }
    *least = (uint32_t)counts[0];
    *most = (uint32_t)counts[1];
    return true;
}

static const nlm_tree *parse_quantifier(parser *p, const nlm_tree *item) {
    uint32_t least = 0, most = NLM_NO_LIMIT;
    const char c = *p->at;
    if (c == '*' || c == '+' || c == '?') {
        p->at++;
        least = c == '+';
        most = c == '?' ? 1 : NLM_NO_LIMIT;
    } else if (c != '{' || !parse_braces(p, &least, &most)) {
        return item;
    }
    p->at += *p->at == '?'; /* a lazy one matches the same texts */
    if (*p->at == '*' || *p->at == '+' || *p->at == '?') fail_at(p, NLM_BAD_FORMAT, "a quantifier of a quantifier");
    return nlm_tree_repeat(p->rules, item, least, most);
}

static const nlm_tree *parse_term(parser *p) {
    const char c = *p->at;
    if (c == '^' || c == '$') {
        p->at++;
        return nlm_tree_rule(p->rules, c == '^' ? NLM_REGEX_START : NLM_REGEX_END);
    }
    if (c == '*' || c == '+' || c == '?') {
        fail_at(p, NLM_BAD_FORMAT, "nothing to repeat");
        return nlm_tree_sequence(p->rules);
    }
    const nlm_tree *atom;
    if (c == '(') {
        atom = parse_group(p);
    } else if (c == '[') {
        atom = parse_class(p);
    } else if (c == '\\') {
        atom = parse_escape(p);
    } else if (c == '.') {
        p->at++;
        atom = all_but_line_ends(p);
    } else {
        atom = one_code(p, next_code(p));
    }
    return is_ok(p) ? parse_quantifier(p, atom) : atom;
}

static const nlm_tree *parse_alternatives(parser *p) {
    nlm_tree *choice = nlm_tree_choice(p->rules);
    for (bool is_more = true; is_more && is_ok(p);) {
        nlm_tree *sequence = nlm_tree_sequence(p->rules);
        while (is_ok(p) && *p->at && *p->at != '|' && *p->at != ')') {
            nlm_tree_add(p->rules, sequence, parse_term(p));
        }
        nlm_tree_add(p->rules, choice, sequence);
        is_more = *p->at == '|';
        p->at += is_more;
    }
    return choice;
}

const nlm_tree *nlm_regex_read(nlm_rules *rules, const char *where, const char *pattern) {
    parser p = {.rules = rules, .where = where, .pattern = pattern, .at = pattern};
    const nlm_code_range all[] = {{0, NLM_CODE_MAX}};
    const nlm_tree *match = parse_alternatives(&p);
    if (is_ok(&p) && *p.at) fail_at(&p, NLM_BAD_FORMAT, "a ')' without its '('");
    const nlm_code_set any = set_of(&p, all, 1, false);
    const nlm_tree *around = nlm_tree_repeat(rules, nlm_tree_set(rules, &any), 0, NLM_NO_LIMIT);
    nlm_tree *whole = nlm_tree_sequence(rules);
    nlm_tree_add(rules, whole, around);
    nlm_tree_add(rules, whole, match);
    nlm_tree_add(rules, whole, around);
    return whole;
}
