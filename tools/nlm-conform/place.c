/* Lays a case out in guarded memory and runs it once. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/printable.h"
#include "base/status.h"
#include "conform.h"
#include "guard.h"
#include "oracle/oracle.h"
#include "stream.h"
#include "tensor/dtype.h"

#define SOURCE  (NLM_OP_MAX_FIELDS + CONFORM_THREADS + 1) /* of what is packed, while it is */
#define BLOCKS  (SOURCE + 1)
#define PACKERS 3

/* A case laid out in guarded memory for one run. */
typedef struct stage {
    spec_instance *in;
    const conform_plan *plan;
    const nlm_device *device;
    conform_pools *pools;
    nlm_any_args args;
    nlm_tensor descs[NLM_OP_MAX_FIELDS];
    int64_t first[NLM_OP_MAX_FIELDS]; /* offset in the image of where descs begin, bytes */
    guard_block blocks[BLOCKS];       /* of the tensors by index, then workspace, then scratch */
    conform_content contents[NLM_OP_MAX_FIELDS];
    int32_t live[NLM_ROWS_KINDS];
    int32_t starts[2];
} stage;

bool conform_fail(conform_result *result, const char *format, ...) {
    va_list args;
    result->verdict = CONFORM_FAILED;
    va_start(args, format);
    vsnprintf(result->message, sizeof result->message, format, args);
    va_end(args);
    nlm_make_printable(result->message, sizeof result->message); /* a plugin's own words may be in it */
    return false;
}

static bool is_whole(const conform_plan *plan) {
    return plan->sequence < 0 && plan->row_from == plan->row_to;
}

/* The part of a tensor that belongs to the plan's rows or sequence. */
static void cut(stage *s, int index) {
    const spec_tensor *t = &s->in->tensors[index];
    nlm_tensor *d = &s->descs[index];
    *d = t->desc;
    s->first[index] = 0;
    if (is_whole(s->plan)) return;
    int64_t from = 0, count = d->shape[0];
    if (t->rows == SPEC_ROWS_TOKENS) {
        from = s->plan->row_from;
        count = s->plan->row_to - from;
    } else if (t->rows == SPEC_ROWS_SEQS) {
        from = s->plan->sequence;
        count = 1;
    } else if (t->rows == SPEC_ROWS_STARTS) {
        count = 2;
    }
    d->shape[0] = count;
    s->first[index] = from * d->stride_bytes[0];
}

/* Bytes from the first to the last element of a tensor. */
static uint64_t span(const nlm_tensor *d) {
    const nlm_dtype_info *type = nlm_dtype_find(d->dtype);
    uint64_t bytes = type->block_bytes;
    for (int i = 0; i < d->rank; i++) {
        const int64_t steps = i == d->rank - 1 ? d->shape[i] / type->block_elements : d->shape[i];
        if (steps == 0) return 0;
        bytes += (uint64_t)((steps - 1) * d->stride_bytes[i]);
    }
    return bytes;
}

static bool is_written(const spec_instance *in, int index) {
    for (int i = 0; i < in->n_tensors; i++) {
        if ((i == index || in->tensors[i].shares == index) && in->tensors[i].is_written) return true;
    }
    return false;
}

static uint32_t layout_of(const stage *s, const nlm_op_field *field) {
    const int weight = nlm_weight_index(s->in->c.spec, field);
    return weight < 0 ? NLM_LAYOUT_ROW_MAJOR : s->plan->layouts[weight];
}

/* A weight that several threads pack at once. */
typedef struct packers {
    const nlm_device_v1 *api;
    const nlm_tensor *w;
    uint32_t layout, role;
    int64_t step; /* what a part's first row is a multiple of */
    void *packed;
    nlm_status statuses[PACKERS];
} packers;

static void pack_part(void *user, uint32_t ith, uint32_t nth) {
    packers *p = user;
    const int64_t rows = p->w->shape[0], steps = (rows + p->step - 1) / p->step;
    const int64_t from = steps * ith / nth * p->step, end = steps * (ith + 1) / nth * p->step;
    const int64_t to = end < rows ? end : rows;
    guard_watch_thread();
    p->statuses[ith] = NLM_OK;
    if (from < to) p->statuses[ith] = p->api->pack(p->api->self, p->w, p->layout, p->role, from, to, p->packed, NULL);
}

static bool pack_all(const stage *s, packers *p) {
    nlm_pool *pool;
    if (conform_pool(s->pools, PACKERS, &pool, NULL) != NLM_OK) return false;
    nlm_pool_run(pool, pack_part, p);
    for (int i = 0; i < PACKERS; i++) {
        if (p->statuses[i] != NLM_OK) return false;
    }
    return true;
}

/* A weight as the device wants it. */
static bool place_packed(stage *s, int index, uint32_t layout) {
    const nlm_device_v1 *api = &s->device->api;
    const spec_tensor *t = &s->in->tensors[index];
    const uint32_t role = t->field->role;
    guard_block *block = &s->blocks[index], *source = &s->blocks[SOURCE];
    nlm_tensor desc = t->desc;
    nlm_pack_info_v1 info = {.struct_size = sizeof info};
    if (!api->pack_size || !api->pack) return false;
    if (api->pack_size(api->self, &t->desc, layout, role, &info, NULL) != NLM_OK) return false;
    if (!guard_alloc(block, t->field->name, info.bytes, 64, s->plan->at_start)) return false;
    /* Weights of a file lie at any even address: the last byte stands right before the guard page. */
    if (!guard_alloc(source, t->field->name, span(&t->desc), 2, s->plan->at_start)) return false;
    if (source->bytes) memcpy(source->data, t->desc.data, source->bytes);
    guard_protect(source);
    desc.data = source->data;
    packers p = {.api = api,
                 .w = &desc,
                 .layout = layout,
                 .role = role,
                 .step = info.row_multiple > 0 ? info.row_multiple : 1,
                 .packed = block->data};
    if (!pack_all(s, &p)) return false;
    guard_free(source);
    s->descs[index].data = block->data;
    s->descs[index].layout = layout;
    guard_protect(block);
    return true;
}

static void load(stage *s, int index, const conform_images *images) {
    const spec_tensor *t = &s->in->tensors[index];
    const guard_block *block = &s->blocks[index];
    const uint8_t *from = images->data[index] ? images->data[index] : t->image;
    if (block->bytes) memcpy(block->data, from + s->first[index], block->bytes);
    if (t->rows == SPEC_ROWS_STARTS && !is_whole(s->plan)) memcpy(block->data, s->starts, sizeof s->starts);
}

static bool place_tensor(stage *s, int index, const conform_images *images) {
    spec_tensor *t = &s->in->tensors[index];
    const uint64_t alignment = s->device->info.alignment_bytes ? s->device->info.alignment_bytes : 64;
    guard_block *block = &s->blocks[index];
    cut(s, index);
    const uint32_t layout = layout_of(s, t->field);
    if (layout != NLM_LAYOUT_ROW_MAJOR) return place_packed(s, index, layout);
    if (t->shares >= 0) {
        s->descs[index].data = s->blocks[t->shares].data;
        return true;
    }
    if (!guard_alloc(block, t->field->name, span(&s->descs[index]), alignment, s->plan->at_start)) return false;
    load(s, index, images);
    s->descs[index].data = block->data;
    if (!is_written(s->in, index)) guard_protect(block);
    return true;
}

/* What rows of the batch may hold while none is live. */
static void tell_contents(stage *s) {
    static const conform_content by_rows[] = {[SPEC_ROWS_WHOLE] = CONFORM_CONTENT_WHOLE,
                                              [SPEC_ROWS_TOKENS] = CONFORM_CONTENT_ROWS,
                                              [SPEC_ROWS_SEQS] = CONFORM_CONTENT_ROWS,
                                              [SPEC_ROWS_STARTS] = CONFORM_CONTENT_STARTS};
    for (int i = 0; i < s->in->n_tensors && !s->in->c.is_fixed; i++) {
        const spec_tensor *t = &s->in->tensors[i];
        const bool is_replaced =
            t->is_sum && (t->field->use & NLM_FIELD_OUT) && !(s->in->c.args.head.flags & NLM_GRADIENT_ADD);
        s->contents[i] = is_replaced ? CONFORM_CONTENT_SUM : by_rows[t->rows];
    }
}

static bool place_all(stage *s, const conform_images *images) {
    memcpy(s->live, s->in->live, sizeof s->live);
    tell_contents(s);
    s->args = s->in->args;
    if (!is_whole(s->plan)) {
        const int64_t rows = s->plan->row_to - s->plan->row_from;
        s->live[NLM_ROWS_TOKENS] = (int32_t)rows;
        s->live[NLM_ROWS_SEQS] = 1;
        s->starts[1] = (int32_t)rows;
    }
    for (int i = 0; i < s->in->n_tensors; i++) {
        if (!place_tensor(s, i, images)) return false;
        nlm_args_set_tensor(&s->args, s->in->tensors[i].field, &s->descs[i]);
    }
    return true;
}

/* A bound of the positions in the batch, as a host rounds it up; 0: a position is a bad one, or there are none. */
static int64_t bound_positions(const stage *s) {
    int64_t bound = 0;
    for (int i = 0; i < s->in->n_tensors; i++) {
        const spec_tensor *t = &s->in->tensors[i];
        if (strcmp(t->field->name, "pos") != 0) continue;
        for (int64_t row = 0; row < s->in->live_rows; row++) {
            const int64_t pos = (int64_t)oracle_element(&t->desc, row);
            if (pos < 0) return 0;
            bound = pos + 1 > bound ? pos + 1 : bound;
        }
    }
    return (bound + 31) / 32 * 32;
}

/* Memory that an op may use but not rely on: bytes 0xFF, NaN as numbers. */
static bool place_spare(guard_block *block, const char *name, uint64_t bytes, bool at_start) {
    if (!guard_alloc(block, name, bytes, 64, at_start)) return false;
    memset(block->data, 0xFF, bytes);
    return true;
}

/* What query took, prepare does: once, before it runs, with nothing in the tensors yet. */
static bool prepare_op(const stage *s, conform_result *result) {
    const nlm_device_v1 *api = &s->device->api;
    nlm_any_args args = s->args;
    nlm_tensor descs[NLM_OP_MAX_FIELDS];
    nlm_error err = NLM_ERROR_INIT;
    if (!api->prepare) return true;
    for (int i = 0; i < s->in->n_tensors; i++) {
        descs[i] = s->descs[i];
        descs[i].data = NULL;
        nlm_args_set_tensor(&args, s->in->tensors[i].field, &descs[i]);
    }
    const nlm_status status = api->prepare(api->self, s->in->c.op, &args, s->plan->nth, &err);
    return status == NLM_OK || conform_fail(result, "query says yes, but prepare fails: %s",
                                            err.msg[0] ? err.msg : nlm_status_text(status));
}

/* Asks for what is really going to run, and gives exactly the memory that is asked for. */
static bool prepare_call(stage *s, conform_call *call, conform_outcome *outcome, conform_result *result) {
    const nlm_device *device = s->device;
    nlm_caps_v1 caps;
    if ((s->plan->is_as_held ? nlm_device_query_as_held : nlm_device_query)(device, s->in->c.op, &s->args,
                                                                            s->plan->nth, &caps) != NLM_OK) {
        outcome->is_refused = true;
        if (!is_whole(s->plan)) return true;
        return conform_fail(result, "supported when planned, but not with %u threads: %s", s->plan->nth, caps.reason);
    }
    *call = (conform_call){.device = device, .op = s->in->c.op, .args = &s->args, .live_rows = s->live};
    call->max_context = bound_positions(s);
    call->is_old_host = s->plan->is_old_host;
    if (!prepare_op(s, result)) return false;
    guard_block *block = &s->blocks[NLM_OP_MAX_FIELDS];
    if (caps.workspace_bytes) {
        if (!place_spare(block, "the workspace", caps.workspace_bytes, s->plan->at_start)) return false;
        call->workspace = block->data;
        call->workspace_bytes = caps.workspace_bytes;
    }
    for (uint32_t i = 0; caps.scratch_bytes && i < s->plan->nth; i++) {
        if (!place_spare(++block, "a worker's scratch", caps.scratch_bytes, s->plan->at_start)) return false;
        call->scratch[i] = block->data;
        call->scratch_bytes = caps.scratch_bytes;
    }
    return true;
}

static bool collect(stage *s, conform_images *images, conform_result *result) {
    for (int i = 0; i < BLOCKS; i++) {
        if (!s->blocks[i].map || guard_is_intact(&s->blocks[i])) continue;
        return conform_fail(result, "writes beside %s", s->blocks[i].name);
    }
    for (int i = 0; i < s->in->n_tensors; i++) {
        const guard_block *block = &s->blocks[i];
        if (block->bytes && images->data[i]) memcpy(images->data[i] + s->first[i], block->data, block->bytes);
    }
    return true;
}

/* Runs with zeros for activations, whatever comes of it, and puts back all but what the op has for itself. */
static void leave_other_numbers(stage *s, const conform_call *call, const conform_images *images) {
    nlm_error ignored = NLM_ERROR_INIT;
    for (int i = 0; i < s->in->n_tensors; i++) {
        guard_block *block = &s->blocks[i];
        const nlm_op_field *field = s->in->tensors[i].field;
        if (!block->bytes || field->types != NLM_TYPES_ACTIVATION || s->in->tensors[i].is_written) continue;
        guard_unprotect(block);
        memset(block->data, 0, block->bytes);
    }
    conform_drive(s->pools, call, s->plan->nth, &ignored);
    for (int i = 0; i < s->in->n_tensors; i++) {
        guard_block *block = &s->blocks[i];
        if (!block->bytes || s->descs[i].layout != NLM_LAYOUT_ROW_MAJOR) continue;
        guard_unprotect(block);
        load(s, i, images);
        if (!is_written(s->in, i)) guard_protect(block);
    }
}

static bool run_stage(stage *s, conform_call *call, const conform_images *images, conform_outcome *outcome,
                      conform_result *result) {
    nlm_error err = NLM_ERROR_INIT;
    if (nlm_device_is_sliced(s->device)) {
        if (s->plan->is_stale && call->workspace_bytes + call->scratch_bytes > 0)
            leave_other_numbers(s, call, images);
        outcome->status = conform_drive(s->pools, call, s->plan->nth, &err);
    } else {
        const conform_stream_job job = {.call = call,
                                        .descs = s->descs,
                                        .contents = s->contents,
                                        .n_descs = s->in->n_tensors,
                                        .blocks = s->blocks,
                                        .n_blocks = BLOCKS,
                                        .is_recorded = s->plan->is_recorded};
        if (!conform_stream_run(&job, &outcome->status, &err, result)) return false;
        outcome->is_refused = s->plan->is_recorded && outcome->status == NLM_UNSUPPORTED;
    }
    snprintf(result->message, sizeof result->message, "%s", err.msg);
    return true;
}

bool conform_place_and_run(conform_pools *pools, const nlm_device *device, spec_instance *in,
                           const conform_plan *plan, conform_images *images, conform_outcome *outcome,
                           conform_result *result) {
    *outcome = (conform_outcome){NLM_OK, false};
    conform_plan own = *plan;
    if (!nlm_device_is_sliced(device)) own.nth = 1; /* a stream device's slots are called once */
    stage s = {.in = in, .plan = &own, .device = device, .pools = pools};
    conform_call call;
    bool is_sound = place_all(&s, images) || conform_fail(result, "a tensor could not be placed or packed");
    is_sound = is_sound && prepare_call(&s, &call, outcome, result);
    if (is_sound && !outcome->is_refused) {
        is_sound = run_stage(&s, &call, images, outcome, result) && collect(&s, images, result);
    }
    for (int i = 0; i < BLOCKS; i++) guard_free(&s.blocks[i]);
    return is_sound;
}
