/* What this backend uses of the CUDA driver API, declared here so that it builds without a toolkit: libcuda.so.1 is
 * looked up at run time. Names, values and layouts are those of NVIDIA's cuda.h; tests/cuda/driver compares them with
 * it where there is one. */
#ifndef NLM_CUDA_API_CUDA_H
#define NLM_CUDA_API_CUDA_H

#include <stddef.h>
#include <stdint.h>

typedef int CUresult;
typedef int CUdevice;
typedef uint64_t CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;

enum {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_NOT_INITIALIZED = 3,
    CUDA_ERROR_DEINITIALIZED = 4,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_INVALID_IMAGE = 200,
    CUDA_ERROR_INVALID_CONTEXT = 201,
    CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
    CUDA_ERROR_ECC_UNCORRECTABLE = 214,
    CUDA_ERROR_PEER_ACCESS_UNSUPPORTED = 217,
    CUDA_ERROR_INVALID_PTX = 218,
    CUDA_ERROR_NVLINK_UNCORRECTABLE = 220,
    CUDA_ERROR_JIT_COMPILER_NOT_FOUND = 221,
    CUDA_ERROR_INVALID_HANDLE = 400,
    CUDA_ERROR_ILLEGAL_STATE = 401,
    CUDA_ERROR_NOT_FOUND = 500,
    CUDA_ERROR_NOT_READY = 600,
    CUDA_ERROR_ILLEGAL_ADDRESS = 700,
    CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701,
    CUDA_ERROR_LAUNCH_TIMEOUT = 702,
    CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED = 704,
    CUDA_ERROR_CONTEXT_IS_DESTROYED = 709,
    CUDA_ERROR_ASSERT = 710,
    CUDA_ERROR_HARDWARE_STACK_ERROR = 714,
    CUDA_ERROR_ILLEGAL_INSTRUCTION = 715,
    CUDA_ERROR_MISALIGNED_ADDRESS = 716,
    CUDA_ERROR_INVALID_ADDRESS_SPACE = 717,
    CUDA_ERROR_INVALID_PC = 718,
    CUDA_ERROR_LAUNCH_FAILED = 719,
    CUDA_ERROR_NOT_PERMITTED = 800,
    CUDA_ERROR_NOT_SUPPORTED = 801,
    CUDA_ERROR_SYSTEM_NOT_READY = 802,
    CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803,
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900,
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901,
    CUDA_ERROR_STREAM_CAPTURE_MERGE = 902,
    CUDA_ERROR_STREAM_CAPTURE_UNMATCHED = 903,
    CUDA_ERROR_STREAM_CAPTURE_UNJOINED = 904,
    CUDA_ERROR_STREAM_CAPTURE_ISOLATION = 905,
    CUDA_ERROR_STREAM_CAPTURE_IMPLICIT = 906,
    CUDA_ERROR_CAPTURED_EVENT = 907,
    CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD = 908,
    CUDA_ERROR_INVALID_CLUSTER_SIZE = 912,
    CUDA_ERROR_UNKNOWN = 999,
};

/* CUdevice_attribute */
enum {
    CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 1,
    CU_DEVICE_ATTRIBUTE_WARP_SIZE = 10,
    CU_DEVICE_ATTRIBUTE_CLOCK_RATE = 13,
    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
    CU_DEVICE_ATTRIBUTE_PCI_BUS_ID = 33,
    CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID = 34,
    CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE = 36,
    CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH = 37,
    CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE = 38,
    CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR = 39,
    CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID = 50,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR = 81,
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97,
    CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH = 120,
};

/* CUfunction_attribute */
enum {
    CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 0,
    CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES = 1,
    CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES = 3,
    CU_FUNC_ATTRIBUTE_NUM_REGS = 4,
    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8,
    CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED = 14,
};

enum { CU_STREAM_DEFAULT = 0, CU_STREAM_NON_BLOCKING = 1 };
enum { CU_EVENT_DEFAULT = 0, CU_EVENT_DISABLE_TIMING = 2 };
enum { CU_MEMHOSTALLOC_PORTABLE = 1, CU_MEMHOSTALLOC_DEVICEMAP = 2 };
enum { CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1, CU_STREAM_CAPTURE_MODE_RELAXED = 2 };
enum {
    CU_STREAM_CAPTURE_STATUS_NONE = 0,
    CU_STREAM_CAPTURE_STATUS_ACTIVE = 1,
    CU_STREAM_CAPTURE_STATUS_INVALIDATED = 2
};

/* CUlaunchAttributeID */
enum {
    CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION = 4,
    CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION = 6,
};

typedef union CUlaunchAttributeValue {
    char pad[64];
    struct {
        unsigned x, y, z;
    } clusterDim;
    int programmaticStreamSerializationAllowed;
} CUlaunchAttributeValue;

typedef struct CUlaunchAttribute {
    int id;
    char pad[4];
    CUlaunchAttributeValue value;
} CUlaunchAttribute;

typedef struct CUlaunchConfig {
    unsigned gridDimX, gridDimY, gridDimZ;
    unsigned blockDimX, blockDimY, blockDimZ;
    unsigned sharedMemBytes;
    CUstream hStream;
    CUlaunchAttribute *attrs;
    unsigned numAttrs;
} CUlaunchConfig;

typedef struct CUuuid {
    char bytes[16];
} CUuuid;

/* X(name of the field, symbol of the library, arguments): every function returns a CUresult. The symbols are those
 * that cuda.h's names stand for. */
#define NLM_CUDA_FUNCTIONS(X)                                                                                        \
    X(cuInit, cuInit, (unsigned flags))                                                                              \
    X(cuDriverGetVersion, cuDriverGetVersion, (int *out))                                                            \
    X(cuGetErrorName, cuGetErrorName, (CUresult result, const char **out))                                           \
    X(cuGetErrorString, cuGetErrorString, (CUresult result, const char **out))                                       \
    X(cuDeviceGetCount, cuDeviceGetCount, (int *out))                                                                \
    X(cuDeviceGet, cuDeviceGet, (CUdevice * out, int ordinal))                                                       \
    X(cuDeviceGetName, cuDeviceGetName, (char *out, int bytes, CUdevice device))                                     \
    X(cuDeviceGetUuid, cuDeviceGetUuid_v2, (CUuuid * out, CUdevice device))                                          \
    X(cuDeviceGetAttribute, cuDeviceGetAttribute, (int *out, int attribute, CUdevice device))                        \
    X(cuDeviceTotalMem, cuDeviceTotalMem_v2, (size_t * out, CUdevice device))                                        \
    X(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, (CUcontext * out, CUdevice device))                        \
    X(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, (CUdevice device))                                    \
    X(cuCtxGetCurrent, cuCtxGetCurrent, (CUcontext * out))                                                           \
    X(cuCtxSetCurrent, cuCtxSetCurrent, (CUcontext context))                                                         \
    X(cuCtxSynchronize, cuCtxSynchronize, (void))                                                                    \
    X(cuMemGetInfo, cuMemGetInfo_v2, (size_t * out_free, size_t * out_total))                                        \
    X(cuMemAlloc, cuMemAlloc_v2, (CUdeviceptr * out, size_t bytes))                                                  \
    X(cuMemFree, cuMemFree_v2, (CUdeviceptr memory))                                                                 \
    X(cuMemHostAlloc, cuMemHostAlloc, (void **out, size_t bytes, unsigned flags))                                    \
    X(cuMemHostGetDevicePointer, cuMemHostGetDevicePointer_v2, (CUdeviceptr * out, void *memory, unsigned flags))    \
    X(cuMemFreeHost, cuMemFreeHost, (void *memory))                                                                  \
    X(cuMemcpyHtoD, cuMemcpyHtoD_v2, (CUdeviceptr to, const void *from, size_t bytes))                               \
    X(cuMemcpyDtoH, cuMemcpyDtoH_v2, (void *to, CUdeviceptr from, size_t bytes))                                     \
    X(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t bytes, CUstream stream))    \
    X(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t bytes, CUstream stream))          \
    X(cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream))    \
    X(cuMemcpyPeerAsync, cuMemcpyPeerAsync,                                                                          \
      (CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context, size_t bytes,                 \
       CUstream stream))                                                                                             \
    X(cuMemsetD8Async, cuMemsetD8Async, (CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream))        \
    X(cuDeviceCanAccessPeer, cuDeviceCanAccessPeer, (int *out, CUdevice device, CUdevice peer))                      \
    X(cuStreamCreate, cuStreamCreate, (CUstream * out, unsigned flags))                                              \
    X(cuStreamDestroy, cuStreamDestroy_v2, (CUstream stream))                                                        \
    X(cuStreamSynchronize, cuStreamSynchronize, (CUstream stream))                                                   \
    X(cuStreamQuery, cuStreamQuery, (CUstream stream))                                                               \
    X(cuStreamWaitEvent, cuStreamWaitEvent, (CUstream stream, CUevent event, unsigned flags))                        \
    X(cuEventCreate, cuEventCreate, (CUevent * out, unsigned flags))                                                 \
    X(cuEventDestroy, cuEventDestroy_v2, (CUevent event))                                                            \
    X(cuEventRecord, cuEventRecord, (CUevent event, CUstream stream))                                                \
    X(cuEventQuery, cuEventQuery, (CUevent event))                                                                   \
    X(cuEventSynchronize, cuEventSynchronize, (CUevent event))                                                       \
    X(cuEventElapsedTime, cuEventElapsedTime, (float *out_ms, CUevent from, CUevent to))                             \
    X(cuModuleLoadData, cuModuleLoadData, (CUmodule * out, const void *image))                                       \
    X(cuModuleUnload, cuModuleUnload, (CUmodule module))                                                             \
    X(cuModuleGetFunction, cuModuleGetFunction, (CUfunction * out, CUmodule module, const char *name))               \
    X(cuFuncGetAttribute, cuFuncGetAttribute, (int *out, int attribute, CUfunction function))                        \
    X(cuFuncSetAttribute, cuFuncSetAttribute, (CUfunction function, int attribute, int value))                       \
    X(cuOccupancyMaxActiveClusters, cuOccupancyMaxActiveClusters,                                                    \
      (int *out, CUfunction function, const CUlaunchConfig *config))                                                 \
    X(cuLaunchKernelEx, cuLaunchKernelEx,                                                                            \
      (const CUlaunchConfig *config, CUfunction function, void **params, void **extra))                              \
    X(cuStreamBeginCapture, cuStreamBeginCapture_v2, (CUstream stream, int mode))                                    \
    X(cuStreamEndCapture, cuStreamEndCapture, (CUstream stream, CUgraph * out))                                      \
    X(cuStreamIsCapturing, cuStreamIsCapturing, (CUstream stream, int *out_status))                                  \
    X(cuGraphInstantiate, cuGraphInstantiateWithFlags, (CUgraphExec * out, CUgraph graph, unsigned long long flags)) \
    X(cuGraphLaunch, cuGraphLaunch, (CUgraphExec exec, CUstream stream))                                             \
    X(cuGraphExecDestroy, cuGraphExecDestroy, (CUgraphExec exec))                                                    \
    X(cuGraphDestroy, cuGraphDestroy, (CUgraph graph))

#endif
