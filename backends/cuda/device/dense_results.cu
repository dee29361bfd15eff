/* What comes behind a product by cuBLASLt: the exponents of its operands are taken out, and what an op has beside the
 * product is done. A thread has four neighbours of a row.
 *
 * Macro: ACT. The results of columns run.first_row on of y, run.n_rows of them, stand in f32; the exponents: [rows]
 * i32 of x, and behind them those of the columns, if shape[1] is not 0; or absent. */
#include "dense.cuh"
#include "rows.cuh"

struct matmul_args {
    u32 struct_size, flags;
    view results, exponents, bias, residual, y;
};
struct gate_up_silu_mul_args {
    u32 struct_size, flags;
    view results, exponents, unused, y; /* shape[1] of the results: twice what stands between gate and other weight */
};

/* Elements j to j+3 of a part of exponents, which begins at a multiple of 16 bytes; 0 past the end. */
__device__ __forceinline__ int4 exponents_of(const int *part, i64 j, i64 n) {
    if (j + 3 < n) return *(const int4 *)(part + j);
    return make_int4(j < n ? part[j] : 0, j + 1 < n ? part[j + 1] : 0, j + 2 < n ? part[j + 2] : 0, 0);
}

/* Of row m, the results of columns j to j+3 of a part of n columns: the first, or the second of two. */
__device__ __forceinline__ float4 load_results(const view &results, const view &exponents, i64 m, i64 j, i64 n,
                                               bool is_second) {
    const f32 *row = at<f32>(results, m) + (is_second ? results.shape[1] / 2 : 0);
    const float4 v = quad_of(row, j, n, true);
    if (!exponents.data) return v;
    const int *of_rows = (const int *)exponents.data, of_row = of_rows[m];
    int4 e = make_int4(0, 0, 0, 0);
    if (exponents.shape[1]) {
        e = exponents_of(of_rows + exponents.shape[0] + (is_second ? exponents.shape[1] / 2 : 0), j, n);
    }
    return make_float4(times_power(v.x, -(of_row + e.x)), times_power(v.y, -(of_row + e.y)),
                       times_power(v.z, -(of_row + e.z)), times_power(v.w, -(of_row + e.w)));
}

__device__ __forceinline__ void store_quad(const view &y, i64 m, i64 first, i64 j, i64 n, float4 v) {
    ACT *to = at<ACT>(y, m) + first + j;
    if (sizeof(ACT) == 4 && has_whole_quads<ACT>(y) && j + 3 < n) {
        /* the compiler takes *(float4 *)to = v apart */
        asm volatile("st.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w)
                     : "memory");
        return;
    }
    if (j < n) to[0] = from_float<ACT>(v.x);
    if (j + 1 < n) to[1] = from_float<ACT>(v.y);
    if (j + 2 < n) to[2] = from_float<ACT>(v.z);
    if (j + 3 < n) to[3] = from_float<ACT>(v.w);
}

__device__ __forceinline__ float4 sum(float4 a, float4 b) {
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

extern "C" __global__ void __launch_bounds__(THREADS) dense_results(run run, matmul_args a) {
    const i64 m = blockIdx.x, n = run.n_rows, j = ((i64)blockIdx.y * THREADS + threadIdx.x) * 4;
    if (m >= live_rows(run, a.results) || j >= n) return;
    float4 v = load_results(a.results, a.exponents, m, j, n, false);
    if (a.bias.data) {
        v = sum(v, quad_of((const f32 *)a.bias.data + run.first_row, j, n, (a.bias.data & 15) == 0));
    }
    if (a.residual.data) {
        const ACT *residual = at<ACT>(a.residual, m) + run.first_row;
        v = sum(v, quad_of(residual, j, n, has_whole_quads<ACT>(a.residual)));
    }
    store_quad(a.y, m, run.first_row, j, n, v);
}

extern "C" __global__ void __launch_bounds__(THREADS) dense_gate(run run, gate_up_silu_mul_args a) {
    const i64 m = blockIdx.x, n = run.n_rows, j = ((i64)blockIdx.y * THREADS + threadIdx.x) * 4;
    if (m >= live_rows(run, a.results) || j >= n) return;
    const float4 gate = load_results(a.results, a.exponents, m, j, n, false);
    const float4 up = load_results(a.results, a.exponents, m, j, n, true);
    store_quad(a.y, m, run.first_row, j, n,
               make_float4(silu(gate.x) * up.x, silu(gate.y) * up.y, silu(gate.z) * up.z, silu(gate.w) * up.w));
}
