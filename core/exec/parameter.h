/* A weight that training changes: its values and their gradient, each memory that outlives a run. */
#ifndef NLM_EXEC_PARAMETER_H
#define NLM_EXEC_PARAMETER_H

#include "exec/state.h"

typedef struct nlm_parameter {
    nlm_state value;
    nlm_state gradient; /* f32, of the same shape; placed when an op first touches it */
} nlm_parameter;

/* Describes a parameter; nothing is allocated, see nlm_state. `name` is borrowed. Its types are f32, f16 and bf16:
 * Errors INVALID_ARGUMENT. */
nlm_status nlm_parameter_init(nlm_parameter *parameter, const char *name, nlm_dtype dtype, int rank,
                              const int64_t *shape, nlm_error *err);
void nlm_parameter_release(nlm_parameter *parameter);

#endif
