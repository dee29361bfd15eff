/* The forms this backend opens its device in; they differ in their int8 kernels alone, and but for those of bytes not
 * in results. */
#ifndef NLM_AVX512_DEVICE_H
#define NLM_AVX512_DEVICE_H

#include "cpu/vector/device.h"

typedef enum nlm_avx512_form {
    NLM_AVX512_PLAIN, /* AVX-512 F, BW, VL, DQ */
    NLM_AVX512_VNNI,
    NLM_AVX512_TILES,      /* AMX int8 tiles for many tokens, VNNI for few */
    NLM_AVX512_BYTES,      /* activations of 8 bits: other results, */
    NLM_AVX512_BYTES_VNNI, /* and beside weights of 8 bits too */
    NLM_AVX512_FORMS
} nlm_avx512_form;

extern const nlm_vector_device nlm_avx512_devices[NLM_AVX512_FORMS];

/* The best form, `most` at best, that CPU and kernel have: Linux wants tiles requested by a process. */
nlm_avx512_form nlm_avx512_best_form(nlm_avx512_form most);

#endif
