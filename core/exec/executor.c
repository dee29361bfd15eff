/* Running a program: parallel regions for sliced devices, an in-order queue for a stream device. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "exec/dispatch.h"
#include "exec/program_impl.h"

#define WHERE "nlm_program_run"

/* ---- errors ---------------------------------------------------------------------------------- */

/* Completes a backend's message with where it happened. */
static nlm_status fail_step(const nlm_step *step, nlm_status told, const nlm_error *cause, nlm_error *err) {
    const nlm_status status = nlm_clean_status(told);
    const char *message = cause->msg[0] ? cause->msg : nlm_status_text(status);
    char layer[32] = "";
    if (step->layer >= 0) snprintf(layer, sizeof layer, ", layer %" PRId32, step->layer);
    nlm_fail(err, status, WHERE, "%s%s, on %s: %s", nlm_op_spec_of(step->op)->name, layer, step->device->backend,
             message);
    if (err) err->native_code = cause->native_code;
    return status;
}

static void clear_error(nlm_worker *worker) {
    worker->status = NLM_OK;
    worker->error.struct_size = (uint32_t)sizeof worker->error;
    worker->error.code = NLM_OK;
    worker->error.native_code = 0;
    worker->error.msg[0] = '\0';
}

/* A worker that gave up because another failed is not the reason. */
static bool is_better_reason(const nlm_worker *candidate, const nlm_worker *best) {
    if (candidate->status == NLM_OK) return false;
    if (!best) return true;
    const bool was_cancelled = candidate->status == NLM_CANCELLED;
    if (was_cancelled != (best->status == NLM_CANCELLED)) return !was_cancelled;
    return candidate->step < best->step;
}

/* ---- sliced segments --------------------------------------------------------------------------- */

static void profile_step(const nlm_program *program, const nlm_step *step, uint64_t ns) {
    const nlm_cost cost = nlm_step_cost(step, program->live_rows);
    nlm_profile_add(program->env.profile, step->op, step->layer, step->device->backend, ns, cost.bytes, cost.flop);
}

static bool run_step(const nlm_program *program, nlm_worker *worker, uint32_t index) {
    const nlm_step *step = &program->steps[index];
    worker->x.device = step->device->api.self;
    const nlm_status status = nlm_dispatch(step->device, step->op, &worker->x, &step->args);
    if (status == NLM_OK) return true;
    worker->status = status;
    worker->step = index;
    nlm_pool_break(program->env.pool);
    return false;
}

static void run_segment(void *user, uint32_t ith, uint32_t nth) {
    (void)nth;
    const nlm_program *program = user;
    nlm_worker *worker = &program->workers[ith];
    const uint32_t end = program->segment->first + program->segment->count;
    const bool is_profiled = program->env.profile != NULL;
    uint64_t start_ns = is_profiled ? nlm_clock_ns() : 0;
    for (uint32_t i = program->segment->first; i < end; i++) {
        if (!run_step(program, worker, i)) return;
        const bool is_last = i + 1 == end; /* the end of the region is a barrier */
        if (is_profiled || (program->steps[i].needs_barrier && !is_last)) {
            if (nlm_pool_barrier(program->env.pool, ith) != NLM_OK) return;
        }
        if (is_profiled && ith == 0) {
            const uint64_t now_ns = nlm_clock_ns();
            profile_step(program, &program->steps[i], now_ns - start_ns);
            start_ns = now_ns;
        }
    }
}

static nlm_status run_sliced(nlm_program *program, const nlm_item *item, nlm_error *err) {
    for (uint32_t i = 0; i < program->n_workers; i++) clear_error(&program->workers[i]);
    program->segment = item;
    nlm_pool_run(program->env.pool, run_segment, program);
    const nlm_worker *reason = NULL;
    for (uint32_t i = 0; i < program->n_workers; i++) {
        if (is_better_reason(&program->workers[i], reason)) reason = &program->workers[i];
    }
    if (!reason) return NLM_OK;
    return fail_step(&program->steps[reason->step], reason->status, &reason->error, err);
}

/* ---- the stream device ------------------------------------------------------------------------- */

static void *stream_of(const nlm_program *program) {
    return program->region ? program->region->stream : NULL;
}

/* An error of enqueued work surfaces here; which op it was the queue does not say. */
static nlm_status sync_stream(const nlm_program *program, nlm_error *err) {
    const nlm_device *device = program->stream_device;
    nlm_error cause = NLM_ERROR_INIT;
    const nlm_status status = nlm_clean_status(device->api.sync(device->api.self, stream_of(program), &cause));
    if (status == NLM_OK) return NLM_OK;
    nlm_fail(err, status, WHERE, "%s: %s", device->backend, cause.msg[0] ? cause.msg : nlm_status_text(status));
    if (err) err->native_code = cause.native_code;
    return status;
}

static nlm_status run_enqueued(nlm_program *program, const nlm_item *item, nlm_error *err) {
    nlm_worker *worker = &program->stream_worker;
    for (uint32_t i = item->first; i < item->first + item->count; i++) {
        const nlm_step *step = &program->steps[i];
        const uint64_t start_ns = program->env.profile ? nlm_clock_ns() : 0;
        clear_error(worker);
        const nlm_status status = nlm_dispatch(step->device, step->op, &worker->x, &step->args);
        if (status != NLM_OK) return fail_step(step, status, &worker->error, err);
        if (!program->env.profile) continue;
        NLM_TRY(sync_stream(program, err));
        profile_step(program, step, nlm_clock_ns() - start_ns);
    }
    return NLM_OK;
}

static nlm_status run_transfer(const nlm_program *program, const nlm_item *item, nlm_error *err) {
    const nlm_device_v1 *api = &program->stream_device->api;
    const uint64_t bytes = (uint64_t)nlm_rows_of(item->host, program->live_rows) * item->row_bytes;
    const nlm_device_region *region = program->region;
    if (bytes == 0) return NLM_OK;
    const bool is_upload = item->kind == NLM_ITEM_UPLOAD;
    const nlm_status status = is_upload ? api->upload(api->self, region->stream, region->buffer, item->device_offset,
                                                      item->host->data, bytes, err)
                                        : api->download(api->self, region->stream, region->buffer,
                                                        item->device_offset, item->host->data, bytes, err);
    return nlm_status_prefix(status, err, "%s of activations, on %s", is_upload ? "upload" : "download",
                             program->stream_device->backend);
}

/* The region may have grown for another program since the last run. */
static void bind_to_region(nlm_program *program) {
    const nlm_device_region *region = program->region;
    if (!region || program->generation == region->generation) return;
    for (uint32_t i = 0; i < program->n_rebinds; i++) {
        program->rebinds[i].tensor->data = region->address + program->rebinds[i].offset;
        program->rebinds[i].tensor->buffer = region->buffer;
    }
    program->stream_worker.x.workspace = region->address + program->device_workspace_offset;
    program->stream_worker.x.scratch = region->address + program->device_scratch_offset;
    program->generation = region->generation;
}

/* ---- a run ----------------------------------------------------------------------------------- */

static nlm_status check_live_rows(const nlm_program *program, const int32_t *live_rows, nlm_error *err) {
    static const char *const names[NLM_ROWS_KINDS] = {"fixed rows", "tokens", "outputs", "sequences"};
    for (uint32_t kind = 1; live_rows && kind < NLM_ROWS_KINDS; kind++) {
        if (live_rows[kind] >= 0 && live_rows[kind] <= program->bucket_rows[kind]) continue;
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE,
                        "%" PRId32 " %s, but the program was planned for 0 to %" PRId32, live_rows[kind], names[kind],
                        program->bucket_rows[kind]);
    }
    return NLM_OK;
}

static nlm_status run_item(nlm_program *program, const nlm_item *item, nlm_error *err) {
    switch (item->kind) {
        case NLM_ITEM_SLICED: return run_sliced(program, item, err);
        case NLM_ITEM_STREAM: return run_enqueued(program, item, err);
        case NLM_ITEM_UPLOAD:
        case NLM_ITEM_DOWNLOAD: return run_transfer(program, item, err);
        case NLM_ITEM_SYNC: return sync_stream(program, err);
    }
    return NLM_INTERNAL;
}

nlm_status nlm_program_run(nlm_program *program, const int32_t *live_rows, nlm_error *err) {
    NLM_TRY(check_live_rows(program, live_rows, err));
    bind_to_region(program);
    program->live_rows = live_rows;
    for (uint32_t i = 0; i < program->n_workers; i++) program->workers[i].x.live_rows = live_rows;
    program->stream_worker.x.live_rows = live_rows;
    for (uint32_t i = 0; i < program->n_items; i++) {
        const nlm_status status = run_item(program, &program->items[i], err);
        if (status == NLM_OK) continue;
        /* The queue may still read or write host memory; its own error would only hide the first. */
        if (program->stream_device) sync_stream(program, NULL);
        return status;
    }
    return NLM_OK;
}
