/* Chat templates from tokens to a tree: statements, and what all of the parser uses. */
#include "text/jinja_parser.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja_run.h"

#define DEPTH_MAX 100 /* of expressions and blocks within one another */

void nlm_jinja_parse_fail(nlm_jinja_parser *p, nlm_status code, const char *format, ...) {
    static const nlm_jinja_token end = {NLM_JINJA_TOKEN_END, 0, "", 0};
    char message[400];
    if (p->status != NLM_OK) return;
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    p->status = nlm_jinja_fail_at(p->err, code, p->at->line, "%s", message);
    p->at = &end;
}

void nlm_jinja_fail_unexpected(nlm_jinja_parser *p, const char *expected) {
    if (p->at->kind == NLM_JINJA_TOKEN_END) {
        nlm_jinja_parse_fail(p, NLM_BAD_FORMAT, "the template ends; expected %s", expected);
    } else {
        nlm_jinja_parse_fail(p, NLM_BAD_FORMAT, "unexpected '%.*s'; expected %s",
                             (int)(p->at->length < 60 ? p->at->length : 60), p->at->text, expected);
    }
}

bool nlm_jinja_parse_enter(nlm_jinja_parser *p) {
    if (p->depth == DEPTH_MAX) {
        nlm_jinja_parse_fail(p, NLM_BAD_FORMAT, "more than %d expressions and blocks within one another", DEPTH_MAX);
        return false;
    }
    p->depth++;
    return p->status == NLM_OK || (p->depth--, false);
}

void nlm_jinja_parse_exit(nlm_jinja_parser *p) {
    p->depth--;
}

nlm_jinja_node *nlm_jinja_node_new(nlm_jinja_parser *p, nlm_jinja_node_kind kind) {
    static _Thread_local nlm_jinja_node spare;
    nlm_jinja_node *node = nlm_arena_alloc(&p->jinja->arena, sizeof *node);
    if (!node) {
        nlm_jinja_parse_fail(p, NLM_OUT_OF_MEMORY, "no memory for the template");
        spare = (nlm_jinja_node){0};
        node = &spare;
    }
    node->kind = kind;
    node->line = p->at->line;
    return node;
}

void nlm_jinja_chain_add(nlm_jinja_chain *chain, nlm_jinja_node *node) {
    if (!chain->end) chain->end = &chain->first;
    *chain->end = node;
    chain->end = &node->next;
}

nlm_jinja_value nlm_jinja_template_text(nlm_jinja_parser *p, const char *text, size_t length) {
    nlm_jinja_literal *literal = nlm_arena_alloc(&p->jinja->arena, sizeof *literal);
    if (!literal) {
        nlm_jinja_parse_fail(p, NLM_OUT_OF_MEMORY, "no memory for the template");
        return nlm_jinja_none();
    }
    literal->next = p->jinja->literals;
    literal->string = (nlm_jinja_string){.data = text, .length = length, .mark = NLM_JINJA_TEMPLATE};
    p->jinja->literals = literal;
    return (nlm_jinja_value){.type = NLM_JINJA_STRING, .string = &literal->string};
}

void nlm_jinja_advance(nlm_jinja_parser *p) {
    if (p->at->kind != NLM_JINJA_TOKEN_END) p->at++;
}

bool nlm_jinja_is_at(const nlm_jinja_parser *p, const char *what) {
    return (p->at->kind == NLM_JINJA_TOKEN_NAME || p->at->kind == NLM_JINJA_TOKEN_OPERATOR) &&
           p->at->length == strlen(what) && memcmp(p->at->text, what, p->at->length) == 0;
}

bool nlm_jinja_skip(nlm_jinja_parser *p, const char *what) {
    const bool is_there = nlm_jinja_is_at(p, what);
    if (is_there) nlm_jinja_advance(p);
    return is_there;
}

void nlm_jinja_expect(nlm_jinja_parser *p, const char *what) {
    char quoted[40];
    if (nlm_jinja_skip(p, what)) return;
    snprintf(quoted, sizeof quoted, "'%s'", what);
    nlm_jinja_fail_unexpected(p, quoted);
}

const char *nlm_jinja_expect_name(nlm_jinja_parser *p) {
    if (p->at->kind != NLM_JINJA_TOKEN_NAME) {
        nlm_jinja_fail_unexpected(p, "a name");
        return "";
    }
    const char *name = nlm_arena_strndup(&p->jinja->arena, p->at->text, p->at->length);
    if (!name) nlm_jinja_parse_fail(p, NLM_OUT_OF_MEMORY, "no memory for the template");
    nlm_jinja_advance(p);
    return name ? name : "";
}

/* ---- statements --------------------------------------------------------------------------- */

static void expect_close(nlm_jinja_parser *p) {
    if (p->at->kind == NLM_JINJA_TOKEN_BLOCK_CLOSE) {
        nlm_jinja_advance(p);
    } else {
        nlm_jinja_fail_unexpected(p, "'%}'");
    }
}

static nlm_jinja_node *parse_statement(nlm_jinja_parser *p);

/* Whether a tag of one of the words, NULL-terminated, is next. */
static bool is_tag(const nlm_jinja_parser *p, const char *const *words) {
    if (p->at->kind != NLM_JINJA_TOKEN_BLOCK_OPEN) return false;
    const nlm_jinja_parser inside = {.at = p->at + 1};
    for (; words && *words; words++) {
        if (nlm_jinja_is_at(&inside, *words)) return true;
    }
    return false;
}

/* Up to a tag of one of the words, and into it: what is at hand then is the word. NULL: to the end of the text. */
static nlm_jinja_node *parse_body(nlm_jinja_parser *p, const char *const *words) {
    nlm_jinja_chain body = {0};
    if (!nlm_jinja_parse_enter(p)) return NULL;
    while (p->at->kind != NLM_JINJA_TOKEN_END && !is_tag(p, words)) {
        nlm_jinja_node *node;
        if (p->at->kind == NLM_JINJA_TOKEN_DATA) {
            node = nlm_jinja_node_new(p, NLM_JINJA_TEXT);
            node->value = nlm_jinja_template_text(p, p->at->text, p->at->length);
            nlm_jinja_advance(p);
        } else if (p->at->kind == NLM_JINJA_TOKEN_PRINT_OPEN) {
            nlm_jinja_advance(p);
            node = nlm_jinja_node_new(p, NLM_JINJA_PRINT);
            node->a = nlm_jinja_parse_tuple(p, true);
            if (p->at->kind != NLM_JINJA_TOKEN_PRINT_CLOSE) nlm_jinja_fail_unexpected(p, "'}}'");
            nlm_jinja_advance(p);
        } else {
            nlm_jinja_advance(p);
            node = parse_statement(p);
        }
        nlm_jinja_chain_add(&body, node);
    }
    if (words) {
        char expected[60];
        snprintf(expected, sizeof expected, "{%% %s %%}", words[0]);
        if (p->at->kind == NLM_JINJA_TOKEN_END) nlm_jinja_fail_unexpected(p, expected);
        nlm_jinja_advance(p);
    }
    nlm_jinja_parse_exit(p);
    return body.first;
}

/* The rest of this tag, the body, and the tag that ends it. */
static nlm_jinja_node *parse_to(nlm_jinja_parser *p, const char *word) {
    const char *const words[] = {word, NULL};
    expect_close(p);
    nlm_jinja_node *body = parse_body(p, words);
    nlm_jinja_expect(p, word);
    expect_close(p);
    return body;
}

static void parse_if(nlm_jinja_parser *p, nlm_jinja_node *node) {
    static const char *const words[] = {"endif", "elif", "else", NULL}, *const last[] = {"endif", NULL};
    nlm_jinja_chain branches = {0};
    bool is_else = false;
    do {
        nlm_jinja_node *branch = nlm_jinja_node_new(p, NLM_JINJA_BRANCH);
        if (!is_else) branch->a = nlm_jinja_parse_tuple(p, false);
        expect_close(p);
        branch->list = parse_body(p, is_else ? last : words);
        nlm_jinja_chain_add(&branches, branch);
        is_else = nlm_jinja_is_at(p, "else");
    } while (p->status == NLM_OK && (nlm_jinja_skip(p, "elif") || nlm_jinja_skip(p, "else")));
    nlm_jinja_expect(p, "endif");
    expect_close(p);
    node->list = branches.first;
}

static void parse_for(nlm_jinja_parser *p, nlm_jinja_node *node) {
    static const char *const words[] = {"endfor", "else", NULL};
    node->a = nlm_jinja_parse_target(p, false);
    nlm_jinja_expect(p, "in");
    node->b = nlm_jinja_parse_tuple(p, false);
    if (nlm_jinja_skip(p, "if")) node->c = nlm_jinja_parse_expression(p);
    node->op = nlm_jinja_skip(p, "recursive") ? NLM_JINJA_STAR : NLM_JINJA_PLUS;
    expect_close(p);
    node->list = parse_body(p, words);
    if (nlm_jinja_skip(p, "else")) {
        node->alternative = parse_to(p, "endfor");
    } else {
        nlm_jinja_expect(p, "endfor");
        expect_close(p);
    }
}

static void parse_set(nlm_jinja_parser *p, nlm_jinja_node *node) {
    node->a = nlm_jinja_parse_target(p, true);
    if (nlm_jinja_skip(p, "=")) {
        node->b = nlm_jinja_parse_tuple(p, true);
        expect_close(p);
        return;
    }
    node->kind = NLM_JINJA_SET_BLOCK;
    node->b = nlm_jinja_parse_filters(p, NULL, false);
    node->list = parse_to(p, "endset");
}

static nlm_jinja_node *parse_parameters(nlm_jinja_parser *p) {
    nlm_jinja_chain parameters = {0};
    bool has_default = false;
    nlm_jinja_expect(p, "(");
    while (p->status == NLM_OK && !nlm_jinja_is_at(p, ")")) {
        if (parameters.first) nlm_jinja_expect(p, ",");
        nlm_jinja_node *parameter = nlm_jinja_node_new(p, NLM_JINJA_PARAMETER);
        parameter->name = nlm_jinja_expect_name(p);
        if (nlm_jinja_skip(p, "=")) {
            parameter->a = nlm_jinja_parse_expression(p);
        } else if (has_default) {
            nlm_jinja_parse_fail(p, NLM_BAD_FORMAT, "a parameter without a default follows one that has one");
        }
        has_default = parameter->a != NULL;
        nlm_jinja_chain_add(&parameters, parameter);
    }
    nlm_jinja_expect(p, ")");
    return parameters.first;
}

static void parse_macro(nlm_jinja_parser *p, nlm_jinja_node *node) {
    node->name = nlm_jinja_expect_name(p);
    node->a = parse_parameters(p);
    node->list = parse_to(p, "endmacro");
}

static void parse_call_block(nlm_jinja_parser *p, nlm_jinja_node *node) {
    node->name = "caller";
    if (nlm_jinja_is_at(p, "(")) node->a = parse_parameters(p);
    node->b = nlm_jinja_parse_expression(p);
    if (node->b->kind != NLM_JINJA_CALL) nlm_jinja_parse_fail(p, NLM_BAD_FORMAT, "expected a call");
    node->list = parse_to(p, "endcall");
}

static void parse_filter_block(nlm_jinja_parser *p, nlm_jinja_node *node) {
    node->b = nlm_jinja_parse_filters(p, NULL, true);
    node->list = parse_to(p, "endfilter");
}

static void parse_with(nlm_jinja_parser *p, nlm_jinja_node *node) {
    nlm_jinja_chain values = {0};
    while (p->status == NLM_OK && p->at->kind != NLM_JINJA_TOKEN_BLOCK_CLOSE) {
        if (values.first) nlm_jinja_expect(p, ",");
        nlm_jinja_node *value = nlm_jinja_node_new(p, NLM_JINJA_SET);
        value->a = nlm_jinja_parse_target(p, false);
        nlm_jinja_expect(p, "=");
        value->b = nlm_jinja_parse_expression(p);
        nlm_jinja_chain_add(&values, value);
    }
    node->a = values.first;
    node->list = parse_to(p, "endwith");
}

static void parse_generation(nlm_jinja_parser *p, nlm_jinja_node *node) {
    node->list = parse_to(p, "endgeneration");
}

static void parse_break(nlm_jinja_parser *p, nlm_jinja_node *node) {
    node->op = NLM_JINJA_STAR;
    expect_close(p);
}

static void parse_continue(nlm_jinja_parser *p, nlm_jinja_node *node) {
    node->op = NLM_JINJA_PLUS;
    expect_close(p);
}

static const struct {
    const char *word;
    nlm_jinja_node_kind kind;
    void (*parse)(nlm_jinja_parser *p, nlm_jinja_node *node);
} statements[] = {
    {"if", NLM_JINJA_IF, parse_if},
    {"for", NLM_JINJA_FOR, parse_for},
    {"set", NLM_JINJA_SET, parse_set},
    {"macro", NLM_JINJA_MACRO, parse_macro},
    {"call", NLM_JINJA_CALL_BLOCK, parse_call_block},
    {"filter", NLM_JINJA_FILTER_BLOCK, parse_filter_block},
    {"with", NLM_JINJA_WITH, parse_with},
    {"generation", NLM_JINJA_SCOPE, parse_generation},
    {"break", NLM_JINJA_LEAVE, parse_break},
    {"continue", NLM_JINJA_LEAVE, parse_continue},
};

/* Behind "{%". */
static nlm_jinja_node *parse_statement(nlm_jinja_parser *p) {
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (!nlm_jinja_skip(p, statements[i].word)) continue;
        nlm_jinja_node *node = nlm_jinja_node_new(p, statements[i].kind);
        statements[i].parse(p, node);
        return node;
    }
    nlm_jinja_fail_unexpected(p,
                              "a tag that chat templates have (if, for, set, macro, call, filter, with, "
                              "generation, break, continue, raw)");
    return nlm_jinja_node_new(p, NLM_JINJA_TEXT);
}

nlm_status nlm_jinja_create(const char *text, size_t length, nlm_jinja **out, nlm_error *err) {
    nlm_jinja *jinja = calloc(1, sizeof *jinja);
    if (!jinja) return nlm_fail(err, NLM_OUT_OF_MEMORY, "chat template", "no memory for the template");
    nlm_jinja_token *tokens = NULL;
    nlm_status status = nlm_jinja_lex(&jinja->arena, text, length, &tokens, err);
    if (status == NLM_OK) {
        nlm_jinja_parser parser = {.jinja = jinja, .at = tokens, .err = err};
        jinja->body = parse_body(&parser, NULL);
        status = parser.status;
    }
    if (status == NLM_OK) {
        *out = jinja;
    } else {
        nlm_jinja_destroy(jinja);
    }
    return status;
}

void nlm_jinja_destroy(nlm_jinja *jinja) {
    if (!jinja) return;
    nlm_arena_release(&jinja->arena);
    free(jinja);
}

void nlm_jinja_each_text(const nlm_jinja *jinja, void (*visit)(void *user, const char *text, size_t length),
                         void *user) {
    for (const nlm_jinja_literal *literal = jinja->literals; literal; literal = literal->next) {
        visit(user, literal->string.data, literal->string.length);
    }
}
