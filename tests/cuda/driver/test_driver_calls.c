/* Calls of the stand-in driver: contexts, launches and their limits, planted failures, what is left over. */
#include <fcntl.h>

#include "fixture.h"

static void a_call_without_a_context_fails(void) {
    gpu g;
    CUdeviceptr memory;
    CUcontext current = (CUcontext)&g;
    int count;
    gpu_start(NULL);
    FAILS(cu.cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
    gpu_retain(&g, 1);
    OK(cu.cuCtxSetCurrent(NULL));
    OK(cu.cuCtxGetCurrent(&current));
    CU_ASSERT_PTR_NULL(current);
    FAILS(cu.cuMemAlloc(&memory, 4), CUDA_ERROR_INVALID_CONTEXT);
    FAILS(cu.cuCtxSetCurrent((CUcontext)&g), CUDA_ERROR_INVALID_CONTEXT);
    OK(cu.cuCtxSetCurrent(g.context));
    OK(cu.cuDevicePrimaryCtxRetain(&current, g.device)); /* one for all who ask */
    CU_ASSERT_PTR_EQUAL(current, g.context);
    OK(cu.cuDevicePrimaryCtxRelease(g.device));
    OK(cu.cuMemAlloc(&memory, 4));
    OK(cu.cuDevicePrimaryCtxRelease(g.device));
    FAILS(cu.cuMemAlloc(&memory, 4), CUDA_ERROR_CONTEXT_IS_DESTROYED);
    FAILS(cu.cuDevicePrimaryCtxRelease(g.device), CUDA_ERROR_INVALID_CONTEXT);
}

static void call_after_fork(void *data) {
    CUdeviceptr memory;
    (void)data;
    const bool is_refused =
        cu.cuMemAlloc(&memory, 4) == CUDA_ERROR_NOT_INITIALIZED && cu.cuInit(0) == CUDA_ERROR_NOT_INITIALIZED;
    _exit(is_refused ? 3 : 4);
}

static void a_forked_child_cannot_use_the_driver(void) {
    gpu g;
    gpu_start(NULL);
    gpu_retain(&g, 0);
    CU_ASSERT_EQUAL(in_child(call_after_fork, NULL), 3);
    gpu_close(&g);
}

static void attributes_are_those_of_the_compute_capability(void) {
    static const struct {
        const char *setting;
        int major, shared, cluster;
    } rows[] = {{"EMU_CUDA_CAPABILITY=7.5", 7, 64 << 10, 0},  {"EMU_CUDA_CAPABILITY=8.0", 8, 163 << 10, 0},
                {"EMU_CUDA_CAPABILITY=8.6", 8, 99 << 10, 0},  {"EMU_CUDA_CAPABILITY=8.9", 8, 99 << 10, 0},
                {"EMU_CUDA_CAPABILITY=9.0", 9, 227 << 10, 1}, {"EMU_CUDA_CAPABILITY=10.0", 10, 227 << 10, 1},
                {"EMU_CUDA_CAPABILITY=12.0", 12, 99 << 10, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int value;
        char name[64];
        CUuuid a, b;
        gpu_start((const char *const[]){rows[i].setting, "EMU_CUDA_DEVICES=3", NULL});
        OK(cu.cuInit(0));
        OK(cu.cuDeviceGetCount(&value));
        CU_ASSERT_EQUAL(value, 3);
        OK(cu.cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 2));
        CU_ASSERT_EQUAL(value, rows[i].major);
        OK(cu.cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 0));
        CU_ASSERT_EQUAL(value, rows[i].shared);
        OK(cu.cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH, 0));
        CU_ASSERT_EQUAL(value, rows[i].cluster);
        OK(cu.cuDeviceGetName(name, sizeof name, 0));
        OK(cu.cuDeviceGetUuid(&a, 0));
        OK(cu.cuDeviceGetUuid(&b, 1));
        CU_ASSERT_NOT_EQUAL(memcmp(&a, &b, sizeof a), 0);
        FAILS(cu.cuDeviceGetAttribute(&value, 12345, 0), CUDA_ERROR_INVALID_VALUE);
        FAILS(cu.cuDeviceGet(&value, 3), CUDA_ERROR_INVALID_DEVICE);
    }
    gpu_start((const char *const[]){"EMU_CUDA_DEVICES=0", NULL});
    FAILS(cu.cuInit(0), CUDA_ERROR_NO_DEVICE);
}

static CUresult launch_with(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned threads, unsigned shared,
                            unsigned cluster) {
    CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION};
    attribute.value.clusterDim.x = cluster;
    attribute.value.clusterDim.y = attribute.value.clusterDim.z = 1;
    const CUlaunchConfig config = {grid_x, grid_y, 1, threads, 1, 1, shared, NULL, &attribute, cluster > 0};
    const CUresult result = cu.cuLaunchKernelEx(&config, function, NULL, NULL);
    int fit = 0; /* as many as multiprocessors have room for, of what can be launched */
    FAILS(cu.cuOccupancyMaxActiveClusters(&fit, function, &config), result);
    CU_ASSERT_EQUAL(fit, result == CUDA_SUCCESS ? 132 / (cluster > 0 ? (int)cluster : 1) : 0);
    return result;
}

static void launches_beyond_the_limits_are_refused(void) {
    enum { SHARED = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, NARROW = 0, SHARING = 1 };
    static const struct {
        int kernel;
        unsigned grid_x, grid_y, threads, shared, cluster;
        CUresult result;
    } launches[] = {
        {NARROW, 1, 1, 64, 48 << 10, 0, CUDA_SUCCESS},
        {NARROW, 1, 1, 65, 0, 0, CUDA_ERROR_INVALID_VALUE},
        {NARROW, 0, 1, 64, 0, 0, CUDA_ERROR_INVALID_VALUE},
        {NARROW, 1, 65536, 64, 0, 0, CUDA_ERROR_INVALID_VALUE},
        {NARROW, 1, 1, 0, 0, 0, CUDA_ERROR_INVALID_VALUE},
        {NARROW, 1, 1, 64, (48 << 10) + 1, 0, CUDA_ERROR_INVALID_VALUE},
        {NARROW, 16, 1, 64, 0, 8, CUDA_SUCCESS},
        {NARROW, 12, 1, 64, 0, 8, CUDA_ERROR_INVALID_CLUSTER_SIZE},
        {NARROW, 16, 1, 64, 0, 16, CUDA_ERROR_INVALID_CLUSTER_SIZE},
        {SHARING, 1, 1, 1024, 8 << 10, 0, CUDA_SUCCESS},
        {SHARING, 1, 1, 1025, 0, 0, CUDA_ERROR_INVALID_VALUE},
        {SHARING, 1, 1, 64, (8 << 10) + 4, 0, CUDA_ERROR_INVALID_VALUE},
    };
    gpu g;
    int value = 0;
    gpu_open(&g, 1);
    const CUfunction functions[] = {g.narrow, g.shared};
    for (size_t i = 0; i < sizeof launches / sizeof *launches; i++) {
        FAILS(launch_with(functions[launches[i].kernel], launches[i].grid_x, launches[i].grid_y, launches[i].threads,
                          launches[i].shared, launches[i].cluster),
              launches[i].result);
    }
    OK(cu.cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, g.narrow));
    CU_ASSERT_EQUAL(value, 64);
    OK(cu.cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, g.shared));
    CU_ASSERT_EQUAL(value, 40 << 10);
    FAILS(cu.cuFuncSetAttribute(g.shared, SHARED, (187 << 10) + 1), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuFuncSetAttribute(g.shared, SHARED, 187 << 10));
    OK(launch_with(g.shared, 1, 1, 64, 187 << 10, 0));
    OK(cu.cuFuncSetAttribute(g.narrow, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1));
    OK(launch_with(g.narrow, 16, 1, 64, 0, 16));
    OK(cu.cuCtxSynchronize());
    gpu_close(&g);
}

static void old_devices_know_no_clusters_and_no_newer_code(void) {
    gpu g;
    CUmodule module;
    gpu_start((const char *const[]){"EMU_CUDA_CAPABILITY=8.6", NULL});
    gpu_retain(&g, 0);
    gpu_load(&g);
    FAILS(launch_with(g.narrow, 8, 1, 64, 0, 8), CUDA_ERROR_NOT_SUPPORTED);
    FAILS(cu.cuModuleLoadData(&module, ".version 7.8\n.target sm_90\n.address_size 64\n"),
          CUDA_ERROR_NO_BINARY_FOR_GPU);
    FAILS(cu.cuModuleLoadData(&module, "// cubin of sm_75\n.version 7.8\n.target sm_75\n.address_size 64\n"),
          CUDA_ERROR_NO_BINARY_FOR_GPU);
    FAILS(cu.cuModuleLoadData(&module, "\177ELF"), CUDA_ERROR_INVALID_IMAGE);
    FAILS(cu.cuModuleLoadData(&module, ".version 7.8\n.target sm_75\nnonsense;\n"), CUDA_ERROR_INVALID_PTX);
    gpu_close(&g);
}

static void what_was_unloaded_does_not_start(void) {
    gpu g;
    CUfunction none;
    gpu_open(&g, 1);
    const CUdeviceptr buffer = buffer_of(1);
    FAILS(cu.cuModuleGetFunction(&none, g.module, "subtract"), CUDA_ERROR_NOT_FOUND);
    OK(launch_add(&g, buffer, 1, NULL));
    OK(cu.cuModuleUnload(g.module)); /* what is enqueued goes on */
    FAILS(launch_add(&g, buffer, 1, NULL), CUDA_ERROR_INVALID_HANDLE);
    FAILS(cu.cuModuleUnload(g.module), CUDA_ERROR_INVALID_HANDLE);
    FAILS(cu.cuModuleGetFunction(&none, g.module, "add"), CUDA_ERROR_INVALID_HANDLE);
    CU_ASSERT_EQUAL(value_of(buffer), 2);
    gpu_close(&g);
}

static void parameters_are_those_at_the_call(void) {
    gpu g;
    gpu_open(&g, 1);
    CUdeviceptr buffer = buffer_of(1);
    uint32_t n = 5;
    void *params[] = {&buffer, &n};
    const CUlaunchConfig config = {N / 64, 1, 1, 64, 1, 1, 0, NULL, NULL, 0};
    OK(cu.cuLaunchKernelEx(&config, g.add, params, NULL));
    n = 7;
    CU_ASSERT_EQUAL(value_of(buffer), 6);
    gpu_close(&g);
}

/* The n-th call fails, whichever it is, and the next does not. */
static void a_planted_failure_comes_once(void) {
    for (int n = 1; n <= 5; n++) {
        char text[64];
        CUdevice device;
        CUcontext context;
        size_t bytes;
        int n_failed = 0;
        snprintf(text, sizeof text, "EMU_CUDA_FAIL_CALL=%d", n);
        gpu_start((const char *const[]){text, "EMU_CUDA_FAIL_CODE=CUDA_ERROR_OUT_OF_MEMORY", NULL});
        for (int round = 0; round < 2; round++) {
            n_failed += cu.cuInit(0) == CUDA_ERROR_OUT_OF_MEMORY;
            n_failed += cu.cuDeviceGet(&device, 0) == CUDA_ERROR_OUT_OF_MEMORY;
            n_failed += cu.cuDeviceTotalMem(&bytes, 0) == CUDA_ERROR_OUT_OF_MEMORY;
            n_failed += cu.cuDevicePrimaryCtxRetain(&context, 0) == CUDA_ERROR_OUT_OF_MEMORY;
        }
        CU_ASSERT_EQUAL(n_failed, 1);
    }
}

/* ---- what is written to stderr ---- */

static void leave_things(void *data) {
    gpu g;
    CUstream stream;
    CUdeviceptr memory;
    dup2(*(int *)data, STDERR_FILENO);
    gpu_start((const char *const[]){"EMU_CUDA_LOG=1", NULL});
    gpu_retain(&g, 1);
    OK(cu.cuMemAlloc(&memory, 1000));
    OK(cu.cuStreamCreate(&stream, CU_STREAM_DEFAULT));
    gpu_close(&g);
}

static void what_is_left_in_a_context_is_told(void) {
    char path[] = "/tmp/emu_left_XXXXXX", text[4096] = "";
    int file = mkstemp(path);
    CU_ASSERT_TRUE_FATAL(file >= 0);
    unlink(path);
    gpu_start(NULL); /* a child of a process that uses the driver could not */
    CU_ASSERT_EQUAL(in_child(leave_things, &file), 0);
    CU_ASSERT_TRUE(pread(file, text, sizeof text - 1, 0) > 0);
    close(file);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "device 1: 1 allocations left"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "device 1: 1 streams left"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "device 1: 1000 bytes left"));
    CU_ASSERT_PTR_NULL(strstr(text, "modules"));
}

static void every_result_has_a_name(void) {
    static const char header[] = NLM_TEST_API "/cuda.h";
    char line[256], name[64];
    int code, n = 0;
    FILE *file = fopen(header, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    while (fgets(line, sizeof line, file)) {
        const char *found = NULL, *sentence = NULL;
        if (sscanf(line, " %63[A-Z_] = %d", name, &code) != 2 || strncmp(name, "CUDA_", 5) != 0) continue;
        OK(cu.cuGetErrorName(code, &found));
        OK(cu.cuGetErrorString(code, &sentence));
        CU_ASSERT_STRING_EQUAL(found, name);
        n++;
    }
    fclose(file);
    CU_ASSERT_TRUE(n > 30);
    const char *none = "";
    FAILS(cu.cuGetErrorName(12345, &none), CUDA_ERROR_INVALID_VALUE);
    CU_ASSERT_PTR_NULL(none);
}

static const check_case cases[] = {
    CHECK_CASE(a_call_without_a_context_fails),
    CHECK_CASE(a_forked_child_cannot_use_the_driver),
    CHECK_CASE(attributes_are_those_of_the_compute_capability),
    CHECK_CASE(launches_beyond_the_limits_are_refused),
    CHECK_CASE(old_devices_know_no_clusters_and_no_newer_code),
    CHECK_CASE(what_was_unloaded_does_not_start),
    CHECK_CASE(parameters_are_those_at_the_call),
    CHECK_CASE(a_planted_failure_comes_once),
    CHECK_CASE(what_is_left_in_a_context_is_told),
    CHECK_CASE(every_result_has_a_name),
};
CHECK_MAIN("driver calls", cases)
