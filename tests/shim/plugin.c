/* scalar_as_*: the bodies of the vector backends with the shim of plain C, in the shape of an instruction set that
 * this machine need not have. SHAPE_NAME is that shape's, SHAPE_GEMM the products of many tokens that go with it. */
#include <nlm/plugin_kit.h>

#include "cpu/vector/device.h"

static nlm_status probe(const nlm_host_v1 *host, nlm_probe_v1 *out, nlm_error *error) {
    (void)host;
    (void)error;
    out->device_count = 1;
    return NLM_OK;
}

static const nlm_vector_device self = {&SHAPE_GEMM, "CPU, plain C as " SHAPE_NAME, "any+" SHAPE_NAME};

static const nlm_device_v1 device = NLM_VECTOR_DEVICE(&self);

static nlm_status open_device(const nlm_host_v1 *host, uint32_t ordinal, const nlm_device_v1 **out_device,
                              nlm_error *error) {
    (void)host;
    return nlm_kit_open_one(&device, ordinal, out_device, error);
}

static const nlm_plugin_v1 plugin = {
    .struct_size = sizeof plugin,
    .abi_minor = 0,
    .min_host_minor = 0,
    .sanitizer = NLM_SANITIZER_BUILD,
    .name = "scalar_as_" SHAPE_NAME,
    .version = "1",
    .description = "the vector backends' bodies in plain C",
    .probe = probe,
    .open = open_device,
    .close = nlm_kit_close_nothing,
    .extension = nlm_kit_no_extension,
};

const nlm_plugin_v1 *nlm_plugin_query_v1(uint32_t host_minor) {
    (void)host_minor;
    return &plugin;
}
