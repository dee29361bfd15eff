/* Encoding and decoding with small vocabularies: merges, bytes, and what becomes of special tokens. */
#include "text/vocab.h"
#include "unit/tokenizer_fixture.h"

#include <pthread.h>

static void check_ids(const nlm_tokenizer *tokenizer, const char *text, uint32_t flags, const char *expected) {
    nlm_str line = encode_line(tokenizer, text, strlen(text), flags, NULL);
    if (strcmp(line.data, expected) != 0) printf(" ['%s': %s, not %s] ", text, line.data, expected);
    CU_ASSERT_STRING_EQUAL(line.data, expected);
    nlm_str_release(&line);
}

/* Ids 0 to 9; "ab" before "abc", "▁ab" best. */
static const vocab_token spm_tokens[] = {
    {"<unk>", 2, 0},
    {"<s>", 3, 0},
    {"</s>", 3, 0},
    {"\xE2\x96\x81", 1, -9},
    {"a", 1, -9},
    {"b", 1, -9},
    {"ab", 1, -2},
    {"abc", 1, -1},
    {"c", 1, -9},
    {"\xE2\x96\x81"
     "ab",
     1, -1.5f},
    {"<|im_end|>", 4, 0},
    {"<tool>", 4, 0},
};

static nlm_tokenizer *open_spm(bool has_bytes, bool adds_prefix) {
    vocab_bytes v = {0};
    nlm_tokenizer *tokenizer = NULL;
    nlm_error err = NLM_ERROR_INIT;
    vocab_string(&v, "tokenizer.ggml.model", "llama");
    vocab_tokens(&v, true, has_bytes, spm_tokens, COUNT(spm_tokens));
    vocab_flag(&v, "tokenizer.ggml.add_space_prefix", adds_prefix);
    const uint32_t first = has_bytes ? 256 : 0;
    vocab_number(&v, "tokenizer.ggml.unknown_token_id", first);
    vocab_number(&v, "tokenizer.ggml.bos_token_id", first + 1);
    vocab_number(&v, "tokenizer.ggml.eos_token_id", first + 2);
    CU_ASSERT_EQUAL_FATAL(vocab_open(&v, &tokenizer, &err), NLM_OK);
    return tokenizer;
}

static void spm_merges_the_best_score_first(void) {
    nlm_tokenizer *tokenizer = open_spm(false, true);
    /* "▁abc": of ab (-2) only; then ▁ab (-1.5) and abc (-1): abc */
    check_ids(tokenizer, "abc", 0, "3 7");
    check_ids(tokenizer, "abab", 0, "9 6");
    check_ids(tokenizer, "ba", 0, "3 5 4");
    nlm_tokenizer_destroy(tokenizer);
}

static void spm_spells_the_unknown_in_bytes_or_as_one_unknown(void) {
    nlm_tokenizer *tokenizer = open_spm(false, false);
    check_ids(tokenizer, "axyzb", 0, "4 0 5");
    check_ids(tokenizer, "\xC3\xA9 \xFF", 0, "0 3 0");
    nlm_tokenizer_destroy(tokenizer);
    tokenizer = open_spm(true, false);
    check_ids(tokenizer, "ax\xC3\xA9", 0, "260 120 195 169");
    nlm_tokenizer_destroy(tokenizer);
}

static void control_tokens_are_spelled_by_templates_alone(void) {
    nlm_tokenizer *tokenizer = open_spm(true, true);
    check_ids(tokenizer, "a</s>b", NLM_ENCODE_SPECIAL, "259 260 258 259 261");
    check_ids(tokenizer, "</s>", 0, "259 60 47 115 62");
    check_ids(tokenizer, "a<tool>b", 0, "259 260 267 261");
    /* A file may call it user-defined: a user's text must still not end the turn. */
    check_ids(tokenizer, "<|im_end|>", NLM_ENCODE_SPECIAL, "266");
    check_ids(tokenizer, "<|im_end|>", 0, "259 60 124 105 109 95 101 110 100 124 62");
    nlm_tokenizer_destroy(tokenizer);
}

static void user_spans_never_become_control_tokens(void) {
    nlm_tokenizer *tokenizer = open_spm(false, false);
    const char *text = "</s>ab</s>ab</s>";
    static const struct {
        nlm_text_span spans[2];
        size_t count;
        const char *ids;
    } cases[] = {
        {{{0, 0}}, 0, "2 6 2 6 2"},  {{{4, 12}}, 1, "2 6 0 6 2"},          {{{6, 7}}, 1, "2 6 0 6 2"},
        {{{9, 10}}, 1, "2 6 0 6 2"}, {{{4, 6}}, 1, "2 6 2 6 2"},           {{{0, 4}, {12, 16}}, 2, "0 6 2 6 0"},
        {{{3, 3}}, 1, "2 6 2 6 2"},  {{{0, 1}, {15, 16}}, 2, "0 6 2 6 0"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        nlm_text_span data[2] = {cases[i].spans[0], cases[i].spans[1]};
        const nlm_text_spans spans = {data, cases[i].count, 2};
        nlm_str line = encode_line(tokenizer, text, strlen(text), NLM_ENCODE_SPECIAL, &spans);
        CU_ASSERT_STRING_EQUAL(line.data, cases[i].ids);
        nlm_str_release(&line);
    }
    nlm_tokenizer_destroy(tokenizer);
}

static void words_may_cross_the_ends_of_user_spans(void) {
    nlm_tokenizer *tokenizer = open_spm(false, false);
    nlm_text_span span = {1, 2};
    const nlm_text_spans spans = {&span, 1, 1};
    nlm_str line = encode_line(tokenizer, "abc", 3, NLM_ENCODE_SPECIAL, &spans);
    CU_ASSERT_STRING_EQUAL(line.data, "7");
    nlm_str_release(&line);
    nlm_tokenizer_destroy(tokenizer);
}

static void bos_and_eos_stand_where_the_file_says(void) {
    static const struct {
        int bos, eos; /* -1: the file says nothing */
        const char *ids;
    } cases[] = {{-1, -1, "1 4"}, {0, -1, "4"}, {1, 1, "1 4 2"}, {0, 1, "4 2"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        vocab_bytes v = {0};
        nlm_tokenizer *tokenizer = NULL;
        vocab_string(&v, "tokenizer.ggml.model", "llama");
        vocab_tokens(&v, true, false, spm_tokens, COUNT(spm_tokens));
        vocab_flag(&v, "tokenizer.ggml.add_space_prefix", false);
        if (cases[i].bos >= 0) vocab_flag(&v, "tokenizer.ggml.add_bos_token", cases[i].bos);
        if (cases[i].eos >= 0) vocab_flag(&v, "tokenizer.ggml.add_eos_token", cases[i].eos);
        CU_ASSERT_EQUAL_FATAL(vocab_open(&v, &tokenizer, NULL), NLM_OK);
        check_ids(tokenizer, "a", NLM_ENCODE_BOS, cases[i].ids);
        check_ids(tokenizer, "a", 0, "4");
        CU_ASSERT_EQUAL(nlm_tokenizer_adds_bos(tokenizer), cases[i].bos != 0);
        CU_ASSERT_EQUAL(nlm_tokenizer_bos(tokenizer), 1);
        CU_ASSERT_EQUAL(nlm_tokenizer_eos(tokenizer), 2);
        nlm_tokenizer_destroy(tokenizer);
    }
}

static void decoding_drops_the_space_that_encoding_added(void) {
    nlm_tokenizer *tokenizer = open_spm(true, true);
    static const char *const texts[] = {"a", " a", "  a ", "", " ", "<tool>", " <tool> a", "a<tool>b", "\xE2\x82"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        nlm_str back = round_trip(tokenizer, texts[i], strlen(texts[i]));
        CU_ASSERT_STRING_EQUAL(back.data ? back.data : "", texts[i]);
        nlm_str_release(&back);
    }
    const int32_t turns[] = {257, 259, 260, 258, 265, 256, 265}; /* <s>▁a</s>▁ab<unk>▁ab */
    nlm_str plain = {0}, special = {0}, one = {0};
    CU_ASSERT_EQUAL(nlm_tokenizer_decode_all(tokenizer, turns, COUNT(turns), false, &plain, NULL), NLM_OK);
    CU_ASSERT_STRING_EQUAL(plain.data, "aab ab");
    CU_ASSERT_EQUAL(nlm_tokenizer_decode_all(tokenizer, turns, COUNT(turns), true, &special, NULL), NLM_OK);
    CU_ASSERT_STRING_EQUAL(special.data, "<s>a</s>ab<unk> ab");
    CU_ASSERT_EQUAL(nlm_tokenizer_decode(tokenizer, 265, false, &one, NULL), NLM_OK);
    CU_ASSERT_STRING_EQUAL(one.data, " ab"); /* as it stands in running text */
    nlm_str_release(&plain);
    nlm_str_release(&special);
    nlm_str_release(&one);
    nlm_tokenizer_destroy(tokenizer);
}

static void decoding_refuses_ids_out_of_range(void) {
    nlm_tokenizer *tokenizer = open_spm(false, true);
    nlm_error err = NLM_ERROR_INIT;
    nlm_str out = {0};
    const int32_t ids[] = {4, 12};
    CU_ASSERT_EQUAL(nlm_tokenizer_decode(tokenizer, -1, true, &out, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_tokenizer_decode_all(tokenizer, ids, 2, true, &out, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_STRING_EQUAL(err.msg, "token id 12; expected 0 to 11");
    nlm_str_release(&out);
    nlm_tokenizer_destroy(tokenizer);
}

static const vocab_token bpe_tokens[] = {
    {"ab", 1, 0},
    {"\xC4\xA0"
     "ab",
     1, 0},
    {"<|eot_id|>", 3, 0},
    {"</s>", 1, 0},
    {"[PAD]", 5, 0},
    {"  ", 4, 0},
    {"   ", 4, 0},
};
static const char *const bpe_merges[] = {"a b", "\xC4\xA0 ab", "b c", "ab cd"};

static nlm_tokenizer *open_bpe(void) {
    vocab_bytes v = {0};
    nlm_tokenizer *tokenizer = NULL;
    nlm_error err = NLM_ERROR_INIT;
    vocab_string(&v, "tokenizer.ggml.model", "gpt2");
    vocab_string(&v, "tokenizer.ggml.pre", "gpt-2");
    vocab_tokens(&v, false, true, bpe_tokens, COUNT(bpe_tokens));
    vocab_strings(&v, "tokenizer.ggml.merges", bpe_merges, COUNT(bpe_merges));
    CU_ASSERT_EQUAL_FATAL(vocab_open(&v, &tokenizer, &err), NLM_OK);
    return tokenizer;
}

static void bpe_merges_in_the_order_of_the_list(void) {
    nlm_tokenizer *tokenizer = open_bpe();
    check_ids(tokenizer, "ab ab", 0, "256 257");
    check_ids(tokenizer, "bc", 0, "98 99"); /* a merge whose result is no token falls apart into bytes */
    check_ids(tokenizer, "abcd", 0, "256 99 100");
    check_ids(tokenizer, "\xFF\xC3", 0, "255 195");
    nlm_tokenizer_destroy(tokenizer);
}

static void an_unspellable_byte_never_becomes_a_control_token(void) {
    vocab_bytes v = {0};
    nlm_tokenizer *tokenizer = NULL;
    static const vocab_token tokens[] = {
        {"<|endoftext|>", 3, 0}, {"a", 1, 0}, {"\xC3\xAF", 1, 0}, {"\xC2\xBF", 1, 0}, {"\xC2\xBD", 1, 0}};
    vocab_string(&v, "tokenizer.ggml.model", "gpt2");
    vocab_tokens(&v, false, false, tokens, COUNT(tokens));
    vocab_strings(&v, "tokenizer.ggml.merges", NULL, 0);
    vocab_number(&v, "tokenizer.ggml.unknown_token_id", 0);
    CU_ASSERT_EQUAL_FATAL(vocab_open(&v, &tokenizer, NULL), NLM_OK);
    check_ids(tokenizer, "a\xFF", 0, "1 2 3 4");
    nlm_tokenizer_destroy(tokenizer);
}

/* The ids are those of Hugging Face's tokenizers 0.23 with this vocabulary. */
static void bytes_without_a_token_are_left_out_and_raw_pieces_never_given(void) {
    static const char *const merges[] = {"a b", "\xC3\xA2 \xC4\xA2", "\xC3\xA2\xC4\xA2 \xC4\xAF"};
    static const vocab_token tokens[] = {{"a", 1, 0},
                                         {"b", 1, 0},
                                         {"ab", 1, 0},
                                         {"\xE2\x80\x8D", 1, 0}, /* U+200D as it is, and its bytes: */
                                         {"\xC3\xA2", 1, 0},
                                         {"\xC4\xA2", 1, 0},
                                         {"\xC4\xAF", 1, 0},
                                         {"\xC3\xA2\xC4\xA2", 1, 0},
                                         {"\xC3\xA2\xC4\xA2\xC4\xAF", 1, 0},
                                         {"\xC4\xA0", 1, 0},
                                         {"\n", 1, 0}};
    static const struct {
        const char *text, *ids;
    } expected[] = {{"a\x04", "0"},
                    {"acb", "2"}, /* c is such a byte */
                    {"\x04", ""},
                    {"\n", ""},
                    {"a\xE2\x80\x8D"
                     "b",
                     "0 8 1"},
                    {"\xE2\x80\x8D", "8"},
                    {"a b", "0 9 1"},
                    {"a\xFF", "0"}};
    vocab_bytes v = {0};
    nlm_tokenizer *tokenizer = NULL;
    vocab_string(&v, "tokenizer.ggml.model", "gpt2");
    vocab_tokens(&v, false, false, tokens, COUNT(tokens));
    vocab_strings(&v, "tokenizer.ggml.merges", merges, COUNT(merges));
    CU_ASSERT_EQUAL_FATAL(vocab_open(&v, &tokenizer, NULL), NLM_OK);
    for (size_t i = 0; i < COUNT(expected); i++) check_ids(tokenizer, expected[i].text, 0, expected[i].ids);
    static const int32_t ids[] = {0, 3, 1, 8};
    nlm_str text = {0};
    CU_ASSERT_EQUAL(nlm_tokenizer_decode_all(tokenizer, ids, COUNT(ids), false, &text, NULL), NLM_OK);
    CU_ASSERT_STRING_EQUAL(text.data,
                           "a\xE2\x80\x8D"
                           "b\xE2\x80\x8D");
    nlm_str_release(&text);
    nlm_tokenizer_destroy(tokenizer);
}

/* As sentencepiece 0.2 does with the normalization rule "identity". */
static void extra_whitespace_goes_and_space_marks_at_the_end(void) {
    static const vocab_token tokens[] = {{"<unk>", 2, 0},         {"<s>", 3, 0}, {"</s>", 3, 0},
                                         {NLM_SPACE_MARK, 1, -1}, {"a", 1, -9},  {"b", 1, -9}};
    static const struct {
        const char *text, *ids;
    } expected[] = {{" a  b ", "3 4 3 5"},
                    {"a" NLM_SPACE_MARK, "3 4"},
                    {"a " NLM_SPACE_MARK, "3 4"},
                    {"a" NLM_SPACE_MARK " ", "3 4"},
                    {NLM_SPACE_MARK, ""},
                    {NLM_SPACE_MARK "a", "3 3 4"},
                    {"a" NLM_SPACE_MARK NLM_SPACE_MARK "b", "3 4 3 3 5"},
                    {"a" NLM_SPACE_MARK "  b", "3 4 3 3 5"}};
    vocab_bytes v = {0};
    nlm_tokenizer *tokenizer = NULL;
    vocab_string(&v, "tokenizer.ggml.model", "llama");
    vocab_tokens(&v, true, false, tokens, COUNT(tokens));
    vocab_flag(&v, "tokenizer.ggml.remove_extra_whitespaces", true);
    CU_ASSERT_EQUAL_FATAL(vocab_open(&v, &tokenizer, NULL), NLM_OK);
    for (size_t i = 0; i < COUNT(expected); i++) check_ids(tokenizer, expected[i].text, 0, expected[i].ids);
    nlm_tokenizer_destroy(tokenizer);
}

static void user_defined_tokens_are_found_leftmost_and_longest(void) {
    nlm_tokenizer *tokenizer = open_bpe();
    check_ids(tokenizer, "ab  ab", 0, "256 261 256");
    check_ids(tokenizer, "     ", 0, "262 261");
    check_ids(tokenizer, "<|eot_id|>", NLM_ENCODE_SPECIAL, "258");
    check_ids(tokenizer, "[PAD]", NLM_ENCODE_SPECIAL, "91 80 65 68 93"); /* unused: nothing spells it */
    nlm_tokenizer_destroy(tokenizer);
}

static void ends_are_known_by_id_and_by_name(void) {
    nlm_tokenizer *tokenizer = open_bpe();
    CU_ASSERT_TRUE(nlm_tokenizer_is_end(tokenizer, 258));
    CU_ASSERT_FALSE(nlm_tokenizer_is_end(tokenizer, 259)); /* "</s>", but text in this vocabulary */
    CU_ASSERT_FALSE(nlm_tokenizer_is_end(tokenizer, -1));
    CU_ASSERT_FALSE(nlm_tokenizer_is_end(tokenizer, 1000000));
    nlm_tokenizer_destroy(tokenizer);
    tokenizer = open_spm(false, true);
    CU_ASSERT_TRUE(nlm_tokenizer_is_end(tokenizer, 2));
    CU_ASSERT_TRUE(nlm_tokenizer_is_end(tokenizer, 10)); /* "<|im_end|>" though user-defined */
    CU_ASSERT_FALSE(nlm_tokenizer_is_end(tokenizer, 1));
    nlm_tokenizer_destroy(tokenizer);

    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    for (size_t i = 0; i < COUNT(keys); i++) {
        vocab_bytes v = {0};
        vocab_string(&v, "tokenizer.ggml.model", "gpt2");
        vocab_tokens(&v, false, true, NULL, 0);
        vocab_strings(&v, "tokenizer.ggml.merges", NULL, 0);
        vocab_number(&v, keys[i], 65);
        CU_ASSERT_EQUAL_FATAL(vocab_open(&v, &tokenizer, NULL), NLM_OK);
        CU_ASSERT_TRUE(nlm_tokenizer_is_end(tokenizer, 65));
        CU_ASSERT_FALSE(nlm_tokenizer_is_end(tokenizer, 66));
        nlm_tokenizer_destroy(tokenizer);
    }
}

static void pieces_are_found_by_their_text_in_the_file(void) {
    nlm_tokenizer *tokenizer = open_bpe();
    CU_ASSERT_EQUAL(nlm_tokenizer_count(tokenizer), 263);
    CU_ASSERT_EQUAL(nlm_tokenizer_find(tokenizer,
                                       "\xC4\xA0"
                                       "ab",
                                       4),
                    257);
    CU_ASSERT_EQUAL(nlm_tokenizer_find(tokenizer, "<|eot_id|>", 10), 258);
    CU_ASSERT_EQUAL(nlm_tokenizer_find(tokenizer, " ab", 3), -1);
    CU_ASSERT_EQUAL(nlm_tokenizer_find(tokenizer, "", 0), -1);
    nlm_tokenizer_destroy(tokenizer);
}

typedef struct encoder {
    const nlm_tokenizer *tokenizer;
    const nlm_str *text;
    nlm_ids ids;
} encoder;

static void *encode_ten_times(void *user) {
    encoder *e = user;
    for (size_t i = 0; i < 10; i++) {
        e->ids.count = 0;
        if (nlm_tokenizer_encode(e->tokenizer, e->text->data, e->text->length, 0, &e->ids, NULL) != NLM_OK) return e;
    }
    return NULL;
}

static void threads_share_a_tokenizer(void) {
    static const char *const paths[] = {NLM_TEST_DATA "/tokenizer/spm.gguf",
                                        NLM_TEST_DATA "/tokenizer/bpe-gpt-2.gguf"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        nlm_tokenizer *tokenizer = open_file(paths[i]);
        CU_ASSERT_PTR_NOT_NULL_FATAL(tokenizer);
        nlm_str text = random_bytes(11, 20000);
        encoder encoders[2] = {{.tokenizer = tokenizer, .text = &text}, {.tokenizer = tokenizer, .text = &text}};
        pthread_t thread;
        CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, encode_ten_times, &encoders[1]), 0);
        CU_ASSERT_PTR_NULL(encode_ten_times(&encoders[0]));
        void *failed = NULL;
        pthread_join(thread, &failed);
        CU_ASSERT_PTR_NULL(failed);
        CU_ASSERT_EQUAL_FATAL(encoders[0].ids.count, encoders[1].ids.count);
        CU_ASSERT_EQUAL(memcmp(encoders[0].ids.data, encoders[1].ids.data, encoders[0].ids.count * sizeof(int32_t)),
                        0);
        nlm_ids_release(&encoders[0].ids);
        nlm_ids_release(&encoders[1].ids);
        nlm_str_release(&text);
        nlm_tokenizer_destroy(tokenizer);
    }
}

static const check_case cases[] = {
    CHECK_CASE(spm_merges_the_best_score_first),
    CHECK_CASE(spm_spells_the_unknown_in_bytes_or_as_one_unknown),
    CHECK_CASE(control_tokens_are_spelled_by_templates_alone),
    CHECK_CASE(user_spans_never_become_control_tokens),
    CHECK_CASE(words_may_cross_the_ends_of_user_spans),
    CHECK_CASE(bos_and_eos_stand_where_the_file_says),
    CHECK_CASE(decoding_drops_the_space_that_encoding_added),
    CHECK_CASE(decoding_refuses_ids_out_of_range),
    CHECK_CASE(bpe_merges_in_the_order_of_the_list),
    CHECK_CASE(an_unspellable_byte_never_becomes_a_control_token),
    CHECK_CASE(bytes_without_a_token_are_left_out_and_raw_pieces_never_given),
    CHECK_CASE(extra_whitespace_goes_and_space_marks_at_the_end),
    CHECK_CASE(user_defined_tokens_are_found_leftmost_and_longest),
    CHECK_CASE(ends_are_known_by_id_and_by_name),
    CHECK_CASE(pieces_are_found_by_their_text_in_the_file),
    CHECK_CASE(threads_share_a_tokenizer),
};

CHECK_MAIN("tokenizer", cases)
