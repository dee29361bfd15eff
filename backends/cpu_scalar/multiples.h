/* Sums of rows times numbers, in the order of the rows. */
#ifndef NLM_SCALAR_MULTIPLES_H
#define NLM_SCALAR_MULTIPLES_H

#include <stdint.h>

/* Columns of a sum that is added to again and again: they stay in the nearest cache. */
#define NLM_SCALAR_STRIP 256

/* y[c] += a x[c] */
static inline void nlm_scalar_add_multiple(float *y, float a, const float *x, int64_t n) {
    for (int64_t c = 0; c < n; c++) y[c] += a * x[c];
}

/* Four in one pass over y: the same bits as one after the other. */
static inline void nlm_scalar_add_multiple4(float *y, const float a[4], const float *const x[4], int64_t n) {
    const float a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3];
    const float *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];
    for (int64_t c = 0; c < n; c++) y[c] = (((y[c] + a0 * x0[c]) + a1 * x1[c]) + a2 * x2[c]) + a3 * x3[c];
}

#endif
