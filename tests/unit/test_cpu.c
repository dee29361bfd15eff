/* Features of CPUs from recorded and made-up leaves of CPUID. */
#include "unit/check.h"

#include "base/cpu.h"
#include "base/cpu_leaves.h"

#include <stdio.h>
#include <string.h>

#define BIT(feature) (UINT64_C(1) << NLM_CPU_##feature)
#define AVX_FAMILY   (BIT(AVX) | BIT(F16C) | BIT(FMA) | BIT(AVX2) | BIT(AVX_VNNI))
#define AVX512_FAMILY                                                                                  \
    (BIT(AVX512F) | BIT(AVX512CD) | BIT(AVX512BW) | BIT(AVX512DQ) | BIT(AVX512VL) | BIT(AVX512_VNNI) | \
     BIT(AVX512_BF16) | BIT(AVX512_FP16))
#define AMX_FAMILY (BIT(AMX_TILE) | BIT(AMX_INT8) | BIT(AMX_BF16))
#define NO_STATE   (BIT(SSE4_2) | BIT(BMI2))
#define EVERY_BIT  0xFFFFFFFFu, 0xFFFFFFFFu, 0xFFFFFFFFu, 0xFFFFFFFFu, 0xFFFFFFFFu

/* CPUID words in the manner of two generations: AVX2 without AVX-512, and everything. */
#define HASWELL  0x7FFAFBFFu, 0x000027ABu, 0, 0x9C000400u, 0
#define SAPPHIRE 0x7FFEFBFFu, 0xF3BFB7EFu, 0x1B415F6Eu, 0xFFDD4432u, 0x00001C30u

static void features_need_the_cpu_and_the_operating_system(void) {
    static const struct {
        const char *what;
        nlm_cpu_leaves leaves;
        uint64_t expected;
    } rows[] = {
        {"no bits, every state", {0, 0, 0, 0, 0, UINT64_MAX}, 0},
        {"every bit, no state", {EVERY_BIT, 0}, NO_STATE},
        {"every bit, x87 and SSE states", {EVERY_BIT, 0x3}, NO_STATE},
        {"every bit, ymm state without SSE", {EVERY_BIT, 0x5}, NO_STATE},
        {"every bit, AVX state", {EVERY_BIT, 0x7}, NO_STATE | AVX_FAMILY},
        {"every bit, AVX-512 state without zmm16-31", {EVERY_BIT, 0x67}, NO_STATE | AVX_FAMILY},
        {"every bit, AVX-512 state without ymm", {EVERY_BIT, 0xE3}, NO_STATE},
        {"every bit, AVX-512 state", {EVERY_BIT, 0xE7}, NO_STATE | AVX_FAMILY | AVX512_FAMILY},
        {"every bit, AMX configuration without data", {EVERY_BIT, 0x200E7}, NO_STATE | AVX_FAMILY | AVX512_FAMILY},
        {"every bit, all states", {EVERY_BIT, 0x600E7}, NO_STATE | AVX_FAMILY | AVX512_FAMILY | AMX_FAMILY},
        {"every bit, AMX state alone", {EVERY_BIT, 0x60003}, NO_STATE | AMX_FAMILY},
        {"Haswell", {HASWELL, 0x7}, NO_STATE | BIT(AVX) | BIT(F16C) | BIT(FMA) | BIT(AVX2)},
        {"Haswell under an old kernel", {HASWELL, 0x3}, NO_STATE},
        {"Sapphire Rapids", {SAPPHIRE, 0x602E7}, NO_STATE | AVX_FAMILY | AVX512_FAMILY | AMX_FAMILY},
        {"Sapphire Rapids, AMX off in the guest", {SAPPHIRE, 0x2E7}, NO_STATE | AVX_FAMILY | AVX512_FAMILY},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const uint64_t features = nlm_cpu_features_of_leaves(&rows[i].leaves);
        CU_ASSERT_EQUAL(features, rows[i].expected);
        if (features != rows[i].expected) {
            printf("\n    %s: got 0x%llx, expected 0x%llx", rows[i].what, (unsigned long long)features,
                   (unsigned long long)rows[i].expected);
        }
    }
}

static void each_cpuid_bit_means_one_feature(void) {
    static const struct {
        nlm_cpu_leaves leaves;
        uint64_t expected;
    } rows[] = {
        {{1u << 20, 0, 0, 0, 0, 0x600E7}, BIT(SSE4_2)},   {{1u << 28, 0, 0, 0, 0, 0x600E7}, BIT(AVX)},
        {{1u << 29, 0, 0, 0, 0, 0x600E7}, BIT(F16C)},     {{1u << 12, 0, 0, 0, 0, 0x600E7}, BIT(FMA)},
        {{0, 1u << 5, 0, 0, 0, 0x600E7}, BIT(AVX2)},      {{0, 1u << 8, 0, 0, 0, 0x600E7}, BIT(BMI2)},
        {{0, 1u << 16, 0, 0, 0, 0x600E7}, BIT(AVX512F)},  {{0, 1u << 17, 0, 0, 0, 0x600E7}, BIT(AVX512DQ)},
        {{0, 1u << 28, 0, 0, 0, 0x600E7}, BIT(AVX512CD)}, {{0, 1u << 30, 0, 0, 0, 0x600E7}, BIT(AVX512BW)},
        {{0, 1u << 31, 0, 0, 0, 0x600E7}, BIT(AVX512VL)}, {{0, 0, 1u << 11, 0, 0, 0x600E7}, BIT(AVX512_VNNI)},
        {{0, 0, 0, 1u << 22, 0, 0x600E7}, BIT(AMX_BF16)}, {{0, 0, 0, 1u << 23, 0, 0x600E7}, BIT(AVX512_FP16)},
        {{0, 0, 0, 1u << 24, 0, 0x600E7}, BIT(AMX_TILE)}, {{0, 0, 0, 1u << 25, 0, 0x600E7}, BIT(AMX_INT8)},
        {{0, 0, 0, 0, 1u << 4, 0x600E7}, BIT(AVX_VNNI)},  {{0, 0, 0, 0, 1u << 5, 0x600E7}, BIT(AVX512_BF16)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CU_ASSERT_EQUAL(nlm_cpu_features_of_leaves(&rows[i].leaves), rows[i].expected);
    }
}

static void names_and_numbers_agree(void) {
    for (int i = 0; i < NLM_CPU_FEATURE_COUNT; i++) {
        CU_ASSERT_EQUAL(nlm_cpu_feature_from_name(nlm_cpu_feature_name(i)), i);
    }
    CU_ASSERT_EQUAL(nlm_cpu_feature_from_name("avx2"), NLM_CPU_AVX2);
    CU_ASSERT_EQUAL(nlm_cpu_feature_from_name("AVX2"), -1);
    CU_ASSERT_EQUAL(nlm_cpu_feature_from_name(""), -1);
    CU_ASSERT_STRING_EQUAL(nlm_cpu_feature_name(-1), "unknown");
    CU_ASSERT_STRING_EQUAL(nlm_cpu_feature_name(NLM_CPU_FEATURE_COUNT), "unknown");
}

/* The kernel's word in /proc/cpuinfo agrees where it uses the same name for a flag. */
static void this_machine_agrees_with_the_kernel(void) {
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (!file) CHECK_SKIP("no /proc/cpuinfo");
    static char line[16384];
    bool found = false;
    while (!found && fgets(line, sizeof line - 1, file)) {
        found = strncmp(line, "flags", 5) == 0 || strncmp(line, "Features", 8) == 0;
    }
    fclose(file);
    if (!found) CHECK_SKIP("no flags in /proc/cpuinfo");
    line[strcspn(line, "\n")] = ' '; /* every flag ends with a blank */
    static const struct {
        int feature;
        const char *flag;
    } rows[] = {
        {NLM_CPU_SSE4_2, " sse4_2 "},     {NLM_CPU_AVX, " avx "},           {NLM_CPU_F16C, " f16c "},
        {NLM_CPU_FMA, " fma "},           {NLM_CPU_AVX2, " avx2 "},         {NLM_CPU_BMI2, " bmi2 "},
        {NLM_CPU_AVX512F, " avx512f "},   {NLM_CPU_AVX512BW, " avx512bw "}, {NLM_CPU_AVX512_VNNI, " avx512_vnni "},
        {NLM_CPU_AMX_TILE, " amx_tile "}, {NLM_CPU_NEON, " asimd "},        {NLM_CPU_NEON_DOTPROD, " asimddp "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const bool listed = strstr(line, rows[i].flag) != NULL;
        CU_ASSERT_EQUAL((nlm_cpu_features() >> rows[i].feature & 1u) != 0, listed);
    }
    CU_ASSERT_TRUE(strlen(nlm_cpu_name()) > 0);
    CU_ASSERT_TRUE(strlen(nlm_cpu_arch()) > 0);
}

static const check_case cases[] = {
    CHECK_CASE(features_need_the_cpu_and_the_operating_system),
    CHECK_CASE(each_cpuid_bit_means_one_feature),
    CHECK_CASE(names_and_numbers_agree),
    CHECK_CASE(this_machine_agrees_with_the_kernel),
};

CHECK_MAIN("cpu", cases)
