/* What this backend uses of cuBLASLt, NVIDIA's library of matrix products: see cuda.h beside it. */
#ifndef NLM_CUDA_API_CUBLASLT_H
#define NLM_CUDA_API_CUBLASLT_H

#include <stddef.h>
#include <stdint.h>

#include "cuda.h"

typedef int cublasStatus_t;
typedef struct cublasLtContext *cublasLtHandle_t;
typedef struct nlm_cublaslt_desc *cublasLtMatmulDesc_t;
typedef struct nlm_cublaslt_layout *cublasLtMatrixLayout_t;
typedef struct nlm_cublaslt_preference *cublasLtMatmulPreference_t;

enum {
    CUBLAS_STATUS_SUCCESS = 0,
    CUBLAS_STATUS_NOT_INITIALIZED = 1,
    CUBLAS_STATUS_ALLOC_FAILED = 3,
    CUBLAS_STATUS_INVALID_VALUE = 7,
    CUBLAS_STATUS_ARCH_MISMATCH = 8,
    CUBLAS_STATUS_EXECUTION_FAILED = 13,
    CUBLAS_STATUS_INTERNAL_ERROR = 14,
    CUBLAS_STATUS_NOT_SUPPORTED = 15,
};

/* cudaDataType_t, cublasComputeType_t, cublasOperation_t, cublasLtEpilogue_t, cublasLtOrder_t */
enum { CUDA_R_32F = 0, CUDA_R_16F = 2, CUDA_R_16BF = 14 };
enum { CUBLAS_COMPUTE_32F = 68, CUBLAS_COMPUTE_32F_FAST_TF32 = 77 };
enum { CUBLAS_OP_N = 0, CUBLAS_OP_T = 1 };
enum { CUBLASLT_EPILOGUE_DEFAULT = 1 };
enum { CUBLASLT_ORDER_COL = 0, CUBLASLT_ORDER_ROW = 1 };

/* cublasLtMatmulDescAttributes_t: int32_t, all but the last */
enum {
    CUBLASLT_MATMUL_DESC_TRANSA = 3,
    CUBLASLT_MATMUL_DESC_TRANSB = 4,
    CUBLASLT_MATMUL_DESC_EPILOGUE = 7,
};

/* cublasLtMatrixLayoutAttribute_t: int32_t, int32_t, int64_t (in elements) */
enum {
    CUBLASLT_MATRIX_LAYOUT_ORDER = 1,
    CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT = 5,
    CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET = 6,
};

/* cublasLtMatmulPreferenceAttributes_t: uint64_t; uint32_t each */
enum {
    CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1,
    CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK = 3,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 6,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES = 7,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 8,
};

/* cublasLtMatmulAlgoConfigAttributes_t: uint32_t; and cublasLtReductionScheme_t, how the parts of a sum that was
 * split come together: not split, by counters in place, or by a second kernel from parts in the compute or the output
 * type. */
enum { CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME = 3 };
enum {
    CUBLASLT_REDUCTION_SCHEME_NONE = 0,
    CUBLASLT_REDUCTION_SCHEME_INPLACE = 1,
    CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE = 2,
    CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE = 4,
};

typedef struct cublasLtMatmulAlgo_t {
    uint64_t data[8];
} cublasLtMatmulAlgo_t;

typedef struct cublasLtMatmulHeuristicResult_t {
    cublasLtMatmulAlgo_t algo;
    size_t workspaceSize;
    cublasStatus_t state;
    float wavesCount;
    int reserved[4];
} cublasLtMatmulHeuristicResult_t;

/* X(name, arguments): every function returns a cublasStatus_t. D = alpha * op(A) op(B) + beta * C; alpha and beta are
 * of the host, f32. */
#define NLM_CUBLASLT_FUNCTIONS(X)                                                                                  \
    X(cublasLtCreate, (cublasLtHandle_t * out))                                                                    \
    X(cublasLtDestroy, (cublasLtHandle_t handle))                                                                  \
    X(cublasLtMatmulDescCreate, (cublasLtMatmulDesc_t * out, int compute_type, int scale_type))                    \
    X(cublasLtMatmulDescDestroy, (cublasLtMatmulDesc_t desc))                                                      \
    X(cublasLtMatmulDescSetAttribute, (cublasLtMatmulDesc_t desc, int attribute, const void *value, size_t bytes)) \
    X(cublasLtMatrixLayoutCreate,                                                                                  \
      (cublasLtMatrixLayout_t * out, int type, uint64_t rows, uint64_t columns, int64_t leading))                  \
    X(cublasLtMatrixLayoutDestroy, (cublasLtMatrixLayout_t layout))                                                \
    X(cublasLtMatrixLayoutSetAttribute,                                                                            \
      (cublasLtMatrixLayout_t layout, int attribute, const void *value, size_t bytes))                             \
    X(cublasLtMatmulPreferenceCreate, (cublasLtMatmulPreference_t * out))                                          \
    X(cublasLtMatmulPreferenceDestroy, (cublasLtMatmulPreference_t preference))                                    \
    X(cublasLtMatmulPreferenceSetAttribute,                                                                        \
      (cublasLtMatmulPreference_t preference, int attribute, const void *value, size_t bytes))                     \
    X(cublasLtMatmulAlgoGetHeuristic,                                                                              \
      (cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,     \
       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int n_wanted,    \
       cublasLtMatmulHeuristicResult_t *out, int *out_count))                                                      \
    X(cublasLtMatmulAlgoConfigGetAttribute,                                                                        \
      (const cublasLtMatmulAlgo_t *algo, int attribute, void *out, size_t bytes, size_t *out_bytes))               \
    X(cublasLtMatmul,                                                                                              \
      (cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *a,                       \
       cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout, const void *beta,          \
       const void *c, cublasLtMatrixLayout_t c_layout, void *d, cublasLtMatrixLayout_t d_layout,                   \
       const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspace_bytes, CUstream stream))

#endif
