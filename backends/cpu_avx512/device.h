/* The two devices of this backend: with vector instructions alone, and with int8 tiles. */
#ifndef NLM_AVX512_DEVICE_H
#define NLM_AVX512_DEVICE_H

#include "cpu/vector/device.h"

extern const nlm_vector_device nlm_avx512_device;
extern const nlm_vector_device nlm_avx512_tile_device;

/* Whether the CPU has int8 tiles and the kernel lets this process use them: Linux wants them requested. */
int nlm_avx512_request_tiles(void);

static inline int nlm_avx512_has_tiles(const void *device) {
    return device == &nlm_avx512_tile_device;
}

#endif
