/* The sequences of a batch and the pages of a cache, read from the small i32 tensors of an op. Numbers that are out
 * of range are told, and nothing is read or written through them. */
#pragma once
#include "device.cuh"

struct batch {
    const int *seq_start, *slot; /* slot: null where sequences have none */
    i64 n_seqs, n_tokens;        /* rows from n_tokens on are padding */
};

__device__ __forceinline__ batch batch_of(const view &seq_start, const int *slot, i64 n_seqs, i64 rows) {
    const int *starts = (const int *)seq_start.data;
    return batch{starts, slot, n_seqs, n_seqs > 0 ? min((i64)starts[n_seqs], rows) : 0};
}

/* Tells what is wrong with them: for one block of a grid. */
__device__ __forceinline__ void check_batch(const run &x, const batch &b, i64 rows, i64 n_slots) {
    for (i64 i = threadIdx.x; i <= b.n_seqs; i += blockDim.x) {
        const i64 start = b.seq_start[i], least = i > 0 ? b.seq_start[i - 1] : 0, most = i > 0 ? rows : 0;
        if (start < least || start > most) tell(x, NLM_CUDA_FAULT_SEQ_START, i, start, most);
        if (b.slot && i < b.n_seqs && (u32)b.slot[i] >= n_slots) tell(x, NLM_CUDA_FAULT_SLOT, i, b.slot[i], n_slots);
    }
}

/* The last of 0 to n-1 that `holds` is true of, as it is of all before and of none after; 0 if of none. All lanes of
 * a warp search together, 32 places at a time. */
template <class Holds>
__device__ __forceinline__ i64 last_that(i64 n, Holds holds) {
    const int lane = threadIdx.x % 32;
    i64 low = 0, high = n;
    while (high - low > 1) {
        const i64 step = (high - low + 31) / 32, place = low + lane * step;
        const u32 held = __ballot_sync(0xffffffffu, place < high && holds(place));
        low += step * (31 - __clz((int)(held | 1)));
        high = min(high, low + step);
    }
    return low;
}

/* The sequence of token t, of a batch that has one: the last that begins at t or before. Asked by whole warps. */
__device__ __forceinline__ i64 sequence_of(const batch &b, i64 t) {
    return last_that(b.n_seqs, [&](i64 s) { return b.seq_start[s] <= t; });
}

/* The page that holds a position of a sequence; -1: there is none. */
__device__ __forceinline__ i64 page_of(const run &x, const view &block_table, int slot, i64 pos, i64 page_tokens,
                                       i64 n_pages, i64 token) {
    const i64 capacity = block_table.shape[1] * page_tokens;
    if ((u32)slot >= block_table.shape[0]) return -1; /* check_batch tells */
    if (pos < 0 || pos >= capacity) {
        tell(x, NLM_CUDA_FAULT_POSITION, token, pos, capacity);
        return -1;
    }
    const int page = at<const int>(block_table, slot)[(u32)pos / (u32)page_tokens];
    if ((u32)page < n_pages) return page;
    tell(x, NLM_CUDA_FAULT_PAGE, token, page, n_pages);
    return -1;
}

/* Where a token's keys and values belong in the caches. Page -1: nowhere, as of padding and of what is out of range.
 */
struct cache_place {
    i64 page, row;
};

/* All lanes of a warp ask. */
template <class Args>
__device__ __forceinline__ cache_place cache_place_of(const run &run, const Args &a, const batch &b, i64 token) {
    if (token >= b.n_tokens) return cache_place{-1, 0};
    const i64 pos = ((const int *)a.pos.data)[token], page_tokens = a.k_cache.shape[2];
    const int slot = b.slot[sequence_of(b, token)];
    const i64 page = page_of(run, a.block_table, slot, pos, page_tokens, a.k_cache.shape[0], token);
    return cache_place{page, pos % page_tokens};
}

/* Where positions of a slot stand, for those who look up many. */
struct finder {
    const int *table;
    int page_tokens, shift; /* shift: of a power of two; else -1 */
    u32 n_pages;
};

__device__ __forceinline__ finder finder_of(const view &block_table, const view &cache, int slot) {
    const int page_tokens = (int)cache.shape[2];
    return finder{at<const int>(block_table, slot), page_tokens,
                  __popc(page_tokens) == 1 ? 31 - __clz(page_tokens) : -1, (u32)cache.shape[0]};
}

struct spot {
    int page, row; /* page -1: there is none */
};

/* Of a position that the block table has room for, if it is before `end`. */
__device__ __forceinline__ spot find_spot(const run &run, const finder &f, i64 token, int pos, int end) {
    if (pos >= end) return spot{-1, 0};
    const int block = f.shift >= 0 ? pos >> f.shift : pos / f.page_tokens;
    const int page = f.table[block];
    if ((u32)page < f.n_pages) return spot{page, pos - block * f.page_tokens};
    tell(run, NLM_CUDA_FAULT_PAGE, token, page, f.n_pages);
    return spot{-1, 0};
}
