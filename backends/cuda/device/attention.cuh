/* What kernels of attention share: sums under a running greatest score. Scores are in powers of two, so that the
 * hardware's exponential is all there is to it. Source: Milakov & Gimelshein 2018 (online softmax). */
#pragma once
#include "device.cuh"

#define LOG2_E 1.4426950408889634f
#define LN_2   0.6931471805599453f

/* Less than any score but -inf, and yet not so: differences of it are no NaN. */
#define NO_SCORE -3e38f

__device__ __forceinline__ float exp2_fast(float v) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(v));
    return power;
}

/* Of some positions: the greatest score, the sum of 2^(score - greatest), and that of each times one element of v. */
struct partial {
    float greatest, weight, value;
};

__device__ __forceinline__ partial no_partial() {
    return partial{NO_SCORE, 0, 0};
}

/* `total` with `next` behind it, the same bits wherever it is done. */
__device__ __forceinline__ partial fold(const partial &total, const partial &next) {
    const float greatest = fmaxf(total.greatest, next.greatest);
    const float shrink = exp2_fast(total.greatest - greatest), grow = exp2_fast(next.greatest - greatest);
    return partial{greatest, fmaf(total.weight, shrink, __fmul_rn(next.weight, grow)),
                   fmaf(total.value, shrink, __fmul_rn(next.value, grow))};
}

__device__ __forceinline__ float log_of(const partial &total) {
    return (total.greatest + log2f(total.weight)) * LN_2;
}
