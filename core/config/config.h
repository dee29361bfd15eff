/* A configuration described once as a table of keys: read from TOML files, from --set and from
 * flags, through the same checks and with the same errors.
 *
 * Errors are BAD_FORMAT with `where` as "run.toml:3:5" (or "--set") and a message that starts with
 * the key: "sampler.temprature: unknown key; did you mean 'sampler.temperature'?". */
#ifndef NLM_CONFIG_CONFIG_H
#define NLM_CONFIG_CONFIG_H

#include <nlm/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "config/toml.h"

typedef struct nlm_config_strings {
    const char *const *items;
    size_t count;
} nlm_config_strings;

typedef struct nlm_config_ints {
    const int64_t *items;
    size_t count;
} nlm_config_ints;

/* X(NAME, C type of the destination, what a message calls it) */
#define NLM_CONFIG_TYPE_LIST(X)                                \
    X(STRING, const char *, "a string")                        \
    X(INT, int64_t, "an integer")                              \
    X(FLOAT, double, "a number") /* an integer is taken too */ \
    X(BOOL, bool, "true or false")                             \
    X(STRINGS, nlm_config_strings, "an array of strings")      \
    X(INTS, nlm_config_ints, "an array of integers")           \
    X(OPTIONS, const char *const *, "a table of plain values") /* key, value, ..., NULL, all as text */

typedef enum nlm_config_type {
#define NLM_CONFIG_ENUM(name, type, text) NLM_CONFIG_##name,
    NLM_CONFIG_TYPE_LIST(NLM_CONFIG_ENUM)
#undef NLM_CONFIG_ENUM
} nlm_config_type;

typedef struct nlm_config_key {
    const char *key; /* dotted: "sampler.temperature" */
    nlm_config_type type;
    size_t offset; /* of the destination in nlm_config.values */
    double min;    /* inclusive bounds of INT, INTS and FLOAT; both 0: any. Never applied to the value that */
    double max;    /*   was there before, so a default outside them can mean "not set" */
    const char *const *choices; /* of STRING, NULL-terminated; NULL: any */
} nlm_config_key;

/* What is read, and where it goes. The values must hold their defaults beforehand: a key that does
 * not appear leaves its destination alone. Text that is read lives in the arena. */
typedef struct nlm_config {
    const nlm_config_key *keys;
    size_t count;
    void *values;
    nlm_arena *arena;
} nlm_config;

/* Later calls win over earlier ones. OPTIONS: tables are merged key by key. After an error the
 * values read so far stay. */
nlm_status nlm_config_read_file(const nlm_config *config, const char *path, nlm_error *err);
nlm_status nlm_config_read_text(const nlm_config *config, const char *text, size_t length, const char *file,
                                nlm_error *err);
/* One parsed table, its keys relative to it. */
nlm_status nlm_config_read_table(const nlm_config *config, const nlm_toml_node *table, const char *file,
                                 nlm_error *err);

/* "--set KEY=VALUE", VALUE in TOML; a string needs no quotes. "backend.options.NAME=VALUE" sets one
 * entry of an OPTIONS key. */
nlm_status nlm_config_set(const nlm_config *config, const char *assignment, nlm_error *err);
/* A flag of the command line that stands for `key`: as nlm_config_set, but strings are taken as they
 * are, quotes and all. `flag` names it in errors ("--temperature"). */
nlm_status nlm_config_set_flag(const nlm_config *config, const char *flag, const char *key, const char *value,
                               nlm_error *err);

/* A path that stands in the file `config`, as seen from here: relative ones start at its folder, "~/" is the user's
 * home, as in a shell. NULL stays so. Errors OUT_OF_MEMORY. */
nlm_status nlm_config_path_from(const char *config, nlm_arena *arena, const char **path, nlm_error *err);

/* The value of `name` in a list of OPTIONS (NULL: an empty one), or NULL. */
const char *nlm_config_option(const char *const *options, const char *name);

#endif
