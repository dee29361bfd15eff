/* Opens a library and finds its one symbol. */
#include "plugin/loaded.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

/* dlsym also finds a symbol of a dependency; only one of the library itself counts. */
static bool is_own_symbol(void *handle, void *symbol) {
    struct link_map *own = NULL, *of_symbol = NULL;
    Dl_info info;
    if (dlinfo(handle, RTLD_DI_LINKMAP, &own) != 0 || !own) return false;
    return dladdr1(symbol, &info, (void **)&of_symbol, RTLD_DL_LINKMAP) && of_symbol == own;
}

static bool find_query(const char *path, nlm_library *library, nlm_verdict *verdict) {
    void *symbol = dlsym(library->handle, NLM_PLUGIN_QUERY_SYMBOL);
    if (!symbol) return nlm_refuse(verdict, "%s does not export %s", path, NLM_PLUGIN_QUERY_SYMBOL);
    if (!is_own_symbol(library->handle, symbol)) {
        return nlm_refuse(verdict, "%s is exported by a library that %s depends on, not by itself",
                          NLM_PLUGIN_QUERY_SYMBOL, path);
    }
    /* POSIX lets an object pointer hold a function's address; ISO C has no cast for it. */
    memcpy(&library->query, &symbol, sizeof symbol);
    return true;
}

static bool open_library(const char *path, nlm_library *library, nlm_verdict *verdict) {
    dlerror();
    library->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library->handle) return true;
    const char *why = dlerror();
    return nlm_refuse(verdict, "it cannot be loaded: %s", why ? why : "the loader does not say why");
}

bool nlm_library_load(const char *path, nlm_library *out, nlm_verdict *verdict) {
    *out = (nlm_library){0};
    if (open_library(path, out, verdict) && find_query(path, out, verdict)) return true;
    nlm_library_drop(out);
    return false;
}

void nlm_library_keep(const nlm_library *library, const char *path) {
    (void)library;
    (void)dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD | RTLD_NODELETE);
}

void nlm_library_drop(const nlm_library *library) {
    if (library->handle) dlclose(library->handle);
}
