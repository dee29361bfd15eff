/* Inner products in the backend's one order of summation.
 *
 * Element k goes to partial sum k % 8; the eight are added as ((0+4)+(2+6)) + ((1+5)+(3+7)). The order
 * depends on the length alone, and eight independent sums let a compiler use vector registers. */
#ifndef NLM_SCALAR_DOT_H
#define NLM_SCALAR_DOT_H

#include <stdint.h>

/* sum_k a[k] b[k] */
float nlm_scalar_dot(const float *a, const float *b, int64_t n);
/* out[r] = sum_k rows[r][k] x[k] for four rows at once: the same bits as four single ones. */
void nlm_scalar_dot4(const float *const rows[4], const float *x, int64_t n, float out[4]);

#endif
