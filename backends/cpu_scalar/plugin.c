/* cpu_scalar: the reference backend. Plain C, readable first, every op; f32 activations, weights of every
 * type decoded on the fly. It is what other backends are compared with and what their missing ops fall
 * back to. */
#include <string.h>

#include "scalar.h"

static nlm_status describe(void *self, nlm_device_info_v1 *out, nlm_error *error) {
    (void)self;
    (void)error;
    nlm_device_info_v1 info = {
        .kind = NLM_DEVICE_SLICED,
        .flags = NLM_DEVICE_HOST_MEMORY,
        .alignment_bytes = sizeof(float), /* of the elements; nothing here wants more */
        .name = "CPU, portable C",
#if defined(__x86_64__)
        .arch = "x86_64",
#elif defined(__aarch64__)
        .arch = "aarch64",
#else
        .arch = "any",
#endif
    };
    info.struct_size = out->struct_size;
    memcpy(out, &info, out->struct_size < sizeof info ? out->struct_size : sizeof info);
    return NLM_OK;
}

static nlm_status query(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    nlm_cpu_dims dims;
    NLM_CPU_TRY(nlm_cpu_check(op, args, NLM_LAYOUT_ROW_MAJOR, &dims, out));
    switch (op) {
        case NLM_OP_matmul: nlm_scalar_matmul_needs(&dims, nth, out); break;
        case NLM_OP_rope: nlm_scalar_rope_needs(&dims, nth, out); break;
        case NLM_OP_attention: nlm_scalar_attention_needs(&dims, nth, out); break;
        case NLM_OP_gate_up_silu_mul: nlm_scalar_gate_up_silu_mul_needs(&dims, nth, out); break;
        case NLM_OP_qkv_rope_append: nlm_scalar_qkv_rope_append_needs(&dims, nth, out); break;
        case NLM_OP_norm_matmul: nlm_scalar_norm_matmul_needs(&dims, nth, out); break;
        default: break;
    }
    return NLM_OK;
}

static const nlm_ops_v1 ops = {
    .struct_size = sizeof ops,
#define NLM_OP(number, name) .name = nlm_scalar_##name,
#include <nlm/ops.def>
#undef NLM_OP
};

static const nlm_device_v1 device = {
    .struct_size = sizeof device,
    .ops = &ops,
    .describe = describe,
    .query = query,
};

static nlm_status probe(const nlm_host_v1 *host, nlm_probe_v1 *out, nlm_error *error) {
    (void)host;
    (void)error;
    out->device_count = 1;
    out->score = 1;
    return NLM_OK;
}

static nlm_status open_device(const nlm_host_v1 *host, uint32_t ordinal, const nlm_device_v1 **out_device,
                              nlm_error *error) {
    (void)host;
    if (ordinal != 0) {
        return nlm_cpu_fail(error, NLM_INVALID_ARGUMENT, "cpu_scalar", "device %u, but there is only device 0",
                            ordinal);
    }
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
    .name = "cpu_scalar",
    .version = "1",
    .description = "the reference: portable C, every op and weight type",
    .probe = probe,
    .open = open_device,
    .close = close_device,
    .extension = extension,
};

const nlm_plugin_v1 *nlm_plugin_query_v1(uint32_t host_minor) {
    (void)host_minor;
    return &plugin;
}
