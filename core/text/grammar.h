/* Grammars beside a vocabulary: which tokens may come next. What nlm/grammar.h offers, without a model. */
#ifndef NLM_TEXT_GRAMMAR_H
#define NLM_TEXT_GRAMMAR_H

#include "text/tokenizer.h"

typedef struct nlm_grammar nlm_grammar;
typedef struct nlm_grammar_state nlm_grammar_state;

typedef enum nlm_language { NLM_LANGUAGE_GBNF, NLM_LANGUAGE_JSON_SCHEMA } nlm_language;

typedef struct nlm_language_options {
    nlm_language language;
    bool is_compact;      /* JSON without blanks */
    uint64_t cache_bytes; /* bound of states and masks that are kept; 0: 64 MiB */
} nlm_language_options;

/* Reads a grammar. tokenizer: NULL for bytes alone; it is retained. Errors   BAD_FORMAT (where, what, what was
 * expected), UNSUPPORTED (a keyword: which, and where), LIMIT (what is too large), OUT_OF_MEMORY. */
nlm_status nlm_language_open(const char *text, size_t length, const nlm_language_options *options,
                             nlm_tokenizer *tokenizer, nlm_grammar **out, nlm_error *err);
/* States that are left keep it. */
void nlm_language_close(nlm_grammar *grammar);

nlm_status nlm_language_begin(nlm_grammar *grammar, nlm_grammar_state **out, nlm_error *err);
nlm_status nlm_language_fork(const nlm_grammar_state *state, nlm_grammar_state **out, nlm_error *err);
void nlm_language_end(nlm_grammar_state *state);
void nlm_language_reset(nlm_grammar_state *state);

bool nlm_language_has_tokens(const nlm_grammar_state *state);
/* Whether the text may end here, and the fewest bytes after which it may. */
bool nlm_language_is_complete(const nlm_grammar_state *state);
uint32_t nlm_language_shortest(const nlm_grammar_state *state);
/* Whether no byte may follow. */
bool nlm_language_is_over(const nlm_grammar_state *state);

/* text[0..length) comes. INVALID_ARGUMENT where it may not (*out_count: the bytes before that), and the state is as
 * it was. Errors also LIMIT, OUT_OF_MEMORY. */
nlm_status nlm_language_read(nlm_grammar_state *state, const char *text, size_t length, size_t *out_count,
                             nlm_error *err);

/* With a tokenizer. Errors   as nlm_grammar_state_constraint says of its functions. */
bool nlm_language_allows(nlm_grammar_state *state, int32_t id);
nlm_status nlm_language_mask(nlm_grammar_state *state, uint32_t *bits, size_t n_words, nlm_error *err);
nlm_status nlm_language_accept(nlm_grammar_state *state, int32_t id, nlm_error *err);

#endif
