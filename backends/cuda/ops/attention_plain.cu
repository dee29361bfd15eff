/* Attention over the keys and values of the batch itself, for training: see attention_tiles.cuh. */
#include "attention_tiles.cuh"

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
    const i64 rows = live_rows(run, a.q);
    const batch b = batch_of(a.seq_start, nullptr, a.seq_start.shape[0] - 1, rows);
    const tile_args of_tiles = {a.q, a.y, a.lse, a.scale, a.window};
    block_rows r;
    if (blockIdx.x == 0 && blockIdx.y == 0) check_batch(run, b, rows, 0);
    if (!find_rows(b, a.seq_start, TILE_TOKENS, TILE_HEADS, SHARED, &r)) return;
    const i64 begin = b.seq_start[r.sequence];
    begin_tiles(of_tiles, r, (int)(r.first_token - begin + threadIdx.x) + 1, m);
    attend_tiles<ACT, ACT, IS_ALIGNED>(of_tiles, r, packed_rows{a.k, begin, r.g}, packed_rows{a.v, begin, r.g}, m);
}

extern "C" __global__ void __launch_bounds__(TILE_THREADS, 1) attention_plain(run run, attention_plain_args a) {
    tiles<true>(run, a);
}
extern "C" __global__ void __launch_bounds__(TILE_THREADS, 1)
    attention_plain_unaligned(run run, attention_plain_args a) {
    tiles<false>(run, a);
}
