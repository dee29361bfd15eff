/* Projections of attention, their rotation and the append to the cache.
 *
 * Few rows: one kernel, in which a warp's pair of rows of a weight (few.cuh) are two elements that turn together, so
 * that it rotates and stores what it has summed. A cache of q8_0 is the exception: its blocks are of more elements
 * than a warp has, and k and v go to the workspace.
 * Many rows: the products are there; q is rotated where it stands, k and v go from the workspace to the cache. */
#ifdef ROWS
#include "batch.cuh"
#include "few.cuh"
#else
#include "append.cuh"
#endif
#include "rotation.cuh"

struct qkv_rope_append_args {
    u32 struct_size, flags;
    view x, w_q, w_k, w_v, b_q, b_k, b_v, freq_factors, q, k_cache, v_cache, pos, seq_start, slot, block_table;
    float freq_base, freq_scale;
    int n_rot;
};

enum { Q, K, V };

/* k or v between two kernels: [T, G * D] in the workspace, element [token, 0] of it. */
__device__ __forceinline__ ACT *between(const run &run, const qkv_rope_append_args &a, int part, i64 token) {
    const i64 columns = a.k_cache.shape[1] * a.q.shape[2], bytes = a.x.shape[0] * columns * (i64)sizeof(ACT);
    return (ACT *)(run.workspace + (part == V ? (bytes + 255) / 256 * 256 : 0)) + token * columns;
}

#ifdef ROWS

/* Told in flags beside NLM_ROPE_*: the parts that this launch is of, and whether k and v go to the workspace. */
#define FIRST_PART(flags) ((int)((flags) >> 8 & 3))
#define LAST_PART(flags)  ((int)((flags) >> 10 & 3))
#define TO_WORKSPACE      (1u << 12)

/* Where a warp's pair of rows belongs. */
struct place {
    int part, head, first, second; /* elements of a head; second may be none of it */
    bool is_there, is_rotated;
    int pair; /* of those that turn */
};

__device__ __forceinline__ place place_of(const qkv_rope_append_args &a, int index) {
    const int size = (int)a.q.shape[2], pairs = (size + 1) / 2, heads = (int)a.q.shape[1];
    const int groups = (int)a.k_cache.shape[1];
    place p;
    p.part = FIRST_PART(a.flags);
    p.head = index / pairs;
    if (p.part == Q && p.head >= heads) p.part = K, p.head -= heads;
    if (p.part == K && p.head >= groups) p.part = V, p.head -= groups;
    p.is_there = p.part <= LAST_PART(a.flags) && p.head < (p.part == Q ? heads : groups);
    p.pair = index % pairs;
    p.is_rotated = p.is_there && p.part != V && p.pair < a.n_rot / 2;
    p.first = p.is_rotated ? rotation_of(a).first(p.pair) : 2 * p.pair;
    p.second = p.is_rotated ? rotation_of(a).second(p.pair) : 2 * p.pair + 1;
    return p;
}

/* The rows of the weight; of those that are not there others, whose sums nobody stores. */
__device__ __forceinline__ pair weights_of(const qkv_rope_append_args &a, const place &p) {
    view w = a.w_q;
    if (p.part == K) w = a.w_k;
    if (p.part == V) w = a.w_v;
    const i64 first = (i64)p.head * a.q.shape[2] + p.first, second = first - p.first + p.second;
    const i64 last = w.shape[0] - 1;
    return pair{weight_row(w, p.is_there ? first : last), weight_row(w, p.is_there && second < last ? second : last)};
}

__device__ __forceinline__ float bias_of(const qkv_rope_append_args &a, const place &p, int element) {
    const u64 data = p.part == Q ? a.b_q.data : p.part == K ? a.b_k.data : a.b_v.data;
    return data ? ((const float *)data)[(i64)p.head * a.q.shape[2] + element] : 0.0f;
}

__device__ __forceinline__ void put(const run &run, const qkv_rope_append_args &a, const place &p, i64 token,
                                    int element, const cache_place &to, float v) {
    if (p.part == Q)
        at<ACT>(a.q, token, p.head)[element] = from_float<ACT>(v);
    else if (a.flags & TO_WORKSPACE)
        between(run, a, p.part, token)[p.head * a.q.shape[2] + element] = from_float<ACT>(v);
    else if (to.page < 0)
        return;
    else if (p.part == K)
        at<KEY>(a.k_cache, to.page, p.head, to.row)[element] = from_float<KEY>(v);
    else
        at<VALUE>(a.v_cache, to.page, p.head, to.row)[element] = from_float<VALUE>(v);
}

/* What a block needs besides products. */
struct around {
    float2 angles[WARPS / SPLIT][ROWS];
    cache_place places[ROWS]; /* of tokens, where the block has keys or values for the cache */
};

__device__ __forceinline__ void fill(const run &run, const qkv_rope_append_args &a, i64 first_token, int n_tokens,
                                     around &out) {
    const int first_pair = (int)blockIdx.x * (WARPS / SPLIT), thread = (int)threadIdx.x, warp = thread / 32;
    const bool has_angle = thread < WARPS / SPLIT * ROWS && thread % ROWS < n_tokens;
    const place p = place_of(a, first_pair + thread / ROWS);
    if (has_angle && p.is_rotated) {
        const int pos = ((const int *)a.pos.data)[first_token + thread % ROWS];
        out.angles[thread / ROWS][thread % ROWS] = angle_at(turn_of(rotation_of(a), p.pair), pos);
    }
    const i64 rows = live_rows(run, a.x);
    const batch b = batch_of(a.seq_start, (const int *)a.slot.data, live_rows(run, a.slot), rows);
    const bool is_stored = !(a.flags & TO_WORKSPACE),
               has_keys = place_of(a, first_pair + WARPS / SPLIT - 1).part != Q;
    if (is_stored && blockIdx.x == 0 && blockIdx.y == 0) check_batch(run, b, rows, a.block_table.shape[0]);
    if (warp >= ROWS) return;
    cache_place to = {-1, 0};
    if (is_stored && has_keys && warp < n_tokens) to = cache_place_of(run, a, b, first_token + warp);
    if (thread % 32 == 0) out.places[warp] = to;
}

/* As FEW_BOUNDS, but that two rows and weights of more than one piece leave room for one block: what rotates takes
 * registers too. */
#define TWO_BLOCKS (packing<W>::EXTRA || packing<W>::PIECES > 1 ? 2 : 4) /* with fewer rows */
#define QKV_BOUNDS __launch_bounds__(THREADS, packing<W>::PIECES < 4 && ROWS < TWO_BLOCKS ? 2 : 1)

extern "C" __global__ void QKV_BOUNDS qkv_rope_append_few(run run, qkv_rope_append_args a) {
    __shared__ around around;
    const int lane = threadIdx.x % 32, in_block = threadIdx.x / 32 / SPLIT, m = lane % ROWS, r = lane / ROWS;
    const i64 first_token = (i64)blockIdx.y * ROWS;
    const place p = place_of(a, (int)blockIdx.x * (WARPS / SPLIT) + in_block);
    const pair rows = begun(weights_of(a, p));
    const few_input in = few_input_of(run, a.x, first_token, nullptr);
    if (in.n_rows <= 0) return;
    fill(run, a, first_token, in.n_rows, around);
    sums s = {};
    float no_squares[ROWS];
    few_sums<false>(in, rows, s, no_squares);
    float v = few_sum_of_lane(s);
    if (threadIdx.x / 32 % SPLIT != 0) return;
    const int element = r == 0 ? p.first : p.second;
    const bool is_there = p.is_there && r < PAIR && m < in.n_rows && element < a.q.shape[2];
    if (is_there) v += bias_of(a, p, element);
    const float other = __shfl_xor_sync(0xffffffffu, v, ROWS);
    if (!is_there) return;
    if (p.is_rotated) {
        const float2 angle = around.angles[in_block][m];
        v = r == 0 ? rotated_first(v, other, angle) : rotated_second(other, v, angle);
    }
    put(run, a, p, first_token + m, element, around.places[m], v);
}

#else

#define THREADS 256
#define TOKENS  4
#define HEADS   8

/* Angles of the first THREADS pairs at some tokens; those of others, which heads of more than 512 elements have, are
 * worked out anew. */
typedef float2 angle_table[TOKENS][THREADS];

__device__ __forceinline__ float2 angle_of(const qkv_rope_append_args &a, const angle_table &angles, int token,
                                           i64 first_token, int pair) {
    if (pair < THREADS) return angles[token][pair];
    return angle_at(turn_of(rotation_of(a), pair), ((const int *)a.pos.data)[first_token + token]);
}

__device__ __forceinline__ void rotate_queries(const qkv_rope_append_args &a, const angle_table &angles,
                                               i64 first_token, int n_tokens, int first_head) {
    const int pairs = a.n_rot / 2, n_heads = min((int)a.q.shape[1] - first_head, HEADS);
    for (int i = (int)threadIdx.x; i < n_tokens * n_heads * pairs; i += THREADS) {
        const int pair = i % pairs, token = i / pairs / n_heads, head = first_head + i / pairs % n_heads;
        const float2 angle = angle_of(a, angles, token, first_token, pair);
        ACT *row = at<ACT>(a.q, first_token + token, head);
        ACT &first = row[rotation_of(a).first(pair)], &second = row[rotation_of(a).second(pair)];
        const float v = to_float(first), w = to_float(second);
        first = from_float<ACT>(rotated_first(v, w, angle));
        second = from_float<ACT>(rotated_second(v, w, angle));
    }
}

/* Element i of a key that is not rotated yet. */
__device__ __forceinline__ float rotated_key(const qkv_rope_append_args &a, const angle_table &angles, int token,
                                             i64 first_token, const ACT *key, int i) {
    const rotation r = rotation_of(a);
    const int pairs = r.n_rot / 2;
    if (i >= r.n_rot) return to_float(key[i]);
    const bool is_halves = r.flags & HALF_SPLIT, is_first = is_halves ? i < pairs : i % 2 == 0;
    const int pair = is_halves ? i % pairs : i / 2;
    const float first = to_float(key[r.first(pair)]), second = to_float(key[r.second(pair)]);
    const float2 angle = angle_of(a, angles, token, first_token, pair);
    return is_first ? rotated_first(first, second, angle) : rotated_second(first, second, angle);
}

/* A block has some tokens and some heads of one part: all of q's, then k's, then v's. */
extern "C" __global__ void __launch_bounds__(THREADS, 2) rotate_append(run run, qkv_rope_append_args a) {
    __shared__ angle_table angles;
    const int of_q = (int)(a.q.shape[1] + HEADS - 1) / HEADS, groups = (int)a.k_cache.shape[1];
    const int of_k = (groups + HEADS - 1) / HEADS, y = (int)blockIdx.y, size = (int)a.q.shape[2];
    const int part = y < of_q ? Q : y < of_q + of_k ? K : V, warp = threadIdx.x / 32;
    const i64 first_token = (i64)blockIdx.x * TOKENS, rows = live_rows(run, a.x);
    const int n_tokens = (int)min(rows - first_token, (i64)TOKENS), pair = (int)threadIdx.x;
    const batch b = batch_of(a.seq_start, (const int *)a.slot.data, live_rows(run, a.slot), rows);
    if (blockIdx.x == 0 && y == 0) check_batch(run, b, rows, a.block_table.shape[0]);
    if (part != V && pair < a.n_rot / 2) {
        const turn t = turn_of(rotation_of(a), pair);
        for (int i = 0; i < n_tokens; i++) angles[i][pair] = angle_at(t, ((const int *)a.pos.data)[first_token + i]);
    }
    __syncthreads();
    if (part == Q) return rotate_queries(a, angles, first_token, n_tokens, y * HEADS);
    const int token = warp % TOKENS, first_head = (y - of_q - (part == V ? of_k : 0)) * HEADS;
    if (token >= n_tokens) return;
    const cache_place to = cache_place_of(run, a, b, first_token + token);
    if (to.page < 0) return;
    for (int g = first_head + warp / TOKENS; g < min(first_head + HEADS, groups); g += THREADS / 32 / TOKENS) {
        const ACT *from = between(run, a, part, first_token + token) + (i64)g * size;
        if (part == K) {
            append(at<KEY>(a.k_cache, to.page, g, to.row), size,
                   [&](i64 i) { return rotated_key(a, angles, token, first_token, from, (int)i); });
        } else {
            append(at<VALUE>(a.v_cache, to.page, g, to.row), size, [&](i64 i) { return to_float(from[i]); });
        }
    }
}
#endif
