/* Attention over the keys and values of the batch itself, for training: see attention_tiles.cuh. Later tiles of a
 * sequence see more, and are begun first. */
#include "attention_tiles.cuh"
#include "batch.cuh"
#include "sequences.cuh"

struct attention_plain_args {
    u32 struct_size, flags;
    view q, k, v, seq_start, y, lse;
    float scale;
    int window;
};

/* Rows of a sequence for attention_tiles.cuh. */
struct packed_rows {
    const view &rows;
    i64 first;
    int g;
    template <class T>
    __device__ __forceinline__ const T *row(int pos) const {
        return at<const T>(rows, first + pos, g);
    }
};

template <bool IS_ALIGNED>
__device__ __forceinline__ void tiles(const run &run, const attention_plain_args &a) {
    extern __shared__ float4 memory[];
    tile_memory &m = *(tile_memory *)memory;
    constexpr int PARTS = (SHARED + TILE_HEADS - 1) / TILE_HEADS;
    const i64 rows = live_rows(run, a.q), item = gridDim.x - 1 - blockIdx.x;
    const batch b = batch_of(a.seq_start, nullptr, a.seq_start.shape[0] - 1, rows);
    const tile_args of_tiles = {a.q, a.y, a.lse, a.scale, a.window};
    if (b.n_seqs == 0) return;
    if (item == 0 && blockIdx.y == 0) check_batch(run, b, rows, 0);
    const chunk c = find_chunk(a.seq_start, b.n_seqs, TILE_TOKENS, item);
    const i64 begin = b.seq_start[c.sequence], first = begin + c.index * TILE_TOKENS;
    const i64 end = min((i64)b.seq_start[c.sequence + 1], b.n_tokens);
    if (c.index < 0 || begin < 0 || first >= end) return;
    const int part = (int)blockIdx.y % PARTS, g = (int)blockIdx.y / PARTS;
    const tile_rows r = {first, (int)min(end - first, (i64)TILE_TOKENS), g * SHARED + part * TILE_HEADS,
                         min(SHARED - part * TILE_HEADS, TILE_HEADS)};
    begin_tiles(of_tiles, r, (int)(first - begin + threadIdx.x) + 1, m);
    attend_tiles<ACT, ACT, IS_ALIGNED>(of_tiles, r, packed_rows{a.k, begin, g}, packed_rows{a.v, begin, g}, m);
}

extern "C" __global__ void __launch_bounds__(TILE_THREADS) attention_plain(run run, attention_plain_args a) {
    tiles<true>(run, a);
}
extern "C" __global__ void __launch_bounds__(TILE_THREADS)
    attention_plain_unaligned(run run, attention_plain_args a) {
    tiles<false>(run, a);
}
