/* A planned graph: ops bound to devices and memory, ready to run again and again. */
#ifndef NLM_EXEC_PROGRAM_H
#define NLM_EXEC_PROGRAM_H

#include "base/str.h"
#include "exec/env.h"

typedef struct nlm_program nlm_program;

/* Host memory of an input, to be filled before a run (its contents stay), and of an output, to be read
 * after one and before the next run of any program of the env. Neither moves. `value` is an nlm_value
 * of the graph; NULL if it is no input, or was not marked an output. */
void *nlm_program_input(nlm_program *program, int32_t value);
const void *nlm_program_output(const nlm_program *program, int32_t value);
/* What the last run has left in an input that its ops write; valid until the next run. */
const void *nlm_program_left(const nlm_program *program, int32_t value);

/* What a run is told. All zero: a run of all rows that brings every output to the host. */
typedef struct nlm_run_info {
    const int32_t *live_rows; /* [NLM_ROWS_KINDS], each at most the bucket it was planned for; NULL: all rows */
    /* No position of this run is max_context or above; 0: not known. The executor rounds it up, so that what is
     * recorded for one run serves many. */
    int64_t max_context;
    /* The outputs that are read after the run, if `picks_outputs`; the contents of the others are unspecified: they
     * stay on the device that computed them, and an op that gives nothing else may be left out. */
    const int32_t *outputs;
    uint32_t n_outputs;
    bool picks_outputs;
    /* Stop before the backward pass, if the graph was built so (nlm_backward.pauses): when the run is over the
     * outputs of the forward pass can be read, and nlm_program_resume does the rest. */
    bool pauses;
    /* So many runs follow one another on the device, each beginning with what the one before it has left in the
     * inputs, the counts of live rows too; 0: one. Outputs are those of the last. Only where nlm_program_can_repeat.
     */
    uint32_t times;
} nlm_run_info;

/* Is all of it one recording on one device, so that runs can follow one another without the host? A run that is to be
 * repeated is UNSUPPORTED, and nothing was done, where the device then refuses to record. */
bool nlm_program_can_repeat(const nlm_program *program);

/* Begins a run of all ops. Sliced devices have done their work when it returns; what is enqueued on the queue of a
 * stream device may go on until nlm_program_wait. Until then the inputs and the states stay as they are, and no
 * program of the env is submitted or planned. `info` may be NULL. Allocates nothing. Errors   INVALID_ARGUMENT
 * (live_rows, an output that is none, a run that was not waited for, `times` of a program that cannot repeat),
 * UNSUPPORTED (`times`, see above) and what ops return: the message names op, layer and backend. After an error
 * nothing is under way. States may be half written; the program stays usable. */
nlm_status nlm_program_submit(nlm_program *program, const nlm_run_info *info, nlm_error *err);
/* Waits for the run that was submitted, after which its outputs can be read. Errors of work that was enqueued surface
 * here: the message names the backend. OK if nothing was submitted. */
nlm_status nlm_program_wait(nlm_program *program, nlm_error *err);
/* Both, one after the other. */
nlm_status nlm_program_run(nlm_program *program, const nlm_run_info *info, nlm_error *err);

/* Goes on with a run that has paused, with the inputs as they are now, and waits for it: of `info`, which may be
 * NULL, what it says of outputs counts. Other programs may have run meanwhile. Errors   INVALID_ARGUMENT (the last
 * run has not paused, failed, or was resumed), and as nlm_program_run. */
nlm_status nlm_program_resume(nlm_program *program, const nlm_run_info *info, nlm_error *err);

/* Brings an output to the host that the last run did not pick, and waits for it: what was computed is on its device
 * until the next run of any program of the env. *out as nlm_program_output gives it. Errors   INVALID_ARGUMENT (no
 * output; the last run did not compute it, or failed), and those of wait. */
nlm_status nlm_program_fetch(nlm_program *program, int32_t value, const void **out, nlm_error *err);

/* Bytes of activations after liveness packing, and without it. */
uint64_t nlm_program_activation_bytes(const nlm_program *program);
uint64_t nlm_program_unpacked_bytes(const nlm_program *program);
/* Of activations and of what ops work in beside them, on every device: all that a run needs. */
uint64_t nlm_program_working_bytes(const nlm_program *program);
uint32_t nlm_program_steps(const nlm_program *program);
/* Whether a step of it runs on the device of its choice. */
bool nlm_program_uses_first(const nlm_program *program);
/* One line per op and reason that runs elsewhere than on the device of its choice: op, count, where, bytes moved when
 * all rows are live, reason. */
void nlm_program_fallbacks(const nlm_program *program, nlm_str *out);
/* All steps, for people and tests: "12 matmul cpu_scalar layer 0 [8,64] f32 <- ...". */
void nlm_program_dump(const nlm_program *program, nlm_str *out);

void nlm_program_destroy(nlm_program *program);

#endif
