/* The sequences of a batch. */
#pragma once
#include "device.cuh"

struct sequence {
    i64 from, n_tokens; /* rows of the batch */
    int slot;
};

/* Sequence s; false if its rows or its slot are none, which is told: it is then passed over. */
__device__ __forceinline__ bool read_sequence(const run &x, const view &seq_start, const view &slot, i64 s, i64 rows,
                                              i64 n_slots, sequence *out) {
    const int from = *at<int>(seq_start, s), to = *at<int>(seq_start, s + 1);
    out->from = from;
    out->n_tokens = to - from;
    out->slot = *at<int>(slot, s);
    if (from < 0 || (s == 0 && from > 0)) {
        tell(x, NLM_CUDA_FAULT_SEQ_START, s, from, s == 0 ? 0 : rows);
    } else if (to < from || to > rows) {
        tell(x, NLM_CUDA_FAULT_SEQ_START, s + 1, to, rows);
    } else if (out->slot < 0 || out->slot >= n_slots) {
        tell(x, NLM_CUDA_FAULT_SLOT, s, out->slot, n_slots);
    } else {
        return true;
    }
    return false;
}

/* Sequences cut into chunks of some tokens, an empty one being a chunk too, when all that is known of their lengths
 * is their sum: chunk k of sequence s is item seq_start[s] / tokens + s + k. No two are one item, some items are
 * none, and there are rows / tokens + sequences of them. */
struct chunk {
    i64 sequence, index;
};

/* The chunk that an item is, past the end of its sequence if it is none. All lanes of a warp ask for the same, as
 * they look for it together: each time a 32nd of the sequences is left. */
__device__ __forceinline__ chunk find_chunk(const view &seq_start, i64 n_sequences, int tokens, i64 item) {
    i64 low = 0, high = n_sequences;
    while (high - low > 1) {
        const i64 step = (high - low + 31) / 32, s = low + threadIdx.x % 32 * step;
        const bool is_before = s == low || (s < high && *at<int>(seq_start, s) / tokens + s <= item);
        const i64 last = __popc(__ballot_sync(0xffffffffu, is_before)) - 1;
        high = low + (last + 1) * step < high ? low + (last + 1) * step : high;
        low += last * step;
    }
    return chunk{low, item - *at<int>(seq_start, low) / tokens - low};
}
