/* cpu_scalar: the reference backend. Plain C, readable first, every op; f32 activations, weights of every
 * type decoded on the fly. It is what other backends are compared with and what their missing ops fall
 * back to. */
#include "scalar.h"

static const nlm_kit_op list[] = {
#define LINE(op, flags, needs) {NLM_OP_##op, flags, NLM_LAYOUT_ROW_MAJOR, needs},
    SCALAR_OPS(LINE)
#undef LINE
};

static const nlm_kit_backend has = {
    .ops = list,
    .n_ops = sizeof list / sizeof *list,
    .weight_types = NLM_TYPES_DECODED,
    .cache_types = NLM_TYPE_BIT(F32) | NLM_TYPE_BIT(F16) | NLM_TYPE_BIT(Q8_0),
};

static nlm_status query(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out) {
    return nlm_kit_query(&has, self, op, args, nth, out);
}

static const nlm_ops_v1 ops = {.struct_size = sizeof ops,
#define SLOT(op, flags, needs) .op = nlm_scalar_##op,
                               SCALAR_OPS(SLOT)
#undef SLOT
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
