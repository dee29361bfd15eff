/* The head, the loss and their gradients: products of the counted rows, as many at a time as move the least memory.
 */
#include <math.h>

#include "cpu/vector/product.h"
#include "cpu/vector/vector.h"

#define NEAR_BYTES (34 << 20)  /* of the logits of a chunk, if they are to stay in the last cache */
#define MOST_BYTES (128 << 20) /* else */
#define LEAST_ROWS 48          /* of a chunk */
#define NEAR_ROWS  264
#define MOST_ROWS  516
#define ROWS_UNIT  12   /* a multiple of all tiles */
#define DX_DEPTH   2048 /* classes whose slopes are packed together: in the second caches, at the price of barriers */
#define SUMMED     512  /* columns whose sum is taken in f32 */

static int64_t fitting(int64_t bytes, int64_t classes, int64_t most) {
    const int64_t rows = bytes / (int64_t)sizeof(float) / (classes > 0 ? classes : 1) / ROWS_UNIT * ROWS_UNIT;
    return rows < LEAST_ROWS ? LEAST_ROWS : rows > most ? most : rows;
}

/* The most rows of a chunk: all are about as large. Each costs four passes over weights, 16 bytes a class and column;
 * logits that come from memory cost six over them, 24 bytes a class and row. */
static int64_t chunk_of(int64_t rows, int64_t classes, int64_t columns) {
    const int64_t near = fitting(NEAR_BYTES, classes, NEAR_ROWS), far = fitting(MOST_BYTES, classes, MOST_ROWS);
    const int64_t most = 16 * columns * (far - near) > 24 * near * far ? far : near;
    if (rows <= most) return rows;
    const int64_t chunks = (rows + most - 1) / most;
    return ((rows + chunks - 1) / chunks + ROWS_UNIT - 1) / ROWS_UNIT * ROWS_UNIT;
}

/* The workspace: logits, then the rows of x, then what products pack. */
typedef struct places {
    uint64_t in, packed; /* bytes */
} places;

static uint64_t lines(int64_t floats) {
    return ((uint64_t)floats * sizeof(float) + 63) / 64 * 64;
}

static places places_of(int64_t rows, int64_t classes, int64_t columns) {
    return (places){lines(rows * classes), lines(rows * classes) + lines(rows * columns)};
}

void nlm_vector_cross_entropy_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self, (void)nth;
    const int64_t classes = nlm_dim(dims, 'N'), columns = nlm_dim(dims, 'K');
    const int64_t rows = chunk_of(nlm_dim(dims, 'R'), classes, columns);
    const nlm_product_size products[] = {{rows, classes, columns, 0},
                                         {classes, columns, rows, 1},
                                         {rows, columns, classes < DX_DEPTH ? classes : DX_DEPTH, 0}};
    uint64_t packed = 0;
    for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
        const uint64_t workspace = nlm_vector_product_workspace(&products[i]);
        const uint64_t scratch = nlm_vector_product_scratch(&products[i]);
        if (workspace > packed) packed = workspace;
        if (scratch > out->scratch_bytes) out->scratch_bytes = scratch;
    }
    out->workspace_bytes = places_of(rows, classes, columns).packed + packed;
}

/* ---- a row of logits --------------------------------------------------------------------------- */

static float greatest_of(const float *u, int64_t n) {
    vf most = vf_set1(-INFINITY);
    int64_t c = 0;
    for (; c + V_LANES <= n; c += V_LANES) most = vf_max(most, vf_load(u + c));
    float greatest = vf_hmax(most);
    for (; c < n; c++) greatest = fmaxf(greatest, u[c]);
    return greatest;
}

/* p = exp(u - greatest), which may be u or, NULL, not be kept; returns their sum. */
static double exp_all(const float *u, float greatest, int64_t n, float *p) {
    double total = 0;
    for (int64_t from = 0; from < n; from += SUMMED) {
        const int64_t to = n - from < SUMMED ? n : from + SUMMED;
        vf sum = vf_zero();
        for (int64_t c = from; c < to; c += V_LANES) {
            const int lanes = (int)(to - c < V_LANES ? to - c : V_LANES);
            float part[V_LANES] = {0};
            const vf value = vf_exp(vf_sub(vf_load_n(u + c, lanes), vf_set1(greatest)));
            if (p) vf_store_n(p + c, value, lanes);
            if (lanes == V_LANES) {
                sum = vf_add(sum, value);
                continue;
            }
            vf_store_n(part, value, lanes);
            sum = vf_add(sum, vf_load(part));
        }
        total += (double)vf_sum(sum);
    }
    return total;
}

static double mean_of(const float *u, int64_t n) {
    double total = 0;
    for (int64_t from = 0; from < n; from += SUMMED) {
        const int64_t to = n - from < SUMMED ? n : from + SUMMED;
        vf sum = vf_zero();
        for (int64_t c = from; c < to; c += V_LANES)
            sum = vf_add(sum, vf_load_n(u + c, (int)(to - c < V_LANES ? to - c : V_LANES)));
        total += (double)vf_sum(sum);
    }
    return total / (double)n;
}

/* The loss of a row of logits u, which become the slopes by them if these are wanted. */
static float loss_of(const nlm_cross_entropy_args *args, int32_t label, int wants_slopes, float *u) {
    const int64_t n = args->w->shape[0];
    const double smoothing = (double)args->smoothing, z = (double)args->z_loss, of_label = (double)u[label];
    const double mean = smoothing > 0 ? mean_of(u, n) : 0;
    const float greatest = greatest_of(u, n);
    const double total = exp_all(u, greatest, n, wants_slopes ? u : NULL), e = (double)greatest + log(total);
    const double loss = e - (1 - smoothing) * of_label - smoothing * mean + z * e * e;
    if (!wants_slopes) return (float)loss;
    const vf slope = vf_set1((float)((1 + 2 * z * e) / total)), even = vf_set1((float)(-smoothing / (double)n));
    for (int64_t c = 0; c < n; c += V_LANES) {
        const int lanes = (int)(n - c < V_LANES ? n - c : V_LANES);
        vf_store_n(u + c, vf_fma(slope, vf_load_n(u + c, lanes), even), lanes);
    }
    u[label] -= 1 - args->smoothing;
    return (float)loss;
}

/* ---- a chunk of rows --------------------------------------------------------------------------- */

typedef struct chunk {
    const nlm_exec_v1 *x;
    const nlm_cross_entropy_args *args;
    int32_t rows[MOST_ROWS]; /* of the batch */
    int64_t count;
    nlm_tensor u, in; /* their logits, and x; in the end dx */
    void *packed;
    int32_t is_first;
} chunk;

static nlm_tensor matrix(void *data, int64_t rows, int64_t columns) {
    return (nlm_tensor){.data = data,
                        .dtype = NLM_F32,
                        .rank = 2,
                        .shape = {rows, columns, 1, 1},
                        .stride_bytes = {columns * (int64_t)sizeof(float), sizeof(float)}};
}

static nlm_status multiply(const chunk *c, nlm_product_size size, nlm_product_side a, nlm_product_side b,
                           const nlm_tensor *to, const nlm_tensor *bias, const nlm_tensor *residual) {
    nlm_product p = {.exec = c->x, .size = size, .a = a, .b = b, .workspace = c->packed};
    nlm_vector_product_into(&p, to, bias, residual);
    if (to == c->args->dw && c->args->db) {
        p.sums = c->args->db->data;
        p.adds_sums = residual != NULL;
    }
    NLM_KIT_TRY(nlm_vector_product(&p));
    return c->x->barrier(c->x);
}

static nlm_status find_logits(const chunk *c) {
    const nlm_tensor *w = c->args->w;
    const size_t bytes = (size_t)c->in.shape[1] * sizeof(float);
    const nlm_kit_range mine = nlm_kit_slice(c->x, c->count, 1);
    for (int64_t i = mine.from; i < mine.to; i++)
        memcpy(nlm_kit_at(&c->in, i), nlm_kit_at(c->args->x, c->rows[i]), bytes);
    NLM_KIT_TRY(c->x->barrier(c->x));
    return multiply(c, (nlm_product_size){c->count, w->shape[0], w->shape[1], 0}, (nlm_product_side){c->in, 0},
                    (nlm_product_side){*w, 0}, &c->u, c->args->bias, NULL);
}

static nlm_status find_losses(const chunk *c) {
    const nlm_cross_entropy_args *args = c->args;
    const int wants_slopes = args->dx || args->dw || args->db;
    const nlm_kit_range mine = nlm_kit_slice(c->x, c->count, 1);
    for (int64_t i = mine.from; i < mine.to; i++) {
        float *loss = nlm_kit_at(args->loss, c->rows[i]);
        *loss = loss_of(args, nlm_cpu_i32(args->labels)[c->rows[i]], wants_slopes, nlm_kit_at(&c->u, i));
    }
    return c->x->barrier(c->x);
}

static nlm_status add_dw(const chunk *c) {
    const nlm_tensor *dw = c->args->dw;
    const int adds = !c->is_first || (c->args->flags & NLM_GRADIENT_ADD);
    return multiply(c, (nlm_product_size){dw->shape[0], dw->shape[1], c->count, 1}, (nlm_product_side){c->u, 1},
                    (nlm_product_side){c->in, 1}, dw, NULL, adds ? dw : NULL);
}

/* db alone, which no product sums up then. */
static void add_db(const chunk *c) {
    const nlm_kit_range columns = nlm_kit_slice(c->x, c->args->db->shape[0], V_LANES);
    const int adds = !c->is_first || (c->args->flags & NLM_GRADIENT_ADD);
    float *db = c->args->db->data;
    for (int64_t n = columns.from; n < columns.to; n += V_LANES) {
        const int lanes = (int)(columns.to - n < V_LANES ? columns.to - n : V_LANES);
        vf sum = adds ? vf_load_n(db + n, lanes) : vf_zero();
        for (int64_t i = 0; i < c->count; i++)
            sum = vf_add(sum, vf_load_n((const float *)nlm_kit_at(&c->u, i) + n, lanes));
        vf_store_n(db + n, sum, lanes);
    }
}

/* By way of `in`, so that dx may be x. */
static nlm_status find_dx(const chunk *c) {
    const nlm_tensor *w = c->args->w;
    const size_t bytes = (size_t)w->shape[1] * sizeof(float);
    for (int64_t n = 0; n < w->shape[0]; n += DX_DEPTH) {
        const int64_t depth = w->shape[0] - n < DX_DEPTH ? w->shape[0] - n : DX_DEPTH;
        NLM_KIT_TRY(multiply(c, (nlm_product_size){c->count, w->shape[1], depth, 0},
                             (nlm_product_side){nlm_cpu_columns(&c->u, n, depth), 0},
                             (nlm_product_side){nlm_vector_rows_of(w, n, depth), 1}, &c->in, NULL,
                             n > 0 ? &c->in : NULL));
    }
    const nlm_kit_range mine = nlm_kit_slice(c->x, c->count, 1);
    for (int64_t i = mine.from; i < mine.to; i++)
        memcpy(nlm_kit_at(c->args->dx, c->rows[i]), nlm_kit_at(&c->in, i), bytes);
    return c->x->barrier(c->x);
}

/* ---- all rows ---------------------------------------------------------------------------------- */

/* Every worker looks at every label: all fail alike, before anything is written. */
static nlm_status check_labels(const nlm_exec_v1 *x, const nlm_cross_entropy_args *args) {
    const int32_t *labels = nlm_cpu_i32(args->labels);
    const int64_t classes = args->w->shape[0], rows = nlm_live_rows(x, args->x);
    for (int64_t r = 0; r < rows; r++) {
        if (labels[r] < classes) continue;
        return nlm_kit_fail(x->error, NLM_INVALID_ARGUMENT, "cross_entropy",
                            "labels[%lld] is %d, expected below %lld", (long long)r, labels[r], (long long)classes);
    }
    return NLM_OK;
}

static void clear_others(const nlm_exec_v1 *x, const nlm_cross_entropy_args *args) {
    const nlm_kit_range mine = nlm_kit_slice(x, nlm_live_rows(x, args->x), 1);
    for (int64_t r = mine.from; r < mine.to; r++) {
        if (nlm_cpu_i32(args->labels)[r] >= 0) continue;
        memset(nlm_kit_at(args->loss, r), 0, sizeof(float));
        if (args->dx) memset(nlm_kit_at(args->dx, r), 0, (size_t)args->dx->shape[1] * sizeof(float));
    }
}

/* The next counted rows from *row on. */
static void take_rows(chunk *c, int64_t most, int64_t *row) {
    const int64_t rows = nlm_live_rows(c->x, c->args->x);
    for (c->count = 0; c->count < most && *row < rows; ++*row) {
        if (nlm_cpu_i32(c->args->labels)[*row] >= 0) c->rows[c->count++] = (int32_t)*row;
    }
}

static nlm_status run_chunk(const chunk *c) {
    NLM_KIT_TRY(find_logits(c));
    NLM_KIT_TRY(find_losses(c));
    if (c->args->dw)
        NLM_KIT_TRY(add_dw(c));
    else if (c->args->db)
        add_db(c);
    return c->args->dx ? find_dx(c) : NLM_OK;
}

/* Rows that are not counted cost nothing; without any, dw and db are still replaced. */
nlm_status nlm_vector_cross_entropy(const nlm_exec_v1 *x, const nlm_cross_entropy_args *args) {
    const int64_t classes = args->w->shape[0], columns = args->w->shape[1], live = nlm_live_rows(x, args->x);
    const int64_t most = chunk_of(args->x->shape[0], classes, columns);
    const places at = places_of(most, classes, columns);
    uint8_t *workspace = x->workspace;
    chunk c = {.x = x, .args = args, .packed = workspace + at.packed, .is_first = 1};
    int64_t row = 0;
    NLM_KIT_TRY(check_labels(x, args));
    clear_others(x, args);
    do {
        take_rows(&c, most, &row);
        c.u = matrix(workspace, c.count, classes);
        c.in = matrix(workspace + at.in, c.count, columns);
        if (c.count > 0 || c.is_first) NLM_KIT_TRY(run_chunk(&c));
        c.is_first = 0;
    } while (row < live);
    return NLM_OK;
}
