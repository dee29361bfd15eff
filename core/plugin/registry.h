/* plugins.toml: which backends an installation has.
 *
 *   [[plugin]]
 *   name = "cpu_avx2"            [a-z0-9_]+, the name the library gives itself
 *   library = "cpu_avx2.so"      relative to this file
 *   arch = "x86_64"              or aarch64, any (the default)
 *   isa = ["avx2", "fma"]        features of base/cpu.h; none by default
 *   priority = 10                greater first; 0 by default
 *   isolate = true               vet it with nlm-vet first; by default for libraries outside nlm's own folder
 *   sha256 = "..."               of the library, 64 hexadecimal digits
 *   [plugin.options]             plain values, for the plugin */
#ifndef NLM_PLUGIN_REGISTRY_H
#define NLM_PLUGIN_REGISTRY_H

#include "base/arena.h"
#include "config/config.h"
#include "plugin/verdict.h"

#define NLM_REGISTRY_MAX_ENTRIES 256
#define NLM_PLUGIN_NAME_MAX      63

typedef enum nlm_isolate { NLM_ISOLATE_DEFAULT, NLM_ISOLATE_NO, NLM_ISOLATE_YES } nlm_isolate;

typedef struct nlm_registry_entry {
    const char *name;    /* "(unnamed)" if it has none */
    const char *library; /* absolute; "" if it has none */
    const char *where;   /* file:line */
    const char *arch;
    nlm_config_strings isa;
    int64_t priority;
    nlm_isolate isolate;
    const char *sha256;         /* or NULL */
    const char *const *options; /* key, value, ..., NULL; or NULL */
    nlm_verdict verdict;        /* REFUSED if the entry itself is wrong */
} nlm_registry_entry;

typedef struct nlm_registry {
    nlm_registry_entry *entries;
    size_t count;
} nlm_registry;

/* Parses a registry whose relative libraries are in `directory` (absolute). Everything lives in the
 * arena. Errors: the file as a whole is wrong (file:line:column); a bad entry is refused instead. */
nlm_status nlm_registry_parse(const char *text, size_t length, const char *file, const char *directory,
                              nlm_arena *arena, nlm_registry *out, nlm_error *err);
/* As nlm_registry_parse for a file, relative libraries being beside it once its links are resolved.
 * The file must be trusted as a library is (PERMISSION). */
nlm_status nlm_registry_read(const char *path, nlm_arena *arena, nlm_registry *out, nlm_error *err);

/* [a-z0-9_]+ of at most NLM_PLUGIN_NAME_MAX bytes. */
bool nlm_plugin_name_is_valid(const char *name);

#endif
