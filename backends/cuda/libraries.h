/* NVIDIA's libraries, looked up at run time: what is missing is a reason, not a load error. */
#ifndef NLM_CUDA_LIBRARIES_H
#define NLM_CUDA_LIBRARIES_H

#include <nlm/plugin.h>

#include "api/cublaslt.h"
#include "api/cuda.h"
#include "api/nvml.h"
#include "api/nvrtc.h"

typedef struct nlm_cuda_driver {
#define NLM_CUDA_FIELD(name, symbol, args) CUresult(*name) args;
    NLM_CUDA_FUNCTIONS(NLM_CUDA_FIELD)
#undef NLM_CUDA_FIELD
} nlm_cuda_driver;

typedef struct nlm_cuda_nvrtc {
#define NLM_NVRTC_FIELD(name, args) nvrtcResult(*name) args;
    NLM_NVRTC_FUNCTIONS(NLM_NVRTC_FIELD)
#undef NLM_NVRTC_FIELD
} nlm_cuda_nvrtc;

typedef struct nlm_cuda_nvml {
#define NLM_NVML_FIELD(name, symbol, args) nvmlReturn_t(*name) args;
    NLM_NVML_FUNCTIONS(NLM_NVML_FIELD)
#undef NLM_NVML_FIELD
} nlm_cuda_nvml;

typedef struct nlm_cuda_cublaslt {
#define NLM_CUBLASLT_FIELD(name, args) cublasStatus_t(*name) args;
    NLM_CUBLASLT_FUNCTIONS(NLM_CUBLASLT_FIELD)
#undef NLM_CUBLASLT_FIELD
} nlm_cuda_cublaslt;

/* The driver library, opened once in a process, initialised by the caller. NULL: `why` says what is missing.
 * Option "driver": its path; else libcuda.so.1 wherever the dynamic linker finds it. Thread-safe. */
const nlm_cuda_driver *nlm_cuda_driver_open(const nlm_host_v1 *host, char *why, size_t why_bytes);

/* NVRTC, as nlm_cuda_driver_open. Option "nvrtc": its path; else the dynamic linker's, then the toolkit that
 * CUDA_PATH or CUDA_HOME names, then /usr/local/cuda. */
const nlm_cuda_nvrtc *nlm_cuda_nvrtc_open(const nlm_host_v1 *host, char *why, size_t why_bytes);

/* NVML, which comes with the driver, as nlm_cuda_driver_open. Option "nvml": its path. */
const nlm_cuda_nvml *nlm_cuda_nvml_open(const nlm_host_v1 *host, char *why, size_t why_bytes);

/* cuBLASLt, as nlm_cuda_nvrtc_open. Option "cublaslt": its path. */
const nlm_cuda_cublaslt *nlm_cuda_cublaslt_open(const nlm_host_v1 *host, char *why, size_t why_bytes);

#endif
