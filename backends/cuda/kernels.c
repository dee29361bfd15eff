/* The kernels of a device: what is compiled, by source and defines, and its functions. */
#include "kernels.h"

#include <string.h>

#define FUNCTIONS 8

struct nlm_cuda_module {
    nlm_cuda_kernel key; /* its name aside */
    CUmodule module;
    struct {
        const char *name;
        CUfunction function;
    } functions[FUNCTIONS];
    struct nlm_cuda_module *next;
};

static bool is_same_define(const nlm_cuda_define *a, const nlm_cuda_define *b) {
    if (!a->name || !b->name) return a->name == b->name;
    if (strcmp(a->name, b->name) != 0 || a->number != b->number || !a->text != !b->text) return false;
    return !a->text || strcmp(a->text, b->text) == 0;
}

static bool is_of(const nlm_cuda_module *m, const nlm_cuda_kernel *kernel) {
    if (strcmp(m->key.source, kernel->source) != 0) return false;
    for (int i = 0; i < NLM_CUDA_MAX_DEFINES; i++) {
        if (!is_same_define(&m->key.defines[i], &kernel->defines[i])) return false;
        if (!kernel->defines[i].name) break;
    }
    return true;
}

static nlm_status load(nlm_cuda_device *d, const nlm_cuda_kernel *kernel, nlm_cuda_module *m, nlm_error *error) {
    char texts[NLM_CUDA_MAX_DEFINES][64];
    const char *options[NLM_CUDA_MAX_DEFINES + 1] = {0};
    char *image;
    size_t bytes;
    for (int i = 0; i < NLM_CUDA_MAX_DEFINES && kernel->defines[i].name; i++) {
        const nlm_cuda_define *define = &kernel->defines[i];
        if (define->text)
            snprintf(texts[i], sizeof texts[i], "-D%s=%s", define->name, define->text);
        else
            snprintf(texts[i], sizeof texts[i], "-D%s=%d", define->name, define->number);
        options[i] = texts[i];
    }
    NLM_KIT_TRY(nlm_cuda_compile(d, kernel->source, options, &image, &bytes, error));
    const CUresult result = d->cu->cuModuleLoadData(&m->module, image);
    d->host->release(d->host->self, image);
    return result == CUDA_SUCCESS ? NLM_OK : nlm_cuda_fail(d, error, "cuModuleLoadData", result);
}

/* Compiled and loaded, and in the device's list. The caller holds the lock. */
static nlm_status add(nlm_cuda_device *d, const nlm_cuda_kernel *kernel, nlm_cuda_module **out, nlm_error *error) {
    nlm_cuda_module *m = d->host->alloc(d->host->self, sizeof *m, 16);
    if (!m) return nlm_kit_fail(error, NLM_OUT_OF_MEMORY, kernel->source, "no host memory");
    *m = (nlm_cuda_module){.key = *kernel, .next = d->modules};
    const nlm_status status = load(d, kernel, m, error);
    if (status != NLM_OK) {
        d->host->release(d->host->self, m);
        return status;
    }
    d->modules = m;
    *out = m;
    return NLM_OK;
}

static nlm_status function_of(nlm_cuda_device *d, nlm_cuda_module *m, const char *name, CUfunction *out,
                              nlm_error *error) {
    for (int i = 0; i < FUNCTIONS; i++) {
        if (!m->functions[i].name) {
            NLM_CUDA_TRY(cuModuleGetFunction, &m->functions[i].function, m->module, name);
            m->functions[i].name = name;
        }
        if (strcmp(m->functions[i].name, name) != 0) continue;
        *out = m->functions[i].function;
        return NLM_OK;
    }
    return nlm_kit_fail(error, NLM_INTERNAL, name, "its source has more than %d kernels", FUNCTIONS);
}

static nlm_status find(nlm_cuda_device *d, const nlm_cuda_kernel *kernel, bool may_compile, CUfunction *out,
                       nlm_error *error) {
    nlm_cuda_module *m = d->modules;
    while (m && !is_of(m, kernel)) m = m->next;
    if (!m && !may_compile) {
        return nlm_kit_fail(error, NLM_INTERNAL, kernel->source, "was not prepared for these arguments");
    }
    if (!m) NLM_KIT_TRY(add(d, kernel, &m, error));
    return function_of(d, m, kernel->name, out, error);
}

nlm_status nlm_cuda_find(nlm_cuda_device *d, const nlm_cuda_kernel *kernel, bool may_compile, CUfunction *out,
                         nlm_error *error) {
    pthread_mutex_lock(&d->lock);
    const nlm_status status = find(d, kernel, may_compile, out, error);
    pthread_mutex_unlock(&d->lock);
    return status;
}

void nlm_cuda_kernels_close(nlm_cuda_device *d) {
    for (nlm_cuda_module *next; d->modules; d->modules = next) {
        next = d->modules->next;
        d->cu->cuModuleUnload(d->modules->module);
        d->host->release(d->host->self, d->modules);
    }
}
