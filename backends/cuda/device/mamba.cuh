/* Mamba's arithmetic where two kernels have to give the same bits: what is fused into one operation is said here, not
 * left to the compiler. */
#pragma once
#include "device.cuh"

/* A convolution's sum and one more tap. */
__device__ __forceinline__ float tap(float sum, float factor, float input) {
    return fmaf(factor, input, sum);
}

__device__ __forceinline__ float softplus(float v) {
    return v > 20.0f ? v : log1pf(expf(v));
}
__device__ __forceinline__ float exp2_of(float v) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(v));
    return power;
}
/* The state h a step e later; rate is a times log2(e), e_x the step times x. */
__device__ __forceinline__ float next_state(float h, float e, float rate, float e_x, float b) {
    return fmaf(exp2_of(__fmul_rn(e, rate)), h, __fmul_rn(e_x, b));
}
/* What a channel gives, of the sum over its states. */
__device__ __forceinline__ float scan_output(float sum, bool has_d, float d, float x, bool has_z, float z) {
    if (has_d) sum = fmaf(d, x, sum);
    return has_z ? __fmul_rn(sum, silu(z)) : sum;
}
