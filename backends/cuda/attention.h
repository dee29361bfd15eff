/* What the slots of attention share. */
#ifndef NLM_CUDA_ATTENTION_H
#define NLM_CUDA_ATTENTION_H

#include "launch.h"

/* The greatest head that device/attention_tiles.cuh has room for. */
#define NLM_CUDA_TILED_HEAD 512

/* Fills grid, threads and shared memory of a kernel that stands on device/attention_tiles.cuh; `shared` heads have
 * the same keys and values, of `groups`. */
void nlm_cuda_tile(nlm_cuda_work *work, const nlm_exec_v1 *x, const nlm_tensor *q, int64_t n_seqs, int64_t groups,
                   int64_t shared);

/* What query has to say of attention_plain and its backward beside what plugin_kit.h says. */
nlm_status nlm_cuda_attention_plain_check(const nlm_tensor *q, nlm_caps_v1 *out);

/* Whether all rows of a cache, or heads of keys or values, begin at multiples of 16 bytes and are as long. */
bool nlm_cuda_heads_are_aligned(const nlm_tensor *t);

#endif
