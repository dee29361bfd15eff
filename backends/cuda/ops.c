/* What this backend has, and its answers when a graph is planned. */
#include "ops.h"

#include "attention.h"
#include "device.h"

static const nlm_kit_op list[] = {
#define LINE(op, flags, needs) {NLM_OP_##op, flags, NLM_LAYOUT_ROW_MAJOR, needs},
    NLM_CUDA_OPS(LINE)
#undef LINE
};

static const nlm_kit_backend has = {
    .ops = list,
    .n_ops = sizeof list / sizeof *list,
    .weight_types = NLM_TYPES_DECODED,
    .cache_types = NLM_TYPE_BIT(F32) | NLM_TYPE_BIT(F16) | NLM_TYPE_BIT(Q8_0),
};

nlm_status nlm_cuda_query(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out) {
    NLM_KIT_TRY(nlm_kit_query(&has, self, op, args, nth, out));
    return op == NLM_OP_attention_plain ? nlm_cuda_attention_plain_check(args, out) : NLM_OK;
}

const nlm_ops_v1 nlm_cuda_ops = {.struct_size = sizeof nlm_cuda_ops,
#define SLOT(op, flags, needs) .op = nlm_cuda_##op,
                                 NLM_CUDA_OPS(SLOT)
#undef SLOT
};

/* Every slot compiles what it would launch when it is called without a stream. */
nlm_status nlm_cuda_prepare(void *self, nlm_op op, const void *args, uint32_t nth, nlm_error *error) {
    const nlm_exec_v1 x = {.struct_size = sizeof x, .nth = nth, .device = self, .error = error};
    switch (op) {
#define CASE(op, flags, needs) \
    case NLM_OP_##op: return nlm_cuda_##op(&x, args);
        NLM_CUDA_OPS(CASE)
#undef CASE
        default: return nlm_kit_fail(error, NLM_UNSUPPORTED, "prepare", "this backend does not have op %u", op);
    }
}
