/* Chooses between matrices of bytes, their dot products and plain NEON for products of integers. */
#include "device.h"

#include <asm/hwcap.h>
#include <sys/auxv.h>

#include "dotprod.h"
#include "i8mm.h"

const nlm_vector_device nlm_neon_devices[NLM_NEON_FORMS] = {
    [NLM_NEON_PLAIN] = {&nlm_vector_gemm_quant_dword, "CPU, NEON", "aarch64+neon"},
    [NLM_NEON_DOTPROD] = {&nlm_vector_gemm_quant_dotprod, "CPU, NEON", "aarch64+neon+dotprod"},
    [NLM_NEON_I8MM] = {&nlm_neon_gemm_quant_i8mm, "CPU, NEON", "aarch64+neon+dotprod+i8mm"},
};

nlm_neon_form nlm_neon_best_form(nlm_neon_form most) {
    if (most == NLM_NEON_PLAIN || !(getauxval(AT_HWCAP) & HWCAP_ASIMDDP)) return NLM_NEON_PLAIN;
    return most == NLM_NEON_DOTPROD || !(getauxval(AT_HWCAP2) & HWCAP2_I8MM) ? NLM_NEON_DOTPROD : NLM_NEON_I8MM;
}
