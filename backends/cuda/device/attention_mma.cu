/* Attention over a paged cache of halves for many rows of a sequence, on tensor cores. As in attention_tiles.cuh a
 * block takes tokens of a sequence with the heads that share keys and values, 64 pairs of them, 16 a warp, and tiles
 * begin at multiples of 64 positions. Queries and sums stay in registers; values come into shared memory while scores
 * are worked out, and the next keys while values are added. Queries and weights are rounded to halves. */
#include "attention.cuh"
#include "attention_args.cuh"
#include "mma.cuh"

#if __CUDA_ARCH__ >= 800 /* the host knows */

#define MMA_THREADS 128
#define ROWS        64
#define TILE        64
#define TILE_HEADS  (SHARED < ROWS ? SHARED : ROWS) /* of a block */
#define TILE_TOKENS (ROWS / TILE_HEADS)
#define PADDED      ((HEAD_SIZE + 15) / 16 * 16)
#define STRIDE      ((PADDED < TILE ? TILE : PADDED) + 8) /* of a row in shared memory: 8 rows are in all banks */
#define STEPS       (PADDED / 16)                         /* of 16 columns */
#define PIECES      (HEAD_SIZE / 8)

struct mma_memory {
    f16 keys[TILE][STRIDE], values[TILE][STRIDE];
    i64 place[2][2][TILE]; /* of a tile by turns: its keys and its values, from the cache's first byte; -1: none */
    int end[TILE_TOKENS], least_first, greatest_first, least_end, greatest_end;
};

/* Of a lane: rows pair_of(0) and pair_of(1), of whose sums it has columns as mma.cuh says. */
struct mma_sums {
    int first[2], end[2];
    float scale[2]; /* of a score, in powers of two */
    float greatest[2], weight[2], value[2 * STEPS][4];
};

__device__ __forceinline__ int pair_of(int i) {
    return (int)threadIdx.x / 32 * 16 + i * 8 + (int)threadIdx.x % 32 / 4;
}

/* What the block's tokens see. */
__device__ __forceinline__ void find_positions(const run &run, const attention_args &a, const block_rows &r, int slot,
                                               mma_memory &m) {
    if (threadIdx.x == 0) {
        m.least_first = m.least_end = 0x7fffffff;
        m.greatest_first = m.greatest_end = 0;
    }
    if (PADDED > HEAD_SIZE) { /* by 8 halves */
        f16(*rows)[STRIDE] = threadIdx.x < TILE ? m.keys : m.values;
        *(uint4 *)&rows[threadIdx.x % TILE][HEAD_SIZE] = uint4{};
    }
    __syncthreads();
    if ((int)threadIdx.x < r.n_tokens) {
        const i64 token = r.first_token + threadIdx.x;
        const int last = ((const int *)a.pos.data)[token];
        const i64 page = page_of(run, a.block_table, slot, last, a.k_cache.shape[2], a.k_cache.shape[0], token);
        const int end = page >= 0 ? last + 1 : 0, first = first_seen(end, a.window);
        m.end[threadIdx.x] = end;
        atomicMax(&m.greatest_end, end);
        atomicMin(&m.least_end, end);
        atomicMax(&m.greatest_first, first);
        if (end > 0) atomicMin(&m.least_first, first);
    }
    __syncthreads();
}

/* A lane's numbers of a row, as halves of at most 2, and the factor of its scores: what is left of them is lost to
 * neither end of what a half holds. */
__device__ __forceinline__ void load_query(const attention_args &a, const block_rows &r, int i, mma_sums &sums,
                                           u32 (&q)[STEPS][4]) {
    const int pair = pair_of(i), lane = (int)threadIdx.x % 4;
    const bool is_there = is_row<TILE_HEADS>(r, pair);
    const ACT *from = at<const ACT>(a.q, r.first_token + pair / TILE_HEADS, r.first_head + pair % TILE_HEADS);
    float element[STEPS][4], greatest = 0;
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int c = 16 * s + j / 2 * 8 + 2 * lane + j % 2;
            element[s][j] = is_there && c < HEAD_SIZE ? to_float(from[c]) : 0;
            greatest = fmaxf(greatest, fabsf(element[s][j]));
        }
    }
    greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, 1));
    greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, 2));
    const u32 exponent = min(max(__float_as_uint(greatest) >> 23, 1u), 253u);
    const float down = __uint_as_float((254 - exponent) << 23);
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
        q[s][i] = halves(element[s][0] * down, element[s][1] * down);
        q[s][i + 2] = halves(element[s][2] * down, element[s][3] * down);
    }
    sums.scale[i] = __uint_as_float(exponent << 23) * a.scale * LOG2_E;
}

/* Where the rows of a tile stand: a thread looks for one. */
__device__ __forceinline__ void find_places(const run &run, const attention_args &a, const block_rows &r,
                                            const finder &f, int tile, i64 (*out)[TILE], const mma_memory &m) {
    const int which = (int)threadIdx.x / TILE, pos = tile + (int)threadIdx.x % TILE;
    const view &cache = which == 0 ? a.k_cache : a.v_cache;
    spot s = {-1, 0};
    if (pos >= m.least_first) s = find_spot(run, f, r.first_token, pos, m.greatest_end);
    const i64 place = s.page * cache.stride[0] + r.g * cache.stride[1] + s.row * cache.stride[2];
    out[which][threadIdx.x % TILE] = s.page >= 0 ? place : -1;
}

/* Keys or values of a tile on their way; zeros where there are none. */
__device__ __forceinline__ void begin_loading(const view &cache, const i64 (&places)[TILE], f16 (*rows)[STRIDE]) {
#pragma unroll 4
    for (int i = (int)threadIdx.x; i < TILE * PIECES; i += MMA_THREADS) {
        const i64 place = places[i / PIECES];
        const char *from = (const char *)cache.data + (place >= 0 ? place + i % PIECES * 16 : 0);
        copy_ahead(&rows[i / PIECES][i % PIECES * 8], from, place >= 0);
    }
}

/* Whether the pieces that this thread had brought are numbers all: no half has all bits of its exponent. */
__device__ __forceinline__ bool are_numbers(const f16 (*rows)[STRIDE]) {
    u32 spoilt = 0;
    for (int i = (int)threadIdx.x; i < TILE * PIECES; i += MMA_THREADS) {
        const uint4 piece = *(const uint4 *)&rows[i / PIECES][i % PIECES * 8];
        spoilt |= (piece.x & 0x7c007c00u) + 0x04000400u;
        spoilt |= (piece.y & 0x7c007c00u) + 0x04000400u;
        spoilt |= (piece.z & 0x7c007c00u) + 0x04000400u;
        spoilt |= (piece.w & 0x7c007c00u) + 0x04000400u;
    }
    return (spoilt & 0x80008000u) == 0;
}

__device__ __forceinline__ void score_tile(const mma_memory &m, const u32 (&q)[STEPS][4], float (&out)[TILE / 8][4]) {
    const int lane = (int)threadIdx.x % 32, row = lane % 8 + lane / 16 * 8, column = lane / 8 % 2 * 8;
#pragma unroll
    for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
        for (int j = 0; j < 4; j++) out[n][j] = 0;
    }
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
#pragma unroll
        for (int n = 0; n < TILE / 8; n += 2) {
            u32 keys[4];
            load_matrices(keys, &m.keys[n * 8 + row][s * 16 + column]);
            multiply(out[n], q[s], keys[0], keys[1]);
            multiply(out[n + 1], q[s], keys[2], keys[3]);
        }
    }
}

/* Scores become weights; at an edge, -0 where a row does not see a position. */
__device__ __forceinline__ void weigh_tile(int tile, bool is_edge, float (&score)[TILE / 8][4], mma_sums &sums) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float greatest = NO_SCORE;
        u32 hidden = 0;
#pragma unroll
        for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
            for (int j = 0; j < 2; j++) {
                const int pos = tile + n * 8 + (int)threadIdx.x % 4 * 2 + j;
                const bool is_seen = !is_edge || (pos >= sums.first[i] && pos < sums.end[i]);
                score[n][2 * i + j] *= sums.scale[i];
                if (is_seen)
                    greatest = fmaxf(greatest, score[n][2 * i + j]);
                else
                    hidden |= 1u << (2 * n + j);
            }
        }
        greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, 1));
        greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, 2));
        greatest = fmaxf(greatest, sums.greatest[i]);
        const float shrink = exp2_fast(sums.greatest[i] - greatest);
        sums.greatest[i] = greatest;
        sums.weight[i] *= shrink;
#pragma unroll
        for (int n = 0; n < 2 * STEPS; n++) {
            sums.value[n][2 * i] *= shrink;
            sums.value[n][2 * i + 1] *= shrink;
        }
#pragma unroll
        for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
            for (int j = 0; j < 2; j++) {
                float *weight = &score[n][2 * i + j];
                *weight = hidden >> (2 * n + j) & 1 ? -0.0f : exp2_fast(*weight - greatest);
                sums.weight[i] += *weight;
            }
        }
    }
}

__device__ __forceinline__ void add_tile(const mma_memory &m, const float (&weight)[TILE / 8][4], mma_sums &sums) {
    const int lane = (int)threadIdx.x % 32, row = lane % 16, column = lane / 16 * 8;
#pragma unroll
    for (int k = 0; k < TILE / 16; k++) {
        const u32 left[4] = {halves(weight[2 * k][0], weight[2 * k][1]), halves(weight[2 * k][2], weight[2 * k][3]),
                             halves(weight[2 * k + 1][0], weight[2 * k + 1][1]),
                             halves(weight[2 * k + 1][2], weight[2 * k + 1][3])};
#pragma unroll
        for (int n = 0; n < 2 * STEPS; n += 2) {
            u32 values[4];
            load_matrices_transposed(values, &m.values[k * 16 + row][n * 8 + column]);
            multiply(sums.value[n], left, values[0], values[1]);
            multiply(sums.value[n + 1], left, values[2], values[3]);
        }
    }
}

/* The same where values are not numbers, which rows that do not see them must not meet: 0 times NaN is NaN. Weights
 * go through the memory of the keys, in which a warp has its rows for itself. */
__device__ __forceinline__ void add_spoilt_tile(mma_memory &m, const float (&weight)[TILE / 8][4], mma_sums &sums) {
    const int lane = (int)threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 2; i++) {
#pragma unroll
        for (int n = 0; n < TILE / 8; n++) {
            *(u32 *)&m.keys[pair_of(i)][n * 8 + 2 * lane] = halves(weight[n][2 * i], weight[n][2 * i + 1]);
        }
    }
    __syncwarp();
    for (int k = 0; k < TILE; k++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const f16 w = m.keys[pair_of(i)][k];
            if (w.bits == 0x8000) continue;
#pragma unroll
            for (int n = 0; n < 2 * STEPS; n++) {
                const f16 *v = &m.values[k][n * 8 + 2 * lane];
                sums.value[n][2 * i] = fmaf(to_float(w), to_float(v[0]), sums.value[n][2 * i]);
                sums.value[n][2 * i + 1] = fmaf(to_float(w), to_float(v[1]), sums.value[n][2 * i + 1]);
            }
        }
    }
}

__device__ __forceinline__ void finish(const attention_args &a, const block_rows &r, mma_sums &sums) {
    const int lane = (int)threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int pair = pair_of(i), head = r.first_head + pair % TILE_HEADS;
        const i64 token = r.first_token + pair / TILE_HEADS;
        sums.weight[i] += __shfl_xor_sync(0xffffffffu, sums.weight[i], 1);
        sums.weight[i] += __shfl_xor_sync(0xffffffffu, sums.weight[i], 2);
        if (!is_row<TILE_HEADS>(r, pair) || sums.end[i] == 0) continue;
        ACT *y = at<ACT>(a.y, token, head);
#pragma unroll
        for (int n = 0; n < 2 * STEPS; n++) {
            const int c = n * 8 + 2 * lane;
            if (c >= HEAD_SIZE) continue;
            y[c] = from_float<ACT>(sums.value[n][2 * i] / sums.weight[i]);
            y[c + 1] = from_float<ACT>(sums.value[n][2 * i + 1] / sums.weight[i]);
        }
        if (lane > 0 || !a.lse.data) continue;
        *at<float>(a.lse, token, head) = log_of(partial{sums.greatest[i], sums.weight[i], 0});
    }
}

/* All tiles of the block's rows. At the top the keys of a tile are on their way. */
__device__ __forceinline__ void walk(const run &run, const attention_args &a, const block_rows &r, const finder &f,
                                     const u32 (&q)[STEPS][4], mma_sums &sums, mma_memory &m) {
    int turn = 0, tile = m.least_first / TILE * TILE;
    find_places(run, a, r, f, tile, m.place[0], m);
    __syncthreads();
    begin_loading(a.k_cache, m.place[0][0], m.keys);
    for (; tile < m.greatest_end; tile += TILE, turn ^= 1) {
        const bool is_edge = tile < m.greatest_first || tile + TILE > m.least_end;
        const bool is_last = tile + TILE >= m.greatest_end;
        float score[TILE / 8][4];
        wait_for_copies();
        __syncthreads();
        begin_loading(a.v_cache, m.place[turn][1], m.values);
        find_places(run, a, r, f, tile + TILE, m.place[turn ^ 1], m);
        score_tile(m, q, score);
        weigh_tile(tile, is_edge, score, sums);
        wait_for_copies();
        if (__syncthreads_and(!is_edge || are_numbers(m.values))) {
            if (!is_last) begin_loading(a.k_cache, m.place[turn ^ 1][0], m.keys);
            add_tile(m, score, sums);
        } else {
            add_spoilt_tile(m, score, sums);
            __syncthreads();
            if (!is_last) begin_loading(a.k_cache, m.place[turn ^ 1][0], m.keys);
        }
    }
}

extern "C" __global__ void __launch_bounds__(MMA_THREADS, 1) attention_mma(run run, attention_args a) {
    __shared__ __align__(16) mma_memory m; /* rows are copied 16 bytes at a time */
    const batch b = batch_of(a.seq_start, (const int *)a.slot.data, live_rows(run, a.slot), live_rows(run, a.q));
    block_rows r;
    if (!find_rows(b, a.seq_start, TILE_TOKENS, TILE_HEADS, SHARED, &r) || !is_long(b, r.sequence)) return;
    const int slot = b.slot[r.sequence];
    find_positions(run, a, r, slot, m);
    if (m.greatest_end == 0) return;
    mma_sums sums = {};
    u32 q[STEPS][4];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        sums.greatest[i] = NO_SCORE;
        if (is_row<TILE_HEADS>(r, pair_of(i))) sums.end[i] = m.end[pair_of(i) / TILE_HEADS];
        sums.first[i] = first_seen(sums.end[i], a.window);
        load_query(a, r, i, sums, q);
    }
    walk(run, a, r, finder_of(a.block_table, a.k_cache, slot), q, sums, m);
    finish(a, r, sums);
}

#endif
