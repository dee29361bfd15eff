/* Launches kernels. */
#include "launch.h"

#include <string.h>

#define PARAMETER_BYTES 2048

nlm_cuda_view nlm_cuda_view_of(const nlm_tensor *t) {
    nlm_cuda_view view = {0};
    if (!t) return view;
    view.data = (uintptr_t)t->data;
    view.rank = t->rank;
    view.row_kind = (int)t->row_kind;
    for (int i = 0; i < NLM_MAX_RANK; i++) {
        view.stride[i] = t->stride_bytes[i];
        view.shape[i] = t->shape[i];
    }
    return view;
}

/* The arguments as a kernel has them (nlm_cuda_work). */
static void write_parameters(const nlm_op_spec *spec, const void *args, char *out) {
    size_t used = sizeof(uint32_t[2]);
    memcpy(out, args, used);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_tensor *t = NULL;
        if (nlm_counts(spec->fields[i].flag, nlm_args_flags(args))) {
            memcpy(&t, (const char *)args + spec->fields[i].offset, sizeof t);
        }
        const nlm_cuda_view view = nlm_cuda_view_of(t);
        memcpy(out + used, &view, sizeof view);
        used += sizeof view;
    }
    for (const nlm_op_scalar *s = spec->scalars; s->name; s++) {
        if (s->kind == NLM_SCALAR_FLAG || s->kind == NLM_SCALAR_RESERVED) continue;
        memcpy(out + used, (const char *)args + s->offset, 4);
        used += 4;
    }
}

static nlm_cuda_run run_of(nlm_cuda_device *d, const nlm_exec_v1 *x, const nlm_cuda_stream *s,
                           const nlm_cuda_work *work) {
    const uint32_t fault = s->recording ? s->recording->fault : s->fault;
    nlm_cuda_run run = {
        .fault = (nlm_cuda_fault *)(uintptr_t)(d->faults_address + fault * sizeof(nlm_cuda_fault)),
        .workspace = x->workspace,
        .max_context = x->max_context,
        .op = work->op,
        .first_row = work->first_row,
        .n_rows = work->n_rows,
    };
    for (int kind = 0; kind < NLM_ROWS_KINDS; kind++) {
        run.live_rows[kind] = kind != NLM_ROWS_FIXED && x->live_rows ? x->live_rows[kind] : INT64_MAX;
    }
    if (!x->live_rows) run.live_rows_device = x->live_rows_device;
    return run;
}

static unsigned write_attributes(const nlm_cuda_device *d, const nlm_cuda_work *work, CUlaunchAttribute *out) {
    unsigned n = 0;
    if (work->cluster > 0) {
        out[n] = (CUlaunchAttribute){.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION};
        out[n].value.clusterDim.x = (unsigned)work->cluster;
        out[n].value.clusterDim.y = out[n].value.clusterDim.z = 1;
        n++;
    }
    if (d->has_early_launch && work->is_early) {
        out[n] = (CUlaunchAttribute){.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION};
        out[n].value.programmaticStreamSerializationAllowed = 1;
        n++;
    }
    return n;
}

static nlm_status enqueue(nlm_cuda_device *d, const nlm_exec_v1 *x, const nlm_cuda_work *work, CUfunction function) {
    _Alignas(16) char parameters[PARAMETER_BYTES];
    nlm_error *error = x->error;
    nlm_cuda_stream *s = x->stream;
    nlm_cuda_run run = run_of(d, x, s, work);
    void *both[] = {&run, parameters};
    nlm_cuda_step step;
    CUlaunchAttribute attributes[2];
    const CUlaunchConfig config = {
        .gridDimX = (unsigned)work->grid[0],
        .gridDimY = work->grid[1] ? (unsigned)work->grid[1] : 1,
        .gridDimZ = work->grid[2] ? (unsigned)work->grid[2] : 1,
        .blockDimX = (unsigned)work->threads,
        .blockDimY = 1,
        .blockDimZ = 1,
        .sharedMemBytes = (unsigned)work->shared_bytes,
        .hStream = s->stream,
        .attrs = attributes,
        .numAttrs = write_attributes(d, work, attributes),
    };
    if (work->parameters) {
        step = *work->parameters;
        both[1] = &step;
    } else {
        write_parameters(nlm_op_spec_of(work->op), work->args, parameters);
    }
    NLM_CUDA_TRY(cuLaunchKernelEx, &config, function, both, NULL);
    s->is_busy = true;
    return NLM_OK;
}

nlm_status nlm_cuda_launch(const nlm_exec_v1 *x, const nlm_cuda_work *work) {
    nlm_cuda_device *d = x->device;
    nlm_error *error = x->error;
    CUfunction function;
    if (work->grid[0] == 0) return NLM_OK;
    NLM_CUDA_IN(d);
    NLM_KIT_TRY(nlm_cuda_find(d, &work->kernel, !(x->flags & NLM_EXEC_RECORDING), &function, error));
    if (!x->stream) {
        if (work->shared_bytes > 48 << 10) {
            NLM_CUDA_TRY(cuFuncSetAttribute, function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                         work->shared_bytes);
        }
        return NLM_OK;
    }
    return enqueue(d, x, work, function);
}
