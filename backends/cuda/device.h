/* An opened GPU, and what the files of this backend share about it. */
#ifndef NLM_CUDA_DEVICE_H
#define NLM_CUDA_DEVICE_H

#include <nlm/plugin_kit.h>

#include <pthread.h>
#include <stdbool.h>

#include "device/types.h"
#include "libraries.h"

typedef struct nlm_cuda_device nlm_cuda_device;
typedef struct nlm_cuda_recording nlm_cuda_recording;
typedef struct nlm_cuda_module nlm_cuda_module;
struct nlm_cuda_blas_product;

/* What multiplies many rows: the option "products". */
typedef enum nlm_cuda_products_by {
    NLM_CUDA_PRODUCTS_BEST, /* cuBLASLt where it is found and predicted to be faster */
    NLM_CUDA_PRODUCTS_OWN,  /* this backend's kernels */
    NLM_CUDA_PRODUCTS_CUBLASLT
} nlm_cuda_products_by;

/* Device memory. Its handle, nlm_tensor.buffer, is the address of this. */
typedef struct nlm_cuda_buffer {
    CUdeviceptr address;
    uint64_t bytes;
    struct nlm_cuda_buffer *next; /* of those that wait to be freed */
} nlm_cuda_buffer;

typedef struct nlm_cuda_stream {
    nlm_cuda_device *device;
    CUstream stream;
    uint32_t fault;                /* its word among nlm_cuda_device.faults */
    bool is_busy;                  /* work was enqueued since the last sync */
    nlm_cuda_recording *recording; /* under way, or NULL */
    struct nlm_cuda_stream *next;
} nlm_cuda_stream;

struct nlm_cuda_recording {
    CUgraph graph;
    CUgraphExec exec;
    uint32_t fault;
    nlm_cuda_stream *launched_on;    /* since that one's last sync; NULL: none */
    struct nlm_cuda_step_held *held; /* step.h; NULL: nothing is held back */
    struct nlm_cuda_recording *next;
};

/* Of a layer of Mamba that is being prepared (step.c): its channels, and states of each; 0: not known. The type of
 * the weight that makes dt. */
typedef struct nlm_cuda_preparing {
    int64_t inner, states;
    const char *dt_type;
} nlm_cuda_preparing;

/* Streams and recordings that a device may have at once. */
#define NLM_CUDA_FAULTS 512

struct nlm_cuda_device {
    nlm_device_v1 api;
    const nlm_host_v1 *host;
    const nlm_cuda_driver *cu;
    CUdevice device;
    CUcontext context; /* the primary one, shared with whatever else the process does on this GPU */
    uint32_t ordinal;
    int capability; /* 90: compute capability 9.0 */
    int n_multiprocessors;
    int shared_bytes; /* that a block may have */
    size_t memory_bytes;
    bool is_batch_invariant;
    bool is_tf32;          /* products of many rows round weights of f32 too */
    bool has_early_launch; /* of kernels, while the one before ends */
    bool has_steps;        /* layers that are recorded may be one launch of a cluster */
    nlm_cuda_products_by products;
    const nlm_cuda_cublaslt *lt; /* NULL: not found, not wanted, or it does not start */
    cublasLtHandle_t lt_handle;
    nlm_cuda_preparing preparing; /* by prepare, of which there is one call at a time */
    char name[96];
    char arch[32];

    pthread_mutex_t lock; /* of what follows */
    bool is_lost;
    bool has_step_kernels; /* one is compiled: recordings hold back */
    CUstream transfers;    /* of copies that the host waits for */
    nlm_cuda_stream *streams;
    nlm_cuda_recording *recordings;
    nlm_cuda_buffer *unfreed; /* freed while work that may use them was pending */
    nlm_cuda_fault *faults;   /* [NLM_CUDA_FAULTS], pinned memory that kernels write */
    CUdeviceptr faults_address;
    uint8_t is_fault_used[NLM_CUDA_FAULTS];
    nlm_cuda_module *modules;                    /* compiled so far */
    struct nlm_cuda_blas_product *blas_products; /* shapes that were prepared */
};

/* ---- errors: errors.c ---- */

/* Fills *error from a failed call of the driver; returns the status. */
nlm_status nlm_cuda_fail(nlm_cuda_device *d, nlm_error *error, const char *call, CUresult result);

/* In a function with a `d` and an `error`: returns if the call of the driver fails. */
#define NLM_CUDA_TRY(call, ...)                                                                        \
    do {                                                                                               \
        const CUresult nlm_cuda_result_ = d->cu->call(__VA_ARGS__);                                    \
        if (nlm_cuda_result_ != CUDA_SUCCESS) return nlm_cuda_fail(d, error, #call, nlm_cuda_result_); \
    } while (0)

/* Takes a word for kernels to tell a fault in; UINT32_MAX: all are in use. The caller holds the lock. */
uint32_t nlm_cuda_fault_take(nlm_cuda_device *d);
void nlm_cuda_fault_give_back(nlm_cuda_device *d, uint32_t index);
/* NLM_OK, or what a kernel told in that word, which is then clear. */
nlm_status nlm_cuda_fault_read(nlm_cuda_device *d, uint32_t index, nlm_error *error);

/* A slot's work, of prepare or on a stream: ops.c. */
nlm_status nlm_cuda_run_op(const nlm_exec_v1 *x, nlm_op op, const void *args);

/* ---- the calling thread's context: device.c ---- */

typedef struct nlm_cuda_scope {
    const nlm_cuda_driver *cu;
    CUcontext before;
    bool has_changed;
} nlm_cuda_scope;

nlm_cuda_scope nlm_cuda_enter(nlm_cuda_device *d);
void nlm_cuda_leave(nlm_cuda_scope *scope);

/* The device's context is the thread's until the end of the block; then again what it was. */
#define NLM_CUDA_IN(d) \
    __attribute__((cleanup(nlm_cuda_leave), unused)) nlm_cuda_scope nlm_cuda_scope_ = nlm_cuda_enter(d)

/* ---- slots of nlm_device_v1, by file ---- */

nlm_status nlm_cuda_query(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out);   /* ops.c */
nlm_status nlm_cuda_prepare(void *self, nlm_op op, const void *args, uint32_t nth, nlm_error *error); /* ops.c */
extern const nlm_ops_v1 nlm_cuda_ops;                                                                 /* ops.c */
extern const nlm_capture_v1 nlm_cuda_capture;                                                         /* capture.c */
void nlm_cuda_memory_slots(nlm_device_v1 *api);                                                       /* memory.c */
void nlm_cuda_stream_slots(nlm_device_v1 *api);                                                       /* stream.c */
/* Frees what buffer_free could not, if no stream has work. The caller holds the lock. */
void nlm_cuda_free_pending(nlm_cuda_device *d);
/* What is left of streams, recordings and memory when a device is closed. */
void nlm_cuda_memory_close(nlm_cuda_device *d);

#endif
