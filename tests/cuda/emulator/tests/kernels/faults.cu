// Pairs of kernels: with FAULT each has the one mistake that its name says, on the line that is marked.
// y: 4096 floats, x: 4096 floats, flags: 64 words of 0.
typedef unsigned u32;
typedef unsigned long long u64;
#define KERNEL extern "C" __global__ void
#define THREAD ((int)threadIdx.x)

__device__ u32 shared_address(const void *p) {
    return (u32)__cvta_generic_to_shared(p);
}

KERNEL missing_syncthreads(float *y, const float *x, u32 *flags) {
    __shared__ float tile[256];
    tile[THREAD] = x[THREAD];
#if !FAULT
    __syncthreads();
#endif
    y[THREAD] = tile[255 - THREAD]; // MARK missing_syncthreads
}

KERNEL missing_second_syncthreads(float *y, const float *x, u32 *flags) {
    __shared__ float tile[256];
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        tile[THREAD] = x[i * 256 + THREAD]; // MARK missing_second_syncthreads
        __syncthreads();
        sum += tile[255 - THREAD]; // MARK missing_second_syncthreads
#if !FAULT
        __syncthreads();
#endif
    }
    y[THREAD] = sum;
}

KERNEL missing_syncwarp(float *y, const float *x, u32 *flags) {
    __shared__ float tile[256];
    tile[THREAD] = x[THREAD];
#if !FAULT
    __syncwarp();
#endif
    y[THREAD] = tile[THREAD ^ 1]; // MARK missing_syncwarp
}

KERNEL wrong_shuffle_mask(float *y, const float *x, u32 *flags) {
    float sum = x[THREAD];
    const u32 mask = FAULT ? 0x0000ffff : 0xffffffff;
    for (int i = 16; i > 0; i /= 2) sum += __shfl_xor_sync(mask, sum, i); // MARK wrong_shuffle_mask
    y[THREAD] = sum;
}

KERNEL shuffle_in_a_branch(float *y, const float *x, u32 *flags) {
    float v = x[THREAD];
    if (THREAD % 32 < 16 || !FAULT) v += __shfl_down_sync(0xffffffff, v, 1); // MARK shuffle_in_a_branch
    y[THREAD] = v;
}

KERNEL tile_one_too_long(float *y, const float *x, u32 *flags) {
    __shared__ float tile[64];
    __shared__ float other[64];
    if (THREAD < 64) tile[THREAD] = x[THREAD], other[THREAD] = x[THREAD + 64];
    __syncthreads();
    float sum = 0;
    for (int i = 0; i < 64 + FAULT; i++) sum += tile[i]; // MARK tile_one_too_long
    y[THREAD] = sum + other[THREAD & 63];
}

KERNEL behind_the_buffer(float *y, const float *x, u32 *flags) {
    y[THREAD] = x[4095 - 255 + THREAD + FAULT]; // MARK behind_the_buffer
}

KERNEL before_the_buffer(float *y, const float *x, u32 *flags) {
    y[THREAD - FAULT] = x[THREAD]; // MARK before_the_buffer
}

KERNEL behind_dynamic_shared(float *y, const float *x, u32 *flags) {
    extern __shared__ float tile[]; // 256 floats
    tile[THREAD + FAULT] = x[THREAD]; // MARK behind_dynamic_shared
    __syncthreads();
    y[THREAD] = tile[255 - THREAD + FAULT];
}

KERNEL unaligned_vector(float *y, const float *x, u32 *flags) {
    const float4 v = *(const float4 *)(x + THREAD * 4 + FAULT); // MARK unaligned_vector
    y[THREAD] = v.x + v.y + v.z + v.w;
}

KERNEL unaligned_shared(float *y, const float *x, u32 *flags) {
#if FAULT
    __shared__ float tile[256];
#else
    __shared__ __align__(16) float tile[256];
#endif
    tile[THREAD] = x[THREAD];
    __syncthreads();
    const float4 v = *(const float4 *)(tile + (THREAD & 63) * 4); // MARK unaligned_shared
    y[THREAD] = v.x + v.y + v.z + v.w;
}

KERNEL uninitialised_shared(float *y, const float *x, u32 *flags) {
    __shared__ float tile[256];
    if (THREAD < 256 - FAULT) tile[THREAD] = x[THREAD];
    __syncthreads();
    y[THREAD] = tile[255 - THREAD]; // MARK uninitialised_shared
}

KERNEL uninitialised_global(float *y, const float *x, u32 *flags) {
    y[THREAD] = x[THREAD];
    y[THREAD] += y[THREAD + FAULT * 256]; // MARK uninitialised_global
}

__device__ void copy_16(void *to, const void *from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(__cvta_generic_to_global(from)) : "memory");
}

KERNEL copy_not_waited_for(float *y, const float *x, u32 *flags) {
    __shared__ __align__(16) float tile[2][1024];
    copy_16(&tile[0][THREAD * 4], x + THREAD * 4);
    asm volatile("cp.async.commit_group;" ::: "memory");
    copy_16(&tile[1][THREAD * 4], x + 1024 + THREAD * 4);
    asm volatile("cp.async.commit_group;" ::: "memory");
#if FAULT
    asm volatile("cp.async.wait_group 2;" ::: "memory");
#else
    asm volatile("cp.async.wait_group 1;" ::: "memory");
#endif
    __syncthreads();
    const float first = tile[0][THREAD * 4 ^ 4]; // MARK copy_not_waited_for
    asm volatile("cp.async.wait_all;" ::: "memory");
    __syncthreads();
    y[THREAD] = first + tile[1][THREAD * 4 ^ 4];
}

KERNEL copy_waited_for_by_its_thread_only(float *y, const float *x, u32 *flags) {
    __shared__ __align__(16) float tile[1024];
    copy_16(&tile[THREAD * 4], x + THREAD * 4);
#if FAULT
    __syncthreads();
    asm volatile("cp.async.wait_all;" ::: "memory"); // MARK copy_waited_for_by_its_thread_only
    y[THREAD] = tile[THREAD * 4 ^ 4]; // MARK copy_waited_for_by_its_thread_only
#else
    asm volatile("cp.async.wait_all;" ::: "memory");
    __syncthreads();
    y[THREAD] = tile[THREAD * 4 ^ 4];
#endif
}

__device__ u32 cluster_rank() {
    u32 rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
__device__ float read_remote(const float *p, u32 rank) {
    u32 address;
    float value;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared_address(p)), "r"(rank));
    asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(address) : "memory"); // MARK remote
    return value;
}
__device__ void cluster_sync() {
    asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}

KERNEL remote_read_after_exit(float *y, const float *x, u32 *flags) {
    __shared__ float part[64];
    part[THREAD] = x[blockIdx.x * 64 + THREAD];
    cluster_sync();
    y[blockIdx.x * 64 + THREAD] = read_remote(part + THREAD, cluster_rank() ^ 1);
#if !FAULT
    cluster_sync();
#endif
}

KERNEL remote_read_before_begin(float *y, const float *x, u32 *flags) {
    __shared__ float part[64];
    part[THREAD] = x[blockIdx.x * 64 + THREAD];
#if !FAULT
    cluster_sync();
#endif
    y[blockIdx.x * 64 + THREAD] = read_remote(part + THREAD, cluster_rank() ^ 1);
    cluster_sync();
}

KERNEL cluster_relaxed_arrive(float *y, const float *x, u32 *flags) {
    __shared__ float part[64];
    cluster_sync();
    part[THREAD] = x[blockIdx.x * 64 + THREAD];
#if FAULT
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
#else
    asm volatile("fence.acq_rel.cluster;\nbarrier.cluster.arrive.relaxed.aligned;" ::: "memory");
#endif
    asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
    y[blockIdx.x * 64 + THREAD] = read_remote(part + THREAD, cluster_rank() ^ 1);
    cluster_sync();
}

KERNEL cluster_write_after_arrive(float *y, const float *x, u32 *flags) {
    __shared__ float part[64];
    cluster_sync();
#if !FAULT
    part[THREAD] = x[blockIdx.x * 64 + THREAD];
#endif
    asm volatile("barrier.cluster.arrive.aligned;" ::: "memory");
#if FAULT
    part[THREAD] = x[blockIdx.x * 64 + THREAD];
#endif
    asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
    y[blockIdx.x * 64 + THREAD] = read_remote(part + THREAD, cluster_rank() ^ 1);
    cluster_sync();
}

KERNEL race_between_blocks(float *y, const float *x, u32 *flags) {
    y[blockIdx.x * (FAULT ? 255 : 256) + THREAD] = x[blockIdx.x * 256 + THREAD]; // MARK race_between_blocks
}

KERNEL accumulation_without_atomics(float *y, const float *x, u32 *flags) {
#if FAULT
    flags[THREAD & 7] += 1; // MARK accumulation_without_atomics
#else
    atomicAdd(&flags[THREAD & 7], 1u);
#endif
    y[blockIdx.x * 256 + THREAD] = x[THREAD];
}

KERNEL barrier_in_a_branch(float *y, const float *x, u32 *flags) {
    float v = x[THREAD];
    if (THREAD % 32 < 16 || !FAULT) __syncthreads(); // MARK barrier_in_a_branch
    v = __shfl_xor_sync(0xffffffff, v, 16); // MARK barrier_in_a_branch
    y[THREAD] = v;
}

KERNEL two_barriers_in_a_branch(float *y, const float *x, u32 *flags) {
    if (THREAD % 32 < 16 && FAULT) {
        asm volatile("bar.sync 0;" ::: "memory"); // MARK two_barriers_in_a_branch
        y[THREAD] = 1;
    } else {
        asm volatile("bar.sync 0;" ::: "memory"); // MARK two_barriers_in_a_branch
        y[THREAD] = x[THREAD];
    }
}

// Whether this block is the last to come here, before which it knows what the others did; with the mistake it does not.
static __device__ bool is_last_block(u32 *flags) {
    __shared__ bool is_last;
    __syncthreads();
    if (THREAD == 0) {
#if !FAULT
        __threadfence();
#endif
        is_last = atomicAdd(&flags[0], 1) == gridDim.x - 1;
#if !FAULT
        __threadfence();
#endif
    }
    __syncthreads();
    return is_last;
}

// The last block sums what all have written.
KERNEL last_block_without_fence(float *y, const float *x, u32 *flags) {
    y[blockIdx.x * 256 + THREAD] = x[blockIdx.x * 256 + THREAD];
    if (!is_last_block(flags)) return;
    float sum = 0;
    for (u32 b = 0; b < gridDim.x; b++) sum += y[b * 256 + THREAD]; // MARK last_block_without_fence
    y[2048 + THREAD] = sum;
    if (THREAD == 0) flags[0] = 0;
}

KERNEL last_block_with_narrow_fence(float *y, const float *x, u32 *flags) {
    __shared__ bool is_last;
    y[blockIdx.x * 256 + THREAD] = x[blockIdx.x * 256 + THREAD];
    __syncthreads();
    if (THREAD == 0) {
#if FAULT
        __threadfence_block();
#else
        __threadfence();
#endif
        is_last = atomicAdd(&flags[0], 1) == gridDim.x - 1;
        __threadfence();
    }
    __syncthreads();
    if (!is_last) return;
    float sum = 0;
    for (u32 b = 0; b < gridDim.x; b++) sum += y[b * 256 + THREAD]; // MARK last_block_with_narrow_fence
    y[2048 + THREAD] = sum;
}

// All blocks read the same words, several warps of each; the last block writes them.
KERNEL last_block_over_readers(float *y, const float *x, u32 *flags) {
    y[blockIdx.x * 256 + THREAD] = x[THREAD] + x[THREAD ^ 64];
    if (is_last_block(flags)) const_cast<float *>(x)[THREAD] = 0; // MARK last_block_over_readers
}

KERNEL last_block_over_halves(float *y, const float *x, u32 *flags) {
    unsigned short *halves = (unsigned short *)x;
    y[blockIdx.x * 256 + THREAD] = x[THREAD ^ 64] + halves[THREAD];
    if (is_last_block(flags)) halves[THREAD] = 0; // MARK last_block_over_halves
}

// Within a block: a flag that one warp raises and another waits for.
KERNEL flag_without_fence(float *y, const float *x, u32 *flags) {
    volatile u32 *flag = flags;
    if (THREAD < 32) {
        y[THREAD] = x[THREAD];
        __syncwarp();
#if !FAULT
        __threadfence();
#endif
        if (THREAD == 0) *flag = 1;
    } else if (THREAD == 32) {
        while (*flag == 0) {
        }
#if !FAULT
        __threadfence();
#endif
        float sum = 0;
        for (int i = 0; i < 32; i++) sum += y[i]; // MARK flag_without_fence
        y[64] = sum;
        *flag = 0;
    }
}

KERNEL flag_by_acquire(float *y, const float *x, u32 *flags) {
    if (THREAD == 0) {
        y[0] = x[0];
#if FAULT
        asm volatile("st.relaxed.gpu.global.u32 [%0], 1;" ::"l"(flags) : "memory");
#else
        asm volatile("st.release.gpu.global.u32 [%0], 1;" ::"l"(flags) : "memory");
#endif
    } else if (THREAD == 32) {
        u32 is_set = 0;
        while (!is_set) asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(is_set) : "l"(flags) : "memory");
        y[1] = y[0]; // MARK flag_by_acquire
        asm volatile("st.relaxed.gpu.global.u32 [%0], 0;" ::"l"(flags) : "memory");
    }
}

KERNEL plain_flag(float *y, const float *x, u32 *flags) {
    if (THREAD == 0) {
        y[0] = x[0];
        __threadfence();
#if FAULT
        flags[0] = 1; // MARK plain_flag
#else
        atomicExch(&flags[0], 1);
#endif
    } else if (THREAD == 32) {
        while (atomicAdd(&flags[0], 0) == 0) { // MARK plain_flag
        }
        __threadfence();
        y[1] = y[0];
        atomicExch(&flags[0], 0);
    }
}

KERNEL endless_loop(float *y, const float *x, u32 *flags) {
    while (*(volatile u32 *)flags == 0 && FAULT) { // MARK endless_loop
    }
    y[THREAD] = x[THREAD];
}

// Two halves of a block hand a tile over by named barriers.
KERNEL named_barrier_too_few(float *y, const float *x, u32 *flags) {
    __shared__ float tile[64];
    if (THREAD < 64) {
        tile[THREAD] = x[THREAD];
        asm volatile("bar.arrive 1, 128;" ::: "memory"); // MARK named_barrier_too_few
    } else if (THREAD < 128) {
        asm volatile("bar.sync 1, %0;" ::"r"(FAULT ? 64 : 128) : "memory"); // MARK named_barrier_too_few
        y[THREAD] = tile[THREAD - 64]; // MARK named_barrier_too_few
    }
}

KERNEL named_barrier_of_others(float *y, const float *x, u32 *flags) {
    __shared__ float tile[128];
    if (THREAD < 128) tile[THREAD] = 0;
    __syncthreads();
    if (THREAD < 128) tile[THREAD] = x[THREAD]; // MARK named_barrier_of_others
    // Warps 0 to 3 meet; with the mistake only two and two of them.
    if (THREAD < 128) asm volatile("bar.sync %0, %1;" ::"r"(FAULT ? 1 + THREAD / 64 : 1), "r"(FAULT ? 64 : 128) : "memory");
    if (THREAD < 128) y[THREAD] = tile[127 - THREAD]; // MARK named_barrier_of_others
}

KERNEL halves_of_a_word(float *y, const float *x, u32 *flags) {
    // Neighbours write the halves of a word, which is no race; with the mistake, the same half.
    unsigned short *h = (unsigned short *)y;
    h[FAULT ? THREAD / 2 * 2 : THREAD] = (unsigned short)THREAD; // MARK halves_of_a_word
}

KERNEL in_place_halves(float *y, const float *x, u32 *flags) {
    __shared__ unsigned short h[256];
    h[THREAD] = (unsigned short)THREAD;
    h[THREAD] = (unsigned short)(h[FAULT ? THREAD ^ 1 : THREAD] + 1); // MARK in_place_halves
    y[THREAD] = h[THREAD];
}

// What an early launch begins behind.
KERNEL before_early(float *y, const float *x, u32 *flags) {
    y[THREAD] = x[THREAD];
    if (THREAD < 128) ((unsigned short *)flags)[THREAD] = (unsigned short)THREAD;
}

#define WAIT asm volatile("griddepcontrol.wait;" ::: "memory")

KERNEL early_read(float *y, const float *x, u32 *flags) {
    const float first = x[THREAD];
    if (!FAULT) WAIT;
    const float second = y[THREAD]; // MARK early_read
    WAIT;
    y[THREAD] = first + second;
}

KERNEL early_read_of_halves(float *y, const float *x, u32 *flags) {
    if (!FAULT) WAIT;
    const unsigned short half = ((unsigned short *)flags)[THREAD % 128]; // MARK early_read_of_halves
    WAIT;
    y[THREAD] = half;
}

KERNEL early_write(float *y, const float *x, u32 *flags) {
    if (!FAULT) WAIT;
    y[THREAD + 1024] = x[THREAD]; // MARK early_write
    WAIT;
}

KERNEL early_without_wait(float *y, const float *x, u32 *flags) {
    if (!FAULT) WAIT;
}

KERNEL early_for_one(float *y, const float *x, u32 *flags) {
    if (!FAULT || THREAD != 7) WAIT;
    y[THREAD + 1024] = y[THREAD]; // MARK early_for_one
}
