/* Where programs run: the chosen device, those that step in for ops it lacks, and the threads.
 * Planning copies it; what it points to outlives the programs. */
#ifndef NLM_EXEC_ENV_H
#define NLM_EXEC_ENV_H

#include "base/threads.h"
#include "exec/activations.h"
#include "exec/comm.h"
#include "exec/profile.h"
#include "plugin/device.h"

#define NLM_ENV_DEVICES 8

/* Told of every weight that was placed; what it returns but OK ends the planning. */
typedef struct nlm_placing {
    nlm_status (*placed)(struct nlm_placing *placing, uint64_t bytes, nlm_error *err);
} nlm_placing;

typedef struct nlm_env {
    nlm_device *devices[NLM_ENV_DEVICES]; /* [0] the chosen one; the rest in the order they are asked; sliced
                                             ones work in host memory; borrowed */
    uint32_t n_devices;                   /* n_split: fallback is off, an op the devices lack is an error */
    uint32_t n_split;                     /* devices[0] to [n_split-1] have a share of the layers each, in turn: a
                                             node's is asked first; 0: as 1 */
    nlm_pool *pool;                       /* borrowed */
    nlm_profile *profile;                 /* NULL: off; borrowed */
    nlm_activations *activations;         /* shared by the env's programs, which run one at a time; NULL:
                                             each program has its own; borrowed */
    const nlm_comm *comm;                 /* NULL: one rank; borrowed */
    nlm_placing *placing;                 /* NULL: nobody is told; borrowed */
} nlm_env;

/* The memories of an env: the host's, and that of each device that has its own. */
typedef uint32_t nlm_space;
#define NLM_SPACE_HOST 0u
#define NLM_SPACES     (NLM_ENV_DEVICES + 1u)

/* The memory that device number `device` works in. */
static inline nlm_space nlm_env_space(const nlm_env *env, uint32_t device) {
    return nlm_device_has_host_memory(env->devices[device]) ? NLM_SPACE_HOST : device + 1;
}

/* May `device` copy from `other`, and wait for its events? */
static inline bool nlm_device_is_peer(const nlm_device *device, const nlm_device *other) {
    return device->plugin == other->plugin && device->api.copy_from && other->api.copy_from;
}

#endif
