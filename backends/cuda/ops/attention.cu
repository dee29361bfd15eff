/* Attention over the paged cache for few rows of a sequence: flash decoding. What a row sees is cut into chunks, as
 * many as its number alone says; a block takes a chunk for the heads that share keys and values, or all chunks of
 * them in turn. Some lanes of a warp, a group, hold a row of the cache between them, 16 bytes each; groups take
 * positions in turn, several at once, so that many loads are under way, and are put together at the end of a chunk.
 */
#include "attention.cuh"
#include "attention_args.cuh"
#include "cache.cuh"

#define THREADS    128
#define WARPS      (THREADS / 32)
#define MIN_CHUNK  64
#define MAX_CHUNKS 64

__host__ __device__ constexpr int min_of(int a, int b) {
    return a < b ? a : b;
}
__host__ __device__ constexpr int max_of(int a, int b) {
    return a > b ? a : b;
}
__host__ __device__ constexpr int div_up(int a, int b) {
    return (a + b - 1) / b;
}
__host__ __device__ constexpr int power_of_two_from(int n) {
    int power = 1;
    while (power < n) power *= 2;
    return power;
}

/* How a block divides its work, by the sizes of heads and what a load brings. */
template <bool IS_ALIGNED>
struct plan {
    typedef reader<KEY, IS_ALIGNED> keys;
    typedef reader<VALUE, IS_ALIGNED> values;
    static constexpr int K_PIECES = div_up(HEAD_SIZE, keys::N), V_PIECES = div_up(HEAD_SIZE, values::N);
    static constexpr int LANES = min_of(32, power_of_two_from(max_of(K_PIECES, V_PIECES))); /* of a group */
    static constexpr int K_LOADS = div_up(K_PIECES, LANES), V_LOADS = div_up(V_PIECES, LANES);
    static constexpr int K_OF_LANE = K_LOADS * keys::N, V_OF_LANE = V_LOADS * values::N;
    static constexpr int GROUPS = THREADS / LANES, AT_ONCE = GROUPS * 4 <= MIN_CHUNK ? 4 : 2;
    static constexpr int STEP = GROUPS * AT_ONCE;
    static constexpr int HEADS = div_up(SHARED, BLOCKS);
    static constexpr int RESULTS = div_up(HEADS * HEAD_SIZE, THREADS); /* elements of y that a thread puts together */
};

/* A block's row of the batch, and what it sees: positions [first, end) in chunks. */
struct row {
    i64 token;
    int g, first_head, n_heads, slot;
    int first, end, chunk, n_chunks;
};

/* The block's row; false if there is nothing to do. */
__device__ __forceinline__ bool find_row(const run &run, const attention_args &a, int blocks, row *out) {
    const u32 groups = (u32)a.k_cache.shape[1], part = blockIdx.x % blocks, pair = blockIdx.x / blocks;
    const int heads = div_up(SHARED, blocks);
    const i64 rows = live_rows(run, a.q);
    const batch b = batch_of(a.seq_start, (const int *)a.slot.data, live_rows(run, a.slot), rows);
    if (blockIdx.x == 0 && blockIdx.y == 0) check_batch(run, b, rows, a.block_table.shape[0]);
    out->token = pair / groups;
    if (out->token >= b.n_tokens) return false;
    const i64 s = sequence_of(b, out->token);
    if ((a.flags & IS_TILED) && is_long(b, s)) return false;
    out->g = (int)(pair % groups);
    out->first_head = (int)(out->g * SHARED + part * heads);
    out->n_heads = min(SHARED - (int)part * heads, heads);
    out->slot = b.slot[s];
    const int last = ((const int *)a.pos.data)[out->token];
    if (page_of(run, a.block_table, out->slot, last, a.k_cache.shape[2], a.k_cache.shape[0], out->token) < 0)
        return false;
    out->first = a.window > 0 && last >= a.window ? last - a.window + 1 : 0;
    out->end = last + 1;
    const int seen = out->end - out->first;
    out->chunk = MIN_CHUNK * div_up(seen, MIN_CHUNK * MAX_CHUNKS);
    out->n_chunks = div_up(seen, out->chunk);
    return true;
}

/* A lane's pieces of a row of the cache. */
template <class R, int LOADS, int PIECES, int LANES, class T>
__device__ __forceinline__ void load_row(const view &cache, int g, const spot &s, typename R::raw (&out)[LOADS]) {
    const T *row = at<const T>(cache, s.page, g, s.row);
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int piece = i * LANES + (int)threadIdx.x % LANES;
        out[i] = typename R::raw{};
        if (s.page >= 0 && piece < PIECES) out[i] = R::load(row, piece);
    }
}

/* A lane's elements of the queries, times the scale. */
template <class P>
__device__ __forceinline__ void load_queries(const attention_args &a, const row &r,
                                             float (&q)[P::HEADS][P::K_OF_LANE]) {
#pragma unroll
    for (int h = 0; h < P::HEADS; h++) {
        const ACT *from = at<const ACT>(a.q, r.token, r.first_head + h);
#pragma unroll
        for (int i = 0; i < P::K_OF_LANE; i++) {
            const int piece = i / P::keys::N * P::LANES + (int)threadIdx.x % P::LANES;
            const int c = piece * P::keys::N + i % P::keys::N;
            q[h][i] = c < HEAD_SIZE && h < r.n_heads ? to_float(from[c]) * a.scale * LOG2_E : 0;
        }
    }
}

/* Of a lane: sums over the positions that its group took. */
template <class P>
struct sums {
    float greatest[P::HEADS], weight[P::HEADS], value[P::HEADS][P::V_OF_LANE];
};

/* Scores of one position, in all lanes of its group. */
template <class P>
__device__ __forceinline__ void score(const float (&q)[P::HEADS][P::K_OF_LANE],
                                      const typename P::keys::raw (&k)[P::K_LOADS], bool is_there,
                                      float (&out)[P::HEADS]) {
#pragma unroll
    for (int h = 0; h < P::HEADS; h++) out[h] = 0;
#pragma unroll
    for (int i = 0; i < P::K_LOADS; i++) {
        float element[P::keys::N];
        P::keys::decode(k[i], element);
#pragma unroll
        for (int h = 0; h < P::HEADS; h++) {
#pragma unroll
            for (int j = 0; j < P::keys::N; j++) out[h] = fmaf(q[h][i * P::keys::N + j], element[j], out[h]);
        }
    }
#pragma unroll
    for (int h = 0; h < P::HEADS; h++) {
#pragma unroll
        for (int o = P::LANES / 2; o > 0; o /= 2) out[h] += __shfl_xor_sync(0xffffffffu, out[h], o);
        if (!is_there) out[h] = __uint_as_float(0xff800000u); /* -inf */
    }
}

/* Adds positions, whose scores become their weights. */
template <class P>
__device__ __forceinline__ void add_positions(float (&scores)[P::AT_ONCE][P::HEADS],
                                              const typename P::values::raw (&v)[P::AT_ONCE][P::V_LOADS],
                                              sums<P> &total) {
#pragma unroll
    for (int h = 0; h < P::HEADS; h++) {
        float greatest = total.greatest[h];
#pragma unroll
        for (int u = 0; u < P::AT_ONCE; u++) greatest = fmaxf(greatest, scores[u][h]);
        const float shrink = exp2_fast(total.greatest[h] - greatest);
        total.greatest[h] = greatest;
        total.weight[h] *= shrink;
#pragma unroll
        for (int i = 0; i < P::V_OF_LANE; i++) total.value[h][i] *= shrink;
#pragma unroll
        for (int u = 0; u < P::AT_ONCE; u++) {
            scores[u][h] = exp2_fast(scores[u][h] - greatest);
            total.weight[h] += scores[u][h];
        }
    }
#pragma unroll
    for (int u = 0; u < P::AT_ONCE; u++) {
#pragma unroll
        for (int i = 0; i < P::V_LOADS; i++) {
            float element[P::values::N];
            P::values::decode(v[u][i], element);
#pragma unroll
            for (int h = 0; h < P::HEADS; h++) {
#pragma unroll
                for (int j = 0; j < P::values::N; j++) {
                    float *value = &total.value[h][i * P::values::N + j];
                    *value = fmaf(scores[u][h], element[j], *value);
                }
            }
        }
    }
}

/* The groups' sums over positions [from, to). */
template <class P>
__device__ __forceinline__ void walk(const run &run, const attention_args &a, const row &r, const finder &f,
                                     const float (&q)[P::HEADS][P::K_OF_LANE], int from, int to, sums<P> &total) {
    const int group = (int)threadIdx.x / P::LANES;
    spot next[P::AT_ONCE];
#pragma unroll
    for (int u = 0; u < P::AT_ONCE; u++) next[u] = find_spot(run, f, r.token, from + u * P::GROUPS + group, to);
    for (int base = from; base < to; base += P::STEP) {
        typename P::keys::raw k[P::AT_ONCE][P::K_LOADS];
        typename P::values::raw v[P::AT_ONCE][P::V_LOADS];
        float scores[P::AT_ONCE][P::HEADS];
        bool is_there[P::AT_ONCE];
#pragma unroll
        for (int u = 0; u < P::AT_ONCE; u++) {
            load_row<typename P::keys, P::K_LOADS, P::K_PIECES, P::LANES, KEY>(a.k_cache, r.g, next[u], k[u]);
        }
#pragma unroll
        for (int u = 0; u < P::AT_ONCE; u++) {
            load_row<typename P::values, P::V_LOADS, P::V_PIECES, P::LANES, VALUE>(a.v_cache, r.g, next[u], v[u]);
            is_there[u] = next[u].page >= 0;
            next[u] = find_spot(run, f, r.token, base + P::STEP + u * P::GROUPS + group, to);
        }
#pragma unroll
        for (int u = 0; u < P::AT_ONCE; u++) score<P>(q, k[u], is_there[u], scores[u]);
        add_positions<P>(scores, v, total);
    }
}

/* The groups of a warp become one, in its first lanes. */
template <class P>
__device__ __forceinline__ void join_groups(sums<P> &total) {
#pragma unroll
    for (int o = P::LANES; o < 32; o *= 2) {
#pragma unroll
        for (int h = 0; h < P::HEADS; h++) {
            const float other = __shfl_xor_sync(0xffffffffu, total.greatest[h], o);
            const float greatest = fmaxf(total.greatest[h], other);
            const float shrink = exp2_fast(total.greatest[h] - greatest), grow = exp2_fast(other - greatest);
            total.greatest[h] = greatest;
            total.weight[h] = total.weight[h] * shrink + __shfl_xor_sync(0xffffffffu, total.weight[h], o) * grow;
#pragma unroll
            for (int i = 0; i < P::V_OF_LANE; i++) {
                const float value = __shfl_xor_sync(0xffffffffu, total.value[h][i], o);
                total.value[h][i] = total.value[h][i] * shrink + value * grow;
            }
        }
    }
}

/* A warp's sums, where the block puts them together. */
template <class P>
struct shared_sums {
    float greatest[WARPS][P::HEADS], weight[WARPS][P::HEADS], value[WARPS][P::HEADS][HEAD_SIZE];
};

template <class P>
__device__ __forceinline__ void share(const sums<P> &total, shared_sums<P> &out) {
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    if (lane >= P::LANES) return;
#pragma unroll
    for (int h = 0; h < P::HEADS; h++) {
        if (lane == 0) out.greatest[warp][h] = total.greatest[h];
        if (lane == 0) out.weight[warp][h] = total.weight[h];
#pragma unroll
        for (int i = 0; i < P::V_OF_LANE; i++) {
            const int c = (i / P::values::N * P::LANES + lane) * P::values::N + i % P::values::N;
            if (c < HEAD_SIZE) out.value[warp][h][c] = total.value[h][i];
        }
    }
}

/* What a chunk gives for element `index` of the block's heads. */
template <class P>
__device__ __forceinline__ partial collect(const shared_sums<P> &in, int h, int c) {
    partial total = no_partial();
#pragma unroll
    for (int w = 0; w < WARPS; w++)
        total = fold(total, partial{in.greatest[w][h], in.weight[w][h], in.value[w][h][c]});
    return total;
}

/* Leaves a chunk's sums in `shared`, for all threads. */
template <class P>
__device__ __forceinline__ void attend(const run &run, const attention_args &a, const row &r, int chunk,
                                       const float (&q)[P::HEADS][P::K_OF_LANE], shared_sums<P> &shared) {
    const int from = r.first + chunk * r.chunk, to = min(from + r.chunk, r.end);
    sums<P> total = {};
#pragma unroll
    for (int h = 0; h < P::HEADS; h++) total.greatest[h] = NO_SCORE;
    walk<P>(run, a, r, finder_of(a.block_table, a.k_cache, r.slot), q, from, to, total);
    join_groups<P>(total);
    share<P>(total, shared);
    __syncthreads();
}

__device__ __forceinline__ void finish(const attention_args &a, i64 token, int head, int c, const partial &total) {
    at<ACT>(a.y, token, head)[c] = from_float<ACT>(total.value / total.weight);
    if (c == 0 && a.lse.data) *at<float>(a.lse, token, head) = log_of(total);
}

/* Where a chunk's sums of a head wait for attention_merge: its elements, then greatest and weight. */
__device__ __forceinline__ float *room_of(const run &run, const attention_args &a, i64 token, int head, int chunk) {
    return (float *)run.workspace + ((token * a.q.shape[1] + head) * (a.flags >> 8) + chunk) * (HEAD_SIZE + 2);
}

__device__ __forceinline__ void leave(const run &run, const attention_args &a, i64 token, int head, int c,
                                      const partial &total) {
    float *room = room_of(run, a, token, head, (int)blockIdx.y);
    room[c] = total.value;
    if (c > 0) return;
    room[HEAD_SIZE] = total.greatest;
    room[HEAD_SIZE + 1] = total.weight;
}

/* A block all chunks of its row in turn; or, if there is a workspace, one of them, with the same bits. */
template <bool IS_ALIGNED>
__device__ __forceinline__ void rows(const run &run, const attention_args &a) {
    typedef plan<IS_ALIGNED> P;
    __shared__ shared_sums<P> shared;
    float q[P::HEADS][P::K_OF_LANE];
    partial total[P::RESULTS];
    row r;
    if (!find_row(run, a, BLOCKS, &r)) return;
    const bool is_one_chunk = a.flags >> 8 != 0;
    const int end = is_one_chunk ? min((int)blockIdx.y + 1, r.n_chunks) : r.n_chunks;
    load_queries<P>(a, r, q);
#pragma unroll
    for (int i = 0; i < P::RESULTS; i++) total[i] = no_partial();
    for (int chunk = (int)blockIdx.y; chunk < end; chunk++) {
        attend<P>(run, a, r, chunk, q, shared);
#pragma unroll
        for (int i = 0; i < P::RESULTS; i++) {
            const int element = i * THREADS + (int)threadIdx.x;
            if (element >= r.n_heads * HEAD_SIZE) continue;
            total[i] = fold(total[i], collect<P>(shared, element / HEAD_SIZE, element % HEAD_SIZE));
        }
        __syncthreads();
    }
    if ((int)blockIdx.y >= r.n_chunks) return;
#pragma unroll
    for (int i = 0; i < P::RESULTS; i++) {
        const int element = i * THREADS + (int)threadIdx.x;
        const int head = r.first_head + element / HEAD_SIZE, c = element % HEAD_SIZE;
        if (element >= r.n_heads * HEAD_SIZE) continue;
        if (is_one_chunk)
            leave(run, a, r.token, head, c, total[i]);
        else
            finish(a, r.token, head, c, total[i]);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) attention(run run, attention_args a) {
    wait_for_inputs();
    rows<true>(run, a);
}
extern "C" __global__ void __launch_bounds__(THREADS, 1) attention_unaligned(run run, attention_args a) {
    wait_for_inputs();
    rows<false>(run, a);
}

/* A block a row and head: its chunks in order. */
extern "C" __global__ void __launch_bounds__(THREADS) attention_merge(run run, attention_args a) {
    row r;
    wait_for_inputs();
    if (!find_row(run, a, 1, &r)) return;
    const int n_chunks = min(r.n_chunks, (int)(a.flags >> 8)), head = r.first_head + (int)blockIdx.y;
    for (int c = (int)threadIdx.x; c < HEAD_SIZE; c += THREADS) {
        const float *room = room_of(run, a, r.token, head, 0);
        partial total = no_partial();
#pragma unroll 4
        for (int chunk = 0; chunk < n_chunks; chunk++, room += HEAD_SIZE + 2) {
            total = fold(total, partial{room[HEAD_SIZE], room[HEAD_SIZE + 1], room[c]});
        }
        finish(a, r.token, head, c, total);
    }
}
