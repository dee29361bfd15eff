/* The shim the shared bodies are written on: one vector of f32 lanes, one of the same width in bytes
 * of integers. A backend compiles the bodies with its own flags; the flags choose the shim.
 *
 *   V_LANES        f32 lanes of a vector: 16 or 8
 *   vf, vi         float lanes, integer lanes
 *   V_Q8_OFFSET    what is added to an int8 weight when it is packed: 128 where the dot product takes
 *                  unsigned weights, 0 where it takes signed ones
 *
 * Every function is one or a few instructions; sums over lanes have a fixed order. */
#ifndef NLM_CPU_SIMD_H
#define NLM_CPU_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include "cpu/vector/simd_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "cpu/vector/simd_avx2.h"
#else
#error "no shim for this instruction set"
#endif

#define V_INLINE static inline __attribute__((always_inline))

/* exp(x): n = round(x log2 e), r = x log2 e - n, 2^r by a degree-5 polynomial with relative error
 * below 1e-7 on |r| <= 1/2 and exactly 1 at 0, scaled by 2^n. Below -87 the result is 0. */
V_INLINE vf vf_exp(vf x) {
    const vf n = vf_round(vf_mul(x, vf_set1(1.44269504088896341f)));
    /* the second term is what log2(e) loses as a float: large |x| keep their digits */
    vf r = vf_fma(x, vf_set1(1.44269504088896341f), vf_neg(n));
    r = vf_fma(x, vf_set1(1.92596299e-8f), r);
    vf p = vf_set1(1.32647272e-3f);
    p = vf_fma(p, r, vf_set1(9.67151264e-3f));
    p = vf_fma(p, r, vf_set1(5.55073374e-2f));
    p = vf_fma(p, r, vf_set1(2.40222421e-1f));
    p = vf_fma(p, r, vf_set1(6.93146978e-1f));
    p = vf_fma(p, r, vf_set1(1.0f));
    return vf_and_ge(vf_scale2(p, n), x, vf_set1(-87.0f));
}

/* x / (1 + exp(-x)) */
V_INLINE vf vf_silu(vf x) {
    const vf limited = vf_max(vf_min(x, vf_set1(87.0f)), vf_set1(-87.0f));
    return vf_div(x, vf_add(vf_set1(1.0f), vf_exp(vf_neg(limited))));
}

#endif
