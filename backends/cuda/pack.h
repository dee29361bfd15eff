/* The layout that this backend wants weights in. */
#ifndef NLM_CUDA_PACK_H
#define NLM_CUDA_PACK_H

#include <nlm/plugin_kit.h>

/* Of nlm_tensor.layout: the fields of blocks apart, in planes (device/packed.cuh). */
#define NLM_CUDA_LAYOUT_PLANES 1u

nlm_status nlm_cuda_pack_size(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles, nlm_pack_info_v1 *out,
                              nlm_error *error);
nlm_status nlm_cuda_pack(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles, int64_t row_from,
                         int64_t row_to, void *packed, nlm_error *error);

/* Bytes of a row of a packed weight, in all planes. */
int64_t nlm_cuda_pack_row_bytes(int32_t dtype, int64_t elements);

#endif
