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

/* Runs all ops. live_rows[NLM_ROWS_KINDS], each at most the bucket it was planned for; NULL: all rows.
 * Allocates nothing. One program of an env runs at a time.
 * Errors   INVALID_ARGUMENT (live_rows) and what ops return: the message names op, layer and backend (of
 *          work enqueued on a stream: the backend). States may be half written; the program stays
 *          usable. */
nlm_status nlm_program_run(nlm_program *program, const int32_t *live_rows, nlm_error *err);

/* Bytes of activations after liveness packing, and without it. */
uint64_t nlm_program_activation_bytes(const nlm_program *program);
uint64_t nlm_program_unpacked_bytes(const nlm_program *program);
uint32_t nlm_program_steps(const nlm_program *program);
/* One line per op and reason that runs elsewhere than on devices[0]: op, count, where, bytes moved when
 * all rows are live, reason. */
void nlm_program_fallbacks(const nlm_program *program, nlm_str *out);
/* All steps, for people and tests: "12 matmul cpu_scalar layer 0 [8,64] f32 <- ...". */
void nlm_program_dump(const nlm_program *program, nlm_str *out);

void nlm_program_destroy(nlm_program *program);

#endif
