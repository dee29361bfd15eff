/* GBNF: what it says, what is said of what is wrong with it, and its automaton beside a matcher that tries all ways.
 */
#include "grammar_fixture.h"
#include "text/grammar_gbnf.h"
#include "text/grammar_pushdown.h"
#include "unit/tokenizer_fixture.h"

static void gbnf_takes_what_it_says(void) {
    static const grammar_case cases[] = {
        {"root ::= \"ab\"", {"ab"}, {"", "a", "abc", "b"}},
        {"root ::= \"a\" | \"b\" | ", {"a", "b", ""}, {"ab", "c"}},
        {"root ::= (\"a\" | \"bc\")* \"!\"", {"!", "a!", "bca!", "abc!"}, {"", "b!", "a", "!!"}},
        {"root ::= \"a\"+ \"b\"?", {"a", "aaab"}, {"", "b", "abb"}},
        {"root ::= [a-c]{2} [^a-c]{1,} [x]{0,2}", {"abz", "cc??x", "aaxxxxx"}, {"ab", "abc", "az"}},
        {"root ::= \"ab\"{2}", {"abab"}, {"ab", "abb", "ababab"}},
        {"root ::= \"a\"{3,}", {"aaa", "aaaaaaaa"}, {"", "aa"}},
        {"root ::= \"a\"{0}", {""}, {"a"}},
        {"root ::= [a-z]{2,4}", {"ab", "abc", "abcd"}, {"a", "abcde"}},
        {"root ::= \"a\"?*", {"", "a", "aaa"}, {"b"}},
        {"root ::= (\"a\"?){3}", {"", "a", "aaa"}, {"aaaa"}},
        {"root ::= ((\"a\"+)){3}", {"aaa", "aaaa"}, {"", "aa"}},
        {"root ::= (\"a\"*){2,3}", {"", "aaaaaaa"}, {"b"}},
        {"root ::= (\"a\"+){0}", {""}, {"a"}},
        {"root ::= . . .", {"abc", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "\n\n\n"}, {"ab", "abcd", "\xC3\xA9"}},
        {"root ::= [\xC3\xA0-\xC3\xBC]+", {"\xC3\xA9", "\xC3\xA0\xC3\xBC"}, {"\xC3\xBD", "\xC3", "e"}},
        {"root ::= [^\\n\"]*",
         {"", "a b\xE2\x82\xAC"},
         {"a\n", "\"", "\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xC0\xAF"}},
        {"root ::= \"\\x41\\u00e9\\U0001F600\\\"\\\\\\n\\r\\t\\[\\]\"",
         {"A\xC3\xA9\xF0\x9F\x98\x80\"\\\n\r\t[]"},
         {"A"}},
        {"root ::= [\\]\\-\\\\a-]+", {"]-\\a"}, {"b", "["}},
        {"root ::= item (\",\" item)* # a list\n\n  # of\nitem ::= [0-9]+ |\n  \"-\" item\n",
         {"1", "1,22,--3"},
         {"", ",", "1,", "-"}},
        {"root ::= a\na ::= \"x\"\n  | \"y\" # goes on\n  | b\nb-2 ::= \"z\"\nb ::= b-2", {"x", "y", "z"}, {"w"}},
        {"root ::= (\n \"a\"\n | # either\n \"b\"\n)\n \n", {"a", "b"}, {"ab"}},
        {"root ::= \"(\" root \")\" | \"\"", {"", "()", "((()))"}, {"(", ")", "(()"}},
        {"root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"\"", {"", "ab", "aabc", "aaabcb"}, {"a", "abc"}},
        {"root ::= e\ne ::= t (\"+\" t)*\nt ::= [0-9] | \"(\" e \")\"", {"1+2", "(1+(2+3))+4"}, {"1+", "(1", "()"}},
        {"root ::= \"a\" root | \"b\"", {"b", "aab"}, {"", "a"}},
        {"root ::= one | two\none ::= \"a\"{1,3}\ntwo ::= \"a\"{5}", {"a", "aaa", "aaaaa"}, {"aaaa", "aaaaaa"}},
        {"root ::= \"\xE4\xB8\xAD\" [\xE4\xB8\x80-\xE9\xBE\xA5]", {"\xE4\xB8\xAD\xE6\x96\x87"}, {"\xE4\xB8\xAD"}},
        {"root\t::=\r\n\"a\"\r\n", {"a"}, {"a\r"}},
        {"root ::= dead | \"a\"\ndead ::= \"b\" dead", {"a"}, {"b", "bb"}},
    };
    check_cases(cases, COUNT(cases), NLM_LANGUAGE_GBNF);
}

static void gbnf_says_what_is_wrong(void) {
    static const grammar_failure cases[] = {
        {"", NLM_BAD_FORMAT, "grammar", "no rule 'root'"},
        {"a ::= \"x\"", NLM_BAD_FORMAT, "grammar", "no rule 'root'"},
        {"root ::= a", NLM_BAD_FORMAT, "grammar:1", "'a' is not defined"},
        {"root ::= \"x\"\nroot ::= \"y\"", NLM_BAD_FORMAT, "grammar:2", "'root' is there twice"},
        {"root ::= \"x", NLM_BAD_FORMAT, "grammar:1", "does not end on its line"},
        {"root ::= \"x\n\"", NLM_BAD_FORMAT, "grammar:1", "does not end on its line"},
        {"root ::= [a-", NLM_BAD_FORMAT, "grammar:1", "does not end"},
        {"root ::= [z-a]", NLM_BAD_FORMAT, "grammar:1", "goes down"},
        {"root ::= \"\\q\"", NLM_BAD_FORMAT, "grammar:1", "expected an escape"},
        {"root ::= \"\\u12\"", NLM_BAD_FORMAT, "grammar:1", "4 hexadecimal digits"},
        {"root ::= \"\\uD800\"", NLM_BAD_FORMAT, "grammar:1", "U+D800 is no character"},
        {"root ::= \"\\U00110000\"", NLM_BAD_FORMAT, "grammar:1", "U+110000 is no character"},
        {"root ::= \"\xFF\"", NLM_BAD_FORMAT, "grammar:1", "0xFF is no UTF-8"},
        {"root ::= (\"a\"", NLM_BAD_FORMAT, "grammar:1", "')'"},
        {"root ::= \"a\")", NLM_BAD_FORMAT, "grammar:1", "unexpected ')'"},
        {"root := \"a\"", NLM_BAD_FORMAT, "grammar:1", "expected '::='"},
        {"root ::= \"a\" b ::= \"c\"", NLM_BAD_FORMAT, "grammar:1", "a newline before the next rule"},
        {"root ::= *", NLM_BAD_FORMAT, "grammar:1", "unexpected '*'"},
        {"root ::= \"a\"{2,1}", NLM_BAD_FORMAT, "grammar:1", "a repeat of 2 to 1"},
        {"root ::= \"a\"{,1}", NLM_BAD_FORMAT, "grammar:1", "a number of times"},
        {"root ::= \"a\"{200000}", NLM_LIMIT, "grammar:1", "more than 100000 times"},
        {"root ::= <think>", NLM_UNSUPPORTED, "grammar:1", "tokens by name"},
        {"root ::= root \"a\" | \"b\"", NLM_BAD_FORMAT, "grammar", "'root' is left-recursive"},
        {"root ::= a\na ::= b \"x\"\nb ::= \"\" a", NLM_BAD_FORMAT, "grammar", "is left-recursive"},
        {"root ::= \"y\"? root | \"b\"", NLM_BAD_FORMAT, "grammar", "'root' is left-recursive"},
        {"root ::= \"x\" root", NLM_BAD_FORMAT, "grammar", "no text can ever be complete"},
        {"root ::= [^\\x00-\\U0010FFFF]", NLM_BAD_FORMAT, "grammar", "no text can ever be complete"},
        {"root ::= ((((\"a\"{1000}){1000}){1000}){1000}){1000} x\nx ::= [a]{50000} [b]{50000} [c]{50000} [d]{50000} "
         "[e]{50000} [f]{50000} [g]{50000} [h]{50000} [i]{50000} [j]{50000} [k]{50000} [l]{50000} [m]{50000} "
         "[n]{50000} [o]{50000} [p]{50000} [q]{50000} [r]{50000} [s]{50000} [t]{50000} [u]{50000} [v]{50000}",
         NLM_LIMIT, "grammar", "more than 1048576 positions"},
    };
    check_failures(cases, COUNT(cases), NLM_LANGUAGE_GBNF);
}

/* ---- beside a matcher that tries all ways ----------------------------------------------------- */

typedef struct matcher {
    const nlm_rules *rules;
    const char *text;
    uint32_t length;
    uint32_t *known; /* [rules, 32] what each matches from each place; UINT32_MAX: not tried */
} matcher;

/* Bit i: what matches from `from` may end at i. */
static uint32_t match(const matcher *m, const nlm_tree *tree, uint32_t from);

static uint32_t match_from_all(const matcher *m, const nlm_tree *tree, uint32_t starts) {
    uint32_t ends = 0;
    for (uint32_t i = 0; i <= m->length; i++) ends |= starts >> i & 1 ? match(m, tree, i) : 0;
    return ends;
}

static uint32_t match_repeat(const matcher *m, const nlm_tree *tree, uint32_t from) {
    uint32_t at = 1u << from, ends = tree->repeat.least == 0 ? at : 0;
    const uint32_t enough = tree->repeat.least + m->length + 1; /* more matches nothing new */
    for (uint32_t n = 1; n <= tree->repeat.most && n <= enough && at; n++) {
        at = match_from_all(m, tree->repeat.item, at);
        if (n >= tree->repeat.least) ends |= at;
    }
    return ends;
}

static uint32_t match(const matcher *m, const nlm_tree *tree, uint32_t from) {
    uint32_t ends = 0;
    switch (tree->kind) {
        case NLM_TREE_TEXT:
            if (tree->text.length > m->length - from) return 0;
            return memcmp(tree->text.bytes, m->text + from, tree->text.length) == 0
                       ? 1u << (from + (uint32_t)tree->text.length)
                       : 0;
        case NLM_TREE_SET:
            return from < m->length && nlm_code_set_has(&tree->set, (uint8_t)m->text[from]) ? 1u << (from + 1) : 0;
        case NLM_TREE_SEQUENCE:
            ends = 1u << from;
            for (size_t i = 0; i < tree->list.count; i++) ends = match_from_all(m, tree->list.items[i], ends);
            return ends;
        case NLM_TREE_CHOICE:
            for (size_t i = 0; i < tree->list.count; i++) ends |= match(m, tree->list.items[i], from);
            return ends;
        case NLM_TREE_REPEAT: return match_repeat(m, tree, from);
        case NLM_TREE_RULE: {
            uint32_t *known = &m->known[tree->rule * 32 + from];
            if (*known == UINT32_MAX) *known = match(m, m->rules->items[tree->rule].body, from);
            return *known;
        }
        case NLM_TREE_GRAPH: break;
    }
    return 0;
}

static bool matches(const nlm_rules *rules, const char *text, uint32_t length) {
    uint32_t known[4 * 32];
    memset(known, 0xFF, sizeof known);
    const matcher m = {rules, text, length, known};
    return match(&m, rules->items[rules->root].body, 0) >> length & 1;
}

static void put_expression(nlm_str *out, uint64_t *seed, unsigned depth) {
    static const char *const leaves[] = {"\"a\"", "\"b\"", "\"ab\"", "[ab]", "\"\"", "p", "q", "r", "\"a\"", "[^a]"};
    static const char *const repeats[] = {"", "", "", "*", "?", "+", "{2}", "{0,2}", "{1,}", ""};
    if (depth == 0 || next_random(seed) % 3 == 0) {
        nlm_str_puts(out, leaves[next_random(seed) % COUNT(leaves)]);
    } else {
        nlm_str_puts(out, "(");
        for (uint64_t i = 0, n = 1 + next_random(seed) % 3; i < n; i++) {
            if (i) nlm_str_puts(out, next_random(seed) % 2 ? " | " : " ");
            put_expression(out, seed, depth - 1);
        }
        nlm_str_puts(out, ")");
    }
    nlm_str_puts(out, repeats[next_random(seed) % COUNT(repeats)]);
    nlm_str_puts(out, " ");
}

/* Text number i of all over {a, b}, shorter ones first. */
static uint32_t numbered_text(uint32_t i, char *out) {
    uint32_t length = 0;
    for (i++; i > 1; i >>= 1) out[length++] = i & 1 ? 'b' : 'a';
    return length;
}

#define N_TEXTS ((1u << 8) - 1) /* up to 7 bytes */

/* The fewest bytes to an end are as many as the shortest text that goes on from here has left. */
static bool is_shortest_right(const bool *takes, const char *text, uint32_t length, uint32_t shortest) {
    char other[32];
    uint32_t found = UINT32_MAX;
    for (uint32_t i = 0; i < N_TEXTS; i++) {
        const uint32_t n = numbered_text(i, other);
        if (takes[i] && n >= length && memcmp(other, text, length) == 0 && n - length < found) found = n - length;
    }
    return found == shortest || (found == UINT32_MAX && shortest > 7 - length);
}

/* Returns 1 if the grammar could be read. */
static unsigned compare_with_matcher(const char *text) {
    nlm_rules rules = {0};
    nlm_grammar *grammar = NULL;
    const nlm_language_options options = {.language = NLM_LANGUAGE_GBNF};
    nlm_gbnf_read(&rules, text, strlen(text));
    bool takes[N_TEXTS];
    char word[32];
    size_t count;
    if (nlm_language_open(text, strlen(text), &options, NULL, &grammar, NULL) != NLM_OK) {
        nlm_rules_release(&rules);
        return 0;
    }
    for (uint32_t i = 0; i < N_TEXTS; i++) {
        const uint32_t length = numbered_text(i, word);
        takes[i] = matches(&rules, word, length);
        const bool is_same = takes[i] == grammar_takes(grammar, word, length);
        if (!is_same) printf(" [%s: '%.*s'] ", text, (int)length, word);
        CU_ASSERT(is_same);
    }
    for (uint32_t i = 0; i < N_TEXTS; i++) {
        const uint32_t length = numbered_text(i, word);
        nlm_grammar_state *state = grammar_begin(grammar);
        const bool is_open = nlm_language_read(state, word, length, &count, NULL) == NLM_OK;
        const uint32_t shortest = is_open ? nlm_language_shortest(state) : UINT32_MAX;
        CU_ASSERT(is_shortest_right(takes, word, length, shortest));
        nlm_language_end(state);
    }
    nlm_language_close(grammar);
    nlm_rules_release(&rules);
    return 1;
}

static void automaton_agrees_with_all_ways(void) {
    uint64_t seed = 20240607;
    unsigned n_read = 0;
    for (int i = 0; i < 400; i++) {
        nlm_str text = {0};
        static const char *const names[] = {"root", "p", "q", "r"};
        for (size_t n = 0; n < COUNT(names); n++) {
            nlm_str_printf(&text, "%s ::= ", names[n]);
            put_expression(&text, &seed, 3);
            nlm_str_puts(&text, "\n");
        }
        n_read += compare_with_matcher(text.data);
        nlm_str_release(&text);
    }
    printf(" [%u grammars] ", n_read);
    CU_ASSERT(n_read > 150); /* the others are left-recursive, or never end */
}

/* ---- bounds ----------------------------------------------------------------------------------- */

/* Each of these would be exponential if ways or stacks were kept one by one. */
static void ambiguity_is_no_matter(void) {
    static const char *const grammars[] = {
        "root ::= \"x\" root \"y\" | \"x\" root \"z\" | \"x\" root | \"\"",
        "root ::= (\"x\"* \"x\"*)* \"y\"*",
        "root ::= ((\"x\"?){20}){20} | \"x\" root",
        "root ::= ((\"x\"?){100000}){2}",
        "root ::= a a a a a a a a\na ::= b b b b b b b b\nb ::= \"x\"* | c\nc ::= \"x\" c \"y\" | \"x\" c | \"\"",
        "root ::= p\np ::= q \"1\" | q \"2\"\nq ::= r \"1\" | r \"2\"\nr ::= s \"1\" | s \"2\"\ns ::= t \"1\" | t "
        "\"2\"\n"
        "t ::= u \"1\" | u \"2\"\nu ::= \"x\" p | \"x\"",
    };
    char text[400];
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < COUNT(grammars); i++) {
        nlm_grammar *grammar = grammar_of(grammars[i], NLM_LANGUAGE_GBNF, NULL);
        nlm_grammar_state *state = grammar_begin(grammar);
        size_t count;
        nlm_error err = NLM_ERROR_INIT;
        const nlm_status status = nlm_language_read(state, text, 400, &count, &err);
        if (status != NLM_OK) printf(" [%s: after %zu bytes: %s] ", grammars[i], count, err.msg);
        CU_ASSERT_EQUAL(status, NLM_OK);
        nlm_language_end(state);
        nlm_language_close(grammar);
    }
}

static void text_that_nests_too_deep_is_an_error(void) {
    nlm_grammar *grammar = grammar_of("root ::= \"(\" root \")\" | \"\"", NLM_LANGUAGE_GBNF, NULL);
    nlm_grammar_state *state = grammar_begin(grammar);
    nlm_error err = NLM_ERROR_INIT;
    char text[4000];
    size_t count;
    memset(text, '(', sizeof text);
    CU_ASSERT_EQUAL(nlm_language_read(state, text, 2000, &count, &err), NLM_OK);
    CU_ASSERT_EQUAL(nlm_language_read(state, text, 2000, &count, &err), NLM_LIMIT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "within more than"));
    memset(text, ')', sizeof text); /* the state is as it was */
    CU_ASSERT_EQUAL(nlm_language_read(state, text, 2000, &count, &err), NLM_OK);
    CU_ASSERT(nlm_language_is_complete(state));
    CU_ASSERT(nlm_language_is_over(state));
    nlm_language_end(state);
    nlm_language_close(grammar);
}

/* A repeat that calls itself last takes no more room as it goes on. */
static void right_recursion_may_go_on(void) {
    nlm_grammar *grammar =
        grammar_of("root ::= item | item \",\" root\nitem ::= [a-z] item | [a-z]", NLM_LANGUAGE_GBNF, NULL);
    nlm_str text = {0};
    for (int i = 0; i < 20000; i++) nlm_str_puts(&text, "abcdefg,");
    nlm_str_puts(&text, "z");
    CU_ASSERT(grammar_takes(grammar, text.data, text.length));
    nlm_str_release(&text);
    nlm_language_close(grammar);
}

/* With hardly any room what is kept is dropped all the time, and changes nothing. */
static void states_survive_a_small_cache(void) {
    const char *rules = "root ::= \"(\" root \")\" root | [a-z]{0,300} \".\"";
    const nlm_language_options options = {.language = NLM_LANGUAGE_GBNF, .cache_bytes = 1};
    nlm_grammar *grammar = NULL;
    CU_ASSERT_EQUAL_FATAL(nlm_language_open(rules, strlen(rules), &options, NULL, &grammar, NULL), NLM_OK);
    nlm_grammar_state *states[20];
    size_t count;
    for (size_t i = 0; i < COUNT(states); i++) states[i] = grammar_begin(grammar);
    for (size_t i = 0; i < 20 * COUNT(states); i++) {
        nlm_grammar_state *state = states[i % COUNT(states)];
        const char *part = i / COUNT(states) < i % COUNT(states) ? "(" : "x"; /* state k is k deep */
        CU_ASSERT_EQUAL(nlm_language_read(state, part, 1, &count, NULL), NLM_OK);
    }
    for (size_t i = 0; i < COUNT(states); i++) {
        CU_ASSERT_EQUAL(nlm_language_shortest(states[i]), 1 + 2 * i);
        nlm_language_end(states[i]);
    }
    nlm_language_close(grammar);
}

static void forks_and_resets_go_their_own_ways(void) {
    nlm_grammar *grammar = grammar_of("root ::= \"ab\" \"c\"? | \"ax\"", NLM_LANGUAGE_GBNF, NULL);
    nlm_grammar_state *one = grammar_begin(grammar), *other = NULL;
    nlm_language_close(grammar); /* states keep it */
    size_t count;
    CU_ASSERT_EQUAL(nlm_language_read(one, "a", 1, &count, NULL), NLM_OK);
    CU_ASSERT_EQUAL_FATAL(nlm_language_fork(one, &other, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_language_read(one, "b", 1, &count, NULL), NLM_OK);
    CU_ASSERT(nlm_language_is_complete(one) && !nlm_language_is_over(one));
    CU_ASSERT(!nlm_language_is_complete(other));
    CU_ASSERT_EQUAL(nlm_language_read(other, "x", 1, &count, NULL), NLM_OK);
    CU_ASSERT(nlm_language_is_over(other));
    nlm_language_end(other);
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_language_read(one, "cc", 2, &count, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(count, 1);
    CU_ASSERT_STRING_EQUAL(err.msg, "byte 1 of the text, 0x63, may not come there");
    CU_ASSERT_EQUAL(nlm_language_shortest(one), 0);
    nlm_language_reset(one);
    CU_ASSERT_EQUAL(nlm_language_shortest(one), 2);
    nlm_language_end(one);
}

static const check_case cases[] = {
    CHECK_CASE(gbnf_takes_what_it_says),
    CHECK_CASE(gbnf_says_what_is_wrong),
    CHECK_CASE(automaton_agrees_with_all_ways),
    CHECK_CASE(ambiguity_is_no_matter),
    CHECK_CASE(text_that_nests_too_deep_is_an_error),
    CHECK_CASE(right_recursion_may_go_on),
    CHECK_CASE(states_survive_a_small_cache),
    CHECK_CASE(forks_and_resets_go_their_own_ways),
};
CHECK_MAIN("grammar", cases)
