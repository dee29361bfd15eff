/* What tests of grammars share. */
#ifndef NLM_TESTS_GRAMMAR_FIXTURE_H
#define NLM_TESTS_GRAMMAR_FIXTURE_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "text/grammar.h"
#include "unit/check.h"

static inline nlm_grammar *grammar_of(const char *text, nlm_language language, nlm_tokenizer *tokenizer) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_grammar *grammar = NULL;
    const nlm_language_options options = {.language = language};
    const nlm_status status = nlm_language_open(text, strlen(text), &options, tokenizer, &grammar, &err);
    if (status != NLM_OK) printf(" [%s\n %s: %s] ", text, err.where, err.msg);
    CU_ASSERT_EQUAL_FATAL(status, NLM_OK);
    return grammar;
}

static inline nlm_grammar_state *grammar_begin(nlm_grammar *grammar) {
    nlm_grammar_state *state = NULL;
    CU_ASSERT_EQUAL_FATAL(nlm_language_begin(grammar, &state, NULL), NLM_OK);
    return state;
}

static inline bool grammar_takes(nlm_grammar *grammar, const char *text, size_t length) {
    size_t count;
    nlm_grammar_state *state = grammar_begin(grammar);
    const bool is_read = nlm_language_read(state, text, length, &count, NULL) == NLM_OK;
    const bool takes = is_read && nlm_language_is_complete(state);
    nlm_language_end(state);
    return takes;
}

#define TEXTS_MAX 24

/* A grammar with texts that it takes and others that it does not. */
typedef struct grammar_case {
    const char *grammar;
    const char *yes[TEXTS_MAX], *no[TEXTS_MAX];
} grammar_case;

static inline void check_cases(const grammar_case *cases, size_t count, nlm_language language) {
    for (size_t i = 0; i < count; i++) {
        nlm_grammar *grammar = grammar_of(cases[i].grammar, language, NULL);
        for (const char *const *text = cases[i].yes; *text; text++) {
            const bool takes = grammar_takes(grammar, *text, strlen(*text));
            if (!takes) printf(" [%s takes '%s'] ", cases[i].grammar, *text);
            CU_ASSERT(takes);
        }
        for (const char *const *text = cases[i].no; *text; text++) {
            const bool takes = grammar_takes(grammar, *text, strlen(*text));
            if (takes) printf(" [%s does not take '%s'] ", cases[i].grammar, *text);
            CU_ASSERT(!takes);
        }
        nlm_language_close(grammar);
    }
}

/* A grammar that is none, and what is said of it. */
typedef struct grammar_failure {
    const char *grammar;
    nlm_status status;
    const char *where, *part; /* of the sentence */
} grammar_failure;

static inline void check_failures(const grammar_failure *cases, size_t count, nlm_language language) {
    for (size_t i = 0; i < count; i++) {
        nlm_error err = NLM_ERROR_INIT;
        nlm_grammar *grammar = NULL;
        const nlm_language_options options = {.language = language};
        const char *text = cases[i].grammar;
        const nlm_status status = nlm_language_open(text, strlen(text), &options, NULL, &grammar, &err);
        const bool is_said = strcmp(err.where, cases[i].where) == 0 && strstr(err.msg, cases[i].part);
        if (status != cases[i].status || !is_said) printf(" [%s: %d, %s: %s] ", text, status, err.where, err.msg);
        CU_ASSERT_EQUAL(status, cases[i].status);
        CU_ASSERT(is_said);
        CU_ASSERT_PTR_NULL(grammar);
        nlm_language_close(grammar);
    }
}

#endif
