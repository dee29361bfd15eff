/* TOML text as a tree of plain C nodes, each with the line and column it stands at. */
#ifndef NLM_CONFIG_TOML_H
#define NLM_CONFIG_TOML_H

#include <nlm/status.h>
#include <stdbool.h>
#include "base/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

/* X(NAME, what a message calls it) */
#define NLM_TOML_KIND_LIST(X) \
    X(TABLE, "a table")       \
    X(ARRAY, "an array")      \
    X(STRING, "a string")     \
    X(INTEGER, "an integer")  \
    X(FLOAT, "a float")       \
    X(BOOLEAN, "a boolean")   \
    X(DATETIME, "a date or time")

typedef enum nlm_toml_kind {
#define NLM_TOML_ENUM(name, text) NLM_TOML_##name,
    NLM_TOML_KIND_LIST(NLM_TOML_ENUM)
#undef NLM_TOML_ENUM
} nlm_toml_kind;

typedef struct nlm_toml_node {
    nlm_toml_kind kind;
    uint32_t line; /* of the key; of the value where there is no key. Both count from 1 */
    uint32_t column;
    const char *key; /* NULL in an array and for the root */
    const char *string;
    int64_t integer;
    double number;
    bool boolean;
    const struct nlm_toml_node *items; /* of a table (in the order of the text) or an array */
    size_t count;
} nlm_toml_node;

#define NLM_TOML_MAX_BYTES (1u << 20)
#define NLM_TOML_MAX_DEPTH 32 /* of nested values, and of the parts of one dotted key */

/* Parses text[0..length). `file` names it in errors. The tree lives in the arena.
 * Errors   BAD_FORMAT (syntax, a NUL, a key nested too deeply), LIMIT (too long), OUT_OF_MEMORY; all
 *          with `where` as file:line:column. */
nlm_status nlm_toml_parse(const char *text, size_t length, const char *file, nlm_arena *arena,
                          const nlm_toml_node **out_root, nlm_error *err);
/* As nlm_toml_parse for a regular file. Errors as well: NOT_FOUND, PERMISSION, IO. */
nlm_status nlm_toml_read(const char *path, nlm_arena *arena, const nlm_toml_node **out_root, nlm_error *err);

/* The item of a table by its key, or NULL. */
const nlm_toml_node *nlm_toml_get(const nlm_toml_node *table, const char *key);
const char *nlm_toml_kind_text(nlm_toml_kind kind);

/* Writes "file:line:column" (line 0: just the file), the head of a long path being left out. */
#define NLM_TOML_WHERE_BYTES 112
void nlm_toml_where(char out[NLM_TOML_WHERE_BYTES], const char *file, uint32_t line, uint32_t column);

/* ---- between toml.c and toml_shim.cpp ----------------------------------------------------- */

typedef struct nlm_toml_fault {
    uint32_t line;
    uint32_t column;
    char text[256];
} nlm_toml_fault;

/* text holds no NUL. Never throws. */
nlm_status nlm_toml_shim_parse(const char *text, size_t length, nlm_arena *arena, nlm_toml_node *out_root,
                               nlm_toml_fault *fault);

#ifdef __cplusplus
}
#endif
#endif
