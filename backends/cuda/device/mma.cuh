/* Matrix products of a warp on tensor cores, of compute capability 8.0 and on: 16 x 16 times 16 x 8 halves, summed in
 * floats. Lane l of a warp has of the left factor rows l / 4 and 8 more, columns 2 (l % 4), the next and 8 more; of
 * the right one columns l / 4, rows as those columns; of the sum rows as the left, columns 2 (l % 4) and the next. */
#pragma once
#include "device.cuh"

#if __CUDA_ARCH__ >= 800

/* Two numbers as halves, the first in the low bits. */
__device__ __forceinline__ u32 halves(float first, float second) {
    u32 both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
    return both;
}

__device__ __forceinline__ u32 shared_address(const void *p) {
    return (u32)__cvta_generic_to_shared(p);
}

__device__ __forceinline__ void multiply(float (&sum)[4], const u32 (&left)[4], u32 right_0, u32 right_1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right_0), "r"(right_1));
}

/* Four 8 x 8 matrices of halves from shared memory; lanes 8 i to 8 i + 7 give the addresses of the rows of matrix i.
 * A lane gets two neighbours of row l / 4 of each, or of column l / 4. */
__device__ __forceinline__ void load_matrices(u32 (&out)[4], const f16 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(u32 (&out)[4], const f16 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* Copies 16 bytes to shared memory while the thread goes on; zeros if not is_there. A wait is for all copies of the
 * thread, and a barrier behind it for those of the block. */
__device__ __forceinline__ void copy_ahead(void *shared, const void *from, bool is_there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared_address(shared)), "l"(from), "r"(is_there ? 16 : 0)
                 : "memory");
}
__device__ __forceinline__ void wait_for_copies() {
    asm volatile("cp.async.wait_all;" : : : "memory");
}

#endif
