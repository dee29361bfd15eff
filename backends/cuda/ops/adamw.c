/* A step of the optimizer. */
#include "launch.h"

#define THREADS 256

/* Can a thread take four elements of each tensor at a time? */
static bool has_quads(const nlm_tensor *t) {
    const uint64_t unit = 4 * nlm_dtype_find(t->dtype)->block_bytes;
    if (t->shape[1] % 4 != 0) return false;
    return (uint64_t)(uintptr_t)t->data % unit == 0 && (t->shape[0] == 1 || (uint64_t)t->stride_bytes[0] % unit == 0);
}

nlm_status nlm_cuda_adamw(const nlm_exec_v1 *x, const nlm_adamw_args *args) {
    const nlm_tensor w = nlm_cuda_matrix(args->w), dw = nlm_cuda_matrix(args->dw), m = nlm_cuda_matrix(args->m),
                     v = nlm_cuda_matrix(args->v), master = args->master ? nlm_cuda_matrix(args->master) : w;
    nlm_adamw_args matrices = *args;
    matrices.struct_size = sizeof matrices;
    matrices.w = &w;
    matrices.master = args->master ? &master : NULL;
    matrices.dw = &dw;
    matrices.m = &m;
    matrices.v = &v;
    const bool is_wide = has_quads(&w) && has_quads(&master) && has_quads(&dw) && has_quads(&m) && has_quads(&v);
    const nlm_cuda_work work = {
        .op = NLM_OP_adamw,
        .args = &matrices,
        .kernel = {"adamw", is_wide ? "adamw" : "adamw_unaligned", {{"W", nlm_cuda_type_name(&w), 0}}},
        .grid = {nlm_cuda_div_up(nlm_live_rows(x, &w) * (w.shape[1] / (is_wide ? 4 : 1)), THREADS)},
        .threads = THREADS,
    };
    return nlm_cuda_launch(x, &work);
}
