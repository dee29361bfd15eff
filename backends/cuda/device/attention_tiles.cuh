/* Attention for many rows of a sequence. A block takes tokens of one sequence with the heads that share keys and
 * values, ROWS pairs of them, and walks what they see in tiles of TILE positions, which begin at multiples of TILE: a
 * row's bits depend on its position and the window alone. Queries, a tile of keys or values and the weights are in
 * shared memory; 8 lanes share a row, each with some keys of a tile and then some columns of the values. */
#pragma once
#include "attention.cuh"
#include "cache.cuh"

/* As ../attention.h has them. */
#define TILE_THREADS 128
#define PADDED       ((HEAD_SIZE + 31) / 32 * 32)
#define ROWS_OF_LANE (PADDED <= 128 ? 4 : PADDED <= 256 ? 2 : 1)
#define ROWS         (16 * ROWS_OF_LANE)
#define TILE         (PADDED <= 128 ? 32 : PADDED <= 256 ? 16 : 8)
#define TILE_HEADS   (SHARED < ROWS ? SHARED : ROWS) /* of a block */
#define TILE_TOKENS  (ROWS / TILE_HEADS)

#define KEYS_OF_LANE   (TILE / 8)
#define VECTORS        (PADDED / 32) /* of 4 columns each, of a lane */
/* In floats: what lanes read at once is in other banks. */
#define STRIDE         (PADDED + 4)
#define WEIGHTS_STRIDE (ROWS + 4)

struct tile_args {
    view q, y, lse;
    float scale;
    int window;
};

struct tile_memory {
    float q[ROWS][STRIDE], rows[TILE][STRIDE], weights[TILE][WEIGHTS_STRIDE];
    int end[TILE_TOKENS], least_first, greatest_end; /* end: of what a token sees, 0 if it sees nothing */
};

/* Of a lane: rows pair_of(i). */
struct tile_sums {
    int first[ROWS_OF_LANE], end[ROWS_OF_LANE];
    float greatest[ROWS_OF_LANE], weight[ROWS_OF_LANE], value[ROWS_OF_LANE][4 * VECTORS];
};

__device__ __forceinline__ int pair_of(int i) {
    return i * 16 + (int)threadIdx.x / 8;
}
/* Tokens tell what they see: `end` is that of token threadIdx.x, of those there are. */
__device__ __forceinline__ void begin_tiles(const tile_args &a, const block_rows &r, int end, tile_memory &m) {
    if (threadIdx.x == 0) m.least_first = 0x7fffffff;
    if (threadIdx.x == 0) m.greatest_end = 0;
    for (int i = (int)threadIdx.x; PADDED > HEAD_SIZE && i < TILE * STRIDE; i += TILE_THREADS) {
        m.rows[i / STRIDE][i % STRIDE] = 0;
    }
    __syncthreads();
    if ((int)threadIdx.x < r.n_tokens) {
        m.end[threadIdx.x] = end;
        atomicMax(&m.greatest_end, end);
        if (end > 0) atomicMin(&m.least_first, first_seen(end, a.window));
    }
    for (int i = (int)threadIdx.x; i < ROWS * PADDED; i += TILE_THREADS) {
        const int pair = i / PADDED, c = i % PADDED;
        const i64 token = r.first_token + pair / TILE_HEADS;
        const bool is_there = c < HEAD_SIZE && is_row<TILE_HEADS>(r, pair);
        const float v = is_there ? to_float(at<const ACT>(a.q, token, r.first_head + pair % TILE_HEADS)[c]) : 0;
        m.q[pair][c] = v * a.scale * LOG2_E;
    }
    __syncthreads();
}

/* A tile of keys or values as floats, zeros where there are none. Whether all that a thread brought are numbers. */
template <class T, bool IS_ALIGNED, class S>
__device__ __forceinline__ bool load_tile(const S &source, int tile, tile_memory &m) {
    typedef reader<T, IS_ALIGNED> reader;
    constexpr int PIECES = HEAD_SIZE / reader::N;
    float spoilt = 0;
#pragma unroll 4
    for (int i = (int)threadIdx.x; i < TILE * PIECES; i += TILE_THREADS) {
        const int row = i / PIECES, piece = i % PIECES, pos = tile + row;
        const T *from = pos >= m.least_first && pos < m.greatest_end ? source.template row<T>(pos) : nullptr;
        typename reader::raw raw = {};
        float element[reader::N];
        if (from) raw = reader::load(from, piece);
        reader::decode(raw, element);
#pragma unroll
        for (int j = 0; j < reader::N; j++) {
            spoilt += 0 * element[j];
            m.rows[row][piece * reader::N + j] = element[j];
        }
    }
    return spoilt == 0;
}

/* A lane's rows by its keys: key threadIdx.x % 8 and every eighth behind it. */
__device__ __forceinline__ void score_tile(const tile_memory &m, float (&out)[ROWS_OF_LANE][KEYS_OF_LANE]) {
#pragma unroll
    for (int i = 0; i < ROWS_OF_LANE; i++) {
#pragma unroll
        for (int j = 0; j < KEYS_OF_LANE; j++) out[i][j] = 0;
    }
#pragma unroll 4
    for (int c = 0; c < PADDED; c += 4) {
        float4 q[ROWS_OF_LANE];
#pragma unroll
        for (int i = 0; i < ROWS_OF_LANE; i++) q[i] = *(const float4 *)&m.q[pair_of(i)][c];
#pragma unroll
        for (int j = 0; j < KEYS_OF_LANE; j++) {
            const float4 k = *(const float4 *)&m.rows[j * 8 + (int)threadIdx.x % 8][c];
#pragma unroll
            for (int i = 0; i < ROWS_OF_LANE; i++) {
                out[i][j] = fmaf(q[i].x, k.x, out[i][j]);
                out[i][j] = fmaf(q[i].y, k.y, out[i][j]);
                out[i][j] = fmaf(q[i].z, k.z, out[i][j]);
                out[i][j] = fmaf(q[i].w, k.w, out[i][j]);
            }
        }
    }
}

/* Scores become weights, -0 where a row does not see a position. */
__device__ __forceinline__ void weigh_tile(int tile, float (&score)[ROWS_OF_LANE][KEYS_OF_LANE], tile_sums &sums,
                                           tile_memory &m) {
    const int lane = (int)threadIdx.x % 8;
#pragma unroll
    for (int i = 0; i < ROWS_OF_LANE; i++) {
        float greatest = NO_SCORE;
        bool is_seen[KEYS_OF_LANE];
#pragma unroll
        for (int j = 0; j < KEYS_OF_LANE; j++) {
            const int pos = tile + j * 8 + lane;
            is_seen[j] = pos >= sums.first[i] && pos < sums.end[i];
            if (is_seen[j]) greatest = fmaxf(greatest, score[i][j]);
        }
#pragma unroll
        for (int o = 4; o > 0; o /= 2) greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, o));
        greatest = fmaxf(greatest, sums.greatest[i]);
        const float shrink = exp2_fast(sums.greatest[i] - greatest);
        sums.greatest[i] = greatest;
        sums.weight[i] *= shrink;
#pragma unroll
        for (int c = 0; c < 4 * VECTORS; c++) sums.value[i][c] *= shrink;
#pragma unroll
        for (int j = 0; j < KEYS_OF_LANE; j++) {
            const float weight = is_seen[j] ? exp2_fast(score[i][j] - greatest) : -0.0f;
            sums.weight[i] += weight;
            m.weights[j * 8 + lane][pair_of(i)] = weight;
        }
    }
}

/* A lane's columns: 4 that begin at 4 (threadIdx.x % 8), and those every 32 behind them. Where values are not numbers
 * (IS_SPOILT) rows that do not see them must not meet them: 0 times NaN is NaN. */
template <bool IS_SPOILT>
__device__ __forceinline__ void add_tile(const tile_memory &m, tile_sums &sums) {
#pragma unroll 2
    for (int j = 0; j < TILE; j++) {
        float4 v[VECTORS];
#pragma unroll
        for (int n = 0; n < VECTORS; n++) v[n] = *(const float4 *)&m.rows[j][n * 32 + (int)threadIdx.x % 8 * 4];
#pragma unroll
        for (int i = 0; i < ROWS_OF_LANE; i++) {
            const float weight = m.weights[j][pair_of(i)];
            if (IS_SPOILT && __float_as_uint(weight) == 0x80000000u) continue;
#pragma unroll
            for (int n = 0; n < VECTORS; n++) {
                sums.value[i][4 * n] = fmaf(weight, v[n].x, sums.value[i][4 * n]);
                sums.value[i][4 * n + 1] = fmaf(weight, v[n].y, sums.value[i][4 * n + 1]);
                sums.value[i][4 * n + 2] = fmaf(weight, v[n].z, sums.value[i][4 * n + 2]);
                sums.value[i][4 * n + 3] = fmaf(weight, v[n].w, sums.value[i][4 * n + 3]);
            }
        }
    }
}

__device__ __forceinline__ void finish_tiles(const tile_args &a, const block_rows &r, tile_sums &sums) {
    const int lane = (int)threadIdx.x % 8;
#pragma unroll
    for (int i = 0; i < ROWS_OF_LANE; i++) {
        const int pair = pair_of(i), head = r.first_head + pair % TILE_HEADS;
        const i64 token = r.first_token + pair / TILE_HEADS;
#pragma unroll
        for (int o = 4; o > 0; o /= 2) sums.weight[i] += __shfl_xor_sync(0xffffffffu, sums.weight[i], o);
        if (!is_row<TILE_HEADS>(r, pair) || sums.end[i] == 0) continue;
        ACT *y = at<ACT>(a.y, token, head);
#pragma unroll
        for (int c = 0; c < 4 * VECTORS; c++) {
            const int column = c / 4 * 32 + lane * 4 + c % 4;
            if (column < HEAD_SIZE) y[column] = from_float<ACT>(sums.value[i][c] / sums.weight[i]);
        }
        if (lane > 0 || !a.lse.data) continue;
        *at<float>(a.lse, token, head) = log_of(partial{sums.greatest[i], sums.weight[i], 0});
    }
}

/* All of a block's work, behind begin_tiles. The sources say where the row of a position is, or that it is not. */
template <class KEY_TYPE, class VALUE_TYPE, bool IS_ALIGNED, class K, class V>
__device__ __forceinline__ void attend_tiles(const tile_args &a, const block_rows &r, const K &keys, const V &values,
                                             tile_memory &m) {
    tile_sums sums = {};
#pragma unroll
    for (int i = 0; i < ROWS_OF_LANE; i++) {
        sums.greatest[i] = NO_SCORE;
        if (is_row<TILE_HEADS>(r, pair_of(i))) sums.end[i] = m.end[pair_of(i) / TILE_HEADS];
        sums.first[i] = first_seen(sums.end[i], a.window);
    }
    for (int tile = m.least_first / TILE * TILE; tile < m.greatest_end; tile += TILE) {
        float score[ROWS_OF_LANE][KEYS_OF_LANE];
        load_tile<KEY_TYPE, IS_ALIGNED>(keys, tile, m);
        __syncthreads();
        score_tile(m, score);
        weigh_tile(tile, score, sums, m);
        __syncthreads();
        const bool are_numbers = load_tile<VALUE_TYPE, IS_ALIGNED>(values, tile, m);
        if (__syncthreads_and(are_numbers))
            add_tile<false>(m, sums);
        else
            add_tile<true>(m, sums);
        __syncthreads();
    }
    finish_tiles(a, r, sums);
}
