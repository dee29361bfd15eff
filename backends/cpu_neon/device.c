/* Chooses between matrices of bytes, their dot products and plain NEON for products of integers. */
#include "device.h"

#include <asm/hwcap.h>
#include <sys/auxv.h>

#include "dotprod.h"
#include "i8mm.h"

#define FORMS(name, plain, dotprod, i8mm)                                \
    {                                                                    \
        [NLM_NEON_PLAIN] = {&(plain), name, "aarch64+neon"},             \
        [NLM_NEON_DOTPROD] = {&(dotprod), name, "aarch64+neon+dotprod"}, \
        [NLM_NEON_I8MM] = {&(i8mm), name, "aarch64+neon+dotprod+i8mm"},  \
    }
const nlm_vector_device nlm_neon_devices[2][NLM_NEON_FORMS] = {
    FORMS("CPU, NEON", nlm_vector_gemm_quant_dword, nlm_vector_gemm_quant_dotprod, nlm_neon_gemm_quant_i8mm),
    FORMS("CPU, NEON, 8-bit activations", nlm_vector_gemm_quant_8, nlm_vector_gemm_quant_dotprod_8,
          nlm_neon_gemm_quant_i8mm_8),
};

nlm_neon_form nlm_neon_best_form(nlm_neon_form most) {
    if (most == NLM_NEON_PLAIN || !(getauxval(AT_HWCAP) & HWCAP_ASIMDDP)) return NLM_NEON_PLAIN;
    return most == NLM_NEON_DOTPROD || !(getauxval(AT_HWCAP2) & HWCAP2_I8MM) ? NLM_NEON_DOTPROD : NLM_NEON_I8MM;
}
