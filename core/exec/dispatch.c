/* The one place that calls a slot of a backend. */
#include "exec/dispatch.h"

nlm_status nlm_dispatch(const nlm_device *device, nlm_op op, const nlm_exec_v1 *x, const nlm_any_args *args) {
    switch (op) {
#define NLM_OP(number, name) \
    case number:             \
        return device->ops.name ? device->ops.name(x, &args->name) : NLM_UNSUPPORTED;
#include <nlm/ops.def>
#undef NLM_OP
        default: return NLM_UNSUPPORTED;
    }
}
