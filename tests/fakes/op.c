/* An op: what is answered of it, its call, and its doing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"

/* A copy of the arguments, tensors and all, into `out` and `tensors`. */
static void copy_args(nlm_op op, const void *args, nlm_any_args *out, nlm_tensor *tensors) {
    const nlm_op_spec *spec = nlm_op_spec_of(op);
    memcpy(out, args, spec->args_bytes);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_tensor *tensor = nlm_args_tensor(out, &spec->fields[i]);
        if (!tensor) continue;
        tensors[i] = *tensor;
        nlm_args_set_tensor(out, &spec->fields[i], &tensors[i]);
    }
}

/* ---- before a run ---- */

static nlm_status refuse(nlm_caps_v1 *out, const char *why, const char *what) {
    snprintf(out->reason, sizeof out->reason, "%s%s", why, what);
    return NLM_UNSUPPORTED;
}

nlm_status fake_query(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out) {
    const fake_device *device = self;
    nlm_any_args plain;
    nlm_tensor tensors[NLM_OP_MAX_FIELDS] = {{0}};
    uint32_t args_bytes;
    (void)nth;
    if (op < 1 || op >= NLM_OP_END) return refuse(out, "not an op it knows", "");
    const nlm_op_spec *spec = nlm_op_spec_of(op);
    if (fake_is_listed(device->refuse, spec->name)) return refuse(out, "told to refuse ", spec->name);
    memcpy(&args_bytes, args, sizeof args_bytes);
    if (args_bytes < spec->args_bytes) return refuse(out, "the arguments are cut short", "");
    copy_args(op, args, &plain, tensors);
    for (uint32_t i = 0; op == NLM_OP_matmul && i < spec->n_fields; i++) {
        if (tensors[i].layout == FAKE_REVERSED) tensors[i].layout = NLM_LAYOUT_ROW_MAJOR; /* but for a stride */
    }
    if (!fake_widen_all(device, op, &plain, tensors))
        return refuse(out, "activations of a type it does not take", "");
    const nlm_status status = device->scalar->query(device->scalar->self, op, &plain, 1, out);
    if (status == NLM_OK && op == NLM_OP_matmul && device->wants_packed) out->weight_layout[0] = FAKE_REVERSED;
    return status;
}

static uint64_t hash(uint64_t sum, const void *bytes, size_t count) { /* FNV-1a */
    for (const uint8_t *at = bytes, *end = at + count; at < end; at++) sum = (sum ^ *at) * UINT64_C(0x100000001b3);
    return sum;
}

/* Of all that kernels may be chosen by: neither addresses nor contents. */
static uint64_t hash_args(nlm_op op, const nlm_any_args *args) {
    const nlm_op_spec *spec = nlm_op_spec_of(op);
    nlm_any_args plain;
    nlm_tensor tensors[NLM_OP_MAX_FIELDS] = {{0}};
    copy_args(op, args, &plain, tensors);
    uint64_t sum = hash(UINT64_C(0xcbf29ce484222325), &op, sizeof op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const bool is_there = nlm_args_tensor(&plain, &spec->fields[i]) != NULL;
        nlm_args_set_tensor(&plain, &spec->fields[i], is_there ? (const nlm_tensor *)1 : NULL);
        tensors[i].data = NULL;
        tensors[i].buffer = 0;
        if (tensors[i].layout != NLM_LAYOUT_ROW_MAJOR)
            memset(tensors[i].stride_bytes, 0, sizeof tensors[i].stride_bytes);
        sum = hash(sum, &tensors[i], sizeof tensors[i]);
    }
    return hash(sum, &plain, spec->args_bytes);
}

static bool is_prepared(const fake_device *device, uint64_t key) {
    for (size_t i = 0; i < device->n_prepared; i++) {
        if (device->prepared[i] == key) return true;
    }
    return false;
}

nlm_status fake_prepare(void *self, nlm_op op, const void *args, uint32_t nth, nlm_error *error) {
    fake_device *device = self;
    nlm_caps_v1 caps = {.struct_size = sizeof caps};
    const nlm_status status = fake_enter(device, "prepare", error);
    if (status != NLM_OK) return status;
    if (fake_lies(device, "prepare")) return fake_fail(error, NLM_UNSUPPORTED, "told to prepare nothing");
    if (fake_query(self, op, args, nth, &caps) != NLM_OK) {
        return fake_blame(device, error, "prepare of what query says no to: %s", caps.reason);
    }
    const uint64_t key = hash_args(op, args);
    if (is_prepared(device, key)) return NLM_OK;
    uint64_t *grown = realloc(device->prepared, (device->n_prepared + 1) * sizeof *grown);
    if (!grown) return fake_fail(error, NLM_OUT_OF_MEMORY, "no memory to prepare an op");
    device->prepared = grown;
    device->prepared[device->n_prepared++] = key;
    return NLM_OK;
}

/* ---- its call ---- */

static nlm_status check_exec(const fake_device *device, const nlm_exec_v1 *x, nlm_op op) {
    const char *name = nlm_op_spec_of(op)->name;
    const bool is_recording = device->recorder != NULL, says_so = (x->flags & NLM_EXEC_RECORDING) != 0;
    if (!x->stream) return fake_blame(device, x->error, "%s: there is no stream", name);
    if (x->flags & ~NLM_EXEC_RECORDING) return fake_blame(device, x->error, "%s: flags 0x%x", name, x->flags);
    if (is_recording != says_so) {
        return fake_blame(device, x->error, "%s: NLM_EXEC_RECORDING is %s", name,
                          says_so ? "set, but the stream does not record" : "not set, but the stream records");
    }
    if (!is_recording) return NLM_OK;
    if (x->live_rows) return fake_blame(device, x->error, "%s: live_rows are given while the stream records", name);
    return NLM_OK;
}

static nlm_status check_prepared(const fake_device *device, const fake_work *work) {
    if (!device->must_be_prepared && !device->recorder) return NLM_OK;
    if (!device->api.prepare || is_prepared(device, hash_args(work->op, &work->args))) return NLM_OK;
    return fake_blame(device, work->x.error, "%s: it was not prepared for these arguments",
                      nlm_op_spec_of(work->op)->name);
}

static nlm_status submit(fake_device *device, const nlm_exec_v1 *x, fake_work *work) {
    nlm_status status = check_exec(device, x, work->op);
    if (status == NLM_OK) status = check_prepared(device, work);
    if (status == NLM_OK) status = fake_hold_args(device, work, x->error);
    return status == NLM_OK ? fake_enqueue(device, x->stream, work, x->error) : status;
}

/* What the call's pointers lead to is valid for the call only. */
static nlm_status enqueue_op(const nlm_exec_v1 *x, nlm_op op, const void *args) {
    fake_device *device = x->device;
    const nlm_status status = fake_enter_on(device, x->stream, nlm_op_spec_of(op)->name, x->error);
    if (status != NLM_OK) return status;
    fake_work work = {.kind = FAKE_OP, .op = op, .x = *x, .borrowed_args = args};
    copy_args(op, args, &work.args, work.tensors);
    for (uint32_t kind = 0; kind < NLM_ROWS_KINDS; kind++) {
        work.live_rows[kind] = x->live_rows ? x->live_rows[kind] : INT32_MAX;
    }
    const nlm_status submitted = submit(device, x, &work);
    if (submitted != NLM_OK) fake_release(&work);
    return fake_leave(device, submitted);
}

#define NLM_OP(number, name)                                                                \
    static nlm_status enqueue_##name(const nlm_exec_v1 *x, const nlm_##name##_args *args) { \
        return enqueue_op(x, number, args);                                                 \
    }
#include <nlm/ops.def>
#undef NLM_OP

const nlm_ops_v1 fake_ops = {
    .struct_size = sizeof fake_ops,
#define NLM_OP(number, name) .name = enqueue_##name,
#include <nlm/ops.def>
#undef NLM_OP
};

/* ---- its doing ---- */

static nlm_status no_barrier(const nlm_exec_v1 *x) {
    (void)x;
    return NLM_OK;
}

/* The counts as they are now; those that the host gave with the call have to be the same. */
static nlm_status read_counts(fake_work *work, nlm_error *error) {
    int32_t counts[NLM_ROWS_KINDS];
    if (!work->x.live_rows_device) return NLM_OK;
    memcpy(counts, work->x.live_rows_device, sizeof counts);
    for (uint32_t kind = 1; kind < NLM_ROWS_KINDS; kind++) {
        if (counts[kind] < 0 || (work->x.live_rows && counts[kind] != work->live_rows[kind])) {
            return fake_fail(error, NLM_DEVICE_ERROR, "live_rows_device[%u] is %d, live_rows has %d", kind,
                             counts[kind], work->live_rows[kind]);
        }
        work->live_rows[kind] = counts[kind];
    }
    return NLM_OK;
}

static const nlm_tensor *find_tensor(const fake_work *work, const char *name) {
    const nlm_op_spec *spec = nlm_op_spec_of(work->op);
    const int field = nlm_op_spec_find(spec, name, strlen(name));
    return field < 0 ? NULL : nlm_args_tensor(&work->args, &spec->fields[field]);
}

/* Of an op on a paged cache: are all live positions below max_context? */
static nlm_status check_positions(const fake_work *work, nlm_error *error) {
    const nlm_tensor *pos = find_tensor(work, "pos");
    if (!work->x.max_context || !pos || !find_tensor(work, "block_table")) return NLM_OK;
    const int64_t rows = nlm_live_rows(&work->x, pos);
    for (int64_t row = 0; row < rows; row++) {
        const int32_t at = *(const int32_t *)(const void *)((const char *)pos->data + row * pos->stride_bytes[0]);
        if (at < work->x.max_context) continue;
        return fake_fail(error, NLM_DEVICE_ERROR, "%s: position %d, but max_context is %" PRId64,
                         nlm_op_spec_of(work->op)->name, at, work->x.max_context);
    }
    return NLM_OK;
}

static void fill_rows(const nlm_tensor *tensor, int64_t from, uint8_t byte) {
    const uint32_t bytes = nlm_dtype_find(tensor->dtype)->block_bytes;
    int64_t shape[NLM_MAX_RANK] = {1, 1, 1, 1}, i[NLM_MAX_RANK];
    memcpy(shape, tensor->shape, (size_t)tensor->rank * sizeof *shape);
    for (i[0] = from; i[0] < shape[0]; i[0]++) {
        for (i[1] = 0; i[1] < shape[1]; i[1]++) {
            for (i[2] = 0; i[2] < shape[2]; i[2]++) {
                for (i[3] = 0; i[3] < shape[3]; i[3]++) {
                    int64_t at = 0;
                    for (int d = 0; d < tensor->rank; d++) at += i[d] * tensor->stride_bytes[d];
                    memset((uint8_t *)tensor->data + at, byte, bytes);
                }
            }
        }
    }
}

/* No host may rely on rows past the live ones. */
static void poison_padding(const fake_work *work) {
    const nlm_op_spec *spec = nlm_op_spec_of(work->op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_tensor *result = nlm_args_tensor(&work->args, &spec->fields[i]);
        if (!result || !(spec->fields[i].use & NLM_FIELD_OUT)) continue;
        fill_rows(result, nlm_live_rows(&work->x, result), 0xff);
    }
}

/* ---- doing it wrong ---- */

/* The last bit of a number; an infinity has none to lose. */
static void nudge_number(void *number) {
    uint32_t bits;
    memcpy(&bits, number, sizeof bits);
    if ((bits >> 23 & 255) != 255) bits ^= 1;
    memcpy(number, &bits, sizeof bits);
}

/* The first number in every live row of the result. */
static void nudge(const fake_work *work) {
    const nlm_op_spec *spec = nlm_op_spec_of(work->op);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_tensor *result = nlm_args_tensor(&work->args, &spec->fields[i]);
        if (!result || !(spec->fields[i].use & NLM_FIELD_OUT) || result->dtype != NLM_F32) continue;
        const int64_t rows = nlm_live_rows(&work->x, result);
        for (int64_t r = 0; r < rows; r++) nudge_number((uint8_t *)result->data + r * result->stride_bytes[0]);
    }
}

static void spoil(const fake_device *device, const fake_work *work) {
    const char *how = device->spoil;
    const nlm_op_spec *spec = nlm_op_spec_of(work->op);
    uint8_t *first = work->tensors[0].data;
    const nlm_tensor *last = &work->tensors[spec->n_fields - 1];
    uint8_t *result = last->data;
    const bool has_many = nlm_live_rows(&work->x, &work->tensors[0]) > 2;
    if (strcmp(how, "past") == 0 && result) result[last->shape[0] * last->stride_bytes[0]] ^= 1;
    if (strcmp(how, "input") == 0 && first) first[0] ^= 1;
    if (strcmp(how, "result") == 0 && result) result[3] ^= 0x40; /* in the exponent */
    if (strcmp(how, "random") == 0 && (device->works * UINT64_C(0x9e3779b97f4a7c15) >> 41) % 2) nudge(work);
    if (strcmp(how, "batch") == 0 && has_many) nudge(work);
    if (strcmp(how, "replay") == 0 && work->recording) nudge(work);
}

nlm_status fake_do_op(fake_device *device, fake_work *work, nlm_error *error) {
    if (fake_is_listed(device->lose_op, nlm_op_spec_of(work->op)->name)) {
        return fake_fail(error, NLM_DEVICE_LOST, "told to be lost in %s", nlm_op_spec_of(work->op)->name);
    }
    if (fake_lies(device, "borrow")) copy_args(work->op, work->borrowed_args, &work->args, work->tensors);
    fake_translate(device, work);
    nlm_status status = fake_lies(device, "host_counts") ? NLM_OK : read_counts(work, error);
    work->x.device = device->scalar->self;
    work->x.stream = NULL;
    work->x.flags = 0;
    work->x.live_rows = work->live_rows;
    work->x.live_rows_device = NULL;
    work->x.barrier = no_barrier;
    work->x.error = error;
    if (status == NLM_OK) status = check_positions(work, error);
    if (status == NLM_OK) status = fake_call_widened(device, work, error);
    if (status == NLM_INVALID_ARGUMENT && fake_lies(device, "swallow")) return NLM_OK;
    if (status != NLM_OK) return status;
    poison_padding(work);
    spoil(device, work);
    return NLM_OK;
}
