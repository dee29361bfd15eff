/* A temporary folder with copies of fixture plugins and a registry. */
#ifndef NLM_TESTS_PLUGIN_FOLDER_H
#define NLM_TESTS_PLUGIN_FOLDER_H

#include "unit/check.h"

#include "base/str.h"
#include "plugin/plugins.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct plugin_folder {
    char path[64];
    nlm_str registry;
} plugin_folder;

/* /tmp can be written by all but is sticky: what is in it and ours is trusted. */
static inline void folder_create(plugin_folder *folder) {
    *folder = (plugin_folder){.path = "/tmp/nlm_plugins_XXXXXX"};
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder->path));
}

static inline int folder_remove_one(const char *path, const struct stat *info, int type, struct FTW *level) {
    (void)info, (void)type, (void)level;
    return remove(path);
}

static inline void folder_destroy(plugin_folder *folder) {
    nftw(folder->path, folder_remove_one, 8, FTW_DEPTH | FTW_PHYS);
    nlm_str_release(&folder->registry);
}

/* FOLDER/name, in a buffer that the next call overwrites. */
static inline const char *folder_file(const plugin_folder *folder, const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder->path, name);
    return path;
}

static inline void folder_write(const plugin_folder *folder, const char *name, const void *data, size_t size) {
    FILE *file = fopen(folder_file(folder, name), "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_EQUAL_FATAL(fwrite(data, 1, size, file), size);
    CU_ASSERT_EQUAL_FATAL(fclose(file), 0);
    CU_ASSERT_EQUAL_FATAL(chmod(folder_file(folder, name), 0644), 0);
}

/* The bytes of a file; the caller frees them. */
static inline unsigned char *read_bytes(const char *path, size_t *out_size) {
    FILE *file = fopen(path, "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, 0, SEEK_END);
    *out_size = (size_t)ftell(file);
    rewind(file);
    unsigned char *bytes = malloc(*out_size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
    CU_ASSERT_EQUAL_FATAL(fread(bytes, 1, *out_size, file), *out_size);
    fclose(file);
    return bytes;
}

static inline unsigned char *read_fixture(const char *file, size_t *out_size) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", NLM_TEST_FIXTURES, file);
    return read_bytes(path, out_size);
}

static inline void folder_copy(const plugin_folder *folder, const char *file) {
    size_t size;
    unsigned char *bytes = read_fixture(file, &size);
    folder_write(folder, file, bytes, size);
    free(bytes);
}

/* Copies the fixture and adds an entry of its name with further lines of TOML. Not isolated. */
static inline void folder_add(plugin_folder *folder, const char *name, const char *lines) {
    char file[128];
    snprintf(file, sizeof file, "%s.so", name);
    folder_copy(folder, file);
    nlm_str_printf(&folder->registry, "[[plugin]]\nname = '%s'\nlibrary = '%s.so'\nisolate = false\n%s\n", name, name,
                   lines);
}

static inline nlm_status folder_load(plugin_folder *folder, nlm_plugins **out, nlm_error *err) {
    folder_write(folder, "plugins.toml", folder->registry.data ? folder->registry.data : "", folder->registry.length);
    const nlm_plugins_options options = {.registry = folder_file(folder, "plugins.toml")};
    return nlm_plugins_create(&options, out, err);
}

static inline nlm_plugins *folder_must_load(plugin_folder *folder) {
    nlm_plugins *plugins = NULL;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(folder_load(folder, &plugins, &err), NLM_OK);
    if (!plugins) printf("\n    %s: %s\n", err.where, err.msg);
    CU_ASSERT_PTR_NOT_NULL_FATAL(plugins);
    return plugins;
}

static inline const nlm_plugin_entry *find_entry(const nlm_plugins *plugins, const char *name) {
    for (size_t i = 0; i < nlm_plugins_count(plugins); i++) {
        const nlm_plugin_entry *entry = nlm_plugins_at(plugins, i);
        if (strcmp(entry->name, name) == 0) return entry;
    }
    return NULL;
}

/* CUnit prints neither side of a failed comparison. */
static inline void expect_contains(const char *text, const char *part) {
    const int is_there = strstr(text, part) != NULL;
    if (!is_there) printf("\n    got      %s\n    expected %s\n", text, part);
    CU_ASSERT_TRUE(is_there);
}

static inline void expect_state(const nlm_plugin_entry *entry, nlm_entry_state state, const char *reason) {
    CU_ASSERT_PTR_NOT_NULL_FATAL(entry);
    if (entry->state != state) printf("\n    %s: state %d: %s\n", entry->name, (int)entry->state, entry->reason);
    CU_ASSERT_EQUAL(entry->state, state);
    expect_contains(entry->reason, reason);
    CU_ASSERT_EQUAL(entry->plugin != NULL, state == NLM_ENTRY_READY);
    CU_ASSERT_EQUAL(entry->reason[0] == '\0', state == NLM_ENTRY_READY);
}

#endif
