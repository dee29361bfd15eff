/* What a program is inside: made through program_build.h, run by executor.c and queue.c. */
#ifndef NLM_EXEC_PROGRAM_IMPL_H
#define NLM_EXEC_PROGRAM_IMPL_H

#include "base/arena.h"
#include "exec/program_build.h"

/* A tensor in a device's region, whose address changes when the region grows. */
typedef struct nlm_rebind {
    nlm_tensor *tensor;
    uint64_t offset;
} nlm_rebind;

typedef struct nlm_program_input_info {
    int32_t value;
    nlm_tensor tensor; /* in host memory */
    uint64_t offset;   /* of the inputs' memory */
} nlm_program_input_info;

typedef struct nlm_program_output_info {
    int32_t value;
    const nlm_tensor *host;
    uint32_t item;
} nlm_program_output_info;

/* One thread of a sliced segment, or a queue. */
typedef struct nlm_worker {
    nlm_exec_v1 x;
    nlm_error error;
    nlm_status status;
    uint32_t step; /* that failed */
} nlm_worker;

/* What a program has of a stream device. */
typedef struct nlm_queue {
    nlm_device *device;              /* NULL: sliced, or not used */
    const nlm_device_region *region; /* NULL until it is opened */
    uint64_t generation;             /* of the region when the tensors were last bound to it */
    nlm_rebind *rebinds;
    uint32_t n_rebinds;
    uint64_t workspace_offset, scratch_offset; /* in the region; of devices with memory of their own */
    uint64_t inputs_buffer;                    /* the inputs as the device has them */
    char *inputs;                              /* their address; NULL: it reads none */
    bool has_pending;                          /* something is enqueued and not waited for */
    nlm_worker worker;
} nlm_queue;

struct nlm_program {
    nlm_arena arena; /* everything below that is an array, and the tensors */
    nlm_env env;     /* a copy */
    nlm_activations *own_activations;
    char *host_base; /* of the activations */

    nlm_step *steps;
    uint32_t n_steps;
    nlm_item *items;
    uint32_t n_items;
    nlm_program_output_info *outputs;
    uint32_t n_outputs;
    nlm_worker *workers; /* [n_workers] */
    uint32_t n_workers;
    nlm_queue queues[NLM_ENV_DEVICES];
    uint32_t room_for_rebinds;
    int32_t bucket_rows[NLM_ROWS_KINDS]; /* the greatest live_rows; INT32_MAX: no input has the kind */

    nlm_program_input_info *inputs;
    uint32_t n_inputs;
    uint64_t input_bytes; /* of the memory of all inputs */
    char *input_memory;   /* the host's; NLM_ROWS_KINDS counts of live rows at its beginning */
    char *sent;           /* what the devices have of it; NULL: none has a copy */
    bool is_sent;         /* else they have nothing yet, or something else */

    uint64_t activation_bytes, unpacked_bytes;

    /* of the run under way */
    bool is_running;
    const int32_t *live_rows;
    const nlm_item *segment;
    bool *is_wanted; /* [n_items] of optional transfers */
};

/* Rows of a tensor that a run uses. */
static inline int64_t nlm_rows_of(const nlm_tensor *tensor, const int32_t *live_rows) {
    const nlm_exec_v1 x = {.live_rows = live_rows};
    return nlm_live_rows(&x, tensor);
}

/* What an op moves and computes in a run. */
typedef struct nlm_cost {
    uint64_t bytes;
    uint64_t flop;
} nlm_cost;

/* Estimated from shapes and live rows; attention also from the positions, if the host can see them. */
nlm_cost nlm_step_cost(const nlm_step *step, const int32_t *live_rows);

/* ---- executor.c ---- */

void nlm_worker_clear(nlm_worker *worker);
/* Completes a backend's message with where it happened. */
nlm_status nlm_step_fail(const nlm_step *step, nlm_status told, const nlm_error *cause, nlm_error *err);
void nlm_step_profile(const nlm_program *program, const nlm_step *step, uint64_t ns);

/* ---- queue.c: the stream devices ---- */

/* The regions may have grown for another program since the last run. */
void nlm_queues_bind(nlm_program *program);
nlm_status nlm_queue_run(nlm_program *program, const nlm_item *item, nlm_error *err);
nlm_status nlm_queue_transfer(nlm_program *program, const nlm_item *item, nlm_error *err);
nlm_status nlm_queue_order(nlm_program *program, const nlm_item *item, nlm_error *err);
/* Waits for all that was enqueued; errors of enqueued work surface here. */
nlm_status nlm_queues_sync(nlm_program *program, nlm_error *err);

/* ---- inputs.c ---- */

/* Copies the memory of the inputs to the devices that read it: the live rows, and of them what has changed since. */
nlm_status nlm_inputs_send(nlm_program *program, nlm_error *err);

#endif
