/* What a block of mamba_step.cu has, and how it comes there: the parts of a block, what is where in its shared
 * memory, copies of weights and of what is small. Macros: as there. */
#pragma once
#include "cluster.cuh"
#include "packed.cuh"
#include "scan.cuh"

#define STEP_THREADS 256
#define STEP_WARPS   (STEP_THREADS / 32)
#define BLOCK_PITCH  36 /* floats from a block of 32 to the next, so that a warp's quads are in different banks */

typedef nlm_cuda_step step_args;
typedef nlm_cuda_step_layer layer_args;

enum exchange { OF_U, OF_LOW, OF_Y, OF_H, EXCHANGES };

struct step_barriers {
    u64 full[NLM_CUDA_STEP_STAGES], came[EXCHANGES];
};

/* Rows that a block has of so many. */
struct part {
    int first, n;
};

/* This block and thread, and what is where in dynamic shared memory. */
struct step_here {
    u8 *stages;
    float *h, *u, *y, *low, *z, *smalls;
    step_barriers *barriers;
    int rank, warp, lane;
    part tiles, channels, selected, outputs; /* of C / 16, C, R + 2 N, and D */
    int slot;
};

/* What is loaded a layer ahead. */
struct step_smalls {
    float *norm_w, *conv_w, *conv_bias, *dt_bias, *rate, *d, *before, *states;
};

__device__ __forceinline__ int padded(int n) {
    return (n + 31) / 32 * BLOCK_PITCH;
}
__device__ __forceinline__ int padded_at(int i) {
    return i + i / 32 * (BLOCK_PITCH - 32);
}
__device__ __forceinline__ part part_of(int rows, int rank, int n_blocks) {
    const int first = rank * rows / n_blocks;
    return part{first, (rank + 1) * rows / n_blocks - first};
}
__device__ __forceinline__ int quads_up(int n) {
    return (n + 3) & ~3;
}

__device__ __forceinline__ step_here here_of(const step_args &s, step_barriers *barriers) {
    extern __shared__ __align__(128) u8 dynamic[];
    step_here b;
    float *at = (float *)(dynamic + s.n_stages * s.stage_bytes);
    b.stages = dynamic;
    b.h = at, at += padded(s.model);
    b.u = at, at += padded(s.inner);
    b.y = at, at += padded(s.inner);
    b.low = at, at += quads_up(quads_up(s.rank) + 2 * STATES);
    b.z = at, at += TILE * s.most_tiles;
    b.smalls = at;
    b.barriers = barriers;
    b.rank = (int)cluster_rank();
    b.warp = threadIdx.x / 32;
    b.lane = threadIdx.x % 32;
    b.tiles = part_of((s.inner + TILE - 1) / TILE, b.rank, s.n_blocks);
    const int end = min(TILE * (b.tiles.first + b.tiles.n), s.inner);
    b.channels = part{TILE * b.tiles.first, end - TILE * b.tiles.first};
    b.selected = part_of(s.rank + 2 * STATES, b.rank, s.n_blocks);
    b.outputs = part_of(s.model, b.rank, s.n_blocks);
    return b;
}

__device__ __forceinline__ step_smalls smalls_of(const step_args &s, const step_here &b, int layer) {
    const int channels = TILE * s.most_tiles;
    step_smalls m;
    float *at = b.smalls + (layer & 1) * s.small_floats;
    m.norm_w = at, at += padded(s.model);
    m.states = at, at += channels * STATES;
    m.rate = at, at += channels * STATES;
    m.conv_w = at, at += channels * s.width;
    m.before = at, at += channels * (s.width - 1);
    m.conv_bias = at, at += channels;
    m.dt_bias = at, at += channels;
    m.d = at;
    return m;
}

/* ---- weights ---- */

/* What a row of a weight takes in all planes. */
template <class T>
__device__ __forceinline__ u32 bytes_of_row(int length) {
    typedef packing<T> is;
    const u32 blocks = (length + 31) / 32;
    return packed_row<T>::pitch(blocks * 16 * is::PIECES) + packed_row<T>::pitch(blocks * is::EXTRA) +
           packed_row<T>::pitch(blocks * is::SCALES) + packed_row<T>::pitch((blocks + 7) / 8 * is::SHARED);
}

/* Rows of a packed weight of `rows`, on their way to row `to_row` of what has `room` rows. */
template <class T>
__device__ __forceinline__ void begin_rows(u64 weight, int rows, int length, part of, u8 *to, int room, int to_row,
                                           u64 *barrier) {
    typedef packing<T> is;
    const u32 blocks = (length + 31) / 32;
    const u32 pitches[] = {packed_row<T>::pitch(blocks * 16 * is::PIECES), packed_row<T>::pitch(blocks * is::EXTRA),
                           packed_row<T>::pitch(blocks * is::SCALES),
                           packed_row<T>::pitch((blocks + 7) / 8 * is::SHARED)};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        if (pitches[i]) {
            begin_bulk_copy(to + (u32)to_row * pitches[i], (const u8 *)weight + (u64)of.first * pitches[i],
                            of.n * pitches[i], barrier);
        }
        weight += (u64)rows * pitches[i];
        to += room * pitches[i];
    }
}

/* By one thread: a layer's weights to its stage. */
__device__ __forceinline__ void begin_weights(const step_args &s, const step_here &b, int layer) {
    const layer_args &of = s.layer[layer];
    u64 *barrier = &b.barriers->full[layer % s.n_stages];
    u8 *stage = b.stages + layer % s.n_stages * s.stage_bytes;
    const int n = b.channels.n, most = TILE * s.most_tiles;
    barrier_expect(barrier, 2 * n * bytes_of_row<W>(s.model) + b.selected.n * bytes_of_row<W>(s.inner) +
                                n * bytes_of_row<W_DT>(s.rank) + b.outputs.n * bytes_of_row<W>(s.inner));
    begin_rows<W>(of.w_in, 2 * s.inner, s.model, b.channels, stage, 2 * most, 0, barrier);
    begin_rows<W>(of.w_in, 2 * s.inner, s.model, part{s.inner + b.channels.first, n}, stage, 2 * most, n, barrier);
    begin_rows<W>(of.w_x, s.rank + 2 * STATES, s.inner, b.selected, stage + s.x_at, s.most_selected, 0, barrier);
    begin_rows<W_DT>(of.w_dt, s.inner, s.rank, b.channels, stage + s.dt_at, most, 0, barrier);
    begin_rows<W>(of.w_out, s.model, s.inner, b.outputs, stage + s.out_at, s.most_outputs, 0, barrier);
}

/* ---- what is small ---- */

/* From global memory, of which 0 is absent: then zeros. All threads, until wait_for_copies. */
__device__ __forceinline__ void begin_floats(float *to, u64 from, int n) {
#pragma unroll 1
    for (int i = threadIdx.x; i < n; i += STEP_THREADS) {
        if (from)
            begin_copy(to + i, (const float *)from + i);
        else
            to[i] = 0.0f;
    }
}

__device__ __forceinline__ void begin_smalls(const step_args &s, const step_here &b, int layer) {
    const layer_args &of = s.layer[layer];
    const step_smalls m = smalls_of(s, b, layer);
    const u64 first = b.channels.first;
    const int n = b.channels.n;
#pragma unroll 1
    for (int i = threadIdx.x; i < s.model; i += STEP_THREADS) {
        begin_copy(m.norm_w + padded_at(i), (const float *)of.norm_w + i);
    }
    begin_floats(m.conv_w, of.conv_w + first * s.width * 4, n * s.width);
    begin_floats(m.conv_bias, of.conv_bias ? of.conv_bias + first * 4 : 0, n);
    begin_floats(m.dt_bias, of.dt_bias ? of.dt_bias + first * 4 : 0, n);
    begin_floats(m.rate, of.rate + first * STATES * 4, n * STATES);
    begin_floats(m.d, of.d ? of.d + first * 4 : 0, n);
#pragma unroll 1
    for (int j = 0; j < s.width - 1; j++) {
        begin_floats(m.before + j * n, of.conv_state + b.slot * s.conv_slot + j * s.conv_row + first * 4, n);
    }
#pragma unroll 1
    for (int t = 0; t < b.tiles.n; t++) {
        begin_floats(m.states + t * TILE * STATES,
                     of.states + b.slot * s.state_slot + (b.tiles.first + t) * s.state_tile, TILE * STATES);
    }
}
