/* How the work of a product is cut. */
#include "products.h"

/* As in device/few.cuh and device/many.cuh. */
enum { WARPS = 8, PAIR = 2, GROUP = 1024, GROUP_BYTES = 8 * 33 * 16, THREADS = 256, PITCH = 36 };

/* More than what a kernel for few rows has of shared memory beside x. */
#define SUMS_BYTES 8192

/* Groups of elements of x that a block stages at most. */
#define MOST_STAGED 16

/* Warps that share a row of w, so that even few rows are work for all multiprocessors. */
static int split_of(const nlm_cuda_device *d, const nlm_cuda_product_of *of) {
    const int64_t k = of->w->shape[1], n = of->n;
    int split = 1;
    while (split < 4 && split * GROUP < k && nlm_cuda_div_up(n * split, WARPS * PAIR) < d->n_multiprocessors) {
        split *= 2;
    }
    return split;
}

/* Of shared memory, for rows of x: those of few.cuh. */
static int staged_bytes(int rows, int split) {
    return (rows * split < 4 ? 4 : rows * split) * GROUP_BYTES;
}

/* Few rows read the weight again for every eight of them. */
int nlm_cuda_rows_at_once(const nlm_cuda_device *d, const nlm_cuda_product_of *of) {
    const int64_t rows = of->x->shape[0];
    const int split = split_of(d, of), room = d->shared_bytes - SUMS_BYTES;
    int at_once = 1;
    if (rows > NLM_CUDA_FEW_ROWS && !d->is_batch_invariant) return 0;
    while (at_once < rows && at_once < 8 && 2 * at_once * split <= MOST_STAGED &&
           staged_bytes(2 * at_once, split) <= room) {
        at_once *= 2;
    }
    return at_once;
}

/* Rows of x and of w that a block has: 128, unless that leaves multiprocessors without work or takes more shared
 * memory than there is. */
static int tile_of(const nlm_cuda_device *d, int64_t m, int64_t n) {
    const int64_t blocks = nlm_cuda_div_up(m, 128) * nlm_cuda_div_up(n, 128);
    return blocks >= d->n_multiprocessors && d->shared_bytes >= 4 * 128 * PITCH * (int)sizeof(float) ? 128 : 64;
}

static void set_define(nlm_cuda_work *work, int at, const char *name, int number) {
    work->kernel.defines[at] = (nlm_cuda_define){name, NULL, number};
}

nlm_cuda_work nlm_cuda_product(const nlm_exec_v1 *x, const nlm_cuda_product_of *of) {
    const nlm_cuda_device *d = x->device;
    const int64_t live = nlm_live_rows(x, of->x), n = of->n;
    nlm_cuda_work work = {
        .op = of->op,
        .args = of->args,
        .kernel = {of->source,
                   of->many,
                   {{"ACT", nlm_cuda_type_name(of->x), 0}, {"W", nlm_cuda_type_name(of->w), 0}}},
        .threads = THREADS,
    };
    set_define(&work, 2, "PACKED", of->w->layout != NLM_LAYOUT_ROW_MAJOR);
    const int rows = nlm_cuda_rows_at_once(d, of), split = split_of(d, of);
    if (!rows) {
        const int tile = tile_of(d, of->x->shape[0], n);
        set_define(&work, 3, "TILE", tile);
        if (d->is_tf32 && of->w->dtype == NLM_F32) set_define(&work, 4, "TF32", 1);
        work.grid[0] = nlm_cuda_div_up(n, tile);
        work.grid[1] = nlm_cuda_div_up(live, tile);
        work.shared_bytes = 4 * tile * PITCH * (int)sizeof(float);
        return work;
    }
    work.kernel.name = of->few;
    work.is_early = true;
    set_define(&work, 3, "ROWS", rows);
    set_define(&work, 4, "SPLIT", split);
    work.grid[0] = nlm_cuda_div_up(n, WARPS / split * PAIR);
    work.grid[1] = nlm_cuda_div_up(live, rows);
    work.shared_bytes = staged_bytes(rows, split);
    return work;
}
