/* The features of this machine's CPU that the operating system lets programs use. */
#include "base/cpu.h"

#include "base/cpu_leaves.h"

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <libcpuid/libcpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

_Static_assert(NLM_CPU_FEATURE_COUNT <= 64, "a bit each in uint64_t");
#define BIT(feature) (UINT64_C(1) << NLM_CPU_##feature)

/* Bits of XCR0: Intel SDM volume 1, 13.1. A set of registers is usable only if all its bits are set. */
#define XCR0_NONE   UINT64_C(0)
#define XCR0_AVX    UINT64_C(0x6)     /* SSE, upper halves of ymm */
#define XCR0_AVX512 UINT64_C(0xE6)    /* and mask registers, upper halves of zmm, zmm16-31 */
#define XCR0_AMX    UINT64_C(0x60000) /* tile configuration and tile data */

/* X(FEATURE, register of nlm_cpu_leaves, bit, XCR0 bits) */
#define LEAF_LIST(X)                            \
    X(SSE4_2, leaf1_ecx, 20, XCR0_NONE)         \
    X(AVX, leaf1_ecx, 28, XCR0_AVX)             \
    X(F16C, leaf1_ecx, 29, XCR0_AVX)            \
    X(FMA, leaf1_ecx, 12, XCR0_AVX)             \
    X(AVX2, leaf7_ebx, 5, XCR0_AVX)             \
    X(BMI2, leaf7_ebx, 8, XCR0_NONE)            \
    X(AVX_VNNI, leaf7_1_eax, 4, XCR0_AVX)       \
    X(AVX512F, leaf7_ebx, 16, XCR0_AVX512)      \
    X(AVX512CD, leaf7_ebx, 28, XCR0_AVX512)     \
    X(AVX512BW, leaf7_ebx, 30, XCR0_AVX512)     \
    X(AVX512DQ, leaf7_ebx, 17, XCR0_AVX512)     \
    X(AVX512VL, leaf7_ebx, 31, XCR0_AVX512)     \
    X(AVX512_VNNI, leaf7_ecx, 11, XCR0_AVX512)  \
    X(AVX512_BF16, leaf7_1_eax, 5, XCR0_AVX512) \
    X(AVX512_FP16, leaf7_edx, 23, XCR0_AVX512)  \
    X(AMX_TILE, leaf7_edx, 24, XCR0_AMX)        \
    X(AMX_INT8, leaf7_edx, 25, XCR0_AMX)        \
    X(AMX_BF16, leaf7_edx, 22, XCR0_AMX)

uint64_t nlm_cpu_features_of_leaves(const nlm_cpu_leaves *leaves) {
    uint64_t features = 0;
#define LEAF_TEST(FEATURE, reg, bit, state) \
    if ((leaves->reg >> (bit)&1u) && (leaves->xcr0 & (state)) == (state)) features |= BIT(FEATURE);
    LEAF_LIST(LEAF_TEST)
#undef LEAF_TEST
    return features;
}

typedef struct machine {
    uint64_t features;
    char name[64];
} machine;

#if defined(__x86_64__)

#define CPU_ARCH           "x86_64"
#define LEAF1_ECX_OSXSAVE  (1u << 27)
#define EXTENDED_MAX       0 /* rows of ext_cpuid, whose first is leaf 0x80000000 */
#define EXTENDED_NAME      2
#define EXTENDED_NAME_LAST 4

/* XCR0; only valid with OSXSAVE. */
static uint64_t read_xcr0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static void read_leaves(const struct cpu_raw_data_t *raw, nlm_cpu_leaves *leaves) {
    leaves->leaf1_ecx = raw->basic_cpuid[1][ECX];
    if (leaves->leaf1_ecx & LEAF1_ECX_OSXSAVE) leaves->xcr0 = read_xcr0();
    /* Past its last leaf a CPU answers with that leaf's data. */
    if (raw->basic_cpuid[0][EAX] < 7) return;
    leaves->leaf7_ebx = raw->basic_cpuid[7][EBX];
    leaves->leaf7_ecx = raw->basic_cpuid[7][ECX];
    leaves->leaf7_edx = raw->basic_cpuid[7][EDX];
    if (raw->basic_cpuid[7][EAX] < 1) return;
    uint32_t ebx, ecx, edx; /* subleaf 1 is not among libcpuid's */
    __get_cpuid_count(7, 1, &leaves->leaf7_1_eax, &ebx, &ecx, &edx);
}

static void read_machine(machine *out) {
    struct cpu_raw_data_t raw;
    if (!cpuid_present() || cpuid_get_raw_data(&raw) != 0) return;
    nlm_cpu_leaves leaves = {0};
    read_leaves(&raw, &leaves);
    out->features = nlm_cpu_features_of_leaves(&leaves);
    if (raw.ext_cpuid[EXTENDED_MAX][EAX] < 0x80000000u + EXTENDED_NAME_LAST) return;
    memcpy(out->name, raw.ext_cpuid[EXTENDED_NAME], 48);
}

#elif defined(__aarch64__)

#define CPU_ARCH "aarch64"

/* X(FEATURE, AT_HWCAP or AT_HWCAP2, bit): Linux's Documentation/arch/arm64/elf_hwcaps. */
#define HWCAP_LIST(X)             \
    X(NEON, AT_HWCAP, 1)          \
    X(NEON_FP16, AT_HWCAP, 10)    \
    X(NEON_DOTPROD, AT_HWCAP, 20) \
    X(NEON_I8MM, AT_HWCAP2, 13)   \
    X(NEON_BF16, AT_HWCAP2, 14)   \
    X(SVE, AT_HWCAP, 22)

static void read_machine(machine *out) {
#define HWCAP_TEST(FEATURE, word, bit) \
    if (getauxval(word) >> (bit)&1u) out->features |= BIT(FEATURE);
    HWCAP_LIST(HWCAP_TEST)
#undef HWCAP_TEST
    const char *platform = (const char *)getauxval(AT_PLATFORM);
    if (platform) snprintf(out->name, sizeof out->name, "%s", platform);
}

#else

#define CPU_ARCH "unknown"

static void read_machine(machine *out) {
    (void)out;
}

#endif

static pthread_once_t machine_once = PTHREAD_ONCE_INIT;
static machine machine_read; /* written once */

/* Brand strings are padded with blanks, on either side and within. */
static void squeeze_blanks(char *text) {
    size_t length = 0;
    for (size_t i = 0; text[i]; i++) {
        if (text[i] == ' ' && (length == 0 || text[length - 1] == ' ')) continue;
        text[length++] = text[i];
    }
    if (length > 0 && text[length - 1] == ' ') length--;
    text[length] = '\0';
}

static void read_machine_once(void) {
    read_machine(&machine_read);
    machine_read.name[sizeof machine_read.name - 1] = '\0';
    squeeze_blanks(machine_read.name);
    if (machine_read.name[0] == '\0') snprintf(machine_read.name, sizeof machine_read.name, "unknown CPU");
}

static const machine *this_machine(void) {
    pthread_once(&machine_once, read_machine_once);
    return &machine_read;
}

const char *nlm_cpu_arch(void) {
    return CPU_ARCH;
}

const char *nlm_cpu_name(void) {
    return this_machine()->name;
}

uint64_t nlm_cpu_features(void) {
    return this_machine()->features;
}

static const char *const feature_names[] = {
#define FEATURE_NAME(NAME, name) name,
    NLM_CPU_FEATURE_LIST(FEATURE_NAME)
#undef FEATURE_NAME
};

int nlm_cpu_feature_from_name(const char *name) {
    for (int i = 0; i < NLM_CPU_FEATURE_COUNT; i++) {
        if (strcmp(name, feature_names[i]) == 0) return i;
    }
    return -1;
}

const char *nlm_cpu_feature_name(int feature) {
    return feature >= 0 && feature < NLM_CPU_FEATURE_COUNT ? feature_names[feature] : "unknown";
}
