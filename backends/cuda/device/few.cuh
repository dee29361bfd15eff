/* Products of few rows of x with the rows of a weight, whose bytes are read once.
 *
 * A warp has two rows of a weight, or SPLIT warps share them: then their sums meet in shared memory at the end. It
 * goes along them by groups of 1,024 elements, against rows of x that all warps of the block read from shared memory.
 * Of a packed weight a lane has a block of a group, and the next group is on its way meanwhile; of others every 32nd
 * quad. The order of a sum depends on the row's length and SPLIT alone.
 *
 * Packed weights of few bits w are factor * p + offset for numbers p that are there without arithmetic (packed.cuh).
 * The sum of a block is factor * sum(p x) + offset * sum(x), and sum(x) is made once for all rows of a weight.
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
#define PITCH       33 /* places of a group's quads of one kind: a group takes eight times as many */
#define GROUPS      (ROWS * SPLIT < 4 ? 4 / (ROWS * SPLIT) : 1) /* of each warp that are staged at a time */
#define STAGED      ((int)(SPLIT * GROUPS * GROUP_QUADS))       /* quads of a row that are */

/* Whether sums of x are wanted, and of how many quads: as many as share a factor. */
#if PACKED
#define HAS_SUMS are_placed<W>
#define SUMMED   (packing<W>::BITS == 6 ? 4 : 8)
#else
#define HAS_SUMS false
#define SUMMED   8
#endif
#define STAGED_SUMS   (STAGED / SUMMED)                    /* of a row */
#define STAGED_PLACES (STAGED / GROUP_QUADS * (8 * PITCH)) /* of a row's quads */

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
    int n_rows;    /* 0 or less: none */
    bool is_whole; /* every quad can be read in one load */
    const float *norm_w;
};

__device__ __forceinline__ few_input few_input_of(const run &run, const view &x, i64 first, const float *norm_w) {
    const i64 rows = live_rows(run, x) - first;
    const bool is_whole = has_whole_quads<ACT>(x) && x.shape[1] % 4 == 0 && ((u64)norm_w & 15) == 0;
    return few_input{(const u8 *)at<ACT>(x, first), x.stride[0], x.shape[1],
                     (int)(rows > 32 ? 32 : rows),  is_whole,    norm_w};
}

/* Where quad i stands in shared memory, so that neither writes nor reads of a warp meet in a bank: by kinds, which
 * are the quads at one place of their block. */
__device__ __forceinline__ u32 staged_at(u32 i) {
    return i / GROUP_QUADS * (8 * PITCH) + (PACKED ? i % 8 * PITCH + i / 8 % 32 : i % GROUP_QUADS);
}

/* What is staged: quads [ROWS][STAGED_PLACES], and where HAS_SUMS their sums [ROWS][STAGED_SUMS]. */
struct staged {
    float4 *quads;
    float *sums;
};

/* Quad i of row m of what is staged. All threads of a warp are here with neighbours. */
template <bool HAS_NORM>
__device__ __forceinline__ void stage_quad(float4 v, float4 norm_w, int m, u32 i, const staged &out, float &square) {
    if (HAS_NORM) {
        square = dot(v, v, square);
        v = make_float4(v.x * norm_w.x, v.y * norm_w.y, v.z * norm_w.z, v.w * norm_w.w);
    }
    out.quads[m * STAGED_PLACES + staged_at(i)] = v;
    if (!HAS_SUMS) return;
    float sum = (v.x + v.y) + (v.z + v.w);
#pragma unroll
    for (int o = 1; o < SUMMED; o *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, o);
    if (i % SUMMED == 0) out.sums[m * STAGED_SUMS + i / SUMMED] = sum;
}

/* Quads of the rows from `from` on, zeros past their end. With a norm they are multiplied by its weights, and their
 * squares added up. */
template <bool HAS_NORM>
__device__ __forceinline__ void stage(const few_input &in, int from, const staged &out, float (&squares)[ROWS]) {
    constexpr int EACH = STAGED / THREADS;
    const float4 zeros = make_float4(0, 0, 0, 0);
    const int length = (int)in.length;
#pragma unroll
    for (int m = 0; m < ROWS; m++) {
        const ACT *row = (const ACT *)(in.x + m * in.stride);
        const bool is_live = m < in.n_rows;
        if (in.is_whole) {
            float4 v[EACH], w[EACH];
#pragma unroll
            for (int j = 0; j < EACH; j++) {
                const int k = from + 4 * (int)(threadIdx.x + j * THREADS);
                v[j] = k < length && is_live ? aligned_quad(row + k) : zeros;
                w[j] = HAS_NORM && k < length ? aligned_quad((const f32 *)in.norm_w + k) : zeros;
            }
#pragma unroll
            for (int j = 0; j < EACH; j++) {
                stage_quad<HAS_NORM>(v[j], w[j], m, threadIdx.x + j * THREADS, out, squares[m]);
            }
        } else {
#pragma unroll 1
            for (int j = 0; j < EACH; j++) {
                const int k = from + 4 * (int)(threadIdx.x + j * THREADS);
                const float4 v = is_live ? quad_of(row, k, length, false) : zeros;
                const float4 w = HAS_NORM ? quad_of((const f32 *)in.norm_w, k, length, false) : zeros;
                stage_quad<HAS_NORM>(v, w, m, threadIdx.x + j * THREADS, out, squares[m]);
            }
        }
    }
}

__device__ __forceinline__ void add_quad(float4 w, const float4 *x, float (&s)[ROWS]) {
#pragma unroll
    for (int m = 0; m < ROWS; m++) s[m] = dot(w, x[m * STAGED_PLACES], s[m]);
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
    __device__ __forceinline__ void add(int, int next, const staged &x, sums &s) {
        const packed_block<W> of_first = block[0], of_second = block[1];
        fetch(next);
        if constexpr (HAS_SUMS) {
#pragma unroll
            for (int part = 0; part < 8 / SUMMED; part++) {
                sums of_part = {};
#pragma unroll
                for (int q = part * SUMMED; q < (part + 1) * SUMMED; q++) {
                    add_quad(of_first.placed(q), quads_of(x, q), of_part.of[0]);
                    add_quad(of_second.placed(q), quads_of(x, q), of_part.of[1]);
                }
                const float *x_sums = x.sums + threadIdx.x % 32 * (8 / SUMMED) + part;
                add_part(of_first, part > 0, of_part.of[0], x_sums, s.of[0]);
                add_part(of_second, part > 0, of_part.of[1], x_sums, s.of[1]);
            }
        } else {
#pragma unroll
            for (int q = 0; q < 8; q++) {
                add_quad(of_first.quad(q), quads_of(x, q), s.of[0]);
                add_quad(of_second.quad(q), quads_of(x, q), s.of[1]);
            }
        }
    }
    static __device__ __forceinline__ const float4 *quads_of(const staged &x, int q) {
        return x.quads + PITCH * q + threadIdx.x % 32;
    }
    static __device__ __forceinline__ void add_part(const packed_block<W> &w, bool is_high, const float (&part)[ROWS],
                                                    const float *x_sums, float (&s)[ROWS]) {
        const float factor = w.factor(is_high), offset = w.offset(is_high);
#pragma unroll
        for (int m = 0; m < ROWS; m++) s[m] = fmaf(factor, part[m], fmaf(offset, x_sums[m * STAGED_SUMS], s[m]));
    }
};
#else
struct pair {
    weight_row first, second;

    __device__ __forceinline__ void fetch(int) {
    }
    __device__ __forceinline__ void add(int group, int, const staged &x, sums &s) {
        const int blocks = (int)((first.length + 31) / 32);
#pragma unroll 2
        for (int i = threadIdx.x % 32; i < GROUP_QUADS; i += 32) {
            const int b = 32 * group + i / 8;
            if (b >= blocks) break;
            add_quad(first.quad(b, i % 8), x.quads + i, s.of[0]);
            add_quad(second.quad(b, i % 8), x.quads + i, s.of[1]);
        }
    }
};
#endif

/* Rows n and n + 1 of w. Where there is none stands the last, whose sums nobody stores. */
__device__ __forceinline__ pair pair_of(const view &w, i64 n) {
    const int first = (int)n, last = (int)w.shape[0] - 1;
    return pair{weight_row(w, min(first, last)), weight_row(w, min(first + 1, last))};
}

/* The first of the rows is on its way when this returns, and the inputs can be read. All threads of a block call it.
 */
__device__ __forceinline__ pair begun(pair rows) {
    rows.fetch(threadIdx.x / 32 % SPLIT);
    wait_for_inputs();
    return rows;
}

/* s.of[r][m] += row r of the pair . x[m] in this lane's part. Every thread of a block calls it, with rows that have
 * begun. What was written to shared memory before can be read behind it. */
template <bool HAS_NORM>
__device__ __forceinline__ void few_sums(const few_input &in, pair rows, sums &s, float (&squares)[ROWS]) {
    extern __shared__ float4 quads[];
    __shared__ float x_sums[HAS_SUMS ? ROWS * STAGED_SUMS : 1];
    const int part = threadIdx.x / 32 % SPLIT, n_groups = (int)((in.length + GROUP - 1) / GROUP);
    for (int base = 0; base < n_groups; base += SPLIT * GROUPS) {
        stage<HAS_NORM>(in, base * GROUP, staged{quads, x_sums}, squares);
        __syncthreads();
#pragma unroll
        for (int i = 0; i < GROUPS; i++) {
            const int in_stage = i * SPLIT + part, group = base + in_stage;
            const staged x = {quads + in_stage * (8 * PITCH), x_sums + in_stage * (GROUP_QUADS / SUMMED)};
            if (group >= n_groups) break;
            rows.add(group, group + SPLIT, x, s);
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
