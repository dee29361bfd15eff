/* What a program is inside. The planner (core/graph) fills it in, the executor runs it. */
#ifndef NLM_EXEC_PROGRAM_IMPL_H
#define NLM_EXEC_PROGRAM_IMPL_H

#include "base/arena.h"
#include "exec/op_spec.h"
#include "exec/program.h"

/* Where memory is: the host's, or that of the env's stream device. */
typedef enum nlm_space { NLM_SPACE_HOST, NLM_SPACE_DEVICE, NLM_SPACES } nlm_space;

static inline nlm_space nlm_space_of(const nlm_device *device) {
    return nlm_device_has_host_memory(device) ? NLM_SPACE_HOST : NLM_SPACE_DEVICE;
}

/* One op, bound. */
typedef struct nlm_step {
    nlm_op op;
    int32_t layer;
    nlm_device *device;
    nlm_any_args args;
    bool needs_barrier; /* the next step of a sliced segment touches what this one did */
    bool is_fallback;   /* runs elsewhere than on devices[0], because of `reason` */
    const char *reason;
} nlm_step;

/* What a run does, in order. */
typedef enum nlm_item_kind {
    NLM_ITEM_SLICED,   /* steps first .. first+count-1 in one parallel region */
    NLM_ITEM_STREAM,   /* steps first .. first+count-1 enqueued */
    NLM_ITEM_UPLOAD,   /* host -> device, enqueued */
    NLM_ITEM_DOWNLOAD, /* device -> host, enqueued */
    NLM_ITEM_SYNC      /* waits for the queue */
} nlm_item_kind;

typedef struct nlm_item {
    nlm_item_kind kind;
    uint32_t first, count;
    /* transfers: a contiguous value, of which the live rows are moved */
    const nlm_tensor *host;
    uint64_t device_offset; /* in the device region */
    uint64_t row_bytes;
    uint32_t consumer; /* the step it is for; the number of steps if it is an output */
} nlm_item;

/* A tensor in the device region, whose address changes when the region grows. */
typedef struct nlm_rebind {
    nlm_tensor *tensor;
    uint64_t offset;
} nlm_rebind;

typedef struct nlm_program_io {
    int32_t value;
    bool is_input;
    const nlm_tensor *host;
} nlm_program_io;

/* One thread of a sliced segment. */
typedef struct nlm_worker {
    nlm_exec_v1 x;
    nlm_error error;
    nlm_status status;
    uint32_t step; /* that failed */
} nlm_worker;

struct nlm_program {
    nlm_arena arena; /* everything below that is an array, and the tensors */
    nlm_env env;     /* a copy */
    nlm_activations *own_activations;
    void *input_memory;

    nlm_step *steps;
    uint32_t n_steps;
    nlm_item *items;
    uint32_t n_items;
    nlm_program_io *io;
    uint32_t n_io;
    nlm_worker *workers; /* [n_workers] */
    uint32_t n_workers;
    int32_t bucket_rows[NLM_ROWS_KINDS]; /* the greatest live_rows; INT32_MAX: no input has the kind */

    nlm_device *stream_device; /* or NULL */
    const nlm_device_region *region;
    uint64_t generation; /* of the region when the tensors were last bound to it */
    nlm_rebind *rebinds;
    uint32_t n_rebinds;
    uint64_t device_workspace_offset, device_scratch_offset;
    nlm_worker stream_worker;

    uint64_t activation_bytes, unpacked_bytes;

    /* of the run under way */
    const int32_t *live_rows;
    const nlm_item *segment;
};

/* Rows of a tensor that a run uses. */
static inline int64_t nlm_rows_of(const nlm_tensor *tensor, const int32_t *live_rows) {
    const nlm_exec_v1 x = {.live_rows = live_rows};
    return nlm_live_rows(&x, tensor);
}

/* Appends the line about a fallback of which step `index` is the first; false if it is not one. */
bool nlm_program_fallback_at(const nlm_program *program, uint32_t index, nlm_str *out);

/* What an op moves and computes in a run. */
typedef struct nlm_cost {
    uint64_t bytes;
    uint64_t flop;
} nlm_cost;

/* Estimated from shapes and live rows; attention also from the positions, if the host can see them. */
nlm_cost nlm_step_cost(const nlm_step *step, const int32_t *live_rows);

#endif
