/* Rotary positions: how far a pair of elements turns. */
#pragma once
#include "device.cuh"

#define HALF_SPLIT 1u /* NLM_ROPE_* */
#define INVERSE    2u

struct rotation {
    u32 flags;
    const float *freq_factors; /* null: there are none */
    float freq_base, freq_scale;
    int n_rot;

    /* The elements of pair `pair`. */
    __device__ __forceinline__ int first(int pair) const {
        return flags & HALF_SPLIT ? pair : 2 * pair;
    }
    __device__ __forceinline__ int second(int pair) const {
        return flags & HALF_SPLIT ? pair + n_rot / 2 : 2 * pair + 1;
    }
};

template <class Args>
__device__ __forceinline__ rotation rotation_of(const Args &a) {
    return rotation{a.flags, (const float *)a.freq_factors.data, a.freq_base, a.freq_scale, a.n_rot};
}

/* How far a pair turns from one position to the next, in 2^-64 of a turn: whole turns overflow and are gone, and so
 * an integer product has the angle at any position, as exact as a double has the frequency. */
struct turn {
    u64 step;
    bool is_finite;
};

__device__ __forceinline__ turn turn_of(const rotation &r, int pair) {
    const double per_radian = 0.15915494309189535;
    double turns = per_radian * (double)r.freq_scale;
    if (pair > 0) turns *= exp2(-2.0 * pair / r.n_rot * log2((double)r.freq_base));
    if (r.freq_factors) turns /= (double)r.freq_factors[pair];
    const u64 step = __double2ull_rn((turns - floor(turns)) * 18446744073709551616.0);
    return turn{r.flags & INVERSE ? 0 - step : step, isfinite(turns)};
}

/* The cosine and the sine of a pair's angle at a position. */
__device__ __forceinline__ float2 angle_at(const turn &t, int pos) {
    const float nan = __uint_as_float(0x7fc00000u);
    float sine, cosine;
    sincospif(__ll2float_rn((i64)((u64)(i64)pos * t.step)) * 0x1p-63f, &sine, &cosine);
    return t.is_finite ? make_float2(cosine, sine) : make_float2(nan, nan);
}

/* Both elements of a pair, rotated. */
__device__ __forceinline__ float rotated_first(float first, float second, float2 angle) {
    return first * angle.x - second * angle.y;
}
__device__ __forceinline__ float rotated_second(float first, float second, float2 angle) {
    return first * angle.y + second * angle.x;
}
