/* How the work of a product is cut. */
#include "products.h"

/* As in device/few.cuh and device/many.cuh. */
enum { WARPS = 8, PAIR = 2, STEP = 1024, TILE = 64, MANY_THREADS = 256 };

/* Up to so many rows a product reads the weight again for every eight of them. */
#define FEW 16

/* Warps that share a row of w, so that even few rows are work for all multiprocessors. */
static int split_of(const nlm_cuda_device *d, const nlm_tensor *w) {
    int split = 1;
    while (split < 4 && split * STEP < w->shape[1] &&
           nlm_cuda_div_up(w->shape[0] * split, WARPS * PAIR) < d->n_multiprocessors) {
        split *= 2;
    }
    return split;
}

/* Rows of x at a time: 1, 2, 4 or 8, within 64 KiB of shared memory. */
static int rows_of(int64_t rows, int split) {
    int at_once = 1;
    while (at_once < rows && at_once < 8 && at_once * split < 16) at_once *= 2;
    return at_once;
}

nlm_cuda_work nlm_cuda_product(const nlm_exec_v1 *x, nlm_op op, const void *args, const nlm_tensor *in,
                               const nlm_tensor *w, const char *source, const char *few, const char *many) {
    const nlm_cuda_device *d = x->device;
    const int64_t live = nlm_live_rows(x, in);
    nlm_cuda_work work = {
        .op = op,
        .args = args,
        .kernel = {source, many, {{"ACT", nlm_cuda_type_name(in), 0}, {"W", nlm_cuda_type_name(w), 0}}},
        .grid = {nlm_cuda_div_up(w->shape[0], TILE), nlm_cuda_div_up(live, TILE)},
        .threads = MANY_THREADS,
    };
    if (in->shape[0] > FEW && !d->is_batch_invariant) return work;
    const int split = split_of(d, w), rows = rows_of(in->shape[0], split);
    work.kernel.name = few;
    work.kernel.defines[2] = (nlm_cuda_define){"ROWS", NULL, rows};
    work.kernel.defines[3] = (nlm_cuda_define){"SPLIT", NULL, split};
    work.grid[0] = nlm_cuda_div_up(w->shape[0], WARPS / split * PAIR);
    work.grid[1] = nlm_cuda_div_up(live, rows);
    work.threads = 32 * WARPS;
    work.shared_bytes = rows * split * STEP * (int)sizeof(float);
    return work;
}
