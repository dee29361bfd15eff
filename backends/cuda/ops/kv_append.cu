/* New keys and values into the pages of the cache: a block a token and cache, a warp 32 elements at a time, which is
 * a block of q8_0. */
#include "batch.cuh"
#include "cache.cuh"

struct kv_append_args {
    u32 struct_size, flags;
    view k, v, k_cache, v_cache, pos, seq_start, slot, block_table;
};

#define THREADS 256

/* Element i of a row. */
template <class T>
__device__ __forceinline__ void store(T *row, i64 i, bool is_there, float v) {
    if (is_there) row[i] = from_float<T>(v);
}

/* The scale is the greatest magnitude / 127; NaN where an element is NaN or infinite. Rows are whole blocks. */
__device__ __forceinline__ void store(q8_0 *row, i64 i, bool, float v) {
    const bool is_spoilt = __any_sync(0xffffffffu, !isfinite(v));
    const float greatest = warp_max(fabsf(v)) / 127, inverse = greatest > 0 ? 1 / greatest : 0;
    const float rounded = rintf(v * inverse), nan = __uint_as_float(0x7fc00000u);
    q8_0 *block = row + i / 32;
    if (i % 32 == 0) block->scale = from_float<f16>(is_spoilt ? nan : greatest);
    block->of[i % 32] = (i8)(rounded == rounded ? (int)fminf(fmaxf(rounded, -127), 127) : 0);
}

/* Head `g` of token `token`; all lanes of a warp. */
template <class T>
__device__ __forceinline__ void append(const view &from, const view &cache, i64 token, i64 g, i64 page, i64 row) {
    const ACT *x = at<ACT>(from, token, g);
    T *y = at<T>(cache, page, g, row);
    const i64 size = from.shape[2];
    for (i64 i = threadIdx.x % 32; i - threadIdx.x % 32 < size; i += 32) {
        store(y, i, i < size, i < size ? to_float(x[i]) : 0);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) kv_append(run run, kv_append_args a) {
    const i64 token = blockIdx.x, rows = live_rows(run, a.k), page_tokens = a.k_cache.shape[2];
    const batch b = batch_of(a.seq_start, (const int *)a.slot.data, live_rows(run, a.slot), rows);
    if (token == 0 && blockIdx.y == 0) check_batch(run, b, rows, a.block_table.shape[0]);
    if (token >= b.n_tokens) return;
    const i64 pos = ((const int *)a.pos.data)[token];
    const int slot = b.slot[sequence_of(b, token)];
    const i64 page = page_of(run, a.block_table, slot, pos, page_tokens, a.k_cache.shape[0], token);
    if (page < 0) return;
    for (i64 g = threadIdx.x / 32; g < a.k.shape[1]; g += THREADS / 32) {
        if (blockIdx.y == 0)
            append<KEY>(a.k, a.k_cache, token, g, page, pos % page_tokens);
        else
            append<VALUE>(a.v, a.v_cache, token, g, page, pos % page_tokens);
    }
}
