/* Products of few rows of x with the rows of a weight, whose bytes are read once.
 *
 * A warp has two rows of w, or SPLIT warps share them: then their sums meet in shared memory at the end. It goes
 * along them in steps of 1,024 elements, a lane taking every 32nd quad, against rows of x that all warps of the block
 * read from shared memory. The order of a sum depends on the row's length and SPLIT alone.
 *
 * Macros: ACT and W, the types; ROWS of x at a time, 1 to 8; SPLIT. */
#pragma once
#include "rows.cuh"
#include "weights.cuh"

#define WARPS   8
#define THREADS (32 * WARPS)
#define PAIR    2
#define STEP    1024 /* elements of a row that a warp has at once */

/* The sums of a pair of rows of w with ROWS of x. */
struct sums {
    float of[PAIR][ROWS];
};

/* ROWS rows of x from `first` on, or fewer that are live; with a norm its weights. */
struct few_input {
    const u8 *x;
    i64 stride, length;
    int n_rows; /* 0 or less: none */
    bool is_whole;
    const float *norm_w;
};

__device__ __forceinline__ few_input few_input_of(const run &run, const view &x, i64 first, const float *norm_w) {
    const i64 rows = live_rows(run, x) - first;
    return few_input{(const u8 *)at<ACT>(x, first), x.stride[0], x.shape[1], (int)(rows > 32 ? 32 : rows),
                     has_whole_quads<ACT>(x),       norm_w};
}

/* Elements [from, from + SPLIT * STEP) of the rows go to shared memory, with zeros past their end. With a norm they
 * are multiplied by its weights, and their squares added up. */
template <bool HAS_NORM>
__device__ __forceinline__ void stage(const few_input &in, i64 from, float4 *out, float (&squares)[ROWS]) {
    constexpr int QUADS = SPLIT * STEP / 4;
#pragma unroll
    for (int m = 0; m < ROWS; m++) {
        const ACT *row = (const ACT *)(in.x + m * in.stride);
        for (int i = threadIdx.x; i < QUADS; i += THREADS) {
            const i64 k = from + 4 * i;
            float4 v = m < in.n_rows ? quad_of(row, k, in.length, in.is_whole) : make_float4(0, 0, 0, 0);
            if (HAS_NORM) {
                const float4 w = quad_of((const f32 *)in.norm_w, k, in.length, false);
                squares[m] = dot(v, v, squares[m]);
                v = make_float4(v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w);
            }
            out[m * QUADS + i] = v;
        }
    }
}

/* s.of[r][m] += rows[r] . x[m] in this lane's part. A row that is NULL is none. Every thread of a block calls it. */
template <bool HAS_NORM>
__device__ __forceinline__ void few_sums(const few_input &in, const u8 *const (&rows)[PAIR], sums &s,
                                         float (&squares)[ROWS]) {
    constexpr int QUADS = SPLIT * STEP / 4;
    extern __shared__ float4 staged[];
    const int lane = threadIdx.x % 32, part = threadIdx.x / 32 % SPLIT;
    for (i64 from = 0; from < in.length; from += SPLIT * STEP) {
        stage<HAS_NORM>(in, from, staged, squares);
        __syncthreads();
#pragma unroll 2
        for (int i = 0; i < STEP / 128; i++) {
            const int quad = part * (STEP / 4) + 32 * i + lane;
            const i64 k = from + 4 * quad;
            if (k >= in.length) break;
#pragma unroll
            for (int r = 0; r < PAIR; r++) {
                if (!rows[r]) continue;
                const float4 w = stored_quad<W>(rows[r], k / 32, quad % 8, in.length);
#pragma unroll
                for (int m = 0; m < ROWS; m++) s.of[r][m] = dot(w, staged[m * QUADS + quad], s.of[r][m]);
            }
        }
        __syncthreads();
    }
}

/* The whole sum of row lane / ROWS of the pair and row lane % ROWS of x, in the first of the warps that share it. */
__device__ __forceinline__ float few_sum_of_lane(sums &s) {
    __shared__ float parts[WARPS][PAIR * ROWS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float mine = 0;
#pragma unroll
    for (int r = 0; r < PAIR; r++) {
#pragma unroll
        for (int m = 0; m < ROWS; m++) {
            const float sum = warp_sum(s.of[r][m]);
            if (lane == r * ROWS + m) mine = sum;
        }
    }
    if (SPLIT == 1) return mine;
    if (lane < PAIR * ROWS) parts[warp][lane] = mine;
    __syncthreads();
    if (warp % SPLIT == 0 && lane < PAIR * ROWS) {
#pragma unroll
        for (int i = 1; i < SPLIT; i++) mine += parts[warp + i][lane];
    }
    return mine;
}

/* What the norm divides row lane % ROWS of x by, inverted, in all warps. */
__device__ __forceinline__ float few_factor_of_lane(const float (&squares)[ROWS], i64 length, float eps) {
    __shared__ float parts[ROWS][WARPS];
    float mine = 0;
#pragma unroll
    for (int m = 0; m < ROWS; m++) {
        const float sum = block_sum<THREADS>(squares[m], parts[m]);
        if (threadIdx.x % 32 % ROWS == m) mine = sum;
    }
    return 1.0f / sqrtf(mine / (float)length + eps);
}
