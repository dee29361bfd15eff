/* Ops: copied when they are called, and done by the thread of their stream. */
#include "device.h"

#include <math.h>
#include <stdlib.h>

/* ---- what is called ------------------------------------------------------------------------ */

/* The tensors behind the arguments, their addresses as the kernels have them. */
static void copy_tensors(work *w, const nlm_op_spec *spec, const void *args) {
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_tensor *tensor, *copied = &w->tensors[i];
        memcpy(&tensor, (const char *)args + spec->fields[i].offset, sizeof tensor);
        if (!tensor) continue;
        w->tensors[i] = *tensor;
        w->tensors[i].data = on_device(tensor->data);
        memcpy((char *)&w->args + spec->fields[i].offset, &copied, sizeof copied);
    }
}

/* All that x and args lead to is gone when the slot returns: it is copied here. What the tensors' addresses lead to
 * is the device's memory, and stays. */
static nlm_status call(const nlm_exec_v1 *x, nlm_op op, const void *args) {
    const nlm_op_spec *spec = nlm_op_spec_of(op);
    work *w = work_create(WORK_OP, x->error);
    if (!w) return NLM_OUT_OF_MEMORY;
    w->op = op;
    w->x = nlm_kit_exec(x);
    if (x->scratch) w->x.scratch = on_device(x->scratch);
    if (x->live_rows) {
        memcpy(w->live_rows, x->live_rows, sizeof w->live_rows);
        w->x.live_rows = w->live_rows;
    }
    memcpy(&w->args, args, spec->args_bytes);
    copy_tensors(w, spec, args);
    return enqueue(x->stream, w);
}

#define SLOT(op, needs)                                                              \
    static nlm_status slot_##op(const nlm_exec_v1 *x, const nlm_##op##_args *args) { \
        return call(x, NLM_OP_##op, args);                                           \
    }
EXAMPLE_OPS(SLOT)
#undef SLOT

const nlm_ops_v1 example_ops = {.struct_size = sizeof example_ops,
#define ENTRY(op, needs) .op = slot_##op,
                                EXAMPLE_OPS(ENTRY)
#undef ENTRY
};

/* ---- what is done -------------------------------------------------------------------------- */

static nlm_status do_embed(const nlm_exec_v1 *x, const nlm_embed_args *a) {
    const int32_t *ids = a->ids->data;
    for (int64_t r = 0; r < nlm_live_rows(x, a->ids); r++) {
        if (ids[r] < 0 || ids[r] >= a->w->shape[0]) { /* nobody could know before now: the sync tells */
            return nlm_kit_fail(x->error, NLM_INVALID_ARGUMENT, "embed", "ids[%lld] is %d, expected 0 to %lld",
                                (long long)r, ids[r], (long long)a->w->shape[0] - 1);
        }
        nlm_decode_row(a->w->dtype, nlm_kit_at(a->w, ids[r]), nlm_kit_at(a->y, r), a->w->shape[1]);
    }
    return NLM_OK;
}

/* In f64 and always in the same order: the same bits each time, and in any batch. */
static nlm_status do_matmul(const nlm_exec_v1 *x, const nlm_matmul_args *a) {
    const int64_t rows = nlm_live_rows(x, a->x), columns = a->w->shape[1];
    const float *bias = a->bias ? a->bias->data : NULL;
    for (int64_t n = 0; n < a->w->shape[0]; n++) {
        const float *w = nlm_kit_row_f32(a->w, n, x->scratch);
        for (int64_t m = 0; m < rows; m++) {
            const float *in = nlm_kit_at(a->x, m);
            double sum = bias ? (double)bias[n] : 0;
            for (int64_t k = 0; k < columns; k++) sum += (double)in[k] * (double)w[k];
            if (a->residual) sum += (double)((const float *)nlm_kit_at(a->residual, m))[n];
            ((float *)nlm_kit_at(a->y, m))[n] = (float)sum;
        }
    }
    return NLM_OK;
}

static void norm(const float *x, const float *residual, const float *w, float eps, int64_t n, float *y, float *sum) {
    double squares = 0;
    for (int64_t c = 0; c < n; c++) {
        const double s = (double)(residual ? x[c] + residual[c] : x[c]);
        squares += s * s;
    }
    const double factor = 1 / sqrt(squares / (double)n + (double)eps);
    for (int64_t c = 0; c < n; c++) { /* y may be x, and sum x or residual */
        const float s = residual ? x[c] + residual[c] : x[c];
        if (sum) sum[c] = s;
        y[c] = (float)((double)s * factor * (w ? (double)w[c] : 1));
    }
}

static nlm_status do_rms_norm(const nlm_exec_v1 *x, const nlm_rms_norm_args *a) {
    const int64_t heads = a->x->rank == 3 ? a->x->shape[1] : 1, n = a->x->shape[a->x->rank - 1];
    for (int64_t i = 0; i < nlm_live_rows(x, a->x) * heads; i++) {
        const int64_t r = i / heads, h = i % heads;
        norm(nlm_kit_at2(a->x, r, h), a->residual ? nlm_kit_at2(a->residual, r, h) : NULL, a->w ? a->w->data : NULL,
             a->eps, n, nlm_kit_at2(a->y, r, h), a->sum ? nlm_kit_at2(a->sum, r, h) : NULL);
    }
    return NLM_OK;
}

static nlm_status do_silu_mul(const nlm_exec_v1 *x, const nlm_silu_mul_args *a) {
    nlm_kit_cells cells = nlm_kit_cells_of(x, nlm_live_rows(x, a->y), a->y->shape[1]);
    while (nlm_kit_cells_next(&cells)) {
        const float *gate = nlm_kit_at(a->gate, cells.row), *up = nlm_kit_at(a->up, cells.row);
        float *y = nlm_kit_at(a->y, cells.row);
        for (int64_t c = cells.from; c < cells.to; c++) y[c] = gate[c] / (1 + expf(-gate[c])) * up[c];
    }
    return NLM_OK;
}

static nlm_status do_add(const nlm_exec_v1 *x, const nlm_add_args *a) {
    nlm_kit_cells cells = nlm_kit_cells_of(x, nlm_live_rows(x, a->y), a->y->shape[1]);
    while (nlm_kit_cells_next(&cells)) {
        const int64_t row = a->b->rank == 1 ? 0 : cells.row; /* [N] is added to every row */
        const float *first = nlm_kit_at(a->a, cells.row), *second = nlm_kit_at(a->b, row);
        float *y = nlm_kit_at(a->y, cells.row);
        for (int64_t c = cells.from; c < cells.to; c++) y[c] = first[c] + second[c];
    }
    return NLM_OK;
}

nlm_status run_op(work *w, nlm_error *error) {
    w->x.error = error;
    switch (w->op) {
#define CASE(op, needs) \
    case NLM_OP_##op: return do_##op(&w->x, &w->args.op);
        EXAMPLE_OPS(CASE)
#undef CASE
        default: return nlm_kit_fail(error, NLM_UNSUPPORTED, "run", "there is no op %u", w->op);
    }
}

/* ---- query --------------------------------------------------------------------------------- */

/* Of w, decoded; in the device's memory. */
static void needs_a_row(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    (void)nth;
    out->scratch_bytes = (uint64_t)nlm_dim(dims, 'K') * sizeof(float);
}

nlm_status query(void *self, nlm_op op, const void *args, uint32_t nth, nlm_caps_v1 *out) {
    static const nlm_kit_op list[] = {
#define LINE(op, needs) {NLM_OP_##op, 0, NLM_LAYOUT_ROW_MAJOR, needs},
        EXAMPLE_OPS(LINE)
#undef LINE
    };
    static const nlm_kit_backend has = {
        .ops = list, .n_ops = sizeof list / sizeof *list, .weight_types = NLM_TYPES_DECODED};
    return nlm_kit_query(&has, self, op, args, nth, out);
}
