/* query() and packing of the vector backends. */
#include <stdio.h>
#include <string.h>

#include "cpu/vector/vector.h"

const nlm_ops_v1 nlm_vector_ops = {.struct_size = sizeof nlm_vector_ops,
#define SLOT(op, flags, layout, needs) .op = nlm_vector_##op,
                                   VECTOR_OPS(SLOT)
#undef SLOT
};

static const nlm_kit_op list[] = {
#define LINE(op, flags, layout, needs) {NLM_OP_##op, flags, layout, needs},
    VECTOR_OPS(LINE)
#undef LINE
};

static const nlm_kit_backend has = {
    .ops = list,
    .n_ops = sizeof list / sizeof *list,
    .layout = LAYOUT_PANEL,
#define TYPE(NAME, name, columns, bytes) | NLM_TYPE_BIT(NAME)
    .weight_types = UINT64_C(0) PANEL_LIST(TYPE),
#undef TYPE
    .cache_types = NLM_TYPE_BIT(F32) | NLM_TYPE_BIT(F16) | NLM_TYPE_BIT(Q8_0),
};

nlm_status nlm_vector_describe(void *self, nlm_device_info_v1 *out, nlm_error *error) {
    const nlm_vector_device *device = self;
    nlm_device_info_v1 info = {
        .kind = NLM_DEVICE_SLICED,
        .flags = NLM_DEVICE_HOST_MEMORY,
        .alignment_bytes = 64,
    };
    snprintf(info.name, sizeof info.name, "%s", device->name);
    snprintf(info.arch, sizeof info.arch, "%s", device->arch);
    return nlm_kit_describe(&info, out, error);
}

nlm_status nlm_vector_query(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out) {
    return nlm_kit_query(&has, self, op, args, nth, out);
}

nlm_status nlm_vector_pack_size(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles,
                                nlm_pack_info_v1 *out, nlm_error *error) {
    (void)self;
    (void)roles;
    const nlm_panel_format *format = nlm_vector_panel_format_find(w->dtype);
    if (layout != LAYOUT_PANEL || !format || w->rank != 2)
        return nlm_kit_fail(error, NLM_INVALID_ARGUMENT, "pack_size", "layout %u of type %d and rank %d is not known",
                            layout, w->dtype, w->rank);
    out->bytes = (uint64_t)panel_count(w->shape[0]) * panel_bytes(format, w->shape[1]);
    out->row_multiple = PANEL_ROWS;
    /* A host that knows the field has room for it. */
    if (out->struct_size >= sizeof *out) out->layout_version = LAYOUT_PANEL_VERSION;
    return NLM_OK;
}

nlm_status nlm_vector_pack(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles, int64_t row_from,
                           int64_t row_to, void *packed, nlm_error *error) {
    nlm_pack_info_v1 info = {.struct_size = sizeof info};
    NLM_KIT_TRY(nlm_vector_pack_size(self, w, layout, roles, &info, error));
    if (row_from % PANEL_ROWS != 0 || row_from < 0 || row_to > w->shape[0])
        return nlm_kit_fail(error, NLM_INVALID_ARGUMENT, "pack", "rows %lld to %lld of %lld", (long long)row_from,
                            (long long)row_to, (long long)w->shape[0]);
    nlm_vector_panel_pack(nlm_vector_panel_format_find(w->dtype), w, row_from, row_to, packed);
    return NLM_OK;
}
