/* int8 matrix tiles (Sapphire Rapids and later). */
#ifndef NLM_CPU_AVX512_AMX_H
#define NLM_CPU_AVX512_AMX_H

#include "cpu/vector/gemm.h"

/* The tile kernel. */
extern const nlm_gemm_quant nlm_avx512_gemm_quant;

#endif
