/* New keys and values into the pages of the cache: a block a token and cache. */
#include "append.cuh"

struct kv_append_args {
    u32 struct_size, flags;
    view k, v, k_cache, v_cache, pos, seq_start, slot, block_table;
};

#define THREADS 256

extern "C" __global__ void __launch_bounds__(THREADS) kv_append(run run, kv_append_args a) {
    wait_for_inputs();
    const i64 token = blockIdx.x, rows = live_rows(run, a.k), size = a.k.shape[2];
    const batch b = batch_of(a.seq_start, (const int *)a.slot.data, live_rows(run, a.slot), rows);
    if (token == 0 && blockIdx.y == 0) check_batch(run, b, rows, a.block_table.shape[0]);
    const cache_place place = cache_place_of(run, a, b, token);
    if (place.page < 0) return;
    for (i64 g = threadIdx.x / 32; g < a.k.shape[1]; g += THREADS / 32) {
        const ACT *x = blockIdx.y == 0 ? at<ACT>(a.k, token, g) : at<ACT>(a.v, token, g);
        const auto element = [x](i64 i) { return to_float(x[i]); };
        if (blockIdx.y == 0)
            append(at<KEY>(a.k_cache, place.page, g, place.row), size, element);
        else
            append(at<VALUE>(a.v_cache, place.page, g, place.row), size, element);
    }
}
