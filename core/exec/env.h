/* Where programs run: the chosen device, those that step in for ops it lacks, and the threads.
 * Planning copies it; what it points to outlives the programs. */
#ifndef NLM_EXEC_ENV_H
#define NLM_EXEC_ENV_H

#include "base/threads.h"
#include "exec/activations.h"
#include "exec/profile.h"
#include "plugin/device.h"

#define NLM_ENV_DEVICES 8

typedef struct nlm_env {
    nlm_device *devices[NLM_ENV_DEVICES]; /* [0] the chosen one; the rest sliced ones in host memory, in
                                             the order they are asked; borrowed */
    uint32_t n_devices;                   /* 1: fallback is off, an op the device lacks is an error */
    nlm_pool *pool;                       /* borrowed */
    nlm_profile *profile;                 /* NULL: off; borrowed */
    nlm_activations *activations;         /* shared by the env's programs, which run one at a time; NULL:
                                             each program has its own; borrowed */
} nlm_env;

#endif
