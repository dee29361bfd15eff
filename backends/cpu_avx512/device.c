/* Chooses between AMX, VNNI and plain AVX-512 for products of integers. */
#include "device.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "amx.h"
#include "vnni.h"

const nlm_vector_device nlm_avx512_devices[NLM_AVX512_FORMS] = {
    [NLM_AVX512_PLAIN] = {&nlm_vector_gemm_quant_words, "CPU, AVX-512", "x86_64+avx512"},
    [NLM_AVX512_VNNI] = {&nlm_vector_gemm_quant_vnni, "CPU, AVX-512", "x86_64+avx512_vnni"},
    [NLM_AVX512_BYTES] = {&nlm_vector_gemm_quant_bytes, "CPU, AVX-512, 8-bit activations", "x86_64+avx512"},
    [NLM_AVX512_BYTES_VNNI] = {&nlm_vector_gemm_quant_bytes_vnni, "CPU, AVX-512, 8-bit activations",
                               "x86_64+avx512_vnni"},
    [NLM_AVX512_TILES] = {&nlm_avx512_gemm_quant, "CPU, AVX-512", "x86_64+avx512_vnni+amx_int8"},
};

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_TILE_DATA  18

#define CPUID_7_ECX_VNNI  (1u << 11)
#define CPUID_7_EDX_TILES (3u << 24) /* AMX-TILE, AMX-INT8 */

nlm_avx512_form nlm_avx512_best_form(nlm_avx512_form most) {
    unsigned a, b, c, d;
    if (most == NLM_AVX512_PLAIN || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(c & CPUID_7_ECX_VNNI))
        return NLM_AVX512_PLAIN;
    if (most == NLM_AVX512_VNNI || (d & CPUID_7_EDX_TILES) != CPUID_7_EDX_TILES) return NLM_AVX512_VNNI;
    const int is_granted = syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILE_DATA) == 0;
    return is_granted ? NLM_AVX512_TILES : NLM_AVX512_VNNI;
}
