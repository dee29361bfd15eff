/* The contract between nlm and a backend: the one header a backend author needs.
 *
 * A backend is a shared object that exports exactly one symbol, nlm_plugin_query_v1, links nothing
 * of nlm and includes only nlm's headers. Start with docs/writing-a-backend.md.
 *
 * Rules at this boundary
 *   - Growth: every struct begins with struct_size, the size its writer was compiled with, and only
 *     ever appends. A reader looks at a field only if struct_size covers it. The host copies the
 *     first min(sizes) bytes into a zeroed struct of its own.
 *   - Never here: bitfields, bare enums, bool, long, varargs, structs by value, exceptions, longjmp,
 *     abort, exit.
 *   - Strings are UTF-8 and terminated. Pointers a plugin hands out stay valid until the object they
 *     came from is closed; those it is handed are borrowed for the call.
 *   - A call that fails returns a status and fills the nlm_error it was given, if any.
 *   - A plugin prints nothing, starts no compute threads, touches no affinity, signal handler, FP
 *     mode, locale or working directory, and leaves nothing behind after close. It may keep
 *     per-device driver threads, as GPU runtimes do, until close. */
#ifndef NLM_PLUGIN_H
#define NLM_PLUGIN_H

#include <nlm/op_args.h>
#include <nlm/status.h>
#include <nlm/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NLM_ABI_MAJOR 1
#define NLM_ABI_MINOR 0

#if defined(__GNUC__)
#define NLM_PLUGIN_EXPORT __attribute__((visibility("default")))
#else
#define NLM_PLUGIN_EXPORT
#endif

/* ---- ops ---------------------------------------------------------------------------------- */

typedef uint32_t nlm_op;

enum {
    NLM_OP_NONE = 0,
#define NLM_OP(number, name) NLM_OP_##name = number,
#include <nlm/ops.def>
#undef NLM_OP
    NLM_OP_END /* one past the greatest number this header knows */
};

/* Stream devices: what the slot enqueues is recorded by nlm_capture_v1 and done later, any number of times, with
 * other contents of the same memory. live_rows is NULL then: grids come from shape[0] and max_context, the counts
 * from live_rows_device when the work is done. Padding rows hold anything, and must neither raise an error nor be
 * read as an index. */
#define NLM_EXEC_RECORDING 1u

/* What a slot is called with. Valid for the call only, as are the argument structs and tensor descriptors behind it:
 * a stream device copies what enqueued work will need.
 *
 * On a sliced device every one of nth workers calls the slot with the same arguments and its own
 * ith; each does its slice of the rows or columns, which slice being the plugin's choice, and, if it asks
 * `claim`, parts of others'. A result is written by one worker; between two ops the host puts a barrier. On a stream
 * device the slot is called once (ith 0, nth 1) and enqueues on `stream`. */
typedef struct nlm_exec_v1 {
    uint32_t struct_size;
    uint32_t ith;
    uint32_t nth;
    uint32_t flags; /* NLM_EXEC_* */
    void *device;   /* nlm_device_v1.self */
    void *stream;   /* stream devices: from stream_create; else NULL */
    /* Workspace and scratch are in the memory that tensors are in: host or device addresses. */
    void *workspace;          /* shared by the workers, at least caps.workspace_bytes, 64-aligned */
    uint64_t workspace_bytes; /*   (sliced: contents unspecified at entry) */
    void *scratch;            /* this worker's own, at least caps.scratch_bytes, 64-aligned */
    uint64_t scratch_bytes;
    /* [NLM_ROWS_KINDS], on the host; entry 0 is unused. NULL: all rows are live, or it is recording. */
    const int32_t *live_rows;
    /* Stream devices: the same counts in the memory that tensors are in, [NLM_ROWS_KINDS] i32, as they are when the
     * work is done (where live_rows is given too, the same numbers); NULL, with no buffer: all rows are live, or
     * live_rows tells. Sliced devices: NULL. */
    const void *live_rows_device;
    uint64_t live_rows_buffer; /* the handle buffer_alloc gave, as in nlm_tensor */
    /* No position that an op of this run reads or writes in a paged cache is max_context or above; 0: not known. It
     * is rounded up, so that a recorded grid serves many runs. */
    int64_t max_context;
    /* Sliced devices: waits for all workers of this op. Returns NLM_OK, or NLM_CANCELLED when another
     * worker's slot has failed: then return that at once. Every worker must reach the same barriers
     * unless it returns an error. */
    nlm_status (*barrier)(const struct nlm_exec_v1 *x);
    void *host;       /* the host's, for barrier */
    nlm_error *error; /* this worker's, or NULL */
    /* Sliced devices: how often this was asked of worker `of` (below nth) before, since the op began, by whichever
     * worker: 0, 1, 2 and so on, each once, and 65,535 at last. If the slice of `of` is cut into parts, who gets a
     * number does that part: so a worker that is done with its own can help one whose core is busy elsewhere. Who
     * gets which is chance; who begins to help goes on until all parts are given out. NULL on stream devices, and not
     * there in the first hosts: see nlm_kit_may_claim. */
    uint32_t (*claim)(const struct nlm_exec_v1 *x, uint32_t of);
} nlm_exec_v1;

/* How many rows of t this run uses: shape[0], or the live count of its kind. */
static inline int64_t nlm_live_rows(const nlm_exec_v1 *x, const nlm_tensor *t) {
    if (t->row_kind == NLM_ROWS_FIXED || t->row_kind >= NLM_ROWS_KINDS || !x->live_rows) return t->shape[0];
    const int64_t live = x->live_rows[t->row_kind];
    return live < t->shape[0] ? live : t->shape[0];
}

/* A slot that is NULL, or past struct_size, is an op the device lacks. */
typedef struct nlm_ops_v1 {
    uint32_t struct_size;
    uint32_t reserved;
#define NLM_OP(number, name) nlm_status (*name)(const nlm_exec_v1 *x, const nlm_##name##_args *args);
#include <nlm/ops.def>
#undef NLM_OP
} nlm_ops_v1;

/* ---- what the host offers ----------------------------------------------------------------- */

enum { NLM_LOG_ERROR = 0, NLM_LOG_WARN = 1, NLM_LOG_INFO = 2, NLM_LOG_DEBUG = 3 };

/* Thread-safe. Valid until the plugin's last device is closed. */
typedef struct nlm_host_v1 {
    uint32_t struct_size;
    uint32_t abi_minor;
    void *self; /* pass as the first argument of what follows */
    void (*log)(void *self, int32_t level, const char *message);
    /* alignment: a power of two up to 4096. NULL when there is no memory. */
    void *(*alloc)(void *self, uint64_t bytes, uint64_t alignment);
    void (*release)(void *self, void *memory);
    /* The value of this plugin's `options` in plugins.toml or [backend.options] of the
     * configuration, as text; NULL if not set. */
    const char *(*option)(void *self, const char *key);
} nlm_host_v1;

/* ---- a device ----------------------------------------------------------------------------- */

enum {
    NLM_DEVICE_SLICED = 1, /* slots run on the host's workers, in host memory */
    NLM_DEVICE_STREAM = 2  /* slots enqueue on a stream */
};

/* Flags of a device. What it claims of its numbers is tested by nlm-conform, op by op and for whole models. Sliced
 * devices keep the first two of these three rules whether they claim them or not. */
#define NLM_DEVICE_HOST_MEMORY      1u /* tensors live in host memory; buffer_* may be NULL */
#define NLM_DEVICE_DETERMINISTIC    2u /* the same call has the same bits each time, with any number of workers */
#define NLM_DEVICE_BATCH_INVARIANT  4u /* a row has the same bits in any batch, and however the batch is cut */
#define NLM_DEVICE_REPLAY_EXACT     8u /* recorded work has the bits it has when enqueued */
/* Activations may be of this type beside f32, matmul's at least, other ops' where query says so. They are the inputs
 * and results of rank 2 and more that have a row for each of the batch, lse excepted; those of one call have one
 * type. What else is f32 (norms, biases, states, lse) stays so. Without the flag a host offers f32 alone. */
#define NLM_DEVICE_F16_ACTIVATIONS  16u
#define NLM_DEVICE_BF16_ACTIVATIONS 32u

typedef struct nlm_device_info_v1 {
    uint32_t struct_size;
    uint32_t kind;  /* NLM_DEVICE_SLICED or NLM_DEVICE_STREAM */
    uint32_t flags; /* NLM_DEVICE_* */
    uint32_t ordinal;
    uint64_t memory_total_bytes; /* 0: not known */
    uint64_t memory_free_bytes;
    /* Of the memory that the host allocates for tensors, a power of two up to 4096; 0 means 64. A view
     * begins at any element of its value. A row-major weight on a device with host memory lies where
     * its file has it (GGUF: at a multiple of 32). */
    uint64_t alignment_bytes;
    char name[96]; /* for people: "NVIDIA H200" */
    char arch[32]; /* "x86_64+avx2", "sm_90" */
} nlm_device_info_v1;

#define NLM_CAPS_WEIGHTS 8

/* Set by the host that asks: weights of these arguments cannot be packed, being parameters, which change from run to
 * run, or results of other ops. The layouts of a yes are those that the arguments have. A device that wants weights
 * packed is asked without it first, and need not know it: if it wants them packed again, it is taken for a no. */
#define NLM_CAPS_AS_HELD 1u

/* query()'s answer. The host zeroes it and sets struct_size and flags. */
typedef struct nlm_caps_v1 {
    uint32_t struct_size;
    uint32_t flags;           /* NLM_CAPS_*, of the question */
    uint64_t workspace_bytes; /* one block shared by all workers */
    uint64_t scratch_bytes;   /* one block per worker */
    /* The layout wanted for each weight of the op, in the order of its argument struct (the fields with a role
     * in op_table.h): NLM_LAYOUT_ROW_MAJOR, or a number of the plugin's own, for which pack_size and pack then
     * do the packing. */
    uint32_t weight_layout[NLM_CAPS_WEIGHTS];
    char reason[192]; /* why not, one clause: "w: q6_k rows must be a multiple of 256, got 172" */
} nlm_caps_v1;

/* What a weight is used for, a mask: one weight may be both an embedding table and a head. */
enum {
    NLM_ROLE_MATMUL = 1,
    NLM_ROLE_EMBED = 2,
    NLM_ROLE_CONV = 4, /* the taps of a convolution, [C, K] */
    NLM_ROLE_SSM_A = 8 /* the `a` of a scan, [C, N] */
};

/* How a weight is packed. The host zeroes it and sets struct_size. */
typedef struct nlm_pack_info_v1 {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t bytes;       /* of the packed weight */
    int64_t row_multiple; /* pack() is called with row_from a multiple of this */
    /* Of the layout: another number whenever pack() writes other bytes than an earlier release did for the
     * same arguments, on a device of the same `arch`. 0: its bytes are for this process alone. Else the host
     * may keep them in a file and give them to a later process, where pack() is then not called. */
    uint32_t layout_version;
    uint32_t reserved2;
} nlm_pack_info_v1;

/* flags of event_create */
#define NLM_EVENT_TIMING 1u /* event_elapsed will be asked of it; without, an event may be cheaper */

/* A place in device memory. This struct is frozen: it never grows. */
typedef struct nlm_place_v1 {
    uint64_t buffer;
    uint64_t offset;
    void *address; /* of the byte at `offset` */
} nlm_place_v1;

/* An opened device. Slots marked * are required; others may be NULL where the text allows it.
 * Unless said otherwise calls on one device come from one thread at a time; slots and pack come from
 * many. */
typedef struct nlm_device_v1 {
    uint32_t struct_size;
    uint32_t reserved;
    void *self;
    const nlm_ops_v1 *ops; /* * */

    /* * Fills what struct_size covers. */
    nlm_status (*describe)(void *self, nlm_device_info_v1 *out, nlm_error *error);

    /* * Can this op run with these arguments (shapes, types, strides, flags; data may be NULL) on
     * nth workers? NLM_OK: yes, and the needs are in `out`. NLM_UNSUPPORTED: no, why in out->reason.
     * Pure, thread-safe, asked when a graph is planned. A yes that then fails to run is a bug.
     * A weight's `layout` tells how the host holds it already; a device that can use it so says so
     * by the same weight_layout. */
    nlm_status (*query)(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out);

    /* Packing; NULL if query never names a layout. `w` is row-major on the host; rows
     * [row_from, row_to) go to where they belong in `packed`, 64-aligned, pack_size's bytes in all.
     * Different row ranges come from different threads at once.
     * A weight of experts, [E, N, K], is packed expert by expert: both functions are given one [N, K] of it, and
     * expert e begins e times pack_size's bytes, rounded up to 64, behind the first. */
    nlm_status (*pack_size)(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles, nlm_pack_info_v1 *out,
                            nlm_error *error);
    nlm_status (*pack)(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles, int64_t row_from,
                       int64_t row_to, void *packed, nlm_error *error);

    /* Memory. NULL, all of them, for NLM_DEVICE_HOST_MEMORY. An address (nlm_tensor.data) has alignment_bytes.
     * With a stream, upload, download and copy are work of it and may return before they are done: host
     * memory stays valid until sync, or while a recording that names it lives. Without one they are done when they
     * return, and do not wait for work that streams have yet to do.
     * buffer_free may be called while work that uses the buffer is pending: the memory goes when that is done. */
    nlm_status (*buffer_alloc)(void *self, uint64_t bytes, uint64_t *out_buffer, void **out_address,
                               nlm_error *error);
    void (*buffer_free)(void *self, uint64_t buffer);
    nlm_status (*upload)(void *self, void *stream, uint64_t buffer, uint64_t offset, const void *host, uint64_t bytes,
                         nlm_error *error);
    nlm_status (*download)(void *self, void *stream, uint64_t buffer, uint64_t offset, void *host, uint64_t bytes,
                           nlm_error *error);
    nlm_status (*copy)(void *self, void *stream, uint64_t to_buffer, uint64_t to_offset, uint64_t from_buffer,
                       uint64_t from_offset, uint64_t bytes, nlm_error *error);

    /* Streams: in-order queues. Required for NLM_DEVICE_STREAM, NULL for sliced devices.
     *
     * Errors of enqueued work come late. The first of a stream sticks to it and is returned by the next sync that
     * waits for it, which clears it; work enqueued behind the failed one may or may not have run. After
     * INVALID_ARGUMENT (an index that the device found to be out of range, say) and other errors the stream stays
     * usable. DEVICE_LOST is final: it is what every later call returns that can fail; those that free and destroy
     * still work.
     *
     * sync waits for the stream; for NULL, for all streams of the device, and returns the first error there is.
     * The host syncs a stream before it destroys it, unless the device is lost. */
    nlm_status (*stream_create)(void *self, void **out_stream, nlm_error *error);
    void (*stream_destroy)(void *self, void *stream);
    nlm_status (*sync)(void *self, void *stream, nlm_error *error);
    /* Events. event_wait makes the stream wait for what the event's latest event_record stands behind, at once where
     * there was none. An event may be recorded again, and destroyed while it is waited for. flags: NLM_EVENT_*. */
    nlm_status (*event_create)(void *self, uint32_t flags, void **out_event, nlm_error *error);
    void (*event_destroy)(void *self, void *event);
    nlm_status (*event_record)(void *self, void *stream, void *event, nlm_error *error);
    nlm_status (*event_wait)(void *self, void *stream, void *event, nlm_error *error);

    /* ---- optional: NULL, or past struct_size, and the host does without ---- */

    /* Called once for each op of a planned graph that query said yes to, with the arguments that the slot will get
     * but for addresses (a packed weight has its layout), before it first runs: the place to compile, to load a
     * module, to search for the fastest kernel. May be slow and may allocate; slots must not be, and never allocate
     * while NLM_EXEC_RECORDING. One call at a time. If it fails the graph is not planned. */
    nlm_status (*prepare)(void *self, nlm_op op, const void *args, uint32_t nth, nlm_error *error);
    /* Sets bytes of a buffer to `byte` (0 to 255), as work of the stream or, with NULL, at once. Without it the host
     * uploads. */
    nlm_status (*fill)(void *self, void *stream, uint64_t buffer, uint64_t offset, uint32_t byte, uint64_t bytes,
                       nlm_error *error);
    /* Host memory that transfers to and from the device are fastest with (pinned), 64-aligned. Both or neither.
     * Without them the host uses memory of its own. */
    nlm_status (*host_alloc)(void *self, uint64_t bytes, void **out_memory, nlm_error *error);
    void (*host_free)(void *self, void *memory);
    /* Whether what the event's latest event_record stands behind is done: *out_is_done 0 or 1; 1 if it was never
     * recorded. Never waits, nor does the work wait for it: asked again and again, it comes to be 1. Errors of the
     * work itself are left to sync. */
    nlm_status (*event_query)(void *self, void *event, uint32_t *out_is_done, nlm_error *error);
    /* Nanoseconds on the device from one event to a later one, both created with NLM_EVENT_TIMING, recorded and
     * done. */
    nlm_status (*event_elapsed)(void *self, void *from_event, void *to_event, uint64_t *out_ns, nlm_error *error);
    /* pack done by the device, as work of the stream, in place of pack on the host: rows [row_from, row_to) of w
     * stand row-major, in w's type, at `rows`; they go to where they belong in the packed weight at `packed`. w->data
     * is NULL. Called in order of rows; what pack_size says holds. UNSUPPORTED: this weight is packed on the host. */
    nlm_status (*pack_device)(void *self, void *stream, const nlm_tensor *w, uint32_t layout, uint32_t roles,
                              int64_t row_from, int64_t row_to, const nlm_place_v1 *rows, const nlm_place_v1 *packed,
                              nlm_error *error);
    /* Bytes from a buffer of another device of this plugin (`peer` is its nlm_device_v1.self), as work of a stream of
     * this device, not NULL. A plugin that has it lets event_wait take events of its other devices. UNSUPPORTED:
     * these two cannot reach each other; the host goes by its own memory. */
    nlm_status (*copy_from)(void *self, void *stream, uint64_t to_buffer, uint64_t to_offset, void *peer,
                            uint64_t from_buffer, uint64_t from_offset, uint64_t bytes, nlm_error *error);
} nlm_device_v1;

/* ---- extension: recording ------------------------------------------------------------------- */

#define NLM_CAPTURE_EXTENSION "nlm.capture"

/* extension("nlm.capture", 1): work recorded once and done many times at the price of one call (CUDA graphs).
 *
 * Between begin and end the host calls, of this device, only slots with NLM_EXEC_RECORDING, and upload, download,
 * copy, fill, event_record and event_wait, all on the stream that records; nothing is done. Work that the stream was
 * given before begin stays as it is. An event that is recorded here is one of the recording until event_record is
 * called on it elsewhere: event_wait takes it in this recording alone, and event_query and event_elapsed do not take
 * it. Every op was prepared before. launch enqueues all of it on a stream, in place and in order. Addresses are those
 * of the recording; buffers and host memory that it names stay valid until its destroy, and what host memory holds
 * when the work is done is what is transferred. Contents may change between launches, shapes may not.
 *
 * A call that fails while recording, end too, ends it: the host calls abort, which drops what was recorded and leaves
 * the stream usable. begin may say UNSUPPORTED, and any call LIMIT where a recording has too many parts: the host
 * then enqueues each time. A recording is destroyed when no launch of it is pending. */
typedef struct nlm_capture_v1 {
    uint32_t struct_size;
    uint32_t reserved;
    nlm_status (*begin)(void *self, void *stream, nlm_error *error); /* self: nlm_device_v1.self */
    nlm_status (*end)(void *self, void *stream, void **out_recording, nlm_error *error);
    void (*abort)(void *self, void *stream);
    nlm_status (*launch)(void *self, void *recording, void *stream, nlm_error *error);
    void (*destroy)(void *self, void *recording);
} nlm_capture_v1;

/* ---- extension: what the hardware measures --------------------------------------------------- */

#define NLM_METRICS_EXTENSION "nlm.metrics"

/* Which numbers of nlm_device_metrics_v1 are known. */
#define NLM_METRIC_MEMORY             1u
#define NLM_METRIC_UTILIZATION        2u
#define NLM_METRIC_MEMORY_UTILIZATION 4u
#define NLM_METRIC_POWER              8u
#define NLM_METRIC_POWER_LIMIT        16u
#define NLM_METRIC_CLOCK              32u
#define NLM_METRIC_MEMORY_CLOCK       64u
#define NLM_METRIC_TEMPERATURE        128u
#define NLM_METRIC_ECC                256u

/* Of the whole device, whoever uses it, at the time of the call. The host zeroes it and sets struct_size. */
typedef struct nlm_device_metrics_v1 {
    uint32_t struct_size;
    uint32_t known; /* NLM_METRIC_*; what is not known stays 0 */
    uint64_t memory_used_bytes;
    uint64_t memory_total_bytes;
    uint32_t utilization_percent;        /* of the last second or so: time in which something ran */
    uint32_t memory_utilization_percent; /* time in which memory was read or written */
    uint32_t power_milliwatts;
    uint32_t power_limit_milliwatts;
    uint32_t clock_mhz; /* of the processors */
    uint32_t memory_clock_mhz;
    int32_t temperature_celsius;
    uint32_t reserved;
    uint64_t ecc_corrected; /* errors of memory since the driver was loaded */
    uint64_t ecc_uncorrected;
} nlm_device_metrics_v1;

/* extension("nlm.metrics", 1). read: at any time, from any thread, beside work of the device, which it does not wait
 * for; UNSUPPORTED, with the reason, where the means to measure are not installed. */
typedef struct nlm_metrics_v1 {
    uint32_t struct_size;
    uint32_t reserved;
    nlm_status (*read)(void *self, nlm_device_metrics_v1 *out, nlm_error *error); /* self: nlm_device_v1.self */
} nlm_metrics_v1;

/* ---- extension: what the hardware does at best ------------------------------------------------ */

#define NLM_PROBES_EXTENSION "nlm.probes"

/* measure()'s answer. The host zeroes it and sets struct_size. */
typedef struct nlm_probed_v1 {
    uint32_t struct_size;
    uint32_t reserved;
    char name[48]; /* for people: "copy" */
    char unit[16]; /* "GB/s", "us" */
    double value;
    double expected; /* what the plugin's own predictions of speed reckon with; 0: nothing */
} nlm_probed_v1;

#define NLM_PROBES_MOST 64

/* extension("nlm.probes", 1). measure: probe number `index`, counted from 0, a few milliseconds each, while the
 * device has no other work. It may allocate and compile, and leaves nothing behind. NOT_FOUND: there are not so many,
 * of which there are at most NLM_PROBES_MOST. UNSUPPORTED: the hardware has not what it is about; name and unit are
 * filled all the same. */
typedef struct nlm_probes_v1 {
    uint32_t struct_size;
    uint32_t reserved;
    nlm_status (*measure)(void *self, uint32_t index, nlm_probed_v1 *out, nlm_error *error); /* nlm_device_v1.self */
} nlm_probes_v1;

/* ---- the plugin --------------------------------------------------------------------------- */

enum { NLM_SANITIZER_NONE = 0, NLM_SANITIZER_ADDRESS = 1, NLM_SANITIZER_THREAD = 2, NLM_SANITIZER_MEMORY = 3 };

#if defined(__SANITIZE_ADDRESS__)
#define NLM_SANITIZER_BUILD NLM_SANITIZER_ADDRESS
#elif defined(__SANITIZE_THREAD__)
#define NLM_SANITIZER_BUILD NLM_SANITIZER_THREAD
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NLM_SANITIZER_BUILD NLM_SANITIZER_ADDRESS
#elif __has_feature(thread_sanitizer)
#define NLM_SANITIZER_BUILD NLM_SANITIZER_THREAD
#elif __has_feature(memory_sanitizer)
#define NLM_SANITIZER_BUILD NLM_SANITIZER_MEMORY
#endif
#endif
#ifndef NLM_SANITIZER_BUILD
#define NLM_SANITIZER_BUILD NLM_SANITIZER_NONE
#endif

/* probe()'s answer. The host zeroes it and sets struct_size. */
typedef struct nlm_probe_v1 {
    uint32_t struct_size;
    uint32_t device_count; /* 0: not usable here, `reason` says why */
    int32_t score;         /* greater is preferred among plugins of equal priority */
    uint32_t reserved;
    char reason[192];
} nlm_probe_v1;

typedef struct nlm_plugin_v1 {
    uint32_t struct_size;
    uint32_t abi_minor;      /* the literal its author coded to, not NLM_ABI_MINOR of some later header */
    uint32_t min_host_minor; /* refuse to load in a host older than this */
    uint32_t sanitizer;      /* NLM_SANITIZER_BUILD */
    const char *name;        /* "cpu_avx2": [a-z0-9_]+, as in plugins.toml */
    const char *version;
    const char *description; /* one line for people */

    /* Is the hardware here? Cheap, without side effects. Returns NLM_OK even if the answer is no. */
    nlm_status (*probe)(const nlm_host_v1 *host, nlm_probe_v1 *out, nlm_error *error);

    /* Opens device `ordinal` (0 .. device_count-1). The host copies *out_device; `self` and what else
     * it points to live until close. May be called again, for the same ordinal too. */
    nlm_status (*open)(const nlm_host_v1 *host, uint32_t ordinal, const nlm_device_v1 **out_device, nlm_error *error);
    void (*close)(const nlm_device_v1 *device);

    /* An optional interface by name and version ("nlm.capture", 1), or NULL. */
    const void *(*extension)(const char *name, uint32_t version);
} nlm_plugin_v1;

/* The one exported symbol. Pure and constant: no allocation, no ISA-specific code, the same answer
 * every time; NULL if the plugin cannot work with a host of this minor. */
typedef const nlm_plugin_v1 *(*nlm_plugin_query_v1_fn)(uint32_t host_minor);
NLM_PLUGIN_EXPORT const nlm_plugin_v1 *nlm_plugin_query_v1(uint32_t host_minor);
#define NLM_PLUGIN_QUERY_SYMBOL "nlm_plugin_query_v1"

#ifdef __cplusplus
}
#endif
#endif
