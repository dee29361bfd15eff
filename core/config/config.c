/* Typed fields filled from a TOML document, each mistake with its place. */
#include "config/config.h"

#include "base/status.h"
#include "base/str.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PATH_BYTES 256
#define MAX_CANDIDATES 256

/* Where a value comes from, for errors. */
typedef struct source {
    const nlm_config *config;
    const char *file; /* or "--set" */
    bool has_position;
    nlm_error *err;
} source;

static const char *type_text(nlm_config_type type) {
    static const char *const texts[] = {
#define TYPE_TEXT(name, c_type, text) text,
        NLM_CONFIG_TYPE_LIST(TYPE_TEXT)
#undef TYPE_TEXT
    };
    return texts[type];
}

static void *destination(const source *s, const nlm_config_key *key) {
    return (char *)s->config->values + key->offset;
}

__attribute__((format(printf, 4, 5))) static nlm_status fail_at(const source *s, const nlm_toml_node *node,
                                                                const char *path, const char *format, ...) {
    char where[NLM_TOML_WHERE_BYTES], why[640];
    nlm_toml_where(where, s->file, s->has_position ? node->line : 0, node->column);
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    return nlm_fail(s->err, NLM_BAD_FORMAT, where, "%s: %s", path, why);
}

static nlm_status fail_memory(const source *s) {
    return nlm_fail(s->err, NLM_OUT_OF_MEMORY, s->file, "no memory for the configuration");
}

/* ---- names -------------------------------------------------------------------------------- */

static const char *leaf_of(const char *path) {
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

static bool is_below(const char *key, const char *table) {
    const size_t length = strlen(table);
    return strncmp(key, table, length) == 0 && key[length] == '.';
}

static const nlm_config_key *find_key(const nlm_config *config, const char *path) {
    for (size_t i = 0; i < config->count; i++) {
        if (strcmp(config->keys[i].key, path) == 0) return &config->keys[i];
    }
    return NULL;
}

static bool is_table(const nlm_config *config, const char *path) {
    for (size_t i = 0; i < config->count; i++) {
        if (is_below(config->keys[i].key, path)) return true;
    }
    return false;
}

/* The key or table meant by an unknown path: one spelled alike, or a key of the same name elsewhere. */
static const char *nearest_key(const nlm_config *config, const char *path) {
    const char *names[MAX_CANDIDATES] = {0}, *leaves[MAX_CANDIDATES] = {0}, *tables[MAX_CANDIDATES] = {0};
    const size_t count = config->count < MAX_CANDIDATES ? config->count : MAX_CANDIDATES;
    for (size_t i = 0; i < count; i++) {
        names[i] = config->keys[i].key;
        leaves[i] = leaf_of(names[i]);
        if (strcmp(leaves[i], leaf_of(path)) == 0) return names[i];
        tables[i] = nlm_arena_strndup(config->arena, names[i], strcspn(names[i], "."));
        if (!tables[i]) return NULL;
    }
    const char *nearest = nlm_nearest(path, names, count);
    if (nearest) return nearest;
    if (!strchr(path, '.')) {
        nearest = nlm_nearest(path, tables, count);
        if (nearest) return nearest;
    }
    const char *leaf = nlm_nearest(leaf_of(path), leaves, count);
    for (size_t i = 0; leaf && i < count; i++) {
        if (leaves[i] == leaf) return names[i];
    }
    return NULL;
}

/* "expected one of a.x, a.y": the keys of the table the path is in, else all there are. */
static void list_keys(const nlm_config *config, const char *path, nlm_str *out) {
    char table[MAX_PATH_BYTES];
    snprintf(table, sizeof table, "%s", path);
    char *dot = strrchr(table, '.');
    if (dot) *dot = '\0';
    const bool is_known = dot && is_table(config, table);
    const char *separator = "expected one of ";
    for (size_t i = 0; i < config->count && out->length < 400; i++) {
        if (is_known && !is_below(config->keys[i].key, table)) continue;
        nlm_str_printf(out, "%s%s", separator, config->keys[i].key);
        separator = ", ";
    }
    if (out->length >= 400) nlm_str_puts(out, ", ...");
}

static nlm_status fail_unknown(const source *s, const nlm_toml_node *node, const char *path) {
    const char *nearest = nearest_key(s->config, path);
    if (nearest) return fail_at(s, node, path, "unknown key; did you mean '%s'?", nearest);
    nlm_str expected = {0};
    list_keys(s->config, path, &expected);
    const nlm_status status =
        fail_at(s, node, path, "unknown key; %s", expected.data ? expected.data : "none is expected here");
    nlm_str_release(&expected);
    return status;
}

/* ---- values ------------------------------------------------------------------------------- */

static nlm_status fail_type(const source *s, const nlm_config_key *key, const nlm_toml_node *node) {
    return fail_at(s, node, key->key, "expected %s, got %s", type_text(key->type), nlm_toml_kind_text(node->kind));
}

static nlm_status check_range(const source *s, const nlm_config_key *key, const nlm_toml_node *node, double value) {
    if (!isfinite(value)) return fail_at(s, node, key->key, "expected a finite number");
    const bool is_bounded = key->min != 0 || key->max != 0;
    if (!is_bounded || (value >= key->min && value <= key->max)) return NLM_OK;
    if (key->max >= 9e18) {
        return fail_at(s, node, key->key, "%.17g is out of range; expected at least %.17g", value, key->min);
    }
    return fail_at(s, node, key->key, "%.10g is out of range; expected %.10g to %.10g", value, key->min, key->max);
}

static nlm_status read_string(const source *s, const nlm_config_key *key, const nlm_toml_node *node) {
    if (node->kind != NLM_TOML_STRING) return fail_type(s, key, node);
    size_t count = 0;
    bool is_allowed = !key->choices;
    for (; key->choices && key->choices[count]; count++) {
        if (strcmp(key->choices[count], node->string) == 0) is_allowed = true;
    }
    if (!is_allowed) {
        nlm_str list = {0};
        for (size_t i = 0; i < count; i++) nlm_str_printf(&list, "%s'%s'", i ? ", " : "", key->choices[i]);
        const nlm_status status = fail_at(s, node, key->key, "'%s' is not a choice; expected one of %s", node->string,
                                          list.data ? list.data : "");
        nlm_str_release(&list);
        return status;
    }
    memcpy(destination(s, key), &node->string, sizeof node->string);
    return NLM_OK;
}

static nlm_status read_int(const source *s, const nlm_config_key *key, const nlm_toml_node *node) {
    if (node->kind != NLM_TOML_INTEGER) return fail_type(s, key, node);
    NLM_TRY(check_range(s, key, node, (double)node->integer));
    memcpy(destination(s, key), &node->integer, sizeof node->integer);
    return NLM_OK;
}

static nlm_status read_float(const source *s, const nlm_config_key *key, const nlm_toml_node *node) {
    if (node->kind != NLM_TOML_FLOAT && node->kind != NLM_TOML_INTEGER) return fail_type(s, key, node);
    const double value = node->kind == NLM_TOML_FLOAT ? node->number : (double)node->integer;
    NLM_TRY(check_range(s, key, node, value));
    memcpy(destination(s, key), &value, sizeof value);
    return NLM_OK;
}

static nlm_status read_bool(const source *s, const nlm_config_key *key, const nlm_toml_node *node) {
    if (node->kind != NLM_TOML_BOOLEAN) return fail_type(s, key, node);
    memcpy(destination(s, key), &node->boolean, sizeof node->boolean);
    return NLM_OK;
}

static nlm_status read_strings(const source *s, const nlm_config_key *key, const nlm_toml_node *node) {
    if (node->kind != NLM_TOML_ARRAY) return fail_type(s, key, node);
    const char **items = nlm_arena_array(s->config->arena, node->count + 1, sizeof *items);
    if (!items) return fail_memory(s);
    for (size_t i = 0; i < node->count; i++) {
        const nlm_toml_node *item = &node->items[i];
        if (item->kind != NLM_TOML_STRING) {
            return fail_at(s, item, key->key, "expected an array of strings, element %zu is %s", i,
                           nlm_toml_kind_text(item->kind));
        }
        items[i] = item->string;
    }
    const nlm_config_strings strings = {items, node->count};
    memcpy(destination(s, key), &strings, sizeof strings);
    return NLM_OK;
}

static nlm_status read_ints(const source *s, const nlm_config_key *key, const nlm_toml_node *node) {
    if (node->kind != NLM_TOML_ARRAY) return fail_type(s, key, node);
    int64_t *items = nlm_arena_array(s->config->arena, node->count + 1, sizeof *items);
    if (!items) return fail_memory(s);
    for (size_t i = 0; i < node->count; i++) {
        const nlm_toml_node *item = &node->items[i];
        if (item->kind != NLM_TOML_INTEGER) {
            return fail_at(s, item, key->key, "expected an array of integers, element %zu is %s", i,
                           nlm_toml_kind_text(item->kind));
        }
        NLM_TRY(check_range(s, key, item, (double)item->integer));
        items[i] = item->integer;
    }
    const nlm_config_ints ints = {items, node->count};
    memcpy(destination(s, key), &ints, sizeof ints);
    return NLM_OK;
}

/* The text of a plain value, or NULL with the reason said. */
static nlm_status option_text(const source *s, const char *path, const nlm_toml_node *node, const char **out) {
    nlm_arena *arena = s->config->arena;
    switch (node->kind) {
        case NLM_TOML_STRING: *out = node->string; break;
        case NLM_TOML_INTEGER: *out = nlm_arena_printf(arena, "%lld", (long long)node->integer); break;
        case NLM_TOML_FLOAT: *out = nlm_arena_printf(arena, "%.17g", node->number); break;
        case NLM_TOML_BOOLEAN: *out = node->boolean ? "true" : "false"; break;
        default:
            return fail_at(s, node, path, "expected a string, a number or a boolean, got %s",
                           nlm_toml_kind_text(node->kind));
    }
    return *out ? NLM_OK : fail_memory(s);
}

/* Sets one pair of an OPTIONS value, in a new list: the old one may be the caller's constant. */
static nlm_status set_option(const source *s, const nlm_config_key *key, const nlm_toml_node *node) {
    char path[MAX_PATH_BYTES];
    snprintf(path, sizeof path, "%s.%s", key->key, node->key);
    const char *text;
    NLM_TRY(option_text(s, path, node, &text));
    const char *const *old;
    memcpy(&old, destination(s, key), sizeof old);
    size_t count = 0;
    while (old && old[count]) count += 2;
    const char **pairs = nlm_arena_array(s->config->arena, count + 3, sizeof *pairs);
    if (!pairs) return fail_memory(s);
    size_t at = count;
    for (size_t i = 0; i < count; i++) pairs[i] = old[i];
    for (size_t i = 0; i < count; i += 2) {
        if (strcmp(pairs[i], node->key) == 0) at = i;
    }
    pairs[at] = node->key;
    pairs[at + 1] = text;
    memcpy(destination(s, key), &pairs, sizeof pairs);
    return NLM_OK;
}

static nlm_status read_options(const source *s, const nlm_config_key *key, const nlm_toml_node *node) {
    if (node->kind != NLM_TOML_TABLE) return fail_type(s, key, node);
    if (node->count > 256) return fail_at(s, node, key->key, "has %zu entries; at most 256 are taken", node->count);
    for (size_t i = 0; i < node->count; i++) NLM_TRY(set_option(s, key, &node->items[i]));
    return NLM_OK;
}

static nlm_status read_value(const source *s, const nlm_config_key *key, const nlm_toml_node *node) {
    switch (key->type) {
        case NLM_CONFIG_STRING: return read_string(s, key, node);
        case NLM_CONFIG_INT: return read_int(s, key, node);
        case NLM_CONFIG_FLOAT: return read_float(s, key, node);
        case NLM_CONFIG_BOOL: return read_bool(s, key, node);
        case NLM_CONFIG_STRINGS: return read_strings(s, key, node);
        case NLM_CONFIG_INTS: return read_ints(s, key, node);
        case NLM_CONFIG_OPTIONS: return read_options(s, key, node);
    }
    return nlm_fail(s->err, NLM_INTERNAL, s->file, "%s: no such type of key", key->key);
}

/* ---- tables ------------------------------------------------------------------------------- */

/* Recursion is bounded by the depth of the known keys: an unknown table is an error at once. */
static nlm_status read_table(const source *s, const nlm_toml_node *table, const char *prefix) {
    for (size_t i = 0; i < table->count; i++) {
        const nlm_toml_node *item = &table->items[i];
        char path[MAX_PATH_BYTES];
        snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", item->key);
        if (strchr(item->key, '.')) return fail_at(s, item, path, "a key in quotes may not hold a dot");
        const nlm_config_key *key = find_key(s->config, path);
        if (key) {
            NLM_TRY(read_value(s, key, item));
        } else if (!is_table(s->config, path)) {
            return fail_unknown(s, item, path);
        } else if (item->kind != NLM_TOML_TABLE) {
            return fail_at(s, item, path, "expected a table, got %s", nlm_toml_kind_text(item->kind));
        } else {
            NLM_TRY(read_table(s, item, path));
        }
    }
    return NLM_OK;
}

nlm_status nlm_config_read_table(const nlm_config *config, const nlm_toml_node *table, const char *file,
                                 nlm_error *err) {
    const source s = {config, file, true, err};
    if (table->kind != NLM_TOML_TABLE) return fail_at(&s, table, "this entry", "expected a table");
    return read_table(&s, table, "");
}

nlm_status nlm_config_read_text(const nlm_config *config, const char *text, size_t length, const char *file,
                                nlm_error *err) {
    const nlm_toml_node *root;
    NLM_TRY(nlm_toml_parse(text, length, file, config->arena, &root, err));
    return nlm_config_read_table(config, root, file, err);
}

nlm_status nlm_config_read_file(const nlm_config *config, const char *path, nlm_error *err) {
    const nlm_toml_node *root;
    NLM_TRY(nlm_toml_read(path, config->arena, &root, err));
    return nlm_config_read_table(config, root, path, err);
}

/* ---- the command line --------------------------------------------------------------------- */

/* The value as TOML, or NULL if it is none. The line is parsed whole: a newline in the value that
 * adds a second key makes it no value. */
static const nlm_toml_node *parse_value(const source *s, const char *value) {
    nlm_str line = {0};
    nlm_str_printf(&line, "value = %s", value);
    const nlm_toml_node *root = NULL;
    if (!line.has_failed) nlm_toml_parse(line.data, line.length, s->file, s->config->arena, &root, NULL);
    nlm_str_release(&line);
    return root && root->count == 1 ? &root->items[0] : NULL;
}

static nlm_status set_value(const source *s, const nlm_config_key *key, const char *value, bool is_verbatim) {
    if (strlen(value) > NLM_TOML_MAX_BYTES) {
        return nlm_fail(s->err, NLM_LIMIT, s->file, "%s: the value is longer than %u bytes", key->key,
                        NLM_TOML_MAX_BYTES);
    }
    if (key->type == NLM_CONFIG_STRING && (is_verbatim || (*value != '"' && *value != '\''))) {
        const nlm_toml_node text = {.kind = NLM_TOML_STRING,
                                    .string = nlm_arena_strndup(s->config->arena, value, strlen(value))};
        return text.string ? read_value(s, key, &text) : fail_memory(s);
    }
    const nlm_toml_node *node = parse_value(s, value);
    if (!node) return fail_at(s, &(nlm_toml_node){0}, key->key, "expected %s, got '%s'", type_text(key->type), value);
    return read_value(s, key, node);
}

/* "backend.options.NAME": the OPTIONS key, with *out_name its NAME; else NULL. */
static const nlm_config_key *find_option(const nlm_config *config, const char *path, const char **out_name) {
    for (size_t i = 0; i < config->count; i++) {
        const nlm_config_key *key = &config->keys[i];
        if (key->type != NLM_CONFIG_OPTIONS || !is_below(path, key->key)) continue;
        *out_name = path + strlen(key->key) + 1;
        return key;
    }
    return NULL;
}

static nlm_status set_one_option(const source *s, const nlm_config_key *key, const char *name, const char *value) {
    const nlm_toml_node *parsed = parse_value(s, value);
    const bool is_plain = parsed && parsed->kind != NLM_TOML_TABLE && parsed->kind != NLM_TOML_ARRAY;
    nlm_toml_node node = {.kind = NLM_TOML_STRING};
    if (is_plain && parsed->kind != NLM_TOML_DATETIME)
        node = *parsed;
    else
        node.string = nlm_arena_strndup(s->config->arena, value, strlen(value));
    node.key = nlm_arena_strndup(s->config->arena, name, strlen(name));
    if (!node.key || (node.kind == NLM_TOML_STRING && !node.string)) return fail_memory(s);
    return set_option(s, key, &node);
}

static nlm_status set_path(const source *s, const char *path, const char *value, bool is_verbatim) {
    const nlm_config_key *key = find_key(s->config, path);
    if (key) return set_value(s, key, value, is_verbatim);
    const char *name;
    key = find_option(s->config, path, &name);
    if (key && *name) return set_one_option(s, key, name, value);
    const nlm_toml_node nowhere = {0};
    if (is_table(s->config, path)) return fail_at(s, &nowhere, path, "is a table; name one of its keys");
    return fail_unknown(s, &nowhere, path);
}

nlm_status nlm_config_set(const nlm_config *config, const char *assignment, nlm_error *err) {
    const source s = {config, "--set", false, err};
    const char *equals = strchr(assignment, '=');
    if (!equals) return nlm_fail(err, NLM_BAD_FORMAT, s.file, "'%s': expected KEY=VALUE", assignment);
    const char *end = equals;
    while (*assignment == ' ') assignment++;
    while (end > assignment && end[-1] == ' ') end--;
    char path[MAX_PATH_BYTES];
    if ((size_t)(end - assignment) >= sizeof path) {
        return nlm_fail(err, NLM_BAD_FORMAT, s.file, "the key is longer than %zu bytes", sizeof path - 1);
    }
    snprintf(path, sizeof path, "%.*s", (int)(end - assignment), assignment);
    return set_path(&s, path, equals + 1 + strspn(equals + 1, " "), false);
}

nlm_status nlm_config_set_flag(const nlm_config *config, const char *flag, const char *key, const char *value,
                               nlm_error *err) {
    const source s = {config, flag, false, err};
    return set_path(&s, key, value, true);
}

const char *nlm_config_option(const char *const *options, const char *name) {
    for (size_t i = 0; options && options[i]; i += 2) {
        if (strcmp(options[i], name) == 0) return options[i + 1];
    }
    return NULL;
}

nlm_status nlm_config_path_from(const char *config, nlm_arena *arena, const char **path, nlm_error *err) {
    const char *slash = strrchr(config, '/'), *home = getenv("HOME");
    if (!*path || (*path)[0] == '/') return NLM_OK;
    if (home && strncmp(*path, "~/", 2) == 0) {
        *path = nlm_arena_printf(arena, "%s%s", home, *path + 1);
    } else if (slash) {
        *path = nlm_arena_printf(arena, "%.*s/%s", (int)(slash - config), config, *path);
    }
    return *path ? NLM_OK : nlm_fail(err, NLM_OUT_OF_MEMORY, config, "no memory");
}
