/* Capture and graphs of the stand-in driver. */
#include <pthread.h>

#include "fixture.h"

typedef struct captured {
    gpu g;
    CUstream a, b;
    CUevent fork, join;
    CUdeviceptr buffer, other;
} captured;

static void open_streams(captured *c, uint64_t seed, int mode) {
    gpu_open(&c->g, seed);
    c->buffer = buffer_of(1);
    c->other = buffer_of(10);
    OK(cu.cuStreamCreate(&c->a, CU_STREAM_NON_BLOCKING));
    OK(cu.cuStreamCreate(&c->b, CU_STREAM_NON_BLOCKING));
    OK(cu.cuEventCreate(&c->fork, CU_EVENT_DISABLE_TIMING));
    OK(cu.cuEventCreate(&c->join, CU_EVENT_DISABLE_TIMING));
    if (mode != 0) OK(cu.cuStreamBeginCapture(c->a, mode));
}

static void a_graph_does_what_was_recorded_whenever_it_is_launched(void) {
    captured c;
    CUgraph graph;
    CUgraphExec exec;
    int status = -1;
    open_streams(&c, 1, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    OK(cu.cuStreamIsCapturing(c.a, &status));
    CU_ASSERT_EQUAL(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
    OK(launch_add(&c.g, c.buffer, 1, c.a));
    OK(launch_add(&c.g, c.buffer, 2, c.a));
    OK(cu.cuStreamEndCapture(c.a, &graph));
    OK(cu.cuCtxSynchronize());
    CU_ASSERT_EQUAL(value_of(c.buffer), 1); /* recorded, not done */
    CU_ASSERT_EQUAL(emu_cuda_count_nodes(graph), 2);
    OK(cu.cuGraphInstantiate(&exec, graph, 0));
    OK(cu.cuGraphDestroy(graph));
    FAILS(cu.cuGraphInstantiate(&exec, graph, 0), CUDA_ERROR_INVALID_HANDLE);
    for (int i = 0; i < 3; i++) OK(cu.cuGraphLaunch(exec, i % 2 ? c.a : c.b));
    OK(cu.cuGraphExecDestroy(exec)); /* its launches go on */
    FAILS(cu.cuGraphLaunch(exec, c.a), CUDA_ERROR_INVALID_HANDLE);
    OK(cu.cuCtxSynchronize());
    CU_ASSERT_EQUAL(value_of(c.buffer), 10);
    gpu_close(&c.g);
}

static void a_graph_reads_host_memory_at_each_launch(void) {
    captured c;
    CUgraph graph;
    CUgraphExec exec;
    int32_t host[N];
    open_streams(&c, 1, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    OK(cu.cuMemcpyHtoDAsync(c.buffer, host, N_BYTES, c.a));
    OK(cu.cuStreamEndCapture(c.a, &graph));
    OK(cu.cuGraphInstantiate(&exec, graph, 0));
    for (int32_t launch = 5; launch < 8; launch++) {
        for (int i = 0; i < N; i++) host[i] = launch;
        OK(cu.cuGraphLaunch(exec, c.a));
        OK(cu.cuStreamSynchronize(c.a));
        CU_ASSERT_EQUAL(value_of(c.buffer), launch);
    }
    gpu_close(&c.g);
}

/* b is part of the capture from its first wait to the join; what the two do beside each other has no order. */
static void a_fork_is_recorded_with_its_join(void) {
    int n_first = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        captured c;
        CUgraph graph;
        CUgraphExec exec;
        open_streams(&c, seed, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
        OK(launch_add(&c.g, c.buffer, 1, c.a));
        OK(cu.cuEventRecord(c.fork, c.a));
        OK(cu.cuStreamWaitEvent(c.b, c.fork, 0));
        OK(cu.cuMemcpyDtoDAsync(c.other, c.buffer, N_BYTES, c.b));
        OK(cu.cuEventRecord(c.join, c.b));
        OK(launch_add(&c.g, c.buffer, 4, c.a));
        OK(cu.cuStreamWaitEvent(c.a, c.join, 0));
        OK(launch_add(&c.g, c.other, 100, c.a));
        OK(cu.cuStreamEndCapture(c.a, &graph));
        CU_ASSERT_EQUAL(emu_cuda_count_nodes(graph), 4);
        OK(cu.cuGraphInstantiate(&exec, graph, 0));
        OK(cu.cuGraphLaunch(exec, c.b));
        OK(cu.cuCtxSynchronize());
        const int32_t seen = value_of(c.other);
        CU_ASSERT_TRUE(seen == 102 || seen == 106);
        n_first += seen == 102;
        gpu_close(&c.g);
    }
    CU_ASSERT_TRUE(n_first > 0 && n_first < 40);
}

static void a_fork_that_is_not_joined_is_refused(void) {
    captured c;
    CUgraph graph;
    open_streams(&c, 1, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    OK(cu.cuEventRecord(c.fork, c.a));
    OK(cu.cuStreamWaitEvent(c.b, c.fork, 0));
    OK(launch_add(&c.g, c.other, 1, c.b));
    FAILS(cu.cuStreamEndCapture(c.b, &graph), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    gpu_close(&c.g);
    open_streams(&c, 1, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    OK(cu.cuEventRecord(c.fork, c.a));
    OK(cu.cuStreamWaitEvent(c.b, c.fork, 0));
    OK(launch_add(&c.g, c.other, 1, c.b));
    FAILS(cu.cuStreamEndCapture(c.a, &graph), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
    CU_ASSERT_PTR_NULL(graph);
    OK(launch_add(&c.g, c.other, 1, c.b)); /* both are free again */
    OK(cu.cuStreamSynchronize(c.b));
    CU_ASSERT_EQUAL(value_of(c.other), 11);
    gpu_close(&c.g);
}

/* ---- calls that break a capture ---- */

static CUresult allocates(captured *c) {
    CUdeviceptr more;
    (void)c;
    return cu.cuMemAlloc(&more, 4);
}
static CUresult frees(captured *c) {
    return cu.cuMemFree(c->other);
}
static CUresult pins(captured *c) {
    void *memory;
    (void)c;
    return cu.cuMemHostAlloc(&memory, 4, 0);
}
static CUresult waits_for_the_stream(captured *c) {
    return cu.cuStreamSynchronize(c->a);
}
static CUresult asks_for_the_stream(captured *c) {
    return cu.cuStreamQuery(c->a);
}
static CUresult waits_for_all(captured *c) {
    (void)c;
    return cu.cuCtxSynchronize();
}
static CUresult copies_and_waits(captured *c) {
    int32_t host = 0;
    return cu.cuMemcpyHtoD(c->other, &host, sizeof host);
}
static CUresult loads_a_module(captured *c) {
    CUmodule module;
    (void)c;
    return cu.cuModuleLoadData(&module, kernels);
}
static CUresult waits_for_an_event_outside(captured *c) {
    OK(cu.cuEventRecord(c->join, c->b));
    return cu.cuStreamWaitEvent(c->a, c->join, 0);
}
static CUresult asks_for_a_captured_event(captured *c) {
    OK(cu.cuEventRecord(c->join, c->a));
    return cu.cuEventQuery(c->join);
}
static CUresult merges_two(captured *c) {
    OK(cu.cuStreamBeginCapture(c->b, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(cu.cuEventRecord(c->join, c->b));
    return cu.cuStreamWaitEvent(c->a, c->join, 0);
}

static void what_has_no_place_in_a_capture_breaks_it(void) {
    static const struct {
        CUresult (*does)(captured *c);
        CUresult result;
        int mode;
    } calls[] = {
        {allocates, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL},
        {frees, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL},
        {pins, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL},
        {copies_and_waits, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL},
        {loads_a_module, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL},
        {waits_for_the_stream, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, CU_STREAM_CAPTURE_MODE_RELAXED},
        {asks_for_the_stream, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, CU_STREAM_CAPTURE_MODE_RELAXED},
        {waits_for_all, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, CU_STREAM_CAPTURE_MODE_RELAXED},
        {waits_for_an_event_outside, CUDA_ERROR_STREAM_CAPTURE_ISOLATION, CU_STREAM_CAPTURE_MODE_RELAXED},
        {asks_for_a_captured_event, CUDA_ERROR_CAPTURED_EVENT, CU_STREAM_CAPTURE_MODE_RELAXED},
        {merges_two, CUDA_ERROR_STREAM_CAPTURE_MERGE, CU_STREAM_CAPTURE_MODE_RELAXED},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        captured c;
        CUgraph graph;
        int status = -1;
        open_streams(&c, 1, calls[i].mode);
        FAILS(calls[i].does(&c), calls[i].result);
        OK(cu.cuStreamIsCapturing(c.a, &status));
        CU_ASSERT_EQUAL(status, CU_STREAM_CAPTURE_STATUS_INVALIDATED);
        FAILS(launch_add(&c.g, c.buffer, 1, c.a), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        FAILS(cu.cuStreamEndCapture(c.a, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        OK(launch_add(&c.g, c.buffer, 1, c.a)); /* it can be used again */
        gpu_close(&c.g);
    }
}

static void a_relaxed_capture_lets_memory_be_allocated(void) {
    captured c;
    CUgraph graph;
    CUdeviceptr more;
    open_streams(&c, 1, CU_STREAM_CAPTURE_MODE_RELAXED);
    OK(cu.cuMemAlloc(&more, 4));
    OK(launch_add(&c.g, c.buffer, 1, c.a));
    OK(cu.cuStreamEndCapture(c.a, &graph));
    gpu_close(&c.g);
}

static void *allocate_elsewhere(void *data) {
    captured *c = data;
    CUdeviceptr more;
    CUgraph graph;
    OK(cu.cuCtxSetCurrent(c->g.context));
    OK(cu.cuMemAlloc(&more, 4)); /* the capture is another thread's */
    FAILS(cu.cuStreamEndCapture(c->a, &graph), CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    return NULL;
}

static void other_threads_do_not_break_a_capture(void) {
    captured c;
    CUgraph graph;
    pthread_t thread;
    open_streams(&c, 1, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, allocate_elsewhere, &c), 0);
    pthread_join(thread, NULL);
    OK(cu.cuStreamEndCapture(c.a, &graph));
    gpu_close(&c.g);
}

static void blocking_streams_and_the_default_stream_do_not_mix_in_a_capture(void) {
    captured c;
    CUgraph graph;
    CUstream blocking;
    open_streams(&c, 1, 0);
    FAILS(cu.cuStreamBeginCapture(NULL, CU_STREAM_CAPTURE_MODE_RELAXED), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    OK(cu.cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
    OK(cu.cuStreamBeginCapture(blocking, CU_STREAM_CAPTURE_MODE_RELAXED));
    FAILS(cu.cuStreamBeginCapture(blocking, CU_STREAM_CAPTURE_MODE_RELAXED), CUDA_ERROR_ILLEGAL_STATE);
    FAILS(launch_add(&c.g, c.buffer, 1, NULL), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    FAILS(cu.cuStreamEndCapture(blocking, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    FAILS(cu.cuStreamEndCapture(blocking, &graph), CUDA_ERROR_ILLEGAL_STATE);
    OK(cu.cuStreamBeginCapture(c.a, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(launch_add(&c.g, c.buffer, 1, NULL)); /* c.a is not a blocking one */
    OK(cu.cuStreamEndCapture(c.a, &graph));
    gpu_close(&c.g);
}

static const check_case cases[] = {
    CHECK_CASE(a_graph_does_what_was_recorded_whenever_it_is_launched),
    CHECK_CASE(a_graph_reads_host_memory_at_each_launch),
    CHECK_CASE(a_fork_is_recorded_with_its_join),
    CHECK_CASE(a_fork_that_is_not_joined_is_refused),
    CHECK_CASE(what_has_no_place_in_a_capture_breaks_it),
    CHECK_CASE(a_relaxed_capture_lets_memory_be_allocated),
    CHECK_CASE(other_threads_do_not_break_a_capture),
    CHECK_CASE(blocking_streams_and_the_default_stream_do_not_mix_in_a_capture),
};
CHECK_MAIN("driver capture", cases)
