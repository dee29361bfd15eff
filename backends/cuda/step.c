/* Holds layers of Mamba back while they are recorded, and launches them. */
#include "step.h"

/* Left of a block's shared memory for what the kernel declares. */
#define STATIC_BYTES 1024
#define MOST_BLOCKS  16 /* of a cluster; more than 8 have to be allowed */
#define THREADS      256

/* The attributes that a launch needs. */
static nlm_status allow(nlm_cuda_device *d, CUfunction function, nlm_error *error) {
    NLM_CUDA_TRY(cuFuncSetAttribute, function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                 d->shared_bytes - STATIC_BYTES);
    NLM_CUDA_TRY(cuFuncSetAttribute, function, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1);
    return NLM_OK;
}

/* The kernel for layers with weights like these; that it cannot be had is no error. */
static void compile(nlm_cuda_device *d, const nlm_tensor *w, const nlm_cuda_preparing *of) {
    nlm_error ignored = {.struct_size = sizeof ignored};
    const nlm_cuda_kernel kernel = nlm_cuda_step_kernel(w, of->dt_type, of->states);
    CUfunction function;
    NLM_CUDA_IN(d);
    if (nlm_cuda_find(d, &kernel, true, &function, &ignored) != NLM_OK) return;
    if (allow(d, function, &ignored) != NLM_OK) return;
    pthread_mutex_lock(&d->lock);
    d->has_step_kernels = true;
    pthread_mutex_unlock(&d->lock);
}

/* What is prepared one after the other makes a layer, as it does when it is recorded. */
void nlm_cuda_step_prepare(nlm_cuda_device *d, nlm_op op, const void *args) {
    if (!d->has_steps) return;
    const nlm_cuda_preparing before = d->preparing;
    d->preparing = (nlm_cuda_preparing){0};
    if (op == NLM_OP_norm_xz_conv) {
        const nlm_norm_xz_conv_args *a = args;
        if (a->x->shape[0] != 1 || a->x->dtype != NLM_F32 || !nlm_cuda_step_takes(a->w, a->w)) return;
        d->preparing = (nlm_cuda_preparing){.inner = a->y->shape[1]};
    } else if (op == NLM_OP_dt_bc_scan) {
        const nlm_dt_bc_scan_args *a = args;
        if (before.inner != a->x->shape[1] || !nlm_cuda_step_takes(a->w_x, a->w_x) ||
            !nlm_cuda_step_takes(a->w_dt, a->w_dt)) {
            return;
        }
        d->preparing = (nlm_cuda_preparing){before.inner, a->a->shape[1], nlm_cuda_type_name(a->w_dt)};
    } else if (op == NLM_OP_matmul) {
        const nlm_matmul_args *a = args;
        if (!before.states || before.inner != a->w->shape[1] || !a->residual) return;
        if (nlm_cuda_step_takes(a->w, a->w)) compile(d, a->w, &before);
    }
}

/* ---- a cluster's launch ---- */

/* Whether the GPU can have such a cluster at all. */
static bool can_be(nlm_cuda_device *d, CUfunction function, int n_blocks, int shared_bytes) {
    int n = 0;
    CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION};
    attribute.value.clusterDim.x = (unsigned)n_blocks;
    attribute.value.clusterDim.y = attribute.value.clusterDim.z = 1;
    const CUlaunchConfig config = {
        .gridDimX = (unsigned)n_blocks,
        .gridDimY = 1,
        .gridDimZ = 1,
        .blockDimX = THREADS,
        .blockDimY = 1,
        .blockDimZ = 1,
        .sharedMemBytes = (unsigned)shared_bytes,
        .attrs = &attribute,
        .numAttrs = 1,
    };
    return d->cu->cuOccupancyMaxActiveClusters(&n, function, &config) == CUDA_SUCCESS && n > 0;
}

/* As one launch; *out_is_done says whether. */
static nlm_status launch_layers(nlm_cuda_device *d, const nlm_cuda_step_held *held, int n_layers, nlm_error *error,
                                bool *out_is_done) {
    const nlm_norm_xz_conv_args *first = &held->calls[0].args.norm;
    const nlm_dt_bc_scan_args *scan = &held->calls[1].args.scan;
    const int states = (int)scan->a->shape[1];
    nlm_error ignored = {.struct_size = sizeof ignored};
    CUfunction function;
    nlm_cuda_step step;
    nlm_cuda_work work = {
        .op = NLM_OP_norm_xz_conv,
        .parameters = &step,
        .kernel = nlm_cuda_step_kernel(first->w, nlm_cuda_type_name(scan->w_dt), states),
        .threads = THREADS,
        .is_early = true,
    };
    *out_is_done = false;
    if (!nlm_cuda_step_plan(held, n_layers, &step)) return NLM_OK;
    if (nlm_cuda_find(d, &work.kernel, false, &function, &ignored) != NLM_OK) return NLM_OK;
    int n = nlm_cuda_step_most_blocks(&step, states);
    for (n = n < MOST_BLOCKS ? n : MOST_BLOCKS; n > 0; n /= 2) {
        work.shared_bytes =
            nlm_cuda_step_share(first->w, scan->w_dt, states, n, d->shared_bytes - STATIC_BYTES, &step);
        if (!work.shared_bytes) return NLM_OK;
        if (can_be(d, function, n, work.shared_bytes)) break;
    }
    if (!n) return NLM_OK;
    work.grid[0] = work.cluster = n;
    nlm_exec_v1 x = held->calls[0].x;
    x.error = error;
    NLM_KIT_TRY(nlm_cuda_launch(&x, &work));
    *out_is_done = true;
    return NLM_OK;
}

nlm_status nlm_cuda_step_flush(nlm_cuda_stream *s, nlm_error *error) {
    nlm_cuda_step_held *held = s && s->recording ? s->recording->held : NULL;
    bool is_done = false;
    if (!held || !held->n) return NLM_OK;
    const int n = held->n, n_layers = n / 3;
    held->n = 0;
    NLM_CUDA_IN(s->device);
    if (n_layers) NLM_KIT_TRY(launch_layers(s->device, held, n_layers, error, &is_done));
    for (int i = is_done ? 3 * n_layers : 0; i < n; i++) {
        nlm_exec_v1 x = held->calls[i].x;
        x.error = error;
        NLM_KIT_TRY(nlm_cuda_run_op(&x, held->calls[i].op, &held->calls[i].args));
    }
    return NLM_OK;
}

/* ---- holding ---- */

static void keep(nlm_cuda_held *to, const nlm_exec_v1 *x, nlm_op op, const void *args) {
    const nlm_op_spec *spec = nlm_op_spec_of(op);
    to->op = op;
    to->x = nlm_kit_exec(x);
    to->x.struct_size = sizeof to->x;
    memcpy(&to->args, args, spec->args_bytes);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_tensor *t;
        memcpy(&t, (const char *)args + spec->fields[i].offset, sizeof t);
        if (t) to->tensors[i] = *t;
        t = t ? &to->tensors[i] : NULL;
        memcpy((char *)&to->args + spec->fields[i].offset, &t, sizeof t);
    }
}

static bool may_hold(const nlm_exec_v1 *x, nlm_op op, const void *args) {
    if (op != NLM_OP_norm_xz_conv && op != NLM_OP_dt_bc_scan && op != NLM_OP_matmul) return false;
    return x->flags & NLM_EXEC_RECORDING && nlm_op_spec_of(op)->args_bytes <= ((const uint32_t *)args)[0];
}

nlm_status nlm_cuda_step_hold(const nlm_exec_v1 *x, nlm_op op, const void *args, bool *out_is_held) {
    nlm_cuda_stream *s = x->stream;
    nlm_cuda_step_held *held = s && s->recording ? s->recording->held : NULL;
    *out_is_held = false;
    if (!held) return NLM_OK;
    for (int attempt = 0; attempt < 2 && may_hold(x, op, args); attempt++) {
        if (held->n < NLM_CUDA_HELD) {
            keep(&held->calls[held->n], x, op, args);
            *out_is_held = nlm_cuda_step_goes_on(held, held->n);
        }
        if (*out_is_held) {
            held->n++;
            return NLM_OK;
        }
        NLM_KIT_TRY(nlm_cuda_step_flush(s, x->error)); /* and it may be the first of others */
    }
    return nlm_cuda_step_flush(s, x->error);
}
