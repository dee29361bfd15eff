/* nlm-conform: certifies a backend. What its parts share. */
#ifndef NLM_CONFORM_H
#define NLM_CONFORM_H

#include "base/threads.h"
#include "oracle/oracle.h"
#include "plugin/fp_mode.h"
#include "plugin/plugins.h"
#include "specs/spec.h"

typedef struct conform_options {
    const char *backend; /* or NULL */
    const char *library; /* or NULL */
    const char *filter;  /* a row of the tables, or a case's name; NULL: all */
    int64_t sample;      /* one in so many of those cases, from number `first` on, which is below */
    int64_t first;
    int64_t parts; /* then, of so many parts in a row, the one with number `part` */
    int64_t part;
    int64_t level; /* cases up to this one; CONFORM_ALL_LEVELS: those there are */
    int64_t seed;
    int64_t timeout_s;              /* a case */
    oracle_activations activations; /* what the bounds allow */
    const char *const
        *device_options; /* key, value, ..., NULL: for the device, before those of the registry; or NULL */
    bool is_complete;    /* a case the device does not support fails */
    bool is_json;
    bool is_perf;    /* times the cases, judges nothing */
    int64_t threads; /* of the timing; 0: one per core */
} conform_options;

/* Level 0: the rules of the ABI; 1: the ops of inference and whole models; 2: fused ops and captured
 * graphs; 3: training. */
enum { CONFORM_ALL_LEVELS = -1, CONFORM_MAX_LEVEL = 3 };

typedef enum conform_verdict {
    CONFORM_NOT_RUN,
    CONFORM_PASSED,
    CONFORM_FAILED,
    CONFORM_UNSUPPORTED,
    CONFORM_NOT_OFFERED, /* an extension, which no backend needs to have */
    CONFORM_VERDICTS
} conform_verdict;

typedef struct conform_result {
    conform_verdict verdict;
    double error;       /* the greatest error, as a part of what is allowed */
    double nmse;        /* squared error over squared expected magnitude */
    bool has_parts;     /* a fused op was compared with the ops it stands for */
    double from_parts;  /* their greatest difference, as a part of what is allowed; 0: equal bits */
    bool was_unguarded; /* ran in memory of the device, where no guard pages are */
    char message[1024]; /* why it failed, or is not supported */
} conform_result;

/* What runs a case: a rule in a process of its own, the others on the opened device. */
typedef enum conform_kind {
    CONFORM_RULE,
    CONFORM_OP,
    CONFORM_MODEL,
    CONFORM_ACTIVATION,
    CONFORM_CAPTURED,
    CONFORM_UNLOAD /* the end of a level: what its cases have left when the device is closed */
} conform_kind;

/* A case of the run, and in the shared memory of parent and child what became of it. */
typedef struct conform_case {
    char name[SPEC_NAME_BYTES]; /* "ROW/..." */
    const char *row;            /* of the table: an op's name, "abi", "models" */
    conform_kind kind;
    int level;
    conform_result result;
} conform_case;

/* Sets verdict FAILED and the sentence; returns false. */
bool conform_fail(conform_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- open.c: the device under test ---- */

/* Both are set even on failure, to be given to conform_close. Errors: as nlm_plugins_create, _add_library
 * and _open; UNSUPPORTED (refused). */
nlm_status conform_open(const conform_options *options, nlm_plugins **out_plugins, nlm_device **out, nlm_error *err);
void conform_close(nlm_plugins *plugins, nlm_device *device);

/* ---- drive.c: one op on nth workers ---- */

#define CONFORM_THREADS 64

typedef struct conform_pools {
    nlm_pool *pools[CONFORM_THREADS + 1]; /* by number of threads, made when first wanted */
} conform_pools;

typedef struct conform_call {
    const nlm_device *device;
    nlm_op op;
    const nlm_any_args *args;
    const int32_t *live_rows;
    void *workspace;
    uint64_t workspace_bytes;
    void *scratch[CONFORM_THREADS];
    uint64_t scratch_bytes;
    int64_t max_context; /* as nlm_exec_v1.max_context */
    bool is_old_host;    /* nlm_exec_v1 ends before claim */
} conform_call;

/* The pool of that many threads, 1 to CONFORM_THREADS. */
nlm_status conform_pool(conform_pools *pools, uint32_t threads, nlm_pool **out, nlm_error *err);
/* The status of the op: that of the first worker to fail, with its sentence. */
nlm_status conform_drive(conform_pools *pools, const conform_call *call, uint32_t nth, nlm_error *err);

/* Ends their threads. */
void conform_pools_destroy(conform_pools *pools);

/* ---- slot.c: the manners of a slot ---- */

typedef struct conform_slot {
    nlm_fp_mode fp_mode;
    uint64_t n_allocations; /* of the calling thread so far */
} conform_slot;

/* Around a call of a slot, in its thread. The end says what the slot did that none may, and undoes it; or NULL. */
void conform_slot_begin(conform_slot *slot);
const char *conform_slot_end(const conform_slot *slot);
/* Bytes that the process has from malloc; 0 under a sanitizer. */
size_t conform_allocated(void);

/* ---- place.c: a case's tensors in guarded memory, run once ---- */

/* What to run of a case, and how. */
typedef struct conform_plan {
    uint32_t nth;             /* of a sliced device */
    const uint32_t *layouts;  /* [NLM_CAPS_WEIGHTS] of the weights, as query asked */
    bool is_as_held;          /* asked of query with NLM_CAPS_AS_HELD */
    bool is_old_host;         /* of a sliced device: the host is one of the first, and knows no claims */
    bool is_stale;            /* of a sliced device: its memory is as a run of other numbers left it */
    bool at_start;            /* buffers begin right after a guard page; else they end right before one */
    int64_t row_from, row_to; /* rows of the batch; all if both are 0 */
    int64_t sequence;         /* a sequence of the batch; -1: all */
    bool is_recorded;         /* on a stream device: recorded and launched, see stream.h */
} conform_plan;

/* What a tensor holds for a run without live rows. */
typedef enum conform_content {
    CONFORM_CONTENT_WHOLE,  /* what it always holds: a weight, a state */
    CONFORM_CONTENT_ROWS,   /* rows of the batch: anything */
    CONFORM_CONTENT_STARTS, /* starts of sequences: all of them 0 */
    CONFORM_CONTENT_SUM     /* as WHOLE, but what the op adds up replaces it, of no rows too */
} conform_content;

/* Memory of the tensors, by index; those that share another's memory, or are only read, may be NULL. */
typedef struct conform_images {
    uint8_t *data[NLM_OP_MAX_FIELDS];
} conform_images;

typedef struct conform_outcome {
    nlm_status status; /* the op's */
    bool is_refused;   /* query turned this part of the rows down, or it cannot be recorded: nothing ran */
} conform_outcome;

/* Reads states and outputs from *images, runs, and writes what the op wrote back there. Fails the result
 * when memory was touched that should not be, or when query turns down what it took before. */
bool conform_place_and_run(conform_pools *pools, const nlm_device *device, spec_instance *in,
                           const conform_plan *plan, conform_images *images, conform_outcome *outcome,
                           conform_result *result);

/* ---- judge.c: is it right ---- */

bool conform_judge(spec_instance *in, const conform_images *images, oracle_activations activations,
                   conform_result *result);

/* ---- decompose.c: a fused op beside its parts ---- */

/* Runs the ops that a fused op stands for on the device and compares what they give with `first`, what the
 * fused op gave: equal bits, or a difference within the bound that each has to the true value, which allows
 * the fused op to keep what the parts round in between. Nothing to compare (true): the op is not a fused
 * one, or the device does not take a part of it. */
bool conform_check_decomposition(conform_pools *pools, const nlm_device *device, spec_instance *in,
                                 const conform_images *first, oracle_activations activations, conform_result *result);

/* ---- case.c: everything about one case ---- */

void conform_run_case(conform_pools *pools, const nlm_device *device, const conform_options *options,
                      const char *name, conform_result *result);

/* Whether the case, recorded and replayed, comes out as it does when it is enqueued. UNSUPPORTED: the device does
 * not take it, or does not record it; or it is one of bad arguments. Returns whether it passed. */
bool conform_replay_case(conform_pools *pools, const nlm_device *device, const conform_options *options,
                         const char *name, conform_result *result);

/* ---- models.c: whole models ---- */

typedef void (*conform_visit_fn)(void *user, const char *name);
void conform_for_each_model(conform_visit_fn visit, void *user);
void conform_run_model(conform_pools *pools, const nlm_device *device, const conform_options *options,
                       const char *name, conform_result *result);
/* `name` as conform_for_each_model has it behind "models/". */
void conform_replay_model(conform_pools *pools, const nlm_device *device, const conform_options *options,
                          const char *name, conform_result *result);

/* ---- activations.c: of 16 bits ---- */

void conform_for_each_activation(conform_visit_fn visit, void *user);
void conform_run_activation(conform_pools *pools, const nlm_device *device, const conform_options *options,
                            const char *name, conform_result *result);

/* ---- captured.c: replay equals eager ---- */

void conform_for_each_captured(conform_visit_fn visit, void *user);
void conform_run_captured(conform_pools *pools, const nlm_device *device, const conform_options *options,
                          const char *name, conform_result *result);

/* ---- abi_slots.c: manners of ops, and of levels ---- */

/* Before threads are counted: ThreadSanitizer starts one of its own beside the first that a program makes. */
void conform_make_first_thread(void);

/* ---- abi_rules.c: level 0 ---- */

/* A rule is checked in a process of its own: the plugin may crash, hang or leave what it likes behind.
 * Says PASSED, or fails the result with a sentence. */
typedef struct conform_rule {
    const char *name; /* "abi/..." */
    void (*run)(const conform_options *options, conform_result *result);
} conform_rule;

const conform_rule *conform_rules(size_t *out_count);

/* ---- collect.c: which cases there are ---- */

/* Whether the filter is NULL, the name's row of the tables, or the whole name. */
bool conform_matches(const char *filter, const char *name);
/* The cases that the options ask for, from calloc; NULL and a count of 0 if there are none. Errors
 * OUT_OF_MEMORY. */
nlm_status conform_collect(const conform_options *options, conform_case **out, size_t *out_count, nlm_error *err);

/* ---- supervise.c: cases in child processes ---- */

/* Runs all cases; a crash or a hang is that case's failure. Errors: the device cannot be opened. */
nlm_status conform_supervise(const conform_options *options, conform_case *cases, size_t count, nlm_error *err);

/* ---- perf.c: how fast ---- */

/* Prints the median times of all ops' cases and of larger ones, hot and cold. Runs in this process, with
 * nothing around the op's memory: certify first. Errors: the device cannot be opened, an op fails. */
nlm_status conform_perf(const conform_options *options, nlm_error *err);

/* ---- report.c ---- */

/* Prints failures, a table a level and the verdict; returns whether the backend passed. */
bool conform_report(const conform_options *options, const conform_case *cases, size_t count);

#endif
