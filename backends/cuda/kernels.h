/* Kernels by name: compiled on the device's first need of them, then kept in a file and in the device. */
#ifndef NLM_CUDA_KERNELS_H
#define NLM_CUDA_KERNELS_H

#include "device.h"

/* The sources of ops/ and device/, embedded when this backend is built (sources.cmake). */
typedef struct nlm_cuda_source {
    const char *name; /* "rms_norm.cu" */
    const char *text;
} nlm_cuda_source;
extern const nlm_cuda_source nlm_cuda_sources[];
extern const int nlm_cuda_n_sources;

/* A macro that a source is compiled with: name=text, or name=number where text is NULL. */
typedef struct nlm_cuda_define {
    const char *name;
    const char *text;
    int number;
} nlm_cuda_define;

#define NLM_CUDA_MAX_DEFINES 7

/* A kernel of a source compiled with some defines. Texts are constants of the program. */
typedef struct nlm_cuda_kernel {
    const char *source;                            /* "rms_norm": ops/rms_norm.cu, or device/ */
    const char *name;                              /* of the function, extern "C" */
    nlm_cuda_define defines[NLM_CUDA_MAX_DEFINES]; /* up to the first without a name */
} nlm_cuda_kernel;

/* The kernel's function; compiles its source if this device has not yet and may_compile. Thread-safe.
 * Errors   INTERNAL (NVRTC's log is told to the host's log, its first line is in *error; not prepared),
 *          UNSUPPORTED (no NVRTC), those of the driver. */
nlm_status nlm_cuda_find(nlm_cuda_device *d, const nlm_cuda_kernel *kernel, bool may_compile, CUfunction *out,
                         nlm_error *error);
void nlm_cuda_kernels_close(nlm_cuda_device *d);

/* compile.c: the image of a source, cubin or PTX, allocated by the host. `options` is NULL-terminated. */
nlm_status nlm_cuda_compile(nlm_cuda_device *d, const char *source, const char *const *options, char **out_image,
                            size_t *out_bytes, nlm_error *error);

/* cache.c: images in files by key. A file that is damaged, another key's or somebody else's counts as none. */
bool nlm_cuda_cache_load(nlm_cuda_device *d, const char *key, char **out_image, size_t *out_bytes);
void nlm_cuda_cache_store(nlm_cuda_device *d, const char *key, const char *image, size_t bytes);

#endif
