// Pairs of kernels as in faults.cu, of barriers in shared memory and of the copies that complete on them.
typedef unsigned u32;
#define KERNEL extern "C" __global__ void
#define THREAD ((int)threadIdx.x)

__device__ u32 shared_address(const void *p) {
    return (u32)__cvta_generic_to_shared(p);
}
__device__ u32 cluster_rank() {
    u32 rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
__device__ void cluster_sync() {
    asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}

typedef unsigned long long barrier;
__device__ void barrier_init(barrier *b, u32 count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(count) : "memory");
}
__device__ void barrier_expect(barrier *b, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)), "r"(bytes) : "memory");
}
__device__ void barrier_arrive(barrier *b) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory"); // MARK barrier
}
__device__ void barrier_wait(barrier *b, u32 parity) {
    u32 is_over = 0;
    while (!is_over) { // MARK tile_handed_over
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }" // MARK barrier
                     : "=r"(is_over) : "r"(shared_address(b)), "r"(parity) : "memory");
    }
}
__device__ void bulk_load(void *to, const void *from, u32 bytes, barrier *b) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" // MARK bulk_load_over_readers
                 ::"r"(shared_address(to)), "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(b)) : "memory"); // MARK bulk_load_over_readers
}

// Two rounds, as a pipeline has them: the tile is loaded again after all have read it.
KERNEL bulk_load_not_waited_for(float *y, const float *x, u32 *flags) {
    __shared__ __align__(16) float tile[256];
    __shared__ barrier b;
    if (THREAD == 0) barrier_init(&b, 1);
    __syncthreads();
    float sum = 0;
    for (u32 round = 0; round < 2; round++) {
        if (THREAD == 0) {
            barrier_expect(&b, 1024);
            bulk_load(tile, x + 256 * round, 1024, &b);
        }
#if FAULT
        if (THREAD == 0) barrier_wait(&b, round);
#else
        barrier_wait(&b, round);
#endif
        sum += tile[THREAD ^ 1]; // MARK bulk_load_not_waited_for
        __syncthreads();
    }
    y[THREAD] = sum;
}

KERNEL bulk_load_over_readers(float *y, const float *x, u32 *flags) {
    __shared__ __align__(16) float tile[256];
    __shared__ barrier b;
    if (THREAD == 0) barrier_init(&b, 1);
    __syncthreads();
    float sum = 0;
    for (u32 round = 0; round < 2; round++) {
        if (THREAD == 0) {
            barrier_expect(&b, 1024);
            bulk_load(tile, x + 256 * round, 1024, &b);
        }
        barrier_wait(&b, round);
        sum += tile[THREAD ^ 1]; // MARK bulk_load_over_readers
#if !FAULT
        __syncthreads();
#endif
    }
    y[THREAD] = sum;
}

// Half of the block makes tiles, the other takes them.
KERNEL tile_handed_over(float *y, const float *x, u32 *flags) {
    __shared__ float tile[64];
    __shared__ barrier full, empty;
    if (THREAD == 0) barrier_init(&full, 64), barrier_init(&empty, 64);
    __syncthreads();
    float sum = 0;
    for (u32 round = 0; round < 3; round++) {
        if (THREAD < 64) {
            if (round && !FAULT) barrier_wait(&empty, round - 1 & 1);
            tile[THREAD] = x[round * 64 + THREAD]; // MARK tile_handed_over
            barrier_arrive(&full);
        } else {
            barrier_wait(&full, round & 1);
            sum += tile[127 - THREAD]; // MARK tile_handed_over
            barrier_arrive(&empty);
        }
    }
    if (THREAD >= 64) y[THREAD] = sum;
}

KERNEL barrier_without_init(float *y, const float *x, u32 *flags) {
    __shared__ barrier b;
    if (THREAD == 0) barrier_init(&b, 64);
#if !FAULT
    __syncthreads();
#endif
    barrier_arrive(&b);
    barrier_wait(&b, 0);
    y[THREAD] = x[THREAD];
}

KERNEL bulk_store_not_waited_for(float *y, const float *x, u32 *flags) {
    __shared__ __align__(16) float tile[64];
    tile[THREAD] = x[THREAD];
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
    if (THREAD == 0) {
        asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], 256;" // MARK bulk_store_not_waited_for
                     ::"l"(__cvta_generic_to_global(y)), "r"(shared_address(tile)) : "memory"); // MARK bulk_store_not_waited_for
        asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#if !FAULT
        asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
#endif
    }
}

// Each block of two sends its part to the other, which waits for the bytes.
KERNEL stored_to_the_other(float *y, const float *x, u32 *flags) {
    __shared__ float part[64];
    __shared__ barrier b;
    if (THREAD == 0) {
        barrier_init(&b, 1);
        barrier_expect(&b, 256);
    }
    cluster_sync();
    u32 to, at;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(to) : "r"(shared_address(part + THREAD)), "r"(cluster_rank() ^ 1));
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(at) : "r"(shared_address(&b)), "r"(cluster_rank() ^ 1));
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.f32 [%0], %1, [%2];"
                 ::"r"(to), "f"(x[THREAD]), "r"(at) : "memory");
#if !FAULT
    barrier_wait(&b, 0);
#endif
    y[blockIdx.x * 64 + THREAD] = part[THREAD]; // MARK stored_to_the_other
    cluster_sync();
}
