/* Packing done by the device that wants it. */
#ifndef NLM_EXEC_PACK_DEVICE_H
#define NLM_EXEC_PACK_DEVICE_H

#include "plugin/device.h"

typedef struct nlm_device_packing {
    const nlm_device *device;
    nlm_tensor source; /* a matrix, row-major on the host */
    uint32_t layout;
    uint32_t roles;
    int64_t row_multiple; /* as pack_size says */
    nlm_place_v1 packed;
} nlm_device_packing;

/* Rows go to the device as they are, a part at a time, and are packed there; done when it returns.
 * Errors   UNSUPPORTED (the device leaves this weight to the host; what is at `packed` is unspecified),
 * OUT_OF_MEMORY, those of the device. */
nlm_status nlm_pack_on_device(const nlm_device_packing *packing, nlm_error *err);

#endif
