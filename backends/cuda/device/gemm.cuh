/* Products for training, in f32 by fused multiply-adds: c[i,j] = sum_d a[i,d] b[j,d], where either factor may lie
 * with its sums along its rows or across them. A block has TILE x TILE sums; both factors go through shared memory
 * DEPTH at a time, [depth][place in the tile], the next ones being on their way from memory meanwhile. A sum is one
 * chain of multiply-adds, upwards from 0: its bits depend on nothing else.
 *
 * A factor is a type with IS_ALONG and float4 quad(i64 i, i64 d): elements [i, d to d+3] of it if it IS_ALONG, else
 * [i to i+3, d]; 0 where there is none. Macros: ACT, and TILE, 64 or 128 (../gemm.h). */
#pragma once
#include "rows.cuh"

#define GEMM_THREADS 256
#define GEMM_DEPTH   16
#define GEMM_PITCH   (TILE + 4)
#define GEMM_QUADS   (TILE * GEMM_DEPTH / 4 / GEMM_THREADS) /* of each factor that a thread brings at a time */
#define GEMM_OWN     (TILE / 16)                            /* sums of a thread, each way */
#define GEMM_BOUNDS  __launch_bounds__(GEMM_THREADS, TILE == 64 ? 2 : 1)

typedef float gemm_operand[GEMM_DEPTH][GEMM_PITCH];

/* Rows of activations, with its sums along them. */
template <class T>
struct rows_along {
    enum { IS_ALONG = 1 };
    const view &of;
    i64 rows;
    bool is_whole;
    __device__ __forceinline__ rows_along(const view &t, i64 n) : of(t), rows(n), is_whole(has_whole_quads<T>(t)) {
    }
    __device__ __forceinline__ float4 quad(i64 i, i64 d) const {
        return i < rows ? quad_of(at<const T>(of, i), d, of.shape[1], is_whole) : make_float4(0, 0, 0, 0);
    }
};

/* With its sums over the rows. */
template <class T>
struct rows_across {
    enum { IS_ALONG = 0 };
    const view &of;
    i64 rows;
    bool is_whole;
    __device__ __forceinline__ rows_across(const view &t, i64 n) : of(t), rows(n), is_whole(has_whole_quads<T>(t)) {
    }
    __device__ __forceinline__ float4 quad(i64 i, i64 d) const {
        return d < rows ? quad_of(at<const T>(of, d), i, of.shape[1], is_whole) : make_float4(0, 0, 0, 0);
    }
};

/* What a thread brings of a factor whose tile begins at `first`. */
template <class F>
struct gemm_input {
    F from;
    i64 first;
    float4 next[GEMM_QUADS];

    /* Of a quad its place in the tile and its depth. */
    static __device__ __forceinline__ int place_of(int quad) {
        return F::IS_ALONG ? quad / (GEMM_DEPTH / 4) : quad % (TILE / 4) * 4;
    }
    static __device__ __forceinline__ int depth_of(int quad) {
        return F::IS_ALONG ? quad % (GEMM_DEPTH / 4) * 4 : quad / (TILE / 4);
    }
    __device__ __forceinline__ void fetch(i64 depth) {
#pragma unroll
        for (int i = 0; i < GEMM_QUADS; i++) {
            const int quad = threadIdx.x + GEMM_THREADS * i;
            next[i] = from.quad(first + place_of(quad), depth + depth_of(quad));
        }
    }
    __device__ __forceinline__ void put(gemm_operand &out) const {
#pragma unroll
        for (int i = 0; i < GEMM_QUADS; i++) {
            const int quad = threadIdx.x + GEMM_THREADS * i, place = place_of(quad), depth = depth_of(quad);
            if (F::IS_ALONG) {
                out[depth][place] = next[i].x;
                out[depth + 1][place] = next[i].y;
                out[depth + 2][place] = next[i].z;
                out[depth + 3][place] = next[i].w;
            } else {
                *(float4 *)&out[depth][place] = next[i];
            }
        }
    }
};

/* A thread's sums: in each quarter of a tile of 128, or in a tile of 64, 4 x 4 that stand together. */
struct gemm_sums {
    float of[GEMM_OWN][GEMM_OWN];

    static __device__ __forceinline__ int row_of(int i) {
        return (int)threadIdx.x / 16 * 4 + i % 4 + i / 4 * 64;
    }
    static __device__ __forceinline__ int column_of(int j) {
        return (int)threadIdx.x % 16 * 4 + j % 4 + j / 4 * 64;
    }
    __device__ __forceinline__ void add(const gemm_operand &a, const gemm_operand &b) {
#pragma unroll
        for (int d = 0; d < GEMM_DEPTH; d++) {
            float x[GEMM_OWN], y[GEMM_OWN];
#pragma unroll
            for (int i = 0; i < GEMM_OWN; i += 4) {
                *(float4 *)&x[i] = *(const float4 *)&a[d][row_of(i)];
                *(float4 *)&y[i] = *(const float4 *)&b[d][column_of(i)];
            }
#pragma unroll
            for (int i = 0; i < GEMM_OWN; i++) {
#pragma unroll
                for (int j = 0; j < GEMM_OWN; j++) of[i][j] = fmaf(x[i], y[j], of[i][j]);
            }
        }
    }
};

/* The tile of rows from first_a and columns from first_b on, over `depth`; store(i, j, sum) is called for each of its
 * elements. Every thread of a block calls it. */
template <class A, class B, class Store>
__device__ __forceinline__ void gemm(const A &a, i64 first_a, const B &b, i64 first_b, i64 depth, Store store) {
    __shared__ alignas(16) gemm_operand operands[2][2];
    gemm_input<A> in_a = {a, first_a};
    gemm_input<B> in_b = {b, first_b};
    gemm_sums sums = {};
    in_a.fetch(0);
    in_b.fetch(0);
    int half = 0;
    for (i64 d = 0; d < depth; d += GEMM_DEPTH) {
        in_a.put(operands[half][0]);
        in_b.put(operands[half][1]);
        __syncthreads();
        in_a.fetch(d + GEMM_DEPTH);
        in_b.fetch(d + GEMM_DEPTH);
        sums.add(operands[half][0], operands[half][1]);
        half ^= 1;
    }
#pragma unroll
    for (int i = 0; i < GEMM_OWN; i++) {
#pragma unroll
        for (int j = 0; j < GEMM_OWN; j++) {
            store(first_a + gemm_sums::row_of(i), first_b + gemm_sums::column_of(j), sums.of[i][j]);
        }
    }
}
