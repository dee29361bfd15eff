/* Grammars beside vocabularies: which tokens may come, one by one and all at once. */
#include <nlm/nlm.h>

#include "grammar_fixture.h"
#include "unit/tokenizer_fixture.h"

static const char *const vocabularies[] = {"trained-smollm", "trained-spm", "trained-gpt-2",
                                           "bpe-llama-3",    "spm",         "spm-bare"};

static const struct {
    nlm_language language;
    const char *text;
} grammars[] = {
    {NLM_LANGUAGE_GBNF, "root ::= ([a-z]+ \" \"? | \"the\" | [\xC3\x80-\xE9\xBE\xA5]+ | \"\\x00\" | \"\\n\")*"},
    {NLM_LANGUAGE_GBNF, "root ::= .{0,40} \"!\"+"},
    {NLM_LANGUAGE_GBNF, "root ::= \"a\" root \"b\" | \"(\" root \")\" root | [c-x]{3} | \"\""},
    {NLM_LANGUAGE_GBNF, "root ::= \"<s>\" | \"<|im_end|>\" [\xF0\x9F\x98\x80]{2,} | \" \"{1,8} root"},
    {NLM_LANGUAGE_JSON_SCHEMA, "{\"type\":\"object\"}"},
    {NLM_LANGUAGE_JSON_SCHEMA,
     "{\"type\":\"object\",\"properties\":{\"the\":{\"type\":\"string\",\"maxLength\":9},\"model\":{\"enum\":[\"in\","
     "\"an\",\"on\"]},"
     "\"n\":{\"type\":\"integer\",\"minimum\":-20,\"maximum\":300},\"w\":{\"type\":\"string\",\"pattern\":\"^(th|re)+"
     "e?d*$\"}},"
     "\"required\":[\"the\"],\"additionalProperties\":{\"format\":\"date\",\"type\":\"string\"}}"},
};

static nlm_tokenizer *open_vocabulary(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/tokenizer/%s.gguf", NLM_TEST_DATA, name);
    return open_file(path);
}

/* The mask is what `allows` says of each token, and none but the tokens' bytes can be read. Returns how many may
 * come, and one of them. */
static uint32_t check_state(nlm_grammar_state *state, const nlm_tokenizer *tokenizer, uint64_t *seed,
                            int32_t *out_id) {
    const uint32_t count = (uint32_t)nlm_tokenizer_count(tokenizer), n_words = (count + 31) / 32;
    uint32_t *mask = calloc(n_words, sizeof *mask), n = 0, n_wrong = 0;
    const nlm_status status = nlm_language_mask(state, mask, n_words, NULL);
    if (status == NLM_NOT_FOUND) memset(mask, 0, n_words * sizeof *mask);
    CU_ASSERT(status == NLM_OK || status == NLM_NOT_FOUND);
    for (uint32_t id = 0; id < count; id++) {
        const bool may_come = nlm_language_allows(state, (int32_t)id), is_set = mask[id / 32] >> id % 32 & 1;
        nlm_piece piece;
        size_t n_read;
        nlm_grammar_state *copy = NULL;
        CU_ASSERT_EQUAL_FATAL(nlm_tokenizer_piece(tokenizer, (int32_t)id, &piece, NULL), NLM_OK);
        CU_ASSERT_EQUAL_FATAL(nlm_language_fork(state, &copy, NULL), NLM_OK);
        bool expected = !piece.is_hidden && piece.length > 0 &&
                        nlm_language_read(copy, piece.text, piece.length, &n_read, NULL) == NLM_OK;
        if (nlm_tokenizer_is_end(tokenizer, (int32_t)id)) expected = nlm_language_is_complete(state);
        nlm_language_end(copy);
        n_wrong += may_come != is_set || may_come != expected;
        n += may_come;
        if (may_come && next_random(seed) % n == 0) *out_id = (int32_t)id;
    }
    CU_ASSERT_EQUAL(n_wrong, 0);
    free(mask);
    return n;
}

static void mask_is_what_allows_says_of_each(void) {
    uint64_t seed = 7, n_states = 0;
    for (size_t v = 0; v < COUNT(vocabularies); v++) {
        nlm_tokenizer *tokenizer = open_vocabulary(vocabularies[v]);
        for (size_t g = 0; g < COUNT(grammars); g++) {
            nlm_grammar *grammar = grammar_of(grammars[g].text, grammars[g].language, tokenizer);
            nlm_grammar_state *state = grammar_begin(grammar);
            for (int i = 0; i < 12; i++, n_states++) {
                int32_t id = -1;
                if (check_state(state, tokenizer, &seed, &id) == 0) break;
                CU_ASSERT_EQUAL(nlm_language_accept(state, id, NULL), NLM_OK);
            }
            nlm_language_end(state);
            nlm_language_close(grammar);
        }
        nlm_tokenizer_destroy(tokenizer);
    }
    printf(" [%llu states] ", (unsigned long long)n_states);
    CU_ASSERT(n_states > 300);
}

static void ends_come_when_the_text_is_complete(void) {
    nlm_tokenizer *tokenizer = open_vocabulary("trained-smollm");
    nlm_grammar *grammar = grammar_of("root ::= \"t\" \"h\"?", NLM_LANGUAGE_GBNF, tokenizer);
    nlm_grammar_state *state = grammar_begin(grammar);
    const int32_t end = nlm_tokenizer_eos(tokenizer), t = nlm_tokenizer_find(tokenizer, "t", 1);
    const int32_t th = nlm_tokenizer_find(tokenizer, "th", 2), h = nlm_tokenizer_find(tokenizer, "h", 1);
    CU_ASSERT_FATAL(end >= 0 && t >= 0 && h >= 0);
    CU_ASSERT(!nlm_language_allows(state, end) && nlm_language_allows(state, t));
    CU_ASSERT(th < 0 || nlm_language_allows(state, th));
    CU_ASSERT(!nlm_language_allows(state, -1) && !nlm_language_allows(state, 1 << 30));
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_language_accept(state, end, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_language_accept(state, t, NULL), NLM_OK);
    CU_ASSERT(nlm_language_allows(state, end) && nlm_language_allows(state, h) && !nlm_language_allows(state, t));
    CU_ASSERT_EQUAL(nlm_language_accept(state, h, NULL), NLM_OK);
    CU_ASSERT(nlm_language_allows(state, end) && !nlm_language_allows(state, h));
    CU_ASSERT_EQUAL(nlm_language_accept(state, end, NULL), NLM_OK);
    uint32_t few = 0;
    CU_ASSERT_EQUAL(nlm_language_mask(state, &few, 1, &err), NLM_INVALID_ARGUMENT);
    nlm_language_end(state);
    nlm_language_close(grammar);
    nlm_tokenizer_destroy(tokenizer);
}

/* nlm/grammar.h without a model, and its arguments. */
static void interface_checks_its_arguments(void) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_grammar *grammar = NULL;
    nlm_grammar_state *state = NULL, *fork = NULL;
    nlm_constraint constraint = {.struct_size = sizeof constraint};
    nlm_grammar_options options = {.struct_size = sizeof options, .flags = 2};
    nlm_grammar_state_info info = {.struct_size = sizeof info};
    size_t count = 99;
    CU_ASSERT_EQUAL(nlm_grammar_create(NULL, 7, "", 0, NULL, &grammar, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_grammar_create(NULL, NLM_GRAMMAR_GBNF, NULL, 3, NULL, &grammar, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_grammar_create(NULL, NLM_GRAMMAR_JSON_OBJECT, NULL, 0, &options, &grammar, &err),
                    NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_grammar_create(NULL, NLM_GRAMMAR_GBNF, "root ::=", 8, NULL, NULL, &err),
                    NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_grammar_state_create(NULL, &state, &err), NLM_INVALID_ARGUMENT);
    options.flags = NLM_GRAMMAR_COMPACT;
    CU_ASSERT_EQUAL_FATAL(nlm_grammar_create(NULL, NLM_GRAMMAR_JSON_OBJECT, NULL, 0, &options, &grammar, &err),
                          NLM_OK);
    CU_ASSERT_EQUAL_FATAL(nlm_grammar_state_create(grammar, &state, &err), NLM_OK);
    CU_ASSERT_EQUAL(nlm_grammar_state_constraint(state, &constraint, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_grammar_state_accept_text(state, "{\"a\":[", 6, &count, &err), NLM_OK);
    CU_ASSERT_EQUAL(count, 6);
    CU_ASSERT_EQUAL_FATAL(nlm_grammar_state_fork(state, &fork, &err), NLM_OK);
    CU_ASSERT_EQUAL(nlm_grammar_state_describe(fork, &info, &err), NLM_OK);
    CU_ASSERT(!info.is_complete && !info.is_over && info.n_to_end == 2);
    CU_ASSERT_EQUAL(nlm_grammar_state_accept_text(fork, "]}", 2, NULL, &err), NLM_OK);
    CU_ASSERT_EQUAL(nlm_grammar_state_describe(fork, &info, &err), NLM_OK);
    CU_ASSERT(info.is_complete && info.is_over && info.n_to_end == 0);
    CU_ASSERT_EQUAL(nlm_grammar_state_accept_text(state, "1,}", 3, &count, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(count, 2);
    CU_ASSERT_EQUAL(nlm_grammar_state_reset(state, &err), NLM_OK);
    CU_ASSERT_EQUAL(nlm_grammar_state_accept_text(state, "{}", 2, NULL, &err), NLM_OK);
    nlm_grammar_destroy(grammar);
    nlm_grammar_state_destroy(fork);
    nlm_grammar_state_destroy(state);
    nlm_grammar_state_destroy(NULL);
    nlm_grammar_destroy(NULL);
}

static const check_case cases[] = {
    CHECK_CASE(mask_is_what_allows_says_of_each),
    CHECK_CASE(ends_come_when_the_text_is_complete),
    CHECK_CASE(interface_checks_its_arguments),
};
CHECK_MAIN("grammar_tokens", cases)
