/* The slot of argmax, with the body that all CPU backends share. */
#include "cpu/plain.h"
#include "scalar.h"

nlm_status nlm_scalar_argmax(const nlm_exec_v1 *x, const nlm_argmax_args *args) {
    return nlm_cpu_argmax(x, args);
}
