/* Element types and the tensor descriptor shared by the host and every backend. */
#ifndef NLM_TENSOR_H
#define NLM_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(NAME, name, number, elements a block, bytes a block)
 * The numbers are those of GGUF's tensor types. A block is the smallest addressable unit of a row. */
#define NLM_DTYPE_LIST(X)         \
    X(F32, f32, 0, 1, 4)          \
    X(F16, f16, 1, 1, 2)          \
    X(Q4_0, q4_0, 2, 32, 18)      \
    X(Q4_1, q4_1, 3, 32, 20)      \
    X(Q5_0, q5_0, 6, 32, 22)      \
    X(Q5_1, q5_1, 7, 32, 24)      \
    X(Q8_0, q8_0, 8, 32, 34)      \
    X(Q4_K, q4_k, 12, 256, 144)   \
    X(Q5_K, q5_k, 13, 256, 176)   \
    X(Q6_K, q6_k, 14, 256, 210)   \
    X(IQ4_NL, iq4_nl, 20, 32, 18) \
    X(I32, i32, 26, 1, 4)         \
    X(BF16, bf16, 30, 1, 2)

typedef int32_t nlm_dtype;

enum {
#define NLM_DTYPE_ENUM(NAME, name, number, elements, bytes) NLM_##NAME = number,
    NLM_DTYPE_LIST(NLM_DTYPE_ENUM)
#undef NLM_DTYPE_ENUM
};

#define NLM_MAX_RANK 4

/* Which counter of nlm_exec_v1.live_rows bounds dimension 0 in a run. A graph is planned for a
 * bucket of rows and re-run for any count up to it; rows past the live count are padding whose
 * values are unspecified and which no op may let influence a live row or a state. */
enum {
    NLM_ROWS_FIXED = 0,   /* all of shape[0] is live */
    NLM_ROWS_TOKENS = 1,  /* rows are the tokens of the batch */
    NLM_ROWS_OUTPUTS = 2, /* rows are those whose logits were asked for */
    NLM_ROWS_SEQS = 3,    /* rows are the sequences of the batch */
    NLM_ROWS_KINDS = 4
};

/* Layout 0 is row-major, as GGUF stores it. Any other number is a packed layout that the backend
 * that owns the tensor named itself in its answer to query(). */
#define NLM_LAYOUT_ROW_MAJOR 0u

/* A view of memory: shapes as NumPy prints them (shape[0] outermost), strides in bytes.
 * For a block type shape[rank-1] counts elements, stride_bytes[rank-1] is the bytes of one block and
 * the innermost dimension is contiguous. Unused dimensions are shape 1, stride 0. For a packed
 * layout only `data`, `dtype`, `rank`, `shape` and `layout` have a meaning.
 * The descriptor is immutable to a backend; the memory behind `data` is what an op writes.
 * This struct is frozen: it never grows. */
typedef struct nlm_tensor {
    void *data;      /* host pointer, or a device address of the device that runs the op */
    uint64_t buffer; /* the handle buffer_alloc gave, for devices without plain addresses; else 0 */
    int32_t dtype;
    int32_t rank; /* 1..4 */
    int64_t shape[NLM_MAX_RANK];
    int64_t stride_bytes[NLM_MAX_RANK];
    uint32_t layout;
    uint32_t row_kind; /* NLM_ROWS_* */
    uint64_t reserved;
} nlm_tensor;

#ifdef __cplusplus
}
#endif
#endif
