/* Cases on a device with a stream: uploaded, enqueued, brought back. */
#include "stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "exec/dispatch.h"

#define MIN_MARGIN 256u /* bytes before and after a block; a multiple of the device's alignment */
#define POISON     0xff

/* A block in device memory. */
typedef struct mirror {
    uint64_t buffer;
    char *address; /* of the margin before the data */
    uint64_t bytes;
    uint8_t *staging; /* [bytes] */
    bool is_allocated;
} mirror;

struct loose;

typedef struct run {
    const conform_stream_job *job;
    const nlm_device *device;
    mirror *mirrors; /* [n_blocks]; NULL: the device uses the host's memory */
    uint8_t **saved; /* [n_blocks] contents before the op, of blocks that are written, in the host's memory */
    uint64_t margin;
    uint64_t counts_buffer;
    void *counts_address;           /* of the live rows in the memory that tensors are in */
    int32_t counts[NLM_ROWS_KINDS]; /* they, in the host's memory */
    struct loose *loose;
    bool has_idle; /* a launch without live rows makes sense */
    conform_result *result;
} run;

static bool fail_device(const run *r, const char *call, const char *block, nlm_status status, const nlm_error *err) {
    return conform_fail(r->result, "%s of %s: %s", call, block, err->msg[0] ? err->msg : nlm_status_text(status));
}

/* ---- to the device ---- */

static bool open_mirror(const run *r, int index) {
    const guard_block *block = &r->job->blocks[index];
    const nlm_device_v1 *api = &r->device->api;
    mirror *m = &r->mirrors[index];
    void *address = NULL;
    nlm_error err = NLM_ERROR_INIT;
    m->bytes = block->bytes + 2 * r->margin;
    m->staging = malloc(m->bytes);
    if (!m->staging) return conform_fail(r->result, "no memory for a case");
    const nlm_status status = api->buffer_alloc(api->self, m->bytes, &m->buffer, &address, &err);
    if (status != NLM_OK) return fail_device(r, "buffer_alloc", block->name, status, &err);
    m->is_allocated = true;
    m->address = address;
    return true;
}

static bool open_mirrors(run *r) {
    const nlm_device_v1 *api = &r->device->api;
    nlm_error err = NLM_ERROR_INIT;
    r->result->was_unguarded = true;
    r->mirrors = calloc((size_t)r->job->n_blocks, sizeof *r->mirrors);
    if (!r->mirrors) return conform_fail(r->result, "no memory for a case");
    const uint64_t alignment = r->device->info.alignment_bytes;
    r->margin = alignment > MIN_MARGIN ? alignment : MIN_MARGIN;
    for (int i = 0; i < r->job->n_blocks; i++) {
        if (r->job->blocks[i].map && !open_mirror(r, i)) return false;
    }
    const nlm_status status =
        api->buffer_alloc(api->self, sizeof r->counts, &r->counts_buffer, &r->counts_address, &err);
    return status == NLM_OK || fail_device(r, "buffer_alloc", "the live rows", status, &err);
}

/* On a device that uses the host's memory: what a second launch has to begin with. */
static bool open_shared(run *r) {
    r->counts_address = r->counts;
    r->has_idle = false;
    r->saved = calloc((size_t)r->job->n_blocks, sizeof *r->saved);
    if (!r->saved) return conform_fail(r->result, "no memory for a case");
    for (int i = 0; i < r->job->n_descs; i++) {
        const guard_block *block = &r->job->blocks[i];
        if (!block->map || block->is_protected) continue;
        r->saved[i] = malloc(block->bytes + 1);
        if (!r->saved[i]) return conform_fail(r->result, "no memory for a case");
        memcpy(r->saved[i], block->data, block->bytes);
    }
    return true;
}

/* What a block holds before a run; idle: before one without live rows, where padding may be anything. */
static void fill_staging(const run *r, int index, bool is_idle) {
    const guard_block *block = &r->job->blocks[index];
    const mirror *m = &r->mirrors[index];
    uint8_t *data = m->staging + r->margin;
    memset(m->staging, POISON, m->bytes);
    if (block->bytes == 0 || index >= r->job->n_descs) return; /* workspace and scratch begin with nothing */
    const conform_content content = is_idle ? r->job->contents[index] : CONFORM_CONTENT_WHOLE;
    if (content == CONFORM_CONTENT_WHOLE || content == CONFORM_CONTENT_SUM) memcpy(data, block->data, block->bytes);
    if (content == CONFORM_CONTENT_STARTS) memset(data, 0, block->bytes);
}

static nlm_status set_contents(run *r, bool is_idle, nlm_error *err) {
    const nlm_device_v1 *api = &r->device->api;
    memset(r->counts, 0, sizeof r->counts);
    if (!is_idle) memcpy(r->counts, r->job->call->live_rows, sizeof r->counts);
    for (int i = 0; r->saved && i < r->job->n_descs; i++) {
        if (r->saved[i]) memcpy(r->job->blocks[i].data, r->saved[i], r->job->blocks[i].bytes);
    }
    if (!r->mirrors) return NLM_OK;
    for (int i = 0; i < r->job->n_blocks; i++) {
        const mirror *m = &r->mirrors[i];
        if (!m->is_allocated) continue;
        fill_staging(r, i, is_idle);
        NLM_TRY(api->upload(api->self, NULL, m->buffer, 0, m->staging, m->bytes, err));
    }
    return api->upload(api->self, NULL, r->counts_buffer, 0, r->counts, sizeof r->counts, err);
}

/* The device's address of a host pointer into a block; NULL, with no buffer, for NULL. */
static void *to_device(const run *r, const void *host, uint64_t *out_buffer) {
    const uint8_t *pointer = host;
    *out_buffer = 0;
    for (int i = 0; pointer && i < r->job->n_blocks; i++) {
        const guard_block *block = &r->job->blocks[i];
        if (!block->map || pointer < block->data || pointer > block->data + block->bytes) continue;
        *out_buffer = r->mirrors[i].buffer;
        return r->mirrors[i].address + r->margin + (pointer - block->data);
    }
    return NULL;
}

/* ---- and back ---- */

static bool is_poison(const uint8_t *from, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes; i++) {
        if (from[i] != POISON) return false;
    }
    return true;
}

static bool check_mirror(const run *r, const guard_block *block, const mirror *m) {
    const uint8_t *data = m->staging + r->margin;
    if (!is_poison(m->staging, r->margin) || !is_poison(data + block->bytes, r->margin)) {
        return conform_fail(r->result, "writes beside %s", block->name);
    }
    for (uint64_t i = 0; block->is_protected && i < block->bytes; i++) {
        if (data[i] == block->data[i]) continue;
        return conform_fail(r->result, "writes to %s, which is only read, at byte %llu", block->name,
                            (unsigned long long)i);
    }
    return true;
}

static nlm_status fetch(const run *r, int index, nlm_error *err) {
    const nlm_device_v1 *api = &r->device->api;
    const mirror *m = &r->mirrors[index];
    return api->download(api->self, NULL, m->buffer, 0, m->staging, m->bytes, err);
}

/* With no live row, states and caches are as they were. */
static nlm_status check_idle(const run *r, nlm_error *err) {
    for (int i = 0; i < r->job->n_descs; i++) {
        const guard_block *block = &r->job->blocks[i];
        if (!r->mirrors[i].is_allocated || r->job->contents[i] != CONFORM_CONTENT_WHOLE) continue;
        NLM_TRY(fetch(r, i, err));
        if (block->bytes == 0 || memcmp(r->mirrors[i].staging + r->margin, block->data, block->bytes) == 0) continue;
        return nlm_fail(err, NLM_DEVICE_ERROR, "", "replayed with no live rows, it changes %s", block->name);
    }
    return NLM_OK;
}

static bool close_mirrors(const run *r) {
    for (int i = 0; i < r->job->n_blocks; i++) {
        const guard_block *block = &r->job->blocks[i];
        const mirror *m = &r->mirrors[i];
        nlm_error err = NLM_ERROR_INIT;
        if (!m->is_allocated) continue;
        const nlm_status status = fetch(r, i, &err);
        if (status != NLM_OK) return fail_device(r, "download", block->name, status, &err);
        if (!check_mirror(r, block, m)) return false;
        if (block->bytes && !block->is_protected) memcpy(block->data, m->staging + r->margin, block->bytes);
    }
    return true;
}

static void release(const run *r) {
    const nlm_device_v1 *api = &r->device->api;
    for (int i = 0; r->mirrors && i < r->job->n_blocks; i++) {
        if (r->mirrors[i].is_allocated) api->buffer_free(api->self, r->mirrors[i].buffer);
        free(r->mirrors[i].staging);
    }
    for (int i = 0; r->saved && i < r->job->n_blocks; i++) free(r->saved[i]);
    if (r->counts_buffer) api->buffer_free(api->self, r->counts_buffer);
    free(r->mirrors);
    free(r->saved);
}

/* ---- the call ---- */

/* All that a slot's pointers lead to, which is gone when it has returned. */
typedef struct loose {
    nlm_exec_v1 x;
    nlm_any_args args;
    nlm_tensor descs[NLM_OP_MAX_FIELDS];
    int32_t live[NLM_ROWS_KINDS];
} loose;

/* The tensors and memory as the device sees them. */
static void fill_loose(const run *r, loose *l) {
    const conform_stream_job *job = r->job;
    const nlm_op_spec *spec = nlm_op_spec_of(job->call->op);
    uint64_t buffer;
    l->args = *job->call->args;
    memcpy(l->live, job->call->live_rows, sizeof l->live);
    for (int i = 0; i < job->n_descs; i++) {
        l->descs[i] = job->descs[i];
        if (r->mirrors) l->descs[i].data = to_device(r, job->descs[i].data, &l->descs[i].buffer);
    }
    for (uint32_t f = 0; f < spec->n_fields; f++) {
        const nlm_tensor *desc = nlm_args_tensor(job->call->args, &spec->fields[f]);
        if (desc) nlm_args_set_tensor(&l->args, &spec->fields[f], &l->descs[desc - job->descs]);
    }
    l->x = (nlm_exec_v1){.struct_size = sizeof l->x,
                         .nth = 1,
                         .device = r->device->api.self,
                         .workspace = job->call->workspace,
                         .workspace_bytes = job->call->workspace_bytes,
                         .scratch = job->call->scratch[0],
                         .scratch_bytes = job->call->scratch_bytes,
                         .live_rows_device = r->counts_address,
                         .live_rows_buffer = r->counts_buffer,
                         .max_context = job->call->max_context};
    if (!r->mirrors) return;
    l->x.workspace = to_device(r, job->call->workspace, &buffer);
    l->x.scratch = to_device(r, job->call->scratch[0], &buffer);
}

/* Calls the slot; `flags` as in nlm_exec_v1. */
static nlm_status call_slot(const run *r, void *stream, uint32_t flags, nlm_error *err) {
    loose *l = r->loose;
    fill_loose(r, l);
    l->x.flags = flags;
    l->x.stream = stream;
    l->x.live_rows = flags & NLM_EXEC_RECORDING ? NULL : l->live;
    l->x.error = err;
    const nlm_status status = nlm_dispatch(r->device, r->job->call->op, &l->x, &l->args);
    memset(l, 0, sizeof *l);
    return status;
}

/* The error of a sync is told once: the stream is usable afterwards, unless the device is lost. */
static nlm_status wait_twice(const run *r, void *stream, nlm_error *err) {
    const nlm_device_v1 *api = &r->device->api;
    nlm_error again = NLM_ERROR_INIT;
    const nlm_status status = api->sync(api->self, stream, err);
    if (status == NLM_OK || status == NLM_DEVICE_LOST || api->sync(api->self, stream, &again) == NLM_OK)
        return status;
    return nlm_fail(err, NLM_DEVICE_ERROR, "", "a second sync still tells the error of the first: %.300s", again.msg);
}

/* An error of the work itself comes with the sync. */
static nlm_status call_and_wait(const run *r, void *stream, nlm_error *err) {
    nlm_error late = NLM_ERROR_INIT;
    const nlm_status status = call_slot(r, stream, 0, err), waited = wait_twice(r, stream, &late);
    if (status != NLM_OK || waited == NLM_OK) return status;
    *err = late;
    return waited;
}

/* ---- recorded ---- */

static nlm_status record(const run *r, void *stream, void **out_recording, nlm_error *err) {
    const nlm_capture_v1 *capture = &r->device->capture;
    void *self = r->device->api.self;
    NLM_TRY(capture->begin(self, stream, err));
    nlm_status status = call_slot(r, stream, NLM_EXEC_RECORDING, err);
    if (status == NLM_OK) status = capture->end(self, stream, out_recording, err);
    if (status != NLM_OK) capture->abort(self, stream);
    return status == NLM_LIMIT ? NLM_UNSUPPORTED : status;
}

static nlm_status launch(const run *r, void *recording, void *stream, nlm_error *err) {
    NLM_TRY(r->device->capture.launch(r->device->api.self, recording, stream, err));
    return wait_twice(r, stream, err);
}

static nlm_status launch_idle(run *r, void *recording, void *stream, nlm_error *err) {
    const nlm_status status = launch(r, recording, stream, err);
    if (status != NLM_OK) {
        const nlm_error cause = *err;
        return nlm_fail(err, status, "", "replayed with no live rows: %.300s", cause.msg);
    }
    return check_idle(r, err);
}

static nlm_status record_and_launch(run *r, void *stream, nlm_error *err) {
    void *recording = NULL;
    NLM_TRY(set_contents(r, r->has_idle, err));
    NLM_TRY(record(r, stream, &recording, err));
    nlm_status status = r->has_idle ? launch_idle(r, recording, stream, err) : launch(r, recording, stream, err);
    if (status == NLM_OK) status = set_contents(r, false, err);
    if (status == NLM_OK) status = launch(r, recording, stream, err);
    r->device->capture.destroy(r->device->api.self, recording);
    return status;
}

/* ---- all of it ---- */

static nlm_status call_on_stream(run *r, nlm_error *err) {
    const nlm_device_v1 *api = &r->device->api;
    void *stream = NULL;
    NLM_TRY(api->stream_create(api->self, &stream, err));
    nlm_status status = r->job->is_recorded ? NLM_OK : set_contents(r, false, err);
    if (status == NLM_OK)
        status = r->job->is_recorded ? record_and_launch(r, stream, err) : call_and_wait(r, stream, err);
    api->stream_destroy(api->self, stream);
    return status;
}

bool conform_stream_run(const conform_stream_job *job, nlm_status *out_status, nlm_error *err,
                        conform_result *result) {
    loose called;
    run r = {.job = job, .device = job->call->device, .loose = &called, .result = result};
    for (int i = 0; i < job->n_descs; i++) r.has_idle = r.has_idle || job->contents[i] != CONFORM_CONTENT_WHOLE;
    bool is_sound = nlm_device_has_host_memory(r.device) ? open_shared(&r) : open_mirrors(&r);
    if (is_sound) {
        *out_status = call_on_stream(&r, err);
        /* What was recorded may have left the memory of an idle run. */
        const bool is_cut_short = *out_status == NLM_DEVICE_LOST || (job->is_recorded && *out_status != NLM_OK);
        is_sound = !r.mirrors || is_cut_short || close_mirrors(&r);
    }
    release(&r);
    return is_sound;
}
