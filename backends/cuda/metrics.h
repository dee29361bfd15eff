/* What NVML measures of a GPU, behind nlm.metrics. */
#ifndef NLM_CUDA_METRICS_H
#define NLM_CUDA_METRICS_H

#include <nlm/plugin.h>

extern const nlm_metrics_v1 nlm_cuda_metrics;

#endif
