/* What this backend has, and its answers when a graph is planned. */
#include "ops.h"

#include "attention.h"
#include "dense.h"
#include "pack.h"
#include "step.h"

/* Ops whose slots take weights packed, and as they are where the host cannot pack them. */
#define TAKES_PLANES(op)                                                                            \
    ((op) == NLM_OP_embed || (op) == NLM_OP_matmul || (op) == NLM_OP_gate_up_silu_mul ||            \
     (op) == NLM_OP_norm_matmul || (op) == NLM_OP_qkv_rope_append || (op) == NLM_OP_norm_xz_conv || \
     (op) == NLM_OP_dt_bc_scan || (op) == NLM_OP_matmul_dx || (op) == NLM_OP_cross_entropy)
#define LAYOUT(op) (TAKES_PLANES(op) ? NLM_CUDA_LAYOUT_PLANES | NLM_KIT_OR_ROW_MAJOR : NLM_LAYOUT_ROW_MAJOR)

static const nlm_kit_op list[] = {
#define LINE(op, flags, needs) {NLM_OP_##op, flags, LAYOUT(NLM_OP_##op), needs},
    NLM_CUDA_OPS(LINE)
#undef LINE
};

static const nlm_kit_backend has = {
    .ops = list,
    .n_ops = sizeof list / sizeof *list,
    .layout = NLM_CUDA_LAYOUT_PLANES,
    .weight_types = NLM_TYPES_DECODED,
    .cache_types = NLM_TYPE_BIT(F32) | NLM_TYPE_BIT(F16) | NLM_TYPE_BIT(Q8_0),
};

/* Only products and look-ups take packed weights: the taps of a convolution and a scan's `a` stay as they are. */
static void keep_plain(nlm_op op, nlm_caps_v1 *out) {
    const nlm_op_spec *spec = nlm_op_spec_of(op);
    uint32_t n_weights = 0;
    for (uint32_t i = 0; i < spec->n_fields && n_weights < NLM_CAPS_WEIGHTS; i++) {
        const uint32_t role = spec->fields[i].role;
        if (!role) continue;
        if (!(role & (NLM_ROLE_MATMUL | NLM_ROLE_EMBED))) out->weight_layout[n_weights] = NLM_LAYOUT_ROW_MAJOR;
        n_weights++;
    }
}

static uint64_t greatest(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* What products by cuBLASLt need of workspace, behind what an op needs itself. */
static void add_dense(const nlm_cuda_device *d, nlm_op op, const void *args, nlm_caps_v1 *out) {
    uint64_t bytes = 0;
    if (out->flags & NLM_CAPS_AS_HELD) return;
    if (op == NLM_OP_matmul) {
        const nlm_matmul_args *a = args;
        bytes = nlm_cuda_dense_bytes(d, a->x->shape[0], a->w, 1);
    } else if (op == NLM_OP_norm_matmul) {
        const nlm_norm_matmul_args *a = args;
        bytes = nlm_cuda_dense_bytes(d, a->x->shape[0], a->w, 1);
    } else if (op == NLM_OP_gate_up_silu_mul) {
        const nlm_gate_up_silu_mul_args *a = args;
        bytes = nlm_cuda_dense_bytes(d, a->x->shape[0], a->w_up, 2);
    } else if (op == NLM_OP_qkv_rope_append) {
        const nlm_qkv_rope_append_args *a = args;
        const int64_t rows = a->x->shape[0];
        bytes = greatest(nlm_cuda_dense_bytes(d, rows, a->w_q, 1), nlm_cuda_dense_bytes(d, rows, a->w_k, 1));
        bytes = greatest(bytes, nlm_cuda_dense_bytes(d, rows, a->w_v, 1));
    } else if (op == NLM_OP_norm_xz_conv) {
        const nlm_norm_xz_conv_args *a = args;
        bytes = nlm_cuda_dense_bytes(d, a->x->shape[0], a->w, 1);
    } else if (op == NLM_OP_dt_bc_scan) {
        const nlm_dt_bc_scan_args *a = args;
        const int64_t rows = a->x->shape[0];
        bytes = greatest(nlm_cuda_dense_bytes(d, rows, a->w_x, 1), nlm_cuda_dense_bytes(d, rows, a->w_dt, 1));
    }
    out->workspace_bytes += bytes;
}

nlm_status nlm_cuda_query(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out) {
    NLM_KIT_TRY(nlm_kit_query(&has, self, op, args, nth, out));
    keep_plain(op, out);
    add_dense(self, op, args, out);
    if (op == NLM_OP_attention_plain) {
        return nlm_cuda_attention_plain_check(((const nlm_attention_plain_args *)args)->q, out);
    }
    if (op == NLM_OP_attention_plain_bwd) {
        return nlm_cuda_attention_plain_check(((const nlm_attention_plain_bwd_args *)args)->q, out);
    }
    return NLM_OK;
}

nlm_status nlm_cuda_run_op(const nlm_exec_v1 *x, nlm_op op, const void *args) {
    switch (op) {
#define CASE(op, flags, needs) \
    case NLM_OP_##op: return nlm_cuda_##op(x, args);
        NLM_CUDA_OPS(CASE)
#undef CASE
        default: return nlm_kit_fail(x->error, NLM_UNSUPPORTED, "prepare", "this backend does not have op %u", op);
    }
}

/* The slots. What is recorded may be held back, to be done as one with what follows. */
#define DEFINE(op, flags, needs)                                                     \
    static nlm_status slot_##op(const nlm_exec_v1 *x, const nlm_##op##_args *args) { \
        bool is_held;                                                                \
        NLM_KIT_TRY(nlm_cuda_step_hold(x, NLM_OP_##op, args, &is_held));             \
        return is_held ? NLM_OK : nlm_cuda_##op(x, args);                            \
    }
NLM_CUDA_OPS(DEFINE)
#undef DEFINE

const nlm_ops_v1 nlm_cuda_ops = {.struct_size = sizeof nlm_cuda_ops,
#define SLOT(op, flags, needs) .op = slot_##op,
                                 NLM_CUDA_OPS(SLOT)
#undef SLOT
};

/* Every op compiles what it would launch when it is called without a stream. */
nlm_status nlm_cuda_prepare(void *self, nlm_op op, const void *args, uint32_t nth, nlm_error *error) {
    const nlm_exec_v1 x = {.struct_size = sizeof x, .nth = nth, .device = self, .error = error};
    NLM_KIT_TRY(nlm_cuda_run_op(&x, op, args));
    nlm_cuda_step_prepare(self, op, args);
    return NLM_OK;
}
