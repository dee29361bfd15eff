/* What a GPU does at best, behind nlm.probes: what tools/predict-cuda reckons with. */
#ifndef NLM_CUDA_PROBES_H
#define NLM_CUDA_PROBES_H

#include <nlm/plugin.h>

extern const nlm_probes_v1 nlm_cuda_probes;

#endif
