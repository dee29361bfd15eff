/* The shape of the AVX-512 shim: what simd.h tells of. */
#ifndef NLM_CPU_SHAPE_AVX512_H
#define NLM_CPU_SHAPE_AVX512_H

#define V_LANES         16
#define V_Q8_OFFSET     128
#define V_CHUNK         4
#define V_F32_TOKENS    12
#define V_PLAIN_SUMS    24
#define V_SCAN_STATES   8
#define V_BYTE_SUMS     16
#define V_WORD_PANELS   4
#define V_WORD_TOKENS   6
#define V_WORD_TOGETHER 3
#ifndef V_FOLDS
#define V_FOLDS 1
#endif
#define V_NIBBLE_PLANE_BITS 4 /* what tiles want */

#endif
