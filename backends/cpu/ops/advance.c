/* The slot of advance: the plain body serves, as tokens are few. */
#include "cpu/plain.h"
#include "cpu/vector/vector.h"
nlm_status nlm_vector_advance(const nlm_exec_v1 *x, const nlm_advance_args *args) {
    return nlm_cpu_advance(x, args);
}
