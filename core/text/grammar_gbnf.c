/* GBNF from text to rules: a parser that goes down as the grammar nests. */
#include "text/grammar_gbnf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

#define DEPTH_MAX 200 /* of groups within groups */

typedef struct parser {
    nlm_rules *rules;
    const char *text, *end, *at;
    uint32_t line;
    unsigned depth;
    uint32_t *slots; /* [n_slots] rule number + 1 by the hash of its name */
    size_t n_slots;
} parser;

__attribute__((format(printf, 3, 4), cold)) static void fail_at(parser *p, nlm_status code, const char *format, ...) {
    char where[32], message[400];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    snprintf(where, sizeof where, "grammar:%u", p->line);
    nlm_rules_fail(p->rules, code, where, "%s", message);
    p->at = p->end; /* every loop over the text ends */
}

static bool is_ok(const parser *p) {
    return p->rules->status == NLM_OK;
}

/* The byte at hand, 0 at the end; `offset` bytes further. A NUL in the text is no part of any syntax either. */
static char peek(const parser *p, size_t offset) {
    return (size_t)(p->end - p->at) > offset ? p->at[offset] : '\0';
}

static void fail_unexpected(parser *p, const char *expected) {
    if (p->at == p->end) {
        fail_at(p, NLM_BAD_FORMAT, "the grammar ends; expected %s", expected);
        return;
    }
    size_t length = (size_t)(p->end - p->at), n = 0;
    while (n < length && n < 20 && p->at[n] != '\n') n++;
    fail_at(p, NLM_BAD_FORMAT, "unexpected '%.*s'; expected %s", (int)(n ? n : 1), n ? p->at : " ", expected);
}

/* Blanks and comments, and with `over_lines` newlines too. */
static void skip_blanks(parser *p, bool over_lines) {
    for (;; p->at++) {
        if (peek(p, 0) == '#') {
            while (p->at < p->end && *p->at != '\n') p->at++;
        }
        const char c = peek(p, 0);
        if (c == '\n' && over_lines) {
            p->line++;
        } else if (c != ' ' && c != '\t' && !(c == '\r' && (over_lines || peek(p, 1) == '\n'))) {
            return;
        }
    }
}

static bool is_name_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* ---- rules by name --------------------------------------------------------------------------- */

static uint64_t hash_name(const char *name, size_t length) {
    uint64_t hash = UINT64_C(0xCBF29CE484222325); /* FNV-1a */
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)name[i]) * UINT64_C(0x100000001B3);
    return hash;
}

static size_t find_slot(const parser *p, const char *name, size_t length) {
    size_t slot = (size_t)hash_name(name, length) & (p->n_slots - 1);
    for (; p->slots[slot]; slot = (slot + 1) & (p->n_slots - 1)) {
        const char *other = p->rules->items[p->slots[slot] - 1].name;
        if (strncmp(other, name, length) == 0 && other[length] == '\0') break;
    }
    return slot;
}

static void grow_slots(parser *p) {
    if (p->rules->count * 2 < p->n_slots) return;
    const size_t n_slots = p->n_slots ? 2 * p->n_slots : 64;
    uint32_t *slots = nlm_rules_alloc(p->rules, n_slots, sizeof *slots);
    if (!slots) return;
    p->slots = slots;
    p->n_slots = n_slots;
    for (size_t i = 0; i < p->rules->count; i++) {
        const char *name = p->rules->items[i].name;
        slots[find_slot(p, name, strlen(name))] = (uint32_t)i + 1;
    }
}

/* The rule of this name, made if it is new. */
static uint32_t find_rule(parser *p, const char *name, size_t length) {
    grow_slots(p);
    if (!is_ok(p)) return 0;
    const size_t slot = find_slot(p, name, length);
    if (p->slots[slot]) return p->slots[slot] - 1;
    char *copy = nlm_rules_alloc(p->rules, length + 1, 1);
    if (!copy) return 0;
    memcpy(copy, name, length);
    const uint32_t rule = nlm_rules_add(p->rules, copy, p->line);
    if (is_ok(p)) p->slots[slot] = rule + 1;
    return rule;
}

static size_t name_length(const parser *p) {
    size_t n = 0;
    while (is_name_byte(peek(p, n))) n++;
    return n;
}

/* ---- characters ------------------------------------------------------------------------------ */

static uint32_t hex_digits(parser *p, unsigned count) {
    uint32_t value = 0;
    for (unsigned i = 0; i < count; i++) {
        const char c = peek(p, 0);
        const uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                               : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10
                               : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10
                                                      : 16;
        if (digit == 16) {
            fail_unexpected(p, count == 2   ? "2 hexadecimal digits"
                               : count == 4 ? "4 hexadecimal digits"
                                            : "8 hexadecimal digits");
            return 0;
        }
        value = value << 4 | digit;
        p->at++;
    }
    if (value > NLM_CODE_MAX || (value >= 0xD800 && value < 0xE000)) {
        fail_at(p, NLM_BAD_FORMAT, "U+%X is no character", value);
    }
    return value;
}

static uint32_t escaped(parser *p) {
    const char c = peek(p, 0);
    p->at += p->at < p->end;
    switch (c) {
        case 'x': return hex_digits(p, 2);
        case 'u': return hex_digits(p, 4);
        case 'U': return hex_digits(p, 8);
        case 't': return '\t';
        case 'r': return '\r';
        case 'n': return '\n';
        case '\\':
        case '"':
        case '[':
        case ']':
        case '-':
        case '^': return (uint32_t)c;
        default:
            p->at -= p->at > p->text;
            fail_unexpected(p, "an escape: \\x, \\u, \\U, \\t, \\r, \\n, \\\\, \\\", \\[, \\], \\- or \\^");
            return 0;
    }
}

/* One character of a literal or a class. */
static uint32_t character(parser *p) {
    if (peek(p, 0) == '\\') {
        p->at++;
        return escaped(p);
    }
    if (p->at == p->end || *p->at == '\n') {
        fail_at(p, NLM_BAD_FORMAT, "a literal or class does not end on its line; expected its '\"' or ']'");
        return 0;
    }
    size_t length = 1;
    const uint32_t code = nlm_utf8_next(p->at, (size_t)(p->end - p->at), &length);
    if (code >= NLM_UTF8_INVALID) {
        fail_at(p, NLM_BAD_FORMAT, "byte 0x%02X is no UTF-8", code - NLM_UTF8_INVALID);
        return 0;
    }
    p->at += length;
    return code;
}

static const nlm_tree *parse_literal(parser *p) {
    const char *start = ++p->at;
    const size_t bound = (size_t)(p->end - start) + 4; /* an escape is no shorter than what it stands for */
    size_t n = 0, length = 0;
    while (n + 1 < bound && start + n < p->end && start[n] != '"' && start[n] != '\n') n += start[n] == '\\' ? 2 : 1;
    char *bytes = nlm_rules_alloc(p->rules, n + 4, 1);
    while (bytes && is_ok(p) && peek(p, 0) != '"') {
        char utf8[4];
        const size_t more = nlm_utf8_put(character(p), utf8);
        if (!is_ok(p)) break;
        memcpy(bytes + length, utf8, more);
        length += more;
    }
    p->at += p->at < p->end;
    return nlm_tree_text(p->rules, bytes ? bytes : "", length);
}

static const nlm_tree *parse_class(parser *p) {
    nlm_code_set set = {0};
    p->at++;
    const bool is_negated = peek(p, 0) == '^';
    p->at += is_negated;
    while (is_ok(p) && peek(p, 0) != ']') {
        const uint32_t first = character(p);
        uint32_t last = first;
        if (is_ok(p) && peek(p, 0) == '-' && peek(p, 1) != ']') {
            p->at++;
            last = character(p);
        }
        if (is_ok(p) && last < first) {
            fail_at(p, NLM_BAD_FORMAT, "a range of a class goes down, from U+%04X to U+%04X", first, last);
        }
        nlm_code_set_add(p->rules, &set, first, last);
    }
    p->at += p->at < p->end;
    nlm_code_set_finish(&set);
    if (is_negated) set = nlm_code_set_complement(p->rules, &set);
    return nlm_tree_set(p->rules, &set);
}

static const nlm_tree *any_character(parser *p) {
    nlm_code_set set = {0};
    p->at++;
    nlm_code_set_add(p->rules, &set, 0, NLM_CODE_MAX);
    return nlm_tree_set(p->rules, &set);
}

/* ---- expressions ----------------------------------------------------------------------------- */

static const nlm_tree *parse_alternatives(parser *p, bool is_nested);

static const nlm_tree *parse_group(parser *p) {
    if (++p->depth > DEPTH_MAX) {
        fail_at(p, NLM_LIMIT, "more than %d groups within one another", DEPTH_MAX);
        return nlm_tree_sequence(p->rules);
    }
    p->at++;
    skip_blanks(p, true);
    const nlm_tree *inner = parse_alternatives(p, true);
    if (is_ok(p) && peek(p, 0) != ')') fail_unexpected(p, "')' or what a group is made of");
    p->at += p->at < p->end;
    p->depth--;
    return inner;
}

static uint32_t parse_count(parser *p) {
    uint64_t value = 0;
    if (peek(p, 0) < '0' || peek(p, 0) > '9') fail_unexpected(p, "a number of times");
    while (is_ok(p) && peek(p, 0) >= '0' && peek(p, 0) <= '9') {
        value = value * 10 + (uint64_t)(*p->at++ - '0');
        if (value > NLM_GBNF_REPEAT_MAX) {
            fail_at(p, NLM_LIMIT, "a repeat of more than %u times", NLM_GBNF_REPEAT_MAX);
        }
    }
    skip_blanks(p, false);
    return (uint32_t)value;
}

/* {m}, {m,} or {m,n} */
static const nlm_tree *parse_braces(parser *p, const nlm_tree *item) {
    p->at++;
    skip_blanks(p, false);
    const uint32_t least = parse_count(p);
    uint32_t most = least;
    if (is_ok(p) && peek(p, 0) == ',') {
        p->at++;
        skip_blanks(p, false);
        most = peek(p, 0) == '}' ? NLM_NO_LIMIT : parse_count(p);
    }
    if (!is_ok(p)) return item;
    if (peek(p, 0) != '}') fail_unexpected(p, "'}'");
    if (most < least) fail_at(p, NLM_BAD_FORMAT, "a repeat of %u to %u times", least, most);
    p->at += p->at < p->end;
    return nlm_tree_repeat(p->rules, item, least, most);
}

static const nlm_tree *parse_repeats(parser *p, const nlm_tree *item, bool is_nested) {
    for (unsigned n = 0; is_ok(p); n++) {
        skip_blanks(p, is_nested);
        const char c = peek(p, 0);
        if (c != '*' && c != '+' && c != '?' && c != '{') break;
        if (n == DEPTH_MAX) fail_at(p, NLM_LIMIT, "more than %d repeats of one another", DEPTH_MAX);
        if (c == '{') {
            item = parse_braces(p, item);
            continue;
        }
        p->at++;
        item = nlm_tree_repeat(p->rules, item, c == '+', c == '?' ? 1 : NLM_NO_LIMIT);
    }
    return item;
}

/* Whether a name at hand begins the next rule. */
static bool is_definition(const parser *p, size_t length) {
    while (peek(p, length) == ' ' || peek(p, length) == '\t') length++;
    return peek(p, length) == ':' && peek(p, length + 1) == ':';
}

/* NULL: nothing that stands in a sequence is at hand. */
static const nlm_tree *parse_item(parser *p) {
    const char c = peek(p, 0);
    if (c == '"') return parse_literal(p);
    if (c == '[') return parse_class(p);
    if (c == '(') return parse_group(p);
    if (c == '.') return any_character(p);
    if (c == '<' || c == '!') {
        fail_at(p, NLM_UNSUPPORTED, "tokens by name or number (<...>, !<...>) are not supported; write their text");
        return NULL;
    }
    const size_t length = name_length(p);
    if (length == 0) return NULL;
    if (is_definition(p, length)) {
        fail_unexpected(p, "a newline before the next rule");
        return NULL;
    }
    const uint32_t rule = find_rule(p, p->at, length);
    p->at += length;
    return nlm_tree_rule(p->rules, rule);
}

static const nlm_tree *parse_sequence(parser *p, bool is_nested) {
    nlm_tree *sequence = nlm_tree_sequence(p->rules);
    for (const nlm_tree *item; is_ok(p) && (item = parse_item(p));) {
        nlm_tree_add(p->rules, sequence, parse_repeats(p, item, is_nested));
    }
    return sequence;
}

/* A rule goes on in the next line where that begins with '|'. */
static bool skip_to_bar(parser *p) {
    const char *at = p->at;
    const uint32_t line = p->line;
    skip_blanks(p, true);
    if (peek(p, 0) == '|') return true;
    p->at = at;
    p->line = line;
    return false;
}

static const nlm_tree *parse_alternatives(parser *p, bool is_nested) {
    nlm_tree *choice = nlm_tree_choice(p->rules);
    nlm_tree_add(p->rules, choice, parse_sequence(p, is_nested));
    while (is_ok(p) && skip_to_bar(p)) {
        p->at++;
        skip_blanks(p, true);
        nlm_tree_add(p->rules, choice, parse_sequence(p, is_nested));
    }
    return choice;
}

static void parse_rule(parser *p) {
    const size_t length = name_length(p);
    if (length == 0) {
        fail_unexpected(p, "the name of a rule (letters, digits, '-' and '_')");
        return;
    }
    const uint32_t rule = find_rule(p, p->at, length);
    if (is_ok(p) && p->rules->items[rule].body) {
        fail_at(p, NLM_BAD_FORMAT, "the rule '%.60s' is there twice", p->rules->items[rule].name);
        return;
    }
    p->at += length;
    skip_blanks(p, false);
    if (!is_ok(p)) return;
    if (peek(p, 0) != ':' || peek(p, 1) != ':' || peek(p, 2) != '=') {
        fail_unexpected(p, "'::='");
        return;
    }
    p->at += 3;
    skip_blanks(p, true);
    const nlm_tree *body = parse_alternatives(p, false);
    if (is_ok(p)) p->rules->items[rule].body = body;
    skip_blanks(p, false);
    if (p->at < p->end && peek(p, 0) != '\n') fail_unexpected(p, "what a rule is made of, or a newline behind it");
}

static void check_defined(parser *p) {
    for (size_t i = 0; is_ok(p) && i < p->rules->count; i++) {
        const nlm_rule *rule = &p->rules->items[i];
        if (rule->body) continue;
        p->line = rule->line;
        fail_at(p, NLM_BAD_FORMAT, "the rule '%.60s' is not defined", rule->name);
    }
}

void nlm_gbnf_read(nlm_rules *rules, const char *text, size_t length) {
    parser p = {.rules = rules, .text = text, .end = text + length, .at = text, .line = 1};
    rules->root = find_rule(&p, "root", strlen("root"));
    if (is_ok(&p)) rules->items[rules->root].line = 0;
    skip_blanks(&p, true);
    while (is_ok(&p) && p.at < p.end) {
        parse_rule(&p);
        skip_blanks(&p, true);
    }
    if (is_ok(&p) && !rules->items[rules->root].body) {
        nlm_rules_fail(rules, NLM_BAD_FORMAT, NLM_GRAMMAR_AT, "there is no rule 'root', where a text begins");
    }
    check_defined(&p);
}
