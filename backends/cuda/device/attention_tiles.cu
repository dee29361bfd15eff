/* Attention over the paged cache for many rows of a sequence: see attention_tiles.cuh. Later tiles of a sequence see
 * more, and are begun first. */
#include "attention_args.cuh"
#include "attention_tiles.cuh"

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
    const i64 page_tokens = a.k_cache.shape[2];
    const batch b = batch_of(a.seq_start, (const int *)a.slot.data, live_rows(run, a.slot), live_rows(run, a.q));
    const tile_args of_tiles = {a.q, a.y, a.lse, a.scale, a.window};
    block_rows r;
    if (!find_rows(b, a.seq_start, TILE_TOKENS, TILE_HEADS, SHARED, &r) || !is_long(b, r.sequence)) return;
    const int slot = b.slot[r.sequence];
    const i64 first = r.first_token;
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
    attend_tiles<KEY, VALUE, IS_ALIGNED>(of_tiles, r, pages{run, a.k_cache, f, first, r.g},
                                         pages{run, a.v_cache, f, first, r.g}, m);
}

extern "C" __global__ void __launch_bounds__(TILE_THREADS, 1) attention_tiles(run run, attention_args a) {
    tiles<true>(run, a);
}
extern "C" __global__ void __launch_bounds__(TILE_THREADS, 1) attention_tiles_unaligned(run run, attention_args a) {
    tiles<false>(run, a);
}
