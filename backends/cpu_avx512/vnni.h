/* The kernels of quantised weights of cpu/vector, compiled with VNNI: for each, the same sums; those for few tokens
 * beside tiles, too, which have the sums that gemm_amx.c has. */
#ifndef NLM_CPU_AVX512_VNNI_H
#define NLM_CPU_AVX512_VNNI_H

#include "cpu/vector/gemm.h"

extern const nlm_matmul_kernels nlm_vector_quant_kernels_vnni[NLM_VECTOR_QUANT_TYPES];
extern const nlm_matmul_kernels nlm_vector_quant_kernels_tiles[NLM_VECTOR_QUANT_TYPES];
extern const nlm_gemm_quant nlm_vector_gemm_quant_vnni, nlm_vector_gemm_quant_bytes_vnni;

#endif
