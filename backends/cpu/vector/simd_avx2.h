/* The shim for AVX2, FMA and F16C. */
#ifndef NLM_CPU_SIMD_AVX2_H
#define NLM_CPU_SIMD_AVX2_H

#include <immintrin.h>

#include "cpu/vector/shape_avx2.h"

typedef __m256 vf;
typedef __m256i vi;
#define VF_FN static inline __attribute__((always_inline)) vf
#define VI_FN static inline __attribute__((always_inline)) vi

/* The first n lanes. */
VI_FN v_first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

VF_FN vf_zero(void) {
    return _mm256_setzero_ps();
}
VF_FN vf_set1(float a) {
    return _mm256_set1_ps(a);
}
VF_FN vf_load(const float *p) {
    return _mm256_loadu_ps(p);
}
VF_FN vf_load_n(const float *p, int n) {
    return _mm256_maskload_ps(p, v_first(n));
}
VF_FN vf_load_f16(const void *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
VF_FN vf_load_bf16(const void *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
/* V_LANES bytes as integers */
VF_FN vf_load_u8(const void *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
VF_FN vf_load_i8(const void *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
static inline __attribute__((always_inline)) void vf_store(float *p, vf a) {
    _mm256_storeu_ps(p, a);
}
/* Some CPUs take a hundred cycles for a masked store. */
static inline __attribute__((always_inline)) void vf_store_n(float *p, vf a, int n) {
    if (n >= V_LANES)
        _mm256_storeu_ps(p, a);
    else
        _mm256_maskstore_ps(p, v_first(n), a);
}
static inline __attribute__((always_inline)) void vf_store_f16(void *p, vf a) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
VF_FN vf_add(vf a, vf b) {
    return _mm256_add_ps(a, b);
}
VF_FN vf_sub(vf a, vf b) {
    return _mm256_sub_ps(a, b);
}
VF_FN vf_mul(vf a, vf b) {
    return _mm256_mul_ps(a, b);
}
VF_FN vf_div(vf a, vf b) {
    return _mm256_div_ps(a, b);
}
VF_FN vf_max(vf a, vf b) {
    return _mm256_max_ps(a, b);
}
VF_FN vf_min(vf a, vf b) {
    return _mm256_min_ps(a, b);
}
/* a*b + c, one rounding */
VF_FN vf_fma(vf a, vf b, vf c) {
    return _mm256_fmadd_ps(a, b, c);
}
/* acc + a*b, one rounding, for a tile of sums that fills the registers: the compiler would write some of them over
 * a factor, and then has too few. */
VF_FN vf_accumulate(vf acc, vf a, vf b) {
    __asm__("vfmadd231ps %[b], %[a], %[acc]" : [acc] "+x"(acc) : [a] "x"(a), [b] "x"(b));
    return acc;
}
VF_FN vf_neg(vf a) {
    return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f));
}
/* Neighbours change places: lanes 1 0 3 2 ... */
VF_FN vf_swap_pairs(vf a) {
    return _mm256_permute_ps(a, 0xb1);
}
VF_FN vf_abs(vf a) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
VF_FN vf_sqrt(vf a) {
    return _mm256_sqrt_ps(a);
}
VF_FN vf_round(vf a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* a * 2^n, n whole, a and the result normal */
VF_FN vf_scale2(vf a, vf n) {
    const vi shifted = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), shifted));
}
/* 0 where x < limit, else a: also where x is NaN */
VF_FN vf_unless_lt(vf a, vf x, vf limit) {
    return _mm256_and_ps(a, _mm256_cmp_ps(x, limit, _CMP_NLT_UQ));
}
/* ((0+4)+(2+6)) + ((1+5)+(3+7)) */
static inline __attribute__((always_inline)) float vf_sum(vf a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
static inline __attribute__((always_inline)) float vf_hmax(vf a) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
/* The greater of magnitudes, NaN above all: their bits are ordered as integers. */
VF_FN vf_max_magnitude(vf a, vf b) {
    return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)));
}
static inline __attribute__((always_inline)) float vf_hmax_magnitude(vf a) {
    const vi bits = _mm256_castps_si256(a);
    const __m128i four = _mm_max_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
    const __m128i two = _mm_max_epi32(four, _mm_unpackhi_epi64(four, four));
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_max_epi32(two, _mm_shuffle_epi32(two, 1))));
}

VI_FN vi_load(const void *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}
static inline __attribute__((always_inline)) void vi_store(void *p, vi a) {
    _mm256_storeu_si256((__m256i *)p, a);
}
/* half a vector from each */
VI_FN vi_load_2(const void *low, const void *high) {
    const __m256i first = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low));
    return _mm256_inserti128_si256(first, _mm_loadu_si128((const __m128i *)high), 1);
}
/* Rounded to nearest even, V_LANES bytes; within [-128, 127]. */
static inline __attribute__((always_inline)) void vf_store_i8(void *p, vf a) {
    const __m256i all = _mm256_cvtps_epi32(a);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packs_epi16(words, words));
}
VF_FN vf_bits(vi a) {
    return _mm256_castsi256_ps(a);
}
VI_FN vi_set1(int32_t a) {
    return _mm256_set1_epi32(a);
}
VI_FN vi_set1_u8(uint8_t a) {
    return _mm256_set1_epi8((char)a);
}
VI_FN vi_and(vi a, vi b) {
    return _mm256_and_si256(a, b);
}
VI_FN vi_or(vi a, vi b) {
    return _mm256_or_si256(a, b);
}
VI_FN vi_set1_i16(int16_t a) {
    return _mm256_set1_epi16(a);
}
VI_FN vi_sub16(vi a, vi b) {
    return _mm256_sub_epi16(a, b);
}
VI_FN vi_sub_u8(vi a, vi b) {
    return _mm256_sub_epi8(a, b);
}
/* V_LANES bytes as dwords */
VI_FN vi_load_u8(const void *p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(p));
}
VI_FN vi_load_i8(const void *p) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64(p));
}
/* The low words and dwords of the products. */
VI_FN vi_mul16(vi a, vi b) {
    return _mm256_mullo_epi16(a, b);
}
VI_FN vi_mul32(vi a, vi b) {
    return _mm256_mullo_epi32(a, b);
}
VI_FN vi_add(vi a, vi b) {
    return _mm256_add_epi32(a, b);
}
#define vi_shl32(a, n) _mm256_slli_epi32(a, n)
#define vi_shr32(a, n) _mm256_srli_epi32(a, n)
#define vi_sra32(a, n) _mm256_srai_epi32(a, n)
#define vi_shr16(a, n) _mm256_srli_epi16(a, n)
#define vi_shl16(a, n) _mm256_slli_epi16(a, n)
#define vi_sra16(a, n) _mm256_srai_epi16(a, n)
VF_FN vf_from_i32(vi a) {
    return _mm256_cvtepi32_ps(a);
}

/* A vector of words of weights stays in memory: compilers would take it into a register, which the sums need. */
typedef const vi *vw;
static inline __attribute__((always_inline)) vw vw_at(const void *p) {
    return p;
}
/* acc[lane] += sum of 2 products of words */
VI_FN vi_dot2(vi acc, vw w, vi a) {
#if defined(__AVXVNNI__)
    __asm__("%{vex%} vpdpwssd %[w], %[a], %[acc]" : [acc] "+x"(acc) : [w] "m"(*w), [a] "x"(a));
#else
    vi products;
    __asm__("vpmaddwd %[w], %[a], %[products]\n\tvpaddd %[products], %[acc], %[acc]"
            : [acc] "+x"(acc), [products] "=&x"(products)
            : [w] "m"(*w), [a] "x"(a));
#endif
    return acc;
}
/* Sums of 2 products of words. */
VI_FN vi_dot2_by(vi a, vi b) {
    return _mm256_madd_epi16(a, b);
}
/* acc + sums of 2 products of bytes, w unsigned, in words that hold them. */
VI_FN vi_dot2_bytes(vi acc, vi w, vi a) {
    vi products;
    __asm__("vpmaddubsw %[a], %[w], %[products]\n\tvpaddw %[products], %[acc], %[acc]"
            : [acc] "+x"(acc), [products] "=&x"(products)
            : [w] "x"(w), [a] "x"(a));
    return acc;
}

/* Sums of products of bytes beside activations of 8 bits: two words in a lane. acc + those of w unsigned, a signed;
 */
#define V_BYTE_SUM_BITS 16
VI_FN vi_bytes_dot(vi acc, vi w, vi a) {
    return vi_dot2_bytes(acc, w, a);
}
/* of w signed, a unsigned. */
VI_FN vi_bytes_dot_signed(vi acc, vw w, vi a) {
    vi products;
    __asm__("vpmaddubsw %[w], %[a], %[products]\n\tvpaddw %[products], %[acc], %[acc]"
            : [acc] "+x"(acc), [products] "=&x"(products)
            : [w] "m"(*w), [a] "x"(a));
    return acc;
}
VI_FN vi_bytes_add(vi a, vi b) {
    return _mm256_add_epi16(a, b);
}
VI_FN vi_bytes_sub(vi a, vi b) {
    return _mm256_sub_epi16(a, b);
}
VI_FN vi_bytes_times(vi a, int factor) {
    return _mm256_mullo_epi16(a, _mm256_set1_epi16((int16_t)factor));
}
/* What a lane sums to. */
VI_FN vi_bytes_total(vi a) {
    return _mm256_madd_epi16(a, _mm256_set1_epi16(1));
}
/* Adds `value` to the bytes whose bit is set in bits[0..4): bit i of byte j is byte 8j+i. */
VI_FN vi_add_where(vi a, const uint8_t *bits, vi value) {
    int32_t all;
    memcpy(&all, bits, sizeof all);
    const vi spread = _mm256_shuffle_epi8(
        _mm256_set1_epi32(all), _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
    const vi one_bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    const vi is_set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, one_bit), one_bit);
    return _mm256_add_epi8(a, _mm256_and_si256(is_set, value));
}
/* out[c][r] = lane c of in[r], any 32-bit lanes; the stride in floats. */
static inline __attribute__((always_inline)) void v_transpose(const vf in[V_LANES], float *out, int64_t out_stride) {
    __m256 a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_ps(in[i], in[i + 1]);
        a[i + 1] = _mm256_unpackhi_ps(in[i], in[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) { /* b[i+k]: columns k and 4+k of rows i..i+3 */
        b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xEE);
        b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xEE);
    }
    for (int k = 0; k < 4; k++) {
        _mm256_storeu_ps(out + k * out_stride, _mm256_permute2f128_ps(b[k], b[4 + k], 0x20));
        _mm256_storeu_ps(out + (4 + k) * out_stride, _mm256_permute2f128_ps(b[k], b[4 + k], 0x31));
    }
}
/* out[k] lane r: dword k of the 16 bytes of row r. */
static inline __attribute__((always_inline)) void v_quads(const uint8_t *in, int64_t stride_bytes, vi out[4]) {
    vi a[4]; /* a[i]: row 4j+i in 128-bit lane j */
    for (int i = 0; i < 4; i++) {
        const uint8_t *row = in + i * stride_bytes;
        a[i] = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)row));
        a[i] = _mm256_inserti128_si256(a[i], _mm_loadu_si128((const __m128i *)(row + 4 * stride_bytes)), 1);
    }
    const vi low01 = _mm256_unpacklo_epi32(a[0], a[1]), low23 = _mm256_unpacklo_epi32(a[2], a[3]);
    const vi high01 = _mm256_unpackhi_epi32(a[0], a[1]), high23 = _mm256_unpackhi_epi32(a[2], a[3]);
    out[0] = _mm256_unpacklo_epi64(low01, low23);
    out[1] = _mm256_unpackhi_epi64(low01, low23);
    out[2] = _mm256_unpacklo_epi64(high01, high23);
    out[3] = _mm256_unpackhi_epi64(high01, high23);
}
/* 16 bytes, as vi_lookup takes them. */
VI_FN vi_load_table(const void *p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
}
/* Each byte of `index`, at most 15, becomes the byte of the table in that place. */
VI_FN vi_lookup(vi table, vi index) {
    return _mm256_shuffle_epi8(table, index);
}
/* Byte i of lane r becomes byte i * V_LANES + r. */
VI_FN vi_planes(vi a) {
    const vi in_lanes =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    return _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(a, in_lanes), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
/* Half i of lane r becomes half i * V_LANES + r. */
VI_FN vi_halves(vi a) {
    const vi in_lanes =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(a, in_lanes), 0xD8);
}
/* The top bit of each byte, as vi_add_where takes them. */
static inline __attribute__((always_inline)) void vi_store_bits(uint8_t *bits, vi a) {
    const int32_t mask = _mm256_movemask_epi8(a);
    memcpy(bits, &mask, sizeof mask);
}
/* 16 floats, scaled and rounded to nearest even, split into (high << bits) + low, low in [-2^(bits-1), 2^(bits-1)).
 * Returns the sum of the 16 integers. */
static inline __attribute__((always_inline)) int32_t v_split16(const float *x, float scale, int bits, int8_t *high,
                                                               int8_t *low) {
    const vf s = vf_set1(scale);
    vi top[2], rest[2], q[2];
    for (int i = 0; i < 2; i++) {
        q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), s));
        top[i] = _mm256_srai_epi32(_mm256_add_epi32(q[i], vi_set1(1 << (bits - 1))), bits);
        rest[i] = _mm256_sub_epi32(q[i], _mm256_slli_epi32(top[i], bits));
    }
    /* packing works in 128-bit halves: groups of 4 come out as high 0 2, low 0 2, high 1 3, low 1 3 */
    const vi bytes = _mm256_packs_epi16(_mm256_packs_epi32(top[0], top[1]), _mm256_packs_epi32(rest[0], rest[1]));
    const vi order = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm_storeu_si128((__m128i *)high, _mm256_castsi256_si128(order));
    _mm_storeu_si128((__m128i *)low, _mm256_extracti128_si256(order, 1));
    const vi both = _mm256_add_epi32(q[0], q[1]);
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
    const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
}
/* 32 floats, scaled and rounded to nearest even, as words of 16 bits, those of every four as 0 2 1 3; returns the sum
 * of the integers. */
static inline __attribute__((always_inline)) int32_t v_round32(const float *x, float scale, int16_t *out) {
    const vf s = vf_set1(scale);
    const vi order = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
    vi sums = vi_set1(0);
    for (int i = 0; i < 2; i++) {
        const vi a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 16 * i), s));
        const vi b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 16 * i + 8), s));
        const vi words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
        sums = _mm256_add_epi32(sums, _mm256_add_epi32(a, b));
        _mm256_storeu_si256((__m256i *)(out + 16 * i), _mm256_shuffle_epi8(words, order));
    }
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
}

/* 32 floats, scaled and rounded to nearest even, as bytes. Each half of 16 leaves its sum in sum16, a lane as of
 * vi_bytes_dot with weights of 1: of the columns 0 and 1 of every four, and of 2 and 3. Returns the sum of all. */
static inline __attribute__((always_inline)) int32_t v_round32_bytes(const float *x, float scale, int8_t *out,
                                                                     int32_t *sum16) {
    const vf s = vf_set1(scale);
    vi four[4]; /* 8 integers each */
    for (int i = 0; i < 4; i++) four[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), s));
    const vi words[2] = {_mm256_packs_epi32(four[0], four[1]), _mm256_packs_epi32(four[2], four[3])};
    const vi bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(words[0], words[1]),
                                                 _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)out, bytes);
    const vi pairs = _mm256_maddubs_epi16(vi_set1_u8(1), bytes);
    const vi two = _mm256_add_epi16(pairs, _mm256_shuffle_epi32(pairs, 0x4E));
    const vi one = _mm256_add_epi16(two, _mm256_shuffle_epi32(two, 0xB1));
    sum16[0] = _mm256_extract_epi32(one, 0);
    sum16[1] = _mm256_extract_epi32(one, 4);
    const __m128i halves = _mm_add_epi16(_mm256_castsi256_si128(one), _mm256_extracti128_si256(one, 1));
    return _mm_cvtsi128_si32(_mm_madd_epi16(halves, _mm_set1_epi16(1)));
}

#endif
