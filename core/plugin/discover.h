/* Where the registries are. */
#ifndef NLM_PLUGIN_DISCOVER_H
#define NLM_PLUGIN_DISCOVER_H

#include <limits.h>
#include <nlm/status.h>
#include <stdbool.h>

#define NLM_DISCOVER_MAX 2

typedef struct nlm_discovery {
    char paths[NLM_DISCOVER_MAX][PATH_MAX]; /* in the order in which they are read */
    int count;
} nlm_discovery;

/* The registries to read, by the rules of plugin/plugins.h: `given` alone, or what the environment
 * names, or the installation's own. Errors: INVALID_ARGUMENT (a relative path in the environment),
 * NOT_FOUND (no registry; says where it looked). */
nlm_status nlm_discover(const char *given, nlm_discovery *out, nlm_error *err);

/* The program or library that holds this code, without links, with /proc or without. false if it cannot be told. */
bool nlm_discover_code(char out[PATH_MAX]);

/* The folder of the installation's own plugins: nlm/ beside the object this code is in, else
 * ../lib/nlm seen from there (or what an installation has for lib), else the one given when nlm was
 * built; the first that holds a plugins.toml. Never relative to the current directory. false if there
 * is none. */
bool nlm_discover_folder(char out[PATH_MAX]);

/* A program that libnlm runs itself, looked for in the same places. false if there is none. */
bool nlm_discover_program(const char *name, char out[PATH_MAX]);

#endif
