/* What the parts of the reader of JSON Schema share.
 *
 * What a value must satisfy is a conjunction: a list of schemas that all apply. Each different one becomes a rule. */
#ifndef NLM_TEXT_JSON_SCHEMA_IMPL_H
#define NLM_TEXT_JSON_SCHEMA_IMPL_H

#include <cjson/cJSON.h>

#include "text/grammar_dfa.h"
#include "text/json_schema.h"

/* Which of a schema's choices have been made: their branches stand in the conjunction. */
enum { NLM_MADE_ANY_OF = 1, NLM_MADE_ONE_OF = 2 };

typedef struct nlm_conjunct {
    const cJSON *schema;
    uint32_t made; /* NLM_MADE_* */
} nlm_conjunct;

typedef struct nlm_conjunction {
    nlm_conjunct *items; /* of the rules' arena */
    size_t count, capacity;
    bool is_never; /* one of them is `false` */
} nlm_conjunction;

enum {
    NLM_TYPE_NULL = 1,
    NLM_TYPE_BOOLEAN = 2,
    NLM_TYPE_OBJECT = 4,
    NLM_TYPE_ARRAY = 8,
    NLM_TYPE_STRING = 16,
    NLM_TYPE_INTEGER = 32,
    NLM_TYPE_FRACTION = 64, /* numbers that are none; "number" is both */
    NLM_TYPE_ANY = 127
};

typedef struct nlm_schema_rule {
    nlm_conjunction all;
    uint32_t rule;
    struct nlm_schema_rule *same_hash, *next;
} nlm_schema_rule;

#define NLM_SCHEMA_BUCKETS 1024

typedef struct nlm_schema_reader {
    nlm_rules *rules;
    const cJSON *root;
    bool is_compact;
    nlm_schema_rule *known[NLM_SCHEMA_BUCKETS], *todo, **todo_end; /* rules whose bodies are to be made */
    const nlm_tree *gap, *blank, *string, *character; /* each a rule that is made when it is first needed */
} nlm_schema_reader;

static inline bool nlm_schema_is_ok(const nlm_schema_reader *r) {
    return r->rules->status == NLM_OK;
}

/* A failure at a place of the schema: `at` is any value of it. */
void nlm_schema_fail(nlm_schema_reader *r, const cJSON *at, nlm_status code, const char *format, ...)
    __attribute__((format(printf, 4, 5), cold));
#define NLM_SCHEMA_WHERE_MAX 100
void nlm_schema_where(const nlm_schema_reader *r, const cJSON *at, char out[NLM_SCHEMA_WHERE_MAX]);

/* json_schema_keywords.c: fails for a keyword that is not supported, and for a value of the wrong type. */
void nlm_schema_check(nlm_schema_reader *r, const cJSON *schema);
/* Calls fn for each schema that stands directly within it. */
void nlm_schema_each_inner(nlm_schema_reader *r, cJSON *schema, void (*fn)(nlm_schema_reader *r, cJSON *inner));
/* The keyword's value or NULL; of a schema that was checked. */
const cJSON *nlm_schema_get(const cJSON *schema, const char *keyword);
/* What a $ref points to; NULL after a failure. */
const cJSON *nlm_schema_resolve(nlm_schema_reader *r, const cJSON *ref);
/* A number of things, at most `most`: minItems and its like. */
uint32_t nlm_schema_count(nlm_schema_reader *r, const cJSON *value, uint32_t most);

/* json_schema_rewrite.c: writes out, in this schema and in those within, keywords that stand for others. */
void nlm_schema_rewrite(nlm_schema_reader *r, cJSON *schema);

/* json_schema.c */
void nlm_conjunction_add(nlm_schema_reader *r, nlm_conjunction *all, const cJSON *schema, uint32_t made);
/* The tree of a rule for values that satisfy all. */
const nlm_tree *nlm_schema_value(nlm_schema_reader *r, const nlm_conjunction *all);
/* Follows references and allOf until a conjunction has all schemas that apply, and checks their keywords. */
void nlm_schema_flatten(nlm_schema_reader *r, nlm_conjunction *all);
uint32_t nlm_schema_types(nlm_schema_reader *r, const nlm_conjunction *all);    /* NLM_TYPE_* that may be */
const cJSON *nlm_schema_first(const nlm_conjunction *all, const char *keyword); /* or NULL */

/* json_schema_choice.c: branches of which only one may match, which is so if no value matches two. */
void nlm_schema_check_apart(nlm_schema_reader *r, const cJSON *one_of);

/* json_schema_enum.c */
const nlm_tree *nlm_schema_enum(nlm_schema_reader *r, const nlm_conjunction *all, uint32_t types);
uint32_t nlm_schema_type_of(const cJSON *value);
bool nlm_schema_number_text(double value, char out[32]); /* of a JSON number; false: not told apart from others */

/* json_schema_object.c, json_schema_array.c, json_schema_string.c, json_schema_number.c: trees of one type. */
const nlm_tree *nlm_schema_object(nlm_schema_reader *r, const nlm_conjunction *all);
const nlm_tree *nlm_schema_array(nlm_schema_reader *r, const nlm_conjunction *all);
const nlm_tree *nlm_schema_string(nlm_schema_reader *r, const nlm_conjunction *all);
const nlm_tree *nlm_schema_number(nlm_schema_reader *r, const nlm_conjunction *all, bool is_integer);
/* The automaton of the strings' contents, of the numbers' texts; NULL: nothing is asked of them. */
const nlm_dfa *nlm_schema_string_dfa(nlm_schema_reader *r, const nlm_conjunction *all, bool with_length);
const nlm_dfa *nlm_schema_number_dfa(nlm_schema_reader *r, const nlm_conjunction *all, bool is_integer);
const nlm_dfa *nlm_schema_pattern(nlm_schema_reader *r, const cJSON *at, const char *pattern);
/* The regular expression of a format; NULL after a failure. */
const char *nlm_schema_format(nlm_schema_reader *r, const cJSON *format);
/* A string as it stands in JSON, with its quotes. */
const nlm_tree *nlm_schema_quoted(nlm_schema_reader *r, const char *text);
const nlm_tree *nlm_schema_any_string(nlm_schema_reader *r);
/* What may stand behind brackets and commas, and behind a colon. */
const nlm_tree *nlm_schema_gap(nlm_schema_reader *r);
const nlm_tree *nlm_schema_blank(nlm_schema_reader *r);

#endif
