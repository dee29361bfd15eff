/* The shape of the AVX2 shim: what simd.h tells of. */
#ifndef NLM_CPU_SHAPE_AVX2_H
#define NLM_CPU_SHAPE_AVX2_H

#define V_LANES             8
#define V_Q8_OFFSET         0
#define V_CHUNK             2
#define V_F32_TOKENS        6
#define V_PLAIN_SUMS        12
#define V_SCAN_STATES       4
#define V_WORD_PANELS       4
#define V_WORD_TOKENS       3
#define V_WORD_TOGETHER     3
#define V_FOLDS             1
#define V_NIBBLE_PLANE_BITS 7

#endif
