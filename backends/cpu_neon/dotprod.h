/* The int8 kernels of cpu/vector, compiled with dot products of bytes, and both also for activations of 8 bits (_8).
 */
#ifndef NLM_CPU_NEON_DOTPROD_H
#define NLM_CPU_NEON_DOTPROD_H

#include "cpu/vector/gemm.h"

extern const nlm_matmul_kernels nlm_vector_quant_kernels_dotprod[NLM_VECTOR_QUANT_TYPES];
extern const nlm_gemm_quant nlm_vector_gemm_quant_dotprod, nlm_vector_gemm_quant_8, nlm_vector_gemm_quant_dotprod_8;

#endif
