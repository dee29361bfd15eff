/* cpu_neon: AArch64 with NEON; dot products of bytes where the CPU has them.
 * Options: dotprod = false. */
#include <nlm/plugin_kit.h>

#include "device.h"

static nlm_status describe(void *self, nlm_device_info_v1 *out, nlm_error *error) {
    (void)error;
    nlm_device_info_v1 info = {
        .kind = NLM_DEVICE_SLICED,
        .flags = NLM_DEVICE_HOST_MEMORY,
        .alignment_bytes = 64,
        .name = "CPU, NEON",
    };
    static const char *const arch[NLM_NEON_FORMS] = {"aarch64+neon", "aarch64+neon+dotprod"};
    snprintf(info.arch, sizeof info.arch, "%s", arch[(const nlm_vector_device *)self - nlm_neon_devices]);
    info.struct_size = out->struct_size;
    memcpy(out, &info, out->struct_size < sizeof info ? out->struct_size : sizeof info);
    return NLM_OK;
}

static nlm_status probe(const nlm_host_v1 *host, nlm_probe_v1 *out, nlm_error *error) {
    (void)host;
    (void)error;
    out->device_count = 1;
    out->score = 20;
    return NLM_OK;
}

static int may_use(const nlm_host_v1 *host, const char *option) {
    const char *value = host->option(host->self, option);
    return !value || strcmp(value, "false") != 0;
}

static nlm_status open_device(const nlm_host_v1 *host, uint32_t ordinal, const nlm_device_v1 **out_device,
                              nlm_error *error) {
    static const nlm_device_v1 devices[NLM_NEON_FORMS] = {
#define DEVICE(form)                                        \
    [form] = {                                              \
        .struct_size = sizeof(nlm_device_v1),               \
        .self = (void *)(uintptr_t)&nlm_neon_devices[form], \
        .ops = &nlm_vector_ops,                             \
        .describe = describe,                               \
        .query = nlm_vector_query,                          \
        .pack_size = nlm_vector_pack_size,                  \
        .pack = nlm_vector_pack,                            \
    }
        DEVICE(NLM_NEON_PLAIN), DEVICE(NLM_NEON_DOTPROD)};
    const nlm_neon_form most = may_use(host, "dotprod") ? NLM_NEON_DOTPROD : NLM_NEON_PLAIN;
    return nlm_kit_open_one(&devices[nlm_neon_best_form(most)], ordinal, out_device, error);
}

static const nlm_plugin_v1 plugin = {
    .struct_size = sizeof plugin,
    .abi_minor = 0,
    .min_host_minor = 0,
    .sanitizer = NLM_SANITIZER_BUILD,
    .name = "cpu_neon",
    .version = "1",
    .description = "AArch64 with NEON; dotprod where present",
    .probe = probe,
    .open = open_device,
    .close = nlm_kit_close_nothing,
    .extension = nlm_kit_no_extension,
};

const nlm_plugin_v1 *nlm_plugin_query_v1(uint32_t host_minor) {
    (void)host_minor;
    return &plugin;
}
