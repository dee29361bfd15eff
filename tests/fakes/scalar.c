/* cpu_scalar as its library has it: what is compiled a second time could hide a fault of the first. */
#include <dlfcn.h>
#include <stdlib.h>

#include "fake.h"

typedef struct scalar {
    nlm_device_v1 api; /* first: what is given out is this */
    void *library;
    const nlm_plugin_v1 *plugin;
    const nlm_device_v1 *device; /* as cpu_scalar gave it */
} scalar;

static nlm_status open_library(scalar *s, const nlm_host_v1 *host, nlm_error *error) {
    const char *path = host->option(host->self, "scalar");
    if (!path) path = FAKE_SCALAR_LIBRARY;
    nlm_plugin_query_v1_fn query = NULL;
    s->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!s->library) return fake_fail(error, NLM_NOT_FOUND, "cpu_scalar: %s", dlerror());
    *(void **)(void *)&query = dlsym(s->library, NLM_PLUGIN_QUERY_SYMBOL);
    s->plugin = query ? query(NLM_ABI_MINOR) : NULL;
    if (!s->plugin) return fake_fail(error, NLM_BAD_FORMAT, "%s is not a backend", path);
    return s->plugin->open(host, 0, &s->device, error);
}

nlm_status fake_scalar_open(const nlm_host_v1 *host, const nlm_device_v1 **out, nlm_error *error) {
    scalar *s = calloc(1, sizeof *s);
    if (!s) return fake_fail(error, NLM_OUT_OF_MEMORY, "no memory for a device");
    const nlm_status status = open_library(s, host, error);
    if (status != NLM_OK) {
        if (s->library) dlclose(s->library);
        free(s);
        return status;
    }
    s->api = *s->device;
    *out = &s->api;
    return NLM_OK;
}

void fake_scalar_close(const nlm_device_v1 *device) {
    scalar *s = (scalar *)(void *)(uintptr_t)device;
    s->plugin->close(s->device);
    dlclose(s->library);
    free(s);
}

nlm_status fake_scalar_call(const nlm_device_v1 *device, nlm_op op, const nlm_exec_v1 *x, const nlm_any_args *args) {
    switch (op) {
#define NLM_OP(number, name) \
    case number:             \
        return device->ops->name(x, &args->name);
#include <nlm/ops.def>
#undef NLM_OP
        default: return NLM_UNSUPPORTED;
    }
}
