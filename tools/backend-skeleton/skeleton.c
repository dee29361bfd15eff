/* The tables of the plugin: what nlm sees of it. */
#include "skeleton.h"

static const nlm_kit_op list[] = {
#define LINE(op, flags, layout, needs) {NLM_OP_##op, flags, layout, needs},
    SKELETON_OPS(LINE)
#undef LINE
};

static const nlm_kit_backend has = {
    .ops = list,
    .n_ops = sizeof list / sizeof *list,
    .weight_types = SKELETON_WEIGHT_TYPES,
    .cache_types = SKELETON_CACHE_TYPES,
};

static nlm_status query(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out) {
    return nlm_kit_query(&has, self, op, args, nth, out);
}

static const nlm_ops_v1 ops = {.struct_size = sizeof ops,
#define SLOT(op, flags, layout, needs) .op = skeleton_##op,
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
