/* Attention over the paged cache for many rows of a sequence: see attention_tiles.cuh. Later tiles of a sequence see
 * more, and are begun first. */
#include "attention_args.cuh"
#include "attention_tiles.cuh"
#include "sequences.cuh"

/* Rows of the cache for attention_tiles.cuh. */
struct pages {
    const run &x;
    const view &cache;
    finder f;
    i64 token;
    int g;
    template <class T>
    __device__ __forceinline__ const T *row(int pos) const {
        const spot s = find_spot(x, f, token, pos, pos + 1);
        return s.page < 0 ? nullptr : at<const T>(cache, s.page, g, s.row);
    }
};

template <bool IS_ALIGNED>
__device__ __forceinline__ void tiles(const run &run, const attention_args &a) {
    extern __shared__ float4 memory[];
    tile_memory &m = *(tile_memory *)memory;
    constexpr int PARTS = (SHARED + TILE_HEADS - 1) / TILE_HEADS;
    const i64 rows = live_rows(run, a.q), page_tokens = a.k_cache.shape[2], item = gridDim.x - 1 - blockIdx.x;
    const batch b = batch_of(a.seq_start, (const int *)a.slot.data, live_rows(run, a.slot), rows);
    const tile_args of_tiles = {a.q, a.y, a.lse, a.scale, a.window};
    if (b.n_seqs == 0) return;
    const chunk c = find_chunk(a.seq_start, b.n_seqs, TILE_TOKENS, item);
    const i64 first = b.seq_start[c.sequence] + c.index * TILE_TOKENS;
    const i64 end = min((i64)b.seq_start[c.sequence + 1], b.n_tokens);
    if (c.index < 0 || first < 0 || first >= end || !is_long(b, c.sequence)) return;
    const int part = (int)blockIdx.y % PARTS, g = (int)blockIdx.y / PARTS, slot = b.slot[c.sequence];
    const tile_rows r = {first, (int)min(end - first, (i64)TILE_TOKENS), g * SHARED + part * TILE_HEADS,
                         min(SHARED - part * TILE_HEADS, TILE_HEADS)};
    int seen = 0;
    if ((int)threadIdx.x < r.n_tokens) {
        const int last = ((const int *)a.pos.data)[first + threadIdx.x];
        const i64 page =
            page_of(run, a.block_table, slot, last, page_tokens, a.k_cache.shape[0], first + threadIdx.x);
        if (page >= 0) seen = last + 1;
    }
    begin_tiles(of_tiles, r, seen, m);
    if (m.greatest_end == 0) return;
    const finder f = finder_of(a.block_table, a.k_cache, slot);
    attend_tiles<KEY, VALUE, IS_ALIGNED>(of_tiles, r, pages{run, a.k_cache, f, first, g},
                                         pages{run, a.v_cache, f, first, g}, m);
}

extern "C" __global__ void __launch_bounds__(TILE_THREADS) attention_tiles(run run, attention_args a) {
    tiles<true>(run, a);
}
extern "C" __global__ void __launch_bounds__(TILE_THREADS) attention_tiles_unaligned(run run, attention_args a) {
    tiles<false>(run, a);
}
