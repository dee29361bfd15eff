// A stand-in for libnvidia-ml.so.1: what the emulated devices would say of themselves. Memory is what the process has
// allocated on them; power, clocks and the rest are made up, and never change but for what moves with use.
#include "cuda/api/nvml.h"

#include <cstdio>
#include <cstring>
#include <mutex>

#include "standins.h"

#define NVML_DECLARE(name, symbol, arguments) \
    extern "C" __attribute__((visibility("default"))) nvmlReturn_t symbol arguments;
NLM_NVML_FUNCTIONS(NVML_DECLARE)
#undef NVML_DECLARE

namespace {

std::mutex lock;
int n_started;

// A handle is the ordinal + 1.
nvmlReturn_t find(nvmlDevice_t handle, const void *out, emu_device *device) {
    const std::lock_guard<std::mutex> held(lock);
    if (n_started == 0) return NVML_ERROR_UNINITIALIZED;
    const auto ordinal = static_cast<int>(reinterpret_cast<uintptr_t>(handle)) - 1;
    if (!out || !emu_cuda_device(ordinal, device)) return NVML_ERROR_INVALID_ARGUMENT;
    return NVML_SUCCESS;
}

nvmlReturn_t hand_out(int ordinal, nvmlDevice_t *out) {
    emu_device device;
    if (!emu_cuda_device(ordinal, &device)) return NVML_ERROR_NOT_FOUND;
    const auto handle = static_cast<uintptr_t>(ordinal + 1);
    *out = reinterpret_cast<nvmlDevice_t>(handle);
    return NVML_SUCCESS;
}

nvmlReturn_t write_text(const char *text, char *out, unsigned bytes) {
    if (!out) return NVML_ERROR_INVALID_ARGUMENT;
    if (strlen(text) >= bytes) return NVML_ERROR_INSUFFICIENT_SIZE;
    memcpy(out, text, strlen(text) + 1);
    return NVML_SUCCESS;
}

bool is_started() {
    const std::lock_guard<std::mutex> held(lock);
    return n_started > 0;
}

} // namespace

nvmlReturn_t nvmlInit_v2(void) {
    const std::lock_guard<std::mutex> held(lock);
    n_started++;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlShutdown(void) {
    const std::lock_guard<std::mutex> held(lock);
    if (n_started == 0) return NVML_ERROR_UNINITIALIZED;
    n_started--;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *out, unsigned bytes) {
    return is_started() ? write_text("580.00.00", out, bytes) : NVML_ERROR_UNINITIALIZED;
}

// "00000000:01:00.0", the domain in 4 or 8 digits.
nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, nvmlDevice_t *out) {
    unsigned domain = 0, bus = 0, device = 0, function = 0;
    if (!is_started()) return NVML_ERROR_UNINITIALIZED;
    if (!bus_id || !out) return NVML_ERROR_INVALID_ARGUMENT;
    if (sscanf(bus_id, "%x:%x:%x.%x", &domain, &bus, &device, &function) != 4) return NVML_ERROR_INVALID_ARGUMENT;
    if (domain != 0 || device != 0 || function != 0 || bus == 0) return NVML_ERROR_NOT_FOUND;
    return hand_out(static_cast<int>(bus) - 1, out);
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *out) {
    if (!is_started()) return NVML_ERROR_UNINITIALIZED;
    if (!uuid || !out) return NVML_ERROR_INVALID_ARGUMENT;
    unsigned last = 0;
    if (sscanf(uuid, "GPU-5e5e5e5e-5e5e-5e5e-5e5e-5e5e5e5e5e%2x", &last) != 1) return NVML_ERROR_NOT_FOUND;
    return hand_out(static_cast<int>(last), out);
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t handle, char *out, unsigned bytes) {
    emu_device device;
    const nvmlReturn_t result = find(handle, out, &device);
    if (result != NVML_SUCCESS) return result;
    char text[96];
    snprintf(text, sizeof text, "Emulated GPU of compute capability %d.%d", device.capability / 10,
             device.capability % 10);
    return write_text(text, out, bytes);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t handle, nvmlMemory_t *out) {
    emu_device device;
    const nvmlReturn_t result = find(handle, out, &device);
    if (result != NVML_SUCCESS) return result;
    *out = {device.total_bytes, device.total_bytes - device.used_bytes, device.used_bytes};
    return NVML_SUCCESS;
}

// Of use there is no measure: whether its clock moved since it was last asked.
nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t handle, nvmlUtilization_t *out) {
    static uint64_t seen_ns[16];
    emu_device device;
    const nvmlReturn_t result = find(handle, out, &device);
    if (result != NVML_SUCCESS) return result;
    const std::lock_guard<std::mutex> held(lock);
    uint64_t &seen = seen_ns[reinterpret_cast<uintptr_t>(handle) - 1];
    *out = {device.clock_ns == seen ? 0u : 100u, device.used_bytes == 0 ? 0u : 50u};
    seen = device.clock_ns;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t handle, unsigned *out_milliwatts) {
    emu_device device;
    const nvmlReturn_t result = find(handle, out_milliwatts, &device);
    if (result == NVML_SUCCESS) *out_milliwatts = 123456;
    return result;
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t handle, int clock, unsigned *out_mhz) {
    const unsigned mhz[] = {1755, 1755, 2619};
    emu_device device;
    const nvmlReturn_t result = find(handle, out_mhz, &device);
    if (result != NVML_SUCCESS) return result;
    if (clock < NVML_CLOCK_GRAPHICS || clock > NVML_CLOCK_MEM) return NVML_ERROR_INVALID_ARGUMENT;
    *out_mhz = mhz[clock];
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t handle, int sensor, unsigned *out_celsius) {
    emu_device device;
    const nvmlReturn_t result = find(handle, out_celsius, &device);
    if (result != NVML_SUCCESS) return result;
    if (sensor != NVML_TEMPERATURE_GPU) return NVML_ERROR_INVALID_ARGUMENT;
    *out_celsius = 42;
    return NVML_SUCCESS;
}

// Devices before 8.0 are taken for ones without ECC memory.
nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t handle, int type, int counter, unsigned long long *out) {
    emu_device device;
    const nvmlReturn_t result = find(handle, out, &device);
    if (result != NVML_SUCCESS) return result;
    if (type < 0 || type > NVML_MEMORY_ERROR_TYPE_UNCORRECTED || counter < 0 || counter > NVML_AGGREGATE_ECC)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (device.capability < 80) return NVML_ERROR_NOT_SUPPORTED;
    *out = 0;
    return NVML_SUCCESS;
}
