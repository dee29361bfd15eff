/* The kernels of cpu/vector for many tokens over quantised weights, compiled with AVX-VNNI: the same sums. */
#ifndef NLM_CPU_AVX2_AVXVNNI_H
#define NLM_CPU_AVX2_AVXVNNI_H

#include "cpu/vector/gemm.h"

extern const nlm_gemm_quant nlm_vector_gemm_quant_avxvnni;

#endif
