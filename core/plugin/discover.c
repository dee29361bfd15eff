/* Where the list of plugins is looked for, and in which order. */
#include "plugin/discover.h"

#include "base/status.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

/* Set by the build: where the installation's plugins are if they are not found relative to this code,
 * and the name of its folder of libraries ("lib64"). */
#ifndef NLM_INSTALL_PLUGIN_DIR
#define NLM_INSTALL_PLUGIN_DIR ""
#endif
#ifndef NLM_INSTALL_LIBDIR
#define NLM_INSTALL_LIBDIR "lib"
#endif

/* Where the main program is, as the kernel was told of it at its start; "" where /proc will say. */
static char main_program[PATH_MAX];

/* Before main, while the current directory is the one that a relative path was given in. A set-uid program takes no
 * such path: whoever started it chose it. */
__attribute__((constructor)) static void note_main_program(void) {
    if (access("/proc/self/exe", F_OK) == 0 || getauxval(AT_SECURE)) return;
    const char *given = (const char *)(uintptr_t)getauxval(AT_EXECFN);
    if (!given || !realpath(given, main_program)) main_program[0] = '\0';
}

bool nlm_discover_code(char out[PATH_MAX]) {
    Dl_info info;
    struct link_map *map = NULL;
    if (!dladdr1((const void *)nlm_discover_code, &info, (void **)&map, RTLD_DL_LINKMAP) || !map) return false;
    /* The main program has no name here, and dladdr would give argv[0], which its caller chose. A
     * library opened by a relative path is relative to a directory that may no longer be current. */
    const char *own = *main_program ? main_program : "/proc/self/exe";
    const char *name = map->l_name && *map->l_name ? map->l_name : own;
    return *name == '/' && realpath(name, out);
}

/* The folder of that. */
static bool find_own_folder(char out[PATH_MAX]) {
    if (!nlm_discover_code(out)) return false;
    char *slash = strrchr(out, '/');
    slash[slash == out ? 1 : 0] = '\0';
    return true;
}

/* Sets out to the folder without links if it holds the file. */
static bool has_file(const char *folder, const char *name, char out[PATH_MAX]) {
    char path[PATH_MAX + 64], resolved[PATH_MAX];
    if (*folder != '/' || !realpath(folder, resolved)) return false;
    snprintf(path, sizeof path, "%s/%s", resolved, name);
    if (access(path, F_OK) != 0) return false;
    snprintf(out, PATH_MAX, "%s", resolved);
    return true;
}

static bool find_folder_with(const char *name, char out[PATH_MAX]) {
    static const char *const places[] = {"nlm", "../lib/nlm", "../" NLM_INSTALL_LIBDIR "/nlm"};
    char own[PATH_MAX], folder[PATH_MAX + 16];
    if (find_own_folder(own)) {
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            snprintf(folder, sizeof folder, "%s/%s", own, places[i]);
            if (has_file(folder, name, out)) return true;
        }
    }
    return has_file(NLM_INSTALL_PLUGIN_DIR, name, out);
}

bool nlm_discover_folder(char out[PATH_MAX]) {
    return find_folder_with("plugins.toml", out);
}

bool nlm_discover_program(const char *name, char out[PATH_MAX]) {
    char folder[PATH_MAX];
    return find_folder_with(name, folder) && snprintf(out, PATH_MAX, "%s/%s", folder, name) < PATH_MAX;
}

static nlm_status add(nlm_discovery *out, const char *path, nlm_error *err) {
    if (strlen(path) >= PATH_MAX) return nlm_fail(err, NLM_LIMIT, "plugin registry", "its path is too long");
    snprintf(out->paths[out->count++], PATH_MAX, "%s", path);
    return NLM_OK;
}

/* Adds the path of a variable; *out_is_set tells whether there is one. A set-uid program has none. */
static nlm_status add_variable(nlm_discovery *out, const char *name, bool *out_is_set, nlm_error *err) {
    const char *path = secure_getenv(name);
    *out_is_set = path && *path;
    if (!*out_is_set) return NLM_OK;
    if (*path != '/') return nlm_fail(err, NLM_INVALID_ARGUMENT, name, "'%s' is not an absolute path", path);
    return add(out, path, err);
}

static nlm_status add_default(nlm_discovery *out, nlm_error *err) {
    char folder[PATH_MAX];
    if (nlm_discover_folder(folder)) {
        char path[PATH_MAX + 16];
        snprintf(path, sizeof path, "%s/plugins.toml", folder);
        return add(out, path, err);
    }
    if (out->count > 0) return NLM_OK;
    char own[PATH_MAX];
    if (!find_own_folder(own)) own[0] = '\0';
    return nlm_fail(err, NLM_NOT_FOUND, "plugin registry",
                    "there is no plugins.toml in %s/nlm or %s/../lib/nlm%s%s; set NLM_PLUGIN_REGISTRY to one", own,
                    own, *NLM_INSTALL_PLUGIN_DIR ? " or " : "", NLM_INSTALL_PLUGIN_DIR);
}

nlm_status nlm_discover(const char *given, nlm_discovery *out, nlm_error *err) {
    out->count = 0;
    if (given) return add(out, given, err);
    bool is_added, is_replaced;
    NLM_TRY(add_variable(out, "NLM_PLUGIN_REGISTRY_ADD", &is_added, err));
    NLM_TRY(add_variable(out, "NLM_PLUGIN_REGISTRY", &is_replaced, err));
    return is_replaced ? NLM_OK : add_default(out, err);
}
