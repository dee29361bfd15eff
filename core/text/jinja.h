/* Chat templates as models carry them: the part of Jinja2 that they are written in, interpreted as the Python package
 * transformers does (blocks trimmed, line starts stripped, no trailing newline, undefined names print nothing).
 *
 * What may be asked of a template is bounded, and nothing it says reaches further than its own output: no includes,
 * no imports, no calls but those of the tables in jinja_filters.c, jinja_tests.c, jinja_methods.c and
 * jinja_functions.c. Beyond transformers: lists and dictionaries may be changed (append, pop, update, ...), the
 * filter from_json. */
#ifndef NLM_TEXT_JINJA_H
#define NLM_TEXT_JINJA_H

#include "base/str.h"
#include "text/jinja_value.h"
#include "text/tokenizer.h"

typedef struct nlm_jinja nlm_jinja;

/* Reads the text of a template, which is copied. Errors BAD_FORMAT (`where` has the line), OUT_OF_MEMORY. */
nlm_status nlm_jinja_create(const char *text, size_t length, nlm_jinja **out, nlm_error *err);
void nlm_jinja_destroy(nlm_jinja *jinja);

/* What a rendering may take at most; each gives a LIMIT error that names it. */
typedef struct nlm_jinja_limits {
    uint64_t steps;      /* nodes evaluated, values walked, and one for every 32 bytes written */
    size_t memory_bytes; /* of values */
    size_t output_bytes; /* of one text, the output or a part of it */
    unsigned depth;      /* of expressions, blocks and macros within one another */
} nlm_jinja_limits;

extern const nlm_jinja_limits nlm_jinja_default_limits;

/* A rendering: make one, make values with it, render, end it, which frees all of them. */
nlm_jinja_run *nlm_jinja_run_create(const nlm_jinja_limits *limits, nlm_error *err);
void nlm_jinja_run_destroy(nlm_jinja_run *run);
/* The rendering adds to *out the parts of its text that {% generation %} encloses, as far as the template writes them
 * itself, not into a variable. `out` outlives the run. */
void nlm_jinja_note_generations(nlm_jinja_run *run, nlm_text_spans *out);

/* Appends what the template makes of `globals`, a dictionary, and to out_spans the parts of it that come from values
 * marked other than NLM_JINJA_TEMPLATE: pieces of them keep their marks through filters, slices and
 * concatenations. *out_watched (or NULL): the part from the first to behind the last byte of a watched value.
 * Errors   INVALID_ARGUMENT (raise_exception, whose text is the sentence; what Jinja2 calls an error: `where` has the
 *          line), LIMIT, OUT_OF_MEMORY.
 * Threads  a template may be rendered by several at once, each with a run of its own. */
nlm_status nlm_jinja_render(const nlm_jinja *jinja, nlm_jinja_run *run, nlm_jinja_value globals, nlm_str *out,
                            nlm_text_spans *out_spans, nlm_text_span *out_watched, nlm_error *err);

/* After a rendering: a bit, 1 << mark, for each mark that its text has. */
unsigned nlm_jinja_seen(const nlm_jinja_run *run);

/* Calls visit with every piece of text that the template itself holds: what stands outside of tags, and strings. */
void nlm_jinja_each_text(const nlm_jinja *jinja, void (*visit)(void *user, const char *text, size_t length),
                         void *user);

#endif
