/* Conversion between types, element by element. */
#include "launch.h"

#define PER_BLOCK 1024

/* Do its elements stand one behind the other? */
static bool is_flat(const nlm_tensor *t) {
    int64_t bytes = nlm_dtype_find(t->dtype)->block_bytes;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (t->shape[i] > 1 && t->stride_bytes[i] != bytes) return false;
        bytes *= t->shape[i];
    }
    return true;
}

nlm_status nlm_cuda_copy(const nlm_exec_v1 *x, const nlm_copy_args *args) {
    const nlm_tensor *t = args->x;
    const int64_t count = t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
    const nlm_cuda_work work = {
        .op = NLM_OP_copy,
        .args = args,
        .kernel = {"copy",
                   "copy",
                   {{"FROM", nlm_cuda_type_name(args->x), 0},
                    {"TO", nlm_cuda_type_name(args->y), 0},
                    {"IS_FLAT", NULL, is_flat(args->x) && is_flat(args->y)},
                    {"INDEX", count < INT64_C(1) << 31 ? "u32" : "u64", 0}}},
        .grid = {nlm_cuda_div_up(count, PER_BLOCK)},
        .threads = 256,
    };
    return nlm_cuda_launch(x, &work);
}
