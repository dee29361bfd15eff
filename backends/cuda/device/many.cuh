/* Products of many rows of x with the rows of a weight: a block has a tile of TILE rows of x and TILE of w, which go
 * through shared memory 32 elements at a time, the next ones being on their way from memory meanwhile.
 *
 * Tensor cores multiply where x may be rounded, and so whatever w is but f32: TF32 has the range of f32 and 11 bits,
 * which is all of an f16. w of f32, unless the user wants it rounded, and GPUs before compute capability 8.0, go by
 * fused multiply-adds. The order of a sum depends on its length alone.
 *
 * Macros: ACT and W, the types; PACKED; TILE, 64 or 128; TF32 if w of f32 may be rounded. */
#pragma once
#include "packed.cuh"
#include "rows.cuh"

#define THREADS 256
#define DEPTH   32
#define PITCH   (DEPTH + 4) /* floats from row to row in shared memory: no two rows of eight begin in one bank */
#define QUADS   (TILE * DEPTH / 4 / THREADS) /* of each operand that a thread brings at a time */

/* Where shared memory has room for few blocks of a multiprocessor, no registers are saved for more of them. */
#if __CUDA_ARCH__ == 800 || __CUDA_ARCH__ == 900 || __CUDA_ARCH__ == 1000
#define MANY_BOUNDS __launch_bounds__(THREADS)
#else
#define MANY_BOUNDS __launch_bounds__(THREADS, TILE == 64 && __CUDA_ARCH__ >= 800 ? 2 : 1)
#endif

template <class T>
struct is_f32 {
    enum { VALUE = 0 };
};
template <>
struct is_f32<f32> {
    enum { VALUE = 1 };
};
#if __CUDA_ARCH__ >= 800 && defined(TF32)
#define ON_TENSOR_CORES true
#elif __CUDA_ARCH__ >= 800
#define ON_TENSOR_CORES (!is_f32<W>::VALUE)
#else
#define ON_TENSOR_CORES false
#endif

/* Two operands, twice; then the sums of the tile. */
union many_shared {
    float operands[2][2][TILE][PITCH];
    float sums[TILE][TILE + 4];
};

__device__ __forceinline__ float rounded(float v) {
#if __CUDA_ARCH__ >= 800
    if (ON_TENSOR_CORES) {
        u32 bits;
        asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(v));
        return __uint_as_float(bits);
    }
#endif
    return v;
}
__device__ __forceinline__ float4 rounded(float4 v) {
    return make_float4(rounded(v.x), rounded(v.y), rounded(v.z), rounded(v.w));
}

/* ---- from memory ---- */

/* Quads that a thread brings: of rows threadIdx.x / 8 + 32 i, quad threadIdx.x % 8 of each block of 32. */
template <bool HAS_NORM>
struct many_input {
    const ACT *row[QUADS];
    bool is_live[QUADS];
    i64 length;
    bool is_whole;
    const float *norm_w;
    bool is_norm_whole;
    float squares[QUADS];
    float4 next[QUADS];

    __device__ __forceinline__ many_input(const run &run, const view &x, i64 first, const float *norm)
        : length(x.shape[1]), is_whole(has_whole_quads<ACT>(x)), norm_w(norm), is_norm_whole(((u64)norm & 15) == 0) {
        const i64 rows = live_rows(run, x);
#pragma unroll
        for (int i = 0; i < QUADS; i++) {
            const i64 m = first + threadIdx.x / 8 + 32 * i;
            is_live[i] = m < rows;
            row[i] = at<ACT>(x, is_live[i] ? m : first);
            squares[i] = 0;
        }
    }
    __device__ __forceinline__ void fetch(int b) {
        const i64 k = (i64)b * DEPTH + threadIdx.x % 8 * 4;
#pragma unroll
        for (int i = 0; i < QUADS; i++) {
            next[i] = is_live[i] ? quad_of(row[i], k, length, is_whole) : make_float4(0, 0, 0, 0);
        }
    }
    __device__ __forceinline__ void put(int b, float (&out)[TILE][PITCH]) {
        const i64 k = (i64)b * DEPTH + threadIdx.x % 8 * 4;
        float4 w = make_float4(1, 1, 1, 1);
        if (HAS_NORM) w = quad_of((const f32 *)norm_w, k, length, is_norm_whole);
#pragma unroll
        for (int i = 0; i < QUADS; i++) {
            float4 v = next[i];
            if (HAS_NORM) {
                squares[i] = dot(v, v, squares[i]);
                v = make_float4(v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w);
            }
            *(float4 *)&out[threadIdx.x / 8 + 32 * i][threadIdx.x % 8 * 4] = rounded(v);
        }
    }
    /* What the norm divides each row of the tile by, inverted. */
    __device__ __forceinline__ void put_factors(float eps, float (&out)[TILE]) const {
#pragma unroll
        for (int i = 0; i < QUADS; i++) {
            float sum = squares[i];
#pragma unroll
            for (int o = 4; o > 0; o /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, o);
            if (threadIdx.x % 8 == 0) out[threadIdx.x / 8 + 32 * i] = 1.0f / sqrtf(sum / (float)length + eps);
        }
    }
};

/* Of w: rows `first` on of one weight, or half a tile of each of two. */
struct many_weight {
    const view &low, &high;
    i64 first;
    int n_low, n_blocks;
    weight_row::raw next[QUADS];

    __device__ __forceinline__ many_weight(const view &of_low, const view &of_high, i64 from, int in_low)
        : low(of_low), high(of_high), first(from), n_low(in_low), n_blocks((int)((of_low.shape[1] + 31) / 32)) {
    }
    __device__ __forceinline__ void fetch(int b) {
        const i64 last = low.shape[0] - 1;
#pragma unroll
        for (int i = 0; i < QUADS; i++) {
            const int r = threadIdx.x / 8 + 32 * i;
            const bool is_low = r < n_low;
            const i64 n = first + (is_low ? r : r - n_low);
            if (b < n_blocks)
                next[i] = weight_row(is_low ? low : high, n < last ? n : last).fetch(b, threadIdx.x % 8);
        }
    }
    __device__ __forceinline__ void put(int b, float (&out)[TILE][PITCH]) const {
#pragma unroll
        for (int i = 0; i < QUADS; i++) {
            *(float4 *)&out[threadIdx.x / 8 + 32 * i][threadIdx.x % 8 * 4] =
                rounded(weight_row::decode(next[i], b, threadIdx.x % 8));
        }
    }
};

/* ---- products ---- */

/* Warps stand 2 x 4 in a tile; each has fragments of 16 x 8 sums. */
struct tensor_sums {
    enum { M = TILE / 32, N = TILE / 32 };
    float of[M][N][4];

    static __device__ __forceinline__ u32 address(const float *p) {
        return (u32)__cvta_generic_to_shared(p);
    }
    __device__ __forceinline__ void add(const float (&x)[TILE][PITCH], const float (&w)[TILE][PITCH]) {
#if __CUDA_ARCH__ >= 800
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        const int m = warp / 4 * (TILE / 2) + lane % 16, n = warp % 4 * (TILE / 4) + lane % 8 + lane / 16 * 8;
#pragma unroll
        for (int k = 0; k < DEPTH; k += 8) {
            u32 a[M][4], b[N][2];
#pragma unroll
            for (int i = 0; i < M; i++) {
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                             : "=r"(a[i][0]), "=r"(a[i][1]), "=r"(a[i][2]), "=r"(a[i][3])
                             : "r"(address(&x[m + 16 * i][k + lane / 16 * 4]))
                             : "memory");
            }
#pragma unroll
            for (int j = 0; j < N; j += 2) {
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                             : "=r"(b[j][0]), "=r"(b[j][1]), "=r"(b[j + 1][0]), "=r"(b[j + 1][1])
                             : "r"(address(&w[n + 8 * j][k + lane / 8 % 2 * 4]))
                             : "memory");
            }
#pragma unroll
            for (int i = 0; i < M; i++) {
#pragma unroll
                for (int j = 0; j < N; j++) {
                    asm volatile(
                        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, "
                        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                        : "+f"(of[i][j][0]), "+f"(of[i][j][1]), "+f"(of[i][j][2]), "+f"(of[i][j][3])
                        : "r"(a[i][0]), "r"(a[i][1]), "r"(a[i][2]), "r"(a[i][3]), "r"(b[j][0]), "r"(b[j][1]));
                }
            }
        }
#endif
    }
    __device__ __forceinline__ void put(float (&out)[TILE][TILE + 4]) const {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        const int m = warp / 4 * (TILE / 2) + lane / 4, n = warp % 4 * (TILE / 4) + lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < M; i++) {
#pragma unroll
            for (int j = 0; j < N; j++) {
                *(float2 *)&out[m + 16 * i][n + 8 * j] = make_float2(of[i][j][0], of[i][j][1]);
                *(float2 *)&out[m + 16 * i + 8][n + 8 * j] = make_float2(of[i][j][2], of[i][j][3]);
            }
        }
    }
};

/* A thread has every 16th row of the tile's rows of x and of w. */
struct plain_sums {
    enum { N = TILE / 16 };
    float of[N][N];

    __device__ __forceinline__ void add(const float (&x)[TILE][PITCH], const float (&w)[TILE][PITCH]) {
#pragma unroll
        for (int k = 0; k < DEPTH; k += 4) {
            float4 b[N];
#pragma unroll
            for (int j = 0; j < N; j++) b[j] = *(const float4 *)&w[threadIdx.x % 16 + 16 * j][k];
#pragma unroll
            for (int i = 0; i < N; i++) {
                const float4 a = *(const float4 *)&x[threadIdx.x / 16 + 16 * i][k];
#pragma unroll
                for (int j = 0; j < N; j++) of[i][j] = dot(a, b[j], of[i][j]);
            }
        }
    }
    __device__ __forceinline__ void put(float (&out)[TILE][TILE + 4]) const {
#pragma unroll
        for (int i = 0; i < N; i++) {
#pragma unroll
            for (int j = 0; j < N; j++) out[threadIdx.x / 16 + 16 * i][threadIdx.x % 16 + 16 * j] = of[i][j];
        }
    }
};

template <bool IS_TENSOR>
struct sums_of {
    typedef plain_sums type;
};
template <>
struct sums_of<true> {
    typedef tensor_sums type;
};

/* The tile's sums, in shared memory for all threads. Every thread of a block calls it. */
template <bool HAS_NORM>
__device__ __forceinline__ void many_sums(many_input<HAS_NORM> &in, many_weight w, many_shared &shared) {
    sums_of<ON_TENSOR_CORES>::type sums = {};
    in.fetch(0);
    w.fetch(0);
    for (int b = 0; b < w.n_blocks; b++) {
        float(&operands)[2][TILE][PITCH] = shared.operands[b & 1];
        in.put(b, operands[0]);
        w.put(b, operands[1]);
        __syncthreads();
        in.fetch(b + 1);
        w.fetch(b + 1);
        sums.add(operands[0], operands[1]);
    }
    __syncthreads();
    sums.put(shared.sums);
    __syncthreads();
}
