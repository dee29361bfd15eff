/* Models of random weights in any type, for timing without a file. */
#include "nlm-bench/random_weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/status.h"
#include "tensor/dtype.h"

#define POOL_ELEMENTS (1 << 16) /* random values a tensor is made of */

static uint64_t mix(uint64_t value) {
    value += 0x9e3779b97f4a7c15u;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
    value = (value ^ value >> 27) * 0x94d049bb133111ebu;
    return value ^ value >> 31;
}

/* Uniform, mean 0, variance 1. */
static float uniform(uint64_t seed, uint64_t index) {
    const float unit = (float)(mix(seed * 0x2545f4914f6cdd1du + index) >> 40) * 0x1p-24f;
    return (2 * unit - 1) * 1.7320508f;
}

void random_floats(uint64_t seed, float *out, size_t count) {
    for (size_t i = 0; i < count; i++) out[i] = uniform(seed, i);
}

/* ---- one tensor --------------------------------------------------------------------------- */

static bool ends_with(nlm_gguf_string name, const char *end) {
    const size_t length = strlen(end);
    return name.length >= length && memcmp(name.data + name.length - length, end, length) == 0;
}

/* One value of a vector or of ssm_a, whose columns are states. */
static float special_value(nlm_gguf_string name, uint64_t index, int64_t cols) {
    if (ends_with(name, "norm.weight") || ends_with(name, "ssm_d")) return 1;
    if (ends_with(name, "ssm_a")) return -(float)(index % (uint64_t)cols + 1);
    const float unit = uniform(7, index) / 1.7320508f; /* -1..1 */
    if (ends_with(name, "ssm_dt.bias")) return -4.6f + 2.3f * unit;
    return 0.1f * unit;
}

static bool is_special(const nlm_gguf_tensor *t) {
    return t->tensor.rank == 1 || ends_with(t->name, "ssm_a");
}

static void fill_special(const nlm_gguf_tensor *t) {
    float *values = t->tensor.data;
    const uint64_t count = t->bytes / sizeof *values;
    for (uint64_t i = 0; i < count; i++) values[i] = special_value(t->name, i, t->tensor.shape[t->tensor.rank - 1]);
}

/* A run of random blocks from which rows of a matrix are cut, each at its own place. */
typedef struct matrix {
    const nlm_gguf_tensor *t;
    uint64_t seed, row_bytes, block_bytes, n_places;
    char *run; /* n_places blocks and one row more */
} matrix;

static nlm_status matrix_open(matrix *m, const nlm_gguf_tensor *t, size_t index, nlm_error *err) {
    const nlm_dtype_info *info = nlm_dtype_find(t->tensor.dtype);
    const int64_t cols = t->tensor.shape[1];
    *m = (matrix){.t = t,
                  .seed = index + 1,
                  .row_bytes = nlm_dtype_row_bytes(info->dtype, (uint64_t)cols),
                  .block_bytes = info->block_bytes,
                  .n_places = POOL_ELEMENTS / info->block_elements};
    const size_t count = POOL_ELEMENTS + (size_t)cols;
    float *values = malloc(count * sizeof *values);
    m->run = malloc(m->n_places * m->block_bytes + m->row_bytes);
    nlm_status status = values && m->run ? NLM_OK : NLM_OUT_OF_MEMORY;
    if (status == NLM_OK) {
        const float scale = 1 / sqrtf((float)cols);
        for (size_t i = 0; i < count; i++) values[i] = scale * uniform(m->seed, i);
        status = nlm_quantize_row(info->dtype, values, m->run, (int64_t)count, err);
    } else {
        nlm_fail(err, status, "random weights", "no memory for %zu values", count);
    }
    free(values);
    return status;
}

static void matrix_close(matrix *m) {
    free(m->run);
}

static void fill_row(const matrix *m, int64_t row) {
    const uint64_t place = mix(m->seed << 40 ^ (uint64_t)row) % m->n_places;
    memcpy((char *)m->t->tensor.data + (uint64_t)row * m->row_bytes, m->run + place * m->block_bytes, m->row_bytes);
}

static void fill_rows(void *user, uint32_t ith, uint32_t nth) {
    const matrix *m = user;
    const int64_t rows = m->t->tensor.shape[0];
    for (int64_t row = rows * ith / nth; row < rows * (ith + 1) / nth; row++) fill_row(m, row);
}

nlm_status random_weights_fill(const nlm_gguf *gguf, nlm_pool *pool, nlm_error *err) {
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++) {
        const nlm_gguf_tensor *t = nlm_gguf_tensor_at(gguf, i);
        if (is_special(t)) {
            fill_special(t);
            continue;
        }
        matrix m;
        const nlm_status status = matrix_open(&m, t, i, err);
        if (status == NLM_OK) nlm_pool_run(pool, fill_rows, &m);
        matrix_close(&m);
        NLM_TRY(status);
    }
    return NLM_OK;
}

/* ---- restoring ---------------------------------------------------------------------------- */

/* One byte a page of the tensor: is it in memory? */
typedef struct residency {
    uintptr_t base, page;
    unsigned char *pages;
} residency;

static nlm_status residency_open(residency *r, const nlm_gguf_tensor *t, nlm_error *err) {
    r->page = (uintptr_t)sysconf(_SC_PAGESIZE);
    r->base = (uintptr_t)t->tensor.data & ~(r->page - 1);
    const size_t bytes = (uintptr_t)t->tensor.data + t->bytes - r->base;
    r->pages = calloc(bytes / r->page + 2, 1);
    if (!r->pages) return nlm_fail(err, NLM_OUT_OF_MEMORY, "random weights", "no memory for a map of pages");
    if (mincore((void *)r->base, bytes, r->pages) == 0) return NLM_OK;
    free(r->pages);
    return nlm_fail_errno(err, NLM_IO, "random weights", "mincore");
}

static bool is_zero(const char *data, uint64_t bytes) {
    return data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0;
}

/* Was the row read since its pages were dropped? Those are in memory again, as zeros. */
static bool was_read(const residency *r, const char *row, uint64_t bytes) {
    const uintptr_t first = (uintptr_t)row - r->base, last = first + bytes - 1;
    for (uintptr_t page = first / r->page; page <= last / r->page; page++) {
        const uintptr_t from = page * r->page < first ? first : page * r->page;
        const uintptr_t to = (page + 1) * r->page > last + 1 ? last + 1 : (page + 1) * r->page;
        if (r->pages[page] & 1 && is_zero((const char *)(r->base + from), to - from)) return true;
    }
    return false;
}

static nlm_status restore_matrix(const nlm_gguf_tensor *t, size_t index, nlm_error *err) {
    residency r;
    matrix m;
    NLM_TRY(residency_open(&r, t, err));
    const nlm_status status = matrix_open(&m, t, index, err);
    for (int64_t row = 0; status == NLM_OK && row < t->tensor.shape[0]; row++) {
        if (was_read(&r, (const char *)t->tensor.data + (uint64_t)row * m.row_bytes, m.row_bytes)) fill_row(&m, row);
    }
    matrix_close(&m);
    free(r.pages);
    return status;
}

nlm_status random_weights_restore(const nlm_gguf *gguf, nlm_error *err) {
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++) {
        const nlm_gguf_tensor *t = nlm_gguf_tensor_at(gguf, i);
        if (!is_special(t)) NLM_TRY(restore_matrix(t, i, err));
    }
    return NLM_OK;
}
