/* Between the plugin's descriptor and its devices. */
#ifndef NLM_CUDA_PLUGIN_H
#define NLM_CUDA_PLUGIN_H

#include <nlm/plugin.h>

nlm_status nlm_cuda_open(const nlm_host_v1 *host, uint32_t ordinal, const nlm_device_v1 **out_device,
                         nlm_error *error);
void nlm_cuda_close(const nlm_device_v1 *device);

#endif
