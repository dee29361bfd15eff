/* Chooses between AVX-VNNI and plain AVX2 for products of integers. */
#include "device.h"

#include <cpuid.h>

#include "avxvnni.h"

const nlm_vector_device nlm_avx2_devices[NLM_AVX2_FORMS] = {
    [NLM_AVX2_PLAIN] = {&nlm_vector_gemm_quant_words, "CPU, AVX2", "x86_64+avx2"},
    [NLM_AVX2_VNNI] = {&nlm_vector_gemm_quant_avxvnni, "CPU, AVX2", "x86_64+avx2+avx_vnni"},
    [NLM_AVX2_BYTES] = {&nlm_vector_gemm_quant_bytes, "CPU, AVX2, 8-bit activations", "x86_64+avx2"},
};

#define CPUID_7_1_EAX_AVX_VNNI (1u << 4)

nlm_avx2_form nlm_avx2_best_form(nlm_avx2_form most) {
    unsigned a, b, c, d;
    if (most == NLM_AVX2_PLAIN || !__get_cpuid_count(7, 1, &a, &b, &c, &d)) return NLM_AVX2_PLAIN;
    return a & CPUID_7_1_EAX_AVX_VNNI ? NLM_AVX2_VNNI : NLM_AVX2_PLAIN;
}
