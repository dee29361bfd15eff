/* The slot of argmax: bound by memory, so the plain body serves. */
#include "cpu/plain.h"
#include "cpu/vector/vector.h"

nlm_status nlm_vector_argmax(const nlm_exec_v1 *x, const nlm_argmax_args *args) {
    return nlm_cpu_argmax(x, args);
}
