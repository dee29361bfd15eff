/* fake_stream: a device for tests with the manners of a GPU and the numbers of cpu_scalar, whose library it loads.
 *
 *   - Its memory has addresses of its own that no pointer of the host ever equals; every address an op
 *     is given is looked up, so one that is the host's, stale or past its buffer is an error.
 *   - Fresh memory is NaN, and so are rows of results past the live ones.
 *   - Nothing enqueued happens before a sync, but for a piece of work at each event_query. Streams take turns at
 *     random, each in order, and wait for one another at events alone. Transfers without a stream do not wait
 *     for enqueued work.
 *   - Time is a clock of its own, which work moves on.
 *   - While a stream records, all that the contract does not allow is refused and logged as an error; so is an
 *     op that was not prepared.
 *   - It can be told to fail, and to lie.
 *
 * Options, all counted from 1, by default off:
 *   devices     how many there are (1)
 *   refuse      "rope attention": ops that query says no to
 *   without     "fill capture": optional slots that it lacks; with "capture", begin is UNSUPPORTED
 *   claims      "deterministic batch replay f16 bf16": what it claims of its numbers (the first three)
 *   shared      1: its tensors are in the host's memory
 *   pack        1: it wants the weights of matmul in a layout of its own
 *   pack_device 0: it packs nothing itself (1)
 *   prepared    1: an op that was not prepared fails at once, recording or not
 *   parts       the most parts that a recording may have
 *   alone       1: it cannot reach its peers
 *   fail_alloc  the N-th buffer_alloc or host_alloc runs out of memory
 *   fail_call   the N-th call that can fail does
 *   fail_work   the N-th thing a stream does fails: the next sync tells
 *   go_on       1: what stands behind work that failed is done all the same
 *   lost_call   from the N-th call that can fail on, the device is lost
 *   lost_work   the N-th thing a stream does loses the device
 *   lose_op     "add": ops that lose the device
 *   silent      1: failures come without a sentence
 *   status      the number that failures have, whatever they are
 *   spoil       what ops do wrong: "past", "input", "result": they change a bit behind their last argument, of
 *               their first one, or of the result; "random", "batch", "replay": the last bit of results depends on
 *               when it is, on the number of rows, on being replayed
 *   lie         what other calls do wrong, see fake_lies
 *   seed        of the turns
 * A fault that happens is logged as information; what the host does wrong or leaves behind, as an error. */
#ifndef NLM_FAKE_H
#define NLM_FAKE_H

#include <nlm/plugin.h>
#include <stdbool.h>
#include "exec/op_spec.h"

#define FAKE_NAME           "fake_stream"
#define FAKE_REVERSED       7u /* the layout that `pack` asks for: the last row first */
#define FAKE_ALIGNMENT      256u
#define FAKE_FIRST_ADDRESS  (UINT64_C(1) << 60)
#define FAKE_ADDRESS_STRIDE (UINT64_C(1) << 20)     /* between buffers, at least */
#define FAKE_MAX_NAMED      (NLM_OP_MAX_FIELDS + 3) /* buffers of an op: tensors, workspace, scratch, counts */
#define FAKE_MAX_DEVICES    4u

typedef struct fake_device fake_device;
typedef struct fake_stream fake_stream;
typedef struct fake_recording fake_recording;

typedef struct fake_buffer {
    struct fake_buffer *next;
    uint64_t handle;
    uint64_t address;
    uint64_t bytes;
    uint8_t *memory;
    uint32_t holders;    /* the host, enqueued work, and recordings */
    uint32_t n_recorded; /* of them recordings, by part */
} fake_buffer;

/* A block of host_alloc. */
typedef struct fake_pinned {
    struct fake_pinned *next;
    uint64_t bytes;
    uint8_t *memory;
    void *base; /* to be freed */
} fake_pinned;

typedef struct fake_event {
    uint64_t recorded;               /* how often it was told to be */
    uint64_t reached;                /* how many of these a stream has come to */
    uint64_t time_ns;                /* of the last reached */
    uint32_t holders;                /* the host and enqueued work */
    uint32_t flags;                  /* NLM_EVENT_* */
    fake_device *device;             /* whose stream recorded it last */
    const fake_recording *recording; /* in which it was recorded last, rather than on a stream */
} fake_event;

typedef enum fake_kind {
    FAKE_OP,
    FAKE_TRANSFER, /* from `from` or `host_from` to `to` or `host_to` */
    FAKE_FILL,
    FAKE_PACK,
    FAKE_RECORD,
    FAKE_WAIT
} fake_kind;

/* A range of a buffer. */
typedef struct fake_range {
    fake_buffer *buffer; /* NULL: host memory instead */
    uint64_t offset;
} fake_range;

typedef struct fake_work {
    struct fake_work *next;
    fake_kind kind;
    nlm_op op;
    nlm_any_args args;
    nlm_tensor tensors[NLM_OP_MAX_FIELDS]; /* [0]: the weight that is packed */
    nlm_exec_v1 x;
    const void *borrowed_args; /* the caller's */
    int32_t live_rows[NLM_ROWS_KINDS];
    fake_range to, from;
    void *host_to;
    const void *host_from;
    uint64_t bytes;
    uint32_t byte;            /* of a fill */
    int64_t row_from, row_to; /* of a packed weight */
    fake_event *event;
    uint64_t turn;                      /* of the event */
    fake_recording *recording;          /* that it is replayed from */
    fake_buffer *named[FAKE_MAX_NAMED]; /* which it keeps alive */
    uint32_t n_named;
} fake_work;

typedef struct fake_queue {
    fake_work *first, **last;
} fake_queue;

struct fake_recording {
    fake_recording *next;
    fake_device *device;
    fake_queue parts;
    uint64_t n_parts;
    uint64_t n_pending; /* parts that are enqueued */
    uint64_t n_launches;
};

struct fake_stream {
    fake_stream *next;
    fake_queue queue;
    nlm_error error;           /* of its work; code 0: none */
    fake_recording *recording; /* under way */
    bool is_broken;            /* a call has failed while it recorded */
};

struct fake_device {
    nlm_device_v1 api; /* first: what the host closes is this */
    const nlm_host_v1 *host;
    const nlm_device_v1 *scalar;
    uint32_t ordinal;
    fake_buffer *buffers;
    fake_pinned *pinned;
    fake_stream *streams;
    fake_stream *recorder; /* the stream that records, or NULL */
    fake_recording *recordings;
    uint64_t *prepared; /* [n_prepared] ops and arguments, as fake_prepare knows them again */
    size_t n_prepared;
    uint64_t next_handle, next_address;
    uint64_t clock_ns;
    uint32_t n_events;
    uint64_t random;
    uint64_t calls, allocs, works;
    uint64_t fail_call, fail_alloc, fail_work, lost_call, lost_work, status, max_parts;
    uint32_t claims; /* NLM_DEVICE_* */
    bool is_lost, is_silent, is_shared, wants_packed, packs_itself, must_be_prepared, is_alone, goes_on;
    const char *refuse, *without, *spoil, *lie, *lose_op;
};

/* ---- faults.c ---- */

uint32_t fake_count_devices(const nlm_host_v1 *host);
void fake_read_options(fake_device *device);
/* Is it one of the words of `list`? */
bool fake_is_listed(const char *list, const char *word);
/* Was it told to lie so?
 *   offset       upload ignores it
 *   from_offset  download ignores it
 *   swapped      copy goes the other way
 *   at_once      upload does not wait for its stream
 *   idle         sync of a stream does not wait
 *   leak         memory of buffers is never given back
 *   alignment    addresses are less aligned than describe says
 *   order        work of a stream overtakes other work
 *   no_wait      event_wait does not wait
 *   query        event_query says no of an event that was never recorded
 *   elapsed      event_elapsed always says the same
 *   fill         fill leaves out a byte
 *   pinned       memory of host_alloc is not aligned
 *   free         buffer_free does not wait for pending work
 *   sync_null    sync(NULL) does not wait
 *   peer         copy_from ignores the offset it reads from
 *   eager        work is done while it is recorded too
 *   once         a recording does nothing the second time
 *   abort        what was recorded until abort is done
 *   borrow       arguments are read when the work is done, from where they were at the call
 *   sticky       an error is told by every sync
 *   swallow      an invalid argument is not told
 *   host_counts  live_rows_device is ignored
 *   prepare      prepare fails
 *   pack         pack_device leaves the rows as they are
 *   activations  f16 and bf16 are taken for one another */
bool fake_lies(const fake_device *device, const char *how);
/* A call that can fail begins: OK, the failure it was told to have, or a refusal because a stream records. */
nlm_status fake_enter(fake_device *device, const char *call, nlm_error *error);
/* The same of a call that may be part of what `stream` records; NULL: it is done at once. */
nlm_status fake_enter_on(fake_device *device, const void *stream, const char *call, nlm_error *error);
/* A call that cannot fail begins. */
void fake_enter_free(fake_device *device, const char *call);
/* A call ends, by which a recording may end too. Returns `status`. */
nlm_status fake_leave(fake_device *device, nlm_status status);
/* A fault of an allocation, and of the thing a stream is about to do. */
nlm_status fake_enter_alloc(fake_device *device, uint64_t bytes, nlm_error *error);
nlm_status fake_enter_work(fake_device *device, nlm_error *error);
nlm_status fake_fail(nlm_error *error, nlm_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The host does not keep to the contract: INVALID_ARGUMENT, and logged as an error. */
nlm_status fake_blame(const fake_device *device, nlm_error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void fake_log(const fake_device *device, int32_t level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- scalar.c: cpu_scalar, as its library has it ---- */

nlm_status fake_scalar_open(const nlm_host_v1 *host, const nlm_device_v1 **out, nlm_error *error);
void fake_scalar_close(const nlm_device_v1 *device);
nlm_status fake_scalar_call(const nlm_device_v1 *device, nlm_op op, const nlm_exec_v1 *x, const nlm_any_args *args);

/* ---- memory.c: buffers, pinned memory ---- */

nlm_status fake_buffer_alloc(void *self, uint64_t bytes, uint64_t *out_buffer, void **out_address, nlm_error *error);
void fake_buffer_free(void *self, uint64_t buffer);
nlm_status fake_host_alloc(void *self, uint64_t bytes, void **out_memory, nlm_error *error);
void fake_host_free(void *self, void *memory);
/* Where bytes of a buffer are; DEVICE_ERROR if they are not in a live one. */
nlm_status fake_find_range(const fake_device *device, uint64_t handle, uint64_t offset, uint64_t bytes,
                           fake_range *out, nlm_error *error);
nlm_status fake_find_place(const fake_device *device, const nlm_place_v1 *place, uint64_t bytes, fake_range *out,
                           nlm_error *error);
/* The work keeps a buffer alive until fake_release. */
void fake_hold(fake_work *work, fake_buffer *buffer);
void fake_release(fake_work *work);

/* ---- address.c: addresses that only the device can follow ---- */

/* Bytes from the first to the last element; 0 if it has none. */
uint64_t fake_span(const nlm_tensor *tensor);
/* Of a row of a weight that is packed, that is without strides. */
uint64_t fake_row_bytes(const nlm_tensor *weight);
/* Holds the buffers that an op names; DEVICE_ERROR if an address is in none. */
nlm_status fake_hold_args(const fake_device *device, fake_work *work, nlm_error *error);
/* Puts host pointers in the place of device addresses, of tensors as of workspace, scratch and counts. */
void fake_translate(const fake_device *device, fake_work *work);

/* ---- op.c: an op, from its call to its result ---- */

extern const nlm_ops_v1 fake_ops;
nlm_status fake_query(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out);
nlm_status fake_prepare(void *self, nlm_op op, const void *args, uint32_t nth, nlm_error *error);
nlm_status fake_do_op(fake_device *device, fake_work *work, nlm_error *error);

/* ---- half.c: activations of 16 bits ---- */

/* Describes activations of 16 bits as f32 ones; false if the device does not claim to take these. */
bool fake_widen_all(const fake_device *device, nlm_op op, const nlm_any_args *args, nlm_tensor *tensors);
/* Calls cpu_scalar's op on f32. */
nlm_status fake_call_widened(const fake_device *device, fake_work *work, nlm_error *error);

/* ---- transfer.c: bytes that are moved ---- */

nlm_status fake_upload(void *self, void *stream, uint64_t buffer, uint64_t offset, const void *host, uint64_t bytes,
                       nlm_error *error);
nlm_status fake_download(void *self, void *stream, uint64_t buffer, uint64_t offset, void *host, uint64_t bytes,
                         nlm_error *error);
nlm_status fake_copy(void *self, void *stream, uint64_t to_buffer, uint64_t to_offset, uint64_t from_buffer,
                     uint64_t from_offset, uint64_t bytes, nlm_error *error);
nlm_status fake_copy_from(void *self, void *stream, uint64_t to_buffer, uint64_t to_offset, void *peer,
                          uint64_t from_buffer, uint64_t from_offset, uint64_t bytes, nlm_error *error);
nlm_status fake_fill(void *self, void *stream, uint64_t buffer, uint64_t offset, uint32_t byte, uint64_t bytes,
                     nlm_error *error);
nlm_status fake_pack_size(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles, nlm_pack_info_v1 *out,
                          nlm_error *error);
nlm_status fake_pack(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles, int64_t row_from,
                     int64_t row_to, void *packed, nlm_error *error);
nlm_status fake_pack_device(void *self, void *stream, const nlm_tensor *w, uint32_t layout, uint32_t roles,
                            int64_t row_from, int64_t row_to, const nlm_place_v1 *rows, const nlm_place_v1 *packed,
                            nlm_error *error);
void fake_do_transfer(const fake_work *work);

/* ---- queue.c: streams ---- */

nlm_status fake_stream_create(void *self, void **out_stream, nlm_error *error);
void fake_stream_destroy(void *self, void *stream);
nlm_status fake_sync(void *self, void *stream, nlm_error *error);
/* Appends a copy of *work to the stream, or to what it records. Takes over what the work holds. */
nlm_status fake_enqueue(fake_device *device, fake_stream *stream, fake_work *work, nlm_error *error);
nlm_status fake_append(fake_queue *queue, const fake_work *work, nlm_error *error);
fake_work *fake_take_first(fake_queue *queue);
/* Lets go of what it holds, and frees it. */
void fake_drop(fake_work *work);
/* Does *work at once. */
nlm_status fake_do(fake_device *device, fake_work *work, nlm_error *error);
/* Does one thing that a stream can do now, by lot; false if there is none. */
bool fake_progress(fake_device *device);

/* ---- event.c ---- */

nlm_status fake_event_create(void *self, uint32_t flags, void **out_event, nlm_error *error);
void fake_event_destroy(void *self, void *event);
nlm_status fake_event_record(void *self, void *stream, void *event, nlm_error *error);
nlm_status fake_event_wait(void *self, void *stream, void *event, nlm_error *error);
nlm_status fake_event_query(void *self, void *event, uint32_t *out_is_done, nlm_error *error);
nlm_status fake_event_elapsed(void *self, void *from, void *to, uint64_t *out_ns, nlm_error *error);
void fake_reach(fake_device *device, fake_event *event);
void fake_let_go(fake_event *event);

/* ---- capture.c ---- */

extern const nlm_capture_v1 fake_capture;

#endif
