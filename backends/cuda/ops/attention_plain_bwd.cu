/* The gradients of attention over the keys and values of the batch itself, from the log-sum-exp that it left (Dao et
 * al. 2022). A block of the second kernel has BAND rows of a sequence and a head, meets the rows these see, BAND at a
 * time, and adds up dq; one of the third has BAND rows and a key head, meets the rows that see them with every head,
 * and adds up dk and dv. What there is of a row in another, p and e of nlm/op_args.h, is worked out by both.
 * Everything an element adds up has one owner, and an order that lengths alone decide. */
#include "rows.cuh"
#include "sequences.cuh"

struct attention_plain_bwd_args {
    u32 struct_size, flags;
    view q, k, v, seq_start, y, lse, dy, dq, dk, dv;
    float scale;
    int window;
};

#define THREADS 128
#define PADDED  (HEAD_SIZE <= 64 ? 64 : HEAD_SIZE <= 128 ? 128 : HEAD_SIZE <= 256 ? 256 : 512)
#define BAND    (2048 / PADDED) /* rows */
#define PITCH   (PADDED + 4)

/* p and e of BAND x BAND pairs: a thread has ACROSS of them in each of DOWN rows. */
#define LANES  (BAND < 16 ? BAND : 16)
#define ACROSS (BAND / LANES)
#define GROUPS (THREADS / LANES)
#define DOWN   (BAND > GROUPS ? BAND / GROUPS : 1)

/* Of sums of BAND x PADDED a thread has four columns in each of OWN rows. */
#define OWN (BAND / (THREADS / (PADDED / 4)))

typedef float band[BAND][PITCH];
typedef float pairs[BAND][BAND + 4];

struct memory {
    band q, dy, k, v;
    pairs p, e;
    float lse[BAND], product[BAND];
};

struct alignas(4 * OWN) own_rows {
    float of[OWN];
};

/* Where a block is in the batch: rows from `first` on of a sequence. */
struct place {
    i64 begin, end, first; /* of the sequence; the block's first row */
};

__device__ __forceinline__ bool find_place(const run &run, const attention_plain_bwd_args &a, place *out) {
    const i64 n_seqs = a.seq_start.shape[0] - 1, rows = live_rows(run, a.q);
    const batch b = batch_of(a.seq_start, nullptr, n_seqs, rows);
    if (blockIdx.x == 0 && blockIdx.y == 0) check_batch(run, b, rows, 0);
    if (n_seqs == 0) return false;
    const chunk part = find_chunk(a.seq_start, n_seqs, BAND, blockIdx.x);
    out->begin = b.seq_start[part.sequence];
    out->end = b.seq_start[part.sequence + 1];
    out->first = out->begin + part.index * BAND;
    return part.index >= 0 && out->begin >= 0 && out->end <= rows && out->first < out->end;
}

/* Rows first to `end` of a head; what is past them is 0, and so are the columns that pad it. */
__device__ __forceinline__ void load(const view &t, i64 head, i64 first, i64 end, band &out) {
    const bool is_whole = ((t.data | (u64)t.stride[0] | (u64)t.stride[1]) & (4 * sizeof(ACT) - 1)) == 0;
    for (int i = threadIdx.x; i < BAND * (PADDED / 4); i += THREADS) {
        const int r = i / (PADDED / 4), column = i % (PADDED / 4) * 4;
        float4 v = make_float4(0, 0, 0, 0);
        if (first + r < end) v = quad_of(at<const ACT>(t, first + r, head), column, HEAD_SIZE, is_whole);
        *(float4 *)&out[r][column] = v;
    }
}

__device__ __forceinline__ void load_queries(const run &run, const attention_plain_bwd_args &a, i64 head, i64 first,
                                             i64 end, memory &m) {
    load(a.q, head, first, end, m.q);
    load(a.dy, head, first, end, m.dy);
    for (int r = threadIdx.x; r < BAND; r += THREADS) {
        const bool is_there = first + r < end;
        m.lse[r] = is_there ? at<float>(a.lse, first + r)[head] : 0.0f;
        m.product[r] = is_there ? ((const float *)run.workspace)[(first + r) * a.q.shape[1] + head] : 0.0f;
    }
}

/* p and e of rows first_t on and the rows first_j on that they see; IS_TURNED: [j][t], else [t][j]. */
template <bool IS_TURNED>
__device__ __forceinline__ void weigh(const attention_plain_bwd_args &a, i64 first_t, i64 first_j, i64 end,
                                      memory &m) {
    const int lane = threadIdx.x % LANES, t0 = threadIdx.x / LANES * DOWN;
    float score[DOWN][ACROSS] = {}, slope[DOWN][ACROSS] = {};
    if (t0 >= BAND) return;
#pragma unroll 2
    for (int c = 0; c < HEAD_SIZE; c += 4) {
        float4 k[ACROSS], v[ACROSS];
#pragma unroll
        for (int j = 0; j < ACROSS; j++) {
            k[j] = *(const float4 *)&m.k[lane + LANES * j][c];
            v[j] = *(const float4 *)&m.v[lane + LANES * j][c];
        }
#pragma unroll
        for (int i = 0; i < DOWN; i++) {
            const float4 q = *(const float4 *)&m.q[t0 + i][c], dy = *(const float4 *)&m.dy[t0 + i][c];
#pragma unroll
            for (int j = 0; j < ACROSS; j++) {
                score[i][j] = dot(q, k[j], score[i][j]);
                slope[i][j] = dot(dy, v[j], slope[i][j]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < DOWN; i++) {
#pragma unroll
        for (int j = 0; j < ACROSS; j++) {
            const int row = t0 + i, column = lane + LANES * j;
            const i64 t = first_t + row, seen = first_j + column;
            const bool sees = t < end && seen <= t && (a.window == 0 || t - seen < a.window);
            const float p = sees ? expf(a.scale * score[i][j] - m.lse[row]) : 0.0f;
            const float e = p * (slope[i][j] - m.product[row]);
            (IS_TURNED ? m.p[column][row] : m.p[row][column]) = p;
            (IS_TURNED ? m.e[column][row] : m.e[row][column]) = e;
        }
    }
}

/* sum[i] += the sum over r of weights[r][the thread's row i] times the thread's columns of row r. */
__device__ __forceinline__ void add(const pairs &weights, const band &rows, float4 *sum) {
    const int column = threadIdx.x % (PADDED / 4) * 4, own = threadIdx.x / (PADDED / 4) * OWN;
#pragma unroll 4
    for (int r = 0; r < BAND; r++) {
        const own_rows w = *(const own_rows *)&weights[r][own];
        const float4 x = *(const float4 *)&rows[r][column];
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            sum[i].x = fmaf(w.of[i], x.x, sum[i].x);
            sum[i].y = fmaf(w.of[i], x.y, sum[i].y);
            sum[i].z = fmaf(w.of[i], x.z, sum[i].z);
            sum[i].w = fmaf(w.of[i], x.w, sum[i].w);
        }
    }
}

__device__ __forceinline__ void store(const view &t, i64 head, i64 first, i64 end, float factor, const float4 *sum) {
    const int column = threadIdx.x % (PADDED / 4) * 4, own = threadIdx.x / (PADDED / 4) * OWN;
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        if (first + own + i >= end) continue;
        ACT *row = at<ACT>(t, first + own + i, head);
        if (column < HEAD_SIZE) row[column] = from_float<ACT>(factor * sum[i].x);
        if (column + 1 < HEAD_SIZE) row[column + 1] = from_float<ACT>(factor * sum[i].y);
        if (column + 2 < HEAD_SIZE) row[column + 2] = from_float<ACT>(factor * sum[i].z);
        if (column + 3 < HEAD_SIZE) row[column + 3] = from_float<ACT>(factor * sum[i].w);
    }
}

/* dy . y: a warp a row and head. */
extern "C" __global__ void __launch_bounds__(THREADS)
    attention_plain_bwd_products(run run, attention_plain_bwd_args a) {
    const i64 heads = a.q.shape[1], item = (i64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    const i64 row = item / heads, head = item - row * heads;
    if (row >= live_rows(run, a.q)) return;
    const ACT *y = at<ACT>(a.y, row, head), *dy = at<ACT>(a.dy, row, head);
    float sum = 0;
    for (int c = threadIdx.x % 32; c < HEAD_SIZE; c += 32) sum += to_float(y[c]) * to_float(dy[c]);
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) ((float *)run.workspace)[item] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    attention_plain_bwd_queries(run run, attention_plain_bwd_args a) {
    __shared__ alignas(16) memory m;
    const i64 head = blockIdx.y, group = head / SHARED;
    float4 dq[OWN] = {};
    place p;
    if (!find_place(run, a, &p)) return;
    const i64 stop = min(p.first + BAND, p.end), in_window = p.first - a.window + 1;
    load_queries(run, a, head, p.first, p.end, m);
    for (i64 j = a.window > 0 && in_window > p.begin ? in_window : p.begin; j < stop; j += BAND) {
        load(a.k, group, j, p.end, m.k);
        load(a.v, group, j, p.end, m.v);
        __syncthreads();
        weigh<true>(a, p.first, j, p.end, m);
        __syncthreads();
        add(m.e, m.k, dq);
        __syncthreads();
    }
    store(a.dq, head, p.first, p.end, a.scale, dq);
}

extern "C" __global__ void __launch_bounds__(THREADS) attention_plain_bwd_keys(run run, attention_plain_bwd_args a) {
    __shared__ alignas(16) memory m;
    const i64 group = blockIdx.y;
    float4 dk[OWN] = {}, dv[OWN] = {};
    place p;
    if (!find_place(run, a, &p)) return;
    const i64 last = p.first + BAND - 1 + a.window, stop = a.window > 0 && last < p.end ? last : p.end;
    load(a.k, group, p.first, p.end, m.k);
    load(a.v, group, p.first, p.end, m.v);
    for (i64 t = p.first; t < stop; t += BAND) {
        for (int h = 0; h < SHARED; h++) {
            load_queries(run, a, group * SHARED + h, t, p.end, m);
            __syncthreads();
            weigh<false>(a, t, p.first, p.end, m);
            __syncthreads();
            add(m.e, m.q, dk);
            add(m.p, m.dy, dv);
            __syncthreads();
        }
    }
    store(a.dk, group, p.first, p.end, a.scale, dk);
    store(a.dv, group, p.first, p.end, 1.0f, dv);
}
