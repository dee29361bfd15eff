/* Runs ops that go element by element. */
#include "elementwise.h"

#define THREADS 256 /* of device/elementwise.cuh */
#define UNIT    16

static bool is_aligned(const nlm_tensor *t) {
    const int64_t row_bytes = t->shape[t->rank - 1] * t->stride_bytes[t->rank - 1];
    const int64_t stride = t->rank == 2 ? t->stride_bytes[0] : 0;
    return ((uintptr_t)t->data | (uintptr_t)row_bytes | (uintptr_t)stride) % UNIT == 0;
}

nlm_status nlm_cuda_elementwise(const nlm_exec_v1 *x, nlm_op op, const void *args, const char *name,
                                const char *unaligned, const nlm_tensor *const *tensors) {
    const nlm_tensor *first = tensors[0];
    int64_t n = UNIT / (int64_t)nlm_dtype_find(first->dtype)->block_bytes;
    const char *kernel = name;
    for (; *tensors; tensors++) {
        if (is_aligned(*tensors)) continue;
        kernel = unaligned;
        n = 1;
    }
    const nlm_cuda_work work = {
        .op = op,
        .args = args,
        .kernel = {nlm_op_spec_of(op)->name, kernel, {{"ACT", nlm_cuda_type_name(first), 0}}},
        .grid = {nlm_cuda_div_up(nlm_live_rows(x, first) * (first->shape[1] / n), THREADS)},
        .threads = THREADS,
    };
    return nlm_cuda_launch(x, &work);
}
