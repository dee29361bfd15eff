/* What tests of the stand-ins begin with: a device, a module of small kernels, buffers. */
#ifndef EMU_TEST_FIXTURE_H
#define EMU_TEST_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cuda/api/cuda.h"
#include "cuda/driver/standins.h"
#include "unit/check.h"

/* Every function that backends/cuda looks up: one that the stand-in lacks does not link. */
#define DECLARE(name, symbol, arguments) CUresult symbol arguments;
NLM_CUDA_FUNCTIONS(DECLARE)
#undef DECLARE
typedef struct driver_table {
#define FIELD(name, symbol, arguments) CUresult(*name) arguments;
    NLM_CUDA_FUNCTIONS(FIELD)
#undef FIELD
} driver_table;
static const driver_table cu = {
#define VALUE(name, symbol, arguments) .name = symbol,
    NLM_CUDA_FUNCTIONS(VALUE)
#undef VALUE
};

#define OK(call)          CU_ASSERT_EQUAL_FATAL(call, CUDA_SUCCESS)
#define FAILS(call, code) CU_ASSERT_EQUAL(call, code)

enum { N = 256 }; /* int32 elements of a buffer */
#define N_BYTES (N * sizeof(int32_t))

/* add(p, n): p[thread] += n, in a grid of blocks of 64. The others have what makes a limit of a launch. */
static const char kernels[] =
    ".version 7.8\n.target sm_75\n.address_size 64\n"
    ".visible .entry add(.param .u64 p, .param .u32 n)\n{\n"
    ".reg .b32 %r<6>;\n.reg .b64 %rd<4>;\n"
    "ld.param.u64 %rd1, [p];\nld.param.u32 %r1, [n];\ncvta.to.global.u64 %rd2, %rd1;\n"
    "mov.u32 %r2, %ctaid.x;\nmov.u32 %r3, %ntid.x;\nmov.u32 %r4, %tid.x;\nmad.lo.s32 %r5, %r2, %r3, %r4;\n"
    "mul.wide.s32 %rd3, %r5, 4;\nadd.s64 %rd3, %rd2, %rd3;\n"
    "ld.global.u32 %r4, [%rd3];\nadd.s32 %r4, %r4, %r1;\nst.global.u32 [%rd3], %r4;\nret;\n}\n"
    ".visible .entry narrow()\n.maxntid 64, 1, 1\n{\nret;\n}\n"
    ".visible .entry shared()\n{\n.shared .align 4 .b8 tile[40960];\n.reg .b32 %r<4>;\n"
    "mov.u32 %r1, %tid.x;\nshl.b32 %r2, %r1, 2;\nmov.u32 %r3, tile;\nadd.s32 %r3, %r3, %r2;\n"
    "st.shared.u32 [%r3], %r1;\nret;\n}\n";

typedef struct gpu {
    CUdevice device;
    CUcontext context;
    CUmodule module;
    CUfunction add, narrow, shared;
} gpu;

/* Starts the driver anew with these settings ("NAME=value", NULL-terminated), and opens a device. */
static inline void gpu_start(const char *const *settings) {
    static const char *const names[] = {"EMU_CUDA_DEVICES",   "EMU_CUDA_SEED",      "EMU_CUDA_CAPABILITY",
                                        "EMU_CUDA_FAIL_CALL", "EMU_CUDA_FAIL_CODE", "EMU_CUDA_MEMORY_MIB",
                                        "EMU_CUDA_LOG",       "EMU_CUDA_PEERS"};
    emu_cuda_reset();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
    for (; settings && *settings; settings++) {
        char name[64];
        const char *value = strchr(*settings, '=') + 1;
        snprintf(name, sizeof name, "%.*s", (int)(value - *settings - 1), *settings);
        setenv(name, value, 1);
    }
}

static inline void gpu_retain(gpu *g, int ordinal) {
    *g = (gpu){0};
    OK(cu.cuInit(0));
    OK(cu.cuDeviceGet(&g->device, ordinal));
    OK(cu.cuDevicePrimaryCtxRetain(&g->context, g->device));
    OK(cu.cuCtxSetCurrent(g->context));
}

static inline void gpu_load(gpu *g) {
    OK(cu.cuModuleLoadData(&g->module, kernels));
    OK(cu.cuModuleGetFunction(&g->add, g->module, "add"));
    OK(cu.cuModuleGetFunction(&g->narrow, g->module, "narrow"));
    OK(cu.cuModuleGetFunction(&g->shared, g->module, "shared"));
}

static inline void gpu_open(gpu *g, uint64_t seed) {
    char text[64];
    snprintf(text, sizeof text, "EMU_CUDA_SEED=%llu", (unsigned long long)seed);
    gpu_start((const char *const[]){text, NULL});
    gpu_retain(g, 0);
    gpu_load(g);
}

static inline void gpu_close(gpu *g) {
    OK(cu.cuDevicePrimaryCtxRelease(g->device));
}

static inline CUresult launch_add(const gpu *g, CUdeviceptr to, uint32_t n, CUstream stream) {
    void *params[] = {&to, &n};
    const CUlaunchConfig config = {N / 64, 1, 1, 64, 1, 1, 0, stream, NULL, 0};
    return cu.cuLaunchKernelEx(&config, g->add, params, NULL);
}

/* A buffer in which every element is this, on the device for every stream. */
static inline CUdeviceptr buffer_of(int32_t value) {
    CUdeviceptr buffer;
    int32_t host[N];
    for (int i = 0; i < N; i++) host[i] = value;
    OK(cu.cuMemAlloc(&buffer, N_BYTES));
    OK(cu.cuMemcpyHtoD(buffer, host, N_BYTES));
    OK(cu.cuCtxSynchronize());
    return buffer;
}

/* What every element is; INT32_MIN if they differ. Waits for nothing but its own copy's order. */
static inline int32_t value_of(CUdeviceptr buffer) {
    int32_t host[N];
    OK(cu.cuMemcpyDtoH(host, buffer, N_BYTES));
    for (int i = 1; i < N; i++) {
        if (host[i] != host[0]) return INT32_MIN;
    }
    return host[0];
}

/* How a child ended that ran this: its exit status, or minus the signal. */
static inline int in_child(void (*run)(void *data), void *data) {
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        run(data);
        _exit(0);
    }
    int status = 0;
    CU_ASSERT_EQUAL_FATAL(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

#endif
