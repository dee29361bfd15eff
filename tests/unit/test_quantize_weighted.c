/* Quantisers that are told how much errors count: never worse by that than the reference ones, and better. */
#include "check.h"
#include "tensor/dtype.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 8192 };

static const nlm_dtype weighted[] = {NLM_Q4_0,   NLM_Q4_1, NLM_Q5_0, NLM_Q5_1,
                                     NLM_IQ4_NL, NLM_Q4_K, NLM_Q5_K, NLM_Q6_K};
static const nlm_dtype unweighted[] = {NLM_Q8_0, NLM_F16, NLM_BF16, NLM_F32};

static float values[N], weights[N], back[N];
static uint8_t row[N * sizeof(float)], other[N * sizeof(float)];

/* A sum of uniform values, which is near enough to normal. */
static float random_value(void) {
    float sum = 0;
    for (int i = 0; i < 12; i++) sum += (float)(rand() & 0xffff) / 65536.0f;
    return sum - 6;
}

/* Weights of very different size, as activations have them. */
static void fill(void) {
    srand(7);
    for (int i = 0; i < N; i++) {
        values[i] = random_value();
        weights[i] = expf(2 * random_value());
    }
}

static double error_of(const nlm_dtype_info *info, const uint8_t *bytes, int from, int to) {
    double error = 0;
    nlm_decode_row(info->dtype, bytes, back, N);
    for (int i = from; i < to; i++) error += (double)weights[i] * pow((double)back[i] - (double)values[i], 2);
    return error;
}

static void each_block_is_at_least_as_good_and_all_are_better(void) {
    fill();
    for (size_t t = 0; t < sizeof weighted / sizeof *weighted; t++) {
        const nlm_dtype_info *info = nlm_dtype_find(weighted[t]);
        CU_ASSERT_EQUAL_FATAL(nlm_quantize_row(info->dtype, values, row, N, NULL), NLM_OK);
        CU_ASSERT_EQUAL_FATAL(nlm_quantize_row_weighted(info->dtype, values, weights, other, N, NULL), NLM_OK);
        const int block = (int)info->block_elements;
        for (int i = 0; i < N; i += block) {
            CU_ASSERT_TRUE(error_of(info, other, i, i + block) <= error_of(info, row, i, i + block));
        }
        const double ratio = error_of(info, other, 0, N) / error_of(info, row, 0, N);
        if (!(ratio < 0.9)) printf("%s: %g of the reference's\n", info->name, ratio);
        CU_ASSERT_TRUE(ratio < 0.9);
    }
}

/* Where each error counts as much, the least squared error of a block is what the search finds. */
static void equal_weights_lower_the_plain_error(void) {
    fill();
    for (int i = 0; i < N; i++) weights[i] = 3;
    for (size_t t = 0; t < 4; t++) {
        const nlm_dtype_info *info = nlm_dtype_find(weighted[t]);
        CU_ASSERT_EQUAL_FATAL(nlm_quantize_row(info->dtype, values, row, N, NULL), NLM_OK);
        CU_ASSERT_EQUAL_FATAL(nlm_quantize_row_weighted(info->dtype, values, weights, other, N, NULL), NLM_OK);
        CU_ASSERT_TRUE(error_of(info, other, 0, N) < 0.95 * error_of(info, row, 0, N));
    }
}

/* Of a k type's block all errors count as much: its bytes are the reference's. */
static void equal_weights_of_k_types_change_nothing(void) {
    fill();
    for (int i = 0; i < N; i++) weights[i] = 1;
    for (size_t t = 5; t < sizeof weighted / sizeof *weighted; t++) {
        const nlm_dtype_info *info = nlm_dtype_find(weighted[t]);
        CU_ASSERT_EQUAL_FATAL(nlm_quantize_row(info->dtype, values, row, N, NULL), NLM_OK);
        CU_ASSERT_EQUAL_FATAL(nlm_quantize_row_weighted(info->dtype, values, weights, other, N, NULL), NLM_OK);
        CU_ASSERT_EQUAL(memcmp(row, other, (size_t)nlm_dtype_row_bytes(info->dtype, N)), 0);
    }
}

static void types_without_a_choice_are_the_reference(void) {
    fill();
    for (size_t t = 0; t < sizeof unweighted / sizeof *unweighted; t++) {
        CU_ASSERT_EQUAL_FATAL(nlm_quantize_row(unweighted[t], values, row, N, NULL), NLM_OK);
        CU_ASSERT_EQUAL_FATAL(nlm_quantize_row_weighted(unweighted[t], values, weights, other, N, NULL), NLM_OK);
        CU_ASSERT_EQUAL(memcmp(row, other, (size_t)nlm_dtype_row_bytes(unweighted[t], N)), 0);
    }
}

/* Zeros, constants, the smallest and the largest values; weights that are all zero, or one alone is not. */
static void odd_blocks_stay_finite_and_no_worse(void) {
    static const float levels[] = {0, 1, -300, 1e-20f, 1e-41f, 2e5f};
    for (size_t t = 0; t < sizeof weighted / sizeof *weighted; t++) {
        const nlm_dtype_info *info = nlm_dtype_find(weighted[t]);
        for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
            for (int kind = 0; kind < 3; kind++) {
                for (int i = 0; i < N; i++) {
                    values[i] = i % 5 == 4 ? -levels[l] / 3 : levels[l];
                    weights[i] = kind == 0 ? 0 : kind == 1 ? i % 32 == 9 : 1e30f;
                }
                const nlm_status status = nlm_quantize_row(info->dtype, values, row, N, NULL);
                CU_ASSERT_EQUAL(nlm_quantize_row_weighted(info->dtype, values, weights, other, N, NULL), status);
                if (status != NLM_OK) continue;
                const double error = error_of(info, other, 0, N);
                CU_ASSERT_TRUE(isfinite(error) && error <= error_of(info, row, 0, N));
            }
        }
    }
    values[77] = NAN;
    CU_ASSERT_EQUAL(nlm_quantize_row_weighted(NLM_Q4_0, values, weights, row, N, NULL), NLM_NUMERIC);
}

static const check_case cases[] = {
    CHECK_CASE(each_block_is_at_least_as_good_and_all_are_better),
    CHECK_CASE(equal_weights_lower_the_plain_error),
    CHECK_CASE(equal_weights_of_k_types_change_nothing),
    CHECK_CASE(types_without_a_choice_are_the_reference),
    CHECK_CASE(odd_blocks_stay_finite_and_no_worse),
};

CHECK_MAIN("quantize_weighted", cases)
