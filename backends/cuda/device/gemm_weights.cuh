/* Weights as factors of gemm.cuh, decoded as they come. Macros: W, their type; PACKED. */
#pragma once
#include "gemm.cuh"
#include "packed.cuh"

template <class T>
struct is_plain {
    enum { VALUE = 0 };
};
template <>
struct is_plain<f32> {
    enum { VALUE = 1 };
};
template <>
struct is_plain<f16> {
    enum { VALUE = 1 };
};
template <>
struct is_plain<bf16> {
    enum { VALUE = 1 };
};

/* Elements k to k+3 of row n of w; 0 where there are none. k is a multiple of 4. */
__device__ __forceinline__ float4 weight_quad(const view &w, i64 n, i64 k, bool is_whole) {
    if (n >= w.shape[0] || k >= w.shape[1]) return make_float4(0, 0, 0, 0);
    if constexpr (!PACKED && is_plain<W>::VALUE) return quad_of(at<const W>(w, n), k, w.shape[1], is_whole);
    return weight_row(w, n).quad((int)(k / 32), (int)(k % 32) / 4);
}

template <class T>
__device__ __forceinline__ bool is_weight_whole(const view &w) {
    if constexpr (!PACKED && is_plain<T>::VALUE) return has_whole_quads<T>(w);
    return true;
}

/* With its sums along the rows: x w^T. */
struct weight_along {
    enum { IS_ALONG = 1 };
    const view &w;
    bool is_whole;
    __device__ __forceinline__ weight_along(const view &of) : w(of), is_whole(is_weight_whole<W>(of)) {
    }
    __device__ __forceinline__ float4 quad(i64 i, i64 d) const {
        return weight_quad(w, i, d, is_whole);
    }
};

/* With its sums over the rows: dy w. */
struct weight_across {
    enum { IS_ALONG = 0 };
    const view &w;
    bool is_whole;
    __device__ __forceinline__ weight_across(const view &of) : w(of), is_whole(is_weight_whole<W>(of)) {
    }
    __device__ __forceinline__ float4 quad(i64 i, i64 d) const {
        return weight_quad(w, d, i, is_whole);
    }
};
