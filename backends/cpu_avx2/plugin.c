/* cpu_avx2: AVX2, FMA and F16C. This file is compiled for the baseline: the host checks the instruction set
 * before it loads the library. */
#include <string.h>

#include "cpu/fail.h"
#include "cpu/vector/device.h"

static nlm_status describe(void *self, nlm_device_info_v1 *out, nlm_error *error) {
    (void)self;
    (void)error;
    nlm_device_info_v1 info = {
        .kind = NLM_DEVICE_SLICED,
        .flags = NLM_DEVICE_HOST_MEMORY,
        .alignment_bytes = 64,
        .name = "CPU, AVX2",
        .arch = "x86_64+avx2",
    };
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

static const nlm_vector_device self = {&nlm_vector_gemm_quant_dword};

static const nlm_device_v1 device = {
    .struct_size = sizeof device,
    .self = (void *)(uintptr_t)&self,
    .ops = &nlm_vector_ops,
    .describe = describe,
    .query = nlm_vector_query,
    .pack_size = nlm_vector_pack_size,
    .pack = nlm_vector_pack,
};

static nlm_status open_device(const nlm_host_v1 *host, uint32_t ordinal, const nlm_device_v1 **out_device,
                              nlm_error *error) {
    if (ordinal != 0) {
        return nlm_cpu_fail(error, NLM_INVALID_ARGUMENT, "cpu_avx2", "device %u, but there is only device 0",
                            ordinal);
    }
    (void)host;
    *out_device = &device;
    return NLM_OK;
}

static void close_device(const nlm_device_v1 *closed) {
    (void)closed;
}

static const void *extension(const char *name, uint32_t version) {
    (void)name;
    (void)version;
    return NULL;
}

static const nlm_plugin_v1 plugin = {
    .struct_size = sizeof plugin,
    .abi_minor = 0,
    .min_host_minor = 0,
    .sanitizer = NLM_SANITIZER_BUILD,
    .name = "cpu_avx2",
    .version = "1",
    .description = "x86-64 with AVX2",
    .probe = probe,
    .open = open_device,
    .close = close_device,
    .extension = extension,
};

const nlm_plugin_v1 *nlm_plugin_query_v1(uint32_t host_minor) {
    (void)host_minor;
    return &plugin;
}
