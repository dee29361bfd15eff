/* What the parts of the template interpreter share: a rendering under way, and operations on values. */
#ifndef NLM_TEXT_JINJA_RUN_H
#define NLM_TEXT_JINJA_RUN_H

#include "base/arena.h"
#include "text/jinja.h"
#include "text/jinja_tree.h"

/* Names and their values, innermost first. */
typedef struct nlm_jinja_scope {
    struct nlm_jinja_scope *outer;
    struct nlm_jinja_variable *first;
} nlm_jinja_scope;

typedef struct nlm_jinja_variable {
    struct nlm_jinja_variable *next;
    const char *name;
    nlm_jinja_value value;
} nlm_jinja_variable;

/* What a loop's body was left by. */
typedef enum nlm_jinja_leave { NLM_JINJA_STAY, NLM_JINJA_BREAK, NLM_JINJA_CONTINUE } nlm_jinja_leave;

/* A growing text with its marks; zeroed is empty. */
typedef struct nlm_jinja_text {
    char *data;
    uint8_t *marks;
    size_t length, capacity;
    unsigned seen; /* a bit for each mark that occurs */
} nlm_jinja_text;

struct nlm_jinja_run {
    nlm_arena arena;
    nlm_jinja_limits limits;
    uint64_t steps;
    size_t bytes;
    unsigned depth;
    uint32_t line; /* of the template, of what is evaluated */
    nlm_status status;
    nlm_error error;
    nlm_jinja_value globals;
    nlm_jinja_scope *scope;
    nlm_jinja_text *out;
    nlm_jinja_text *whole;       /* the template's own output, which `out` is outside of captured blocks */
    nlm_text_spans *generations; /* parts of it that {% generation %} encloses; or NULL */
    nlm_jinja_leave leave;
    nlm_jinja_value block; /* what the filters of a block are applied to */
    unsigned seen;         /* marks of the whole text, when it is done */
};

/* Arguments of a call. */
typedef struct nlm_jinja_named {
    const char *name;
    nlm_jinja_value value;
} nlm_jinja_named;

typedef struct nlm_jinja_args {
    const nlm_jinja_value *items;
    size_t count;
    const nlm_jinja_named *named;
    size_t n_named;
} nlm_jinja_args;

#define NLM_JINJA_PARAMETERS_MAX 5

/* A call of what is written in C: of a filter or a test on `self`, of a method of it, of a function. */
typedef struct nlm_jinja_call {
    nlm_jinja_value self;
    nlm_jinja_value a[NLM_JINJA_PARAMETERS_MAX]; /* by the parameters of the entry; ABSENT where not given */
    const nlm_jinja_args *all;                   /* as they came */
    struct nlm_jinja_function *function;         /* which is called, or NULL */
} nlm_jinja_call;

/* Something written in C that templates may call. */
typedef struct nlm_jinja_entry {
    const char *name;
    nlm_jinja_value (*call)(nlm_jinja_run *run, nlm_jinja_call *call);
    unsigned n_needed;                                /* of the parameters, these must be given */
    const char *parameters[NLM_JINJA_PARAMETERS_MAX]; /* their names; "*" first: any arguments, unbound */
} nlm_jinja_entry;

/* What a FUNCTION is: one of C, bound to `self` if it is a method; or a macro. */
typedef struct nlm_jinja_function {
    const char *name;
    const nlm_jinja_entry *entry;
    nlm_jinja_value self;
    const nlm_jinja_node *macro; /* or NULL; or the block of a call, or a recursive loop */
    nlm_jinja_scope *scope;      /* where it was written */
    struct nlm_jinja_loop *loop; /* of a recursive loop */
    size_t at;                   /* of a cycler and a joiner: how often it was called */
} nlm_jinja_function;

typedef struct nlm_jinja_loop {
    const nlm_jinja_sequence *items;
    size_t at;
    const nlm_jinja_node *node;
    nlm_jinja_scope *scope; /* around the loop */
    unsigned depth;         /* of recursive loops, from 0 */
    nlm_jinja_value last_changed;
} nlm_jinja_loop;

/* ---- failing and what is bounded (jinja_run.c) -------------------------------------------- */

/* Keeps the first failure, at the line evaluated; gives an undefined value, for callers to return. */
nlm_jinja_value nlm_jinja_fail(nlm_jinja_run *run, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));
void nlm_jinja_fail_as(nlm_jinja_run *run, nlm_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));
/* An undefined value, and what whoever uses it is told. */
nlm_jinja_value nlm_jinja_missing(nlm_jinja_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* False, and a failure, when there were too many. */
bool nlm_jinja_spend(nlm_jinja_run *run, uint64_t steps);
/* Goes one deeper; false, and a failure, where that is too deep. Each success needs a nlm_jinja_exit. */
bool nlm_jinja_enter(nlm_jinja_run *run);
void nlm_jinja_exit(nlm_jinja_run *run);
/* Adds a part of the output to a list. */
void nlm_jinja_note(nlm_jinja_run *run, nlm_text_spans *spans, size_t from, size_t to);
/* Zeroed; NULL, and a failure. */
void *nlm_jinja_alloc(nlm_jinja_run *run, size_t count, size_t element_bytes);

/* ---- texts (jinja_text.c) ----------------------------------------------------------------- */

static inline uint8_t nlm_jinja_mark_at(const nlm_jinja_string *string, size_t at) {
    return string->marks ? string->marks[at] : string->mark;
}
void nlm_jinja_add(nlm_jinja_run *run, nlm_jinja_text *text, const char *data, size_t length, uint8_t mark);
void nlm_jinja_add_text(nlm_jinja_run *run, nlm_jinja_text *text, const char *data, uint8_t mark); /* terminated */
void nlm_jinja_add_part(nlm_jinja_run *run, nlm_jinja_text *text, const nlm_jinja_string *string, size_t from,
                        size_t to);
void nlm_jinja_add_string(nlm_jinja_run *run, nlm_jinja_text *text, const nlm_jinja_string *string);
/* A string of the whole text. */
nlm_jinja_value nlm_jinja_finish(nlm_jinja_run *run, nlm_jinja_text *text);
nlm_jinja_value nlm_jinja_part(nlm_jinja_run *run, const nlm_jinja_string *string, size_t from, size_t to);
nlm_jinja_value nlm_jinja_concat(nlm_jinja_run *run, const nlm_jinja_string *a, const nlm_jinja_string *b);
/* The string less characters at its ends: blanks if `set` is NULL. */
nlm_jinja_value nlm_jinja_strip(nlm_jinja_run *run, const nlm_jinja_string *string, const nlm_jinja_string *set,
                                bool at_start, bool at_end);
bool nlm_jinja_is_blank(uint32_t code);
/* Where `part` begins in [from, to) of the string, first or last; SIZE_MAX if nowhere. */
size_t nlm_jinja_find(const nlm_jinja_string *string, size_t from, size_t to, const nlm_jinja_string *part,
                      bool is_last);
size_t nlm_jinja_count_characters(const char *data, size_t length);
/* The byte at which character `index` begins; the length if there are fewer. */
size_t nlm_jinja_byte_of(const nlm_jinja_string *string, size_t index);
nlm_jinja_value nlm_jinja_markup(nlm_jinja_run *run, const nlm_jinja_string *string);
nlm_jinja_value nlm_jinja_escape(nlm_jinja_run *run, const nlm_jinja_string *string); /* markup */

typedef enum nlm_jinja_case {
    NLM_JINJA_LOWER,
    NLM_JINJA_UPPER,
    NLM_JINJA_CAPITALIZE,
    NLM_JINJA_TITLE,
    NLM_JINJA_TITLE_WORDS /* the filter's: words end at blanks and brackets */
} nlm_jinja_case;
nlm_jinja_value nlm_jinja_recase(nlm_jinja_run *run, const nlm_jinja_string *string, nlm_jinja_case how);

/* ---- values (jinja_value.c, jinja_dict.c, jinja_print.c) ---------------------------------- */

nlm_jinja_value nlm_jinja_undefined(const char *why);
/* "str", "dict", "NoneType", ... */
const char *nlm_jinja_type_name(nlm_jinja_value value);
bool nlm_jinja_truth(nlm_jinja_run *run, nlm_jinja_value value);
bool nlm_jinja_equal(nlm_jinja_run *run, nlm_jinja_value a, nlm_jinja_value b);
/* Below 0, 0, above 0; a failure, which names `op`, where Python orders them not. */
int nlm_jinja_compare(nlm_jinja_run *run, nlm_jinja_value a, nlm_jinja_value b, const char *op);
bool nlm_jinja_contains(nlm_jinja_run *run, nlm_jinja_value container, nlm_jinja_value item);
/* What a loop over the value goes through: its own items, the keys, the characters. */
const nlm_jinja_sequence *nlm_jinja_iterate(nlm_jinja_run *run, nlm_jinja_value value);
/* Of a string, sequence or dictionary; a failure for others. */
size_t nlm_jinja_length(nlm_jinja_run *run, nlm_jinja_value value);
bool nlm_jinja_is_number(nlm_jinja_value value);                                  /* int, float or bool */
double nlm_jinja_number(nlm_jinja_value value);                                   /* of these */
bool nlm_jinja_as_int(nlm_jinja_value value, int64_t *out);                       /* int or bool */
const nlm_jinja_string *nlm_jinja_str(nlm_jinja_run *run, nlm_jinja_value value); /* str(); never NULL */
/* A string as it is; a failure for others, which says what needs it, and an empty one. */
const nlm_jinja_string *nlm_jinja_need_string(nlm_jinja_run *run, nlm_jinja_value value, const char *what);
int64_t nlm_jinja_need_int(nlm_jinja_run *run, nlm_jinja_value value, const char *what);
bool nlm_jinja_is_named(nlm_jinja_value value, const char *text); /* a string, this one */

nlm_jinja_value *nlm_jinja_find_key(nlm_jinja_run *run, const nlm_jinja_dict *dict, nlm_jinja_value key);
nlm_jinja_value *nlm_jinja_find_name(nlm_jinja_run *run, const nlm_jinja_dict *dict, const char *name);
bool nlm_jinja_remove(nlm_jinja_run *run, nlm_jinja_dict *dict, nlm_jinja_value key, nlm_jinja_value *out);
nlm_jinja_value nlm_jinja_tuple(nlm_jinja_run *run, nlm_jinja_value a, nlm_jinja_value b);

void nlm_jinja_print(nlm_jinja_run *run, nlm_jinja_text *text, nlm_jinja_value value); /* as str() */
void nlm_jinja_repr(nlm_jinja_run *run, nlm_jinja_text *text, nlm_jinja_value value);
void nlm_jinja_print_float(char *out, size_t capacity, double number); /* as Python's repr */

/* ---- evaluating (jinja_eval.c, jinja_access.c, jinja_exec.c, jinja_call.c) ---------------- */

nlm_jinja_value nlm_jinja_eval(nlm_jinja_run *run, const nlm_jinja_node *node);
nlm_jinja_value nlm_jinja_arithmetic(nlm_jinja_run *run, nlm_jinja_operator op, nlm_jinja_value a, nlm_jinja_value b);
bool nlm_jinja_compare_by(nlm_jinja_run *run, nlm_jinja_operator op, nlm_jinja_value a, nlm_jinja_value b);
/* a.name, a[index], a[start:stop:step]. */
nlm_jinja_value nlm_jinja_attribute(nlm_jinja_run *run, nlm_jinja_value value, const char *name);
nlm_jinja_value nlm_jinja_item(nlm_jinja_run *run, nlm_jinja_value value, nlm_jinja_value index);
nlm_jinja_value nlm_jinja_slice(nlm_jinja_run *run, nlm_jinja_value value, const nlm_jinja_value bounds[3]);
/* "a.b.0": attributes of attributes, for filters. */
nlm_jinja_value nlm_jinja_path(nlm_jinja_run *run, nlm_jinja_value value, nlm_jinja_value path);

void nlm_jinja_exec(nlm_jinja_run *run, const nlm_jinja_node *first);
void nlm_jinja_push_scope(nlm_jinja_run *run, nlm_jinja_scope *scope, nlm_jinja_scope *outer);
void nlm_jinja_set(nlm_jinja_run *run, const char *name, nlm_jinja_value value);
void nlm_jinja_assign(nlm_jinja_run *run, const nlm_jinja_node *target, nlm_jinja_value value);
/* What the nodes print. */
nlm_jinja_value nlm_jinja_capture(nlm_jinja_run *run, const nlm_jinja_node *first);
void nlm_jinja_run_loop(nlm_jinja_run *run, const nlm_jinja_node *node, nlm_jinja_value items, unsigned depth);

nlm_jinja_value nlm_jinja_call_value(nlm_jinja_run *run, nlm_jinja_value callee, const nlm_jinja_args *args);
nlm_jinja_value nlm_jinja_call_entry(nlm_jinja_run *run, const nlm_jinja_entry *entry, nlm_jinja_value self,
                                     const nlm_jinja_args *args);
/* Evaluates the arguments that follow one another. */
nlm_jinja_args nlm_jinja_eval_args(nlm_jinja_run *run, const nlm_jinja_node *first);
nlm_jinja_value nlm_jinja_function_new(nlm_jinja_run *run, nlm_jinja_function function);

/* ---- tables: NULL if there is none of the name -------------------------------------------- */

extern const nlm_jinja_entry nlm_jinja_list_filters[]; /* a part of the filters */
extern const size_t nlm_jinja_list_filter_count;
extern const nlm_jinja_entry nlm_jinja_string_methods[];
extern const size_t nlm_jinja_string_method_count;
const nlm_jinja_entry *nlm_jinja_find_filter(const char *name);
const nlm_jinja_entry *nlm_jinja_find_test(const char *name);
const nlm_jinja_entry *nlm_jinja_find_function(const char *name);
const nlm_jinja_entry *nlm_jinja_find_method(nlm_jinja_value self, const char *name);

nlm_jinja_value nlm_jinja_to_json(nlm_jinja_run *run, nlm_jinja_call *call);
nlm_jinja_value nlm_jinja_from_json(nlm_jinja_run *run, nlm_jinja_call *call);
/* Python's "..." % values and "...".format(...). */
nlm_jinja_value nlm_jinja_percent(nlm_jinja_run *run, const nlm_jinja_string *format, nlm_jinja_value values);
nlm_jinja_value nlm_jinja_format(nlm_jinja_run *run, nlm_jinja_call *call);

/* ---- what several tables use -------------------------------------------------------------- */

/* The bytes as a terminated name; empty if it holds a NUL. */
const char *nlm_jinja_name(nlm_jinja_run *run, const nlm_jinja_string *string);
/* Whether its letters are all of that case, and there are any. */
bool nlm_jinja_has_case(const nlm_jinja_string *string, bool is_upper);
/* The order in which the keys ascend, or descend, stable: indices; NULL after a failure. */
const size_t *nlm_jinja_order(nlm_jinja_run *run, const nlm_jinja_value *keys, size_t count, bool is_reversed);
/* A string in lower case, others as they are. */
nlm_jinja_value nlm_jinja_ignore_case(nlm_jinja_run *run, nlm_jinja_value value);
/* The pairs by key, or by value, copied; NULL after a failure. */
const nlm_jinja_pair *nlm_jinja_sort_pairs(nlm_jinja_run *run, const nlm_jinja_dict *dict, bool by_value,
                                           bool has_case, bool is_reversed);
/* Lines, as str.splitlines has them. */
nlm_jinja_value nlm_jinja_split_lines(nlm_jinja_run *run, const nlm_jinja_string *string, bool keeps_ends);
nlm_jinja_value nlm_jinja_replace(nlm_jinja_run *run, const nlm_jinja_string *string, const nlm_jinja_string *old,
                                  const nlm_jinja_string *with, int64_t most);
nlm_jinja_value nlm_jinja_join(nlm_jinja_run *run, const nlm_jinja_string *separator,
                               const nlm_jinja_sequence *items);

#endif
