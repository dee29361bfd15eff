/* Opens NVIDIA's libraries and looks their functions up. */
#include "libraries.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* A function that is looked up: its symbol, and where in the table it goes. */
typedef struct entry {
    const char *symbol;
    size_t offset;
} entry;

static const entry driver_entries[] = {
#define LINE(name, symbol, args) {#symbol, offsetof(nlm_cuda_driver, name)},
    NLM_CUDA_FUNCTIONS(LINE)
#undef LINE
};

static const entry nvrtc_entries[] = {
#define LINE(name, args) {#name, offsetof(nlm_cuda_nvrtc, name)},
    NLM_NVRTC_FUNCTIONS(LINE)
#undef LINE
};

static const entry nvml_entries[] = {
#define LINE(name, symbol, args) {#symbol, offsetof(nlm_cuda_nvml, name)},
    NLM_NVML_FUNCTIONS(LINE)
#undef LINE
};

static const entry cublaslt_entries[] = {
#define LINE(name, args) {#name, offsetof(nlm_cuda_cublaslt, name)},
    NLM_CUBLASLT_FUNCTIONS(LINE)
#undef LINE
};

/* One library: opened at most once, for good, as what it starts does not outlive a dlclose. */
typedef struct library {
    pthread_mutex_t lock;
    void *handle;
} library;

static bool look_up(void *handle, const char *path, const entry *entries, size_t count, void *table, char *why,
                    size_t why_bytes) {
    for (size_t i = 0; i < count; i++) {
        void *symbol = dlsym(handle, entries[i].symbol);
        if (!symbol) {
            snprintf(why, why_bytes, "%s has no %s: it is too old", path, entries[i].symbol);
            return false;
        }
        *(void **)((char *)table + entries[i].offset) = symbol;
    }
    return true;
}

/* Opens the first of `paths` (NULL-terminated) that there is. */
static const void *open_library(library *l, const char *const *paths, const char *missing, const entry *entries,
                                size_t count, void *table, char *why, size_t why_bytes) {
    const void *found = NULL;
    pthread_mutex_lock(&l->lock);
    if (l->handle) {
        found = table;
    } else {
        void *handle = NULL;
        snprintf(why, why_bytes, "%s", missing);
        for (; *paths && !(handle = dlopen(*paths, RTLD_NOW | RTLD_LOCAL)); paths++) {}
        if (handle && look_up(handle, *paths, entries, count, table, why, why_bytes)) {
            l->handle = handle;
            found = table;
        } else if (handle) {
            dlclose(handle);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return found;
}

const nlm_cuda_driver *nlm_cuda_driver_open(const nlm_host_v1 *host, char *why, size_t why_bytes) {
    static library driver = {PTHREAD_MUTEX_INITIALIZER, NULL};
    static nlm_cuda_driver table;
    const char *named = host->option(host->self, "driver");
    const char *paths[] = {named ? named : "libcuda.so.1", NULL};
    char missing[192];
    snprintf(missing, sizeof missing, "no %s: NVIDIA's driver is not installed", paths[0]);
    return open_library(&driver, paths, missing, driver_entries, sizeof driver_entries / sizeof *driver_entries,
                        &table, why, why_bytes);
}

/* The path of a library in the toolkit that the environment names, or in the usual place. */
static void find_in_toolkit(const char *file, char *out, size_t bytes) {
    const char *root = secure_getenv("CUDA_PATH");
    if (!root) root = secure_getenv("CUDA_HOME");
    snprintf(out, bytes, "%s/lib64/%s", root ? root : "/usr/local/cuda", file);
}

const nlm_cuda_nvrtc *nlm_cuda_nvrtc_open(const nlm_host_v1 *host, char *why, size_t why_bytes) {
    static library nvrtc = {PTHREAD_MUTEX_INITIALIZER, NULL};
    static nlm_cuda_nvrtc table;
    const char *named = host->option(host->self, "nvrtc");
    char in_toolkit[512];
    find_in_toolkit("libnvrtc.so", in_toolkit, sizeof in_toolkit);
    const char *usual[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so", in_toolkit, NULL};
    const char *only[] = {named, NULL};
    const char *missing =
        "no libnvrtc: install the CUDA toolkit (or its NVRTC alone), or name the library in the option nvrtc";
    return open_library(&nvrtc, named ? only : usual, missing, nvrtc_entries,
                        sizeof nvrtc_entries / sizeof *nvrtc_entries, &table, why, why_bytes);
}

const nlm_cuda_nvml *nlm_cuda_nvml_open(const nlm_host_v1 *host, char *why, size_t why_bytes) {
    static library nvml = {PTHREAD_MUTEX_INITIALIZER, NULL};
    static nlm_cuda_nvml table;
    const char *named = host->option(host->self, "nvml");
    const char *paths[] = {named ? named : "libnvidia-ml.so.1", NULL};
    char missing[192];
    snprintf(missing, sizeof missing, "no %s, which NVIDIA's driver brings", paths[0]);
    return open_library(&nvml, paths, missing, nvml_entries, sizeof nvml_entries / sizeof *nvml_entries, &table, why,
                        why_bytes);
}

const nlm_cuda_cublaslt *nlm_cuda_cublaslt_open(const nlm_host_v1 *host, char *why, size_t why_bytes) {
    static library cublaslt = {PTHREAD_MUTEX_INITIALIZER, NULL};
    static nlm_cuda_cublaslt table;
    const char *named = host->option(host->self, "cublaslt");
    char in_toolkit[512], missing[192];
    find_in_toolkit("libcublasLt.so", in_toolkit, sizeof in_toolkit);
    const char *usual[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so", in_toolkit, NULL};
    const char *only[] = {named, NULL};
    snprintf(missing, sizeof missing, "no %s: install cuBLAS, or name the library in the option cublaslt",
             named ? named : "libcublasLt");
    return open_library(&cublaslt, named ? only : usual, missing, cublaslt_entries,
                        sizeof cublaslt_entries / sizeof *cublaslt_entries, &table, why, why_bytes);
}
