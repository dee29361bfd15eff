/* The shim for AVX-512 F, BW, VL, DQ; VNNI where the flags have it. */
#ifndef NLM_CPU_SIMD_AVX512_H
#define NLM_CPU_SIMD_AVX512_H

#include <immintrin.h>

#include "cpu/vector/shape_avx512.h"

typedef __m512 vf;
typedef __m512i vi;
#define VF_FN static inline __attribute__((always_inline)) vf
#define VI_FN static inline __attribute__((always_inline)) vi

VF_FN vf_zero(void) {
    return _mm512_setzero_ps();
}
VF_FN vf_set1(float a) {
    return _mm512_set1_ps(a);
}
VF_FN vf_load(const float *p) {
    return _mm512_loadu_ps(p);
}
VF_FN vf_load_n(const float *p, int n) {
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
VF_FN vf_load_f16(const void *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
VF_FN vf_load_bf16(const void *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
/* V_LANES bytes as integers */
VF_FN vf_load_u8(const void *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
VF_FN vf_load_i8(const void *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
static inline __attribute__((always_inline)) void vf_store(float *p, vf a) {
    _mm512_storeu_ps(p, a);
}
static inline __attribute__((always_inline)) void vf_store_n(float *p, vf a, int n) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), a);
}
static inline __attribute__((always_inline)) void vf_store_f16(void *p, vf a) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
VF_FN vf_add(vf a, vf b) {
    return _mm512_add_ps(a, b);
}
VF_FN vf_sub(vf a, vf b) {
    return _mm512_sub_ps(a, b);
}
VF_FN vf_mul(vf a, vf b) {
    return _mm512_mul_ps(a, b);
}
VF_FN vf_div(vf a, vf b) {
    return _mm512_div_ps(a, b);
}
VF_FN vf_max(vf a, vf b) {
    return _mm512_max_ps(a, b);
}
VF_FN vf_min(vf a, vf b) {
    return _mm512_min_ps(a, b);
}
VF_FN vf_fma(vf a, vf b, vf c) {
    return _mm512_fmadd_ps(a, b, c);
} /* a*b + c, one rounding */
/* acc + a*b, one rounding, for a tile of sums that fills the registers. */
VF_FN vf_accumulate(vf acc, vf a, vf b) {
    return vf_fma(a, b, acc);
}
VF_FN vf_neg(vf a) {
    return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f));
}
/* Neighbours change places: lanes 1 0 3 2 ... */
VF_FN vf_swap_pairs(vf a) {
    return _mm512_permute_ps(a, 0xb1);
}
VF_FN vf_abs(vf a) {
    return _mm512_abs_ps(a);
}
VF_FN vf_sqrt(vf a) {
    return _mm512_sqrt_ps(a);
}
VF_FN vf_round(vf a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
VF_FN vf_scale2(vf a, vf n) {
    return _mm512_scalef_ps(a, n);
} /* a * 2^n, n whole */
/* 0 where x < limit, else a: also where x is NaN */
VF_FN vf_unless_lt(vf a, vf x, vf limit) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), a);
}
static inline __attribute__((always_inline)) float vf_sum(vf a) {
    return _mm512_reduce_add_ps(a);
}
static inline __attribute__((always_inline)) float vf_hmax(vf a) {
    return _mm512_reduce_max_ps(a);
}
/* The greater of magnitudes, NaN above all: their bits are ordered as integers. */
VF_FN vf_max_magnitude(vf a, vf b) {
    return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
}
static inline __attribute__((always_inline)) float vf_hmax_magnitude(vf a) {
    const int32_t bits = _mm512_reduce_max_epi32(_mm512_castps_si512(a));
    float greatest;
    memcpy(&greatest, &bits, sizeof greatest);
    return greatest;
}

VI_FN vi_load(const void *p) {
    return _mm512_loadu_si512(p);
}
static inline __attribute__((always_inline)) void vi_store(void *p, vi a) {
    _mm512_storeu_si512(p, a);
}
/* half a vector from each */
VI_FN vi_load_2(const void *low, const void *high) {
    const __m512i first = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)low));
    return _mm512_inserti64x4(first, _mm256_loadu_si256((const __m256i *)high), 1);
}
/* Rounded to nearest even, V_LANES bytes; within [-128, 127]. */
static inline __attribute__((always_inline)) void vf_store_i8(void *p, vf a) {
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a)));
}
VI_FN vi_set1(int32_t a) {
    return _mm512_set1_epi32(a);
}
VI_FN vi_set1_u8(uint8_t a) {
    return _mm512_set1_epi8((char)a);
}
VI_FN vi_and(vi a, vi b) {
    return _mm512_and_si512(a, b);
}
VI_FN vi_or(vi a, vi b) {
    return _mm512_or_si512(a, b);
}
VI_FN vi_set1_i16(int16_t a) {
    return _mm512_set1_epi16(a);
}
VI_FN vi_sub16(vi a, vi b) {
    return _mm512_sub_epi16(a, b);
}
VI_FN vi_sub_u8(vi a, vi b) {
    return _mm512_sub_epi8(a, b);
}
/* V_LANES bytes as dwords */
VI_FN vi_load_u8(const void *p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(p));
}
VI_FN vi_load_i8(const void *p) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(p));
}
/* The low words and dwords of the products. */
VI_FN vi_mul16(vi a, vi b) {
    return _mm512_mullo_epi16(a, b);
}
VI_FN vi_mul32(vi a, vi b) {
    return _mm512_mullo_epi32(a, b);
}
VI_FN vi_add(vi a, vi b) {
    return _mm512_add_epi32(a, b);
}
#define vi_shl32(a, n) _mm512_slli_epi32(a, (unsigned)(n))
#define vi_shr32(a, n) _mm512_srli_epi32(a, n)
#define vi_sra32(a, n) _mm512_srai_epi32(a, n)
/* The count is an int to GCC, unsigned to Clang. */
#if defined(__clang__)
#define V_COUNT16(n) ((unsigned)(n))
#else
#define V_COUNT16(n) (n)
#endif
#define vi_shr16(a, n) _mm512_srli_epi16(a, V_COUNT16(n))
#define vi_shl16(a, n) _mm512_slli_epi16(a, V_COUNT16(n))
#define vi_sra16(a, n) _mm512_srai_epi16(a, V_COUNT16(n))
VF_FN vf_from_i32(vi a) {
    return _mm512_cvtepi32_ps(a);
}
VF_FN vf_bits(vi a) {
    return _mm512_castsi512_ps(a);
}

/* acc[lane] += sum of 4: w (unsigned byte) * a (signed byte). `small` weights are at most 63. */
VI_FN vi_dot4(vi acc, vi w, vi a) {
#if defined(__AVX512VNNI__)
    return _mm512_dpbusd_epi32(acc, w, a);
#else
    const vi low = _mm512_set1_epi16(0x00FF);
    const vi even = _mm512_madd_epi16(_mm512_and_si512(w, low), _mm512_srai_epi16(_mm512_slli_epi16(a, 8), 8));
    const vi odd = _mm512_madd_epi16(_mm512_srli_epi16(w, 8), _mm512_srai_epi16(a, 8));
    return _mm512_add_epi32(acc, _mm512_add_epi32(even, odd));
#endif
}
VI_FN vi_dot4_small(vi acc, vi w, vi a) {
#if defined(__AVX512VNNI__)
    return _mm512_dpbusd_epi32(acc, w, a);
#else
    return _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(w, a), _mm512_set1_epi16(1)));
#endif
}
/* A vector of words of weights, which the registers have room for. */
typedef vi vw;
static inline __attribute__((always_inline)) vw vw_at(const void *p) {
    vw w = vi_load(p);
    __asm__("" : "+v"(w)); /* else GCC loads it again for each use */
    return w;
}
/* acc[lane] += sum of 2 products of words. Compilers would move every sum to another register and back. */
VI_FN vi_dot2(vi acc, vw w, vi a) {
#if defined(__AVX512VNNI__)
    __asm__("vpdpwssd %[a], %[w], %[acc]" : [acc] "+v"(acc) : [w] "v"(w), [a] "v"(a));
#else
    vi products;
    __asm__("vpmaddwd %[a], %[w], %[products]\n\tvpaddd %[products], %[acc], %[acc]"
            : [acc] "+v"(acc), [products] "=&v"(products)
            : [w] "v"(w), [a] "v"(a));
#endif
    return acc;
}
/* Sums of 2 products of words. */
VI_FN vi_dot2_by(vi a, vi b) {
    return _mm512_madd_epi16(a, b);
}

/* Sums of products of bytes beside activations of 8 bits: with VNNI one of 32 bits in a lane, else two words. acc +
 * those of w unsigned, a signed (vi_bytes_dot); of w signed, a unsigned (vi_bytes_dot_signed). */
#if defined(__AVX512VNNI__)
#define V_BYTE_SUM_BITS 32
VI_FN vi_bytes_dot(vi acc, vi w, vi a) {
    __asm__("vpdpbusd %[a], %[w], %[acc]" : [acc] "+v"(acc) : [w] "v"(w), [a] "v"(a));
    return acc;
}
VI_FN vi_bytes_dot_signed(vi acc, vw w, vi a) {
    return vi_bytes_dot(acc, a, w);
}
VI_FN vi_bytes_add(vi a, vi b) {
    return _mm512_add_epi32(a, b);
}
VI_FN vi_bytes_sub(vi a, vi b) {
    return _mm512_sub_epi32(a, b);
}
VI_FN vi_bytes_times(vi a, int factor) {
    return _mm512_mullo_epi32(a, _mm512_set1_epi32(factor));
}
/* What a lane sums to. */
VI_FN vi_bytes_total(vi a) {
    return a;
}
#else
#define V_BYTE_SUM_BITS 16
VI_FN vi_bytes_dot(vi acc, vi w, vi a) {
    vi products;
    __asm__("vpmaddubsw %[a], %[w], %[products]\n\tvpaddw %[products], %[acc], %[acc]"
            : [acc] "+v"(acc), [products] "=&v"(products)
            : [w] "v"(w), [a] "v"(a));
    return acc;
}
VI_FN vi_bytes_dot_signed(vi acc, vw w, vi a) {
    return vi_bytes_dot(acc, a, w);
}
VI_FN vi_bytes_add(vi a, vi b) {
    return _mm512_add_epi16(a, b);
}
VI_FN vi_bytes_sub(vi a, vi b) {
    return _mm512_sub_epi16(a, b);
}
VI_FN vi_bytes_times(vi a, int factor) {
    return _mm512_mullo_epi16(a, _mm512_set1_epi16((int16_t)factor));
}
VI_FN vi_bytes_total(vi a) {
    return _mm512_madd_epi16(a, _mm512_set1_epi16(1));
}
#endif
/* Adds `value` to the bytes whose bit is set in bits[0..V_LANES/2): bit i of byte j is byte 8j+i. */
VI_FN vi_add_where(vi a, const uint8_t *bits, vi value) {
    __mmask64 mask;
    memcpy(&mask, bits, sizeof mask);
    return _mm512_mask_add_epi8(a, mask, a, value);
}
/* out[c][r] = lane c of in[r], any 32-bit lanes; the stride in floats. */
static inline __attribute__((always_inline)) void v_transpose(const vf in[V_LANES], float *out, int64_t out_stride) {
    __m512 a[16], b[16];
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_ps(in[i], in[i + 1]);
        a[i + 1] = _mm512_unpackhi_ps(in[i], in[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) { /* b[i+k]: column k of each 4-column lane, rows i..i+3 */
        b[i] = _mm512_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm512_shuffle_ps(a[i], a[i + 2], 0xEE);
        b[i + 2] = _mm512_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm512_shuffle_ps(a[i + 1], a[i + 3], 0xEE);
    }
    for (int k = 0; k < 4; k++) { /* lanes 0..3 hold columns k, 4+k, 8+k, 12+k */
        const __m512 low = _mm512_shuffle_f32x4(b[k], b[4 + k], 0x44),
                     high = _mm512_shuffle_f32x4(b[k], b[4 + k], 0xEE);
        const __m512 low2 = _mm512_shuffle_f32x4(b[8 + k], b[12 + k], 0x44);
        const __m512 high2 = _mm512_shuffle_f32x4(b[8 + k], b[12 + k], 0xEE);
        _mm512_storeu_ps(out + k * out_stride, _mm512_shuffle_f32x4(low, low2, 0x88));
        _mm512_storeu_ps(out + (4 + k) * out_stride, _mm512_shuffle_f32x4(low, low2, 0xDD));
        _mm512_storeu_ps(out + (8 + k) * out_stride, _mm512_shuffle_f32x4(high, high2, 0x88));
        _mm512_storeu_ps(out + (12 + k) * out_stride, _mm512_shuffle_f32x4(high, high2, 0xDD));
    }
}
/* out[k] lane r: dword k of the 16 bytes of row r. */
static inline __attribute__((always_inline)) void v_quads(const uint8_t *in, int64_t stride_bytes, vi out[4]) {
    vi a[4]; /* a[i]: row 4j+i in 128-bit lane j */
    for (int i = 0; i < 4; i++) {
        const uint8_t *row = in + i * stride_bytes;
        a[i] = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)row));
        a[i] = _mm512_inserti32x4(a[i], _mm_loadu_si128((const __m128i *)(row + 4 * stride_bytes)), 1);
        a[i] = _mm512_inserti32x4(a[i], _mm_loadu_si128((const __m128i *)(row + 8 * stride_bytes)), 2);
        a[i] = _mm512_inserti32x4(a[i], _mm_loadu_si128((const __m128i *)(row + 12 * stride_bytes)), 3);
    }
    const vi low01 = _mm512_unpacklo_epi32(a[0], a[1]), low23 = _mm512_unpacklo_epi32(a[2], a[3]);
    const vi high01 = _mm512_unpackhi_epi32(a[0], a[1]), high23 = _mm512_unpackhi_epi32(a[2], a[3]);
    out[0] = _mm512_unpacklo_epi64(low01, low23);
    out[1] = _mm512_unpackhi_epi64(low01, low23);
    out[2] = _mm512_unpacklo_epi64(high01, high23);
    out[3] = _mm512_unpackhi_epi64(high01, high23);
}
/* 16 bytes, as vi_lookup takes them. */
VI_FN vi_load_table(const void *p) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p));
}
/* Each byte of `index`, at most 15, becomes the byte of the table in that place. */
VI_FN vi_lookup(vi table, vi index) {
    return _mm512_shuffle_epi8(table, index);
}
/* Byte i of lane r becomes byte i * V_LANES + r. */
VI_FN vi_planes(vi a) {
    const vi in_lanes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    const vi order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, _mm512_shuffle_epi8(a, in_lanes));
}
/* Half i of lane r becomes half i * V_LANES + r. */
VI_FN vi_halves(vi a) {
    const vi in_lanes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), _mm512_shuffle_epi8(a, in_lanes));
}
/* The top bit of each byte, as vi_add_where takes them. */
static inline __attribute__((always_inline)) void vi_store_bits(uint8_t *bits, vi a) {
    const __mmask64 mask = _mm512_movepi8_mask(a);
    memcpy(bits, &mask, sizeof mask);
}
/* 16 floats, scaled and rounded to nearest even, split into (high << bits) + low, low in [-2^(bits-1), 2^(bits-1)).
 * Returns the sum of the 16 integers. */
static inline __attribute__((always_inline)) int32_t v_split16(const float *x, float scale, int bits, int8_t *high,
                                                               int8_t *low) {
    const vi q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), _mm512_set1_ps(scale)));
    const vi top = _mm512_srai_epi32(_mm512_add_epi32(q, _mm512_set1_epi32(1 << (bits - 1))), (unsigned)bits);
    _mm_storeu_si128((__m128i *)high, _mm512_cvtepi32_epi8(top));
    _mm_storeu_si128((__m128i *)low,
                     _mm512_cvtepi32_epi8(_mm512_sub_epi32(q, _mm512_slli_epi32(top, (unsigned)bits))));
    return _mm512_reduce_add_epi32(q);
}

/* 32 floats, scaled and rounded to nearest even, as words of 16 bits, those of every four as 0 2 1 3; returns the sum
 * of the integers. */
static inline __attribute__((always_inline)) int32_t v_round32(const float *x, float scale, int16_t *out) {
    const __m256i order =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
    const vf s = vf_set1(scale);
    vi q[2];
    for (int i = 0; i < 2; i++) {
        q[i] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16 * i), s));
        _mm256_storeu_si256((__m256i *)(out + 16 * i), _mm256_shuffle_epi8(_mm512_cvtepi32_epi16(q[i]), order));
    }
    return _mm512_reduce_add_epi32(_mm512_add_epi32(q[0], q[1]));
}

/* A lane of vi_bytes_dot with weights of 1 and 16 integers: their sum, or two words, of the columns 0 and 1 of every
 * four, and of 2 and 3. */
static inline __attribute__((always_inline)) int32_t v_bytes_sum16(vi q) {
#if defined(__AVX512VNNI__)
    return _mm512_reduce_add_epi32(q);
#else
    const vi second = _mm512_maskz_mov_epi32(0xCCCC, q), first = _mm512_sub_epi32(q, second);
    return (int32_t)((uint32_t)_mm512_reduce_add_epi32(second) << 16 |
                     ((uint32_t)_mm512_reduce_add_epi32(first) & 0xFFFF));
#endif
}

/* 32 floats, scaled and rounded to nearest even, as bytes. Each half of 16 leaves its v_bytes_sum16 in sum16. Returns
 * the sum of all. */
static inline __attribute__((always_inline)) int32_t v_round32_bytes(const float *x, float scale, int8_t *out,
                                                                     int32_t *sum16) {
    const vf s = vf_set1(scale);
    vi q[2];
    for (int i = 0; i < 2; i++) {
        q[i] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16 * i), s));
        _mm_storeu_si128((__m128i *)(out + 16 * i), _mm512_cvtepi32_epi8(q[i]));
        sum16[i] = v_bytes_sum16(q[i]);
    }
    return _mm512_reduce_add_epi32(_mm512_add_epi32(q[0], q[1]));
}

#endif
