/* Drawing tokens from logits. Weights are whole numbers, of 2^-bits of the greatest: their sums are exact in any
 * order. Three kernels: the greatest logit of each part of a row; the weight of each column, and what falls into each
 * of BINS bins by the distance from the greatest; and one block a row that chooses.
 *
 * Where candidates stand likeliest first, a sum over them is reached inside one bin: its candidates alone are put in
 * order. A bin with more of them than fit (equal logits, or a high temperature) is searched by halves. */
#include "greatest.cuh"

struct sample_args {
    u32 struct_size, flags;
    view x, slot, pos, cuts, draws, y;
};

#define THREADS        256 /* of the first two */
#define CHOOSE_THREADS 512
#define BINS_A_UNIT    64.0f /* of the exponent: 2048 bins reach down to exp(-32) */
#define FEW            2048  /* candidates that a block puts in order */
#define INDEX_BITS     24
#define GREATEST       3.402823466e38f /* of f32 */

/* ---- a row ---- */

/* What is kept of a row between the kernels. */
struct row_memory {
    u64 *weights, *sums, *bin_mass; /* [columns], [parts], [BINS] */
    double *slope;                  /* 1 over the temperature */
    u32 *bin_count;                 /* [BINS] */
    float *greatest;                /* [parts] */
    int *greatest_at;               /* [parts]; -1: an element is no finite number */
};

struct way {
    float temperature, top_p, min_p;
    int top_k;
    u64 seed;
    bool is_greedy, is_sorted;
};

__device__ __forceinline__ int parts_of(const view &x) {
    return (int)((x.shape[1] + PART - 1) / PART);
}

/* As nlm_cuda_sample_needs lays it out. */
__device__ __forceinline__ row_memory memory_of(const run &run, const view &x) {
    const i64 columns = x.shape[1], parts = parts_of(x);
    row_memory m;
    m.weights = (u64 *)(run.workspace + (i64)blockIdx.x * (8 * columns + 16 * parts + 12 * BINS + 8));
    m.sums = m.weights + columns;
    m.bin_mass = m.sums + parts;
    m.slope = (double *)(m.bin_mass + BINS);
    m.bin_count = (u32 *)(m.slope + 1);
    m.greatest = (float *)(m.bin_count + BINS);
    m.greatest_at = (int *)(m.greatest + parts);
    return m;
}

/* The block's row and how it chooses; false: there is nothing to do. A slot that is none is told. */
__device__ __forceinline__ bool begin_row(const run &run, const sample_args &a, i64 *row, way *w) {
    *row = run.first_row + blockIdx.x;
    if (*row >= live_rows(run, a.x)) return false;
    const int slot = *at<int>(a.slot, *row);
    if (slot < 0 || slot >= a.cuts.shape[0]) {
        if (threadIdx.x == 0) tell(run, NLM_CUDA_FAULT_SLOT, *row, slot, a.cuts.shape[0]);
        return false;
    }
    const float *cuts = at<float>(a.cuts, slot);
    const int *draws = at<int>(a.draws, slot);
    w->temperature = cuts[0] > GREATEST ? GREATEST : cuts[0]; /* a NaN stays one */
    w->top_p = cuts[1] > 0.0f && cuts[1] < 1.0f ? cuts[1] : 0.0f;
    w->min_p = cuts[2] > 1.0f ? 1.0f : cuts[2];
    w->top_k = draws[0];
    w->seed = (u64)(u32)draws[2] << 32 | (u32)draws[1];
    w->is_greedy = !(w->temperature > 0.0f);
    w->is_sorted = !w->is_greedy && (w->top_k > 0 || w->top_p > 0.0f);
    return true;
}

/* 1 / v of a positive number. A division would be a call of a function, around which registers go to memory. */
__device__ __forceinline__ double inverse(float v) {
    const i64 bits = __double_as_longlong((double)v), exponent = (bits >> 52) - 1023;
    const double mantissa = __longlong_as_double(bits - (exponent << 52));
    double inverse = (double)__fdividef(1.0f, (float)mantissa);
    inverse *= 2.0 - mantissa * inverse;
    inverse *= 2.0 - mantissa * inverse;
    return __longlong_as_double(__double_as_longlong(inverse) - (exponent << 52));
}

/* ---- the greatest ---- */

extern "C" __global__ void __launch_bounds__(THREADS) sample_greatest(run run, sample_args a) {
    __shared__ candidate of_warp[THREADS / 32];
    wait_for_inputs();
    i64 row;
    way w;
    if (!begin_row(run, a, &row, &w)) return;
    const row_memory m = memory_of(run, a.x);
    for (int i = blockIdx.y * THREADS + threadIdx.x; w.is_sorted && i < BINS; i += gridDim.y * THREADS) {
        m.bin_mass[i] = 0;
        m.bin_count[i] = 0;
    }
    if (blockIdx.y == 0 && threadIdx.x == 0 && !w.is_greedy) *m.slope = inverse(w.temperature);
    const ACT *x = at<ACT>(a.x, row);
    const i64 first = (i64)blockIdx.y * PART, end = min(first + PART, (i64)a.x.shape[1]);
    candidate best = nothing();
    for (i64 i = first + threadIdx.x; i < end; i += THREADS) {
        best = better(best, finite(to_float(x[i]), (int)i));
    }
    best = warp_best(best);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = best;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int i = 1; i < THREADS / 32; i++) best = better(best, of_warp[i]);
    m.greatest[blockIdx.y] = best.value;
    m.greatest_at[blockIdx.y] = best.index;
}

/* Of the whole row, for all threads of a block. */
__device__ __forceinline__ candidate join_parts(const row_memory &m, int parts) {
    candidate best = nothing();
    for (int i = threadIdx.x % 32; i < parts; i += 32)
        best = better(best, candidate{m.greatest[i], m.greatest_at[i]});
    return warp_best(best);
}

/* ---- weights ---- */

/* Bits of the greatest weight: the sum of all is below 2^63. */
__device__ __forceinline__ int weight_bits(const view &x) {
    return min(52, 62 - (64 - __clzll(x.shape[1])));
}

__device__ __forceinline__ double unit_of(const view &x) {
    return __longlong_as_double((i64)(1023 + weight_bits(x)) << 52);
}

/* Which bin a logit falls into: never one before that of a greater one. */
__device__ __forceinline__ int bin_of(float logit, float greatest, float bins_a_logit) {
    const float bin = (greatest - logit) * bins_a_logit;
    return bin < (float)(BINS - 1) ? (int)bin : bin >= (float)(BINS - 1) ? BINS - 1 : 0;
}

/* The weights of a warp added up, for its first lane. */
__device__ __forceinline__ u64 warp_total(u64 v) {
#pragma unroll
    for (int o = 16; o > 0; o /= 2) v += __shfl_down_sync(0xffffffffu, v, o);
    return v;
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) sample_weigh(run run, sample_args a) {
    __shared__ u64 of_warp[THREADS / 32];
    wait_for_inputs();
    i64 row;
    way w;
    if (!begin_row(run, a, &row, &w)) return;
    const row_memory m = memory_of(run, a.x);
    const candidate best = join_parts(m, parts_of(a.x));
    if (best.index < 0 || w.is_greedy) return;
    const ACT *x = at<ACT>(a.x, row);
    const i64 first = (i64)blockIdx.y * PART, end = min(first + PART, (i64)a.x.shape[1]);
    const double slope = *m.slope, unit = unit_of(a.x);
    const double least = !w.is_sorted && w.min_p > 0.0f ? (double)w.min_p * unit : 0.0;
    const float bins_a_logit = BINS_A_UNIT * (float)slope;
    u64 sum = 0;
    for (i64 i = first + threadIdx.x; i < end; i += THREADS) {
        const float logit = to_float(x[i]);
        const u64 exact = __double2ull_rn(exp(((double)logit - (double)best.value) * slope) * unit);
        const u64 weight = (double)exact >= least ? exact : 0;
        m.weights[i] = weight;
        sum += weight;
        if (!w.is_sorted) continue;
        const int bin = bin_of(logit, best.value, bins_a_logit);
        atomicAdd(&m.bin_mass[bin], weight);
        atomicAdd(&m.bin_count[bin], 1u);
    }
    sum = warp_total(sum);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int i = 1; i < THREADS / 32; i++) sum += of_warp[i];
    m.sums[blockIdx.y] = sum;
}

/* ---- sums that reach a target ---- */

struct amount {
    u64 mass;
    u32 count;
};

__device__ __forceinline__ amount sum_of(amount a, amount b) {
    return amount{a.mass + b.mass, a.count + b.count};
}

/* What is to be reached: a mass or a count. */
struct target {
    u64 mass;
    u32 count; /* 0: the mass */
    __device__ __forceinline__ bool is_reached(amount by) const {
        return count ? by.count >= count : by.mass >= mass;
    }
};

struct scan_memory {
    amount of_warp[CHOOSE_THREADS / 32];
    int found;
    amount before, with;
};

/* The sum over the threads up to this one, and over all. */
__device__ __forceinline__ amount block_scan(amount v, amount *all, scan_memory &s) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int o = 1; o < 32; o *= 2) {
        const amount other = {__shfl_up_sync(0xffffffffu, v.mass, o), __shfl_up_sync(0xffffffffu, v.count, o)};
        if (lane >= o) v = sum_of(v, other);
    }
    __syncthreads();
    if (lane == 31) s.of_warp[warp] = v;
    __syncthreads();
    *all = amount{0, 0};
    for (int i = 0; i < CHOOSE_THREADS / 32; i++) {
        if (i == warp) v = sum_of(v, *all);
        *all = sum_of(*all, s.of_warp[i]);
    }
    return v;
}

/* Of n amounts behind `before` the first with which the target is reached, as it is with all of them; what there is
 * before it and with it. For all threads. */
template <class Load>
__device__ __forceinline__ int find_reaching(Load load, int n, amount *before, amount *with, const target &to,
                                             scan_memory &s) {
    __syncthreads();
    if (threadIdx.x == 0) s.found = -1;
    __syncthreads();
    for (int base = 0; base < n && s.found < 0; base += CHOOSE_THREADS) {
        const int i = base + (int)threadIdx.x;
        const amount own = i < n ? load(i) : amount{0, 0};
        amount all;
        const amount up_to = sum_of(*before, block_scan(own, &all, s));
        const amount up_to_own = {up_to.mass - own.mass, up_to.count - own.count};
        if (i < n && to.is_reached(up_to) && !to.is_reached(up_to_own)) {
            s.found = i;
            s.before = up_to_own;
            s.with = up_to;
        }
        *before = sum_of(*before, all);
        __syncthreads();
    }
    *before = s.before;
    *with = s.with;
    return s.found;
}

/* ---- candidates in order ---- */

/* A row whose candidates stand likeliest first. A candidate's place is a number: its logit, falling, and its index.
 */
struct sorted_row {
    const ACT *x;
    const u64 *weights;
    const u64 *bin_mass;
    const u32 *bin_count;
    int columns;
    float greatest, bins_a_logit;

    __device__ __forceinline__ u64 place(int i) const {
        const u32 bits = __float_as_uint(to_float(x[i]) + 0.0f); /* -0 and 0 are equal */
        const u32 ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
        return (u64)~ascending << INDEX_BITS | (u32)i;
    }
    __device__ __forceinline__ bool is_in(int i, int bin) const {
        return bin_of(to_float(x[i]), greatest, bins_a_logit) == bin;
    }
};

struct choose_memory {
    scan_memory scan;
    u64 places[FEW];
    u64 low[CHOOSE_THREADS / 32], high[CHOOSE_THREADS / 32];
    int n;
};

/* A prefix of the order: those up to a place. */
struct prefix {
    u64 last;
    amount in;
};

/* What `amount_of` gives of all columns together. */
template <class AmountOf>
__device__ __forceinline__ amount measure(int columns, AmountOf amount_of, scan_memory &s) {
    amount sum = {0, 0}, all;
    for (int i = threadIdx.x; i < columns; i += CHOOSE_THREADS) sum = sum_of(sum, amount_of(i));
    block_scan(sum, &all, s);
    return all;
}

/* The prefix that reaches the target, which ends in a bin of few candidates: these are put in order. */
__device__ __forceinline__ prefix reach_in_few(const sorted_row &row, int bin, int n, amount before, const target &to,
                                               choose_memory &m) {
    int size = 1;
    while (size < n) size *= 2;
    __syncthreads();
    if (threadIdx.x == 0) m.n = 0;
    for (int i = threadIdx.x; i < size; i += CHOOSE_THREADS) m.places[i] = ~0ull;
    __syncthreads();
    for (int i = threadIdx.x; i < row.columns; i += CHOOSE_THREADS) {
        if (row.is_in(i, bin)) m.places[atomicAdd(&m.n, 1)] = row.place(i);
    }
    __syncthreads();
    for (int width = 2; width <= size; width *= 2) {
        for (int step = width / 2; step > 0; step /= 2) {
            for (int pair = threadIdx.x; pair < size / 2; pair += CHOOSE_THREADS) {
                const int i = 2 * pair - (pair & (step - 1));
                const u64 a = m.places[i], b = m.places[i + step];
                if ((a > b) != ((i & width) == 0)) continue;
                m.places[i] = b;
                m.places[i + step] = a;
            }
            __syncthreads();
        }
    }
    const auto load = [&](int i) { return amount{row.weights[m.places[i] & ((1u << INDEX_BITS) - 1)], 1u}; };
    amount with;
    const int found = find_reaching(load, n, &before, &with, to, m.scan);
    return prefix{m.places[found], with};
}

/* The same of a bin of many: the place is found by halves, between the first and the last in the bin. */
__device__ __forceinline__ prefix reach_in_many(const sorted_row &row, int bin, const target &to, choose_memory &m) {
    u64 low = ~0ull, high = 0;
    for (int i = threadIdx.x; i < row.columns; i += CHOOSE_THREADS) {
        if (!row.is_in(i, bin)) continue;
        low = min(low, row.place(i));
        high = max(high, row.place(i));
    }
    for (int o = 16; o > 0; o /= 2) {
        low = min(low, __shfl_xor_sync(0xffffffffu, low, o));
        high = max(high, __shfl_xor_sync(0xffffffffu, high, o));
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        m.low[threadIdx.x / 32] = low;
        m.high[threadIdx.x / 32] = high;
    }
    __syncthreads();
    for (int i = 0; i < CHOOSE_THREADS / 32; i++) {
        low = min(low, m.low[i]);
        high = max(high, m.high[i]);
    }
    amount with;
    for (;;) {
        const u64 middle = low + (high - low) / 2;
        const auto amount_of = [&](int i) {
            return row.place(i) <= middle ? amount{row.weights[i], 1u} : amount{0, 0};
        };
        with = measure(row.columns, amount_of, m.scan);
        if (low == high) return prefix{low, with};
        if (to.is_reached(with))
            high = middle;
        else
            low = middle + 1;
    }
}

__device__ __forceinline__ prefix reach(const sorted_row &row, const target &to, choose_memory &m) {
    const auto load = [&](int i) { return amount{row.bin_mass[i], row.bin_count[i]}; };
    amount before = {0, 0}, with;
    const int bin = find_reaching(load, BINS, &before, &with, to, m.scan);
    const int n = (int)(with.count - before.count);
    return n <= FEW ? reach_in_few(row, bin, n, before, to, m) : reach_in_many(row, bin, to, m);
}

/* ---- choosing ---- */

/* u 2^64 of 53 bits: the first words of Philox4x32-10 at counter [at, 0, 0, 0]. */
__device__ __forceinline__ u64 uniform_of(u64 seed, u32 at) {
    u32 word[4] = {at, 0, 0, 0}, key0 = (u32)seed, key1 = (u32)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const u32 high0 = __umulhi(0xD2511F53u, word[0]), low0 = 0xD2511F53u * word[0];
        const u32 high1 = __umulhi(0xCD9E8D57u, word[2]), low1 = 0xCD9E8D57u * word[2];
        word[0] = high1 ^ word[1] ^ key0;
        word[1] = low1;
        word[2] = high0 ^ word[3] ^ key1;
        word[3] = low0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return ((u64)word[0] << 32 | word[1]) >> 11 << 11;
}

/* The mass with which a candidate exceeds u times the total. */
__device__ __forceinline__ target drawn_of(u64 uniform, u64 total) {
    return target{__umul64hi(uniform, total) + 1, 0};
}

__device__ __forceinline__ int choose_by_index(const row_memory &m, const view &x, u64 uniform, scan_memory &s) {
    const int parts = parts_of(x);
    const auto of_part = [&](int i) { return amount{m.sums[i], 1u}; };
    const target to = drawn_of(uniform, measure(parts, of_part, s).mass);
    amount before = {0, 0}, with;
    const int first = find_reaching(of_part, parts, &before, &with, to, s) * PART;
    const auto of_column = [&](int i) { return amount{m.weights[first + i], 1u}; };
    return first + find_reaching(of_column, min(PART, (int)x.shape[1] - first), &before, &with, to, s);
}

__device__ __forceinline__ int choose_sorted(const sorted_row &row, const way &w, double unit, u64 uniform,
                                             choose_memory &m) {
    const auto of_bin = [&](int i) { return amount{row.bin_mass[i], row.bin_count[i]}; };
    prefix kept = {~0ull, measure(BINS, of_bin, m.scan)};
    if (w.top_k > 0 && w.top_k < row.columns) kept = reach(row, target{0, (u32)w.top_k}, m);
    if (w.top_p > 0.0f) {
        const u64 mass = __double2ull_ru((double)w.top_p * (double)kept.in.mass);
        kept = reach(row, target{mass < 1 ? 1 : min(mass, kept.in.mass), 0}, m);
    }
    if (w.min_p > 0.0f) {
        const double least = (double)w.min_p * unit;
        const auto amount_of = [&](int i) {
            const bool stays = row.place(i) <= kept.last && (double)row.weights[i] >= least;
            return stays ? amount{row.weights[i], 1u} : amount{0, 0};
        };
        kept.in = measure(row.columns, amount_of, m.scan);
    }
    return (int)(reach(row, drawn_of(uniform, kept.in.mass), m).last & ((1u << INDEX_BITS) - 1));
}

extern "C" __global__ void __launch_bounds__(CHOOSE_THREADS, 1) sample_choose(run run, sample_args a) {
    __shared__ choose_memory shared;
    wait_for_inputs();
    i64 row;
    way w;
    if (!begin_row(run, a, &row, &w)) return;
    const row_memory m = memory_of(run, a.x);
    const candidate best = join_parts(m, parts_of(a.x));
    int token = best.index;
    if (token >= 0 && !w.is_greedy) {
        const u64 uniform = uniform_of(w.seed, (u32)*at<int>(a.pos, row) + 1);
        const sorted_row sorted = {at<ACT>(a.x, row),
                                   m.weights,
                                   m.bin_mass,
                                   m.bin_count,
                                   (int)a.x.shape[1],
                                   best.value,
                                   BINS_A_UNIT * (float)*m.slope};
        token = w.is_sorted ? choose_sorted(sorted, w, unit_of(a.x), uniform, shared)
                            : choose_by_index(m, a.x, uniform, shared.scan);
    }
    if (threadIdx.x == 0) *at<int>(a.y, row) = token;
}
