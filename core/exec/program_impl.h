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
    bool is_counts;    /* of live rows, at its beginning */
} nlm_program_input_info;

typedef struct nlm_program_output_info {
    int32_t value;
    const nlm_tensor *host;
    uint32_t item;
    bool is_lazy;     /* only computed when it is wanted */
    bool is_wanted;   /* by the last run, or fetched since */
    bool is_computed; /* by the last run, which is over */
} nlm_program_output_info;

/* One thread of a sliced segment, or a queue. */
typedef struct nlm_worker {
    nlm_exec_v1 x;
    nlm_error error;
    nlm_status status;
    uint32_t step; /* that failed */
    nlm_pool *pool;
    uint64_t op; /* that it is in, of the pool's */
} nlm_worker;

/* Bounds of positions that recordings are made for: not known, then powers of two. */
#define NLM_CONTEXT_BUCKETS  40u
#define NLM_CONTEXT_SMALLEST 256

/* The steps of an item as the device keeps them, for one bound of positions. */
typedef struct nlm_recording {
    void *handle;    /* NULL: not made yet, or gone with the addresses it named */
    bool is_refused; /* the device cannot record these steps */
} nlm_recording;

/* What a program has of a stream device. */
typedef struct nlm_queue {
    nlm_device *device;        /* NULL: sliced, or not used */
    nlm_device_region *region; /* NULL until it is opened */
    uint64_t generation;       /* of the region when the tensors were last bound to it */
    nlm_rebind *rebinds;
    uint32_t n_rebinds;
    uint64_t workspace_offset, scratch_offset; /* in the region; of devices with memory of their own */
    uint64_t inputs_buffer;                    /* the beginning of the inputs' memory, as the device has it */
    uint64_t inputs_bytes;                     /* of it; if the program reads none there, the counts alone */
    char *inputs;                              /* its address; NULL: the device reads the host's */
    bool has_pending;                          /* something is enqueued and not waited for */
    nlm_region_watcher watcher;
    struct nlm_program *program; /* for the watcher */
    void **events; /* [2 * n_steps]: before and after each step, for the profile; NULL: no profile or no time */
    uint32_t *timed_steps; /* [n_steps] those that this run has enqueued */
    uint32_t n_timed, n_events;
    nlm_worker worker;
} nlm_queue;

struct nlm_program {
    nlm_arena arena; /* everything below that is an array, and the tensors */
    nlm_env env;     /* a copy */
    nlm_activations *own_activations;
    char *host_base;  /* of the activations */
    nlm_state **lent; /* states that have memory among them */
    uint32_t n_lent;

    nlm_step *steps;
    uint32_t n_steps;
    nlm_item *items;
    nlm_recording **recordings; /* [n_items][NLM_CONTEXT_BUCKETS] of what is enqueued, where the device can record */
    char **landings; /* [n_items] pinned memory that outputs are brought to, where the device has such; else NULL */
    uint32_t n_items;
    nlm_program_output_info *outputs;
    uint32_t n_outputs;
    nlm_worker *workers; /* [n_workers] */
    uint32_t n_workers;
    nlm_queue queues[NLM_ENV_DEVICES];   /* by device */
    uint32_t n_queues;                   /* so many of them may be used: those up to the last that is */
    int32_t bucket_rows[NLM_ROWS_KINDS]; /* the greatest live_rows; INT32_MAX: no input has the kind */

    nlm_program_input_info *inputs;
    uint32_t n_inputs;
    uint64_t input_bytes;   /* of the memory of all inputs */
    char *input_memory;     /* the host's; NLM_ROWS_KINDS counts of live rows at its beginning */
    char *sent;             /* what the devices have of it; NULL: none has a copy */
    nlm_device *sent_owner; /* whose pinned memory it is, or NULL */
    bool is_sent;           /* else they have nothing yet, or something else */
    nlm_queue *writer;      /* whose steps leave inputs changed, as `sent` has them after the run; NULL: none */
    uint64_t written_bytes; /* up to where */

    uint64_t activation_bytes, unpacked_bytes, working_bytes;
    bool has_sums; /* over ranks */

    /* of the run under way */
    bool is_running;
    uint32_t times;           /* it goes through its items */
    bool is_last;             /* of these */
    uint32_t resume_at;       /* the item after the one at which it has paused; 0: it has not */
    const int32_t *live_rows; /* NULL, or counts */
    int32_t counts[NLM_ROWS_KINDS];
    uint32_t context_bucket;
    const nlm_item *segment;
    uint64_t segment_op; /* the pool's number for its first step */
    bool *is_wanted;     /* [n_items] of optional transfers */
};

/* Is this a step of which the run wants nothing? */
static inline bool nlm_step_is_idle(const nlm_program *program, const nlm_step *step) {
    return step->output != NLM_NO_OUTPUT && !program->outputs[step->output].is_wanted;
}

/* Rows of a tensor that a run uses. */
static inline int64_t nlm_rows_of(const nlm_tensor *tensor, const int32_t *live_rows) {
    const nlm_exec_v1 x = {.live_rows = live_rows};
    return nlm_live_rows(&x, tensor);
}

/* The bound of positions of a bucket. */
static inline int64_t nlm_context_bound(uint32_t bucket) {
    return bucket == 0 ? 0 : (int64_t)NLM_CONTEXT_SMALLEST << (bucket - 1);
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

/* A run begins. The regions may have grown for another program since the last one. */
void nlm_queues_begin(nlm_program *program);
nlm_status nlm_queue_run(nlm_program *program, uint32_t item, nlm_error *err);
/* Calls the slot of one step. */
nlm_status nlm_queue_step(const nlm_program *program, nlm_queue *queue, uint32_t step, nlm_error *err);
nlm_status nlm_queue_transfer(nlm_program *program, const nlm_item *item, nlm_error *err);
nlm_status nlm_queue_order(nlm_program *program, const nlm_item *item, nlm_error *err);
/* Waits for all that was enqueued; errors of enqueued work surface here. */
nlm_status nlm_queues_sync(nlm_program *program, nlm_error *err);
/* The same at the end of a run, which is profiled then. */
nlm_status nlm_queues_finish(nlm_program *program, nlm_error *err);

/* ---- recording.c: what a stream device records once and replays ---- */

/* Does the steps of the item from a recording, which is made if there is none. *out_is_done is false where the device
 * cannot record them. */
nlm_status nlm_recording_run(nlm_program *program, uint32_t item, bool *out_is_done, nlm_error *err);
/* Destroys those of one device. */
void nlm_recordings_drop(nlm_program *program, uint32_t device);

/* ---- timing.c: the profile of a stream device ---- */

nlm_status nlm_timing_create(nlm_program *program, nlm_queue *queue, uint32_t n_steps, nlm_error *err);
void nlm_timing_destroy(nlm_queue *queue);
/* Enqueues a step between two events. */
nlm_status nlm_timing_run(nlm_program *program, nlm_queue *queue, uint32_t step, nlm_error *err);
/* Adds the times of a run that is over to the profile. */
nlm_status nlm_timing_collect(const nlm_program *program, nlm_queue *queue, nlm_error *err);

/* ---- comm.c ---- */

nlm_status nlm_comm_run(nlm_program *program, const nlm_item *item, nlm_error *err);
/* The run has failed: other ranks do not wait for it. */
void nlm_comm_fail(const nlm_program *program);

/* ---- inputs.c ---- */

/* Copies the memory of the inputs to the devices that read it: the live rows, and of them what has changed since. */
nlm_status nlm_inputs_send(nlm_program *program, nlm_error *err);
/* Enqueues that what steps have written to inputs is brought back to `sent`. */
nlm_status nlm_inputs_bring(nlm_program *program, nlm_error *err);

#endif
