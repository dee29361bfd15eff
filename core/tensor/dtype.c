/* Names of element types, and sizes of tensors. */
#include "tensor/dtype.h"

#include "base/checked.h"
#include "base/status.h"

#include <string.h>

const nlm_dtype_info *nlm_dtype_from_name(const char *name) {
#define DTYPE_NAMED(NAME, dtype_name, number, elements, bytes) \
    if (strcmp(name, #dtype_name) == 0) return nlm_dtype_find(number);
    NLM_DTYPE_LIST(DTYPE_NAMED)
#undef DTYPE_NAMED
    return NULL;
}

const char *nlm_dtype_name(nlm_dtype dtype) {
    const nlm_dtype_info *info = nlm_dtype_find(dtype);
    return info ? info->name : "unknown";
}

uint64_t nlm_dtype_row_bytes(nlm_dtype dtype, uint64_t elements) {
    const nlm_dtype_info *info = nlm_dtype_find(dtype);
    if (!info || elements % info->block_elements != 0) return 0;
    uint64_t bytes;
    if (!nlm_mul_u64(elements / info->block_elements, info->block_bytes, &bytes)) return 0;
    return bytes;
}

/* Strides from the innermost dimension outwards; *total becomes the bytes of the whole. */
static bool fill_strides(nlm_tensor *tensor, const nlm_dtype_info *info, uint64_t *total) {
    const int last = tensor->rank - 1;
    tensor->stride_bytes[last] = info->block_bytes;
    if (!nlm_mul_u64((uint64_t)tensor->shape[last] / info->block_elements, info->block_bytes, total)) return false;
    for (int d = last - 1; d >= 0; d--) {
        if (*total > INT64_MAX) return false;
        tensor->stride_bytes[d] = (int64_t)*total;
        if (!nlm_mul_u64(*total, (uint64_t)tensor->shape[d], total)) return false;
    }
    return *total <= INT64_MAX;
}

nlm_status nlm_tensor_init(nlm_tensor *out, nlm_dtype dtype, int rank, const int64_t *shape, void *data,
                           nlm_error *err) {
    const nlm_dtype_info *info = nlm_dtype_find(dtype);
    if (!info) return nlm_fail(err, NLM_INVALID_ARGUMENT, __func__, "element type %d is not known", (int)dtype);
    if (rank < 1 || rank > NLM_MAX_RANK) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, __func__, "rank is %d, expected 1 to %d", rank, NLM_MAX_RANK);
    }
    nlm_tensor tensor = {.data = data, .dtype = dtype, .rank = rank, .row_kind = NLM_ROWS_FIXED};
    for (int d = 0; d < NLM_MAX_RANK; d++) {
        tensor.shape[d] = d < rank ? shape[d] : 1;
        if (tensor.shape[d] < 0) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, __func__, "dimension %d is %lld, expected 0 or more", d,
                            (long long)shape[d]);
        }
    }
    if (shape[rank - 1] % info->block_elements != 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, __func__,
                        "a row of %lld elements is no multiple of the %u elements of a %s block",
                        (long long)shape[rank - 1], info->block_elements, info->name);
    }
    uint64_t total;
    if (!fill_strides(&tensor, info, &total)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, __func__, "the size in bytes does not fit 63 bits");
    }
    *out = tensor;
    return NLM_OK;
}

uint64_t nlm_tensor_bytes(const nlm_tensor *tensor) {
    uint64_t bytes = nlm_dtype_row_bytes(tensor->dtype, (uint64_t)tensor->shape[tensor->rank - 1]);
    for (int d = tensor->rank - 2; d >= 0; d--) {
        if (!nlm_mul_u64(bytes, (uint64_t)tensor->shape[d], &bytes)) return 0;
    }
    return bytes;
}

bool nlm_tensor_is_contiguous(const nlm_tensor *tensor) {
    const nlm_dtype_info *info = nlm_dtype_find(tensor->dtype);
    if (!info || tensor->layout != NLM_LAYOUT_ROW_MAJOR) return false;
    const int last = tensor->rank - 1;
    if (tensor->stride_bytes[last] != info->block_bytes && tensor->shape[last] > info->block_elements) return false;
    int64_t expected = tensor->shape[last] / info->block_elements * info->block_bytes;
    for (int d = last - 1; d >= 0; d--) {
        if (tensor->shape[d] != 1 && tensor->stride_bytes[d] != expected) return false;
        expected *= tensor->shape[d];
    }
    return true;
}
