/* The greatest of many elements: what argmax answers, and what sample begins with. */
#ifndef NLM_CUDA_GREATEST_CUH
#define NLM_CUDA_GREATEST_CUH

#include "device.cuh"

struct candidate {
    float value;
    int index;
};

/* Less than every element: what is left of a row without numbers. */
__device__ __forceinline__ candidate nothing() {
    return candidate{__uint_as_float(0xff800000u), 0x7fffffff};
}

/* More than every number: a row with it has no greatest. Its index is less than all. */
__device__ __forceinline__ candidate spoiled() {
    return candidate{__uint_as_float(0x7f800000u), -1};
}

/* Element i, which spoils the row if it is none of the finite numbers. */
__device__ __forceinline__ candidate finite(float v, int i) {
    const bool is_number = (__float_as_uint(v) & 0x7f800000u) != 0x7f800000u;
    return is_number ? candidate{v, i} : spoiled();
}

/* Of equals the first. A NaN is greater than nothing. */
__device__ __forceinline__ candidate better(candidate a, candidate b) {
    return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
}

__device__ __forceinline__ candidate warp_best(candidate best) {
#pragma unroll
    for (int o = 16; o > 0; o /= 2) {
        const float value = __shfl_xor_sync(0xffffffffu, best.value, o);
        const int index = __shfl_xor_sync(0xffffffffu, best.index, o);
        best = better(best, candidate{value, index});
    }
    return best;
}

#endif
