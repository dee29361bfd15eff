/* The forms this backend opens its device in; they differ in their int8 kernels alone, and results depend on the bits
 * of activations, not on the form. */
#ifndef NLM_NEON_DEVICE_H
#define NLM_NEON_DEVICE_H

#include "cpu/vector/device.h"

typedef enum nlm_neon_form {
    NLM_NEON_PLAIN, /* what every AArch64 CPU has */
    NLM_NEON_DOTPROD,
    NLM_NEON_I8MM, /* for many tokens; dot products for few */
    NLM_NEON_FORMS
} nlm_neon_form;

/* [activations of 8 bits] */
extern const nlm_vector_device nlm_neon_devices[2][NLM_NEON_FORMS];

/* The best form, `most` at best, that CPU and kernel have. */
nlm_neon_form nlm_neon_best_form(nlm_neon_form most);

#endif
