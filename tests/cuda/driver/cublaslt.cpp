// A stand-in for libcublasLt.so.13: matrix products in plain C as work of a stream. What a backend has no use for, as
// epilogues and other types, is refused.
#include "cuda/api/cublaslt.h"

#include <nlm/dtype.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "standins.h"

#define LT_DECLARE(name, arguments) extern "C" __attribute__((visibility("default"))) cublasStatus_t name arguments;
NLM_CUBLASLT_FUNCTIONS(LT_DECLARE)
#undef LT_DECLARE

// What the caller has handles of.
struct cublasLtContext {
    int unused;
};

struct nlm_cublaslt_desc {
    int32_t compute, scale, transpose_a, transpose_b, epilogue;
};

struct nlm_cublaslt_layout {
    int32_t type, order, batch_count;
    uint64_t rows, columns;
    int64_t leading, batch_stride;
};

struct nlm_cublaslt_preference {
    uint64_t workspace_bytes;
    uint32_t alignment[4], schemes;
};

namespace {

const uint64_t ALGORITHM = 0x656d756c61746564; // what the heuristic hands out, and nothing else is taken

std::mutex lock;
std::set<const void *> &live = *new std::set<const void *>;

void tell_at_exit() {
    const std::string left = std::to_string(live.size());
    if (!live.empty()) emu_cuda_tell(("cuBLASLt: " + left + " objects are left at exit").c_str());
}

template <typename object>
cublasStatus_t make(object **out, const object &value) {
    if (!out) return CUBLAS_STATUS_INVALID_VALUE;
    const std::lock_guard<std::mutex> held(lock);
    *out = new object(value);
    live.insert(*out);
    return CUBLAS_STATUS_SUCCESS;
}

template <typename object>
cublasStatus_t destroy(object *gone) {
    const std::lock_guard<std::mutex> held(lock);
    if (live.erase(gone) == 0) return CUBLAS_STATUS_INVALID_VALUE;
    delete gone;
    return CUBLAS_STATUS_SUCCESS;
}

bool is_live(std::initializer_list<const void *> objects) {
    const std::lock_guard<std::mutex> held(lock);
    for (const void *one : objects) {
        if (live.count(one) == 0) return false;
    }
    return true;
}

template <typename value>
cublasStatus_t assign(value *to, const void *from, size_t bytes) {
    if (!from || bytes != sizeof *to) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, from, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

size_t element_bytes(int32_t type) {
    return type == CUDA_R_32F ? 4 : 2;
}

bool is_known_type(int32_t type) {
    return type == CUDA_R_32F || type == CUDA_R_16F || type == CUDA_R_16BF;
}

// A matrix in memory, of one of a batch.
struct matrix {
    nlm_cublaslt_layout layout;
    char *base;
    bool is_transposed;

    size_t offset(uint64_t row, uint64_t column, int32_t batch) const {
        if (is_transposed) std::swap(row, column);
        const bool is_row_major = layout.order == CUBLASLT_ORDER_ROW;
        const auto leading = static_cast<uint64_t>(layout.leading);
        const uint64_t at = is_row_major ? row * leading + column : column * leading + row;
        const auto of_batch = static_cast<uint64_t>(layout.batch_stride) * static_cast<uint64_t>(batch);
        return (at + of_batch) * element_bytes(layout.type);
    }
    uint64_t rows() const {
        return is_transposed ? layout.columns : layout.rows;
    }
    uint64_t columns() const {
        return is_transposed ? layout.rows : layout.columns;
    }
    float load(uint64_t row, uint64_t column, int32_t batch) const {
        const char *at = base + offset(row, column, batch);
        uint16_t half;
        float value;
        if (layout.type == CUDA_R_32F) {
            memcpy(&value, at, sizeof value);
            return value;
        }
        memcpy(&half, at, sizeof half);
        return layout.type == CUDA_R_16F ? nlm_f16_to_f32(half) : nlm_bf16_to_f32(half);
    }
    void store(uint64_t row, uint64_t column, int32_t batch, float value) const {
        char *at = base + offset(row, column, batch);
        if (layout.type == CUDA_R_32F) {
            memcpy(at, &value, sizeof value);
        } else {
            const uint16_t half = layout.type == CUDA_R_16F ? nlm_f16_from_f32(value) : nlm_bf16_from_f32(value);
            memcpy(at, &half, sizeof half);
        }
        emu_cuda_written(at, element_bytes(layout.type));
    }
    // Its last element and all between are memory of the device.
    bool is_there() const {
        if (layout.rows == 0 || layout.columns == 0) return true;
        const size_t last = offset(rows() - 1, columns() - 1, layout.batch_count - 1);
        return emu_cuda_is_memory(base, last + element_bytes(layout.type));
    }
};

struct product {
    matrix a, b, c, d;
    float alpha, beta;
    uint64_t scheme;
    char *workspace;
    size_t workspace_bytes;

    uint64_t depth() const {
        return a.columns();
    }
};

// A sum that is split has halves, which stand in the workspace.
size_t workspace_of(const product &p, uint64_t scheme) {
    if (scheme != CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) return 0;
    return 2 * p.d.rows() * p.d.columns() * static_cast<uint64_t>(p.d.layout.batch_count) * sizeof(float);
}

// All elements of an operand, by `along` vectors of the sums' depth: read once, and only where something was written.
bool load_vectors(const product &p, const matrix &from, bool is_a, int32_t batch, std::vector<float> *out) {
    const uint64_t vectors = is_a ? from.rows() : from.columns(), depth = p.depth();
    out->resize(vectors * depth);
    for (uint64_t v = 0; v < vectors; v++) {
        for (uint64_t k = 0; k < depth; k++) {
            const uint64_t row = is_a ? v : k, column = is_a ? k : v;
            if (!emu_cuda_is_written(from.base + from.offset(row, column, batch), element_bytes(from.layout.type),
                                     is_a ? "cublasLtMatmul, A," : "cublasLtMatmul, B,"))
                return false;
            (*out)[v * depth + k] = from.load(row, column, batch);
        }
    }
    return true;
}

float sum_of(const float *a, const float *b, uint64_t from, uint64_t end) {
    float sum = 0;
    for (uint64_t k = end; k-- > from;) sum += a[k] * b[k];
    return sum;
}

// A sum in f32, in an order that has nothing to do with that of a GPU; of parts that meet in place, in any order.
float sum_of(const product &p, const float *a, const float *b, float *halves) {
    static uint64_t turn;
    const uint64_t depth = p.depth();
    if (p.scheme == CUBLASLT_REDUCTION_SCHEME_INPLACE) {
        const uint64_t at = turn++ % (depth + 1);
        return sum_of(a, b, 0, at) + sum_of(a, b, at, depth);
    }
    if (p.scheme != CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) return sum_of(a, b, 0, depth);
    halves[0] = sum_of(a, b, 0, depth / 2);
    halves[1] = sum_of(a, b, depth / 2, depth);
    return halves[0] + halves[1];
}

CUresult multiply(void *data) {
    const product &p = *static_cast<const product *>(data);
    const bool reads_c = p.beta != 0;
    if (!p.a.is_there() || !p.b.is_there() || !p.d.is_there() || (reads_c && !p.c.is_there()) ||
        !emu_cuda_is_memory(p.workspace, p.workspace_bytes))
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    auto *halves = reinterpret_cast<float *>(p.workspace);
    std::vector<float> a, b;
    for (int32_t batch = 0; batch < p.d.layout.batch_count; batch++) {
        if (!load_vectors(p, p.a, true, batch, &a) || !load_vectors(p, p.b, false, batch, &b))
            return CUDA_ERROR_ILLEGAL_ADDRESS;
        for (uint64_t i = 0; i < p.d.rows(); i++) {
            for (uint64_t j = 0; j < p.d.columns(); j++) {
                const float sum = sum_of(p, &a[i * p.depth()], &b[j * p.depth()], halves);
                if (halves) halves += 2;
                const float before = reads_c ? p.beta * p.c.load(i, j, batch) : 0;
                p.d.store(i, j, batch, p.alpha * sum + before);
            }
        }
    }
    return CUDA_SUCCESS;
}

void drop_product(void *data) {
    delete static_cast<product *>(data);
}

bool is_sound(const nlm_cublaslt_layout &layout) {
    const uint64_t least = layout.order == CUBLASLT_ORDER_ROW ? layout.columns : layout.rows;
    return is_known_type(layout.type) && layout.batch_count > 0 && static_cast<uint64_t>(layout.leading) >= least;
}

// What of a product can be seen before it runs.
cublasStatus_t check(const nlm_cublaslt_desc &desc, const product &p) {
    if (desc.epilogue != CUBLASLT_EPILOGUE_DEFAULT) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (desc.compute != CUBLAS_COMPUTE_32F && desc.compute != CUBLAS_COMPUTE_32F_FAST_TF32)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (desc.scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
    for (const matrix *one : {&p.a, &p.b, &p.c, &p.d}) {
        if (!is_sound(one->layout) || one->layout.batch_count != p.d.layout.batch_count)
            return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (p.a.layout.type != p.b.layout.type || p.c.layout.type != p.d.layout.type) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (p.d.layout.type != CUDA_R_32F && p.d.layout.type != p.a.layout.type) return CUBLAS_STATUS_NOT_SUPPORTED;
    const bool fits = p.a.rows() == p.d.rows() && p.b.columns() == p.d.columns() && p.a.columns() == p.b.rows() &&
                      p.c.rows() == p.d.rows() && p.c.columns() == p.d.columns();
    return fits ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

product product_of(const nlm_cublaslt_desc &desc, const nlm_cublaslt_layout &a, const nlm_cublaslt_layout &b,
                   const nlm_cublaslt_layout &c, const nlm_cublaslt_layout &d) {
    product p = {};
    p.a = {a, nullptr, desc.transpose_a == CUBLAS_OP_T};
    p.b = {b, nullptr, desc.transpose_b == CUBLAS_OP_T};
    p.c = {c, nullptr, false};
    p.d = {d, nullptr, false};
    return p;
}

bool is_aligned(const matrix &m, uint64_t bytes) {
    return reinterpret_cast<uintptr_t>(m.base) % bytes == 0;
}

// Calls of the library fail as those of the driver do, by number.
cublasStatus_t begin(const char *name = __builtin_FUNCTION()) {
    const CUresult result = emu_cuda_call(name);
    if (result == CUDA_SUCCESS) return CUBLAS_STATUS_SUCCESS;
    return result == CUDA_ERROR_OUT_OF_MEMORY ? CUBLAS_STATUS_ALLOC_FAILED : CUBLAS_STATUS_INTERNAL_ERROR;
}
#define LT_BEGIN()                                        \
    do {                                                  \
        const cublasStatus_t begun = begin();             \
        if (begun != CUBLAS_STATUS_SUCCESS) return begun; \
    } while (0)

char *bytes_of(const void *memory) {
    return static_cast<char *>(const_cast<void *>(memory));
}

} // namespace

cublasStatus_t cublasLtCreate(cublasLtHandle_t *out) {
    static const int told = atexit(tell_at_exit);
    LT_BEGIN();
    if (told != 0) return CUBLAS_STATUS_ALLOC_FAILED;
    return make(out, cublasLtContext{});
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    LT_BEGIN();
    return destroy(handle);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, int compute_type, int scale_type) {
    LT_BEGIN();
    return make(out, {compute_type, scale_type, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT});
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
    LT_BEGIN();
    return destroy(desc);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, int attribute, const void *value,
                                              size_t bytes) {
    LT_BEGIN();
    if (!is_live({desc})) return CUBLAS_STATUS_INVALID_VALUE;
    switch (attribute) {
        case CUBLASLT_MATMUL_DESC_TRANSA: return assign(&desc->transpose_a, value, bytes);
        case CUBLASLT_MATMUL_DESC_TRANSB: return assign(&desc->transpose_b, value, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE: return assign(&desc->epilogue, value, bytes);
        default: return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, int type, uint64_t rows, uint64_t columns,
                                          int64_t leading) {
    LT_BEGIN();
    return make(out, {type, CUBLASLT_ORDER_COL, 1, rows, columns, leading, 0});
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    LT_BEGIN();
    return destroy(layout);
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout, int attribute, const void *value,
                                                size_t bytes) {
    LT_BEGIN();
    if (!is_live({layout})) return CUBLAS_STATUS_INVALID_VALUE;
    switch (attribute) {
        case CUBLASLT_MATRIX_LAYOUT_ORDER: return assign(&layout->order, value, bytes);
        case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return assign(&layout->batch_count, value, bytes);
        case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return assign(&layout->batch_stride, value, bytes);
        default: return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out) {
    LT_BEGIN();
    return make(out, {0, {256, 256, 256, 256}, 7});
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    LT_BEGIN();
    return destroy(preference);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference, int attribute,
                                                    const void *value, size_t bytes) {
    LT_BEGIN();
    if (!is_live({preference})) return CUBLAS_STATUS_INVALID_VALUE;
    if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
        return assign(&preference->workspace_bytes, value, bytes);
    if (attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK) return assign(&preference->schemes, value, bytes);
    const int which = attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
    if (which < 0 || which > 3) return CUBLAS_STATUS_NOT_SUPPORTED;
    return assign(&preference->alignment[which], value, bytes);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int n_wanted,
                                              cublasLtMatmulHeuristicResult_t *out, int *out_count) {
    LT_BEGIN();
    if (!is_live({handle, desc, a, b, c, d, preference})) return CUBLAS_STATUS_INVALID_VALUE;
    if (n_wanted < 1 || !out || !out_count) return CUBLAS_STATUS_INVALID_VALUE;
    *out_count = 0;
    const product p = product_of(*desc, *a, *b, *c, *d);
    const cublasStatus_t status = check(*desc, p);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    // NVIDIA's has a mask for schemes; here one without order is handed out all the same, and first.
    for (const uint64_t scheme : {CUBLASLT_REDUCTION_SCHEME_INPLACE, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE,
                                  CUBLASLT_REDUCTION_SCHEME_NONE}) {
        if (*out_count == n_wanted || workspace_of(p, scheme) > preference->workspace_bytes) continue;
        cublasLtMatmulHeuristicResult_t &one = out[(*out_count)++];
        one = {};
        one.algo.data[0] = ALGORITHM;
        one.algo.data[1] = scheme;
        memcpy(&one.algo.data[2], preference->alignment, sizeof preference->alignment);
        one.workspaceSize = workspace_of(p, scheme);
        one.wavesCount = 1;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algo, int attribute, void *out,
                                                    size_t bytes, size_t *out_bytes) {
    LT_BEGIN();
    const auto scheme = static_cast<uint32_t>(algo->data[1]);
    if (algo->data[0] != ALGORITHM || !out || bytes != sizeof scheme) return CUBLAS_STATUS_INVALID_VALUE;
    if (attribute != CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME) return CUBLAS_STATUS_NOT_SUPPORTED;
    memcpy(out, &scheme, sizeof scheme);
    if (out_bytes) *out_bytes = sizeof scheme;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout,
                              const void *beta, const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo, void *workspace,
                              size_t workspace_bytes, CUstream stream) {
    LT_BEGIN();
    if (!is_live({handle, desc, a_layout, b_layout, c_layout, d_layout}) || !alpha || !beta)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (algo && algo->data[0] != ALGORITHM) return CUBLAS_STATUS_INVALID_VALUE;
    if (workspace_bytes != 0 && reinterpret_cast<uintptr_t>(workspace) % 256 != 0) return CUBLAS_STATUS_INVALID_VALUE;
    auto made = std::make_unique<product>(product_of(*desc, *a_layout, *b_layout, *c_layout, *d_layout));
    const cublasStatus_t status = check(*desc, *made);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    made->a.base = bytes_of(a);
    made->b.base = bytes_of(b);
    made->c.base = bytes_of(c);
    made->d.base = bytes_of(d);
    memcpy(&made->alpha, alpha, sizeof made->alpha);
    memcpy(&made->beta, beta, sizeof made->beta);
    made->scheme = algo ? algo->data[1] : uint64_t{CUBLASLT_REDUCTION_SCHEME_NONE};
    made->workspace = bytes_of(workspace);
    made->workspace_bytes = workspace_of(*made, made->scheme);
    if (made->workspace_bytes > workspace_bytes) return CUBLAS_STATUS_INVALID_VALUE;
    if (algo) {
        uint32_t alignment[4];
        memcpy(alignment, &algo->data[2], sizeof alignment);
        if (!is_aligned(made->a, alignment[0]) || !is_aligned(made->b, alignment[1]) ||
            !is_aligned(made->c, alignment[2]) || !is_aligned(made->d, alignment[3]))
            return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    const CUresult result = emu_cuda_enqueue(stream, multiply, drop_product, made.release());
    return result == CUDA_SUCCESS ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
