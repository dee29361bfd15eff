/* Sequences of a batch one by one, and in chunks. */
#pragma once
#include "batch.cuh"

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

/* The chunk that an item is, past the end of its sequence if it is none. Asked by whole warps. */
__device__ __forceinline__ chunk find_chunk(const view &seq_start, i64 n_sequences, int tokens, i64 item) {
    const i64 s = last_that(n_sequences, [&](i64 i) { return *at<int>(seq_start, i) / tokens + i <= item; });
    return chunk{s, item - *at<int>(seq_start, s) / tokens - s};
}
