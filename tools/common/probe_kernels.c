/* The loops of the probes, for the widest vectors the CPU has. */
#include "common/probe_kernels.h"

#include <string.h>

#include "base/cpu.h"

enum {
    STREAMS = 4,
    STEP_BYTES = 128,   /* of one stream in one round */
    AHEAD_BYTES = 1024, /* what the prefetch is ahead of the load */
};
_Static_assert(PROBE_READ_GRAIN % (STREAMS * STEP_BYTES) == 0, "a part is whole rounds");

/* Chains of dependent multiply-adds: more than latency x units of any CPU so far, fewer than registers. */
#define CHAINS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
enum { N_CHAINS = 12 };

static inline void prefetch_step(const char *at) {
    __builtin_prefetch(at + AHEAD_BYTES, 0, 3);
    __builtin_prefetch(at + AHEAD_BYTES + 64, 0, 3);
}

#if defined(__x86_64__)

#include <immintrin.h>

__attribute__((target("avx512f"))) static __m512i load_512(const char *at) {
    prefetch_step(at);
    return _mm512_xor_si512(_mm512_load_si512((const void *)at), _mm512_load_si512((const void *)(at + 64)));
}

__attribute__((target("avx512f"))) static uint64_t read_avx512(const char *from, size_t bytes) {
    const size_t part = bytes / STREAMS;
    __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0;
    for (const char *at = from; at < from + part; at += STEP_BYTES) {
        s0 = _mm512_xor_si512(s0, load_512(at));
        s1 = _mm512_xor_si512(s1, load_512(at + part));
        s2 = _mm512_xor_si512(s2, load_512(at + 2 * part));
        s3 = _mm512_xor_si512(s3, load_512(at + 3 * part));
    }
    s0 = _mm512_xor_si512(_mm512_xor_si512(s0, s1), _mm512_xor_si512(s2, s3));
    return (uint64_t)_mm512_reduce_add_epi64(s0);
}

__attribute__((target("avx512f"))) static float multiply_add_avx512(uint64_t count) {
    const __m512 factor = _mm512_set1_ps(0.999f), term = _mm512_set1_ps(0.001f);
#define START(i) __m512 a##i = _mm512_set1_ps((float)i);
#define ROUND(i) a##i = _mm512_fmadd_ps(a##i, factor, term);
#define SUM(i)   sum = _mm512_add_ps(sum, a##i);
    CHAINS(START)
    while (count-- > 0) {
        CHAINS(ROUND)
    }
    __m512 sum = _mm512_setzero_ps();
    CHAINS(SUM)
#undef START
#undef ROUND
#undef SUM
    return _mm512_reduce_add_ps(sum);
}

__attribute__((target("avx2"))) static __m256i load_256(const char *at) {
    const __m256i *v = (const void *)at;
    prefetch_step(at);
    return _mm256_xor_si256(_mm256_xor_si256(_mm256_load_si256(v), _mm256_load_si256(v + 1)),
                            _mm256_xor_si256(_mm256_load_si256(v + 2), _mm256_load_si256(v + 3)));
}

__attribute__((target("avx2"))) static uint64_t read_avx2(const char *from, size_t bytes) {
    const size_t part = bytes / STREAMS;
    __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0;
    for (const char *at = from; at < from + part; at += STEP_BYTES) {
        s0 = _mm256_xor_si256(s0, load_256(at));
        s1 = _mm256_xor_si256(s1, load_256(at + part));
        s2 = _mm256_xor_si256(s2, load_256(at + 2 * part));
        s3 = _mm256_xor_si256(s3, load_256(at + 3 * part));
    }
    s0 = _mm256_xor_si256(_mm256_xor_si256(s0, s1), _mm256_xor_si256(s2, s3));
    const __m128i half = _mm_xor_si128(_mm256_castsi256_si128(s0), _mm256_extracti128_si256(s0, 1));
    return (uint64_t)_mm_cvtsi128_si64(half);
}

__attribute__((target("avx2,fma"))) static float multiply_add_avx2(uint64_t count) {
    const __m256 factor = _mm256_set1_ps(0.999f), term = _mm256_set1_ps(0.001f);
#define START(i) __m256 a##i = _mm256_set1_ps((float)i);
#define ROUND(i) a##i = _mm256_fmadd_ps(a##i, factor, term);
#define SUM(i)   sum = _mm256_add_ps(sum, a##i);
    CHAINS(START)
    while (count-- > 0) {
        CHAINS(ROUND)
    }
    __m256 sum = _mm256_setzero_ps();
    CHAINS(SUM)
#undef START
#undef ROUND
#undef SUM
    return _mm256_cvtss_f32(sum);
}

#endif

/* Four lanes: SSE2, NEON, or whatever the compiler makes of it. */
typedef uint64_t two_words __attribute__((vector_size(16)));
typedef float four_floats __attribute__((vector_size(16)));

static two_words load_128(const char *at) {
    const two_words *v = (const void *)at;
    prefetch_step(at);
    return ((v[0] ^ v[1]) ^ (v[2] ^ v[3])) ^ ((v[4] ^ v[5]) ^ (v[6] ^ v[7]));
}

static uint64_t read_128(const char *from, size_t bytes) {
    const size_t part = bytes / STREAMS;
    two_words s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    for (const char *at = from; at < from + part; at += STEP_BYTES) {
        s0 ^= load_128(at);
        s1 ^= load_128(at + part);
        s2 ^= load_128(at + 2 * part);
        s3 ^= load_128(at + 3 * part);
    }
    s0 = (s0 ^ s1) ^ (s2 ^ s3);
    return s0[0] ^ s0[1];
}

#if defined(__aarch64__)
#include <arm_neon.h>
static four_floats multiply_add_four(four_floats a, four_floats factor, four_floats term) {
    return (four_floats)vfmaq_f32((float32x4_t)term, (float32x4_t)a, (float32x4_t)factor);
}
#else
static four_floats multiply_add_four(four_floats a, four_floats factor, four_floats term) {
    return a * factor + term;
}
#endif

static float multiply_add_128(uint64_t count) {
    const four_floats factor = {0.999f, 0.999f, 0.999f, 0.999f}, term = {0.001f, 0.001f, 0.001f, 0.001f};
#define START(i) four_floats a##i = {(float)i};
#define ROUND(i) a##i = multiply_add_four(a##i, factor, term);
#define SUM(i)   sum += a##i;
    CHAINS(START)
    while (count-- > 0) {
        CHAINS(ROUND)
    }
    four_floats sum = {0};
    CHAINS(SUM)
#undef START
#undef ROUND
#undef SUM
    return sum[0] + sum[1] + sum[2] + sum[3];
}

#define FLOP(lanes) (2 * N_CHAINS * (lanes))

static const probe_kernels plain = {"plain", read_128, multiply_add_128, FLOP(4)};
#if defined(__x86_64__)
static const probe_kernels avx2 = {"avx2", read_avx2, multiply_add_avx2, FLOP(8)};
static const probe_kernels avx512 = {"avx512", read_avx512, multiply_add_avx512, FLOP(16)};
#endif

const probe_kernels *probe_kernels_choose(void) {
#if defined(__x86_64__)
    const uint64_t features = nlm_cpu_features();
    const uint64_t has_avx2 = 1ull << NLM_CPU_AVX2 | 1ull << NLM_CPU_FMA;
    if (features & 1ull << NLM_CPU_AVX512F) return &avx512;
    if ((features & has_avx2) == has_avx2) return &avx2;
#endif
    return &plain;
}

const probe_kernels *probe_kernels_of(const char *arch) {
#if defined(__x86_64__)
    if (strstr(arch, "avx512")) return &avx512;
    if (strstr(arch, "avx2")) return &avx2;
#endif
    (void)arch;
    return &plain;
}
