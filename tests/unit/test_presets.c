/* Presets: their sizes, and the files made of them. */
#include "unit/model_fixture.h"

#include "model/presets.h"

/* Mamba small to large: counts published with that engine. mamba_*, tinyllama, llama_7b: those of the
 * checkpoints of these shapes. The rest follows from the shape: vocabulary x width, and per layer
 * 4 width^2 + 3 width x ff + 2 width; one more norm. */
static const struct {
    const char *name;
    uint64_t parameters;
} sizes[] = {
    {"small", 69632},
    {"default", 366464},
    {"medium", 1818112},
    {"large", 10434560},
    {"mamba_130m", 129135360},
    {"mamba_370m", 371516416},
    {"mamba_1.4b", 1372178432},
    {"tinyllama_1.1b", 1100048384},
    {"llama_7b", 6738415616},
    {"llama_15m", 32000ull * 288 + 6 * (4ull * 288 * 288 + 3ull * 288 * 768 + 2 * 288) + 288},
    {"small_125m", 50304ull * 768 + 12 * (4ull * 768 * 768 + 3ull * 768 * 2048 + 2 * 768) + 768},
    {"medium_350m", 50304ull * 1024 + 24 * (4ull * 1024 * 1024 + 3ull * 1024 * 2736 + 2 * 1024) + 1024},
    {"large_1.3b", 50304ull * 2048 + 24 * (4ull * 2048 * 2048 + 3ull * 2048 * 5472 + 2 * 2048) + 2048},
};

static void presets_have_the_published_numbers_of_parameters(void) {
    CU_ASSERT_EQUAL(nlm_preset_count(), sizeof sizes / sizeof *sizes);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const nlm_preset *preset = nlm_preset_find(sizes[i].name);
        CU_ASSERT_PTR_NOT_NULL_FATAL(preset);
        CU_ASSERT_EQUAL(nlm_preset_parameters(preset), sizes[i].parameters);
    }
    CU_ASSERT_PTR_NULL(nlm_preset_find("small_126m"));
}

/* Small enough that their address space fits anywhere; nothing is committed. */
static const char *const small_presets[] = {"small_125m", "medium_350m", "small", "default", "medium", "large"};

static void a_preset_opens_as_a_model_with_every_parameter(void) {
    for (size_t i = 0; i < sizeof small_presets / sizeof *small_presets; i++) {
        const nlm_preset *preset = nlm_preset_find(small_presets[i]);
        nlm_error err = NLM_ERROR_INIT;
        nlm_gguf *gguf = NULL;
        FIXTURE_OK(nlm_preset_gguf(preset, NLM_Q8_0, &gguf, &err));
        uint64_t elements = 0;
        for (size_t t = 0; t < nlm_gguf_tensor_count(gguf); t++) {
            const nlm_tensor *tensor = &nlm_gguf_tensor_at(gguf, t)->tensor;
            elements += (uint64_t)tensor->shape[0] * (uint64_t)(tensor->rank > 1 ? tensor->shape[1] : 1);
        }
        CU_ASSERT_EQUAL(elements, nlm_preset_parameters(preset));
        nlm_model *model = NULL;
        FIXTURE_OK(nlm_model_take_gguf(gguf, &model, &err));
        CU_ASSERT_STRING_EQUAL(nlm_model_family_name(model), preset->architecture);
        const nlm_hparams *h = nlm_model_hparams(model);
        CU_ASSERT_EQUAL(h->n_embd, preset->hparams.n_embd);
        CU_ASSERT_EQUAL(h->head_dim, preset->hparams.head_dim);
        CU_ASSERT_EQUAL(h->d_inner, preset->hparams.d_inner);
        nlm_model_close(model);
    }
}

static nlm_dtype type_in(const nlm_gguf *gguf, const char *name) {
    const nlm_gguf_tensor *tensor = nlm_gguf_find_tensor(gguf, name);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tensor);
    return tensor->tensor.dtype;
}

static void rows_that_are_no_multiple_of_a_block_are_f16(void) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_gguf *gguf = NULL;
    FIXTURE_OK(nlm_preset_gguf(nlm_preset_find("medium_350m"), NLM_Q4_0, &gguf, &err));
    CU_ASSERT_EQUAL(type_in(gguf, "blk.3.ffn_up.weight"), NLM_Q4_0);
    CU_ASSERT_EQUAL(type_in(gguf, "blk.3.ffn_down.weight"), NLM_F16); /* 2736 = 85.5 blocks */
    CU_ASSERT_EQUAL(type_in(gguf, "blk.3.attn_norm.weight"), NLM_F32);
    nlm_gguf_close(gguf);
    FIXTURE_OK(nlm_preset_gguf(nlm_preset_find("mamba_130m"), NLM_Q4_K, &gguf, &err));
    CU_ASSERT_EQUAL(type_in(gguf, "blk.0.ssm_in.weight"), NLM_Q4_K);
    CU_ASSERT_EQUAL(type_in(gguf, "blk.0.ssm_dt.weight"), NLM_F16); /* dt_rank 48 */
    CU_ASSERT_EQUAL(type_in(gguf, "blk.0.ssm_a"), NLM_F32);
    nlm_gguf_close(gguf);
    CU_ASSERT_EQUAL(nlm_preset_gguf(nlm_preset_find("small"), NLM_I32, &gguf, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NULL(gguf);
}

static void what_is_dropped_of_a_file_in_memory_is_zeros(void) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_gguf *gguf = NULL;
    FIXTURE_OK(nlm_preset_gguf(nlm_preset_find("large"), NLM_F32, &gguf, &err));
    const nlm_gguf_tensor *t = nlm_gguf_find_tensor(gguf, "token_embd.weight");
    float *values = t->tensor.data;
    const size_t count = (size_t)t->bytes / sizeof *values;
    for (size_t i = 0; i < count; i++) values[i] = 1;
    nlm_gguf_drop_pages(gguf, values, t->bytes);
    CU_ASSERT_EQUAL(values[count / 2], 0);
    nlm_gguf_close(gguf);
}

/* The one test of a Mamba's output.bias: with all other weights zero the logits are the bias. */
static void the_bias_of_a_mamba_head_is_added_to_the_logits(void) {
    nlm_error err = NLM_ERROR_INIT;
    rig r = rig_open("mamba-f32", NLM_F32, 1);
    nlm_model_close(r.model);
    nlm_cache_destroy(r.cache);
    nlm_gguf *gguf = NULL;
    FIXTURE_OK(nlm_preset_gguf(nlm_preset_find("small"), NLM_F32, &gguf, &err));
    float *bias = nlm_gguf_find_tensor(gguf, "output.bias")->tensor.data;
    for (int i = 0; i < 64; i++) bias[i] = (float)(i - 20) / 8;
    FIXTURE_OK(nlm_model_take_gguf(gguf, &r.model, &err));
    r.n_vocab = 64;
    const nlm_cache_options options = {
        .n_slots = RIG_SLOTS, .n_pages = 1, .page_tokens = 1, .n_blocks = 1, .kv_dtype = NLM_F32};
    FIXTURE_OK(nlm_model_cache_create(r.model, &options, &r.cache, &err));
    const int32_t tokens[2] = {3, 5};
    const rig_part part = {.slot = 0, .tokens = tokens, .count = 2};
    float *logits = rig_run(&r, &part, 1, 0);
    for (int i = 0; i < 128; i++) CU_ASSERT_EQUAL(logits[i], (float)(i % 64 - 20) / 8);
    free(logits);
    rig_close(&r);
}

static const check_case cases[] = {
    CHECK_CASE(presets_have_the_published_numbers_of_parameters),
    CHECK_CASE(a_preset_opens_as_a_model_with_every_parameter),
    CHECK_CASE(rows_that_are_no_multiple_of_a_block_are_f16),
    CHECK_CASE(what_is_dropped_of_a_file_in_memory_is_zeros),
    CHECK_CASE(the_bias_of_a_mamba_head_is_added_to_the_logits),
};
CHECK_MAIN("presets", cases)
