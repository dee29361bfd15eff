/* Reaching into tensors, and dividing work among workers. */
#ifndef NLM_CPU_VIEW_H
#define NLM_CPU_VIEW_H

#include <nlm/plugin.h>

/* Address of row i; of [i, j, ...]; of [i, j, k, ...]. */
static inline void *nlm_cpu_at(const nlm_tensor *t, int64_t i) {
    return (char *)t->data + i * t->stride_bytes[0];
}
static inline void *nlm_cpu_at2(const nlm_tensor *t, int64_t i, int64_t j) {
    return (char *)t->data + i * t->stride_bytes[0] + j * t->stride_bytes[1];
}
static inline void *nlm_cpu_at3(const nlm_tensor *t, int64_t i, int64_t j, int64_t k) {
    return (char *)t->data + i * t->stride_bytes[0] + j * t->stride_bytes[1] + k * t->stride_bytes[2];
}
static inline const int32_t *nlm_cpu_i32(const nlm_tensor *t) {
    return t->data;
}

/* Columns [from, from + count) of an f32 matrix. */
static inline nlm_tensor nlm_cpu_columns(const nlm_tensor *t, int64_t from, int64_t count) {
    nlm_tensor view = *t;
    view.data = (float *)t->data + from;
    view.shape[1] = count;
    return view;
}
/* An f32 matrix of as many rows as `rows` has, without gaps. */
static inline nlm_tensor nlm_cpu_matrix(const nlm_tensor *rows, void *data, int64_t columns) {
    nlm_tensor view = *rows;
    view.data = data;
    view.shape[1] = columns;
    view.stride_bytes[0] = columns * (int64_t)sizeof(float);
    return view;
}

/* The part [from, to) of `total` items that is worker ith's: contiguous, in multiples of `step`. What is left
 * over goes to the first workers: the very first begins earliest. */
typedef struct nlm_cpu_range {
    int64_t from, to;
} nlm_cpu_range;

static inline nlm_cpu_range nlm_cpu_slice(const nlm_exec_v1 *x, int64_t total, int64_t step) {
    const int64_t steps = (total + step - 1) / step;
    const int64_t from = (steps * x->ith + x->nth - 1) / x->nth * step;
    const int64_t to = (steps * ((int64_t)x->ith + 1) + x->nth - 1) / x->nth * step;
    return (nlm_cpu_range){from < total ? from : total, to < total ? to : total};
}

/* A slice of a matrix's elements: call next until it returns 0; it gives one row's columns [from, to). */
typedef struct nlm_cpu_cells {
    int64_t at, end, columns;
    int64_t row, from, to;
} nlm_cpu_cells;

static inline nlm_cpu_cells nlm_cpu_cells_of(const nlm_exec_v1 *x, int64_t rows, int64_t columns) {
    const nlm_cpu_range range = nlm_cpu_slice(x, rows * columns, 16);
    return (nlm_cpu_cells){.at = range.from, .end = range.to, .columns = columns};
}
static inline int nlm_cpu_cells_next(nlm_cpu_cells *cells) {
    if (cells->at >= cells->end) return 0;
    cells->row = cells->at / cells->columns;
    cells->from = cells->at % cells->columns;
    const int64_t left = cells->end - cells->at;
    cells->to = cells->columns - cells->from < left ? cells->columns : cells->from + left;
    cells->at += cells->to - cells->from;
    return 1;
}

#endif
