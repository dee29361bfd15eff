/* Timing of one case, on the host's threads or on a stream. */
#ifndef NLM_CONFORM_PERF_H
#define NLM_CONFORM_PERF_H

#include <stdatomic.h>

#include "conform.h"

enum { PERF_MAX_RUNS = 200 };

/* A stream device, and what cases are timed with on it. */
typedef struct perf_queue {
    const nlm_device *device;
    void *stream;
    void *events[2];      /* NULL: the host's clock is read around each run */
    uint64_t cold_buffer; /* that is written before a cold run; 0: none */
    uint64_t cold_bytes;
} perf_queue;

/* One case and the memory of its run. */
typedef struct bench {
    nlm_pool *pool;
    uint64_t first_op; /* of the pool's, in this region */
    const nlm_device *device;
    const perf_queue *queue; /* NULL: it runs on the host's threads */
    spec_instance in;
    nlm_any_args args;
    nlm_tensor descs[NLM_OP_MAX_FIELDS];
    void *memory[NLM_OP_MAX_FIELDS];
    uint64_t bytes[NLM_OP_MAX_FIELDS];
    void *workspace, *scratch;               /* scratch: of all workers, one after another */
    uint64_t buffers[NLM_OP_MAX_FIELDS + 2]; /* in device memory: of the tensors, workspace and scratch; 0: none */
    nlm_caps_v1 caps;
    uint64_t scratch_stride;
    uint8_t *sweep; /* what is walked through before a cold run, or NULL */
    uint64_t sweep_bytes;
    bool is_cold; /* of a run on a stream */
    int runs;
    uint64_t times[PERF_MAX_RUNS];
    atomic_int status;
    nlm_error error;
} bench;

/* ---- perf_stream.c ---- */

/* `queue` may be given to perf_queue_close even after a failure. */
nlm_status perf_queue_open(const nlm_device *device, uint64_t cold_bytes, perf_queue *queue, nlm_error *err);
void perf_queue_close(perf_queue *queue);
/* Moves what is placed in the host's memory to the device's, if that has its own, and prepares the op. */
nlm_status perf_stream_place(bench *b, nlm_error *err);
void perf_stream_release(bench *b);
/* Fills b->times with those of b->runs runs. */
nlm_status perf_stream_run(bench *b, nlm_error *err);

#endif
