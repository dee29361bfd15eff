/* The kernels of device/probes.cu, each as often as makes a time that events can tell. */
#include "probes.h"

#include <stdio.h>
#include <time.h>

#include "kernels.h"

#define ENOUGH_SECONDS 2e-3
#define LONG_SECONDS   0.1 /* for the host: a device that is so slow, as an emulated one, need not do more */
#define REPEATS        3
#define COPY_BYTES     (INT64_C(256) << 20) /* at most, of both sides: several times Hopper's second cache */
#define COPY_THREADS   256                  /* of probes.cu */
#define MMA_FLOP       (8 * 2 * 16 * 8 * 8) /* of a warp, each time */

/* Of Hopper's: tools/predict-cuda says what they are. */
#define MEMORY_SHARE     0.90
#define GAP_US           1.3
#define GAP_EARLY_US     0.7
#define GRAPH_US         1.5
#define MMA_SHARE        0.62
#define MMA_FLOP_A_CYCLE 2133.0 /* of a multiprocessor, in TF32 */
#define PUSH_CYCLES      260.0

/* One of them under way. */
typedef struct bench {
    nlm_cuda_device *d;
    CUstream stream;
    CUevent from, to;
    CUdeviceptr memory;
    int64_t bytes; /* of memory */
    CUgraph graph;
    CUgraphExec exec;
    CUfunction function;
} bench;

typedef struct probe {
    const char *name, *unit, *kernel;
    int capability; /* at least */
    int64_t first, most;
    nlm_status (*run)(bench *b, int64_t n, nlm_error *error); /* enqueues n of what is measured */
    double (*value)(const bench *b, int64_t n, double seconds);
    double (*expected)(const nlm_cuda_device *d);
    bool is_recorded; /* n launches are one graph, that is launched */
} probe;

/* ---- launches ---- */

static nlm_status launch(bench *b, const int64_t blocks, int threads, int cluster, bool is_early, void **parameters,
                         nlm_error *error) {
    nlm_cuda_device *d = b->d;
    CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION};
    attribute.value.clusterDim.x = (unsigned)cluster;
    attribute.value.clusterDim.y = attribute.value.clusterDim.z = 1;
    if (is_early) {
        attribute = (CUlaunchAttribute){.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION};
        attribute.value.programmaticStreamSerializationAllowed = 1;
    }
    const CUlaunchConfig config = {.gridDimX = (unsigned)blocks,
                                   .gridDimY = 1,
                                   .gridDimZ = 1,
                                   .blockDimX = (unsigned)threads,
                                   .blockDimY = 1,
                                   .blockDimZ = 1,
                                   .hStream = b->stream,
                                   .attrs = &attribute,
                                   .numAttrs = cluster > 0 || is_early};
    NLM_CUDA_TRY(cuLaunchKernelEx, &config, b->function, parameters, NULL);
    return NLM_OK;
}

/* One half of the memory to the other. */
static nlm_status run_copy(bench *b, int64_t n, nlm_error *error) {
    CUdeviceptr from = b->memory, to = b->memory + (CUdeviceptr)(b->bytes / 2);
    int64_t vectors = b->bytes / 2 / 16;
    void *parameters[] = {&from, &to, &vectors, &n};
    return launch(b, 8 * b->d->n_multiprocessors, COPY_THREADS, 0, false, parameters, error);
}

static nlm_status run_gap(bench *b, int64_t n, nlm_error *error) {
    for (int64_t i = 0; i < n; i++) NLM_KIT_TRY(launch(b, 1, 32, 0, false, NULL, error));
    return NLM_OK;
}

static nlm_status run_gap_early(bench *b, int64_t n, nlm_error *error) {
    for (int64_t i = 0; i < n; i++) NLM_KIT_TRY(launch(b, 1, 32, 0, true, NULL, error));
    return NLM_OK;
}

/* A graph of one kernel, again and again. */
static nlm_status run_graph(bench *b, int64_t n, nlm_error *error) {
    nlm_cuda_device *d = b->d;
    for (int64_t i = 0; i < n; i++) NLM_CUDA_TRY(cuGraphLaunch, b->exec, b->stream);
    return NLM_OK;
}

static nlm_status run_fence(bench *b, int64_t n, nlm_error *error) {
    void *parameters[] = {&b->memory, &n};
    return launch(b, 1, 1, 0, false, parameters, error);
}

static nlm_status run_cluster(bench *b, int64_t n, nlm_error *error) {
    void *parameters[] = {&n};
    return launch(b, 8, 256, 8, false, parameters, error);
}

static nlm_status run_push(bench *b, int64_t n, nlm_error *error) {
    void *parameters[] = {&n};
    return launch(b, 2, 32, 2, false, parameters, error);
}

static nlm_status run_mma(bench *b, int64_t n, nlm_error *error) {
    void *parameters[] = {&b->memory, &n};
    return launch(b, 2 * b->d->n_multiprocessors, 256, 0, false, parameters, error);
}

/* ---- values ---- */

static double copied_gb_s(const bench *b, int64_t n, double seconds) {
    const int64_t half = b->bytes / 2;
    return 2e-9 * (double)n * (double)half / seconds; /* read and written */
}
static double us_each(const bench *b, int64_t n, double seconds) {
    (void)b;
    return seconds * 1e6 / (double)n;
}
static double ns_each(const bench *b, int64_t n, double seconds) {
    (void)b;
    return seconds * 1e9 / (double)n;
}
static double mma_tflop_s(const bench *b, int64_t n, double seconds) {
    const double warps = 2.0 * (double)b->d->n_multiprocessors * 8;
    return 1e-12 * warps * (double)n * MMA_FLOP / seconds;
}

/* ---- what is expected, of Hopper alone ---- */

static double attribute(const nlm_cuda_device *d, int which) {
    int value = 0;
    return d->cu->cuDeviceGetAttribute(&value, which, d->device) == CUDA_SUCCESS ? (double)value : 0;
}
static double clock_hz(const nlm_cuda_device *d) {
    return attribute(d, CU_DEVICE_ATTRIBUTE_CLOCK_RATE) * 1e3;
}
static double expected_copy(const nlm_cuda_device *d) {
    return MEMORY_SHARE * 2e-6 * attribute(d, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE) *
           attribute(d, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH) / 8;
}
static double expected_gap(const nlm_cuda_device *d) {
    (void)d;
    return GAP_US;
}
static double expected_gap_early(const nlm_cuda_device *d) {
    (void)d;
    return GAP_EARLY_US;
}
static double expected_graph(const nlm_cuda_device *d) {
    (void)d;
    return GRAPH_US;
}
static double expected_push(const nlm_cuda_device *d) {
    return clock_hz(d) > 0 ? PUSH_CYCLES / clock_hz(d) * 1e9 : 0;
}
static double expected_mma(const nlm_cuda_device *d) {
    return MMA_SHARE * MMA_FLOP_A_CYCLE * d->n_multiprocessors * clock_hz(d) * 1e-12;
}

static const probe probes[] = {
    {"copy", "GB/s", "probe_copy", 0, 1, 1 << 8, run_copy, copied_gb_s, expected_copy, false},
    {"gap between kernels of a graph", "us", "probe_gap", 0, 32, 512, run_gap, us_each, expected_gap, true},
    {"the same, launched early", "us", "probe_gap_early", 90, 32, 512, run_gap_early, us_each, expected_gap_early,
     true},
    {"graph behind graph", "us", "probe_gap", 0, 32, 512, run_graph, us_each, expected_graph, false},
    {"fence of the device", "ns", "probe_fence", 0, 16, 1 << 12, run_fence, ns_each, NULL, false},
    {"barrier of a cluster of 8", "ns", "probe_cluster_barrier", 90, 16, 1 << 12, run_cluster, ns_each, NULL, false},
    {"st.async from block to block", "ns", "probe_push", 90, 16, 1 << 12, run_push, ns_each, expected_push, false},
    {"mma.sync, TF32", "TFLOP/s", "probe_mma", 80, 16, 1 << 12, run_mma, mma_tflop_s, expected_mma, false},
};
enum { N_PROBES = sizeof probes / sizeof *probes };

/* ---- measuring ---- */

static void release(bench *b) {
    const nlm_cuda_driver *cu = b->d->cu;
    if (b->stream) cu->cuStreamSynchronize(b->stream);
    if (b->exec) cu->cuGraphExecDestroy(b->exec);
    if (b->graph) cu->cuGraphDestroy(b->graph);
    if (b->from) cu->cuEventDestroy(b->from);
    if (b->to) cu->cuEventDestroy(b->to);
    if (b->stream) cu->cuStreamDestroy(b->stream);
    if (b->memory) cu->cuMemFree(b->memory);
}

static nlm_status open_bench(bench *b, const probe *p, nlm_error *error) {
    nlm_cuda_device *d = b->d;
    const nlm_cuda_kernel kernel = {"probes", p->kernel, {{NULL, NULL, 0}}};
    size_t free_bytes = 0, total_bytes = 0;
    NLM_KIT_TRY(nlm_cuda_find(d, &kernel, true, &b->function, error));
    NLM_CUDA_TRY(cuMemGetInfo, &free_bytes, &total_bytes);
    b->bytes = (int64_t)(free_bytes / 4) < COPY_BYTES ? (int64_t)(free_bytes / 4) / 4096 * 4096 : COPY_BYTES;
    if (p->run != run_copy) b->bytes = 4096;
    NLM_CUDA_TRY(cuMemAlloc, &b->memory, (size_t)b->bytes);
    NLM_CUDA_TRY(cuStreamCreate, &b->stream, CU_STREAM_NON_BLOCKING);
    NLM_CUDA_TRY(cuEventCreate, &b->from, CU_EVENT_DEFAULT);
    NLM_CUDA_TRY(cuEventCreate, &b->to, CU_EVENT_DEFAULT);
    NLM_CUDA_TRY(cuMemsetD8Async, b->memory, 0, (size_t)b->bytes, b->stream);
    return NLM_OK;
}

/* n launches as a graph. */
static nlm_status record(bench *b, const probe *p, int64_t n, nlm_error *error) {
    nlm_cuda_device *d = b->d;
    if (b->exec) d->cu->cuGraphExecDestroy(b->exec);
    if (b->graph) d->cu->cuGraphDestroy(b->graph);
    b->exec = NULL;
    b->graph = NULL;
    NLM_CUDA_TRY(cuStreamBeginCapture, b->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    const nlm_status status = p->run(b, n, error);
    const CUresult result = d->cu->cuStreamEndCapture(b->stream, &b->graph);
    NLM_KIT_TRY(status);
    if (result != CUDA_SUCCESS) return nlm_cuda_fail(d, error, "cuStreamEndCapture", result);
    NLM_CUDA_TRY(cuGraphInstantiate, &b->exec, b->graph, 0);
    return NLM_OK;
}

static nlm_status time_once(bench *b, const probe *p, int64_t n, double *out_seconds, nlm_error *error) {
    nlm_cuda_device *d = b->d;
    float ms = 0;
    NLM_CUDA_TRY(cuEventRecord, b->from, b->stream);
    NLM_KIT_TRY((p->is_recorded ? run_graph : p->run)(b, p->is_recorded ? 1 : n, error));
    NLM_CUDA_TRY(cuEventRecord, b->to, b->stream);
    NLM_CUDA_TRY(cuEventSynchronize, b->to);
    NLM_CUDA_TRY(cuEventElapsedTime, &ms, b->from, b->to);
    *out_seconds = (double)ms * 1e-3;
    return NLM_OK;
}

static double host_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* So many that a time can be told, then the least time of some. */
static nlm_status time_enough(bench *b, const probe *p, int64_t *out_n, double *out_seconds, nlm_error *error) {
    int64_t n = p->first;
    double seconds = 0;
    static const probe one = {.run = run_gap};
    for (;; n *= 4) {
        const double begun = host_seconds();
        if (p->is_recorded) NLM_KIT_TRY(record(b, p, n, error));
        if (p->run == run_graph && !b->exec) NLM_KIT_TRY(record(b, &one, 1, error));
        NLM_KIT_TRY(time_once(b, p, n, &seconds, error)); /* the first one warms up */
        NLM_KIT_TRY(time_once(b, p, n, &seconds, error));
        if (seconds >= ENOUGH_SECONDS || host_seconds() - begun >= LONG_SECONDS || n * 4 > p->most) break;
    }
    *out_n = n;
    *out_seconds = seconds;
    for (int i = 1; i < REPEATS; i++) {
        NLM_KIT_TRY(time_once(b, p, n, &seconds, error));
        if (seconds < *out_seconds) *out_seconds = seconds;
    }
    return NLM_OK;
}

static nlm_status measure(void *self, uint32_t index, nlm_probed_v1 *out, nlm_error *error) {
    nlm_cuda_device *d = self;
    bench b = {.d = d};
    int64_t n = 0;
    double seconds = 0;
    if (index >= N_PROBES) return nlm_kit_fail(error, NLM_NOT_FOUND, "probe", "there are %d probes", N_PROBES);
    const probe *p = &probes[index];
    snprintf(out->name, sizeof out->name, "%s", p->name);
    snprintf(out->unit, sizeof out->unit, "%s", p->unit);
    if (d->capability < p->capability) {
        return nlm_kit_fail(error, NLM_UNSUPPORTED, "probe", "%s: from compute capability %d.%d on", p->name,
                            p->capability / 10, p->capability % 10);
    }
    if (p->run == run_gap_early && !d->has_early_launch) {
        return nlm_kit_fail(error, NLM_UNSUPPORTED, "probe", "%s: from CUDA 12.3 on, unless early_launch is false",
                            p->name);
    }
    NLM_CUDA_IN(d);
    nlm_status status = open_bench(&b, p, error);
    if (status == NLM_OK) status = time_enough(&b, p, &n, &seconds, error);
    release(&b);
    NLM_KIT_TRY(status);
    if (seconds <= 0) return nlm_kit_fail(error, NLM_DEVICE_ERROR, "probe", "%s took no time", p->name);
    out->value = p->value(&b, n, seconds);
    out->expected = p->expected && d->capability / 10 == 9 ? p->expected(d) : 0;
    return NLM_OK;
}

const nlm_probes_v1 nlm_cuda_probes = {.struct_size = sizeof nlm_cuda_probes, .measure = measure};
