/* Views of tensors. */
#ifndef NLM_CPU_VIEW_H
#define NLM_CPU_VIEW_H

#include <nlm/plugin_kit.h>

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

/* The elements of a matrix, or of a row that is a tensor of its own. */
static inline nlm_kit_cells nlm_cpu_cells(const nlm_exec_v1 *x, const nlm_tensor *t) {
    if (t->rank == 1) return nlm_kit_cells_of(x, 1, t->shape[0]);
    return nlm_kit_cells_of(x, nlm_live_rows(x, t), t->shape[1]);
}

#endif
