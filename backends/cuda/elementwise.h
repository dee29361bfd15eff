/* Ops that go element by element (device/elementwise.cuh). */
#ifndef NLM_CUDA_ELEMENTWISE_H
#define NLM_CUDA_ELEMENTWISE_H

#include "launch.h"

/* Runs kernel `name` of the op's source, ops/<op>.cu; `unaligned` instead if one of the op's matrices, `tensors` up
 * to the first NULL, has a row that does not begin or end at a multiple of 16 bytes. The first is [R, N] and tells
 * how many elements there are. */
nlm_status nlm_cuda_elementwise(const nlm_exec_v1 *x, nlm_op op, const void *args, const char *name,
                                const char *unaligned, const nlm_tensor *const *tensors);

#endif
