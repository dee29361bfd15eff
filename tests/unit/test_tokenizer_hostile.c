/* Vocabularies that are not what they should be: each gives one clear sentence. */
#include "base/log.h"
#include "unit/check.h"
#include "unit/vocab_bytes.h"

#include <nlm/plugin.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define KEY(name)    "tokenizer.ggml." name

static const vocab_token tokens[] = {{"<unk>", 2, 0}, {"<s>", 3, 0}, {"</s>", 3, 0}, {"a", 1, -1}};

static void add_model(vocab_bytes *v, const char *model) {
    vocab_string(v, KEY("model"), model);
}
static void add_bpe(vocab_bytes *v) {
    add_model(v, "gpt2");
    vocab_tokens(v, false, true, NULL, 0);
}
static void add_texts(vocab_bytes *v, const char *model) {
    static const char *const texts[] = {"<unk>", "<s>", "</s>", "a"};
    add_model(v, model);
    vocab_strings(v, KEY("tokens"), texts, COUNT(texts));
}

static void nothing(vocab_bytes *v) {
    vocab_string(v, "general.architecture", "llama");
}
static void model_is_a_number(vocab_bytes *v) {
    vocab_number(v, KEY("model"), 1);
}
static void model_is_unknown(vocab_bytes *v) {
    add_model(v, "t5");
}
static void model_is_none(vocab_bytes *v) {
    add_model(v, "none");
}
static void pre_is_unknown(vocab_bytes *v) {
    add_model(v, "gpt2");
    vocab_string(v, KEY("pre"), "klingon");
}
static void no_tokens(vocab_bytes *v) {
    add_model(v, "llama");
}
static void tokens_are_numbers(vocab_bytes *v) {
    add_model(v, "llama");
    vocab_i32s(v, KEY("tokens"), (const int32_t[]){1, 2}, 2);
}
static void no_scores(vocab_bytes *v) {
    add_texts(v, "llama");
}
static void few_scores(vocab_bytes *v) {
    add_texts(v, "llama");
    vocab_f32s(v, KEY("scores"), (const float[]){0, 0, 0}, 3);
}
static void scores_are_texts(vocab_bytes *v) {
    add_texts(v, "llama");
    vocab_strings(v, KEY("scores"), (const char *const[]){"0"}, 1);
}
static void a_score_is_nan(vocab_bytes *v) {
    add_texts(v, "llama");
    const float zero = 0;
    vocab_f32s(v, KEY("scores"), (const float[]){0, 0, zero / zero, 0}, 4);
}
static void many_types(vocab_bytes *v) {
    add_texts(v, "llama");
    vocab_i32s(v, KEY("token_type"), (const int32_t[]){1, 1, 1, 1, 1}, 5);
}
static void a_byte_token_is_no_byte(vocab_bytes *v) {
    add_texts(v, "llama");
    vocab_i32s(v, KEY("token_type"), (const int32_t[]){2, 3, 3, 6}, 4);
}
static void no_merges(vocab_bytes *v) {
    add_bpe(v);
}
static void a_merge_without_blank(vocab_bytes *v) {
    add_bpe(v);
    vocab_strings(v, KEY("merges"), (const char *const[]){"a b", "ab"}, 2);
}
static void a_merge_of_three(vocab_bytes *v) {
    add_bpe(v);
    vocab_strings(v, KEY("merges"), (const char *const[]){"a b", "b c", "a b c"}, 3);
}
static void a_merge_with_an_empty_half(vocab_bytes *v) {
    add_bpe(v);
    vocab_strings(v, KEY("merges"), (const char *const[]){" ab"}, 1);
}

#define KNOWN_PRE                                                                                           \
    "gpt-2 default phi-2 mellum a.x-4.0 trillion gigachat jais exaone4 granite-docling gpt-neox olmo mpt "  \
    "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano smaug-bpe dbrx glm4 "   \
    "chatglm-bpe smollm starcoder refact minerva-7b codeshell exaone mellum2 command-r qwen2 f2llmv2 "      \
    "deepseek-r1-qwen megrez stablelm2 hunyuan solar-open grok-2 kormo qwen35 seed-coder tekken gpt-4o "    \
    "llama4 kanana2 minimax-m2 talkie bloom poro-chat gpt3-finnish viking deepseek-v3 hunyuan-dense "       \
    "joyai-llm falcon deepseek-llm deepseek-coder minicpm5 laguna jais-2 bailingmoe bailingmoe2 llada-moe " \
    "exaone-moe tiny_aya cohere2moe superbpe kimi-k2 youtu chameleon"

static const struct {
    const char *name;
    void (*build)(vocab_bytes *v);
    nlm_status status;
    const char *message; /* NULL: the GGUF reader's */
} files[] = {
    {"nothing", nothing, NLM_NOT_FOUND, "the file has no tokenizer (tokenizer.ggml.model is not there)"},
    {"model_is_a_number", model_is_a_number, NLM_BAD_FORMAT, NULL},
    {"model_is_unknown", model_is_unknown, NLM_UNSUPPORTED,
     "the tokenizer 't5' (tokenizer.ggml.model) is not known; known are: llama gpt2"},
    {"model_is_none", model_is_none, NLM_NOT_FOUND, "the file has no tokenizer (tokenizer.ggml.model is 'none')"},
    {"pre_is_unknown", pre_is_unknown, NLM_UNSUPPORTED,
     "the pre-tokenizer 'klingon' (tokenizer.ggml.pre) is not known; known are: " KNOWN_PRE},
    {"no_tokens", no_tokens, NLM_NOT_FOUND, "the file has no tokens (tokenizer.ggml.tokens)"},
    {"tokens_are_numbers", tokens_are_numbers, NLM_BAD_FORMAT, "tokenizer.ggml.tokens is not an array of strings"},
    {"no_scores", no_scores, NLM_BAD_FORMAT,
     "tokenizer.ggml.scores has 0 entries; expected one for each of 4 tokens"},
    {"few_scores", few_scores, NLM_BAD_FORMAT,
     "tokenizer.ggml.scores has 3 entries; expected one for each of 4 tokens"},
    {"scores_are_texts", scores_are_texts, NLM_BAD_FORMAT, "tokenizer.ggml.scores is not an array of numbers"},
    {"a_score_is_nan", a_score_is_nan, NLM_BAD_FORMAT, "tokenizer.ggml.scores[2] is not a number"},
    {"many_types", many_types, NLM_BAD_FORMAT,
     "tokenizer.ggml.token_type has 5 entries; expected one integer for each of 4 tokens"},
    {"a_byte_token_is_no_byte", a_byte_token_is_no_byte, NLM_BAD_FORMAT,
     "tokenizer.ggml.tokens[3] is 'a' but of type byte; expected <0x00> to <0xFF>"},
    {"no_merges", no_merges, NLM_NOT_FOUND, "the file has no merges (tokenizer.ggml.merges)"},
    {"a_merge_without_blank", a_merge_without_blank, NLM_BAD_FORMAT,
     "tokenizer.ggml.merges[1] is 'ab'; expected two texts with one blank between them"},
    {"a_merge_of_three", a_merge_of_three, NLM_BAD_FORMAT,
     "tokenizer.ggml.merges[2] is 'a b c'; expected two texts with one blank between them"},
    {"a_merge_with_an_empty_half", a_merge_with_an_empty_half, NLM_BAD_FORMAT,
     "tokenizer.ggml.merges[0] is ' ab'; expected two texts with one blank between them"},
};

static void each_defect_is_told_in_a_sentence(void) {
    for (size_t i = 0; i < COUNT(files); i++) {
        vocab_bytes v = {0};
        nlm_tokenizer *tokenizer = NULL;
        nlm_error err = NLM_ERROR_INIT;
        files[i].build(&v);
        const nlm_status status = vocab_open(&v, &tokenizer, &err);
        const bool is_right =
            status == files[i].status && (!files[i].message || strcmp(err.msg, files[i].message) == 0);
        if (!is_right) printf(" [%s: %d, %s] ", files[i].name, status, err.msg);
        CU_ASSERT_TRUE(is_right);
        CU_ASSERT_PTR_NULL(tokenizer);
    }
}

/* Ids, empty texts, types to come, equal texts: what real files hold and what must not disturb. */
static void oddities_of_real_files_are_borne(void) {
    static const char *const texts[] = {"<unk>", "<s>", "</s>", "", "a", "a", "<0x62>"};
    vocab_bytes v = {0};
    nlm_tokenizer *tokenizer = NULL;
    nlm_ids ids = {0};
    add_model(&v, "llama");
    vocab_strings(&v, KEY("tokens"), texts, COUNT(texts));
    vocab_i32s(&v, KEY("token_type"), (const int32_t[]){2, 3, 3, 0, 1, 99, 6}, COUNT(texts));
    vocab_f32s(&v, KEY("scores"), (const float[]){0, 0, 0, -1e38f, -0.0f, 0, 1}, COUNT(texts));
    vocab_flag(&v, KEY("add_space_prefix"), false);
    vocab_flag(&v, KEY("add_bos_token"), false);
    vocab_number(&v, KEY("bos_token_id"), UINT32_MAX);
    CU_ASSERT_EQUAL_FATAL(vocab_open(&v, &tokenizer, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_tokenizer_bos(tokenizer), -1);
    CU_ASSERT_EQUAL(nlm_tokenizer_encode(tokenizer, "ab", 2, 0, &ids, NULL), NLM_OK);
    CU_ASSERT_EQUAL_FATAL(ids.count, 2);
    CU_ASSERT_EQUAL(ids.data[0], 4);
    CU_ASSERT_EQUAL(ids.data[1], 6);
    nlm_ids_release(&ids);
    nlm_tokenizer_destroy(tokenizer);
}

static void keep_log(void *user, int32_t level, const char *message) {
    if (level <= NLM_LOG_WARN) nlm_str_printf(user, "%s\n", message);
}

static void bos_is_no_token(vocab_bytes *v) {
    vocab_number(v, KEY("bos_token_id"), 300);
}
static void bos_is_far_off(vocab_bytes *v) {
    vocab_number(v, KEY("bos_token_id"), 0x80000005u);
}
static void bos_is_negative(vocab_bytes *v) {
    vocab_key(v, KEY("bos_token_id"), NLM_GGUF_I32);
    vocab_u32(v, UINT32_MAX);
}
static void bos_is_asked_for_but_not_named(vocab_bytes *v) {
    vocab_flag(v, KEY("add_bos_token"), true);
}
static void eos_is_asked_for_but_not_named(vocab_bytes *v) {
    vocab_flag(v, KEY("add_eos_token"), true);
}
static void names_no_pre_tokenizer(vocab_bytes *v) {
    (void)v;
}

/* Text needs none of these: the model is used without, and told so. */
static void what_text_does_not_need_is_missed_with_a_warning(void) {
    static const struct {
        void (*build)(vocab_bytes *v);
        const char *warning; /* NULL: none */
    } cases[] = {
        {bos_is_no_token, "tokenizer.ggml.bos_token_id is none of the 256 tokens"},
        {bos_is_far_off, "tokenizer.ggml.bos_token_id is none of the 256 tokens"},
        {bos_is_negative, NULL},
        {bos_is_asked_for_but_not_named, "tokenizer.ggml.add_bos_token without tokenizer.ggml.bos_token_id"},
        {eos_is_asked_for_but_not_named, "tokenizer.ggml.add_eos_token without tokenizer.ggml.eos_token_id"},
        {names_no_pre_tokenizer, "names no pre-tokenizer (tokenizer.ggml.pre)"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        vocab_bytes v = {0};
        nlm_str log = {0};
        nlm_tokenizer *tokenizer = NULL;
        nlm_ids ids = {0};
        add_model(&v, "gpt2");
        if (cases[i].build != names_no_pre_tokenizer) vocab_string(&v, KEY("pre"), "gpt-2");
        vocab_tokens(&v, false, true, NULL, 0);
        vocab_strings(&v, KEY("merges"), NULL, 0);
        cases[i].build(&v);
        nlm_str_puts(&log, "");
        nlm_log_set_sink(keep_log, &log);
        CU_ASSERT_EQUAL_FATAL(vocab_open(&v, &tokenizer, NULL), NLM_OK);
        nlm_log_set_sink(NULL, NULL);
        CU_ASSERT_EQUAL(nlm_tokenizer_bos(tokenizer), -1);
        CU_ASSERT_EQUAL(nlm_tokenizer_encode(tokenizer, "ab", 2, NLM_ENCODE_BOS, &ids, NULL), NLM_OK);
        CU_ASSERT_EQUAL(ids.count, 2);
        if (cases[i].warning) {
            CU_ASSERT_PTR_NOT_NULL(strstr(log.data, cases[i].warning));
        } else {
            CU_ASSERT_STRING_EQUAL(log.data, "");
        }
        nlm_ids_release(&ids);
        nlm_str_release(&log);
        nlm_tokenizer_destroy(tokenizer);
    }
}

/* Files of old give no types: <0x41> is then a byte, and "<s>" text that no user should hope to spell. */
static void missing_types_are_guessed(void) {
    static const char *const texts[] = {"<unk>", "<s>", "</s>", "<0x41>", "b"};
    vocab_bytes v = {0};
    nlm_tokenizer *tokenizer = NULL;
    nlm_ids ids = {0};
    nlm_str text = {0};
    add_model(&v, "llama");
    vocab_strings(&v, KEY("tokens"), texts, COUNT(texts));
    vocab_f32s(&v, KEY("scores"), (const float[]){0, 0, 0, 0, 0}, COUNT(texts));
    vocab_flag(&v, KEY("add_space_prefix"), false);
    CU_ASSERT_EQUAL_FATAL(vocab_open(&v, &tokenizer, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_tokenizer_encode(tokenizer, "Ab", 2, NLM_ENCODE_BOS, &ids, NULL), NLM_OK);
    CU_ASSERT_EQUAL_FATAL(ids.count, 3);
    CU_ASSERT_EQUAL(ids.data[0], 1);
    CU_ASSERT_EQUAL(ids.data[1], 3);
    CU_ASSERT_EQUAL(ids.data[2], 4);
    CU_ASSERT_EQUAL(nlm_tokenizer_decode_all(tokenizer, ids.data, ids.count, false, &text, NULL), NLM_OK);
    CU_ASSERT_STRING_EQUAL(text.data, "Ab");
    nlm_str_release(&text);
    nlm_ids_release(&ids);
    nlm_tokenizer_destroy(tokenizer);
}

/* One piece of a megabyte: trying every cut by comparing texts would take hours. */
static void a_piece_of_a_megabyte_loads(void) {
    const size_t length = 1 << 20;
    char *piece = malloc(length);
    CU_ASSERT_PTR_NOT_NULL_FATAL(piece);
    memset(piece, 'a', length);
    vocab_bytes v = {0};
    nlm_tokenizer *tokenizer = NULL;
    add_model(&v, "llama");
    vocab_array(&v, KEY("tokens"), NLM_GGUF_STRING, 5);
    for (size_t i = 0; i < 4; i++) vocab_text(&v, tokens[i].text, strlen(tokens[i].text));
    vocab_text(&v, piece, length);
    vocab_i32s(&v, KEY("token_type"), (const int32_t[]){2, 3, 3, 1, 1}, 5);
    vocab_f32s(&v, KEY("scores"), (const float[]){0, 0, 0, -1, -2}, 5);
    CU_ASSERT_EQUAL_FATAL(vocab_open(&v, &tokenizer, NULL), NLM_OK);
    nlm_str text = {0};
    CU_ASSERT_EQUAL(nlm_tokenizer_decode(tokenizer, 4, false, &text, NULL), NLM_OK);
    CU_ASSERT(text.length == length && memcmp(text.data, piece, length) == 0);
    nlm_str_release(&text);
    nlm_tokenizer_destroy(tokenizer);
    free(piece);
}

static const check_case cases[] = {
    CHECK_CASE(each_defect_is_told_in_a_sentence),
    CHECK_CASE(oddities_of_real_files_are_borne),
    CHECK_CASE(what_text_does_not_need_is_missed_with_a_warning),
    CHECK_CASE(missing_types_are_guessed),
    CHECK_CASE(a_piece_of_a_megabyte_loads),
};

CHECK_MAIN("tokenizer_hostile", cases)
