/* The part of nlm/nlm.h that keeps generated text to a grammar, or to the documents of a JSON Schema. Its rules are
 * nlm.h's, but what is made of a grammar belongs to no engine: see Threads below. */
#ifndef NLM_GRAMMAR_H
#define NLM_GRAMMAR_H

#include <nlm/nlm.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rules for texts, compiled, beside a vocabulary. Any number of texts may follow one at the same time. */
typedef struct nlm_grammar nlm_grammar;

enum {
    NLM_GRAMMAR_GBNF = 1,        /* rules as docs/constrained-output.md describes them; a text begins with `root` */
    NLM_GRAMMAR_JSON_SCHEMA = 2, /* the texts of the documents that a schema of draft 2020-12 describes, their
                                    properties in the schema's order; what of the draft is there: the same page */
    NLM_GRAMMAR_JSON_OBJECT = 3  /* any JSON object; the text is not looked at */
};

enum {
    NLM_GRAMMAR_COMPACT = 1 /* JSON without blanks between values; else a blank may stand behind a colon, and a blank,
                               or a newline and an indentation, behind a comma and inside brackets */
};

typedef struct nlm_grammar_options {
    uint32_t struct_size;
    uint32_t flags;       /* NLM_GRAMMAR_* */
    uint64_t cache_bytes; /* bound of states and masks that are kept between texts, about; 0: 64 MiB */
} nlm_grammar_options;

/* Compiles text[0..length). model NULL: for bytes alone, without a vocabulary. The model may be unloaded while the
 * grammar is in use.
 * Errors   BAD_FORMAT (the grammar's line, or the place in the schema; what, and what was expected; a rule that
 * begins with itself; no text can ever be complete), UNSUPPORTED (a keyword of JSON Schema: which, and where), LIMIT
 *          (the grammar, or what a schema combines, is too large), INVALID_ARGUMENT (an unknown kind), OUT_OF_MEMORY;
 *          of a model as nlm_encode.
 * Threads  Grammars and their states may be used by any number of threads at once, one state by one thread at a time,
 *          also while their model's engine is in use. */
NLM_API nlm_status nlm_grammar_create(const nlm_model *model, uint32_t kind, const char *text, size_t length,
                                      const nlm_grammar_options *options, nlm_grammar **out_grammar,
                                      nlm_error *error);
/* States that are left keep it until they are destroyed. */
NLM_API void nlm_grammar_destroy(nlm_grammar *grammar);

/* Where one text is in a grammar. */
typedef struct nlm_grammar_state nlm_grammar_state;

/* At the beginning of a text. Errors   OUT_OF_MEMORY. */
NLM_API nlm_status nlm_grammar_state_create(nlm_grammar *grammar, nlm_grammar_state **out_state, nlm_error *error);
NLM_API void nlm_grammar_state_destroy(nlm_grammar_state *state);
/* Another one, where this one is: for a session that is forked. Errors   OUT_OF_MEMORY. */
NLM_API nlm_status nlm_grammar_state_fork(const nlm_grammar_state *state, nlm_grammar_state **out_state,
                                          nlm_error *error);
/* Back to the beginning of a text. */
NLM_API nlm_status nlm_grammar_state_reset(nlm_grammar_state *state, nlm_error *error);

/* What rules tokens out, for nlm_generate_options, nlm_step_item and nlm_pick_options; valid as long as the state. It
 * follows the text token by token. Tokens that end a generation may come exactly when the text is complete, and no
 * other control token ever may; where nothing can follow, end tokens alone may come.
 * Functions  `mask` gives NOT_FOUND where no token may come: the text is complete and the vocabulary has no end
 * token, or it cannot spell what would have to follow. `accept` gives INVALID_ARGUMENT for a token that may not come,
 * and the state is as it was. Both give LIMIT where the text so far nests too deep, or can be read in too many ways,
 * and OUT_OF_MEMORY; `allows` is then 0. Errors   INVALID_ARGUMENT (the grammar was made without a model). */
NLM_API nlm_status nlm_grammar_state_constraint(nlm_grammar_state *state, nlm_constraint *out_constraint,
                                                nlm_error *error);

/* text[0..length) comes next, from wherever it is: a part of an answer that is given, a text to be checked.
 * out_accepted, or NULL: how many of its bytes may come; length, if all do.
 * Errors   INVALID_ARGUMENT (a byte may not come: which, and the state is as it was), LIMIT, OUT_OF_MEMORY. */
NLM_API nlm_status nlm_grammar_state_accept_text(nlm_grammar_state *state, const char *text, size_t length,
                                                 size_t *out_accepted, nlm_error *error);

typedef struct nlm_grammar_state_info {
    uint32_t struct_size;
    int32_t is_complete; /* the text may end here */
    int32_t is_over;     /* and it has to */
    uint32_t n_to_end;   /* the fewest bytes after which it may end, at most 2^32 - 2; 0: it is complete */
} nlm_grammar_state_info;

NLM_API nlm_status nlm_grammar_state_describe(const nlm_grammar_state *state, nlm_grammar_state_info *out_info,
                                              nlm_error *error);

#ifdef __cplusplus
}
#endif
#endif
