/* The shim the shared bodies are written on: one vector of f32 lanes, one of the same width in bytes
 * of integers. A backend compiles the bodies with its own flags; the flags choose the shim. Tests compile them with
 * simd_scalar.h, whatever the flags. The shape of a shim is a header of its own, shape_*.h, which that one has too.
 *
 *   V_LANES        f32 lanes of a vector: 16 or 8
 *   vf, vi         float lanes, integer lanes
 *   V_Q8_OFFSET    what is added to an int8 weight when it is packed: 128 where the dot product takes
 *                  unsigned weights, 0 where it takes signed ones
 *   V_NIBBLE_PLANE_BITS  bits of the low byte of activations beside weights of 4 bits: 7, or 4 if that is cheaper
 *   V_FOLDS        1 where kernels fold the integer scales of super-blocks into weights or sums, see FORM_LIST; all
 *                  of a device do, or none
 *   How much its registers hold, so that the bodies know of no instruction set:
 *   V_CHUNK        vectors of a row beside 6 rows of sums, in attention_take.c
 *   V_F32_TOKENS   tokens of a tile against two panels of f32, in gemm.h
 *   V_PLAIN_SUMS   sums of gemv_plain.c, beside weights and activations
 *   V_SCAN_STATES  states of a vector of channels, beside their decay, in ssm_scan.c
 *   V_WORD_PANELS, V_WORD_TOKENS  the tile of gemm_words.h, where it is used: the shim has dot products of words
 *   V_WORD_TOGETHER  tokens of that tile whose sums and integers both have registers
 *   V_BYTE_SUM_BITS  of sums of products of bytes beside activations of 8 bits, where they are used: 32, or 16, which
 *                  weights of up to 6 bits do not fill
 *   V_BYTE_TOKENS  tokens of a tile against two panels in gemm_planes.c, where that is used
 *   V_BYTE_SUMS    sums of gemv_planes.c, where that is used; else gemv_words.c is. Dot products of bytes or of words
 *
 * Every function is one or a few instructions; sums over lanes have a fixed order. */
#ifndef NLM_CPU_SIMD_H
#define NLM_CPU_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(NLM_SCALAR_SHIM)
#include "cpu/vector/simd_scalar.h"
#elif defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include "cpu/vector/simd_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "cpu/vector/simd_avx2.h"
#elif defined(__aarch64__) && defined(__ARM_NEON)
#include "cpu/vector/simd_neon.h"
#else
#error "no shim for this instruction set"
#endif

#define V_LINE 16 /* floats of a line of the caches */
#ifndef V_INLINE
#define V_INLINE static inline __attribute__((always_inline))
#endif

/* 2^r for |r| <= 1/2, times 2^n: degree 5, relative error below 1e-7, exactly 1 at 0. */
V_INLINE vf vf_exp2_parts(vf r, vf n) {
    vf p = vf_set1(1.32647272e-3f);
    p = vf_fma(p, r, vf_set1(9.67151264e-3f));
    p = vf_fma(p, r, vf_set1(5.55073374e-2f));
    p = vf_fma(p, r, vf_set1(2.40222421e-1f));
    p = vf_fma(p, r, vf_set1(6.93146978e-1f));
    p = vf_fma(p, r, vf_set1(1.0f));
    return vf_scale2(p, n);
}

/* 2^x; 0 below -125 */
V_INLINE vf vf_exp2(vf x) {
    const vf n = vf_round(x);
    return vf_unless_lt(vf_exp2_parts(vf_sub(x, n), n), x, vf_set1(-125.0f));
}

/* 2^x for x <= 0; at least 2^-125, which is nothing beside the rest of a state. NaN stays: max is the second where
 * one is NaN. */
V_INLINE vf vf_exp2_decay(vf x) {
    const vf limited = vf_max(vf_set1(-125.0f), x), n = vf_round(limited);
    return vf_exp2_parts(vf_sub(limited, n), n);
}

/* exp(x); 0 below -87. log2(e) has two parts, so that large |x| keep their digits. */
V_INLINE vf vf_exp(vf x) {
    const vf n = vf_round(vf_mul(x, vf_set1(1.44269504088896341f)));
    vf r = vf_fma(x, vf_set1(1.44269504088896341f), vf_neg(n));
    r = vf_fma(x, vf_set1(1.92596299e-8f), r);
    return vf_unless_lt(vf_exp2_parts(r, n), x, vf_set1(-87.0f));
}

/* log(1 + exp(x)) = max(x, 0) + log1p(u), u = exp(-|x|); log1p(u) = 2 atanh(s), s = u / (2 + u) <= 1/3,
 * by its series to s^15: relative error below 1e-7. */
V_INLINE vf vf_softplus(vf x) {
    const vf u = vf_exp(vf_neg(vf_abs(x)));
    const vf s = vf_div(u, vf_add(vf_set1(2.0f), u)), s2 = vf_mul(s, s);
    vf p = vf_set1(1.0f / 15);
    p = vf_fma(p, s2, vf_set1(1.0f / 13));
    p = vf_fma(p, s2, vf_set1(1.0f / 11));
    p = vf_fma(p, s2, vf_set1(1.0f / 9));
    p = vf_fma(p, s2, vf_set1(1.0f / 7));
    p = vf_fma(p, s2, vf_set1(1.0f / 5));
    p = vf_fma(p, s2, vf_set1(1.0f / 3));
    p = vf_fma(p, s2, vf_set1(1.0f));
    return vf_fma(vf_add(s, s), p, vf_max(vf_zero(), x)); /* max is the second where one is NaN */
}

/* exp(-x), x held within 87 of 0 */
V_INLINE vf vf_exp_of_minus(vf x) {
    return vf_exp(vf_neg(vf_max(vf_min(x, vf_set1(87.0f)), vf_set1(-87.0f))));
}

/* x / (1 + exp(-x)) */
V_INLINE vf vf_silu(vf x) {
    return vf_div(x, vf_add(vf_set1(1.0f), vf_exp_of_minus(x)));
}

/* s = 1 / (1 + exp(-x)), softplus's slope. */
V_INLINE vf vf_logistic(vf x) {
    return vf_div(vf_set1(1.0f), vf_add(vf_set1(1.0f), vf_exp_of_minus(x)));
}

/* silu's slope s (1 + x (1 - s)); 1 - s is exp(-x) s, as a difference would lose what is left of it where s is near
 * 1. */
V_INLINE vf vf_silu_slope(vf x) {
    const vf u = vf_exp_of_minus(x), s = vf_div(vf_set1(1.0f), vf_add(vf_set1(1.0f), u));
    return vf_mul(s, vf_fma(x, vf_mul(u, s), vf_set1(1.0f)));
}

#endif
