/* The selective scan of Mamba: scan.cuh says how the work is split.
 *
 * Where few channels would leave a GPU idle, long sequences are cut into segments that are scanned at once. The first
 * of two kernels finds what each adds to the states, as if they had been zero before, and the sum of its steps, which
 * tells how much is left of what they were; the second has from these the states before each segment, and scans again
 * for y. Shorter sequences are scanned whole, by the second. */
#include "scan.cuh"

struct ssm_scan_args {
    u32 struct_size, flags;
    view x, dt, a, b, c, d, z, state, seq_start, slot, y, state_out;
};

struct given_dt {
    const view &dt;
    __device__ __forceinline__ void begin(const sequence &, i64, chunk_memory &) const {
    }
    __device__ __forceinline__ float of(i64 row, i64 channel, bool is_there) const {
        return element(dt, row, channel, is_there);
    }
};

__device__ __forceinline__ scan_tensors tensors_of(const ssm_scan_args &a) {
    return scan_tensors{a.x, a.a, a.b, a.c, a.d, a.z, a.state, a.seq_start, a.slot, a.y, a.state_out};
}

#ifndef SEGMENT
extern "C" __global__ void __launch_bounds__(THREADS) ssm_scan(run run, ssm_scan_args a) {
    scan_tile(run, tensors_of(a), given_dt{a.dt});
}
#else

/* What a segment does to a tile's states. The last of a sequence has the states before the first in its place. */
struct carry {
    float h[STATES][TILE], steps[TILE];
};

struct segment {
    sequence whole, part;
    i64 index, count; /* of those of the sequence */
    carry *first;     /* of the sequence's, each tiles apart */
};

/* The segment that a block has of a tile; false if it has none. A long sequence holds a multiple of LONG of its own,
 * so that its carries can begin where the rows before it say. */
__device__ __forceinline__ bool find_segment(const run &run, const ssm_scan_args &a, segment *s) {
    const i64 n_sequences = live_rows(run, a.slot), rows = live_rows(run, a.x), n_slots = a.state.shape[0];
    if (n_sequences == 0) return false;
    if (blockIdx.x < n_sequences && blockIdx.y == 0 && threadIdx.x == 0) {
        read_sequence(run, a.seq_start, a.slot, blockIdx.x, rows, n_slots, &s->whole);
    }
    const chunk found = find_chunk(a.seq_start, n_sequences, SEGMENT, blockIdx.x);
    if (!read_sequence(run, a.seq_start, a.slot, found.sequence, rows, n_slots, &s->whole)) return false;
    const sequence &q = s->whole;
    const bool is_long = q.n_tokens >= LONG;
    const i64 before = found.index * SEGMENT;
    s->index = found.index;
    s->count = is_long ? (q.n_tokens + SEGMENT - 1) / SEGMENT : 1;
    s->part = q;
    if (is_long) s->part = sequence{q.from + before, min(q.n_tokens - before, (i64)SEGMENT), q.slot};
    s->first = (carry *)run.workspace + (q.from / SEGMENT + q.from / LONG) * gridDim.y + blockIdx.y;
    return s->index >= 0 && s->index < s->count;
}

extern "C" __global__ void __launch_bounds__(THREADS) ssm_scan_carries(run run, ssm_scan_args a) {
    __shared__ chunk_memory memory;
    segment s;
    float h[OWN];
    if (!find_segment(run, a, &s) || s.count == 1) return;
    const scan_tensors tensors = tensors_of(a);
    const own_channel o = own_channel_of(tensors, blockIdx.y);
    carry &mine = s.first[s.index * gridDim.y];
    if (s.index == s.count - 1) {
        load_states(o, at<float>(a.state, s.whole.slot, o.tile), h);
        store_states(o, h, (float *)mine.h);
        return;
    }
#pragma unroll
    for (int j = 0; j < OWN; j++) h[j] = 0;
    const float steps = scan_tokens<false>(tensors, given_dt{a.dt}, s.part, o, memory, h);
    store_states(o, h, (float *)mine.h);
    if (o.n == 0) mine.steps[o.lane] = steps;
}

extern "C" __global__ void __launch_bounds__(THREADS) ssm_scan_segments(run run, ssm_scan_args a) {
    __shared__ chunk_memory memory;
    segment s;
    float h[OWN], added[OWN];
    if (!find_segment(run, a, &s)) return;
    const scan_tensors tensors = tensors_of(a);
    const own_channel o = own_channel_of(tensors, blockIdx.y);
    const carry *last = &s.first[(s.count - 1) * gridDim.y];
    load_states(o, s.count == 1 ? at<float>(a.state, s.whole.slot, o.tile) : (const float *)last->h, h);
    for (i64 i = 0; i < s.index; i++) {
        const carry &before = s.first[i * gridDim.y];
        load_states(o, (const float *)before.h, added);
#pragma unroll
        for (int j = 0; j < OWN; j++) h[j] = exp2_of(before.steps[o.lane] * o.rate[j]) * h[j] + added[j];
    }
    scan_tokens<true>(tensors, given_dt{a.dt}, s.part, o, memory, h);
    if (s.index == s.count - 1) store_states(o, h, at<float>(a.state_out, s.whole.slot, o.tile));
}
#endif
