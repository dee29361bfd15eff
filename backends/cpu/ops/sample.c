/* The slot of sample: the plain body serves, as tokens are few. */
#include "cpu/plain.h"
#include "cpu/vector/vector.h"
nlm_status nlm_vector_sample(const nlm_exec_v1 *x, const nlm_sample_args *args) {
    return nlm_cpu_sample(x, args);
}

void nlm_vector_sample_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    out->scratch_bytes = nlm_cpu_sample_scratch(nlm_dim(dims, 'N'));
}
