/* The slot of copy, with the body that all CPU backends share. */
#include "cpu/plain.h"
#include "scalar.h"

nlm_status nlm_scalar_copy(const nlm_exec_v1 *x, const nlm_copy_args *args) {
    return nlm_cpu_copy(x, args);
}
