/* Types and their blocks: halves for every pattern, decoders against independent values, quantisers within bounds. */
#include "unit/check.h"

#include "oracle/oracle.h"
#include "tensor/dtype.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The numbers from `dtype` on, until one of a type that has blocks; -1 after the last. */
static nlm_dtype next_block_type(nlm_dtype dtype) {
    for (; dtype < 64; dtype++) {
        const nlm_dtype_info *info = nlm_dtype_find(dtype);
        if (info && info->block_elements > 1) return dtype;
    }
    return -1;
}
#define FOR_BLOCK_TYPES(dtype) \
    for (nlm_dtype dtype = next_block_type(0); dtype >= 0; dtype = next_block_type(dtype + 1))

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t random_state = 88172645463325252u; /* fixed seed: the cases are the same every run */

static uint32_t random_u32(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32);
}

/* Approximately normal: the sum of 12 uniforms, less its mean. */
static float random_normal(void) {
    double sum = -6;
    for (int i = 0; i < 12; i++) sum += random_u32() / 4294967296.0;
    return (float)sum;
}

/* The value of a half's fields, by their definition. */
static double half_value(uint32_t half) {
    const int exponent = (int)(half >> 10) & 31;
    const double fraction = half & 1023;
    const double magnitude = exponent == 0    ? ldexp(fraction, -24)
                             : exponent == 31 ? INFINITY
                                              : ldexp(1024 + fraction, exponent - 25);
    return half & 0x8000 ? -magnitude : magnitude;
}

static void f16_to_f32_is_exact_for_every_pattern(void) {
    for (uint32_t half = 0; half < 65536; half++) {
        const float value = nlm_f16_to_f32((uint16_t)half);
        if ((half & 0x7FFF) > 0x7C00) {
            CU_ASSERT_TRUE_FATAL(isnan(value));
            CU_ASSERT_EQUAL_FATAL(bits_of(value), (half & 0x8000) << 16 | 0x7F800000u | (half & 1023) << 13);
        } else {
            CU_ASSERT_EQUAL_FATAL(bits_of(value), bits_of((float)half_value(half)));
        }
    }
}

/* The half nearest to a value that is not NaN, found by bisection over the halves' values. */
static uint16_t nearest_half(double value) {
    const uint32_t sign = signbit(value) ? 0x8000 : 0;
    const double magnitude = fabs(value);
    if (magnitude >= 65520) return (uint16_t)(sign | 0x7C00);
    uint32_t low = 0, high = 0x7BFF;
    while (low < high) { /* the largest half that is not above magnitude */
        const uint32_t middle = (low + high + 1) / 2;
        if (half_value(middle) <= magnitude)
            low = middle;
        else
            high = middle - 1;
    }
    if (low == 0x7BFF) return (uint16_t)(sign | low);
    const double below = magnitude - half_value(low), above = half_value(low + 1) - magnitude;
    if (above < below || (above == below && (low & 1))) low++;
    return (uint16_t)(sign | low);
}

static void check_f16_from(float value) {
    CU_ASSERT_EQUAL_FATAL(nlm_f16_from_f32(value), nearest_half((double)value));
    CU_ASSERT_EQUAL_FATAL(nlm_f16_from_f32(-value), nearest_half(-(double)value));
}

static void f16_from_f32_rounds_to_nearest_even(void) {
    for (uint32_t half = 0; half < 0x7C00; half++) {
        check_f16_from((float)half_value(half));
        /* the midpoint to the next half (past the largest: 65520), and its two f32 neighbours */
        const double next = half == 0x7BFF ? 65536 : half_value(half + 1);
        const float middle = (float)((half_value(half) + next) / 2);
        check_f16_from(middle);
        check_f16_from(nextafterf(middle, 0));
        check_f16_from(nextafterf(middle, INFINITY));
    }
    for (int i = 0; i < 200000; i++) {
        const float value = float_of(random_u32() & 0x7FFFFFFFu);
        if (!isnan(value)) check_f16_from(value);
    }
    check_f16_from(INFINITY);
}

static void f16_nan_stays_nan(void) {
    for (uint32_t bits = 0x7F800001u; bits < 0x7FFFFFFFu; bits += 4093) {
        const uint16_t half = nlm_f16_from_f32(float_of(bits));
        CU_ASSERT_TRUE_FATAL((half & 0x7FFF) > 0x7C00);
    }
    CU_ASSERT_EQUAL(nlm_f16_from_f32(float_of(0xFFC00000u)), 0xFE00);
}

static void bf16_rounds_to_nearest_even_and_keeps_nan(void) {
    for (uint32_t pattern = 0; pattern < 65536; pattern++) {
        CU_ASSERT_EQUAL_FATAL(bits_of(nlm_bf16_to_f32((uint16_t)pattern)), pattern << 16);
        const uint32_t magnitude = pattern & 0x7FFF;
        if (magnitude > 0x7F80) {
            CU_ASSERT_TRUE_FATAL((nlm_bf16_from_f32(float_of(pattern << 16 | 1)) & 0x7FFF) > 0x7F80);
            continue;
        }
        CU_ASSERT_EQUAL_FATAL(nlm_bf16_from_f32(float_of(pattern << 16)), pattern);
        if (magnitude == 0x7F80) continue;
        const uint32_t tie = pattern << 16 | 0x8000;
        CU_ASSERT_EQUAL_FATAL(nlm_bf16_from_f32(float_of(tie - 1)), pattern);
        CU_ASSERT_EQUAL_FATAL(nlm_bf16_from_f32(float_of(tie)), pattern + (pattern & 1));
        CU_ASSERT_EQUAL_FATAL(nlm_bf16_from_f32(float_of(tie + 1)), pattern + 1);
    }
}

static void dtype_table_answers_by_number_and_name(void) {
    CU_ASSERT_EQUAL(nlm_dtype_find(NLM_Q4_K)->block_bytes, 144);
    CU_ASSERT_STRING_EQUAL(nlm_dtype_find(NLM_Q6_K)->name, "q6_k");
    CU_ASSERT_EQUAL(nlm_dtype_from_name("bf16")->dtype, NLM_BF16);
    CU_ASSERT_PTR_NULL(nlm_dtype_from_name("q9_9"));
    CU_ASSERT_PTR_NULL(nlm_dtype_find(99));
    CU_ASSERT_STRING_EQUAL(nlm_dtype_name(99), "unknown");
    CU_ASSERT_EQUAL(nlm_dtype_row_bytes(NLM_Q4_0, 64), 36);
    CU_ASSERT_EQUAL(nlm_dtype_row_bytes(NLM_Q4_0, 172), 0);
    CU_ASSERT_EQUAL(nlm_dtype_row_bytes(99, 32), 0);
    CU_ASSERT_EQUAL(nlm_dtype_row_bytes(NLM_F32, UINT64_MAX), 0);
}

static void tensor_init_lays_out_rows(void) {
    nlm_tensor t;
    const int64_t shape[] = {3, 5, 64};
    CU_ASSERT_EQUAL(nlm_tensor_init(&t, NLM_Q8_0, 3, shape, NULL, NULL), NLM_OK);
    CU_ASSERT_EQUAL(t.stride_bytes[2], 34);
    CU_ASSERT_EQUAL(t.stride_bytes[1], 68);
    CU_ASSERT_EQUAL(t.stride_bytes[0], 340);
    CU_ASSERT_EQUAL(t.stride_bytes[3], 0);
    CU_ASSERT_EQUAL(t.shape[3], 1);
    CU_ASSERT_EQUAL(t.row_kind, NLM_ROWS_FIXED);
    CU_ASSERT_EQUAL(nlm_tensor_bytes(&t), 1020);
    CU_ASSERT_TRUE(nlm_tensor_is_contiguous(&t));
    t.stride_bytes[0] = 1024;
    CU_ASSERT_FALSE(nlm_tensor_is_contiguous(&t));
    t.shape[0] = 1;
    CU_ASSERT_TRUE(nlm_tensor_is_contiguous(&t));
}

static void tensor_init_refuses_what_cannot_be(void) {
    static const struct {
        nlm_dtype dtype;
        int rank;
        int64_t shape[5];
    } bad[] = {
        {NLM_F32, 0, {1}},
        {NLM_F32, 5, {1, 1, 1, 1, 1}},
        {NLM_F32, 2, {-1, 4}},
        {NLM_Q4_0, 2, {2, 33}},
        {NLM_Q4_K, 1, {32}},
        {99, 1, {4}},
        {NLM_F32, 1, {INT64_MAX}},
        {NLM_F32, 3, {INT64_C(1) << 31, INT64_C(1) << 31, 4}},
        {NLM_F32, 4, {0, INT64_C(1) << 62, 4, 4}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        nlm_tensor t;
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(nlm_tensor_init(&t, bad[i].dtype, bad[i].rank, bad[i].shape, NULL, &err),
                        NLM_INVALID_ARGUMENT);
        CU_ASSERT_NOT_EQUAL(err.msg[0], 0);
    }
}

static void *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    void *data = malloc(*size);
    const size_t got = data ? fread(data, 1, *size, file) : 0;
    fclose(file);
    if (got == *size) return data;
    free(data);
    return NULL;
}

/* tests/data/dtype/TYPE.bin of tests/oracle/make_dtype_fixtures.py: blocks, then their values. */
static void dequantize_matches_the_published_block_formats(void) {
    FOR_BLOCK_TYPES(dtype) {
        const nlm_dtype_info *info = nlm_dtype_find(dtype);
        char path[512];
        snprintf(path, sizeof path, "%s/dtype/%s.bin", NLM_TEST_DATA, info->name);
        size_t size = 0;
        uint8_t *file = read_file(path, &size);
        CU_ASSERT_PTR_NOT_NULL_FATAL(file);
        const size_t blocks = size / (info->block_bytes + 4u * info->block_elements);
        CU_ASSERT_EQUAL_FATAL(blocks * (info->block_bytes + 4u * info->block_elements), size);
        CU_ASSERT_TRUE_FATAL(blocks > 1);
        const size_t elements = blocks * info->block_elements;
        float *values = malloc(elements * sizeof *values);
        nlm_decode_row(info->dtype, file, values, (int64_t)elements);
        const nlm_tensor oracle = {.data = file,
                                   .dtype = dtype,
                                   .rank = 1,
                                   .shape = {(int64_t)elements},
                                   .stride_bytes = {info->block_bytes}};
        const uint8_t *expected = file + blocks * info->block_bytes;
        for (size_t e = 0; e < elements; e++) {
            float value;
            memcpy(&value, expected + 4 * e, sizeof value);
            if (values[e] != value) printf("%s element %zu: %g, expected %g\n", info->name, e, values[e], value);
            CU_ASSERT_FATAL(values[e] == value);
            CU_ASSERT_FATAL((float)oracle_element(&oracle, (int64_t)e) == value);
        }
        free(values);
        free(file);
    }
}

static void dequantize_decodes_a_block_checked_by_hand(void) {
    /* d = 0.5; byte j = j | (15 - j) << 4: elements are 0.5 * (j - 8), then 0.5 * (7 - j) */
    uint8_t block[18] = {0x00, 0x38};
    for (int j = 0; j < 16; j++) block[2 + j] = (uint8_t)(j | (15 - j) << 4);
    float out[32];
    nlm_decode_row(NLM_Q4_0, block, out, 32);
    for (int j = 0; j < 16; j++) {
        CU_ASSERT_EQUAL(out[j], 0.5f * (float)(j - 8));
        CU_ASSERT_EQUAL(out[16 + j], 0.5f * (float)(7 - j));
    }
}

/* Root of the mean squared error over the mean square, of normal values. */
static void check_error(nlm_dtype dtype, double bound) {
    enum { N = 16384 };
    static float values[N], back[N];
    static uint8_t row[N * sizeof *values];
    for (int i = 0; i < N; i++) values[i] = random_normal();
    CU_ASSERT_EQUAL_FATAL(nlm_quantize_row(dtype, values, row, N, NULL), NLM_OK);
    nlm_decode_row(dtype, row, back, N);
    double miss = 0, power = 0;
    for (int i = 0; i < N; i++) {
        miss += pow((double)back[i] - (double)values[i], 2);
        power += pow((double)values[i], 2);
    }
    const double error = sqrt(miss / power);
    if (error > bound) printf("%s: %g\n", nlm_dtype_name(dtype), error);
    CU_ASSERT_TRUE(error <= bound);
}

static void quantize_keeps_the_error_of_its_width(void) {
    check_error(NLM_F32, 0);
    check_error(NLM_F16, 3e-4);
    check_error(NLM_BF16, 2.5e-3);
    FOR_BLOCK_TYPES(dtype) {
        CU_ASSERT_PTR_NOT_NULL_FATAL(oracle_block_of(dtype));
        check_error(dtype, oracle_block_of(dtype)->error);
    }
}

static void quantize_of_constants_and_tiny_values_is_close(void) {
    static const float levels[] = {0, 1, -1, 0.01f, -300, 1e-7f, 1e-20f, 1e-41f};
    FOR_BLOCK_TYPES(dtype) {
        for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
            float values[256], back[256];
            uint8_t row[256 * 4];
            for (int e = 0; e < 256; e++) values[e] = levels[l];
            CU_ASSERT_EQUAL(nlm_quantize_row(dtype, values, row, 256, NULL), NLM_OK);
            nlm_decode_row(dtype, row, back, 256);
            for (int e = 0; e < 256; e++) {
                CU_ASSERT_TRUE_FATAL(fabsf(back[e] - values[e]) <= 0.01f * fabsf(values[e]) + 2e-7f);
            }
        }
    }
}

static void quantize_refuses_what_has_no_value(void) {
    FOR_BLOCK_TYPES(dtype) {
        float values[256] = {0};
        uint8_t row[256 * 4];
        nlm_error err = NLM_ERROR_INIT;
        values[77] = NAN;
        CU_ASSERT_EQUAL(nlm_quantize_row(dtype, values, row, 256, &err), NLM_NUMERIC);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "77"));
        values[77] = INFINITY;
        CU_ASSERT_EQUAL(nlm_quantize_row(dtype, values, row, 256, NULL), NLM_NUMERIC);
        values[77] = 3e38f;
        values[78] = -3e38f;
        CU_ASSERT_EQUAL(nlm_quantize_row(dtype, values, row, 256, NULL), NLM_NUMERIC);
        CU_ASSERT_EQUAL(nlm_quantize_row(dtype, values, row, 255, NULL), NLM_INVALID_ARGUMENT);
    }
    const float big = 1e6f;
    uint8_t out[4];
    CU_ASSERT_EQUAL(nlm_quantize_row(NLM_F16, &big, out, 1, NULL), NLM_NUMERIC);
    CU_ASSERT_EQUAL(nlm_quantize_row(NLM_I32, &big, out, 1, NULL), NLM_INVALID_ARGUMENT);
}

static const check_case cases[] = {
    CHECK_CASE(f16_to_f32_is_exact_for_every_pattern),
    CHECK_CASE(f16_from_f32_rounds_to_nearest_even),
    CHECK_CASE(f16_nan_stays_nan),
    CHECK_CASE(bf16_rounds_to_nearest_even_and_keeps_nan),
    CHECK_CASE(dtype_table_answers_by_number_and_name),
    CHECK_CASE(tensor_init_lays_out_rows),
    CHECK_CASE(tensor_init_refuses_what_cannot_be),
    CHECK_CASE(dequantize_matches_the_published_block_formats),
    CHECK_CASE(dequantize_decodes_a_block_checked_by_hand),
    CHECK_CASE(quantize_keeps_the_error_of_its_width),
    CHECK_CASE(quantize_of_constants_and_tiny_values_is_close),
    CHECK_CASE(quantize_refuses_what_has_no_value),
};

CHECK_MAIN("dtype", cases)
