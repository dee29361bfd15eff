/* Products of many rows of x with the rows of a weight: a block has a tile of 64 rows of x and 64 of w, which go
 * through shared memory 32 elements at a time; a thread has 4 x 4 sums. The order of a sum depends on its length
 * alone. */
#pragma once
#include "rows.cuh"
#include "weights.cuh"

#define TILE         64
#define DEPTH        32
#define MANY_THREADS 256

/* Element k of each row of a tile beside that of the next row. */
struct slab {
    float of[DEPTH][TILE + 4];
};

__device__ __forceinline__ void put(slab &s, int quad, int row, float4 v) {
    s.of[4 * quad][row] = v.x;
    s.of[4 * quad + 1][row] = v.y;
    s.of[4 * quad + 2][row] = v.z;
    s.of[4 * quad + 3][row] = v.w;
}

template <class T>
__device__ __forceinline__ void load_x(const run &run, const view &x, i64 first, i64 from, slab &out) {
    const i64 rows = live_rows(run, x), n = x.shape[1];
    const bool is_whole = has_whole_quads<T>(x);
#pragma unroll
    for (int i = threadIdx.x; i < TILE * DEPTH / 4; i += MANY_THREADS) {
        const int row = i / (DEPTH / 4), quad = i % (DEPTH / 4);
        const bool is_live = first + row < rows;
        put(out, quad, row,
            is_live ? quad_of(at<T>(x, first + row), from + 4 * quad, n, is_whole) : make_float4(0, 0, 0, 0));
    }
}

template <class W>
__device__ __forceinline__ void load_w(const view &w, i64 first, i64 from, slab &out) {
    const i64 n = w.shape[1];
#pragma unroll
    for (int i = threadIdx.x; i < TILE * DEPTH / 4; i += MANY_THREADS) {
        const int row = i / (DEPTH / 4), quad = i % (DEPTH / 4);
        const bool is_there = first + row < w.shape[0] && from + 4 * quad < n;
        put(out, quad, row,
            is_there ? stored_quad<W>(at<u8>(w, first + row), from / DEPTH, quad, n) : make_float4(0, 0, 0, 0));
    }
}

/* sums[i][j] = x[m + i] . w[n + j], m and n being 4 times the thread's place in its tile. */
template <class T, class W>
__device__ __forceinline__ void many(const run &run, const view &x, const view &w, i64 first_m, i64 first_n,
                                     float (&sums)[4][4]) {
    __shared__ slab xs, ws;
    const int m = threadIdx.x / (TILE / 4) * 4, n = threadIdx.x % (TILE / 4) * 4;
    for (i64 from = 0; from < x.shape[1]; from += DEPTH) {
        load_x<T>(run, x, first_m, from, xs);
        load_w<W>(w, first_n, from, ws);
        __syncthreads();
#pragma unroll 8
        for (int k = 0; k < DEPTH; k++) {
            const float4 a = *(const float4 *)&xs.of[k][m], b = *(const float4 *)&ws.of[k][n];
            const float of_x[4] = {a.x, a.y, a.z, a.w}, of_w[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
            for (int i = 0; i < 4; i++) {
#pragma unroll
                for (int j = 0; j < 4; j++) sums[i][j] = fmaf(of_x[i], of_w[j], sums[i][j]);
            }
        }
        __syncthreads();
    }
}
