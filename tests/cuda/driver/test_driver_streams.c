/* Streams and events of the stand-in driver: what keeps order, and what does not. */
#include "fixture.h"

/* Runs under many seeds; in how many it was true. */
static int count_seeds(int (*run)(gpu *g)) {
    int n = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        gpu g;
        gpu_open(&g, seed);
        n += run(&g);
        gpu_close(&g);
    }
    return n;
}

static void nothing_happens_before_something_waits(void) {
    gpu g;
    CUstream stream;
    int32_t *pinned;
    gpu_open(&g, 1);
    const CUdeviceptr buffer = buffer_of(1);
    OK(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cu.cuMemHostAlloc((void **)&pinned, N_BYTES, 0));
    OK(launch_add(&g, buffer, 1, stream));
    OK(cu.cuMemcpyDtoHAsync(pinned, buffer, N_BYTES, stream));
    CU_ASSERT_EQUAL(pinned[0], 0);
    OK(cu.cuStreamSynchronize(stream));
    CU_ASSERT_EQUAL(pinned[0], 2);
    gpu_close(&g);
}

/* b reads what a writes. `how`: 0, nothing orders them; 1, an event; 2, the default stream; 3, waiting in between. */
static int is_write_seen(gpu *g, unsigned flags, int how) {
    CUstream a, b;
    CUevent written;
    const CUdeviceptr buffer = buffer_of(1), copied = buffer_of(0);
    OK(cu.cuStreamCreate(&a, flags));
    OK(cu.cuStreamCreate(&b, flags));
    OK(cu.cuEventCreate(&written, CU_EVENT_DISABLE_TIMING));
    OK(launch_add(g, buffer, 1, a));
    if (how == 1) {
        OK(cu.cuEventRecord(written, a));
        OK(cu.cuStreamWaitEvent(b, written, 0));
    }
    if (how == 2) OK(launch_add(g, copied, 0, NULL));
    if (how == 3) OK(cu.cuStreamSynchronize(a));
    OK(cu.cuMemcpyDtoDAsync(copied, buffer, N_BYTES, b));
    OK(cu.cuCtxSynchronize());
    return value_of(copied) == 2;
}

static int without_order(gpu *g) {
    return is_write_seen(g, CU_STREAM_NON_BLOCKING, 0);
}
static int with_an_event(gpu *g) {
    return is_write_seen(g, CU_STREAM_NON_BLOCKING, 1);
}
static int with_the_default_stream(gpu *g) {
    return is_write_seen(g, CU_STREAM_DEFAULT, 2);
}
static int past_the_default_stream(gpu *g) {
    return is_write_seen(g, CU_STREAM_NON_BLOCKING, 2);
}
static int with_a_wait(gpu *g) {
    return is_write_seen(g, CU_STREAM_NON_BLOCKING, 3);
}

static void streams_are_ordered_by_events_waits_and_the_default_stream_alone(void) {
    const int loose = count_seeds(without_order), past = count_seeds(past_the_default_stream);
    CU_ASSERT_TRUE(loose > 0 && loose < 40);
    CU_ASSERT_TRUE(past > 0 && past < 40);
    CU_ASSERT_EQUAL(count_seeds(with_an_event), 40);
    CU_ASSERT_EQUAL(count_seeds(with_the_default_stream), 40);
    CU_ASSERT_EQUAL(count_seeds(with_a_wait), 40);
}

static void a_stream_waits_for_the_last_record_before_it_was_told_to(void) {
    gpu g;
    CUstream a, b;
    CUevent event;
    gpu_open(&g, 1);
    const CUdeviceptr buffer = buffer_of(1);
    OK(cu.cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    OK(cu.cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
    OK(cu.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    OK(cu.cuStreamWaitEvent(b, event, 0)); /* never recorded: nothing to wait for */
    OK(cu.cuStreamSynchronize(b));
    OK(launch_add(&g, buffer, 1, a));
    OK(cu.cuEventRecord(event, a));
    OK(cu.cuStreamWaitEvent(b, event, 0));
    OK(cu.cuStreamWaitEvent(a, event, 0));
    OK(cu.cuEventRecord(event, b)); /* a second one, behind the wait: not waited for by b */
    OK(cu.cuEventSynchronize(event));
    CU_ASSERT_EQUAL(value_of(buffer), 2);
    OK(cu.cuEventDestroy(event));
    FAILS(cu.cuEventRecord(event, a), CUDA_ERROR_INVALID_HANDLE);
    FAILS(cu.cuEventDestroy(event), CUDA_ERROR_INVALID_HANDLE);
    gpu_close(&g);
}

static void who_asks_again_and_again_comes_to_an_end(void) {
    gpu g;
    CUstream stream;
    CUevent event;
    CUresult result;
    int n = 0;
    gpu_open(&g, 1);
    const CUdeviceptr buffer = buffer_of(1);
    OK(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cu.cuEventCreate(&event, CU_EVENT_DEFAULT));
    OK(cu.cuEventQuery(event));
    for (int i = 0; i < 5; i++) OK(launch_add(&g, buffer, 1, stream));
    OK(cu.cuEventRecord(event, stream));
    while ((result = cu.cuEventQuery(event)) == CUDA_ERROR_NOT_READY && n < 100) n++;
    OK(result);
    CU_ASSERT_TRUE(n >= 5);
    OK(launch_add(&g, buffer, 1, stream));
    OK(launch_add(&g, buffer, 1, stream));
    FAILS(cu.cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
    OK(cu.cuStreamQuery(stream));
    CU_ASSERT_EQUAL(value_of(buffer), 8);
    gpu_close(&g);
}

static void events_show_time_that_passes(void) {
    gpu g;
    CUevent from, to, untimed;
    float ms = -1;
    gpu_open(&g, 1);
    const CUdeviceptr buffer = buffer_of(1);
    OK(cu.cuEventCreate(&from, CU_EVENT_DEFAULT));
    OK(cu.cuEventCreate(&to, CU_EVENT_DEFAULT));
    OK(cu.cuEventCreate(&untimed, CU_EVENT_DISABLE_TIMING));
    OK(cu.cuEventRecord(from, NULL));
    OK(cu.cuEventRecord(untimed, NULL));
    FAILS(cu.cuEventElapsedTime(&ms, from, to), CUDA_ERROR_INVALID_HANDLE);
    OK(launch_add(&g, buffer, 1, NULL));
    OK(cu.cuEventRecord(to, NULL));
    FAILS(cu.cuEventElapsedTime(&ms, from, to), CUDA_ERROR_NOT_READY);
    OK(cu.cuEventSynchronize(to));
    OK(cu.cuEventElapsedTime(&ms, from, to));
    CU_ASSERT_TRUE(ms > 0);
    FAILS(cu.cuEventElapsedTime(&ms, untimed, to), CUDA_ERROR_INVALID_HANDLE);
    gpu_close(&g);
}

static void the_work_of_a_destroyed_stream_is_done(void) {
    gpu g;
    CUstream stream;
    gpu_open(&g, 1);
    const CUdeviceptr buffer = buffer_of(1);
    OK(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(launch_add(&g, buffer, 1, stream));
    OK(cu.cuStreamDestroy(stream));
    FAILS(cu.cuStreamSynchronize(stream), CUDA_ERROR_INVALID_HANDLE);
    FAILS(launch_add(&g, buffer, 1, stream), CUDA_ERROR_INVALID_HANDLE);
    FAILS(cu.cuStreamDestroy(stream), CUDA_ERROR_INVALID_HANDLE);
    OK(cu.cuCtxSynchronize());
    CU_ASSERT_EQUAL(value_of(buffer), 2);
    gpu_close(&g);
}

static void freeing_memory_waits_for_what_uses_it(void) {
    gpu g;
    CUstream stream;
    gpu_open(&g, 1);
    const CUdeviceptr buffer = buffer_of(1), copied = buffer_of(0);
    OK(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cu.cuMemcpyDtoDAsync(copied, buffer, N_BYTES, stream));
    OK(cu.cuMemFree(buffer));
    CU_ASSERT_EQUAL(value_of(copied), 1);
    gpu_close(&g);
}

static const check_case cases[] = {
    CHECK_CASE(nothing_happens_before_something_waits),
    CHECK_CASE(streams_are_ordered_by_events_waits_and_the_default_stream_alone),
    CHECK_CASE(a_stream_waits_for_the_last_record_before_it_was_told_to),
    CHECK_CASE(who_asks_again_and_again_comes_to_an_end),
    CHECK_CASE(events_show_time_that_passes),
    CHECK_CASE(the_work_of_a_destroyed_stream_is_done),
    CHECK_CASE(freeing_memory_waits_for_what_uses_it),
};
CHECK_MAIN("driver streams", cases)
