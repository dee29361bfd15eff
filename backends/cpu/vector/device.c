/* query() and packing of the vector backends. */
#include <string.h>

#include "cpu/vector/vector.h"

const nlm_ops_v1 nlm_vector_ops = {
    .struct_size = sizeof nlm_vector_ops,
#define NLM_OP(number, name) .name = nlm_vector_##name,
#include <nlm/ops.def>
#undef NLM_OP
};

static const struct {
    nlm_vector_needs_fn needs;
    int wants_panels; /* its weights */
} op_traits[NLM_OP_END] = {
    [NLM_OP_matmul] = {nlm_vector_matmul_needs, 1},
    [NLM_OP_norm_matmul] = {nlm_vector_norm_matmul_needs, 1},
    [NLM_OP_qkv_rope_append] = {nlm_vector_qkv_rope_append_needs, 1},
    [NLM_OP_rope] = {nlm_vector_rope_needs, 0},
    [NLM_OP_attention] = {nlm_vector_attention_needs, 0},
    [NLM_OP_norm_xz_conv] = {nlm_vector_norm_xz_conv_needs, 1},
    [NLM_OP_dt_bc_scan] = {nlm_vector_dt_bc_scan_needs, 1},
    [NLM_OP_gate_up_silu_mul] = {nlm_vector_gate_up_silu_mul_needs, 1},
};

nlm_status nlm_vector_query(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out) {
    nlm_cpu_dims dims;
    NLM_CPU_TRY(nlm_cpu_check(op, args, LAYOUT_PANEL, &dims, out));
    if (op_traits[op].wants_panels) out->weight_layout = LAYOUT_PANEL;
    if (op == NLM_OP_embed) out->weight_layout = ((const nlm_embed_args *)args)->w->layout;
    if (op_traits[op].needs) op_traits[op].needs(self, &dims, nth, out);
    return NLM_OK;
}

nlm_status nlm_vector_pack_size(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles,
                                nlm_pack_info_v1 *out, nlm_error *error) {
    (void)self;
    (void)roles;
    const nlm_panel_format *format = nlm_vector_panel_format_find(w->dtype);
    if (layout != LAYOUT_PANEL || !format || w->rank != 2)
        return nlm_cpu_fail(error, NLM_INVALID_ARGUMENT, "pack_size", "layout %u of type %d and rank %d is not known",
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
    NLM_CPU_TRY(nlm_vector_pack_size(self, w, layout, roles, &info, error));
    if (row_from % PANEL_ROWS != 0 || row_from < 0 || row_to > w->shape[0])
        return nlm_cpu_fail(error, NLM_INVALID_ARGUMENT, "pack", "rows %lld to %lld of %lld", (long long)row_from,
                            (long long)row_to, (long long)w->shape[0]);
    nlm_vector_panel_pack(nlm_vector_panel_format_find(w->dtype), w, row_from, row_to, packed);
    return NLM_OK;
}
