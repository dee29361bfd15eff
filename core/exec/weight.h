/* A model's weight and where it lives: row-major on the host, and packed or uploaded per device. */
#ifndef NLM_EXEC_WEIGHT_H
#define NLM_EXEC_WEIGHT_H

#include "base/threads.h"
#include "exec/pack_cache.h"
#include "plugin/device.h"

#define NLM_WEIGHT_PLACES 4

typedef struct nlm_weight_place {
    const nlm_device *device;
    uint32_t layout;
    uint64_t buffer; /* device buffer, or 0 */
    void *host;      /* packed host memory owned here, or NULL when tensor.data is the source or mapped */
    uint64_t host_bytes;
    nlm_tensor tensor; /* what ops on that device are given */
} nlm_weight_place;

typedef struct nlm_weight {
    const char *name;
    nlm_tensor source; /* row-major host memory, borrowed from the file's mapping */
    uint32_t roles;    /* NLM_ROLE_* seen so far */
    int32_t n_places;
    nlm_weight_place places[NLM_WEIGHT_PLACES];
    /* Called for parts of the source, and at last for all of it, when they were packed or uploaded:
     * their pages are not needed soon, yet the source must stay readable. From any thread; may be NULL. */
    void (*drop_source)(void *user, const void *data, uint64_t bytes);
    /* Called before the source is read for a place and after: whether the file behind it is as it was. May be NULL.
     */
    nlm_status (*check_source)(void *user, nlm_error *err);
    void *source_user;     /* of both */
    nlm_pack_cache *cache; /* where packed copies are looked for and noted; borrowed, may be NULL */
} nlm_weight;

/* The weight as `device` wants it in `layout`, packed (in parallel over `pool`, slice by slice, source
 * pages dropped behind), mapped from the cache or uploaded at the first call; row-major in host memory it is the
 * source itself. *out stays valid until release. Not thread-safe: plan from one thread. Errors   OUT_OF_MEMORY, LIMIT
 * (more than NLM_WEIGHT_PLACES), INTERNAL (a layout that its device cannot pack), and what pack and upload return. */
nlm_status nlm_weight_place_on(nlm_weight *weight, const nlm_device *device, uint32_t layout, uint32_t role,
                               nlm_pool *pool, const nlm_tensor **out, nlm_error *err);
/* Frees all places. */
void nlm_weight_release(nlm_weight *weight);

#endif
