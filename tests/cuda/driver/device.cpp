/* What the devices are: their number, names and attributes, by compute capability. */
#include <stdio.h>
#include <string.h>

#include "driver.h"

namespace {

bool is_device(CUdevice device) {
    return device >= 0 && device < setup.n_devices;
}

int attribute_of(const device_row &row, int attribute, CUdevice device) {
    switch (attribute) {
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: return 1024;
        case CU_DEVICE_ATTRIBUTE_WARP_SIZE: return 32;
        case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: return setup.multiprocessors;
        case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: return 1755000;
        case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: return 2619000;
        case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: return 5120;
        case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID: return 1 + device;
        case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID: return 0;
        case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: return row.l2_mib << 20;
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: return row.threads_per_multiprocessor;
        case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID: return 0;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: return row.capability / 10;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: return row.capability % 10;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: return row.shared_kib << 10;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: return row.shared_optin_kib << 10;
        case CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH: return row.cluster > 0;
        default: return -1;
    }
}

} // namespace

API CUresult cuDriverGetVersion(int *out) {
    const call c(BEFORE_INIT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    if (!out) return CUDA_ERROR_INVALID_VALUE;
    *out = 13000;
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetCount(int *out) {
    const call c(INITIALISED);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    if (!out) return CUDA_ERROR_INVALID_VALUE;
    *out = setup.n_devices;
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGet(CUdevice *out, int ordinal) {
    const call c(INITIALISED);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    if (!out) return CUDA_ERROR_INVALID_VALUE;
    if (!is_device(ordinal)) return CUDA_ERROR_INVALID_DEVICE;
    *out = ordinal;
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetName(char *out, int bytes, CUdevice device) {
    const call c(INITIALISED);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    if (!out || bytes < 1) return CUDA_ERROR_INVALID_VALUE;
    if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    snprintf(out, static_cast<size_t>(bytes), "Emulated GPU of compute capability %d.%d", setup.row->capability / 10,
             setup.row->capability % 10);
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetUuid_v2(CUuuid *out, CUdevice device) {
    const call c(INITIALISED);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    if (!out) return CUDA_ERROR_INVALID_VALUE;
    if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    memset(out->bytes, 0x5e, sizeof out->bytes);
    out->bytes[sizeof out->bytes - 1] = static_cast<char>(device);
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetAttribute(int *out, int attribute, CUdevice device) {
    const call c(INITIALISED);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    if (!out) return CUDA_ERROR_INVALID_VALUE;
    if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    const int value = attribute_of(*setup.row, attribute, device);
    if (value < 0) {
        log_line("cuDeviceGetAttribute: the stand-in does not know attribute %d", attribute);
        return CUDA_ERROR_INVALID_VALUE;
    }
    *out = value;
    return CUDA_SUCCESS;
}

API CUresult cuDeviceTotalMem_v2(size_t *out, CUdevice device) {
    const call c(INITIALISED);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    if (!out) return CUDA_ERROR_INVALID_VALUE;
    if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    *out = setup.device_bytes;
    return CUDA_SUCCESS;
}

API CUresult cuDeviceCanAccessPeer(int *out, CUdevice device, CUdevice peer) {
    const call c(INITIALISED);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    if (!out) return CUDA_ERROR_INVALID_VALUE;
    if (!is_device(device) || !is_device(peer)) return CUDA_ERROR_INVALID_DEVICE;
    *out = setup.has_peers && device != peer;
    return CUDA_SUCCESS;
}
