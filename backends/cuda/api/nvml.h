/* What this backend uses of NVML, NVIDIA's library of measurements (libnvidia-ml.so.1): see cuda.h beside it. */
#ifndef NLM_CUDA_API_NVML_H
#define NLM_CUDA_API_NVML_H

typedef int nvmlReturn_t;
typedef struct nvmlDevice_st *nvmlDevice_t;

enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NO_PERMISSION = 4,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_GPU_IS_LOST = 15,
    NVML_ERROR_UNKNOWN = 999,
};

/* nvmlClockType_t, nvmlTemperatureSensors_t, nvmlMemoryErrorType_t, nvmlEccCounterType_t */
enum { NVML_CLOCK_GRAPHICS = 0, NVML_CLOCK_SM = 1, NVML_CLOCK_MEM = 2 };
enum { NVML_TEMPERATURE_GPU = 0 };
enum { NVML_MEMORY_ERROR_TYPE_CORRECTED = 0, NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1 };
enum { NVML_VOLATILE_ECC = 0, NVML_AGGREGATE_ECC = 1 };

typedef struct nvmlMemory_t {
    unsigned long long total, free, used;
} nvmlMemory_t;

typedef struct nvmlUtilization_t {
    unsigned gpu, memory; /* per cent of the last second or less */
} nvmlUtilization_t;

/* X(name of the field, symbol of the library, arguments): every function returns an nvmlReturn_t. */
#define NLM_NVML_FUNCTIONS(X)                                                                                       \
    X(nvmlInit, nvmlInit_v2, (void))                                                                                \
    X(nvmlShutdown, nvmlShutdown, (void))                                                                           \
    X(nvmlSystemGetDriverVersion, nvmlSystemGetDriverVersion, (char *out, unsigned bytes))                          \
    X(nvmlDeviceGetHandleByPciBusId, nvmlDeviceGetHandleByPciBusId_v2, (const char *bus_id, nvmlDevice_t *out))     \
    X(nvmlDeviceGetHandleByUUID, nvmlDeviceGetHandleByUUID, (const char *uuid, nvmlDevice_t *out))                  \
    X(nvmlDeviceGetName, nvmlDeviceGetName, (nvmlDevice_t device, char *out, unsigned bytes))                       \
    X(nvmlDeviceGetMemoryInfo, nvmlDeviceGetMemoryInfo, (nvmlDevice_t device, nvmlMemory_t * out))                  \
    X(nvmlDeviceGetUtilizationRates, nvmlDeviceGetUtilizationRates, (nvmlDevice_t device, nvmlUtilization_t * out)) \
    X(nvmlDeviceGetPowerUsage, nvmlDeviceGetPowerUsage, (nvmlDevice_t device, unsigned *out_milliwatts))            \
    X(nvmlDeviceGetClockInfo, nvmlDeviceGetClockInfo, (nvmlDevice_t device, int clock, unsigned *out_mhz))          \
    X(nvmlDeviceGetTemperature, nvmlDeviceGetTemperature, (nvmlDevice_t device, int sensor, unsigned *out_celsius)) \
    X(nvmlDeviceGetTotalEccErrors, nvmlDeviceGetTotalEccErrors,                                                     \
      (nvmlDevice_t device, int type, int counter, unsigned long long *out))

#endif
