/* Whether calls are layers of Mamba that one kernel may do, and its parameters. */
#include "pack.h"
#include "step.h"

#define TILE    16   /* NLM_SSM_TILE */
#define LONGEST 1024 /* elements of a row of weights: what a warp has at a time, as in device/few.cuh */
#define WIDEST  8    /* taps */

static bool is_row(const nlm_tensor *t) {
    return t->dtype == NLM_F32 && t->rank == 2 && t->shape[0] == 1 && t->stride_bytes[1] == 4;
}
static bool is_vector(const nlm_tensor *t) {
    return !t || (t->dtype == NLM_F32 && t->stride_bytes[0] == 4);
}
static bool is_dense(const nlm_tensor *t) {
    return t->dtype == NLM_F32 && t->stride_bytes[1] == 4 && t->stride_bytes[0] == 4 * t->shape[1];
}
bool nlm_cuda_step_takes(const nlm_tensor *first, const nlm_tensor *w) {
    return w->layout == NLM_CUDA_LAYOUT_PLANES && w->dtype == first->dtype && w->shape[1] <= LONGEST;
}
static bool is_same_place(const nlm_tensor *a, const nlm_tensor *b) {
    return a->data == b->data;
}
/* All its columns: a part of a row begins where the row does. */
static bool is_same_row(const nlm_tensor *a, const nlm_tensor *b) {
    return is_same_place(a, b) && a->shape[1] == b->shape[1];
}
static bool has_same_strides(const nlm_tensor *a, const nlm_tensor *b) {
    return memcmp(a->stride_bytes, b->stride_bytes, (size_t)a->rank * sizeof *a->stride_bytes) == 0;
}

/* ---- what goes on ---- */

static bool can_begin(const nlm_norm_xz_conv_args *a) {
    return is_row(a->x) && is_row(a->xz) && is_row(a->y) && a->slot->shape[0] == 1 &&
           nlm_cuda_step_takes(a->w, a->w) && is_vector(a->norm_w) && is_vector(a->conv_bias) &&
           is_dense(a->conv_w) && a->conv_w->shape[1] <= WIDEST && a->state->stride_bytes[2] == 4 &&
           a->state_out->stride_bytes[2] == 4;
}

static bool is_next_layer(const nlm_norm_xz_conv_args *a, const nlm_norm_xz_conv_args *first,
                          const nlm_matmul_args *before) {
    return is_same_place(a->x, before->y) && nlm_cuda_step_takes(first->w, a->w) && a->flags == first->flags &&
           a->eps == first->eps && a->w->shape[0] == first->w->shape[0] && a->w->shape[1] == first->w->shape[1] &&
           a->conv_w->shape[1] == first->conv_w->shape[1] && is_same_place(a->slot, first->slot) &&
           is_same_place(a->seq_start, first->seq_start) && a->x->row_kind == first->x->row_kind &&
           a->slot->row_kind == first->slot->row_kind && a->state->shape[0] == first->state->shape[0] &&
           has_same_strides(a->state, first->state) && has_same_strides(a->state_out, first->state_out);
}

static bool is_scan_of(const nlm_dt_bc_scan_args *a, const nlm_norm_xz_conv_args *norm) {
    const char *z = (const char *)norm->xz->data + 4 * norm->y->shape[1];
    return is_same_row(a->x, norm->y) && a->z && a->z->data == z && is_row(a->z) && is_row(a->y) &&
           nlm_cuda_step_takes(norm->w, a->w_x) && nlm_cuda_step_takes(a->w_dt, a->w_dt) && is_vector(a->b_dt) &&
           is_vector(a->d) && is_dense(a->a) && is_same_place(a->slot, norm->slot) &&
           is_same_place(a->seq_start, norm->seq_start) && a->state->shape[0] == norm->state->shape[0] &&
           a->state->stride_bytes[3] == 4 && a->state->stride_bytes[2] == 4 * TILE &&
           a->state_out->stride_bytes[3] == 4 && a->state_out->stride_bytes[2] == 4 * TILE;
}

static bool is_scan_as(const nlm_dt_bc_scan_args *a, const nlm_dt_bc_scan_args *first) {
    return a->a->shape[1] == first->a->shape[1] && a->w_dt->dtype == first->w_dt->dtype &&
           a->w_dt->shape[1] == first->w_dt->shape[1] && has_same_strides(a->state, first->state) &&
           has_same_strides(a->state_out, first->state_out);
}

static bool is_out_of(const nlm_matmul_args *a, const nlm_dt_bc_scan_args *scan, const nlm_norm_xz_conv_args *norm) {
    return is_same_row(a->x, scan->y) && is_row(a->y) && nlm_cuda_step_takes(norm->w, a->w) && !a->bias &&
           a->residual && is_row(a->residual) && is_same_place(a->residual, norm->x) &&
           a->w->shape[0] == norm->x->shape[1];
}

bool nlm_cuda_step_goes_on(const nlm_cuda_step_held *held, int i) {
    static const nlm_op layer[3] = {NLM_OP_norm_xz_conv, NLM_OP_dt_bc_scan, NLM_OP_matmul};
    const nlm_cuda_held *h = held->calls, *call = &h[i];
    if (call->op != layer[i % 3]) return false;
    switch (i % 3) {
        case 0:
            return can_begin(&call->args.norm) &&
                   (i == 0 || is_next_layer(&call->args.norm, &h[0].args.norm, &h[i - 1].args.out));
        case 1:
            return is_scan_of(&call->args.scan, &h[i - 1].args.norm) && is_scan_as(&call->args.scan, &h[1].args.scan);
        default: return is_out_of(&call->args.out, &h[i - 1].args.scan, &h[i - 2].args.norm);
    }
}

/* ---- what is written ---- */

/* Bytes of memory. `address` is where the parameters have it: 0 where the kernel need not write it. */
typedef struct span {
    uint64_t from, to;
    unsigned long long *address;
} span;

static span span_of(const nlm_tensor *t, unsigned long long *address) {
    uint64_t bytes = 4;
    for (int i = 0; i < t->rank; i++) bytes += (uint64_t)((t->shape[i] - 1) * t->stride_bytes[i]);
    return (span){(uintptr_t)t->data, (uintptr_t)t->data + bytes, address};
}
static bool overlap(const span *a, const span *b) {
    return a->from < b->to && b->from < a->to;
}

/* The rows that a layer writes, in the order of its ops, of which the first three come before h. */
enum { ROWS = 4 };

static void rows_of(const nlm_cuda_step_held *held, int layer, nlm_cuda_step_layer *to, span *out) {
    const nlm_cuda_held *h = &held->calls[3 * layer];
    out[0] = span_of(h[0].args.norm.xz, &to->xz);
    out[1] = span_of(h[0].args.norm.y, &to->u);
    out[2] = span_of(h[1].args.scan.y, &to->y);
    out[3] = span_of(h[2].args.out.y, &to->h);
}

/* The kernel writes no row that a later one covers: blocks do not wait for each other's writes to global memory. */
static bool drop_covered(const span *rows, int n) {
    for (int i = 0; i < n; i++) {
        for (int j = i + 1; j < n; j++) {
            if (!overlap(&rows[i], &rows[j])) continue;
            if (rows[j].from > rows[i].from || rows[j].to < rows[i].to) return false;
            *rows[i].address = 0;
        }
    }
    return true;
}

/* States are written where nothing else of the layers is, but the states they were. */
static bool is_free(const span *state, const span *out, const span *rows, int n) {
    const bool is_own = state->from == out->from && state->to == out->to;
    if (!is_own && overlap(state, out)) return false;
    for (int i = 0; i < n; i++) {
        if (overlap(&rows[i], state) || overlap(&rows[i], out)) return false;
    }
    return true;
}

/* All states that layers read are there before any writes its own. */
static bool are_apart(const span *states, int n) {
    for (int i = 0; i < n; i++) {
        for (int j = i + 1; j < n; j++) {
            if ((i / 2 != j / 2) && overlap(&states[i], &states[j])) return false;
        }
    }
    return true;
}

static bool may_write(const nlm_cuda_step_held *held, int n_layers, nlm_cuda_step *step) {
    const nlm_norm_xz_conv_args *first = &held->calls[0].args.norm;
    const span x = span_of(first->x, NULL), starts = span_of(first->seq_start, NULL),
               slot = span_of(first->slot, NULL);
    span rows[ROWS * NLM_CUDA_STEP_LAYERS], states[4 * NLM_CUDA_STEP_LAYERS];
    for (int l = 0; l < n_layers; l++) {
        const nlm_cuda_held *h = &held->calls[3 * l];
        rows_of(held, l, &step->layer[l], &rows[ROWS * l]);
        states[4 * l] = span_of(h[0].args.norm.state, NULL);
        states[4 * l + 1] = span_of(h[0].args.norm.state_out, NULL);
        states[4 * l + 2] = span_of(h[1].args.scan.state, NULL);
        states[4 * l + 3] = span_of(h[1].args.scan.state_out, NULL);
    }
    for (int i = 0; i < ROWS * n_layers; i++) {
        if (overlap(&rows[i], &starts) || overlap(&rows[i], &slot)) return false;
        if (i < ROWS - 1 && overlap(&rows[i], &x)) return false; /* later all blocks have read it */
    }
    for (int i = 0; i < 4 * n_layers; i += 2) {
        if (!is_free(&states[i], &states[i + 1], rows, ROWS * n_layers)) return false;
    }
    return are_apart(states, 4 * n_layers) && drop_covered(rows, ROWS * n_layers);
}

/* ---- parameters ---- */

static unsigned long long address_of(const nlm_tensor *t) {
    return t ? (uintptr_t)t->data : 0;
}

static nlm_cuda_step_layer layer_of(const nlm_cuda_held *h) {
    const nlm_norm_xz_conv_args *norm = &h[0].args.norm;
    const nlm_dt_bc_scan_args *scan = &h[1].args.scan;
    const nlm_matmul_args *out = &h[2].args.out;
    return (nlm_cuda_step_layer){
        .norm_w = address_of(norm->norm_w),
        .w_in = address_of(norm->w),
        .conv_w = address_of(norm->conv_w),
        .conv_bias = address_of(norm->conv_bias),
        .w_x = address_of(scan->w_x),
        .w_dt = address_of(scan->w_dt),
        .dt_bias = address_of(scan->b_dt),
        .rate = address_of(scan->a),
        .d = address_of(scan->d),
        .w_out = address_of(out->w),
        .conv_state = address_of(norm->state),
        .conv_state_out = address_of(norm->state_out),
        .states = address_of(scan->state),
        .states_out = address_of(scan->state_out),
        .xz = address_of(norm->xz),
        .u = address_of(norm->y),
        .y = address_of(scan->y),
        .h = address_of(out->y),
    };
}

bool nlm_cuda_step_plan(const nlm_cuda_step_held *held, int n_layers, nlm_cuda_step *out) {
    const nlm_norm_xz_conv_args *norm = &held->calls[0].args.norm;
    const nlm_dt_bc_scan_args *scan = &held->calls[1].args.scan;
    *out = (nlm_cuda_step){
        .x = nlm_cuda_view_of(norm->x),
        .seq_start = nlm_cuda_view_of(norm->seq_start),
        .slot = nlm_cuda_view_of(norm->slot),
        .n_layers = n_layers,
        .model = (int)norm->x->shape[1],
        .inner = (int)norm->y->shape[1],
        .rank = (int)scan->w_dt->shape[1],
        .width = (int)norm->conv_w->shape[1],
        .is_silu = (norm->flags & NLM_CONV_SILU) != 0,
        .eps = norm->eps,
        .n_slots = (int)norm->state->shape[0],
        .conv_slot = norm->state->stride_bytes[0],
        .conv_row = norm->state->stride_bytes[1],
        .state_slot = scan->state->stride_bytes[0],
        .state_tile = scan->state->stride_bytes[1],
        .conv_slot_out = norm->state_out->stride_bytes[0],
        .conv_row_out = norm->state_out->stride_bytes[1],
        .state_slot_out = scan->state_out->stride_bytes[0],
        .state_tile_out = scan->state_out->stride_bytes[1],
    };
    for (int l = 0; l < n_layers; l++) out->layer[l] = layer_of(&held->calls[3 * l]);
    return may_write(held, n_layers, out);
}

/* ---- what a block has ---- */

static int least(int a, int b) {
    return a < b ? a : b;
}
static int up(int n, int multiple) {
    return (n + multiple - 1) / multiple * multiple;
}
/* As padded() of the kernel. */
static int padded(int n) {
    return up(n, 32) / 32 * 36;
}

int nlm_cuda_step_most_blocks(const nlm_cuda_step *step, int states) {
    const int parts = least(least(up(step->inner, TILE) / TILE, step->rank + 2 * states), step->model);
    int n = 1;
    while (2 * n <= parts) n *= 2;
    return n;
}

int nlm_cuda_step_share(const nlm_tensor *w_in, const nlm_tensor *w_dt, int states, int n_blocks, int room,
                        nlm_cuda_step *step) {
    const int selected = step->rank + 2 * states;
    step->n_blocks = n_blocks;
    step->most_tiles = (int)nlm_cuda_div_up(up(step->inner, TILE) / TILE, n_blocks);
    step->most_selected = (int)nlm_cuda_div_up(selected, n_blocks);
    step->most_outputs = (int)nlm_cuda_div_up(step->model, n_blocks);
    const int channels = TILE * step->most_tiles;
    const int64_t of_model = nlm_cuda_pack_row_bytes(w_in->dtype, step->model);
    const int64_t of_inner = nlm_cuda_pack_row_bytes(w_in->dtype, step->inner);
    const int64_t x_at = 2 * channels * of_model, dt_at = x_at + step->most_selected * of_inner;
    const int64_t out_at = dt_at + channels * nlm_cuda_pack_row_bytes(w_dt->dtype, step->rank);
    const int64_t stage = out_at + step->most_outputs * of_inner;
    step->small_floats = padded(step->model) + channels * (2 * states + 2 * step->width - 1 + 3);
    const int64_t rest = 4 * (padded(step->model) + 2 * padded(step->inner) + up(up(step->rank, 4) + 2 * states, 4) +
                              channels + 2 * step->small_floats);
    if (rest + stage > room) return 0;
    const int fit = (int)((room - rest) / stage);
    step->x_at = (int)x_at;
    step->dt_at = (int)dt_at;
    step->out_at = (int)out_at;
    step->stage_bytes = (int)stage;
    step->n_stages = least(least(fit, step->n_layers), NLM_CUDA_STEP_STAGES);
    return (int)(rest + step->n_stages * stage);
}

nlm_cuda_kernel nlm_cuda_step_kernel(const nlm_tensor *w, const char *dt_type, int64_t states) {
    return (nlm_cuda_kernel){"mamba_step",
                             "mamba_step",
                             {{"ACT", "f32", 0},
                              {"W", nlm_cuda_type_name(w), 0},
                              {"W_DT", dt_type, 0},
                              {"PACKED", NULL, 1},
                              {"STATES", NULL, (int)states}}};
}
