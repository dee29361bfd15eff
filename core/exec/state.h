/* Memory that outlives a run (a KV cache, a Mamba state), placed on the device whose ops use it. */
#ifndef NLM_EXEC_STATE_H
#define NLM_EXEC_STATE_H

#include "plugin/device.h"

typedef struct nlm_state {
    const char *name;  /* borrowed */
    nlm_tensor tensor; /* data NULL until placed; zero-filled then */
    uint64_t bytes;
    const nlm_device *device; /* NULL until placed */
    uint64_t buffer, from;    /* of device memory: it begins `from` bytes within the buffer */
    bool is_lent;             /* the memory is a program's */
} nlm_state;

/* Describes a state; nothing is allocated. */
nlm_status nlm_state_init(nlm_state *state, const char *name, nlm_dtype dtype, int rank, const int64_t *shape,
                          nlm_error *err);
/* Allocates zeroed memory on the device (host memory: lazily committed). Called by the planner; a
 * second call with another device is INTERNAL, unless both work in host memory. `device` outlives the state. */
nlm_status nlm_state_place(nlm_state *state, const nlm_device *device, nlm_error *err);
/* Copies bytes in or out, or zeroes them, between runs. Bounds are checked. A state that was never
 * placed reads as zeros, and writing it is INVALID_ARGUMENT. The two ranges of a copy are equal or do
 * not overlap. */
nlm_status nlm_state_read(const nlm_state *state, uint64_t offset, void *out, uint64_t bytes, nlm_error *err);
nlm_status nlm_state_write(nlm_state *state, uint64_t offset, const void *data, uint64_t bytes, nlm_error *err);
nlm_status nlm_state_zero(nlm_state *state, uint64_t offset, uint64_t bytes, nlm_error *err);
nlm_status nlm_state_copy(nlm_state *state, uint64_t to, uint64_t from, uint64_t bytes, nlm_error *err);
/* Gives back its memory, if that is its own. It can be placed again. */
void nlm_state_release(nlm_state *state);

/* Places a state, that is not placed, in memory of another owner, who takes it away by nlm_state_release. What it
 * holds is unspecified. `from`: of the buffer, on a device with memory of its own. */
void nlm_state_lend(nlm_state *state, const nlm_device *device, void *address, uint64_t buffer, uint64_t from);

#endif
