/* Products of few rows of x with the rows of a weight, whose bytes are read once.
 *
 * A warp has two rows of a weight, or SPLIT warps share them: then their sums meet in shared memory at the end. It
 * goes along them by groups of 1,024 elements, against rows of x that all warps of the block read from shared memory.
 * Of a packed weight a lane has a block of a group, and the next group is on its way meanwhile; of others every 32nd
 * quad. The order of a sum depends on the row's length and SPLIT alone.
 *
 * Macros: ACT and W, the types; PACKED; ROWS of x at a time, 1 to 8; SPLIT. */
#pragma once
#include "packed.cuh"
#include "rows.cuh"

#define WARPS       8
#define THREADS     (32 * WARPS)
#define PAIR        2
#define GROUP       1024
#define GROUP_QUADS (GROUP / 4)
#define GROUPS      (ROWS * SPLIT < 4 ? 4 / (ROWS * SPLIT) : 1) /* of each warp that are staged at a time */
#define STAGED      ((int)(SPLIT * GROUPS * GROUP_QUADS))       /* quads of a row that are */

/* Two blocks of a multiprocessor, or one where a block of a weight's row and its successor, or the sums, take many
 * registers: none is to be without. */
#define FEW_BOUNDS __launch_bounds__(THREADS, packing<W>::PIECES < 4 && ROWS < (packing<W>::EXTRA ? 2 : 4) ? 2 : 1)

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

/* Where quad i of a group stands in shared memory, so that neither writes nor reads of a warp meet in a bank. */
__device__ __forceinline__ int staged_at(int i) {
#if PACKED
    return i % 8 * 32 + (i / 8 % 32 ^ i % 8) + i / GROUP_QUADS * GROUP_QUADS;
#else
    return i;
#endif
}

/* Quads of the rows from `from` on, zeros past their end. With a norm they are multiplied by its weights, and their
 * squares added up. */
template <bool HAS_NORM>
__device__ __forceinline__ void stage(const few_input &in, i64 from, float4 *out, float (&squares)[ROWS]) {
#pragma unroll
    for (int m = 0; m < ROWS; m++) {
        const ACT *row = (const ACT *)(in.x + m * in.stride);
#pragma unroll 4
        for (int i = threadIdx.x; i < STAGED; i += THREADS) {
            const i64 k = from + 4 * i;
            float4 v = m < in.n_rows ? quad_of(row, k, in.length, in.is_whole) : make_float4(0, 0, 0, 0);
            if (HAS_NORM) {
                const float4 w = quad_of((const f32 *)in.norm_w, k, in.length, ((u64)in.norm_w & 15) == 0);
                squares[m] = dot(v, v, squares[m]);
                v = make_float4(v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w);
            }
            out[m * STAGED + staged_at(i)] = v;
        }
    }
}

__device__ __forceinline__ void add_quad(float4 w, const float4 *x, float (&s)[ROWS]) {
#pragma unroll
    for (int m = 0; m < ROWS; m++) s[m] = dot(w, x[m * STAGED], s[m]);
}

/* A pair of rows, read group by group: fetch, then add for each. */
#if PACKED
struct pair {
    weight_row first, second;
    packed_block<W> block[PAIR];

    __device__ __forceinline__ void fetch(int group) {
        block[0] = first.block(32 * group + threadIdx.x % 32);
        block[1] = second.block(32 * group + threadIdx.x % 32);
    }
    __device__ __forceinline__ void add(int, int next, const float4 *x, sums &s) {
        const packed_block<W> of_first = block[0], of_second = block[1];
        fetch(next);
#pragma unroll
        for (int q = 0; q < 8; q++) {
            const float4 *quads = x + 32 * q + (threadIdx.x % 32 ^ q);
            add_quad(of_first.quad(q), quads, s.of[0]);
            add_quad(of_second.quad(q), quads, s.of[1]);
        }
    }
};
#else
struct pair {
    weight_row first, second;

    __device__ __forceinline__ void fetch(int) {
    }
    __device__ __forceinline__ void add(int group, int, const float4 *x, sums &s) {
        const int blocks = (int)((first.length + 31) / 32);
#pragma unroll 2
        for (int i = threadIdx.x % 32; i < GROUP_QUADS; i += 32) {
            const int b = 32 * group + i / 8;
            if (b >= blocks) break;
            add_quad(first.quad(b, i % 8), x + i, s.of[0]);
            add_quad(second.quad(b, i % 8), x + i, s.of[1]);
        }
    }
};
#endif

/* Rows n and n + 1 of w. Where there is none stands the last, whose sums nobody stores. */
__device__ __forceinline__ pair pair_of(const view &w, i64 n) {
    const i64 last = w.shape[0] - 1;
    return pair{weight_row(w, n < last ? n : last), weight_row(w, n + 1 < last ? n + 1 : last)};
}

/* s.of[r][m] += row r of the pair . x[m] in this lane's part. Every thread of a block calls it. */
template <bool HAS_NORM>
__device__ __forceinline__ void few_sums(const few_input &in, pair rows, sums &s, float (&squares)[ROWS]) {
    extern __shared__ float4 staged[];
    const int part = threadIdx.x / 32 % SPLIT, n_groups = (int)((in.length + GROUP - 1) / GROUP);
    rows.fetch(part);
    for (int base = 0; base < n_groups; base += SPLIT * GROUPS) {
        stage<HAS_NORM>(in, (i64)base * GROUP, staged, squares);
        __syncthreads();
#pragma unroll
        for (int i = 0; i < GROUPS; i++) {
            const int group = base + i * SPLIT + part;
            if (group < n_groups) rows.add(group, group + SPLIT, staged + (i * SPLIT + part) * GROUP_QUADS, s);
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
