/* Any bytes as a configuration file, and as --set. */
#include "config/config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Keeps the reads of the walk from being optimised away. */
static volatile size_t sink;

typedef struct values {
    const char *text, *choice;
    int64_t integer;
    double number;
    bool flag;
    nlm_config_strings list;
    const char *const *options;
} values;

static const char *const choices[] = {"one", "two", NULL};
static const nlm_config_key keys[] = {
    {"text", NLM_CONFIG_STRING, offsetof(values, text), 0, 0, NULL},
    {"a.choice", NLM_CONFIG_STRING, offsetof(values, choice), 0, 0, choices},
    {"a.integer", NLM_CONFIG_INT, offsetof(values, integer), -5, 1e9, NULL},
    {"a.b.number", NLM_CONFIG_FLOAT, offsetof(values, number), 0, 1, NULL},
    {"a.b.flag", NLM_CONFIG_BOOL, offsetof(values, flag), 0, 0, NULL},
    {"list", NLM_CONFIG_STRINGS, offsetof(values, list), 0, 0, NULL},
    {"options", NLM_CONFIG_OPTIONS, offsetof(values, options), 0, 0, NULL},
};

static void walk(const nlm_toml_node *node) {
    sink += node->line + node->column + (node->key ? strlen(node->key) : 0);
    if (node->kind == NLM_TOML_STRING) sink += strlen(node->string);
    for (size_t i = 0; i < node->count; i++) walk(&node->items[i]);
}

static void walk_values(const values *v) {
    sink += (v->text ? strlen(v->text) : 0) + (v->choice ? strlen(v->choice) : 0);
    for (size_t i = 0; i < v->list.count; i++) sink += strlen(v->list.items[i]);
    for (size_t i = 0; v->options && v->options[i]; i++) sink += strlen(v->options[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    nlm_arena arena = {0};
    values v = {0};
    const nlm_config config = {keys, sizeof keys / sizeof *keys, &v, &arena};
    nlm_error err = NLM_ERROR_INIT;
    const nlm_toml_node *root;
    if (nlm_toml_parse((const char *)data, size, "input", &arena, &root, &err) == NLM_OK) {
        walk(root);
        sink += (size_t)nlm_config_read_table(&config, root, "input", &err);
    }
    char *assignment = nlm_arena_strndup(&arena, (const char *)data, size);
    if (assignment) sink += (size_t)nlm_config_set(&config, assignment, &err);
    walk_values(&v);
    nlm_arena_release(&arena);
    return 0;
}
