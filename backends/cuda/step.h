/* Layers of Mamba that are recorded one behind the other, for one token, as one launch of a cluster of blocks.
 *
 * While a stream records, its calls of norm_xz_conv, dt_bc_scan and the product behind it are held back as long as
 * they go on as layers of a model do. What ends a row of them, any other call or the end of the recording, has them
 * launched: by the cluster's kernel (device/mamba_step.cu) where it can do them, else one by one. */
#ifndef NLM_CUDA_STEP_H
#define NLM_CUDA_STEP_H

#include "launch.h"

/* A call that is held back, with what it led to. */
typedef struct nlm_cuda_held {
    nlm_op op;
    nlm_exec_v1 x;
    union {
        nlm_norm_xz_conv_args norm;
        nlm_dt_bc_scan_args scan;
        nlm_matmul_args out;
    } args;
    nlm_tensor tensors[12]; /* those of the arguments, in the order of op_args.h */
} nlm_cuda_held;

#define NLM_CUDA_HELD (3 * NLM_CUDA_STEP_LAYERS)

/* Of a recording: what it holds back. */
typedef struct nlm_cuda_step_held {
    int n;
    nlm_cuda_held calls[NLM_CUDA_HELD];
} nlm_cuda_step_held;

/* Compiles the kernel for a layer whose three ops are prepared one behind the other, if they are such as it may do.
 * What fails here is no error: the ops have kernels of their own. */
void nlm_cuda_step_prepare(nlm_cuda_device *d, nlm_op op, const void *args);

/* Holds a call back, if its stream records and it can go on what is held; *out_is_held says whether. If not, nothing
 * is held any more when this returns. */
nlm_status nlm_cuda_step_hold(const nlm_exec_v1 *x, nlm_op op, const void *args, bool *out_is_held);

/* Launches what the stream holds back. Every call that enqueues by another way than a slot begins with it. */
nlm_status nlm_cuda_step_flush(nlm_cuda_stream *s, nlm_error *error);

/* step_plan.c: whether these weights of a layer, of which the first says what all are, are of a kind for it. */
bool nlm_cuda_step_takes(const nlm_tensor *first, const nlm_tensor *w);
/* Whether call `i` of those held goes on as layers do, the calls before it having been asked. */
bool nlm_cuda_step_goes_on(const nlm_cuda_step_held *held, int i);
/* The parameters of the first n_layers of what is held, but for what n_blocks decide. False: one kernel may not do
 * it, as what a layer writes would be in the way of another. */
bool nlm_cuda_step_plan(const nlm_cuda_step_held *held, int n_layers, nlm_cuda_step *out);
/* The parts of a cluster of so many blocks, and bytes of dynamic shared memory within `room`; 0: it is too large. */
int nlm_cuda_step_share(const nlm_tensor *w_in, const nlm_tensor *w_dt, int states, int n_blocks, int room,
                        nlm_cuda_step *step);
/* Blocks that have work of every kind, a power of two: at most so many. */
int nlm_cuda_step_most_blocks(const nlm_cuda_step *step, int states);
/* The kernel for weights of this type, dt's of that, and so many states. */
nlm_cuda_kernel nlm_cuda_step_kernel(const nlm_tensor *w, const char *dt_type, int64_t states);

#endif
