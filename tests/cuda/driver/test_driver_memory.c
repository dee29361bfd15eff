/* Memory of the stand-in driver: who may touch it, its limits, and copies. */
#include <signal.h>

#include "fixture.h"

static void touch(void *data) {
    signal(SIGSEGV, SIG_DFL); /* a sanitizer's own would report it */
    *(volatile char *)data = 1;
}

static void the_host_cannot_touch_device_memory(void) {
    gpu g;
    gpu_open(&g, 1);
    const CUdeviceptr buffer = buffer_of(7);
    CU_ASSERT_EQUAL(in_child(touch, (void *)(uintptr_t)buffer), -SIGSEGV);
    CU_ASSERT_EQUAL(value_of(buffer), 7);
    OK(cu.cuMemFree(buffer));
    gpu_close(&g);
}

static void freed_and_foreign_memory_is_refused(void) {
    gpu g;
    int32_t host[N] = {0};
    gpu_open(&g, 1);
    const CUdeviceptr buffer = buffer_of(7), other = buffer_of(8);
    FAILS(cu.cuMemFree(buffer + 256), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuMemFree(buffer));
    FAILS(cu.cuMemFree(buffer), CUDA_ERROR_INVALID_VALUE);
    FAILS(cu.cuMemcpyDtoH(host, buffer, N_BYTES), CUDA_ERROR_INVALID_VALUE);
    FAILS(cu.cuMemcpyHtoD(other, host, N_BYTES + 1), CUDA_ERROR_INVALID_VALUE);
    FAILS(cu.cuMemcpyHtoD(other + 4, host, N_BYTES), CUDA_ERROR_INVALID_VALUE);
    FAILS(cu.cuMemcpyHtoD((uintptr_t)host, host, N_BYTES), CUDA_ERROR_INVALID_VALUE);
    FAILS(cu.cuMemcpyHtoD(other, (void *)(uintptr_t)other, 4), CUDA_ERROR_INVALID_VALUE);
    FAILS(cu.cuMemFree(0), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuMemFree(other));
    gpu_close(&g);
}

static void memory_that_does_not_fit_is_refused(void) {
    gpu g;
    CUdeviceptr a, b;
    size_t free_bytes, total;
    gpu_start((const char *const[]){"EMU_CUDA_MEMORY_MIB=64", NULL});
    gpu_retain(&g, 1);
    OK(cu.cuMemAlloc(&a, 40 << 20));
    FAILS(cu.cuMemAlloc(&b, 40 << 20), CUDA_ERROR_OUT_OF_MEMORY);
    OK(cu.cuMemGetInfo(&free_bytes, &total));
    CU_ASSERT_EQUAL(total, 64 << 20);
    CU_ASSERT_EQUAL(free_bytes, 24 << 20);
    OK(cu.cuMemFree(a));
    OK(cu.cuMemAlloc(&b, 40 << 20));
    FAILS(cu.cuMemAlloc(&a, 0), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuMemFree(b));
    gpu_close(&g);
}

static void a_kernel_beyond_its_memory_loses_the_context(void) {
    gpu g;
    CUstream stream;
    gpu_open(&g, 1);
    const CUdeviceptr buffer = buffer_of(7);
    OK(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(launch_add(&g, buffer + 4, 1, stream)); /* late, as all that kernels do wrong */
    FAILS(cu.cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    CUdeviceptr more;
    FAILS(cu.cuMemAlloc(&more, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
    FAILS(launch_add(&g, buffer, 1, stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    FAILS(cu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    gpu other; /* another device's is not */
    gpu_retain(&other, 1);
    OK(cu.cuMemAlloc(&more, 4));
    OK(cu.cuMemFree(more));
    gpu_close(&other);
    gpu_close(&g);
}

static void kernels_reach_pinned_memory_that_is_mapped(void) {
    gpu g;
    int32_t *mapped, *plain;
    CUdeviceptr address;
    gpu_open(&g, 1);
    OK(cu.cuMemHostAlloc((void **)&mapped, N_BYTES, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP));
    OK(cu.cuMemHostAlloc((void **)&plain, N_BYTES, CU_MEMHOSTALLOC_PORTABLE));
    FAILS(cu.cuMemHostGetDevicePointer(&address, plain, 0), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuMemHostGetDevicePointer(&address, mapped, 0));
    for (int i = 0; i < N; i++) mapped[i] = i;
    OK(launch_add(&g, address, 1, NULL));
    CU_ASSERT_EQUAL(mapped[9], 9);
    OK(cu.cuCtxSynchronize());
    CU_ASSERT_EQUAL(mapped[9], 10);
    OK(cu.cuMemFreeHost(plain));
    FAILS(cu.cuMemFreeHost(plain), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuMemFreeHost(mapped));
    gpu_close(&g);
}

static void a_copy_from_pinned_memory_is_read_when_its_turn_comes(void) {
    gpu g;
    CUstream stream;
    int32_t *pinned;
    gpu_open(&g, 1);
    const CUdeviceptr buffer = buffer_of(1);
    OK(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cu.cuMemHostAlloc((void **)&pinned, N_BYTES, CU_MEMHOSTALLOC_PORTABLE));
    for (int i = 0; i < N; i++) pinned[i] = 2;
    OK(cu.cuMemcpyHtoDAsync(buffer, pinned, N_BYTES, stream));
    for (int i = 0; i < N; i++) pinned[i] = 3; /* too early: the copy takes this */
    OK(cu.cuStreamSynchronize(stream));
    CU_ASSERT_EQUAL(value_of(buffer), 3);
    OK(cu.cuMemcpyHtoDAsync(buffer, pinned, N_BYTES, stream));
    OK(cu.cuMemFreeHost(pinned));
    FAILS(cu.cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    gpu_close(&g);
}

/* What is promised of copies from and to memory that is not pinned; seeds show each thing that may be. */
static void copies_of_pageable_memory_are_read_at_the_call(void) {
    int n_early = 0, n_late = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        gpu g;
        CUstream stream;
        int32_t host[N], back[N];
        gpu_open(&g, seed);
        const CUdeviceptr buffer = buffer_of(1);
        OK(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
        for (int i = 0; i < N; i++) host[i] = 2, back[i] = 0;
        OK(cu.cuMemcpyHtoDAsync(buffer, host, N_BYTES, stream));
        for (int i = 0; i < N; i++) host[i] = 3;
        OK(cu.cuMemcpyDtoHAsync(back, buffer, N_BYTES, stream));
        n_early += back[5] == 2;
        n_late += back[5] == 0;
        OK(cu.cuStreamSynchronize(stream));
        CU_ASSERT_EQUAL(back[5], 2);
        gpu_close(&g);
    }
    CU_ASSERT_TRUE(n_early > 0 && n_late > 0);
}

/* Even the copy that waits may return before other streams see what it wrote, from memory that is not pinned. */
static void a_waiting_copy_may_arrive_late_in_other_streams(void) {
    int n_seen = 0, n_missed = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        gpu g;
        CUstream stream;
        int32_t host[N], *back;
        gpu_open(&g, seed);
        const CUdeviceptr buffer = buffer_of(1);
        OK(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
        OK(cu.cuMemHostAlloc((void **)&back, N_BYTES, 0));
        for (int i = 0; i < N; i++) host[i] = 2;
        OK(cu.cuMemcpyHtoD(buffer, host, N_BYTES));
        OK(cu.cuMemcpyDtoHAsync(back, buffer, N_BYTES, stream));
        OK(cu.cuStreamSynchronize(stream));
        n_seen += back[0] == 2;
        n_missed += back[0] == 1;
        gpu_close(&g);
    }
    CU_ASSERT_TRUE(n_seen > 0 && n_missed > 0);
}

static void copies_and_fills_on_the_device_write(void) {
    gpu g;
    gpu_open(&g, 1);
    const CUdeviceptr from = buffer_of(7), to = buffer_of(8);
    OK(cu.cuMemcpyDtoDAsync(to, from, N_BYTES, NULL));
    CU_ASSERT_EQUAL(value_of(to), 7);
    OK(cu.cuMemsetD8Async(to, 1, N_BYTES, NULL));
    CU_ASSERT_EQUAL(value_of(to), 0x01010101);
    gpu_close(&g);
}

/* A kernel that reads what was never written is stopped, also behind a copy of it. */
static void copies_of_nothing_stay_unwritten(void) {
    gpu g;
    CUdeviceptr never, copied;
    gpu_open(&g, 1);
    OK(cu.cuMemAlloc(&never, N_BYTES));
    OK(cu.cuMemAlloc(&copied, N_BYTES));
    OK(cu.cuMemsetD8Async(never, 0, N_BYTES - 4, NULL)); /* all but the last */
    OK(cu.cuMemcpyDtoDAsync(copied, never, N_BYTES, NULL));
    OK(cu.cuCtxSynchronize());
    OK(launch_add(&g, copied, 1, NULL));
    FAILS(cu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    gpu_close(&g);
}

static void peers_copy_from_one_to_the_other(void) {
    gpu a, b;
    int can = 0;
    gpu_open(&a, 1);
    const CUdeviceptr from = buffer_of(7);
    gpu_retain(&b, 1);
    const CUdeviceptr to = buffer_of(8);
    OK(cu.cuDeviceCanAccessPeer(&can, 0, 1));
    CU_ASSERT_EQUAL(can, 1);
    FAILS(cu.cuMemcpyDtoDAsync(to, from, N_BYTES, NULL), CUDA_ERROR_INVALID_VALUE);
    FAILS(cu.cuMemcpyPeerAsync(to, a.context, from, b.context, N_BYTES, NULL), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuMemcpyPeerAsync(to, b.context, from, a.context, N_BYTES, NULL));
    CU_ASSERT_EQUAL(value_of(to), 7);
    gpu_close(&b);
    gpu_close(&a);
}

static const check_case cases[] = {
    CHECK_CASE(the_host_cannot_touch_device_memory),
    CHECK_CASE(freed_and_foreign_memory_is_refused),
    CHECK_CASE(memory_that_does_not_fit_is_refused),
    CHECK_CASE(a_kernel_beyond_its_memory_loses_the_context),
    CHECK_CASE(kernels_reach_pinned_memory_that_is_mapped),
    CHECK_CASE(a_copy_from_pinned_memory_is_read_when_its_turn_comes),
    CHECK_CASE(copies_of_pageable_memory_are_read_at_the_call),
    CHECK_CASE(a_waiting_copy_may_arrive_late_in_other_streams),
    CHECK_CASE(copies_and_fills_on_the_device_write),
    CHECK_CASE(copies_of_nothing_stay_unwritten),
    CHECK_CASE(peers_copy_from_one_to_the_other),
};
CHECK_MAIN("driver memory", cases)
