/* The slot of advance, with the body that all CPU backends share. */
#include "cpu/plain.h"
#include "scalar.h"

nlm_status nlm_scalar_advance(const nlm_exec_v1 *x, const nlm_advance_args *args) {
    return nlm_cpu_advance(x, args);
}
