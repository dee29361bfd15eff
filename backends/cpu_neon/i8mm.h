/* Products of small matrices of bytes (i8mm). */
#ifndef NLM_CPU_NEON_I8MM_H
#define NLM_CPU_NEON_I8MM_H

#include "cpu/vector/gemm.h"

/* Many tokens by these, few by dot products. */
extern const nlm_gemm_quant nlm_neon_gemm_quant_i8mm, nlm_neon_gemm_quant_i8mm_8; /* of 8 bits */

#endif
