/* Blocks of a cluster, from compute capability 9.0 on: stores into each other's shared memory, barriers there that
 * count arrivals and bytes, and bulk copies that such a barrier counts. Includes none of the barriers of the whole
 * cluster that make memory of all kinds visible, but the one before a block's memory is written to by others. */
#pragma once
#include "device.cuh"

__device__ __forceinline__ u32 shared_address(const void *p) {
    return (u32)__cvta_generic_to_shared(p);
}

__device__ __forceinline__ u32 cluster_rank() {
    u32 rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

/* Where block `rank` has what this one has at `address`. */
__device__ __forceinline__ u32 of_block(u32 address, int rank) {
    u32 there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
    return there;
}

/* All threads of all blocks arrive, then wait: what a block wrote to its own shared memory before it arrived is
 * there. */
__device__ __forceinline__ void cluster_arrive() {
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_wait() {
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

/* ---- barriers in shared memory ---- */

__device__ __forceinline__ void barrier_init(u64 *barrier, u32 arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
/* By the thread that made them: other blocks, and copies, may use them behind the next barrier of the cluster. */
__device__ __forceinline__ void barriers_are_made() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
/* Arrives, and has the phase wait for so many bytes more. */
__device__ __forceinline__ void barrier_expect(u64 *barrier, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
}
/* Until the phase of that parity is over. What the bytes that it counted are can be read then: those of other blocks,
 * or, with OF_OWN, of this block's copies alone, which is cheaper. By whole warps, of which one lane asks. */
enum of_whom { OF_OWN, OF_OTHERS };
template <of_whom WHOSE>
__device__ __forceinline__ void barrier_wait(u64 *barrier, u32 parity) {
    const u32 address = shared_address(barrier);
    u32 is_over = threadIdx.x % 32 != 0;
    while (!is_over) {
        if (WHOSE == OF_OWN) {
            asm volatile(
                "{\n.reg .pred p;\n"
                "mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 p, [%1], %2;\n"
                "selp.u32 %0, 1, 0, p;\n}"
                : "=r"(is_over)
                : "r"(address), "r"(parity)
                : "memory");
        } else {
            asm volatile(
                "{\n.reg .pred p;\n"
                "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n"
                "selp.u32 %0, 1, 0, p;\n}"
                : "=r"(is_over)
                : "r"(address), "r"(parity)
                : "memory");
        }
    }
    __syncwarp();
}

/* ---- what they count ---- */

/* Into another block's shared memory, counted by a barrier of that block: addresses of of_block. */
__device__ __forceinline__ void store_async(u32 to, float value, u32 barrier) {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.f32 [%0], %1, [%2];" ::"r"(to), "f"(value),
                 "r"(barrier)
                 : "memory");
}
__device__ __forceinline__ void store_async(u32 to, float4 value, u32 barrier) {
    asm volatile(
        "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to),
        "f"(value.x), "f"(value.y), "f"(value.z), "f"(value.w), "r"(barrier)
        : "memory");
}
/* From global to shared memory, both and the size multiples of 16. */
__device__ __forceinline__ void begin_bulk_copy(void *to, const void *from, u32 bytes, u64 *barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     shared_address(to)),
                 "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(barrier))
                 : "memory");
}

/* ---- copies of a thread ---- */

__device__ __forceinline__ void begin_copy(float *to, const void *from) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared_address(to)),
                 "l"(__cvta_generic_to_global(from))
                 : "memory");
}
/* All that this thread began. Others see it behind a barrier. */
__device__ __forceinline__ void wait_for_copies() {
    asm volatile("cp.async.wait_all;" ::: "memory");
}
