/* What this CPU and its operating system can run. */
#ifndef NLM_BASE_CPU_H
#define NLM_BASE_CPU_H

#include <stdbool.h>
#include <stdint.h>

/* X(NAME, name): the spelling in plugins.toml's isa lists. A feature is reported only if the CPU has
 * it and the operating system saves its registers (XCR0; hwcaps on ARM). */
#define NLM_CPU_FEATURE_LIST(X)   \
    X(SSE4_2, "sse4.2")           \
    X(AVX, "avx")                 \
    X(F16C, "f16c")               \
    X(FMA, "fma")                 \
    X(AVX2, "avx2")               \
    X(BMI2, "bmi2")               \
    X(AVX_VNNI, "avx_vnni")       \
    X(AVX512F, "avx512f")         \
    X(AVX512CD, "avx512cd")       \
    X(AVX512BW, "avx512bw")       \
    X(AVX512DQ, "avx512dq")       \
    X(AVX512VL, "avx512vl")       \
    X(AVX512_VNNI, "avx512_vnni") \
    X(AVX512_BF16, "avx512_bf16") \
    X(AVX512_FP16, "avx512_fp16") \
    X(AMX_TILE, "amx_tile")       \
    X(AMX_INT8, "amx_int8")       \
    X(AMX_BF16, "amx_bf16")       \
    X(NEON, "neon")               \
    X(NEON_FP16, "fp16")          \
    X(NEON_DOTPROD, "dotprod")    \
    X(NEON_I8MM, "i8mm")          \
    X(NEON_BF16, "bf16")          \
    X(SVE, "sve")

enum {
#define NLM_CPU_ENUM(NAME, name) NLM_CPU_##NAME,
    NLM_CPU_FEATURE_LIST(NLM_CPU_ENUM)
#undef NLM_CPU_ENUM
        NLM_CPU_FEATURE_COUNT
};

/* "x86_64" or "aarch64": the arch of plugins.toml. */
const char *nlm_cpu_arch(void);
/* The CPU's brand for people; "unknown CPU" if it does not say. */
const char *nlm_cpu_name(void);
/* A bit per NLM_CPU_*. Computed at the first call; thread-safe. */
uint64_t nlm_cpu_features(void);
/* The feature's number, or -1 for an unknown name. */
int nlm_cpu_feature_from_name(const char *name);
const char *nlm_cpu_feature_name(int feature);

#endif
