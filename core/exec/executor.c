/* Running a program: its items in order, and the parallel regions of sliced devices. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "exec/dispatch.h"
#include "exec/program_impl.h"

#define WHERE "nlm_program_run"

/* ---- errors ---------------------------------------------------------------------------------- */

nlm_status nlm_step_fail(const nlm_step *step, nlm_status told, const nlm_error *cause, nlm_error *err) {
    const nlm_status status = nlm_clean_status(told);
    const char *message = cause->msg[0] ? cause->msg : nlm_status_text(status);
    char layer[32] = "";
    if (step->layer >= 0) snprintf(layer, sizeof layer, ", layer %" PRId32, step->layer);
    nlm_fail(err, status, WHERE, "%s%s, on %s: %s", nlm_op_spec_of(step->op)->name, layer, step->device->backend,
             message);
    if (err) err->native_code = cause->native_code;
    return status;
}

void nlm_worker_clear(nlm_worker *worker) {
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

void nlm_step_profile(const nlm_program *program, const nlm_step *step, uint64_t ns) {
    const nlm_cost cost = nlm_step_cost(step, program->live_rows);
    nlm_profile_add(program->env.profile, step->op, step->layer, step->device->backend, ns, cost.bytes, cost.flop);
}

static bool run_step(const nlm_program *program, nlm_worker *worker, uint32_t index) {
    const nlm_step *step = &program->steps[index];
    worker->x.device = step->device->api.self;
    worker->op = program->segment_op + (index - program->segment->first);
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
        if (!nlm_step_is_idle(program, &program->steps[i]) && !run_step(program, worker, i)) return;
        const bool is_last = i + 1 == end; /* the end of the region is a barrier */
        if (is_profiled || (program->steps[i].needs_barrier && !is_last)) {
            if (nlm_pool_barrier(program->env.pool, ith) != NLM_OK) return;
        }
        if (is_profiled && ith == 0 && !nlm_step_is_idle(program, &program->steps[i])) {
            const uint64_t now_ns = nlm_clock_ns();
            nlm_step_profile(program, &program->steps[i], now_ns - start_ns);
            start_ns = now_ns;
        }
    }
}

static nlm_status run_sliced(nlm_program *program, const nlm_item *item, nlm_error *err) {
    for (uint32_t i = 0; i < program->n_workers; i++) nlm_worker_clear(&program->workers[i]);
    program->segment_op = nlm_pool_count_ops(program->env.pool, item->count);
    program->segment = item;
    nlm_pool_run(program->env.pool, run_segment, program);
    const nlm_worker *reason = NULL;
    for (uint32_t i = 0; i < program->n_workers; i++) {
        if (is_better_reason(&program->workers[i], reason)) reason = &program->workers[i];
    }
    if (!reason) return NLM_OK;
    return nlm_step_fail(&program->steps[reason->step], reason->status, &reason->error, err);
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

static nlm_program_output_info *find_output(nlm_program *program, int32_t value) {
    for (uint32_t i = 0; i < program->n_outputs; i++) {
        if (program->outputs[i].value == value) return &program->outputs[i];
    }
    return NULL;
}

static nlm_status fail_output(int32_t value, const char *why, nlm_error *err) {
    return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "value %" PRId32 " %s", value, why);
}

/* Which outputs this run computes and brings to the host. */
static nlm_status choose_outputs(nlm_program *program, const nlm_run_info *info, nlm_error *err) {
    for (uint32_t i = 0; i < program->n_outputs; i++) {
        program->outputs[i].is_wanted = !info->picks_outputs;
        program->outputs[i].is_computed = false;
        if (program->outputs[i].item != NLM_NO_ITEM) program->is_wanted[program->outputs[i].item] = false;
    }
    for (uint32_t i = 0; info->picks_outputs && i < info->n_outputs; i++) {
        nlm_program_output_info *output = find_output(program, info->outputs[i]);
        if (!output) return fail_output(info->outputs[i], "is no output of the program", err);
        output->is_wanted = true;
    }
    for (uint32_t i = 0; i < program->n_outputs; i++) {
        const nlm_program_output_info *output = &program->outputs[i];
        if (output->is_wanted && output->item != NLM_NO_ITEM) program->is_wanted[output->item] = true;
    }
    return NLM_OK;
}

static uint32_t context_bucket(int64_t max_context) {
    uint32_t bucket = 0;
    while (nlm_context_bound(bucket) < max_context && bucket + 1 < NLM_CONTEXT_BUCKETS) bucket++;
    return bucket;
}

/* What the ops are told. */
static void begin_run(nlm_program *program, const nlm_run_info *info) {
    if (info->live_rows) memcpy(program->counts, info->live_rows, sizeof program->counts);
    const int32_t *live_rows = info->live_rows ? program->counts : NULL;
    program->live_rows = live_rows;
    program->times = info->times ? info->times : 1;
    program->context_bucket = context_bucket(info->max_context);
    const int64_t max_context = nlm_context_bound(program->context_bucket);
    for (uint32_t i = 0; i < program->n_workers; i++) {
        program->workers[i].x.live_rows = live_rows;
        program->workers[i].x.max_context = max_context;
    }
    memcpy(program->input_memory, live_rows ? live_rows : program->bucket_rows, sizeof program->bucket_rows);
    nlm_queues_begin(program);
}

static nlm_status run_item(nlm_program *program, uint32_t index, nlm_error *err) {
    const nlm_item *item = &program->items[index];
    switch (item->kind) {
        case NLM_ITEM_SLICED: return run_sliced(program, item, err);
        case NLM_ITEM_STREAM: return nlm_queue_run(program, index, err);
        case NLM_ITEM_TRANSFER:
            if (item->transfer.is_optional && !(program->is_wanted[index] && program->is_last)) return NLM_OK;
            return nlm_queue_transfer(program, item, err);
        case NLM_ITEM_ORDER: return nlm_queue_order(program, item, err);
        case NLM_ITEM_WAIT: return nlm_queues_sync(program, err);
        case NLM_ITEM_PAUSE: return NLM_OK;
        case NLM_ITEM_SUM: return nlm_comm_run(program, item, err);
    }
    return NLM_INTERNAL;
}

/* From item `from` on. */
static nlm_status run_items(nlm_program *program, uint32_t from, bool pauses, nlm_error *err) {
    program->resume_at = 0;
    for (uint32_t i = from; i < program->n_items; i++) {
        if (pauses && program->items[i].kind == NLM_ITEM_PAUSE) {
            program->resume_at = i + 1;
            return NLM_OK;
        }
        NLM_TRY(run_item(program, i, err));
    }
    return NLM_OK;
}

static nlm_status check_times(const nlm_program *program, const nlm_run_info *info, nlm_error *err) {
    if (info->times <= 1 || (nlm_program_can_repeat(program) && !info->pauses)) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "%u runs in a row of a program that cannot be repeated",
                    info->times);
}

static nlm_status submit(nlm_program *program, const nlm_run_info *info, nlm_error *err) {
    NLM_TRY(check_live_rows(program, info->live_rows, err));
    NLM_TRY(check_times(program, info, err));
    NLM_TRY(choose_outputs(program, info, err));
    begin_run(program, info);
    NLM_TRY(nlm_inputs_send(program, err));
    for (uint32_t left = program->times; left > 0; left--) {
        program->is_last = left == 1;
        NLM_TRY(run_items(program, 0, info->pauses, err));
    }
    return nlm_inputs_bring(program, err);
}

static nlm_status resume(nlm_program *program, const nlm_run_info *info, nlm_error *err) {
    NLM_TRY(choose_outputs(program, info, err));
    program->times = 1;
    program->is_last = true;
    NLM_TRY(nlm_inputs_send(program, err));
    return run_items(program, program->resume_at, false, err);
}

/* Queues may still read or write host memory; their own errors would only hide the first. */
static void end_failed_run(nlm_program *program) {
    nlm_comm_fail(program);
    (void)nlm_queues_sync(program, NULL);
    program->is_sent = false;
    program->resume_at = 0;
}

static nlm_status begin(nlm_program *program, const nlm_run_info *info,
                        nlm_status (*how)(nlm_program *program, const nlm_run_info *info, nlm_error *err),
                        nlm_error *err) {
    static const nlm_run_info all = {0};
    const nlm_status status = how(program, info ? info : &all, err);
    program->is_running = status == NLM_OK;
    if (status != NLM_OK) end_failed_run(program);
    return status;
}

nlm_status nlm_program_submit(nlm_program *program, const nlm_run_info *info, nlm_error *err) {
    if (program->is_running) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_program_submit", "the last run was not waited for");
    }
    return begin(program, info, submit, err);
}

nlm_status nlm_program_resume(nlm_program *program, const nlm_run_info *info, nlm_error *err) {
    if (program->is_running || program->resume_at == 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_program_resume", "the last run has not paused");
    }
    NLM_TRY(begin(program, info, resume, err));
    return nlm_program_wait(program, err);
}

nlm_status nlm_program_wait(nlm_program *program, nlm_error *err) {
    if (!program->is_running) return NLM_OK;
    program->is_running = false;
    const nlm_status status = nlm_queues_finish(program, err);
    if (status != NLM_OK) end_failed_run(program);
    for (uint32_t i = 0; i < program->n_outputs; i++) {
        nlm_program_output_info *output = &program->outputs[i];
        const bool is_over = status == NLM_OK && program->resume_at == 0;
        output->is_computed = is_over && (output->is_wanted || !output->is_lazy);
    }
    return status;
}

nlm_status nlm_program_run(nlm_program *program, const nlm_run_info *info, nlm_error *err) {
    NLM_TRY(nlm_program_submit(program, info, err));
    return nlm_program_wait(program, err);
}

nlm_status nlm_program_fetch(nlm_program *program, int32_t value, const void **out, nlm_error *err) {
    nlm_program_output_info *output = find_output(program, value);
    if (!output) return fail_output(value, "is no output of the program", err);
    if (!output->is_computed || program->is_running) {
        return fail_output(value, "is no result of a run that is over", err);
    }
    *out = output->host->data;
    if (output->is_wanted || output->item == NLM_NO_ITEM) return NLM_OK;
    NLM_TRY(nlm_queue_transfer(program, &program->items[output->item], err));
    NLM_TRY(nlm_queues_sync(program, err));
    output->is_wanted = true;
    return NLM_OK;
}
