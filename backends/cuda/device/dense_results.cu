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

/* Of row m and of columns j to j+3 of the part that begins at column `at` of the results. */
__device__ __forceinline__ void load_results(const view &results, const view &exponents, i64 m, i64 j, i64 n,
                                             i64 begin, i64 at_exponents, float (&out)[4]) {
    const float4 quad = quad_of((const f32 *)at<float>(results, m) + begin, j, n, true);
    out[0] = quad.x, out[1] = quad.y, out[2] = quad.z, out[3] = quad.w;
    if (!exponents.data) return;
    const int *of_rows = (const int *)exponents.data, *of_columns = of_rows + exponents.shape[0] + at_exponents;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int of_column = exponents.shape[1] && j + i < n ? of_columns[j + i] : 0;
        out[i] = times_power(out[i], -(of_rows[m] + of_column));
    }
}

__device__ __forceinline__ void store_quad(const view &y, i64 m, i64 first, i64 j, i64 n, const float (&v)[4]) {
    ACT *to = at<ACT>(y, m) + first + j;
    if (sizeof(ACT) == 4 && has_whole_quads<ACT>(y) && j + 3 < n) {
        *(float4 *)to = make_float4(v[0], v[1], v[2], v[3]);
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        if (j + i < n) to[i] = from_float<ACT>(v[i]);
    }
}

__device__ __forceinline__ void add(float4 other, float (&v)[4]) {
    v[0] += other.x, v[1] += other.y, v[2] += other.z, v[3] += other.w;
}

extern "C" __global__ void __launch_bounds__(THREADS) dense_results(run run, matmul_args a) {
    const i64 m = blockIdx.x, n = run.n_rows, j = ((i64)blockIdx.y * THREADS + threadIdx.x) * 4;
    if (m >= live_rows(run, a.results) || j >= n) return;
    float v[4];
    load_results(a.results, a.exponents, m, j, n, 0, 0, v);
    if (a.bias.data) {
        add(quad_of((const f32 *)a.bias.data + run.first_row, j, n, (a.bias.data & 15) == 0), v);
    }
    if (a.residual.data) {
        add(quad_of(at<ACT>(a.residual, m) + run.first_row, j, n, has_whole_quads<ACT>(a.residual)), v);
    }
    store_quad(a.y, m, run.first_row, j, n, v);
}

extern "C" __global__ void __launch_bounds__(THREADS) dense_gate(run run, gate_up_silu_mul_args a) {
    const i64 m = blockIdx.x, n = run.n_rows, j = ((i64)blockIdx.y * THREADS + threadIdx.x) * 4;
    if (m >= live_rows(run, a.results) || j >= n) return;
    float gate[4], up[4];
    load_results(a.results, a.exponents, m, j, n, 0, 0, gate);
    load_results(a.results, a.exponents, m, j, n, a.results.shape[1] / 2, a.exponents.shape[1] / 2, up);
#pragma unroll
    for (int i = 0; i < 4; i++) up[i] = silu(gate[i]) * up[i];
    store_quad(a.y, m, run.first_row, j, n, up);
}
