/* What kernels of attention share: sums under a running greatest score. Scores are in powers of two, so that the
 * hardware's exponential is all there is to it. Source: Milakov & Gimelshein 2018 (online softmax). */
#pragma once
#include "batch.cuh"
#include "sequences.cuh"

#define LOG2_E 1.4426950408889634f
#define LN_2   0.6931471805599453f

/* Less than any score but -inf, and yet not so: differences of it are no NaN. */
#define NO_SCORE -3e38f

__device__ __forceinline__ float exp2_fast(float v) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(v));
    return power;
}

/* Of some positions: the greatest score, the sum of 2^(score - greatest), and that of each times one element of v. */
struct partial {
    float greatest, weight, value;
};

__device__ __forceinline__ partial no_partial() {
    return partial{NO_SCORE, 0, 0};
}

/* `total` with `next` behind it, the same bits wherever it is done. */
__device__ __forceinline__ partial fold(const partial &total, const partial &next) {
    const float greatest = fmaxf(total.greatest, next.greatest);
    const float shrink = exp2_fast(total.greatest - greatest), grow = exp2_fast(next.greatest - greatest);
    return partial{greatest, fmaf(total.weight, shrink, __fmul_rn(next.weight, grow)),
                   fmaf(total.value, shrink, __fmul_rn(next.value, grow))};
}

__device__ __forceinline__ float log_of(const partial &total) {
    return (total.greatest + log2f(total.weight)) * LN_2;
}

/* The first position that a row sees whose last is end - 1. */
__device__ __forceinline__ int first_seen(int end, int window) {
    return window > 0 && end > window ? end - window : 0;
}

/* A block's part of a batch: tokens of one sequence with heads that share keys and values, which make HEADS rows a
 * token, some maybe of no head. */
struct block_rows {
    i64 sequence, first_token;
    int n_tokens, g, first_head, n_heads;
};

/* Blocks have `tokens` each, and `heads` of the `shared` ones; later ones of a sequence see more, and come first.
 * False if there are none for this block. */
__device__ __forceinline__ bool find_rows(const batch &b, const view &seq_start, int tokens, int heads, int shared,
                                          block_rows *out) {
    const i64 item = gridDim.x - 1 - blockIdx.x;
    if (b.n_seqs == 0) return false;
    const chunk c = find_chunk(seq_start, b.n_seqs, tokens, item);
    const i64 first = b.seq_start[c.sequence] + c.index * tokens;
    const i64 end = min((i64)b.seq_start[c.sequence + 1], b.n_tokens);
    if (c.index < 0 || b.seq_start[c.sequence] < 0 || first >= end) return false;
    const int parts = (shared + heads - 1) / heads, g = (int)blockIdx.y / parts, part = (int)blockIdx.y % parts;
    *out = block_rows{c.sequence,
                      first,
                      (int)min(end - first, (i64)tokens),
                      g,
                      g * shared + part * heads,
                      min(shared - part * heads, heads)};
    return true;
}

template <int HEADS>
__device__ __forceinline__ bool is_row(const block_rows &r, int pair) {
    return pair / HEADS < r.n_tokens && pair % HEADS < r.n_heads;
}
