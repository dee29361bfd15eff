/* Parameters: a value and its gradient. */
#include "exec/parameter.h"

#include "base/status.h"
#include "tensor/dtype.h"

nlm_status nlm_parameter_init(nlm_parameter *parameter, const char *name, nlm_dtype dtype, int rank,
                              const int64_t *shape, nlm_error *err) {
    if (dtype != NLM_F32 && dtype != NLM_F16 && dtype != NLM_BF16) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_parameter", "%s is %s, expected f32, f16 or bf16", name,
                        nlm_dtype_name(dtype));
    }
    NLM_TRY(nlm_state_init(&parameter->value, name, dtype, rank, shape, err));
    return nlm_state_init(&parameter->gradient, name, NLM_F32, rank, shape, err);
}

void nlm_parameter_release(nlm_parameter *parameter) {
    nlm_state_release(&parameter->value);
    nlm_state_release(&parameter->gradient);
}
