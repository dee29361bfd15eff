/* One op of one size, ready to be timed. */
#include "nlm-bench/micro_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/status.h"
#include "nlm-bench/random_weights.h"
#include "tensor/dtype.h"

#define PAGE_TOKENS 32
#define RUN_VALUES  (1 << 16)

#define SHAPE(...)                                                                       \
    (int)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]) { \
        __VA_ARGS__                                                                      \
    }

/* ---- weights and inputs ------------------------------------------------------------------- */

static void free_pages(void *user, const void *data, uint64_t bytes) {
    (void)user;
    const uintptr_t page = 1u << 16; /* a multiple of every page size in use */
    const uintptr_t from = ((uintptr_t)data + page - 1) & ~(page - 1);
    const uintptr_t to = ((uintptr_t)data + (uintptr_t)bytes) & ~(page - 1);
    if (from < to) (void)madvise((void *)from, to - from, MADV_DONTNEED);
}

typedef struct filling {
    const nlm_tensor *tensor;
    const char *rows; /* a few random ones, in turn */
    int64_t n_rows;
} filling;

static void fill_rows(void *user, uint32_t ith, uint32_t nth) {
    const filling *f = user;
    const nlm_tensor *t = f->tensor;
    const int64_t rows = t->shape[0];
    const size_t row_bytes = (size_t)t->stride_bytes[0];
    for (int64_t row = rows * ith / nth; row < rows * (ith + 1) / nth; row++) {
        memcpy((char *)t->data + (size_t)row * row_bytes, f->rows + (size_t)(row % f->n_rows) * row_bytes, row_bytes);
    }
}

static nlm_status fill(const micro_case *c, const nlm_tensor *t, nlm_error *err) {
    const int64_t cols = t->shape[t->rank - 1];
    const int64_t n_rows = RUN_VALUES / cols > 0 ? RUN_VALUES / cols : 1;
    const size_t count = (size_t)(n_rows * cols), row_bytes = (size_t)nlm_dtype_row_bytes(t->dtype, (uint64_t)cols);
    float *values = malloc(count * sizeof *values);
    char *rows = malloc((size_t)n_rows * row_bytes);
    nlm_status status = values && rows ? NLM_OK : nlm_fail(err, NLM_OUT_OF_MEMORY, "micro", "no memory for a weight");
    if (status == NLM_OK) {
        random_floats(5, values, count);
        for (size_t i = 0; i < count; i++) values[i] = -fabsf(values[i]) / sqrtf((float)cols); /* A is negative */
        status = nlm_quantize_row(t->dtype, values, rows, (int64_t)count, err);
    }
    if (status == NLM_OK) nlm_pool_run(c->engine->pool, fill_rows, &(filling){t, rows, n_rows});
    free(values);
    free(rows);
    return status;
}

static nlm_status add_weight(micro_case *c, const char *name, nlm_dtype dtype, int rank, const int64_t *shape,
                             nlm_value *out, nlm_error *err) {
    nlm_weight *weight = &c->weights[c->n_weights];
    nlm_file_map *map = &c->maps[c->n_weights];
    *weight = (nlm_weight){.name = name, .drop_source = free_pages};
    NLM_TRY(nlm_tensor_init(&weight->source, dtype, rank, shape, NULL, err));
    NLM_TRY(nlm_file_map_zeros((size_t)nlm_tensor_bytes(&weight->source), map, err));
    c->n_weights++;
    weight->source.data = (void *)(uintptr_t)map->data;
    NLM_TRY(fill(c, &weight->source, err));
    *out = nlm_graph_weight(c->graph, weight);
    return NLM_OK;
}

static nlm_status begin(micro_case *c, nlm_error *err) {
    return nlm_graph_create(&c->graph, err);
}

static nlm_status plan(micro_case *c, nlm_value y, nlm_error *err) {
    nlm_graph_output(c->graph, y);
    return nlm_graph_plan(c->graph, &c->engine->env, &c->program, err);
}

static void fill_input(micro_case *c, nlm_value value, int64_t count) {
    random_floats((uint64_t)value + 11, nlm_program_input(c->program, value), (size_t)count);
}

/* One sequence of `tokens` rows in slot 0, the last at position context - 1. */
static nlm_batch_values add_batch(micro_case *c, int64_t tokens, int64_t n_pages) {
    nlm_graph *g = c->graph;
    const nlm_batch_values batch = {
        .pos = nlm_graph_input(g, "pos", NLM_I32, SHAPE(tokens), NLM_ROWS_TOKENS),
        .seq_start = nlm_graph_input(g, "seq_start", NLM_I32, SHAPE(2), NLM_ROWS_FIXED),
        .slot = nlm_graph_input(g, "slot", NLM_I32, SHAPE(1), NLM_ROWS_SEQS),
        .block_table =
            n_pages ? nlm_graph_input(g, "block_table", NLM_I32, SHAPE(1, n_pages), NLM_ROWS_FIXED) : NLM_NO_VALUE};
    return batch;
}

static void fill_batch(micro_case *c, const nlm_batch_values *batch, int64_t tokens, int64_t context,
                       int64_t n_pages) {
    int32_t *pos = nlm_program_input(c->program, batch->pos);
    int32_t *seq_start = nlm_program_input(c->program, batch->seq_start);
    for (int64_t t = 0; pos && t < tokens; t++) pos[t] = (int32_t)(context - tokens + t);
    seq_start[0] = 0;
    seq_start[1] = (int32_t)tokens;
    *(int32_t *)nlm_program_input(c->program, batch->slot) = 0;
    if (n_pages == 0) return;
    int32_t *table = nlm_program_input(c->program, batch->block_table);
    for (int64_t i = 0; i < n_pages; i++) table[i] = (int32_t)i;
}

/* ---- cases -------------------------------------------------------------------------------- */

nlm_status micro_open_matmul(micro_case *c, nlm_dtype dtype, int64_t m, int64_t n, int64_t k, nlm_error *err) {
    nlm_value w;
    NLM_TRY(begin(c, err));
    NLM_TRY(add_weight(c, "w", dtype, SHAPE(n, k), &w, err));
    const nlm_value x = nlm_graph_input(c->graph, "x", NLM_F32, SHAPE(m, k), NLM_ROWS_TOKENS);
    NLM_TRY(plan(c, nlm_graph_matmul(c->graph, x, w, NLM_NO_VALUE, NLM_NO_VALUE), err));
    fill_input(c, x, m * k);
    c->bytes = (double)nlm_tensor_bytes(&c->weights[0].source);
    c->flop = 2.0 * (double)m * (double)n * (double)k;
    return NLM_OK;
}

static nlm_status add_state(micro_case *c, const char *name, nlm_dtype dtype, int rank, const int64_t *shape,
                            nlm_value *out, nlm_error *err) {
    nlm_state *state = &c->states[c->n_states];
    NLM_TRY(nlm_state_init(state, name, dtype, rank, shape, err));
    c->n_states++;
    *out = nlm_graph_state(c->graph, state);
    return NLM_OK;
}

/* Zeros would be pages that are not there. */
static nlm_status fill_states(micro_case *c, nlm_error *err) {
    uint16_t run[4096];
    for (size_t i = 0; i < 4096; i++) run[i] = (uint16_t)(0x2800 + i % 1024); /* f16 from 0.03 on */
    for (size_t s = 0; s < c->n_states; s++) {
        for (uint64_t at = 0; at < c->states[s].bytes; at += sizeof run) {
            const uint64_t left = c->states[s].bytes - at;
            NLM_TRY(nlm_state_write(&c->states[s], at, run, left < sizeof run ? left : sizeof run, err));
        }
    }
    return NLM_OK;
}

double micro_attention_bytes(const micro_attention *shape) {
    const double row = (double)nlm_dtype_row_bytes(shape->kv_type, MICRO_HEAD_DIM);
    return 2 * row * (double)(shape->context * shape->heads_kv);
}

nlm_status micro_open_attention(micro_case *c, const micro_attention *shape, nlm_error *err) {
    const int64_t tokens = shape->tokens, context = shape->context;
    const int64_t n_pages = (context + PAGE_TOKENS - 1) / PAGE_TOKENS;
    nlm_value k, v;
    NLM_TRY(begin(c, err));
    const int64_t cache[4] = {n_pages, shape->heads_kv, PAGE_TOKENS, MICRO_HEAD_DIM};
    NLM_TRY(add_state(c, "k", shape->kv_type, 4, cache, &k, err));
    NLM_TRY(add_state(c, "v", shape->kv_type, 4, cache, &v, err));
    const nlm_batch_values batch = add_batch(c, tokens, n_pages);
    const nlm_value q =
        nlm_graph_input(c->graph, "q", NLM_F32, SHAPE(tokens, shape->heads, MICRO_HEAD_DIM), NLM_ROWS_TOKENS);
    NLM_TRY(plan(c, nlm_graph_attention(c->graph, q, k, v, &batch, 0.125f, 0), err));
    fill_input(c, q, tokens * shape->heads * MICRO_HEAD_DIM);
    fill_batch(c, &batch, tokens, context, n_pages);
    NLM_TRY(fill_states(c, err));
    const double pairs = (double)tokens * ((double)context - 0.5 * (double)(tokens - 1));
    c->bytes = micro_attention_bytes(shape);
    c->flop = 4 * pairs * (double)shape->heads * MICRO_HEAD_DIM;
    return NLM_OK;
}

nlm_status micro_open_scan(micro_case *c, int64_t tokens, nlm_error *err) {
    nlm_value a, d, state, in[5];
    const int64_t widths[5] = {MICRO_CHANNELS, MICRO_CHANNELS, MICRO_STATES, MICRO_STATES, MICRO_CHANNELS};
    const char *const names[5] = {"x", "dt", "b", "c", "z"};
    NLM_TRY(begin(c, err));
    NLM_TRY(add_weight(c, "a", NLM_F32, SHAPE(MICRO_CHANNELS, MICRO_STATES), &a, err));
    NLM_TRY(add_weight(c, "d", NLM_F32, SHAPE(MICRO_CHANNELS), &d, err));
    NLM_TRY(
        add_state(c, "h", NLM_F32, SHAPE(1, MICRO_CHANNELS / NLM_SSM_TILE, MICRO_STATES, NLM_SSM_TILE), &state, err));
    const nlm_batch_values batch = add_batch(c, tokens, 0);
    for (int i = 0; i < 5; i++) {
        in[i] = nlm_graph_input(c->graph, names[i], NLM_F32, SHAPE(tokens, widths[i]), NLM_ROWS_TOKENS);
    }
    NLM_TRY(plan(c, nlm_graph_ssm_scan(c->graph, in[0], in[1], a, in[2], in[3], d, in[4], state, NULL, &batch), err));
    for (int i = 0; i < 5; i++) fill_input(c, in[i], tokens * widths[i]);
    fill_batch(c, &batch, tokens, tokens, 0);
    c->bytes = 4.0 * (double)tokens * (4 * MICRO_CHANNELS + 2 * MICRO_STATES) + 12.0 * MICRO_CHANNELS * MICRO_STATES;
    c->flop = 7.0 * (double)tokens * MICRO_CHANNELS * MICRO_STATES;
    return NLM_OK;
}

void micro_close(micro_case *c) {
    if (c->program) nlm_program_destroy(c->program);
    if (c->graph) nlm_graph_destroy(c->graph);
    for (size_t i = 0; i < c->n_weights; i++) {
        nlm_weight_release(&c->weights[i]);
        nlm_file_map_close(&c->maps[i]);
    }
    for (size_t i = 0; i < c->n_states; i++) nlm_state_release(&c->states[i]);
}
