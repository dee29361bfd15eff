/* The gradients of a product by weight and bias, the reference. */
#include <string.h>

#include "multiples.h"
#include "scalar.h"

/* Rows of x that are added together. */
#define TILE 4

/* dw[n, from..] += sum_m dy[m,n] x[m, from..], in the order of m. */
static void add_rows(const nlm_matmul_dw_args *args, int64_t m_rows, int64_t n, int64_t from, int64_t count) {
    float *dw = (float *)nlm_kit_at(args->dw, n) + from;
    int64_t m = 0;
    for (; m + TILE <= m_rows; m += TILE) {
        float dy[TILE];
        const float *x[TILE];
        for (int64_t i = 0; i < TILE; i++) {
            dy[i] = ((const float *)nlm_kit_at(args->dy, m + i))[n];
            x[i] = (const float *)nlm_kit_at(args->x, m + i) + from;
        }
        nlm_scalar_add_multiple4(dw, dy, x, count);
    }
    for (; m < m_rows; m++) {
        const float *dy = nlm_kit_at(args->dy, m), *x = nlm_kit_at(args->x, m);
        nlm_scalar_add_multiple(dw, dy[n], x + from, count);
    }
}

static void sum_bias(const nlm_matmul_dw_args *args, int64_t m_rows, int64_t n) {
    float *db = (float *)args->db->data + n;
    float sum = args->flags & NLM_GRADIENT_ADD ? *db : 0;
    for (int64_t m = 0; m < m_rows; m++) sum += ((const float *)nlm_kit_at(args->dy, m))[n];
    *db = sum;
}

/* dw[n,k] = sum_m dy[m,n] x[m,k]; db[n] = sum_m dy[m,n]; slices the rows of dw. */
nlm_status nlm_scalar_matmul_dw(const nlm_exec_v1 *x, const nlm_matmul_dw_args *args) {
    const int64_t m_rows = nlm_live_rows(x, args->dy), columns = args->dw->shape[1];
    const nlm_kit_range rows = nlm_kit_slice(x, args->dw->shape[0], 1);
    for (int64_t n = rows.from; n < rows.to; n++) {
        if (!(args->flags & NLM_GRADIENT_ADD)) memset(nlm_kit_at(args->dw, n), 0, (size_t)columns * sizeof(float));
        if (args->db) sum_bias(args, m_rows, n);
    }
    for (int64_t k = 0; k < columns; k += NLM_SCALAR_STRIP) {
        const int64_t count = columns - k < NLM_SCALAR_STRIP ? columns - k : NLM_SCALAR_STRIP;
        for (int64_t n = rows.from; n < rows.to; n++) add_rows(args, m_rows, n, k, count);
    }
    return NLM_OK;
}
