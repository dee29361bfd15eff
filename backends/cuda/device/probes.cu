/* What ../probes.c measures: each kernel does one thing n times. */
#include "cluster.cuh"

extern "C" __global__ void probe_gap() {
}

/* Launched early: see wait_for_inputs. */
extern "C" __global__ void probe_gap_early() {
    wait_for_inputs();
}

/* All of it, n times. */
extern "C" __global__ void __launch_bounds__(256) probe_copy(const float4 *from, float4 *to, i64 vectors, i64 n) {
    const u32 first = blockIdx.x * 256 + threadIdx.x, step = gridDim.x * 256;
    for (i64 pass = 0; pass < n; pass++) {
        for (u32 i = first; i < vectors; i += step) to[i] = from[i];
    }
}

/* A store that the whole device is to see before the next. */
extern "C" __global__ void probe_fence(volatile u32 *at, i64 n) {
    for (i64 i = 0; i < n; i++) {
        *at = (u32)i;
        __threadfence();
    }
}

/* Independent products of a warp, as many as hide their latency; out keeps the compiler from leaving them out. */
extern "C" __global__ void __launch_bounds__(256) probe_mma(float *out, i64 n) {
    float sums[8][4] = {};
#if __CUDA_ARCH__ >= 800
    const u32 a[4] = {threadIdx.x << 13, 1u << 23, 2u << 23, 3u << 23}, b[2] = {1u << 23, 2u << 23};
    for (i64 i = 0; i < n; i++) {
        for (int s = 0; s < 8; s++) {
            asm volatile(
                "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                "{%0, %1, %2, %3};"
                : "+f"(sums[s][0]), "+f"(sums[s][1]), "+f"(sums[s][2]), "+f"(sums[s][3])
                : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
        }
    }
#endif
    float sum = 0;
    for (int s = 0; s < 8; s++) sum += sums[s][0] + sums[s][1] + sums[s][2] + sums[s][3];
    if (sum == -1.0f) out[0] = sum;
}

#if __CUDA_ARCH__ >= 900
extern "C" __global__ void probe_cluster_barrier(i64 n) {
    for (i64 i = 0; i < n; i++) {
        cluster_arrive();
        cluster_wait();
    }
}

/* A number goes from one block of two to the other and back. */
extern "C" __global__ void probe_push(i64 n) {
    __shared__ u64 barrier;
    __shared__ float4 received;
    const int other = cluster_rank() ^ 1;
    if (threadIdx.x == 0) {
        barrier_init(&barrier, 1);
        barrier_expect(&barrier, sizeof received);
        barriers_are_made();
    }
    cluster_arrive();
    cluster_wait();
    const u32 to = of_block(shared_address(&received), other), at = of_block(shared_address(&barrier), other);
    u32 parity = 0;
    for (i64 i = 0; i < n; i++) {
        const bool is_mine = (i & 1) == cluster_rank();
        if (is_mine) {
            if (threadIdx.x == 0) store_async(to, float4{(float)i, 0, 0, 0}, at);
        } else {
            barrier_wait<OF_OTHERS>(&barrier, parity);
            parity ^= 1;
            if (threadIdx.x == 0) barrier_expect(&barrier, sizeof received);
            __syncwarp();
        }
    }
    cluster_arrive();
    cluster_wait();
}
#endif
