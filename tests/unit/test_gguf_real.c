/* Files that another program made: what the reader finds in them, and the quantisers against theirs. */
#include "unit/check.h"

#include "format/gguf.h"
#include "tensor/dtype.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MODEL NLM_TEST_DATA "/models/stories260K-q8_0.gguf"
#define PARTS NLM_TEST_DATA "/dtype/stories260K-"

static nlm_gguf *open_file(const char *path) {
    nlm_gguf *g = NULL;
    nlm_error err = NLM_ERROR_INIT;
    if (nlm_gguf_open(path, &g, &err) != NLM_OK) printf("%s: %s\n", err.where, err.msg);
    CU_ASSERT_PTR_NOT_NULL_FATAL(g);
    return g;
}

static void real_model_has_its_published_shape(void) {
    nlm_gguf *g = open_file(MODEL);
    uint64_t layers = 0, heads = 0, heads_kv = 0;
    nlm_gguf_string architecture = {0};
    CU_ASSERT_EQUAL(nlm_gguf_get_u64(g, "llama.block_count", &layers, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_gguf_get_u64(g, "llama.attention.head_count", &heads, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_gguf_get_u64(g, "llama.attention.head_count_kv", &heads_kv, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_gguf_get_string(g, "general.architecture", &architecture, NULL), NLM_OK);
    CU_ASSERT_EQUAL(layers, 5);
    CU_ASSERT_EQUAL(heads, 8);
    CU_ASSERT_EQUAL(heads_kv, 4);
    CU_ASSERT_TRUE(architecture.length == 5 && memcmp(architecture.data, "llama", 5) == 0);
    const nlm_gguf_entry *tokens = nlm_gguf_find(g, "tokenizer.ggml.tokens");
    CU_ASSERT_PTR_NOT_NULL_FATAL(tokens);
    CU_ASSERT_EQUAL(tokens->count, 512);
    CU_ASSERT_EQUAL(memcmp(tokens->strings[1].data, "<s>", 3), 0);
    const nlm_gguf_tensor *embedding = nlm_gguf_find_tensor(g, "token_embd.weight");
    CU_ASSERT_PTR_NOT_NULL_FATAL(embedding);
    CU_ASSERT_EQUAL(embedding->tensor.shape[0], 512);
    CU_ASSERT_EQUAL(embedding->tensor.shape[1], 64);
    nlm_gguf_close(g);
}

/* The tensors of PARTS "f32.gguf" in another file: the reference quantiser gives the same bytes, and the bytes decode
 * to within so many half steps of the original. */
static void check_same_quantization(const char *path, nlm_dtype dtype, double half_steps) {
    nlm_gguf *f32 = open_file(PARTS "f32.gguf"), *quantized = open_file(path);
    CU_ASSERT_EQUAL(nlm_gguf_tensor_count(f32), 4);
    for (size_t i = 0; i < nlm_gguf_tensor_count(f32); i++) {
        const nlm_gguf_tensor *original = nlm_gguf_tensor_at(f32, i);
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)original->name.length, original->name.data);
        const nlm_gguf_tensor *made = nlm_gguf_find_tensor(quantized, name);
        CU_ASSERT_PTR_NOT_NULL_FATAL(made);
        CU_ASSERT_EQUAL_FATAL(made->type, (uint32_t)dtype);
        const int64_t elements = (int64_t)(original->bytes / 4);
        const float *values = original->tensor.data;
        void *row = malloc(made->bytes);
        float *back = malloc(original->bytes);
        CU_ASSERT_EQUAL(nlm_quantize_row(dtype, values, row, elements, NULL), NLM_OK);
        CU_ASSERT_EQUAL(memcmp(row, made->tensor.data, made->bytes), 0);
        nlm_decode_row(dtype, made->tensor.data, back, elements);
        const nlm_dtype_info *info = nlm_dtype_find(dtype);
        for (int64_t e = 0; e < elements; e++) {
            uint16_t scale = 0; /* f16 scales lead their blocks, 1 element a block for f16 itself */
            const int64_t block = e / info->block_elements;
            memcpy(&scale, (const char *)made->tensor.data + block * info->block_bytes, sizeof scale);
            /* 2^-25: half a step of f16 itself, near zero */
            const double bound = half_steps * fabs((double)nlm_f16_to_f32(scale)) + 0x1p-25;
            CU_ASSERT_FATAL(fabs((double)back[e] - (double)values[e]) <= bound);
        }
        free(row);
        free(back);
    }
    nlm_gguf_close(f32);
    nlm_gguf_close(quantized);
}

/* Half a step, and what rounding the scale to 11 bits moves the outermost integer by. */
static void real_q8_0_file_is_what_the_quantizer_gives(void) {
    check_same_quantization(MODEL, NLM_Q8_0, 0.5 + 127.0 / 2048 + 1e-3);
}

/* The extreme opposite the largest value may lie a whole step beyond the last integer. */
static void real_q4_0_file_is_what_the_quantizer_gives(void) {
    check_same_quantization(PARTS "q4_0.gguf", NLM_Q4_0, 1.0 + 8.0 / 2048 + 1e-3);
}

static void real_f16_file_is_what_rounding_gives(void) {
    check_same_quantization(PARTS "f16.gguf", NLM_F16, 1.0 / 2048);
}

static const check_case cases[] = {
    CHECK_CASE(real_model_has_its_published_shape),
    CHECK_CASE(real_q8_0_file_is_what_the_quantizer_gives),
    CHECK_CASE(real_q4_0_file_is_what_the_quantizer_gives),
    CHECK_CASE(real_f16_file_is_what_rounding_gives),
};

CHECK_MAIN("gguf_real", cases)
