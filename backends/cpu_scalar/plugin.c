/* cpu_scalar: the reference backend. Plain C, readable first, every op; f32 activations, weights of every
 * type decoded on the fly. It is what other backends are compared with and what their missing ops fall
 * back to. */
#include <nlm/plugin_kit.h>

#include "scalar.h"

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
        case NLM_OP_norm_xz_conv: nlm_scalar_norm_xz_conv_needs(&dims, nth, out); break;
        case NLM_OP_dt_bc_scan: nlm_scalar_dt_bc_scan_needs(&dims, nth, out); break;
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

static const nlm_device_info_v1 info = {
    .struct_size = sizeof info,
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

static const nlm_device_v1 device = {
    .struct_size = sizeof device,
    .self = (void *)&info,
    .ops = &ops,
    .describe = nlm_kit_describe,
    .query = query,
};

NLM_KIT_PLUGIN("cpu_scalar", "1", "the reference: portable C, every op and weight type", 0, device)
