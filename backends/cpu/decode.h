/* Rows of the element types to f32 and back, compiled once. */
#ifndef NLM_CPU_DECODE_H
#define NLM_CPU_DECODE_H

#include <nlm/dtype.h>

/* nlm_decode_row. */
void nlm_cpu_decode(int32_t dtype, const void *row, float *out, int64_t n);
/* The reverse, for the types a cache can have: f32, f16, bf16, q8_0. Rounds to nearest even; q8_0 takes
 * max|x|/127 of a block as its scale. */
void nlm_cpu_encode(int32_t dtype, const float *values, void *row, int64_t n);

#endif
