/* The forms this backend opens its device in; they differ in their int8 kernels alone, and but for one
 * not in results. */
#ifndef NLM_AVX2_DEVICE_H
#define NLM_AVX2_DEVICE_H

#include "cpu/vector/device.h"

typedef enum nlm_avx2_form {
    NLM_AVX2_PLAIN, /* AVX2, FMA, F16C */
    NLM_AVX2_VNNI,  /* AVX-VNNI: a product of words and its sum are one instruction */
    NLM_AVX2_BYTES, /* AVX2, activations of 8 bits: other results */
    NLM_AVX2_FORMS
} nlm_avx2_form;

extern const nlm_vector_device nlm_avx2_devices[NLM_AVX2_FORMS];

/* The best form, `most` at best, that the CPU has. */
nlm_avx2_form nlm_avx2_best_form(nlm_avx2_form most);

#endif
