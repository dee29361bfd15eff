/* cuda: NVIDIA GPUs, through libraries that are found at run time; it builds and loads without any of them. */
#include "plugin.h"

#include "device.h"
#include "metrics.h"
#include "probes.h"

#define LEAST_CAPABILITY 75

/* A reason why not, or NULL. */
static const char *count_devices(const nlm_cuda_driver *cu, uint32_t *out_count) {
    int count = 0;
    CUresult result = cu->cuInit(0);
    if (result == CUDA_SUCCESS) result = cu->cuDeviceGetCount(&count);
    if (result == CUDA_ERROR_NO_DEVICE || (result == CUDA_SUCCESS && count == 0)) return "no NVIDIA GPU is there";
    if (result != CUDA_SUCCESS) return "NVIDIA's driver does not start";
    for (int i = 0; i < count; i++) {
        int major = 0, minor = 0;
        CUdevice device;
        if (cu->cuDeviceGet(&device, i) != CUDA_SUCCESS ||
            cu->cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device) != CUDA_SUCCESS ||
            cu->cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device) != CUDA_SUCCESS)
            return "a GPU does not answer";
        if (major * 10 + minor < LEAST_CAPABILITY) return "a GPU is older than compute capability 7.5 (Turing)";
    }
    *out_count = (uint32_t)count;
    return NULL;
}

static nlm_status probe(const nlm_host_v1 *host, nlm_probe_v1 *out, nlm_error *error) {
    (void)error;
    const nlm_cuda_driver *cu = nlm_cuda_driver_open(host, out->reason, sizeof out->reason);
    if (!cu) return NLM_OK;
    const char *reason = count_devices(cu, &out->device_count);
    if (reason) snprintf(out->reason, sizeof out->reason, "%s", reason);
    out->score = 100;
    return NLM_OK;
}

static const void *extension(const char *name, uint32_t version) {
    if (strcmp(name, NLM_CAPTURE_EXTENSION) == 0 && version == 1) return &nlm_cuda_capture;
    if (strcmp(name, NLM_PROBES_EXTENSION) == 0 && version == 1) return &nlm_cuda_probes;
    return strcmp(name, NLM_METRICS_EXTENSION) == 0 && version == 1 ? &nlm_cuda_metrics : NULL;
}

static const nlm_plugin_v1 plugin = {
    .struct_size = sizeof plugin,
    .abi_minor = 0,
    .sanitizer = NLM_SANITIZER_BUILD,
    .name = "cuda",
    .version = "1",
    .description = "NVIDIA GPUs: kernels compiled by NVRTC where they run",
    .probe = probe,
    .open = nlm_cuda_open,
    .close = nlm_cuda_close,
    .extension = extension,
};

const nlm_plugin_v1 *nlm_plugin_query_v1(uint32_t host_minor) {
    (void)host_minor;
    return &plugin;
}
