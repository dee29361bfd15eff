/* The stand-ins of NVML, cuBLASLt and NVRTC. */
#include <math.h>

#include "cuda/api/cublaslt.h"
#include "cuda/api/nvml.h"
#include "cuda/api/nvrtc.h"
#include "fixture.h"

#define DECLARE(name, symbol, arguments) nvmlReturn_t symbol arguments;
NLM_NVML_FUNCTIONS(DECLARE)
#undef DECLARE
#define DECLARE(name, arguments) cublasStatus_t name arguments;
NLM_CUBLASLT_FUNCTIONS(DECLARE)
#undef DECLARE
#define DECLARE(name, arguments) nvrtcResult name arguments;
NLM_NVRTC_FUNCTIONS(DECLARE)
#undef DECLARE

/* ---- NVML ---- */

static void nvml_tells_of_the_devices_of_the_driver(void) {
    gpu g;
    nvmlDevice_t by_bus, by_uuid;
    nvmlMemory_t memory;
    nvmlUtilization_t use;
    char name[96], driver_name[96];
    unsigned value = 0;
    unsigned long long errors = 1;
    gpu_open(&g, 1);
    FAILS(nvmlDeviceGetHandleByPciBusId_v2("0000:01:00.0", &by_bus), NVML_ERROR_UNINITIALIZED);
    OK(nvmlInit_v2());
    OK(nvmlDeviceGetHandleByPciBusId_v2("00000000:01:00.0", &by_bus));
    OK(nvmlDeviceGetHandleByUUID("GPU-5e5e5e5e-5e5e-5e5e-5e5e-5e5e5e5e5e00", &by_uuid));
    CU_ASSERT_PTR_EQUAL(by_bus, by_uuid);
    FAILS(nvmlDeviceGetHandleByPciBusId_v2("0000:05:00.0", &by_bus), NVML_ERROR_NOT_FOUND);
    OK(nvmlDeviceGetName(by_uuid, name, sizeof name));
    OK(cu.cuDeviceGetName(driver_name, sizeof driver_name, g.device));
    CU_ASSERT_STRING_EQUAL(name, driver_name);
    FAILS(nvmlDeviceGetName(by_uuid, name, 4), NVML_ERROR_INSUFFICIENT_SIZE);
    const CUdeviceptr buffer = buffer_of(1);
    OK(nvmlDeviceGetMemoryInfo(by_uuid, &memory));
    CU_ASSERT_EQUAL(memory.used, N_BYTES);
    CU_ASSERT_EQUAL(memory.free + memory.used, memory.total);
    OK(nvmlDeviceGetUtilizationRates(by_uuid, &use));
    CU_ASSERT_EQUAL(use.gpu, 100);
    OK(nvmlDeviceGetUtilizationRates(by_uuid, &use));
    CU_ASSERT_EQUAL(use.gpu, 0);
    OK(nvmlDeviceGetPowerUsage(by_uuid, &value));
    OK(nvmlDeviceGetClockInfo(by_uuid, NVML_CLOCK_MEM, &value));
    FAILS(nvmlDeviceGetClockInfo(by_uuid, 9, &value), NVML_ERROR_INVALID_ARGUMENT);
    OK(nvmlDeviceGetTemperature(by_uuid, NVML_TEMPERATURE_GPU, &value));
    OK(nvmlDeviceGetTotalEccErrors(by_uuid, NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC, &errors));
    CU_ASSERT_EQUAL(errors, 0);
    OK(nvmlSystemGetDriverVersion(name, sizeof name));
    OK(nvmlShutdown());
    FAILS(nvmlDeviceGetMemoryInfo(by_uuid, &memory), NVML_ERROR_UNINITIALIZED);
    OK(cu.cuMemFree(buffer));
    gpu_close(&g);
}

/* ---- cuBLASLt ---- */

enum { ROWS = 3, COLUMNS = 4, DEPTH = 5, LEADING = 7, BATCH = 2, STRIDE = 40 };

typedef struct lt {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t found;
} lt;

static cublasLtMatrixLayout_t layout(int type, uint64_t rows, uint64_t columns) {
    cublasLtMatrixLayout_t made;
    const int32_t batch = BATCH;
    const int64_t stride = STRIDE;
    OK(cublasLtMatrixLayoutCreate(&made, type, rows, columns, LEADING));
    OK(cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch));
    OK(cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride));
    return made;
}

/* d = aᵀ b, columns in memory; a and b of `type`, d in f32. */
static void lt_open(lt *l, int type) {
    const int32_t transposed = CUBLAS_OP_T;
    const uint64_t workspace = 1 << 20;
    cublasLtMatmulHeuristicResult_t found[4];
    uint32_t scheme = 0;
    size_t bytes;
    int count = 0;
    OK(cublasLtCreate(&l->handle));
    OK(cublasLtMatmulDescCreate(&l->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    OK(cublasLtMatmulDescSetAttribute(l->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed));
    l->a = layout(type, DEPTH, ROWS);
    l->b = layout(type, DEPTH, COLUMNS);
    l->d = layout(CUDA_R_32F, ROWS, COLUMNS);
    OK(cublasLtMatmulPreferenceCreate(&l->preference));
    OK(cublasLtMatmulPreferenceSetAttribute(l->preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                            sizeof workspace));
    OK(cublasLtMatmulAlgoGetHeuristic(l->handle, l->desc, l->a, l->b, l->d, l->d, l->preference, 4, found, &count));
    CU_ASSERT_EQUAL(count, 3);
    l->found = found[1];
    OK(cublasLtMatmulAlgoConfigGetAttribute(&l->found.algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme,
                                            sizeof scheme, &bytes));
    CU_ASSERT_EQUAL(scheme, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
}

static void lt_close(lt *l) {
    OK(cublasLtMatmulPreferenceDestroy(l->preference));
    OK(cublasLtMatrixLayoutDestroy(l->a));
    OK(cublasLtMatrixLayoutDestroy(l->b));
    OK(cublasLtMatrixLayoutDestroy(l->d));
    OK(cublasLtMatmulDescDestroy(l->desc));
    OK(cublasLtDestroy(l->handle));
    FAILS(cublasLtDestroy(l->handle), CUBLAS_STATUS_INVALID_VALUE);
}

/* Small whole numbers, the same in every type. */
static void put(void *to, int type, int at, int value) {
    static const uint16_t f16[] = {0, 0x3c00, 0x4000, 0x4200, 0x4400}, bf16[] = {0, 0x3f80, 0x4000, 0x4040, 0x4080};
    if (type == CUDA_R_32F)
        ((float *)to)[at] = (float)value;
    else
        ((uint16_t *)to)[at] = type == CUDA_R_16F ? f16[value] : bf16[value];
}

static CUdeviceptr upload(const void *host, size_t bytes) {
    CUdeviceptr memory;
    OK(cu.cuMemAlloc(&memory, bytes));
    OK(cu.cuMemcpyHtoD(memory, host, bytes));
    OK(cu.cuCtxSynchronize());
    return memory;
}

static void products_are_those_of_a_plain_loop(void) {
    static const int types[] = {CUDA_R_32F, CUDA_R_16F, CUDA_R_16BF};
    for (int t = 0; t < 3; t++) {
        gpu g;
        lt l;
        CUstream stream;
        float a[BATCH * STRIDE] = {0}, b[BATCH * STRIDE] = {0}, d[BATCH * STRIDE];
        const float alpha = 2, beta = 3;
        gpu_open(&g, 1);
        lt_open(&l, types[t]);
        for (int i = 0; i < BATCH * STRIDE; i++) {
            put(a, types[t], i, i * 7 % 5);
            put(b, types[t], i, i * 3 % 4);
            d[i] = 1;
        }
        const CUdeviceptr on_a = upload(a, sizeof a), on_b = upload(b, sizeof b), on_d = upload(d, sizeof d);
        CUdeviceptr workspace;
        OK(cu.cuMemAlloc(&workspace, l.found.workspaceSize));
        OK(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
        OK(cublasLtMatmul(l.handle, l.desc, &alpha, (void *)(uintptr_t)on_a, l.a, (void *)(uintptr_t)on_b, l.b, &beta,
                          (void *)(uintptr_t)on_d, l.d, (void *)(uintptr_t)on_d, l.d, &l.found.algo,
                          (void *)(uintptr_t)workspace, l.found.workspaceSize, stream));
        OK(cu.cuMemcpyDtoHAsync(d, on_d, sizeof d, stream));
        OK(cu.cuStreamSynchronize(stream));
        for (int batch = 0; batch < BATCH; batch++) {
            for (int i = 0; i < ROWS; i++) {
                for (int j = 0; j < COLUMNS; j++) {
                    int sum = 0;
                    for (int k = 0; k < DEPTH; k++) {
                        const int at_a = batch * STRIDE + i * LEADING + k, at_b = batch * STRIDE + j * LEADING + k;
                        sum += (at_a * 7 % 5) * (at_b * 3 % 4);
                    }
                    CU_ASSERT_EQUAL(d[batch * STRIDE + j * LEADING + i], (float)(2 * sum + 3));
                }
            }
        }
        CU_ASSERT_EQUAL(d[ROWS], 1); /* between columns nothing is written */
        lt_close(&l);
        gpu_close(&g);
    }
}

static void products_that_are_not_sound_are_refused(void) {
    gpu g;
    lt l;
    int32_t gelu = 32, count;
    const float one = 1;
    float host[BATCH * STRIDE] = {0};
    gpu_open(&g, 1);
    lt_open(&l, CUDA_R_32F);
    void *a = (void *)(uintptr_t)upload(host, sizeof host), *short_one = (void *)(uintptr_t)upload(host, 64);
    FAILS(cublasLtMatmul(l.handle, l.desc, &one, a, l.b, a, l.b, &one, a, l.d, a, l.d, NULL, NULL, 0, NULL),
          CUBLAS_STATUS_INVALID_VALUE); /* shapes */
    FAILS(
        cublasLtMatmul(l.handle, l.desc, &one, a, l.a, a, l.b, &one, a, l.d, a, l.d, NULL, (char *)a + 1, 4096, NULL),
        CUBLAS_STATUS_INVALID_VALUE); /* a workspace that is not aligned */
    OK(cublasLtMatmulDescSetAttribute(l.desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &gelu, sizeof gelu));
    FAILS(cublasLtMatmulAlgoGetHeuristic(l.handle, l.desc, l.a, l.b, l.d, l.d, l.preference, 1, &l.found, &count),
          CUBLAS_STATUS_NOT_SUPPORTED);
    gelu = CUBLASLT_EPILOGUE_DEFAULT;
    OK(cublasLtMatmulDescSetAttribute(l.desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &gelu, sizeof gelu));
    /* What is not memory shows late, as on a GPU. */
    OK(cublasLtMatmul(l.handle, l.desc, &one, a, l.a, short_one, l.b, &one, a, l.d, a, l.d, NULL, NULL, 0, NULL));
    FAILS(cu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    lt_close(&l);
    gpu_close(&g);
}

/* ---- NVRTC ---- */

static void nvrtc_hands_out_ptx_for_a_cubin(void) {
    static const char source[] = "extern \"C\" __global__ void twice(float *p) { p[threadIdx.x] *= 2; }";
    const char *real[] = {"--gpu-architecture=sm_90"}, *virtual_one[] = {"--gpu-architecture=compute_90"};
    nvrtcProgram program;
    size_t bytes = 1;
    int major = 0, minor = 0;
    if (nvrtcVersion(&major, &minor) != NVRTC_SUCCESS) CHECK_SKIP("there is no NVRTC");
    OK(nvrtcCreateProgram(&program, source, "twice.cu", 0, NULL, NULL));
    OK(nvrtcCompileProgram(program, 1, virtual_one));
    OK(nvrtcGetCUBINSize(program, &bytes));
    CU_ASSERT_EQUAL(bytes, 0);
    OK(nvrtcDestroyProgram(&program));
    OK(nvrtcCreateProgram(&program, source, "twice.cu", 0, NULL, NULL));
    OK(nvrtcCompileProgram(program, 1, real));
    OK(nvrtcGetCUBINSize(program, &bytes));
    char *cubin = calloc(1, bytes);
    CU_ASSERT_PTR_NOT_NULL_FATAL(cubin);
    OK(nvrtcGetCUBIN(program, cubin));
    CU_ASSERT_EQUAL(strncmp(cubin, "// cubin of sm_90\n", 18), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(cubin, ".entry twice"));
    OK(nvrtcDestroyProgram(&program));

    gpu g; /* and the driver runs it */
    CUmodule module;
    CUfunction twice;
    float host[64];
    gpu_open(&g, 1);
    for (int i = 0; i < 64; i++) host[i] = (float)i;
    CUdeviceptr memory = upload(host, sizeof host);
    OK(cu.cuModuleLoadData(&module, cubin));
    OK(cu.cuModuleGetFunction(&twice, module, "twice"));
    const CUlaunchConfig config = {1, 1, 1, 64, 1, 1, 0, NULL, NULL, 0};
    OK(cu.cuLaunchKernelEx(&config, twice, (void *[]){&memory}, NULL));
    OK(cu.cuMemcpyDtoH(host, memory, sizeof host));
    for (int i = 0; i < 64; i++) CU_ASSERT_EQUAL(host[i], 2 * (float)i);
    free(cubin);
    gpu_close(&g);
}

static void nvrtc_fails_when_told_to(void) {
    nvrtcProgram program;
    size_t bytes = 0;
    char log[64] = "";
    int major = 0, minor = 0;
    if (nvrtcVersion(&major, &minor) != NVRTC_SUCCESS) CHECK_SKIP("there is no NVRTC");
    OK(nvrtcCreateProgram(&program, "", "empty.cu", 0, NULL, NULL));
    setenv("EMU_NVRTC_FAIL", "no, not today", 1);
    FAILS(nvrtcCompileProgram(program, 0, NULL), NVRTC_ERROR_COMPILATION);
    unsetenv("EMU_NVRTC_FAIL");
    OK(nvrtcGetProgramLogSize(program, &bytes));
    CU_ASSERT_TRUE_FATAL(bytes <= sizeof log);
    OK(nvrtcGetProgramLog(program, log));
    CU_ASSERT_STRING_EQUAL(log, "no, not today");
    OK(nvrtcDestroyProgram(&program));
}

static const check_case cases[] = {
    CHECK_CASE(nvml_tells_of_the_devices_of_the_driver),
    CHECK_CASE(products_are_those_of_a_plain_loop),
    CHECK_CASE(products_that_are_not_sound_are_refused),
    CHECK_CASE(nvrtc_hands_out_ptx_for_a_cubin),
    CHECK_CASE(nvrtc_fails_when_told_to),
};
CHECK_MAIN("CUDA stand-ins", cases)
