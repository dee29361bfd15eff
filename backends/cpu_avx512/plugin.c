/* cpu_avx512: AVX-512 F, BW, VL, DQ and VNNI; int8 tiles (AMX) where CPU and kernel have them. This file is
 * compiled for the baseline: the host checks the instruction set before it loads the library. */
#include <stdio.h>
#include <string.h>

#include "cpu/fail.h"
#include "device.h"

static nlm_status describe(void *self, nlm_device_info_v1 *out, nlm_error *error) {
    (void)error;
    nlm_device_info_v1 info = {
        .kind = NLM_DEVICE_SLICED,
        .flags = NLM_DEVICE_HOST_MEMORY,
        .alignment_bytes = 64,
        .name = "CPU, AVX-512",
    };
    snprintf(info.arch, sizeof info.arch, "%s",
             nlm_avx512_has_tiles(self) ? "x86_64+avx512_vnni+amx_int8" : "x86_64+avx512_vnni");
    info.struct_size = out->struct_size;
    memcpy(out, &info, out->struct_size < sizeof info ? out->struct_size : sizeof info);
    return NLM_OK;
}

static nlm_status probe(const nlm_host_v1 *host, nlm_probe_v1 *out, nlm_error *error) {
    (void)host;
    (void)error;
    out->device_count = 1;
    out->score = 30;
    return NLM_OK;
}

static nlm_status open_device(const nlm_host_v1 *host, uint32_t ordinal, const nlm_device_v1 **out_device,
                              nlm_error *error) {
    if (ordinal != 0) {
        return nlm_cpu_fail(error, NLM_INVALID_ARGUMENT, "cpu_avx512", "device %u, but there is only device 0",
                            ordinal);
    }
    const char *tiles = host->option(host->self, "amx");
    const int may_use_tiles = !tiles || strcmp(tiles, "false") != 0;
    static const nlm_device_v1 devices[2] = {
#define DEVICE(tile_device)                       \
    {                                             \
        .struct_size = sizeof(nlm_device_v1),     \
        .self = (void *)(uintptr_t)(tile_device), \
        .ops = &nlm_vector_ops,                   \
        .describe = describe,                     \
        .query = nlm_vector_query,                \
        .pack_size = nlm_vector_pack_size,        \
        .pack = nlm_vector_pack,                  \
    }
        DEVICE(&nlm_avx512_device), DEVICE(&nlm_avx512_tile_device)};
    *out_device = &devices[may_use_tiles && nlm_avx512_request_tiles()];
    return NLM_OK;
}

static void close_device(const nlm_device_v1 *device) {
    (void)device;
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
    .name = "cpu_avx512",
    .version = "1",
    .description = "x86-64 with AVX-512 VNNI, AMX where present",
    .probe = probe,
    .open = open_device,
    .close = close_device,
    .extension = extension,
};

const nlm_plugin_v1 *nlm_plugin_query_v1(uint32_t host_minor) {
    (void)host_minor;
    return &plugin;
}
