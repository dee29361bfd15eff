/* The entries of plugins.toml. */
#include "plugin/registry.h"

#include "base/status.h"
#include "plugin/trust.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct fields {
    const char *name, *library, *arch, *sha256;
    nlm_config_strings isa;
    int64_t priority;
    bool isolate;
    const char *const *options;
} fields;

static const nlm_config_key keys[] = {
    {"name", NLM_CONFIG_STRING, offsetof(fields, name), 0, 0, NULL},
    {"library", NLM_CONFIG_STRING, offsetof(fields, library), 0, 0, NULL},
    {"arch", NLM_CONFIG_STRING, offsetof(fields, arch), 0, 0, NULL},
    {"isa", NLM_CONFIG_STRINGS, offsetof(fields, isa), 0, 0, NULL},
    {"priority", NLM_CONFIG_INT, offsetof(fields, priority), -1000000, 1000000, NULL},
    {"isolate", NLM_CONFIG_BOOL, offsetof(fields, isolate), 0, 0, NULL},
    {"sha256", NLM_CONFIG_STRING, offsetof(fields, sha256), 0, 0, NULL},
    {"options", NLM_CONFIG_OPTIONS, offsetof(fields, options), 0, 0, NULL},
};

bool nlm_plugin_name_is_valid(const char *name) {
    const size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return length > 0 && length <= NLM_PLUGIN_NAME_MAX && name[length] == '\0';
}

typedef struct parser {
    const char *file;
    const char *directory;
    nlm_arena *arena;
    nlm_error *err;
} parser;

static nlm_status fail_memory(const parser *p) {
    return nlm_fail(p->err, NLM_OUT_OF_MEMORY, p->file, "no memory for the registry");
}

static bool check_fields(const fields *f, nlm_verdict *verdict) {
    if (!f->name) return nlm_refuse(verdict, "the entry has no name");
    if (!nlm_plugin_name_is_valid(f->name)) {
        return nlm_refuse(verdict, "the name '%.80s' is not made of 1 to %d of a-z, 0-9 and _", f->name,
                          NLM_PLUGIN_NAME_MAX);
    }
    if (!f->library) return nlm_refuse(verdict, "the entry names no library");
    if (!*f->library) return nlm_refuse(verdict, "the library has an empty name");
    const size_t digits = f->sha256 ? strspn(f->sha256, "0123456789abcdefABCDEF") : 64;
    if (digits != 64 || (f->sha256 && f->sha256[64])) {
        return nlm_refuse(verdict, "sha256 is not 64 hexadecimal digits");
    }
    return true;
}

static nlm_status fill_entry(const parser *p, const nlm_toml_node *table, const fields *f, nlm_registry_entry *out) {
    const nlm_toml_node *isolate = nlm_toml_get(table, "isolate");
    out->name = f->name ? f->name : "(unnamed)";
    out->arch = f->arch;
    out->isa = f->isa;
    out->priority = f->priority;
    out->isolate = !isolate ? NLM_ISOLATE_DEFAULT : f->isolate ? NLM_ISOLATE_YES : NLM_ISOLATE_NO;
    out->sha256 = f->sha256;
    out->options = f->options;
    if (!f->library || !*f->library || *f->library == '/') {
        out->library = f->library ? f->library : "";
    } else {
        out->library = nlm_arena_printf(p->arena, "%s/%s", p->directory, f->library);
    }
    return out->library ? NLM_OK : fail_memory(p);
}

static nlm_status read_entry(const parser *p, const nlm_toml_node *table, nlm_registry_entry *out) {
    *out = (nlm_registry_entry){.where = nlm_arena_printf(p->arena, "%s:%u", p->file, table->line)};
    if (!out->where) return fail_memory(p);
    fields f = {.arch = "any"};
    const nlm_config config = {keys, sizeof keys / sizeof *keys, &f, p->arena};
    nlm_error fault = NLM_ERROR_INIT;
    const nlm_status status = nlm_config_read_table(&config, table, p->file, &fault);
    if (status == NLM_OUT_OF_MEMORY) return fail_memory(p);
    if (status != NLM_OK)
        nlm_refuse(&out->verdict, "%s: %.380s", fault.where, fault.msg);
    else
        check_fields(&f, &out->verdict);
    return fill_entry(p, table, &f, out);
}

static nlm_status fail_at(const parser *p, const nlm_toml_node *node, const char *message) {
    char where[NLM_TOML_WHERE_BYTES];
    nlm_toml_where(where, p->file, node->line, node->column);
    return nlm_fail(p->err, NLM_BAD_FORMAT, where, "%s: %s", node->key ? node->key : "plugin", message);
}

static nlm_status read_root(const parser *p, const nlm_toml_node *root, nlm_registry *out) {
    for (size_t i = 0; i < root->count; i++) {
        if (strcmp(root->items[i].key, "plugin") == 0) continue;
        return fail_at(p, &root->items[i], "unknown key; a registry holds [[plugin]] entries only");
    }
    const nlm_toml_node *list = nlm_toml_get(root, "plugin");
    if (!list) return NLM_OK;
    if (list->kind != NLM_TOML_ARRAY) return fail_at(p, list, "expected [[plugin]], an array of tables");
    if (list->count > NLM_REGISTRY_MAX_ENTRIES) return fail_at(p, list, "more than 256 entries");
    out->entries = nlm_arena_array(p->arena, list->count, sizeof *out->entries);
    if (!out->entries) return fail_memory(p);
    for (size_t i = 0; i < list->count; i++) {
        const nlm_toml_node *table = &list->items[i];
        if (table->kind != NLM_TOML_TABLE) return fail_at(p, table, "expected [[plugin]], an array of tables");
        NLM_TRY(read_entry(p, table, &out->entries[out->count++]));
    }
    return NLM_OK;
}
_Static_assert(NLM_REGISTRY_MAX_ENTRIES == 256, "a message above names it");

nlm_status nlm_registry_parse(const char *text, size_t length, const char *file, const char *directory,
                              nlm_arena *arena, nlm_registry *out, nlm_error *err) {
    *out = (nlm_registry){0};
    const parser p = {file, directory, arena, err};
    const nlm_toml_node *root;
    NLM_TRY(nlm_toml_parse(text, length, file, arena, &root, err));
    return read_root(&p, root, out);
}

nlm_status nlm_registry_read(const char *path, nlm_arena *arena, nlm_registry *out, nlm_error *err) {
    *out = (nlm_registry){0};
    char absolute[PATH_MAX], resolved[PATH_MAX];
    if (!realpath(path, absolute)) {
        return nlm_fail_errno(err, nlm_status_from_errno(errno), path, "cannot open the plugin registry");
    }
    nlm_verdict verdict = {0};
    if (!nlm_trust_check(absolute, resolved, &verdict)) {
        return nlm_fail(err, NLM_PERMISSION, path, "the plugin registry is not trusted: %s", verdict.reason);
    }
    char *directory = nlm_arena_strndup(arena, resolved, (size_t)(strrchr(resolved, '/') - resolved));
    const char *file = nlm_arena_strndup(arena, resolved, strlen(resolved));
    const parser p = {file, directory, arena, err};
    if (!directory || !file) return fail_memory(&p);
    const nlm_toml_node *root;
    NLM_TRY(nlm_toml_read(file, arena, &root, err));
    return read_root(&p, root, out);
}
