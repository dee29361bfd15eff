/* fake_stream: a device for tests with the manners of a GPU and the numbers of cpu_scalar, whose ops are
 * compiled into it.
 *
 *   - Its memory has addresses of its own that no pointer of the host ever equals; every address an op
 *     is given is looked up, so one that is the host's, stale or past its buffer is an error.
 *   - Fresh memory is NaN.
 *   - Nothing enqueued happens before a sync. Then streams take turns at random, each in order, and wait
 *     for one another at events alone. Transfers without a stream do not wait for enqueued work.
 *   - It can be told to fail.
 *
 * Options, all counted from 1, by default off:
 *   refuse      "rope attention": ops that query says no to
 *   pack        1: it wants the weights of matmul in a layout of its own
 *   fail_alloc  the N-th buffer_alloc runs out of memory
 *   fail_call   the N-th call that can fail does
 *   fail_work   the N-th thing a stream does fails: the next sync tells
 *   lost_call   from the N-th call that can fail on, the device is lost
 *   silent      1: failures come without a sentence
 *   status      the number that failures have, whatever they are
 *   spoil       "past", "input", "result": ops also change a bit behind their last argument, of their first
 *               one, or of the result
 *   seed        of the turns
 * A fault that happens is logged as information; what the host leaves behind, as an error at close. */
#ifndef NLM_FAKE_H
#define NLM_FAKE_H

#include <nlm/plugin.h>
#include <stdbool.h>
#include "exec/op_spec.h"

#define FAKE_NAME           "fake_stream"
#define FAKE_REVERSED       7u /* the layout that `pack` asks for: the last row first */
#define FAKE_ALIGNMENT      256u
#define FAKE_FIRST_ADDRESS  (UINT64_C(1) << 60)
#define FAKE_ADDRESS_STRIDE (UINT64_C(1) << 20) /* between buffers, at least */

typedef struct fake_buffer {
    struct fake_buffer *next;
    uint64_t handle;
    uint64_t address;
    uint64_t bytes;
    uint8_t *memory;
} fake_buffer;

typedef struct fake_event {
    uint64_t recorded; /* how often it was told to be */
    uint64_t reached;  /* how many of these a stream has come to */
    uint32_t holders;  /* the host and enqueued work */
} fake_event;

typedef enum fake_kind { FAKE_OP, FAKE_UPLOAD, FAKE_DOWNLOAD, FAKE_COPY, FAKE_RECORD, FAKE_WAIT } fake_kind;

/* A range of a buffer. */
typedef struct fake_range {
    uint64_t buffer;
    uint64_t offset;
} fake_range;

typedef struct fake_work {
    struct fake_work *next;
    fake_kind kind;
    nlm_op op;
    nlm_any_args args;
    nlm_tensor tensors[NLM_OP_MAX_FIELDS];
    nlm_exec_v1 x;
    int32_t live_rows[NLM_ROWS_KINDS];
    fake_range to, from;
    void *host_to;
    const void *host_from;
    uint64_t bytes;
    fake_event *event;
    uint64_t turn; /* of the event */
} fake_work;

typedef struct fake_stream {
    struct fake_stream *next;
    fake_work *first, **last;
    nlm_error error; /* of its work; code 0: none */
} fake_stream;

typedef struct fake_device {
    nlm_device_v1 api; /* first: what the host closes is this */
    const nlm_host_v1 *host;
    const nlm_device_v1 *scalar;
    uint32_t ordinal;
    fake_buffer *buffers;
    fake_stream *streams;
    uint64_t next_handle, next_address;
    uint32_t n_events;
    uint64_t random;
    uint64_t calls, allocs, works;
    uint64_t fail_call, fail_alloc, fail_work, lost_call, status;
    bool is_lost, is_silent, wants_packed;
    const char *refuse, *spoil;
} fake_device;

/* ---- faults.c ---- */

void fake_read_options(fake_device *device);
/* A call that can fail begins: OK, or the failure it was told to have. */
nlm_status fake_enter(fake_device *device, const char *call, nlm_error *error);
/* The same of the allocation, and of the thing a stream is about to do. */
nlm_status fake_enter_alloc(fake_device *device, uint64_t bytes, nlm_error *error);
nlm_status fake_enter_work(fake_device *device, nlm_error *error);
nlm_status fake_fail(nlm_error *error, nlm_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void fake_log(const fake_device *device, int32_t level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- memory.c ---- */

nlm_status fake_buffer_alloc(void *self, uint64_t bytes, uint64_t *out_buffer, void **out_address, nlm_error *error);
void fake_buffer_free(void *self, uint64_t buffer);
/* Of a row of a weight that is packed, that is without strides. */
uint64_t fake_row_bytes(const nlm_tensor *weight);
/* Where bytes of a buffer are; DEVICE_ERROR if they are not in a live one. */
nlm_status fake_find_range(const fake_device *device, fake_range range, uint64_t bytes, uint8_t **out,
                           nlm_error *error);
/* Puts host pointers in the place of device addresses, of tensors as of workspace and scratch. */
nlm_status fake_translate(const fake_device *device, fake_work *work, nlm_error *error);

/* ---- queue.c ---- */

nlm_status fake_stream_create(void *self, void **out_stream, nlm_error *error);
void fake_stream_destroy(void *self, void *stream);
nlm_status fake_sync(void *self, void *stream, nlm_error *error);
nlm_status fake_event_create(void *self, uint32_t flags, void **out_event, nlm_error *error);
void fake_event_destroy(void *self, void *event);
nlm_status fake_event_record(void *self, void *stream, void *event, nlm_error *error);
nlm_status fake_event_wait(void *self, void *stream, void *event, nlm_error *error);
/* Appends a copy of *work to the stream. */
nlm_status fake_enqueue(void *stream, const fake_work *work, nlm_error *error);
/* Does *work at once. */
nlm_status fake_do(fake_device *device, fake_work *work, nlm_error *error);

#endif
