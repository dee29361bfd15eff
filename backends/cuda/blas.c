/* cuBLASLt. It has matrices in columns: w of rows stands there as its transpose, and so do the results. */
#include "blas.h"

#include <string.h>

/* Algorithms that are looked at, best first. */
#define CANDIDATES 8

/* Alignments that are promised, in bytes. */
enum { OF_OPERANDS = 16, OF_RESULTS = 128 };

struct nlm_cuda_blas_product {
    nlm_cuda_blas_shape shape;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t w, x, results;
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace_bytes;
    bool is_there;
    nlm_cuda_blas_product *next;
};

/* ---- errors ---- */

static const char *name_of(cublasStatus_t status) {
    switch (status) {
        case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
        case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
        case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
        case CUBLAS_STATUS_ARCH_MISMATCH: return "CUBLAS_STATUS_ARCH_MISMATCH";
        case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
        case CUBLAS_STATUS_INTERNAL_ERROR: return "CUBLAS_STATUS_INTERNAL_ERROR";
        case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
        default: return "a status that is not known";
    }
}

static nlm_status fail(const nlm_cuda_device *d, nlm_error *error, const char *call, cublasStatus_t status) {
    const nlm_status code = status == CUBLAS_STATUS_ALLOC_FAILED ? NLM_OUT_OF_MEMORY : NLM_DEVICE_ERROR;
    nlm_kit_fail(error, code, call, "GPU %u (%s): %s (%d)", d->ordinal, d->name, name_of(status), status);
    if (error && error->struct_size >= sizeof *error) error->native_code = status;
    return code;
}

/* In a function with a `d` and an `error`: returns if the call of the library fails. */
#define BLAS_TRY(call, ...)                                                          \
    do {                                                                             \
        const cublasStatus_t status_ = d->lt->call(__VA_ARGS__);                     \
        if (status_ != CUBLAS_STATUS_SUCCESS) return fail(d, error, #call, status_); \
    } while (0)

/* ---- the library ---- */

static void tell_own_kernels(const nlm_cuda_device *d, int32_t level, const char *why) {
    char text[256];
    snprintf(text, sizeof text, "products of many rows go by the backend's own kernels: %s", why);
    d->host->log(d->host->self, level, text);
}

nlm_status nlm_cuda_blas_open(nlm_cuda_device *d, nlm_error *error) {
    char why[192];
    if (d->products == NLM_CUDA_PRODUCTS_OWN) return NLM_OK;
    d->lt = nlm_cuda_cublaslt_open(d->host, why, sizeof why);
    if (!d->lt && d->products == NLM_CUDA_PRODUCTS_CUBLASLT) {
        return nlm_kit_fail(error, NLM_DEVICE_ERROR, "open", "products = \"cublaslt\": %s", why);
    }
    if (!d->lt) {
        tell_own_kernels(d, NLM_LOG_INFO, why);
        return NLM_OK;
    }
    const cublasStatus_t status = d->lt->cublasLtCreate(&d->lt_handle);
    if (status == CUBLAS_STATUS_SUCCESS) return NLM_OK;
    d->lt_handle = NULL;
    if (d->products == NLM_CUDA_PRODUCTS_CUBLASLT) return fail(d, error, "cublasLtCreate", status);
    d->lt = NULL;
    snprintf(why, sizeof why, "GPU %u (%s): cublasLtCreate: %s (%d)", d->ordinal, d->name, name_of(status), status);
    tell_own_kernels(d, NLM_LOG_WARN, why);
    return NLM_OK;
}

static void drop(nlm_cuda_device *d, nlm_cuda_blas_product *p) {
    if (p->desc) d->lt->cublasLtMatmulDescDestroy(p->desc);
    if (p->w) d->lt->cublasLtMatrixLayoutDestroy(p->w);
    if (p->x) d->lt->cublasLtMatrixLayoutDestroy(p->x);
    if (p->results) d->lt->cublasLtMatrixLayoutDestroy(p->results);
    d->host->release(d->host->self, p);
}

void nlm_cuda_blas_close(nlm_cuda_device *d) {
    for (nlm_cuda_blas_product *next; d->blas_products; d->blas_products = next) {
        next = d->blas_products->next;
        drop(d, d->blas_products);
    }
    if (d->lt_handle) d->lt->cublasLtDestroy(d->lt_handle);
    d->lt_handle = NULL;
}

/* ---- what a shape needs ---- */

static nlm_status describe(nlm_cuda_device *d, nlm_cuda_blas_product *p, nlm_error *error) {
    const nlm_cuda_blas_shape *s = &p->shape;
    const int32_t transposed = CUBLAS_OP_T;
    const uint64_t depth = (uint64_t)s->depth, n = (uint64_t)s->n, rows = (uint64_t)s->rows;
    BLAS_TRY(cublasLtMatmulDescCreate, &p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    BLAS_TRY(cublasLtMatmulDescSetAttribute, p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
    BLAS_TRY(cublasLtMatrixLayoutCreate, &p->w, s->type, depth, n, s->depth);
    BLAS_TRY(cublasLtMatrixLayoutCreate, &p->x, s->type, depth, rows, s->depth);
    BLAS_TRY(cublasLtMatrixLayoutCreate, &p->results, CUDA_R_32F, n, rows, s->pitch);
    return NLM_OK;
}

static nlm_status prefer(nlm_cuda_device *d, const nlm_cuda_blas_shape *s, cublasLtMatmulPreference_t preference,
                         nlm_error *error) {
    const uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const struct {
        int attribute;
        uint32_t bytes;
    } alignments[] = {
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, OF_OPERANDS},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, OF_OPERANDS},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, OF_RESULTS},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, OF_RESULTS},
    };
    BLAS_TRY(cublasLtMatmulPreferenceSetAttribute, preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
             &s->workspace_bytes, sizeof s->workspace_bytes);
    BLAS_TRY(cublasLtMatmulPreferenceSetAttribute, preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &scheme,
             sizeof scheme);
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
        BLAS_TRY(cublasLtMatmulPreferenceSetAttribute, preference, alignments[i].attribute, &alignments[i].bytes,
                 sizeof alignments[i].bytes);
    }
    return NLM_OK;
}

/* Whether the sums of an algorithm have one order: parts that wait for each other in place are not trusted to. */
static nlm_status is_ordered(nlm_cuda_device *d, const cublasLtMatmulAlgo_t *algorithm, bool *out, nlm_error *error) {
    uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_INPLACE;
    size_t written = 0;
    BLAS_TRY(cublasLtMatmulAlgoConfigGetAttribute, algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme,
             sizeof scheme, &written);
    *out = scheme == CUBLASLT_REDUCTION_SCHEME_NONE || scheme == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    return NLM_OK;
}

static nlm_status choose(nlm_cuda_device *d, nlm_cuda_blas_product *p, cublasLtMatmulPreference_t preference,
                         nlm_error *error) {
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    int count = 0;
    memset(found, 0, sizeof found);
    NLM_KIT_TRY(prefer(d, &p->shape, preference, error));
    const cublasStatus_t status = d->lt->cublasLtMatmulAlgoGetHeuristic(
        d->lt_handle, p->desc, p->w, p->x, p->results, p->results, preference, CANDIDATES, found, &count);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED) return NLM_OK;
    if (status != CUBLAS_STATUS_SUCCESS) return fail(d, error, "cublasLtMatmulAlgoGetHeuristic", status);
    for (int i = 0; i < count && !p->is_there; i++) {
        if (found[i].state != CUBLAS_STATUS_SUCCESS || found[i].workspaceSize > p->shape.workspace_bytes) continue;
        NLM_KIT_TRY(is_ordered(d, &found[i].algo, &p->is_there, error));
        p->algorithm = found[i].algo;
        p->workspace_bytes = found[i].workspaceSize;
    }
    return NLM_OK;
}

static nlm_status search(nlm_cuda_device *d, nlm_cuda_blas_product *p, nlm_error *error) {
    cublasLtMatmulPreference_t preference;
    NLM_KIT_TRY(describe(d, p, error));
    BLAS_TRY(cublasLtMatmulPreferenceCreate, &preference);
    const nlm_status status = choose(d, p, preference, error);
    d->lt->cublasLtMatmulPreferenceDestroy(preference);
    return status;
}

/* ---- shapes that were met ---- */

static bool is_same(const nlm_cuda_blas_shape *a, const nlm_cuda_blas_shape *b) {
    return a->rows == b->rows && a->n == b->n && a->depth == b->depth && a->pitch == b->pitch && a->type == b->type &&
           a->workspace_bytes == b->workspace_bytes;
}

/* The caller holds the lock. */
static nlm_status add(nlm_cuda_device *d, const nlm_cuda_blas_shape *shape, nlm_cuda_blas_product **out,
                      nlm_error *error) {
    nlm_cuda_blas_product *p = d->host->alloc(d->host->self, sizeof *p, 16);
    if (!p) return nlm_kit_fail(error, NLM_OUT_OF_MEMORY, "cublaslt", "no host memory");
    *p = (nlm_cuda_blas_product){.shape = *shape};
    const nlm_status status = search(d, p, error);
    if (status != NLM_OK) {
        drop(d, p);
        return status;
    }
    p->next = d->blas_products;
    d->blas_products = p;
    *out = p;
    return NLM_OK;
}

static nlm_status find(nlm_cuda_device *d, const nlm_cuda_blas_shape *shape, bool may_search,
                       const nlm_cuda_blas_product **out, nlm_error *error) {
    nlm_cuda_blas_product *p = d->blas_products;
    while (p && !is_same(&p->shape, shape)) p = p->next;
    if (!p && !may_search) {
        return nlm_kit_fail(error, NLM_INTERNAL, "cublaslt", "a product of [%lld, %lld] with %lld was not prepared",
                            (long long)shape->rows, (long long)shape->depth, (long long)shape->n);
    }
    if (!p) NLM_KIT_TRY(add(d, shape, &p, error));
    *out = p->is_there ? p : NULL;
    return NLM_OK;
}

nlm_status nlm_cuda_blas_find(nlm_cuda_device *d, const nlm_cuda_blas_shape *shape, bool may_search,
                              const nlm_cuda_blas_product **out, nlm_error *error) {
    NLM_CUDA_IN(d);
    pthread_mutex_lock(&d->lock);
    const nlm_status status = find(d, shape, may_search, out, error);
    pthread_mutex_unlock(&d->lock);
    return status;
}

nlm_status nlm_cuda_blas_multiply(nlm_cuda_device *d, nlm_cuda_stream *s, const nlm_cuda_blas_product *p,
                                  const nlm_cuda_blas_places *at, nlm_error *error) {
    const float one = 1, zero = 0;
    void *results = (void *)at->results;
    NLM_CUDA_IN(d);
    BLAS_TRY(cublasLtMatmul, d->lt_handle, p->desc, &one, (const void *)at->w, p->w, (const void *)at->x, p->x, &zero,
             results, p->results, results, p->results, &p->algorithm, (void *)at->workspace, p->workspace_bytes,
             s->stream);
    s->is_busy = true;
    return NLM_OK;
}
