/* Which products go by cuBLASLt, in which steps, and where in the workspace their operands stand. */
#include "dense.h"

#include "products.h"

/* From where on it is predicted to be faster than the kernels of device/many.cuh (tools/predict-cuda --explain):
 * rows, and elements of the weights; where these are blocks, which have to be decoded first, rows and
 * multiplications. */
enum { FROM_ROWS_PLAIN = 64, FROM_ROWS_BLOCKS = 256 };
#define FROM_ELEMENTS_PLAIN  (INT64_C(1) << 22)
#define FROM_PRODUCTS_BLOCKS (INT64_C(1) << 32)

/* Bytes that a tile of a decoded weight takes, at most, and half of them for its results: a share of the memory. */
#define TILE_BYTES    (INT64_C(64) << 20)
#define TILE_SHARE    512
#define EXPONENTS     16384 /* the most columns of results */
#define TILE_MULTIPLE 128

#define THREADS 256 /* of device/dense.cuh */

/* ---- which, and where ---- */

static bool is_plain(const nlm_tensor *w) {
    return w->dtype == NLM_F16 || w->dtype == NLM_BF16;
}

/* All but the weight's layout. */
static bool is_wanted(const nlm_cuda_device *d, int64_t rows, const nlm_tensor *w, int parts) {
    if (!d->lt_handle || rows <= NLM_CUDA_FEW_ROWS || w->dtype == NLM_F32) return false;
    if (w->dtype == NLM_BF16 && d->capability < 80) return false;
    if (w->shape[0] == 0 || w->shape[1] == 0) return false;
    if (d->products == NLM_CUDA_PRODUCTS_CUBLASLT) return true;
    const int64_t n = parts * w->shape[0];
    if (is_plain(w)) return rows >= FROM_ROWS_PLAIN && n >= FROM_ELEMENTS_PLAIN / w->shape[1];
    return rows >= FROM_ROWS_BLOCKS && n >= FROM_PRODUCTS_BLOCKS / rows / w->shape[1];
}

static int64_t round_up(int64_t value, int64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

/* Floats from where one part of a row of results begins to the next. */
static int64_t pitch_of(int64_t columns) {
    return round_up(columns, 32);
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t tile_of(const nlm_cuda_device *d, const nlm_cuda_dense *p) {
    const int64_t bytes = least(TILE_BYTES, (int64_t)(d->memory_bytes / TILE_SHARE));
    int64_t most = least(EXPONENTS, bytes / 8 / p->rows) / p->parts;
    if (!p->is_direct) most = least(most, bytes / 2 / p->depth);
    most = most / TILE_MULTIPLE * TILE_MULTIPLE;
    if (most < TILE_MULTIPLE) most = TILE_MULTIPLE;
    if (p->n <= most) return p->n;
    return round_up(nlm_cuda_div_up(p->n, nlm_cuda_div_up(p->n, most)), TILE_MULTIPLE);
}

/* What cuBLASLt may use: what NVIDIA suggests, or 16 times what comes out. */
static uint64_t workspace_of(const nlm_cuda_device *d, const nlm_cuda_dense *p) {
    const int64_t suggested = (d->capability >= 90 ? INT64_C(32) : INT64_C(4)) << 20;
    return (uint64_t)least(suggested, round_up(64 * p->rows * p->tile, 256));
}

static int64_t rows_of_exponents(const nlm_cuda_dense *p) {
    return round_up(p->rows, 64);
}

static uint64_t place(uint64_t *end, int64_t bytes) {
    const uint64_t at = *end;
    *end += (uint64_t)round_up(bytes, 256);
    return at;
}

/* What of it the shapes alone decide. x and its exponents stand in the same place whatever the weight is. */
static nlm_cuda_dense plan(const nlm_cuda_device *d, int64_t rows, const nlm_tensor *w, int parts) {
    nlm_cuda_dense p = {
        .rows = rows,
        .depth = round_up(w->shape[1], 32),
        .n = w->shape[0],
        .parts = parts,
        .is_bf16 = w->dtype == NLM_BF16,
        .is_direct = is_plain(w),
    };
    p.tile = tile_of(d, &p);
    place(&p.bytes, 4 * (rows_of_exponents(&p) + EXPONENTS));
    p.at_x = place(&p.bytes, 2 * p.rows * p.depth);
    p.at_w = place(&p.bytes, p.is_direct ? 0 : 2 * p.tile * p.depth);
    p.at_results = place(&p.bytes, 4 * p.rows * p.parts * pitch_of(p.tile));
    p.at_workspace = place(&p.bytes, (int64_t)workspace_of(d, &p));
    return p;
}

uint64_t nlm_cuda_dense_bytes(const nlm_cuda_device *d, int64_t rows, const nlm_tensor *w, int parts) {
    return is_wanted(d, rows, w, parts) ? plan(d, rows, w, parts).bytes + 256 : 0; /* it begins at a multiple of 64 */
}

/* The product of `columns` rows of a weight. */
static nlm_status find_product(const nlm_exec_v1 *x, const nlm_cuda_dense *p, int64_t columns,
                               const nlm_cuda_blas_product **out) {
    const nlm_cuda_blas_shape shape = {
        .rows = p->rows,
        .n = columns,
        .depth = p->depth,
        .pitch = p->parts * pitch_of(columns),
        .workspace_bytes = workspace_of(x->device, p),
        .type = p->is_bf16 ? CUDA_R_16BF : CUDA_R_16F,
    };
    return nlm_cuda_blas_find(x->device, &shape, !x->stream, out, x->error);
}

nlm_status nlm_cuda_dense_find(const nlm_exec_v1 *x, const nlm_tensor *rows, const nlm_tensor *w, int parts,
                               nlm_cuda_dense *out, bool *out_is_there) {
    const nlm_cuda_device *d = x->device;
    *out_is_there = false;
    if (w->layout == NLM_LAYOUT_ROW_MAJOR || !is_wanted(d, rows->shape[0], w, parts)) return NLM_OK;
    *out = plan(d, rows->shape[0], w, parts);
    out->base = ((uintptr_t)x->workspace + 255) / 256 * 256;
    NLM_KIT_TRY(find_product(x, out, out->tile, &out->whole));
    NLM_KIT_TRY(find_product(x, out, (out->n - 1) % out->tile + 1, &out->last));
    *out_is_there = out->whole && out->last;
    return NLM_OK;
}

bool nlm_cuda_dense_same_rows(const nlm_cuda_dense *a, const nlm_cuda_dense *b) {
    return a->is_bf16 == b->is_bf16 && a->is_direct == b->is_direct;
}

/* ---- steps ---- */

static nlm_tensor matrix(uintptr_t data, nlm_dtype type, int64_t rows, int64_t columns) {
    const int64_t bytes = nlm_dtype_find(type)->block_bytes;
    nlm_tensor t = {.data = (void *)data, .dtype = type, .rank = 2};
    t.shape[0] = rows;
    t.shape[1] = columns;
    t.stride_bytes[0] = columns * bytes;
    t.stride_bytes[1] = bytes;
    return t;
}

/* Of the rows of x, and behind them of `columns` of each part of the results. */
static nlm_tensor exponents_of(const nlm_cuda_dense *p, int64_t columns) {
    return matrix(p->base, NLM_I32, rows_of_exponents(p), p->is_direct ? 0 : p->parts * pitch_of(columns));
}

nlm_status nlm_cuda_dense_rows(const nlm_exec_v1 *x, const nlm_cuda_dense *p, const nlm_tensor *rows,
                               const nlm_tensor *norm_w, float eps) {
    const nlm_tensor to = matrix(p->base + p->at_x, p->is_bf16 ? NLM_BF16 : NLM_F16, p->rows, p->depth);
    const nlm_tensor exponents = exponents_of(p, 0);
    const nlm_norm_matmul_args args = {sizeof args, 0,   rows, norm_w, NULL, p->is_bf16 ? NULL : &exponents,
                                       &to,         eps, 0};
    const nlm_cuda_work work = {
        .op = NLM_OP_norm_matmul,
        .args = &args,
        .kernel = {"dense_rows",
                   "dense_rows",
                   {{"ACT", nlm_cuda_type_name(rows), 0},
                    {"HALF", nlm_cuda_type_name(&to), 0},
                    {"IN_PIECES", NULL, p->is_direct}}},
        .grid = {p->rows},
        .threads = THREADS,
    };
    return nlm_cuda_launch(x, &work);
}

/* Rows [first, first + columns) of a weight, in f16. */
static nlm_status decode_weight(const nlm_exec_v1 *x, const nlm_cuda_dense *p, const nlm_tensor *w, int part,
                                int64_t first, int64_t columns) {
    const nlm_tensor to = matrix(p->base + p->at_w, NLM_F16, columns, p->depth);
    const uintptr_t behind_rows = p->base + 4 * (uintptr_t)(rows_of_exponents(p) + part * pitch_of(columns));
    const nlm_tensor exponents = matrix(behind_rows, NLM_I32, columns, 1);
    const nlm_matmul_args args = {sizeof args, 0, NULL, w, &exponents, NULL, &to};
    const nlm_cuda_work work = {
        .op = NLM_OP_matmul,
        .args = &args,
        .kernel = {"dense_weight", "dense_weight", {{"W", nlm_cuda_type_name(w), 0}}},
        .grid = {columns},
        .threads = THREADS,
        .first_row = first,
        .n_rows = columns,
    };
    return nlm_cuda_launch(x, &work);
}

/* The results of rows [first, first + columns) of the weights. */
static nlm_status multiply(const nlm_exec_v1 *x, const nlm_cuda_dense *p, const nlm_tensor *const *w, int64_t first,
                           int64_t columns) {
    for (int part = 0; part < p->parts; part++) {
        nlm_cuda_blas_places at = {
            .w = (uintptr_t)w[part]->data + (uintptr_t)(2 * first * p->depth),
            .x = p->base + p->at_x,
            .results = p->base + p->at_results + 4 * (uintptr_t)(part * pitch_of(columns)),
            .workspace = p->base + p->at_workspace,
        };
        if (!p->is_direct) {
            at.w = p->base + p->at_w;
            NLM_KIT_TRY(decode_weight(x, p, w[part], part, first, columns));
        }
        if (x->stream) {
            NLM_KIT_TRY(
                nlm_cuda_blas_multiply(x->device, x->stream, columns == p->tile ? p->whole : p->last, &at, x->error));
        }
    }
    return NLM_OK;
}

/* What is launched behind the product of a tile. */
static nlm_cuda_work finish(const nlm_exec_v1 *x, const nlm_tensor *rows, const char *name, int64_t first,
                            int64_t columns) {
    return (nlm_cuda_work){
        .kernel = {"dense_results", name, {{"ACT", nlm_cuda_type_name(rows), 0}}},
        .grid = {nlm_live_rows(x, rows), nlm_cuda_div_up(columns, 4 * THREADS)},
        .threads = THREADS,
        .first_row = first,
        .n_rows = columns,
    };
}

/* Where the results of a tile stand; live are those that `rows` has. */
static nlm_tensor results_of(const nlm_cuda_dense *p, const nlm_tensor *rows, int64_t columns) {
    nlm_tensor t = matrix(p->base + p->at_results, NLM_F32, p->rows, p->parts * pitch_of(columns));
    t.row_kind = rows->row_kind;
    return t;
}

nlm_status nlm_cuda_dense_matmul(const nlm_exec_v1 *x, const nlm_cuda_dense *p, const nlm_matmul_args *args) {
    for (int64_t first = 0; first < p->n; first += p->tile) {
        const int64_t columns = least(p->tile, p->n - first);
        const nlm_tensor results = results_of(p, args->x, columns), exponents = exponents_of(p, columns);
        const nlm_matmul_args behind = {sizeof behind,  0,      &results, p->is_bf16 ? NULL : &exponents, args->bias,
                                        args->residual, args->y};
        nlm_cuda_work work = finish(x, args->x, "dense_results", first, columns);
        work.op = NLM_OP_matmul;
        work.args = &behind;
        NLM_KIT_TRY(multiply(x, p, &args->w, first, columns));
        NLM_KIT_TRY(nlm_cuda_launch(x, &work));
    }
    return NLM_OK;
}

nlm_status nlm_cuda_dense_gate(const nlm_exec_v1 *x, const nlm_cuda_dense *p, const nlm_gate_up_silu_mul_args *args) {
    const nlm_tensor *const w[] = {args->w_gate, args->w_up};
    for (int64_t first = 0; first < p->n; first += p->tile) {
        const int64_t columns = least(p->tile, p->n - first);
        const nlm_tensor results = results_of(p, args->x, columns), exponents = exponents_of(p, columns);
        const nlm_gate_up_silu_mul_args behind = {sizeof behind, 0,      &results, p->is_bf16 ? NULL : &exponents,
                                                  NULL,          args->y};
        nlm_cuda_work work = finish(x, args->x, "dense_gate", first, columns);
        work.op = NLM_OP_gate_up_silu_mul;
        work.args = &behind;
        NLM_KIT_TRY(multiply(x, p, w, first, columns));
        NLM_KIT_TRY(nlm_cuda_launch(x, &work));
    }
    return NLM_OK;
}
