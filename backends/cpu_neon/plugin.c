/* cpu_neon: AArch64 with NEON; dot products and products of matrices of bytes where the CPU has them.
 * Options: i8mm = false, dotprod = false (then no matrices either); activations = 8. */
#include <nlm/plugin_kit.h>

#include "device.h"

static nlm_status probe(const nlm_host_v1 *host, nlm_probe_v1 *out, nlm_error *error) {
    (void)host;
    (void)error;
    out->device_count = 1;
    out->score = 20;
    return NLM_OK;
}

static nlm_status open_device(const nlm_host_v1 *host, uint32_t ordinal, const nlm_device_v1 **out_device,
                              nlm_error *error) {
#define DEVICE(bits, form) [form] = NLM_VECTOR_DEVICE(&nlm_neon_devices[bits][form])
#define DEVICES(bits) \
    { DEVICE(bits, NLM_NEON_PLAIN), DEVICE(bits, NLM_NEON_DOTPROD), DEVICE(bits, NLM_NEON_I8MM) }
    static const nlm_device_v1 devices[2][NLM_NEON_FORMS] = {DEVICES(0), DEVICES(1)};
    int is_8_bits;
    NLM_KIT_TRY(nlm_vector_take_activations(host, &is_8_bits, error));
    const nlm_neon_form most = !nlm_vector_may_use(host, "dotprod") ? NLM_NEON_PLAIN
                               : !nlm_vector_may_use(host, "i8mm")  ? NLM_NEON_DOTPROD
                                                                    : NLM_NEON_I8MM;
    return nlm_kit_open_one(&devices[is_8_bits][nlm_neon_best_form(most)], ordinal, out_device, error);
}

static const nlm_plugin_v1 plugin = {
    .struct_size = sizeof plugin,
    .abi_minor = 0,
    .min_host_minor = 0,
    .sanitizer = NLM_SANITIZER_BUILD,
    .name = "cpu_neon",
    .version = "1",
    .description = "AArch64 with NEON; dotprod and i8mm where present",
    .probe = probe,
    .open = open_device,
    .close = nlm_kit_close_nothing,
    .extension = nlm_kit_no_extension,
};

const nlm_plugin_v1 *nlm_plugin_query_v1(uint32_t host_minor) {
    (void)host_minor;
    return &plugin;
}
