/* Chooses between dot products of bytes and plain NEON for products of integers. */
#include "device.h"

#include <asm/hwcap.h>
#include <sys/auxv.h>

#include "dotprod.h"

const nlm_vector_device nlm_neon_devices[NLM_NEON_FORMS] = {
    [NLM_NEON_PLAIN] = {&nlm_vector_gemm_quant_dword, "CPU, NEON", "aarch64+neon"},
    [NLM_NEON_DOTPROD] = {&nlm_vector_gemm_quant_dotprod, "CPU, NEON", "aarch64+neon+dotprod"},
};

nlm_neon_form nlm_neon_best_form(nlm_neon_form most) {
    return most >= NLM_NEON_DOTPROD && getauxval(AT_HWCAP) & HWCAP_ASIMDDP ? NLM_NEON_DOTPROD : NLM_NEON_PLAIN;
}
