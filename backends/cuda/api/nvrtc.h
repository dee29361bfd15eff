/* What this backend uses of NVRTC, NVIDIA's compiler of CUDA C++ at run time: see cuda.h beside it. */
#ifndef NLM_CUDA_API_NVRTC_H
#define NLM_CUDA_API_NVRTC_H

#include <stddef.h>

typedef int nvrtcResult;
typedef struct _nvrtcProgram *nvrtcProgram;

enum {
    NVRTC_SUCCESS = 0,
    NVRTC_ERROR_OUT_OF_MEMORY = 1,
    NVRTC_ERROR_COMPILATION = 6,
};

/* X(name, arguments): every function returns an nvrtcResult. */
#define NLM_NVRTC_FUNCTIONS(X)                                                                      \
    X(nvrtcVersion, (int *out_major, int *out_minor))                                               \
    X(nvrtcGetNumSupportedArchs, (int *out))                                                        \
    X(nvrtcGetSupportedArchs, (int *out))                                                           \
    X(nvrtcCreateProgram, (nvrtcProgram * out, const char *source, const char *name, int n_headers, \
                           const char *const *headers, const char *const *include_names))           \
    X(nvrtcDestroyProgram, (nvrtcProgram * program))                                                \
    X(nvrtcCompileProgram, (nvrtcProgram program, int n_options, const char *const *options))       \
    X(nvrtcGetCUBINSize, (nvrtcProgram program, size_t * out))                                      \
    X(nvrtcGetCUBIN, (nvrtcProgram program, char *out))                                             \
    X(nvrtcGetPTXSize, (nvrtcProgram program, size_t * out))                                        \
    X(nvrtcGetPTX, (nvrtcProgram program, char *out))                                               \
    X(nvrtcGetProgramLogSize, (nvrtcProgram program, size_t * out))                                 \
    X(nvrtcGetProgramLog, (nvrtcProgram program, char *out))

#endif
