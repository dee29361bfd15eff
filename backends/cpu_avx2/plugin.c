/* cpu_avx2: AVX2, FMA and F16C; AVX-VNNI where the CPU has it. This file is compiled for the baseline: the host
 * checks the instruction set before it loads the library.
 * Options: vnni = false; activations = 8. */
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
    static const nlm_device_v1 devices[NLM_AVX2_FORMS] = {
#define DEVICE(form) [form] = NLM_VECTOR_DEVICE(&nlm_avx2_devices[form])
        DEVICE(NLM_AVX2_PLAIN), DEVICE(NLM_AVX2_VNNI), DEVICE(NLM_AVX2_BYTES)};
    int is_8_bits;
    NLM_KIT_TRY(nlm_vector_take_activations(host, &is_8_bits, error));
    const nlm_avx2_form most = nlm_vector_may_use(host, "vnni") ? NLM_AVX2_VNNI : NLM_AVX2_PLAIN;
    const nlm_avx2_form form = is_8_bits ? NLM_AVX2_BYTES : nlm_avx2_best_form(most);
    return nlm_kit_open_one(&devices[form], ordinal, out_device, error);
}

static const nlm_plugin_v1 plugin = {
    .struct_size = sizeof plugin,
    .abi_minor = 0,
    .min_host_minor = 0,
    .sanitizer = NLM_SANITIZER_BUILD,
    .name = "cpu_avx2",
    .version = "1",
    .description = "x86-64 with AVX2; VNNI where present",
    .probe = probe,
    .open = open_device,
    .close = nlm_kit_close_nothing,
    .extension = nlm_kit_no_extension,
};

const nlm_plugin_v1 *nlm_plugin_query_v1(uint32_t host_minor) {
    (void)host_minor;
    return &plugin;
}
