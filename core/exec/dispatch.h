/* The one way from the host into an op of a backend. */
#ifndef NLM_EXEC_DISPATCH_H
#define NLM_EXEC_DISPATCH_H

#include "exec/op_spec.h"
#include "plugin/device.h"

/* Calls the op's slot; UNSUPPORTED for a number that names no op. */
nlm_status nlm_dispatch(const nlm_device *device, nlm_op op, const nlm_exec_v1 *x, const nlm_any_args *args);

#endif
