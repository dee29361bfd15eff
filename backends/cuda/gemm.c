/* How the products of training are cut. */
#include "gemm.h"

enum { THREADS = 256 }; /* of device/gemm.cuh */

void nlm_cuda_gemm(nlm_cuda_work *work, const nlm_cuda_device *d, int64_t rows, int64_t columns) {
    const int64_t blocks = nlm_cuda_div_up(rows, 128) * nlm_cuda_div_up(columns, 128);
    const int tile = blocks >= d->n_multiprocessors ? 128 : 64;
    int at = 0;
    while (work->kernel.defines[at].name) at++;
    work->kernel.defines[at] = (nlm_cuda_define){"TILE", NULL, tile};
    work->grid[0] = nlm_cuda_div_up(columns, tile);
    work->grid[1] = nlm_cuda_div_up(rows, tile);
    work->threads = THREADS;
}
