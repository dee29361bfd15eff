/* The slot of sample, with the body that all CPU backends share. */
#include "cpu/plain.h"
#include "scalar.h"

nlm_status nlm_scalar_sample(const nlm_exec_v1 *x, const nlm_sample_args *args) {
    return nlm_cpu_sample(x, args);
}

void nlm_scalar_sample_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    out->scratch_bytes = nlm_cpu_sample_scratch(nlm_dim(dims, 'N'));
}
