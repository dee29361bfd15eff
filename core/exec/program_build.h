/* Making a program. The planner (core/graph) says what runs where and in which order, and how large the memories must
 * be; memory, queues and addresses are the executor's affair.
 *
 * In this order: nlm_program_create, then tensors, steps, items and outputs. Whatever fails, the program is whole
 * enough for nlm_program_destroy. */
#ifndef NLM_EXEC_PROGRAM_BUILD_H
#define NLM_EXEC_PROGRAM_BUILD_H

#include "exec/op_spec.h"
#include "exec/program.h"
#include "exec/state.h"

#define NLM_NO_OUTPUT UINT32_MAX

/* One op, bound. */
typedef struct nlm_step {
    nlm_op op;
    int32_t layer;
    nlm_device *device;
    nlm_any_args args;
    bool needs_barrier; /* the next step of a sliced segment touches what this one did */
    bool is_fallback;   /* runs elsewhere than on the device of its choice, because of `reason` */
    const char *reason; /* copied */
    uint32_t output;    /* sliced: all that it is for is the output of that number; else NLM_NO_OUTPUT */
} nlm_step;

/* What a run does, in order. The queue of a stream device keeps the order of what is given to it; where a run moves
 * from one device to another, the planner puts an item that orders them. */
typedef enum nlm_item_kind {
    NLM_ITEM_SLICED,   /* steps first .. first+count-1 in one parallel region */
    NLM_ITEM_STREAM,   /* steps first .. first+count-1 enqueued on `device` */
    NLM_ITEM_TRANSFER, /* a value from one memory to another, enqueued on `device` */
    NLM_ITEM_ORDER,    /* what `device` is given from here on waits for all that device `after` was given */
    NLM_ITEM_WAIT,     /* the host waits for all queues */
    NLM_ITEM_PAUSE,    /* where a run that pauses stops: what was an output so far is on the host */
    NLM_ITEM_SUM /* the result of step `first`, a copy, is summed over ranks; enqueued if its device has a queue */
} nlm_item_kind;

/* A contiguous value, of which the live rows are moved from one memory to another. Enqueued on the device of `to`, or
 * that of `from` if `to` is the host's; between two devices they are peers, and the value has room on the host. */
typedef struct nlm_transfer {
    nlm_space from, to;
    uint64_t from_offset, to_offset, host_offset; /* in the activations of each */
    uint64_t row_bytes;
    const nlm_tensor *rows; /* of the program: tells how many rows are live */
    uint32_t consumer;      /* the step it is for; the number of steps if it is an output */
    bool is_optional;       /* for outputs alone: done when a run wants one of them */
} nlm_transfer;

typedef struct nlm_item {
    nlm_item_kind kind;
    uint32_t device; /* its number in the env */
    uint32_t after;
    uint32_t first, count;
    nlm_transfer transfer;
} nlm_item;

typedef struct nlm_program_input_spec {
    int32_t value;
    nlm_tensor tensor; /* without data */
    bool is_counts;    /* the counts of live rows, which every run begins with */
} nlm_program_input_spec;

/* The needs of one memory. */
typedef struct nlm_space_needs {
    uint64_t activation_bytes;
    uint64_t workspace_bytes;
    uint64_t scratch_bytes; /* a worker's */
    bool has_inputs;        /* ops read inputs there */
} nlm_space_needs;

typedef struct nlm_program_needs {
    const nlm_program_input_spec *inputs;
    uint32_t n_inputs;
    uint32_t n_steps, n_items, n_outputs, n_tensors; /* upper bounds */
    nlm_space_needs spaces[NLM_SPACES];
    bool uses_device[NLM_ENV_DEVICES];
    uint32_t n_lent;         /* states that have memory among the activations */
    bool pauses;             /* it has an NLM_ITEM_PAUSE, and activations of its own: other programs run meanwhile */
    uint64_t unpacked_bytes; /* of activations, were no memory shared */
} nlm_program_needs;

/* A program without steps, its memory and queues. On failure *out is NULL or to be destroyed. Errors   OUT_OF_MEMORY,
 * LIMIT, those of the devices. */
nlm_status nlm_program_create(const nlm_env *env, const nlm_program_needs *needs, nlm_program **out, nlm_error *err);

/* Tensors of the program, shaped as `like`: at an offset of the activations in a memory; of an input, as `space` has
 * it, from an offset on; with the data and the buffer that `like` has. */
nlm_status nlm_program_add_activation(nlm_program *program, const nlm_tensor *like, nlm_space space, uint64_t offset,
                                      const nlm_tensor **out, nlm_error *err);
nlm_status nlm_program_add_input_view(nlm_program *program, const nlm_tensor *like, nlm_space space, int32_t value,
                                      uint64_t offset, const nlm_tensor **out, nlm_error *err);
nlm_status nlm_program_add_tensor(nlm_program *program, const nlm_tensor *like, const nlm_tensor **out,
                                  nlm_error *err);

/* Lends the state, which is not placed, memory of the activations on device number `device` of the env, at an offset,
 * as long as the program lives: they then stay where they are. */
nlm_status nlm_program_lend(nlm_program *program, nlm_state *state, uint32_t device, uint64_t offset, nlm_error *err);

/* The device prepares the op. */
nlm_status nlm_program_add_step(nlm_program *program, const nlm_step *step, nlm_error *err);
nlm_status nlm_program_add_item(nlm_program *program, const nlm_item *item, nlm_error *err);
/* The next output, the first being number 0, and the item that brings it to the host if it is not there anyway;
 * NLM_NO_ITEM: none. */
#define NLM_NO_ITEM UINT32_MAX
nlm_status nlm_program_add_output(nlm_program *program, int32_t value, const nlm_tensor *host, uint32_t item,
                                  nlm_error *err);

/* Logs each kind of fallback once per env: programs of many sizes fall back alike. */
void nlm_program_warn_of_fallbacks(const nlm_program *program);

#endif
