/* What the kernels of attention over the paged cache are given. */
#pragma once
#include "batch.cuh"

struct attention_args {
    u32 struct_size, flags; /* IS_TILED, and from bit 8 on the number of chunks that have room in the workspace */
    view q, k_cache, v_cache, pos, seq_start, slot, block_table, y, lse;
    float scale;
    int window;
};

#define IS_TILED 1u /* attention_tiles takes the sequences of at least LONG rows, the other kernels the others */
#define LONG     8

__device__ __forceinline__ bool is_long(const batch &b, i64 s) {
    return b.seq_start[s + 1] - b.seq_start[s] >= LONG;
}
