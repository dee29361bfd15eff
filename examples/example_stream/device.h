/* What the files of this backend share.
 *
 * A device with streams and memory of its own, in plain C: a stream is a queue that a thread of the device works off,
 * and an address of its memory is one that the host cannot follow. Where a GPU has a driver this has queue.c. */
#ifndef EXAMPLE_STREAM_DEVICE_H
#define EXAMPLE_STREAM_DEVICE_H

#define _GNU_SOURCE
#include <nlm/plugin_kit.h>
#include <pthread.h>
#include <stdbool.h>

/* What this backend has: X(op, what it needs besides its tensors or NULL). */
#define EXAMPLE_OPS(X)     \
    X(embed, NULL)         \
    X(matmul, needs_a_row) \
    X(rms_norm, NULL)      \
    X(silu_mul, NULL)      \
    X(add, NULL)

/* From an address of the host's view to that of the kernels, which are code of this process after all. */
#define DEVICE_BASE ((uintptr_t)1 << 60)
static inline void *on_device(const void *address) {
    return (void *)((uintptr_t)address - DEVICE_BASE);
}

typedef struct device device;
typedef struct stream stream;

/* What one event_record stands behind; it outlives the event for those who wait for it. Guarded by the mutex. */
typedef struct mark {
    uint32_t holders;
    bool is_done;
} mark;

typedef union example_args {
#define ARGS(op, needs) nlm_##op##_args op;
    EXAMPLE_OPS(ARGS)
#undef ARGS
} example_args;

typedef enum work_kind { WORK_MOVE, WORK_OP, WORK_RECORD, WORK_WAIT } work_kind;

/* A piece of work, with a copy of all that the call's pointers led to. */
typedef struct work {
    struct work *next;
    uint64_t number; /* in the order in which the device was given it */
    work_kind kind;
    mark *mark; /* of WORK_RECORD and WORK_WAIT */
    void *to;   /* of WORK_MOVE */
    const void *from;
    uint64_t bytes;
    nlm_op op; /* of WORK_OP */
    nlm_exec_v1 x;
    example_args args;
    nlm_tensor tensors[NLM_OP_MAX_FIELDS];
    int32_t live_rows[NLM_ROWS_KINDS];
} work;

struct stream {
    stream *next;
    device *device;
    pthread_t thread;
    work *first, **last; /* the first is under way */
    bool is_ending;
    nlm_error error; /* the first of its work since a sync; code 0: none */
};

typedef struct buffer {
    struct buffer *next; /* among those that are freed */
    uint64_t freed_at;   /* the number of the work that was the latest then */
    uint64_t bytes;
    char *memory;
} buffer;

struct device {
    nlm_device_v1 api; /* first: what the host closes is this */
    const nlm_host_v1 *host;
    pthread_mutex_t mutex; /* of all that follows */
    pthread_cond_t changed;
    stream *streams;
    buffer *freed; /* that work which is pending may still use */
    uint64_t n_given;
};

/* ---- queue.c ---- */

nlm_status stream_create(void *self, void **out_stream, nlm_error *error);
void stream_destroy(void *self, void *stream);
nlm_status stream_sync(void *self, void *stream, nlm_error *error);
nlm_status event_create(void *self, uint32_t flags, void **out_event, nlm_error *error);
void event_destroy(void *self, void *event);
nlm_status event_record(void *self, void *stream, void *event, nlm_error *error);
nlm_status event_wait(void *self, void *stream, void *event, nlm_error *error);
/* Appends work, from malloc, which is taken. */
nlm_status enqueue(stream *s, work *w);
work *work_create(work_kind kind, nlm_error *error); /* NULL: out of memory */

/* ---- memory.c ---- */

nlm_status buffer_alloc(void *self, uint64_t bytes, uint64_t *out_buffer, void **out_address, nlm_error *error);
void buffer_free(void *self, uint64_t buffer);
nlm_status upload(void *self, void *stream, uint64_t buffer, uint64_t offset, const void *host, uint64_t bytes,
                  nlm_error *error);
nlm_status download(void *self, void *stream, uint64_t buffer, uint64_t offset, void *host, uint64_t bytes,
                    nlm_error *error);
nlm_status copy(void *self, void *stream, uint64_t to_buffer, uint64_t to_offset, uint64_t from_buffer,
                uint64_t from_offset, uint64_t bytes, nlm_error *error);
/* Gives back the memory of freed buffers that no pending work is older than. With the mutex held. */
void release_freed(device *d);

/* ---- ops.c ---- */

extern const nlm_ops_v1 example_ops;
nlm_status query(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out);
nlm_status run_op(work *w, nlm_error *error);

#endif
