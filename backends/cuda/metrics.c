/* Memory, utilization, power, clocks, temperature and memory errors of a GPU, from NVML. */
#include "metrics.h"

#include "device.h"

/* Asks for one number; what a GPU or a driver does not tell stays unknown. */
static bool is_told(nvmlReturn_t result, nlm_device_metrics_v1 *out, uint32_t known) {
    if (result != NVML_SUCCESS) return false;
    out->known |= known;
    return true;
}

static void read_memory(const nlm_cuda_nvml *nvml, nvmlDevice_t gpu, nlm_device_metrics_v1 *out) {
    nvmlMemory_t memory = {0};
    nvmlUtilization_t used = {0};
    unsigned long long corrected = 0, uncorrected = 0;
    if (is_told(nvml->nvmlDeviceGetMemoryInfo(gpu, &memory), out, NLM_METRIC_MEMORY)) {
        out->memory_used_bytes = memory.used;
        out->memory_total_bytes = memory.total;
    }
    if (is_told(nvml->nvmlDeviceGetUtilizationRates(gpu, &used), out,
                NLM_METRIC_UTILIZATION | NLM_METRIC_MEMORY_UTILIZATION)) {
        out->utilization_percent = used.gpu;
        out->memory_utilization_percent = used.memory;
    }
    nvmlReturn_t result =
        nvml->nvmlDeviceGetTotalEccErrors(gpu, NVML_MEMORY_ERROR_TYPE_CORRECTED, NVML_VOLATILE_ECC, &corrected);
    if (result == NVML_SUCCESS) {
        result = nvml->nvmlDeviceGetTotalEccErrors(gpu, NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC,
                                                   &uncorrected);
    }
    if (is_told(result, out, NLM_METRIC_ECC)) {
        out->ecc_corrected = corrected;
        out->ecc_uncorrected = uncorrected;
    }
}

static void read_power(const nlm_cuda_nvml *nvml, nvmlDevice_t gpu, nlm_device_metrics_v1 *out) {
    unsigned celsius = 0;
    is_told(nvml->nvmlDeviceGetPowerUsage(gpu, &out->power_milliwatts), out, NLM_METRIC_POWER);
    is_told(nvml->nvmlDeviceGetClockInfo(gpu, NVML_CLOCK_SM, &out->clock_mhz), out, NLM_METRIC_CLOCK);
    is_told(nvml->nvmlDeviceGetClockInfo(gpu, NVML_CLOCK_MEM, &out->memory_clock_mhz), out, NLM_METRIC_MEMORY_CLOCK);
    if (is_told(nvml->nvmlDeviceGetTemperature(gpu, NVML_TEMPERATURE_GPU, &celsius), out, NLM_METRIC_TEMPERATURE)) {
        out->temperature_celsius = (int32_t)celsius;
    }
}

/* The UUID as NVML writes it: NVML counts GPUs in an order of its own. */
static nlm_status find_gpu(const nlm_cuda_device *d, const nlm_cuda_nvml *nvml, nvmlDevice_t *out, nlm_error *error) {
    CUuuid uuid;
    char text[64] = "GPU-";
    size_t used = 4;
    if (d->cu->cuDeviceGetUuid(&uuid, d->device) != CUDA_SUCCESS) {
        return nlm_kit_fail(error, NLM_DEVICE_ERROR, "nvml", "GPU %u has no UUID", d->ordinal);
    }
    for (int i = 0; i < 16; i++) {
        const char *dash = i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "";
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%02x", dash, (unsigned char)uuid.bytes[i]);
    }
    const nvmlReturn_t result = nvml->nvmlDeviceGetHandleByUUID(text, out);
    if (result == NVML_SUCCESS) return NLM_OK;
    return nlm_kit_fail(error, NLM_UNSUPPORTED, "nvml", "NVML does not know GPU %u, %s: error %d", d->ordinal, text,
                        result);
}

static nlm_status read_metrics(void *self, nlm_device_metrics_v1 *out, nlm_error *error) {
    const nlm_cuda_device *d = self;
    char why[192];
    nvmlDevice_t gpu;
    nlm_device_metrics_v1 metrics = {.struct_size = out->struct_size};
    const nlm_cuda_nvml *nvml = nlm_cuda_nvml_open(d->host, why, sizeof why);
    if (!nvml) return nlm_kit_fail(error, NLM_UNSUPPORTED, "nvml", "%s", why);
    if (nvml->nvmlInit() != NVML_SUCCESS) return nlm_kit_fail(error, NLM_UNSUPPORTED, "nvml", "NVML does not start");
    const nlm_status status = find_gpu(d, nvml, &gpu, error);
    if (status == NLM_OK) {
        read_memory(nvml, gpu, &metrics);
        read_power(nvml, gpu, &metrics);
        memcpy(out, &metrics, out->struct_size < sizeof metrics ? out->struct_size : sizeof metrics);
    }
    nvml->nvmlShutdown();
    return status;
}

const nlm_metrics_v1 nlm_cuda_metrics = {.struct_size = sizeof nlm_cuda_metrics, .read = read_metrics};
