/* Expressions of chat templates: from tokens to a tree. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja_parser.h"
#include "text/jinja_run.h"

static nlm_jinja_node *parse_or(nlm_jinja_parser *p);
static nlm_jinja_node *parse_unary(nlm_jinja_parser *p, bool with_filters);

static nlm_jinja_node *make(nlm_jinja_parser *p, nlm_jinja_node_kind kind, nlm_jinja_node *a, nlm_jinja_node *b) {
    nlm_jinja_node *node = nlm_jinja_node_new(p, kind);
    node->a = a;
    node->b = b;
    return node;
}

/* ---- what stands alone -------------------------------------------------------------------- */

/* A number's text without its '_'. */
static void number_text(const nlm_jinja_token *token, char *out, size_t capacity) {
    size_t n = 0;
    for (size_t i = 0; i < token->length && n + 1 < capacity; i++) {
        if (token->text[i] != '_') out[n++] = token->text[i];
    }
    out[n] = 0;
}

static nlm_jinja_value read_integer(nlm_jinja_parser *p, const char *text) {
    const bool has_prefix = text[0] == '0' && text[1] && strchr("xXoObB", text[1]);
    const int base = !has_prefix ? 10 : strchr("xX", text[1]) ? 16 : strchr("oO", text[1]) ? 8 : 2;
    char *end;
    errno = 0;
    const long long number = strtoll(text + (has_prefix ? 2 : 0), &end, base);
    if (*end || errno) nlm_jinja_parse_fail(p, NLM_BAD_FORMAT, "'%s' is no integer of 64 bits", text);
    return nlm_jinja_int(number);
}

static nlm_jinja_node *parse_number(nlm_jinja_parser *p) {
    char text[80];
    number_text(p->at, text, sizeof text);
    nlm_jinja_node *node = nlm_jinja_node_new(p, NLM_JINJA_CONSTANT);
    node->value = p->at->kind == NLM_JINJA_TOKEN_FLOAT ? nlm_jinja_float(strtod(text, NULL)) : read_integer(p, text);
    nlm_jinja_advance(p);
    return node;
}

/* Strings that follow one another are one. */
static nlm_jinja_node *parse_string(nlm_jinja_parser *p) {
    nlm_jinja_node *node = nlm_jinja_node_new(p, NLM_JINJA_CONSTANT);
    const nlm_jinja_token *first = p->at;
    size_t length = 0;
    for (; p->at->kind == NLM_JINJA_TOKEN_STRING; p->at++) length += p->at->length;
    char *text = nlm_arena_alloc(&p->jinja->arena, length + 1);
    if (!text) {
        nlm_jinja_parse_fail(p, NLM_OUT_OF_MEMORY, "no memory for the template");
        return node;
    }
    size_t n = 0;
    for (const nlm_jinja_token *token = first; token < p->at; n += (token++)->length) {
        memcpy(text + n, token->text, token->length);
    }
    node->value = nlm_jinja_template_text(p, text, length);
    return node;
}

static nlm_jinja_node *parse_name(nlm_jinja_parser *p) {
    static const struct {
        const char *name;
        nlm_jinja_value value;
    } constants[] = {
        {"true", {.type = NLM_JINJA_BOOL, .boolean = true}},
        {"True", {.type = NLM_JINJA_BOOL, .boolean = true}},
        {"false", {.type = NLM_JINJA_BOOL}},
        {"False", {.type = NLM_JINJA_BOOL}},
        {"none", {.type = NLM_JINJA_NONE}},
        {"None", {.type = NLM_JINJA_NONE}},
    };
    nlm_jinja_node *node = nlm_jinja_node_new(p, NLM_JINJA_NAME);
    node->name = nlm_jinja_expect_name(p);
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        if (strcmp(node->name, constants[i].name) != 0) continue;
        node->kind = NLM_JINJA_CONSTANT;
        node->value = constants[i].value;
    }
    return node;
}

/* Items up to `close`, whose opening bracket is at hand. */
static nlm_jinja_node *parse_items(nlm_jinja_parser *p, nlm_jinja_node_kind kind, const char *close) {
    nlm_jinja_node *node = nlm_jinja_node_new(p, kind);
    nlm_jinja_chain items = {0};
    nlm_jinja_advance(p);
    while (!nlm_jinja_is_at(p, close) && p->status == NLM_OK) {
        if (items.first) nlm_jinja_expect(p, ",");
        if (nlm_jinja_is_at(p, close)) break;
        nlm_jinja_node *item = nlm_jinja_parse_expression(p);
        if (kind == NLM_JINJA_DICT_OF) {
            nlm_jinja_expect(p, ":");
            item = make(p, NLM_JINJA_PAIR, item, nlm_jinja_parse_expression(p));
        }
        nlm_jinja_chain_add(&items, item);
    }
    nlm_jinja_expect(p, close);
    node->list = items.first;
    return node;
}

static nlm_jinja_node *parse_parentheses(nlm_jinja_parser *p) {
    nlm_jinja_advance(p);
    nlm_jinja_node *node =
        nlm_jinja_is_at(p, ")") ? nlm_jinja_node_new(p, NLM_JINJA_TUPLE_OF) : nlm_jinja_parse_tuple(p, true);
    nlm_jinja_expect(p, ")");
    return node;
}

static nlm_jinja_node *parse_primary(nlm_jinja_parser *p) {
    switch (p->at->kind) {
        case NLM_JINJA_TOKEN_NAME: return parse_name(p);
        case NLM_JINJA_TOKEN_STRING: return parse_string(p);
        case NLM_JINJA_TOKEN_INTEGER:
        case NLM_JINJA_TOKEN_FLOAT: return parse_number(p);
        default: break;
    }
    if (nlm_jinja_is_at(p, "(")) return parse_parentheses(p);
    if (nlm_jinja_is_at(p, "[")) return parse_items(p, NLM_JINJA_LIST_OF, "]");
    if (nlm_jinja_is_at(p, "{")) return parse_items(p, NLM_JINJA_DICT_OF, "}");
    nlm_jinja_fail_unexpected(p, "an expression");
    return nlm_jinja_node_new(p, NLM_JINJA_CONSTANT);
}

/* ---- what follows a value ----------------------------------------------------------------- */

static nlm_jinja_node *parse_argument(nlm_jinja_parser *p) {
    const bool is_list = nlm_jinja_is_at(p, "*"), is_dict = nlm_jinja_is_at(p, "**");
    nlm_jinja_node *node;
    if (is_list || is_dict) {
        nlm_jinja_advance(p);
        node = make(p, NLM_JINJA_SPREAD, nlm_jinja_parse_expression(p), NULL);
        node->op = is_dict ? NLM_JINJA_POWER : NLM_JINJA_STAR;
        return node;
    }
    const nlm_jinja_token *next = p->at->kind == NLM_JINJA_TOKEN_NAME ? p->at + 1 : p->at;
    if (next != p->at && next->kind == NLM_JINJA_TOKEN_OPERATOR && next->length == 1 && next->text[0] == '=') {
        node = nlm_jinja_node_new(p, NLM_JINJA_NAMED);
        node->name = nlm_jinja_expect_name(p);
        nlm_jinja_advance(p);
        node->a = nlm_jinja_parse_expression(p);
        return node;
    }
    return nlm_jinja_parse_expression(p);
}

/* "(...)": the arguments, plain ones first. */
static nlm_jinja_node *parse_arguments(nlm_jinja_parser *p) {
    nlm_jinja_chain arguments = {0};
    bool is_named = false;
    nlm_jinja_expect(p, "(");
    while (!nlm_jinja_is_at(p, ")") && p->status == NLM_OK) {
        if (arguments.first) nlm_jinja_expect(p, ",");
        if (nlm_jinja_is_at(p, ")")) break;
        nlm_jinja_node *argument = parse_argument(p);
        const bool is_plain = argument->kind != NLM_JINJA_NAMED && argument->kind != NLM_JINJA_SPREAD;
        if (is_plain && is_named) {
            nlm_jinja_parse_fail(p, NLM_BAD_FORMAT, "an argument without a name follows one with a name");
        }
        is_named = is_named || !is_plain;
        nlm_jinja_chain_add(&arguments, argument);
    }
    nlm_jinja_expect(p, ")");
    return arguments.first;
}

static nlm_jinja_node *parse_call(nlm_jinja_parser *p, nlm_jinja_node *callee) {
    nlm_jinja_node *node = make(p, NLM_JINJA_CALL, callee, NULL);
    node->list = parse_arguments(p);
    return node;
}

/* What stands between brackets: an index, or a slice. */
static nlm_jinja_node *parse_index(nlm_jinja_parser *p) {
    nlm_jinja_node *bounds[3] = {0};
    size_t n_colons = 0;
    for (;;) {
        if (nlm_jinja_is_at(p, "]") || p->status != NLM_OK) break;
        if (!nlm_jinja_is_at(p, ":")) bounds[n_colons] = nlm_jinja_parse_expression(p);
        if (n_colons == 2 || !nlm_jinja_skip(p, ":")) break;
        n_colons++;
    }
    if (n_colons == 0) {
        if (!bounds[0]) nlm_jinja_fail_unexpected(p, "an index");
        return bounds[0] ? bounds[0] : nlm_jinja_node_new(p, NLM_JINJA_CONSTANT);
    }
    nlm_jinja_node *slice = make(p, NLM_JINJA_SLICE, bounds[0], bounds[1]);
    slice->c = bounds[2];
    return slice;
}

static nlm_jinja_node *parse_dot(nlm_jinja_parser *p, nlm_jinja_node *of) {
    nlm_jinja_advance(p);
    if (p->at->kind == NLM_JINJA_TOKEN_INTEGER) return make(p, NLM_JINJA_ITEM, of, parse_number(p));
    nlm_jinja_node *node = make(p, NLM_JINJA_ATTRIBUTE, of, NULL);
    node->name = nlm_jinja_expect_name(p);
    return node;
}

static nlm_jinja_node *parse_postfix(nlm_jinja_parser *p, nlm_jinja_node *node) {
    while (p->status == NLM_OK) {
        if (nlm_jinja_is_at(p, ".")) {
            node = parse_dot(p, node);
        } else if (nlm_jinja_skip(p, "[")) {
            node = make(p, NLM_JINJA_ITEM, node, parse_index(p));
            nlm_jinja_expect(p, "]");
        } else if (nlm_jinja_is_at(p, "(")) {
            node = parse_call(p, node);
        } else {
            break;
        }
    }
    return node;
}

nlm_jinja_node *nlm_jinja_parse_filters(nlm_jinja_parser *p, nlm_jinja_node *input, bool starts_inline) {
    while (p->status == NLM_OK && (starts_inline || nlm_jinja_skip(p, "|"))) {
        starts_inline = false;
        nlm_jinja_node *node = make(p, NLM_JINJA_FILTER, input, NULL);
        node->name = nlm_jinja_expect_name(p);
        node->entry = nlm_jinja_find_filter(node->name);
        if (nlm_jinja_is_at(p, "(")) node->list = parse_arguments(p);
        input = node;
    }
    return input;
}

/* A test's argument may stand without parentheses. */
static bool begins_argument(const nlm_jinja_parser *p) {
    static const char *const others[] = {"else", "or", "and"}, *const brackets[] = {"[", "{"};
    switch (p->at->kind) {
        case NLM_JINJA_TOKEN_STRING:
        case NLM_JINJA_TOKEN_INTEGER:
        case NLM_JINJA_TOKEN_FLOAT: return true;
        case NLM_JINJA_TOKEN_NAME:
            for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
                if (nlm_jinja_is_at(p, others[i])) return false;
            }
            return true;
        default: return nlm_jinja_is_at(p, brackets[0]) || nlm_jinja_is_at(p, brackets[1]);
    }
}

static nlm_jinja_node *parse_test(nlm_jinja_parser *p, nlm_jinja_node *of) {
    const bool is_negated = nlm_jinja_skip(p, "not");
    nlm_jinja_node *node = make(p, NLM_JINJA_TEST, of, NULL);
    node->name = nlm_jinja_expect_name(p);
    node->entry = nlm_jinja_find_test(node->name);
    if (nlm_jinja_is_at(p, "(")) {
        node->list = parse_arguments(p);
    } else if (nlm_jinja_is_at(p, "is")) {
        nlm_jinja_parse_fail(p, NLM_BAD_FORMAT, "tests cannot follow one another");
    } else if (begins_argument(p)) {
        node->list = parse_postfix(p, parse_primary(p));
    }
    return is_negated ? make(p, NLM_JINJA_NOT, node, NULL) : node;
}

static nlm_jinja_node *parse_filters_and_tests(nlm_jinja_parser *p, nlm_jinja_node *node) {
    while (p->status == NLM_OK) {
        if (nlm_jinja_is_at(p, "|")) {
            node = nlm_jinja_parse_filters(p, node, false);
        } else if (nlm_jinja_skip(p, "is")) {
            node = parse_test(p, node);
        } else if (nlm_jinja_is_at(p, "(")) {
            node = parse_call(p, node);
        } else {
            break;
        }
    }
    return node;
}

/* ---- operators ---------------------------------------------------------------------------- */

typedef struct binary_operator {
    const char *text;
    nlm_jinja_operator op;
    int level; /* higher ones bind tighter; all of them from the left */
} binary_operator;

static const binary_operator binaries[] = {
    {"+", NLM_JINJA_PLUS, 1},  {"-", NLM_JINJA_MINUS, 1},  {"~", NLM_JINJA_TILDE, 2},   {"*", NLM_JINJA_STAR, 3},
    {"/", NLM_JINJA_SLASH, 3}, {"//", NLM_JINJA_FLOOR, 3}, {"%", NLM_JINJA_PERCENT, 3}, {"**", NLM_JINJA_POWER, 4},
};
static const binary_operator comparisons[] = {
    {"==", NLM_JINJA_EQ, 0}, {"!=", NLM_JINJA_NE, 0}, {"<", NLM_JINJA_LT, 0},  {"<=", NLM_JINJA_LE, 0},
    {">", NLM_JINJA_GT, 0},  {">=", NLM_JINJA_GE, 0}, {"in", NLM_JINJA_IN, 0},
};

static const binary_operator *find_operator(const nlm_jinja_parser *p, const binary_operator *table, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (nlm_jinja_is_at(p, table[i].text)) return &table[i];
    }
    return NULL;
}

static nlm_jinja_node *parse_unary(nlm_jinja_parser *p, bool with_filters) {
    nlm_jinja_node *node;
    if (!nlm_jinja_parse_enter(p)) return nlm_jinja_node_new(p, NLM_JINJA_CONSTANT);
    const bool is_minus = nlm_jinja_is_at(p, "-");
    if (is_minus || nlm_jinja_is_at(p, "+")) {
        nlm_jinja_advance(p);
        node = make(p, NLM_JINJA_SIGN, parse_unary(p, false), NULL);
        node->op = is_minus ? NLM_JINJA_MINUS : NLM_JINJA_PLUS;
    } else {
        node = parse_primary(p);
    }
    node = parse_postfix(p, node);
    if (with_filters) node = parse_filters_and_tests(p, node);
    nlm_jinja_parse_exit(p);
    return node;
}

/* Operators of this level and above. */
static nlm_jinja_node *parse_binary(nlm_jinja_parser *p, int level) {
    nlm_jinja_node *left = parse_unary(p, true);
    const binary_operator *found;
    while (p->status == NLM_OK && (found = find_operator(p, binaries, sizeof binaries / sizeof *binaries)) &&
           found->level >= level) {
        nlm_jinja_advance(p);
        left = make(p, NLM_JINJA_BINARY, left, parse_binary(p, found->level + 1));
        left->op = found->op;
    }
    return left;
}

/* "a < b < c" is one comparison. */
static nlm_jinja_node *parse_compare(nlm_jinja_parser *p) {
    nlm_jinja_node *left = parse_binary(p, 1);
    nlm_jinja_chain operands = {0};
    while (p->status == NLM_OK) {
        const bool is_negated = nlm_jinja_is_at(p, "not") && p->at[1].length == 2 && !memcmp(p->at[1].text, "in", 2);
        if (is_negated) nlm_jinja_advance(p);
        const binary_operator *found = find_operator(p, comparisons, sizeof comparisons / sizeof *comparisons);
        if (!found) break;
        nlm_jinja_advance(p);
        nlm_jinja_node *operand = make(p, NLM_JINJA_OPERAND, parse_binary(p, 1), NULL);
        operand->op = is_negated ? NLM_JINJA_NOT_IN : found->op;
        nlm_jinja_chain_add(&operands, operand);
    }
    if (!operands.first) return left;
    nlm_jinja_node *node = make(p, NLM_JINJA_COMPARE, left, NULL);
    node->list = operands.first;
    return node;
}

static nlm_jinja_node *parse_not(nlm_jinja_parser *p) {
    bool is_negated = false, is_not = false;
    for (; nlm_jinja_skip(p, "not"); is_not = true) is_negated = !is_negated;
    nlm_jinja_node *node = parse_compare(p);
    if (is_not && !is_negated) node = make(p, NLM_JINJA_NOT, node, NULL); /* twice: a truth value */
    return is_not ? make(p, NLM_JINJA_NOT, node, NULL) : node;
}

static nlm_jinja_node *parse_and(nlm_jinja_parser *p) {
    nlm_jinja_node *left = parse_not(p);
    while (p->status == NLM_OK && nlm_jinja_skip(p, "and")) left = make(p, NLM_JINJA_AND, left, parse_not(p));
    return left;
}

static nlm_jinja_node *parse_or(nlm_jinja_parser *p) {
    nlm_jinja_node *left = parse_and(p);
    while (p->status == NLM_OK && nlm_jinja_skip(p, "or")) left = make(p, NLM_JINJA_OR, left, parse_and(p));
    return left;
}

nlm_jinja_node *nlm_jinja_parse_expression(nlm_jinja_parser *p) {
    if (!nlm_jinja_parse_enter(p)) return nlm_jinja_node_new(p, NLM_JINJA_CONSTANT);
    nlm_jinja_node *node = parse_or(p);
    while (p->status == NLM_OK && nlm_jinja_skip(p, "if")) {
        node = make(p, NLM_JINJA_CONDITION, parse_or(p), node);
        if (nlm_jinja_skip(p, "else")) node->c = nlm_jinja_parse_expression(p);
    }
    nlm_jinja_parse_exit(p);
    return node;
}

static bool ends_tuple(const nlm_jinja_parser *p) {
    return p->at->kind == NLM_JINJA_TOKEN_PRINT_CLOSE || p->at->kind == NLM_JINJA_TOKEN_BLOCK_CLOSE ||
           nlm_jinja_is_at(p, ")") || nlm_jinja_is_at(p, "in") || nlm_jinja_is_at(p, "=") ||
           nlm_jinja_is_at(p, "recursive");
}

static nlm_jinja_node *parse_tuple_of(nlm_jinja_parser *p, nlm_jinja_node *(*parse)(nlm_jinja_parser *p)) {
    nlm_jinja_node *first = parse(p);
    if (!nlm_jinja_is_at(p, ",")) return first;
    nlm_jinja_node *node = nlm_jinja_node_new(p, NLM_JINJA_TUPLE_OF);
    nlm_jinja_chain items = {0};
    nlm_jinja_chain_add(&items, first);
    while (p->status == NLM_OK && nlm_jinja_skip(p, ",")) {
        if (ends_tuple(p)) break;
        nlm_jinja_chain_add(&items, parse(p));
    }
    node->list = items.first;
    return node;
}

nlm_jinja_node *nlm_jinja_parse_tuple(nlm_jinja_parser *p, bool has_conditions) {
    return parse_tuple_of(p, has_conditions ? nlm_jinja_parse_expression : parse_or);
}

static bool is_target(const nlm_jinja_node *node, bool has_attributes) {
    if (node->kind == NLM_JINJA_NAME) return true;
    if (node->kind == NLM_JINJA_ATTRIBUTE) return has_attributes && node->a->kind == NLM_JINJA_NAME;
    if (node->kind != NLM_JINJA_TUPLE_OF) return false;
    for (const nlm_jinja_node *item = node->list; item; item = item->next) {
        if (!is_target(item, has_attributes)) return false;
    }
    return true;
}

static nlm_jinja_node *parse_target_part(nlm_jinja_parser *p) {
    if (!nlm_jinja_parse_enter(p)) return nlm_jinja_node_new(p, NLM_JINJA_CONSTANT);
    nlm_jinja_node *node = parse_primary(p);
    if (node->kind == NLM_JINJA_NAME && nlm_jinja_is_at(p, ".")) node = parse_dot(p, node);
    nlm_jinja_parse_exit(p);
    return node;
}

nlm_jinja_node *nlm_jinja_parse_target(nlm_jinja_parser *p, bool has_attributes) {
    nlm_jinja_node *node = parse_tuple_of(p, parse_target_part);
    if (p->status == NLM_OK && !is_target(node, has_attributes)) {
        nlm_jinja_parse_fail(p, NLM_BAD_FORMAT, "this cannot be assigned to");
    }
    return node;
}
