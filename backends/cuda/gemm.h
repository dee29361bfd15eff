/* How the products of training are cut (device/gemm.cuh). */
#ifndef NLM_CUDA_GEMM_H
#define NLM_CUDA_GEMM_H

#include "launch.h"

/* Makes `work` one for rows x columns sums, its kernel compiled for a TILE of 128, or of 64 where that leaves
 * multiprocessors without work. The macro goes behind those that are there. */
void nlm_cuda_gemm(nlm_cuda_work *work, const nlm_cuda_device *d, int64_t rows, int64_t columns);

#endif
