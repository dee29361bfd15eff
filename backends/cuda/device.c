/* Opening and closing a GPU, and what it says of itself. */
#include "device.h"

#include <stdlib.h>

#include "blas.h"
#include "kernels.h"
#include "pack.h"
#include "plugin.h"

nlm_cuda_scope nlm_cuda_enter(nlm_cuda_device *d) {
    nlm_cuda_scope scope = {.cu = d->cu};
    if (d->cu->cuCtxGetCurrent(&scope.before) == CUDA_SUCCESS && scope.before == d->context) return scope;
    scope.has_changed = d->cu->cuCtxSetCurrent(d->context) == CUDA_SUCCESS;
    return scope;
}

void nlm_cuda_leave(nlm_cuda_scope *scope) {
    if (scope->has_changed) scope->cu->cuCtxSetCurrent(scope->before);
}

static nlm_status describe(void *self, nlm_device_info_v1 *out, nlm_error *error) {
    nlm_cuda_device *d = self;
    size_t free_bytes = 0, total = 0;
    NLM_CUDA_IN(d);
    NLM_CUDA_TRY(cuMemGetInfo, &free_bytes, &total);
    nlm_device_info_v1 info = {
        .struct_size = sizeof info,
        .kind = NLM_DEVICE_STREAM,
        .flags = NLM_DEVICE_DETERMINISTIC | NLM_DEVICE_REPLAY_EXACT,
        .ordinal = d->ordinal,
        .memory_total_bytes = total,
        .memory_free_bytes = free_bytes,
        .alignment_bytes = 256,
    };
    if (d->is_batch_invariant) info.flags |= NLM_DEVICE_BATCH_INVARIANT;
    memcpy(info.name, d->name, sizeof info.name);
    memcpy(info.arch, d->arch, sizeof info.arch);
    return nlm_kit_describe(&info, out, error);
}

static int attribute(const nlm_cuda_driver *cu, CUdevice device, int which) {
    int value = 0;
    return cu->cuDeviceGetAttribute(&value, which, device) == CUDA_SUCCESS ? value : 0;
}

static bool option_is_true(const nlm_host_v1 *host, const char *key) {
    const char *text = host->option(host->self, key);
    return text && strcmp(text, "true") == 0;
}

/* Graphs keep such launches since CUDA 12.3. */
static bool can_launch_early(const nlm_cuda_device *d) {
    int version = 0;
    const char *option = d->host->option(d->host->self, "early_launch");
    if (option && strcmp(option, "false") == 0) return false;
    return d->capability >= 90 && d->cu->cuDriverGetVersion(&version) == CUDA_SUCCESS && version >= 12030;
}

/* Recorded layers as one launch: there are clusters, and the kernels whose bits it has are used. */
static bool can_step(const nlm_cuda_device *d) {
    const char *option = d->host->option(d->host->self, "cluster_step");
    return d->capability >= 90 && !d->is_batch_invariant && !(option && strcmp(option, "false") == 0);
}

static nlm_status read_options(nlm_cuda_device *d, nlm_error *error) {
    const char *products = d->host->option(d->host->self, "products");
    d->is_batch_invariant = option_is_true(d->host, "batch_invariant");
    d->is_tf32 = option_is_true(d->host, "tf32");
    d->has_early_launch = can_launch_early(d);
    d->has_steps = can_step(d);
    if (!products)
        d->products = d->is_batch_invariant ? NLM_CUDA_PRODUCTS_OWN : NLM_CUDA_PRODUCTS_BEST;
    else if (strcmp(products, "own") == 0)
        d->products = NLM_CUDA_PRODUCTS_OWN;
    else if (strcmp(products, "cublaslt") == 0)
        d->products = NLM_CUDA_PRODUCTS_CUBLASLT;
    else
        return nlm_kit_fail(error, NLM_INVALID_ARGUMENT, "open",
                            "products = \"%.40s\"; expected \"own\" or \"cublaslt\"", products);
    if (d->is_batch_invariant && d->products == NLM_CUDA_PRODUCTS_CUBLASLT) {
        return nlm_kit_fail(error, NLM_INVALID_ARGUMENT, "open",
                            "batch_invariant = true and products = \"cublaslt\" exclude each other");
    }
    return NLM_OK;
}

/* The device's own memory and streams, in its context. */
static nlm_status open_context(nlm_cuda_device *d, nlm_error *error) {
    size_t free_bytes;
    NLM_CUDA_IN(d);
    NLM_CUDA_TRY(cuMemGetInfo, &free_bytes, &d->memory_bytes);
    NLM_CUDA_TRY(cuStreamCreate, &d->transfers, CU_STREAM_NON_BLOCKING);
    NLM_CUDA_TRY(cuMemHostAlloc, (void **)&d->faults, NLM_CUDA_FAULTS * sizeof *d->faults,
                 CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP);
    memset(d->faults, 0, NLM_CUDA_FAULTS * sizeof *d->faults);
    NLM_CUDA_TRY(cuMemHostGetDevicePointer, &d->faults_address, d->faults, 0);
    return nlm_cuda_blas_open(d, error);
}

static void read_attributes(nlm_cuda_device *d) {
    d->capability = attribute(d->cu, d->device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) * 10 +
                    attribute(d->cu, d->device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    d->n_multiprocessors = attribute(d->cu, d->device, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    d->shared_bytes = attribute(d->cu, d->device, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
    d->cu->cuDeviceGetName(d->name, sizeof d->name, d->device);
    snprintf(d->arch, sizeof d->arch, "sm_%d", d->capability);
}

static void close_context(nlm_cuda_device *d) {
    NLM_CUDA_IN(d);
    nlm_cuda_blas_close(d);
    nlm_cuda_kernels_close(d);
    nlm_cuda_memory_close(d);
    if (d->faults) d->cu->cuMemFreeHost(d->faults);
    if (d->transfers) d->cu->cuStreamDestroy(d->transfers);
}

static void close_device(nlm_cuda_device *d) {
    close_context(d);
    d->cu->cuDevicePrimaryCtxRelease(d->device);
    pthread_mutex_destroy(&d->lock);
    d->host->release(d->host->self, d);
}

nlm_status nlm_cuda_open(const nlm_host_v1 *host, uint32_t ordinal, const nlm_device_v1 **out_device,
                         nlm_error *error) {
    char why[192];
    int count = 0;
    const nlm_cuda_driver *cu = nlm_cuda_driver_open(host, why, sizeof why);
    if (!cu) return nlm_kit_fail(error, NLM_DEVICE_ERROR, "open", "%s", why);
    nlm_cuda_device *d = host->alloc(host->self, sizeof *d, 64);
    if (!d) return nlm_kit_fail(error, NLM_OUT_OF_MEMORY, "open", "no host memory");
    *d = (nlm_cuda_device){.host = host, .cu = cu, .ordinal = ordinal, .name = "not opened"};
    pthread_mutex_init(&d->lock, NULL);
    CUresult result = cu->cuInit(0);
    if (result == CUDA_SUCCESS) result = cu->cuDeviceGetCount(&count);
    if (result == CUDA_SUCCESS) result = cu->cuDeviceGet(&d->device, (int)ordinal);
    if (result == CUDA_SUCCESS) read_attributes(d);
    if (result == CUDA_SUCCESS) result = cu->cuDevicePrimaryCtxRetain(&d->context, d->device);
    if (result != CUDA_SUCCESS) {
        const nlm_status status = ordinal >= (uint32_t)count && count > 0
                                      ? nlm_kit_fail(error, NLM_INVALID_ARGUMENT, "open",
                                                     "GPU %u, but there are GPUs 0 to %d", ordinal, count - 1)
                                      : nlm_cuda_fail(d, error, "cuDevicePrimaryCtxRetain", result);
        pthread_mutex_destroy(&d->lock);
        host->release(host->self, d);
        return status;
    }
    d->api = (nlm_device_v1){.struct_size = sizeof d->api, .self = d, .ops = &nlm_cuda_ops};
    d->api.describe = describe;
    d->api.query = nlm_cuda_query;
    d->api.prepare = nlm_cuda_prepare;
    d->api.pack_size = nlm_cuda_pack_size;
    d->api.pack = nlm_cuda_pack;
    nlm_cuda_memory_slots(&d->api);
    nlm_cuda_stream_slots(&d->api);
    nlm_status status = read_options(d, error);
    if (status == NLM_OK) status = open_context(d, error);
    if (status != NLM_OK) {
        close_device(d);
        return status;
    }
    *out_device = &d->api;
    return NLM_OK;
}

void nlm_cuda_close(const nlm_device_v1 *device) {
    close_device(device->self);
}
