/* Finds the table of kernels of a type. */
#include "cpu/vector/kernels.h"

#include <stddef.h>

static const nlm_matmul_kernels *find(const nlm_matmul_kernels *kernels, int n, nlm_dtype dtype) {
    for (int i = 0; i < n; i++) {
        if (kernels[i].dtype == dtype) return &kernels[i];
    }
    return NULL;
}

const nlm_matmul_kernels *nlm_vector_matmul_kernels_find(nlm_dtype dtype) {
    const nlm_matmul_kernels *plain = find(nlm_vector_plain_kernels, NLM_VECTOR_PLAIN_TYPES, dtype);
    return plain ? plain : find(nlm_vector_quant_kernels, NLM_VECTOR_QUANT_TYPES, dtype);
}
