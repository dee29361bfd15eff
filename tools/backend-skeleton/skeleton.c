/* The tables of the plugin: what nlm sees of it. */
#include "skeleton.h"

static nlm_status query(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    switch (op) {
#define QUERY(name) \
    case NLM_OP_##name: return skeleton_query_##name(args, nth, out);
        SKELETON_OPS(QUERY)
#undef QUERY
        default: return nlm_kit_refuse(out, "this backend does not have the op");
    }
}

static const nlm_ops_v1 ops = {.struct_size = sizeof ops,
#define SLOT(name) .name = skeleton_##name,
                               SKELETON_OPS(SLOT)
#undef SLOT
};

static const nlm_device_info_v1 info = {
    .struct_size = sizeof info,
    .kind = NLM_DEVICE_SLICED,
    .flags = NLM_DEVICE_HOST_MEMORY,
    .name = "CPU, skeleton",
    .arch = "any",
};

static const nlm_device_v1 device = {
    .struct_size = sizeof device,
    .self = (void *)&info,
    .ops = &ops,
    .describe = nlm_kit_describe,
    .query = query,
};

NLM_KIT_PLUGIN("skeleton", "0.1", "the backend skeleton", 0, device)
