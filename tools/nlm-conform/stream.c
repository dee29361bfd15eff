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

typedef struct run {
    const conform_stream_job *job;
    const nlm_device *device;
    mirror *mirrors; /* [n_blocks]; NULL: the device uses the host's memory */
    uint64_t margin;
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
    memset(m->staging, POISON, m->bytes);
    /* workspace and scratch, which follow the tensors, begin with nothing */
    if (block->bytes && index < r->job->n_descs) memcpy(m->staging + r->margin, block->data, block->bytes);
    nlm_status status = api->buffer_alloc(api->self, m->bytes, &m->buffer, &address, &err);
    if (status != NLM_OK) return fail_device(r, "buffer_alloc", block->name, status, &err);
    m->is_allocated = true;
    m->address = address;
    status = api->upload(api->self, NULL, m->buffer, 0, m->staging, m->bytes, &err);
    return status == NLM_OK || fail_device(r, "upload", block->name, status, &err);
}

static bool open_mirrors(run *r) {
    r->mirrors = calloc((size_t)r->job->n_blocks, sizeof *r->mirrors);
    if (!r->mirrors) return conform_fail(r->result, "no memory for a case");
    const uint64_t alignment = r->device->info.alignment_bytes;
    r->margin = alignment > MIN_MARGIN ? alignment : MIN_MARGIN;
    for (int i = 0; i < r->job->n_blocks; i++) {
        if (r->job->blocks[i].map && !open_mirror(r, i)) return false;
    }
    return true;
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
    if (block->bytes && !block->is_protected) memcpy(block->data, data, block->bytes);
    return true;
}

static bool close_mirrors(const run *r) {
    const nlm_device_v1 *api = &r->device->api;
    for (int i = 0; i < r->job->n_blocks; i++) {
        const guard_block *block = &r->job->blocks[i];
        const mirror *m = &r->mirrors[i];
        nlm_error err = NLM_ERROR_INIT;
        if (!m->is_allocated) continue;
        const nlm_status status = api->download(api->self, NULL, m->buffer, 0, m->staging, m->bytes, &err);
        if (status != NLM_OK) return fail_device(r, "download", block->name, status, &err);
        if (!check_mirror(r, block, m)) return false;
    }
    return true;
}

static void release(const run *r) {
    const nlm_device_v1 *api = &r->device->api;
    for (int i = 0; r->mirrors && i < r->job->n_blocks; i++) {
        if (r->mirrors[i].is_allocated) api->buffer_free(api->self, r->mirrors[i].buffer);
        free(r->mirrors[i].staging);
    }
    free(r->mirrors);
}

/* ---- the call ---- */

static nlm_status enqueue(const run *r, void *stream, nlm_error *err) {
    const conform_call *call = r->job->call;
    uint64_t buffer;
    nlm_exec_v1 x = {.struct_size = sizeof x,
                     .nth = 1,
                     .device = r->device->api.self,
                     .stream = stream,
                     .workspace = call->workspace,
                     .workspace_bytes = call->workspace_bytes,
                     .scratch = call->scratch[0],
                     .scratch_bytes = call->scratch_bytes,
                     .live_rows = call->live_rows,
                     .error = err};
    if (r->mirrors) {
        x.workspace = to_device(r, call->workspace, &buffer);
        x.scratch = to_device(r, call->scratch[0], &buffer);
    }
    return nlm_dispatch(r->device, call->op, &x, call->args);
}

/* An error of the work itself comes with the sync. */
static nlm_status call_and_wait(const run *r, nlm_error *err) {
    const nlm_device_v1 *api = &r->device->api;
    void *stream = NULL;
    NLM_TRY(api->stream_create(api->self, &stream, err));
    nlm_status status = enqueue(r, stream, err);
    nlm_error late = NLM_ERROR_INIT;
    const nlm_status waited = api->sync(api->self, stream, &late);
    if (status == NLM_OK && waited != NLM_OK) {
        status = waited;
        *err = late;
    }
    api->stream_destroy(api->self, stream);
    return status;
}

static nlm_status call_on_device(const run *r, nlm_error *err) {
    const conform_stream_job *job = r->job;
    nlm_tensor host[NLM_OP_MAX_FIELDS];
    for (int i = 0; i < job->n_descs; i++) {
        host[i] = job->descs[i];
        job->descs[i].data = to_device(r, host[i].data, &job->descs[i].buffer);
    }
    const nlm_status status = call_and_wait(r, err);
    for (int i = 0; i < job->n_descs; i++) job->descs[i] = host[i];
    return status;
}

bool conform_stream_run(const conform_stream_job *job, nlm_status *out_status, nlm_error *err,
                        conform_result *result) {
    run r = {.job = job, .device = job->call->device, .result = result};
    if (nlm_device_has_host_memory(r.device)) {
        *out_status = call_and_wait(&r, err);
        return true;
    }
    result->was_unguarded = true;
    bool is_sound = open_mirrors(&r);
    if (is_sound) {
        *out_status = call_on_device(&r, err);
        is_sound = close_mirrors(&r);
    }
    release(&r);
    return is_sound;
}
