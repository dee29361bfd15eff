/* Values of chat templates: what Python would hold, with a mark on each byte of text that says who wrote it. They
 * belong to a run, which frees them all.
 *
 * A run keeps the first failure. What is made after it may be undefined or incomplete, and is safe to go on with:
 * callers look at nlm_jinja_has_failed where they would loop or change something. */
#ifndef NLM_TEXT_JINJA_VALUE_H
#define NLM_TEXT_JINJA_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nlm/status.h>

typedef struct nlm_jinja_run nlm_jinja_run;

/* Who wrote a byte. */
enum {
    NLM_JINJA_TEMPLATE, /* the template, or whoever is trusted as it is: may spell control tokens */
    NLM_JINJA_USER,
    NLM_JINJA_WATCHED, /* a user, and the caller wants to know where it went */
    NLM_JINJA_OF_TOOL, /* a user, in the description of a tool */
    NLM_JINJA_OF_CALL  /* a user, in the call of one */
};

typedef enum nlm_jinja_type {
    NLM_JINJA_ABSENT, /* no value: an argument that was not given */
    NLM_JINJA_UNDEFINED,
    NLM_JINJA_NONE,
    NLM_JINJA_BOOL,
    NLM_JINJA_INT,
    NLM_JINJA_FLOAT,
    NLM_JINJA_STRING,
    NLM_JINJA_SEQUENCE,
    NLM_JINJA_DICT,
    NLM_JINJA_NAMESPACE, /* a dictionary whose entries are set as attributes */
    NLM_JINJA_FUNCTION,
    NLM_JINJA_LOOP /* `loop` */
} nlm_jinja_type;

typedef struct nlm_jinja_string {
    const char *data; /* any bytes; Python's characters are those of UTF-8, and every byte that is none */
    size_t length;
    const uint8_t *marks;       /* one a byte; NULL: all have `mark` */
    struct nlm_jinja_text *end; /* the text that it was made in and may be the end of, or NULL */
    uint8_t mark;
    bool is_markup; /* `safe`: what is added to it is escaped for HTML */
} nlm_jinja_string;

typedef struct nlm_jinja_value {
    nlm_jinja_type type;
    union {
        bool boolean;
        int64_t integer;
        double number;
        const nlm_jinja_string *string;
        struct nlm_jinja_sequence *sequence;
        struct nlm_jinja_dict *dict; /* of a namespace too */
        struct nlm_jinja_function *function;
        struct nlm_jinja_loop *loop;
        const char *why; /* undefined: the sentence of who uses it, or NULL */
    };
} nlm_jinja_value;

/* What Python tells apart. */
typedef enum nlm_jinja_kind {
    NLM_JINJA_LIST,
    NLM_JINJA_TUPLE,
    NLM_JINJA_RANGE,
    NLM_JINJA_VIEW,     /* of a dictionary: has a length, and no indices */
    NLM_JINJA_GENERATOR /* has neither */
} nlm_jinja_kind;

typedef struct nlm_jinja_sequence {
    nlm_jinja_value *items;
    size_t count, capacity;
    nlm_jinja_kind kind;
} nlm_jinja_sequence;

typedef struct nlm_jinja_pair {
    nlm_jinja_value key, value;
    uint64_t hash; /* of the key */
} nlm_jinja_pair;

/* In the order of insertion. */
typedef struct nlm_jinja_dict {
    nlm_jinja_pair *pairs;
    size_t count, capacity;
    uint32_t *slots; /* of a large one: 1 + the index of a pair, where its hash puts it; else NULL */
    size_t n_slots;  /* a power of two */
} nlm_jinja_dict;

bool nlm_jinja_has_failed(const nlm_jinja_run *run);

/* ---- making values ------------------------------------------------------------------------ */

static inline nlm_jinja_value nlm_jinja_none(void) {
    return (nlm_jinja_value){.type = NLM_JINJA_NONE};
}
static inline nlm_jinja_value nlm_jinja_bool(bool boolean) {
    return (nlm_jinja_value){.type = NLM_JINJA_BOOL, .boolean = boolean};
}
static inline nlm_jinja_value nlm_jinja_int(int64_t integer) {
    return (nlm_jinja_value){.type = NLM_JINJA_INT, .integer = integer};
}
static inline nlm_jinja_value nlm_jinja_float(double number) {
    return (nlm_jinja_value){.type = NLM_JINJA_FLOAT, .number = number};
}
/* The bytes are copied. */
nlm_jinja_value nlm_jinja_string_new(nlm_jinja_run *run, const char *data, size_t length, uint8_t mark);
/* A terminated one, not copied. */
nlm_jinja_value nlm_jinja_string_static(nlm_jinja_run *run, const char *text, uint8_t mark);
nlm_jinja_value nlm_jinja_sequence_new(nlm_jinja_run *run, nlm_jinja_kind kind);
void nlm_jinja_push(nlm_jinja_run *run, nlm_jinja_value sequence, nlm_jinja_value item);
nlm_jinja_value nlm_jinja_dict_new(nlm_jinja_run *run);
void nlm_jinja_put(nlm_jinja_run *run, nlm_jinja_value dict, nlm_jinja_value key, nlm_jinja_value value);
/* Under a name that stays, not copied. */
void nlm_jinja_put_named(nlm_jinja_run *run, nlm_jinja_value dict, const char *name, nlm_jinja_value value);

struct cJSON;
/* A copy; strings have `mark`, keys too. Objects that hold a key twice keep its last value, as Python's do. */
nlm_jinja_value nlm_jinja_from_cjson(nlm_jinja_run *run, const struct cJSON *item, uint8_t mark);

#endif
