/* How text is cut into words, and form C. */
#include "base/str.h"
#include "text/nfc.h"
#include "text/pretokenize.h"
#include "unit/check.h"
#include "unit/vocab_bytes.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static nlm_status add_word(void *user, const char *word, size_t length, nlm_error *err) {
    (void)err;
    nlm_str *out = user;
    if (out->length > 0) nlm_str_puts(out, "|");
    nlm_str_append(out, word, length);
    return NLM_OK;
}

/* The words of a text with bars between them. */
static nlm_str split(const char *name, const char *text, size_t length) {
    nlm_str out = {0};
    nlm_pre_tokenizer *pre = NULL;
    nlm_error err = NLM_ERROR_INIT;
    const nlm_pre_rule *rule = nlm_pre_rule_find(name, strlen(name));
    nlm_str_puts(&out, "");
    if (!rule || nlm_pre_tokenizer_create(rule, &pre, &err) != NLM_OK) {
        nlm_str_printf(&out, "%s: %s", name, err.msg);
        return out;
    }
    if (nlm_pre_tokenizer_split(pre, text, length, add_word, &out, &err) != NLM_OK) nlm_str_puts(&out, err.msg);
    nlm_pre_tokenizer_destroy(pre);
    return out;
}

/* What each rule makes of a text, worked out by hand from the published patterns. */
static const struct {
    const char *names; /* each of these gives: */
    const char *text;
    const char *words;
} table[] = {
    /* GPT-2: contractions in lower case, words with the space before them, the last space of a run goes
     * with what follows. */
    {"gpt-2 default olmo mpt gpt-neox", "Hello world", "Hello| world"},
    {"gpt-2 default olmo mpt gpt-neox", "don't DON'T we'll've", "don|'t| DON|'|T| we|'ll|'ve"},
    {"gpt-2 default olmo mpt gpt-neox mellum a.x-4.0 trillion", "a   b  \n c", "a|  | b|  \n| c"},
    {"gpt-2 default olmo mpt gpt-neox", "x  ", "x|  "},
    {"gpt-2 default olmo mpt gpt-neox", "12345 a1b2", "12345| a|1|b|2"},
    {"gpt-2 default olmo mpt gpt-neox", "foo_bar(); ...", "foo|_|bar|();| ..."},
    {"gpt-2 default olmo mpt gpt-neox", "\n\nx", "\n|\n|x"},
    {"gpt-2 default olmo mpt gpt-neox", "caf\xC3\xA9 \xC2\xBD\xE2\x85\xA7", "caf\xC3\xA9| \xC2\xBD\xE2\x85\xA7"},
    /* U+00A0 is a space but not the one that words take; U+180E has not been one since Unicode 6.3. */
    {"gpt-2 default olmo mpt gpt-neox",
     "a\xC2\xA0"
     "b\xE1\xA0\x8E"
     "c",
     "a|\xC2\xA0|b|\xE1\xA0\x8E|c"},
    /* smollm, starcoder, refact, command-r: the same with each digit alone. */
    {"smollm starcoder refact command-r minerva-7b codeshell exaone mellum2", "in 1984 a1b2",
     "in| |1|9|8|4| a|1|b|2"},
    {"smollm starcoder refact command-r", "a  12", "a|  |1|2"},
    {"smollm starcoder refact command-r", "don't  stop", "don|'t| | stop"},
    /* Llama 3: any character but a newline, letter or number may lead a word; numbers in threes; newlines
     * end punctuation and spaces. */
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano smaug-bpe dbrx glm4",
     "Hello world", "Hello| world"},
    {"llama-bpe llama3 llama-v3 smaug-bpe", "DON'T don't", "DON|'T| don|'t"},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano smaug-bpe dbrx glm4",
     "1234567 89", "123|456|7| |89"},
    {"llama-bpe llama3 llama-v3 smaug-bpe", "(foo)_bar", "(foo|)_|bar"},
    {"llama-bpe llama3 llama-v3 smaug-bpe", "x; \n\n  y", "x|;| \n\n| | y"},
    {"llama-bpe llama3 llama-v3 smaug-bpe", "x;\n\ny", "x|;\n\n|y"},
    {"llama-bpe llama3 llama-v3 smaug-bpe", "a  \r\n b", "a|  \r\n| b"},
    {"llama-bpe llama3 llama-v3 smaug-bpe", "  !!", " | !!"},
    {"llama-bpe llama3 llama-v3 smaug-bpe", "\tint x", "\tint| x"},
    {"llama-bpe llama3 llama-v3 smaug-bpe", "x'\xC5\xBF", "x|'\xC5\xBF"}, /* the long s folds to s */
    /* Qwen2: Llama 3's with numbers one by one. */
    {"qwen2 f2llmv2 deepseek-r1-qwen megrez stablelm2 hunyuan kormo", "1234567 89", "1|2|3|4|5|6|7| |8|9"},
    {"qwen2 deepseek-r1-qwen", "(foo)_bar'S", "(foo|)_|bar|'S"},
    /* Falcon: punctuation apart first, then GPT-2, then numbers of three ASCII digits. */
    {"falcon", "Hello, world!", "Hello|,| world|!"},
    {"falcon", "don't", "don|'|t"},
    {"falcon", "a ... b", "a| |...| b"},
    {"falcon", "1234567", "123|456|7"},
    {"falcon", "\xD0\xBC\xD0\xB8\xD1\x80", "\xD0|\xBC|\xD0\xB8\xD1\x80"},
    {"falcon",
     "12\xC2\xBD"
     "3456",
     "12|\xC2|\xBD|345|6"},
    {"falcon", "f(x)=\"$1\"", "f|(|x|)=\"$|1|\""},
    /* deepseek-llm: newlines, then words and punctuation each with one space of any kind before them. */
    {"deepseek-llm", "Hello, world!", "Hello|,| world|!"},
    {"deepseek-llm", "a\n\nb", "a|\n|\n|b"},
    {"deepseek-llm", "a   b  ", "a|  | b|  "},
    {"deepseek-llm", "a (b) 12", "a| (|b|)| |1|2"},
    {"deepseek-llm", "\xE4\xBD\xA0\xE5\xA5\xBD\xEF\xBC\x8C\xE4\xB8\x96",
     "\xE4\xBD\xA0\xE5\xA5\xBD|\xEF\xBC\x8C|\xE4\xB8\x96"},
    {"deepseek-llm", "\xD0\xBC\xD0\xB8\xD1\x80", "\xD0\xBC\xD0\xB8\xD1\x80"},
    /* deepseek-coder: letters and punctuation as Unicode has them, digits alone. */
    {"deepseek-coder", "int x=1234;", "int| x|=|1|2|3|4|;"},
    {"deepseek-coder", "a\n  b", "a|\n| | b"},
    {"deepseek-coder", "don't", "don|'|t"},
    {"deepseek-coder", "\xE4\xBD\xA0\xE5\xA5\xBD", "\xE4\xBD\xA0\xE5\xA5\xBD"},
    /* The rules below as the package tokenizers splits with the published patterns. */
    {"tekken", "Hello World don't", "Hello| World| don|'t"},
    {"tekken", "HTTPServer IOError ABC", "HTTPServer| IOError| ABC"},
    {"tekken", "1234567 89", "1|2|3|4|5|6|7| |8|9"},
    {"tekken", "a/b //\n x  \n y", "a|/b| //\n| x|  \n| y"},
    {"tekken", "\xE0\xA4\xA8\xE0\xA4\xAE\xE0\xA4\xB8\xE0\xA5\x8D\xE0\xA4\xA4\xE0\xA5\x87 \xC7\x85ungla",
     "\xE0\xA4\xA8\xE0\xA4\xAE\xE0\xA4\xB8\xE0\xA5\x8D\xE0\xA4\xA4\xE0\xA5\x87| \xC7\x85ungla"},
    {"gpt-4o llama4 talkie", "Hello World don't DON'T", "Hello| World| don't| DON'T"},
    {"gpt-4o llama4 talkie", "HTTPServer ABC's", "HTTPServer| ABC's"},
    {"gpt-4o llama4 talkie", "1234567 89", "123|456|7| |89"},
    {"gpt-4o llama4 talkie", "x;\n/\n  y", "x|;\n/\n| | y"},
    {"gpt-4o llama4 talkie", "\xE0\xA4\xA8\xE0\xA4\xAE\xE0\xA4\xB8\xE0\xA5\x8D\xE0\xA4\xA4\xE0\xA5\x87",
     "\xE0\xA4\xA8\xE0\xA4\xAE\xE0\xA4\xB8\xE0\xA5\x8D\xE0\xA4\xA4\xE0\xA5\x87"},
    {"seed-coder", "foo(); \n\n  bar's 123", "foo|();| \n\n| | bar|'s| |1|2|3"},
    {"seed-coder", "x;\n\ny", "x|;|\n\n|y"},
    {"seed-coder", "  !!", " | !!"},
    {"qwen35", "\xE0\xA4\xA8\xE0\xA4\xAE\xE0\xA4\xB8\xE0\xA5\x8D\xE0\xA4\xA4\xE0\xA5\x87 12's",
     "\xE0\xA4\xA8\xE0\xA4\xAE\xE0\xA4\xB8\xE0\xA5\x8D\xE0\xA4\xA4\xE0\xA5\x87| |1|2|'s"},
    {"qwen35", "(foo)_bar\n\n x", "(foo|)_|bar|\n\n| x"},
    {"bloom poro-chat gpt3-finnish",
     "Hello, world! (no)  a|b\xE2\x80\xA6"
     "c",
     "Hello|,| world|! (|no|) | a|||b|\xE2\x80\xA6|c"},
    {"bloom poro-chat gpt3-finnish", "one two\n three\xE3\x80\x82\xE5\x9B\x9B",
     "one| two|\n| three|\xE3\x80\x82|\xE5\x9B\x9B"},
    {"bloom poro-chat gpt3-finnish", "a 12b", "a| 12b"},
    {"viking", "Hello, world 1984", "Hello|,| world| |1|9|8|4"},
    {"viking", "a  12", "a| | |1|2"},
    {"deepseek-v3 hunyuan-dense joyai-llm", "Hello, world! 12345", "Hello|,| world|!| |123|45"},
    {"deepseek-v3 hunyuan-dense joyai-llm", "foo.bar (x)\n\n y", "foo|.bar| (|x|)\n\n| y"},
    {"deepseek-v3 hunyuan-dense joyai-llm",
     "\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E\xE3\x81\x8B\xE3\x81\xAA"
     "12 $5",
     "\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E\xE3\x81\x8B\xE3\x81\xAA|12| $|5"},
    {"deepseek-v3 hunyuan-dense joyai-llm",
     "don't \xE0\xA4\xA8\xE0\xA4\xAE\xE0\xA4\xB8\xE0\xA5\x8D\xE0\xA4\xA4\xE0\xA5\x87",
     "don|'t| \xE0\xA4\xA8\xE0\xA4\xAE\xE0\xA4\xB8\xE0\xA5\x8D\xE0\xA4\xA4\xE0\xA5\x87"},
};

static void rules_split_as_their_patterns_say(void) {
    for (size_t i = 0; i < COUNT(table); i++) {
        for (const char *at = table[i].names; *at;) {
            char name[32];
            const size_t length = strcspn(at, " ");
            snprintf(name, sizeof name, "%.*s", (int)length, at);
            nlm_str words = split(name, table[i].text, strlen(table[i].text));
            const bool is_equal = strcmp(words.data, table[i].words) == 0;
            if (!is_equal) printf(" [%s: '%s', not '%s'] ", name, words.data, table[i].words);
            CU_ASSERT_TRUE(is_equal);
            nlm_str_release(&words);
            at += length + (at[length] == ' ');
        }
    }
}

static nlm_status add_length(void *user, const char *word, size_t length, nlm_error *err) {
    (void)word, (void)err;
    nlm_str *out = user;
    nlm_str_printf(out, "%s%zu", out->length ? " " : "", length);
    return NLM_OK;
}

/* Whether a rule's words of each text have the lengths of one of the lines, which are passed. */
static void check_lengths(const char *name, nlm_str text, const char **lines) {
    static const char separator[] = "\n__ggml_vocab_test__\n";
    const nlm_pre_rule *rule = nlm_pre_rule_find(name, strlen(name));
    nlm_pre_tokenizer *pre = NULL;
    if (!rule) printf(" [%s] ", name);
    CU_ASSERT_FATAL(rule != NULL);
    CU_ASSERT_EQUAL_FATAL(nlm_pre_tokenizer_create(rule, &pre, NULL), NLM_OK);
    size_t n_wrong = 0;
    for (size_t at = 0, number = 0; at <= text.length; number++) {
        const char *end = memmem(text.data + at, text.length - at, separator, strlen(separator));
        const size_t length = (end ? (size_t)(end - text.data) : text.length) - at;
        nlm_str lengths = {0};
        nlm_str_puts(&lengths, "");
        CU_ASSERT_EQUAL(nlm_pre_tokenizer_split(pre, text.data + at, length, add_length, &lengths, NULL), NLM_OK);
        const size_t wanted = strcspn(*lines, "\n");
        const bool is_equal = lengths.length == wanted && memcmp(lengths.data, *lines, wanted) == 0;
        if (!is_equal && n_wrong++ == 0) {
            printf(" [%s, text %zu: %.80s, not %.*s] ", name, number, lengths.data, (int)wanted, *lines);
        }
        *lines += wanted + 1;
        at += length + strlen(separator);
        nlm_str_release(&lengths);
    }
    CU_ASSERT_EQUAL(n_wrong, 0);
    nlm_pre_tokenizer_destroy(pre);
}

/* Emoji, private use, controls, marks, characters younger than PCRE2's, long runs; as tokenizers of Hugging Face cuts
 * them (make_words.py). */
static void rules_split_as_hugging_face_does(void) {
    nlm_str text = read_file(NLM_TEST_DATA "/tokenizer/words.inp"),
            out = read_file(NLM_TEST_DATA "/tokenizer/words.out");
    int n_rules = 0;
    for (const char *line = out.data; *line; n_rules++) {
        char name[32];
        const size_t length = strcspn(line, "\n");
        snprintf(name, sizeof name, "%.*s", (int)length, line);
        line += length + 1;
        check_lengths(name, text, &line);
    }
    CU_ASSERT(n_rules > 20);
    nlm_str_release(&text);
    nlm_str_release(&out);
}

/* Each would take minutes if a rule looked through the rest of the text at each word. */
static void long_runs_are_split_in_linear_time(void) {
    static const char *const runs[] = {"1",    " ",  "a",          "A",        "!",           "\n",
                                       "\r\n", "a ", "12\xC2\xBD", "\xCC\x81", "\xE4\xB8\xAD"};
    static const char *const names[] = {"gpt-2",       "llama-bpe", "gpt-4o", "falcon",     "deepseek-llm",
                                        "deepseek-v3", "laguna",    "jais-2", "bailingmoe", "exaone-moe",
                                        "tiny_aya",    "superbpe",  "kimi-k2"};
    for (size_t i = 0; i < COUNT(runs); i++) {
        nlm_str text = {0}, lengths = {0};
        for (int n = 0; n < 200000; n++) nlm_str_puts(&text, runs[i]);
        for (size_t k = 0; k < COUNT(names); k++) {
            nlm_pre_tokenizer *pre = NULL;
            const nlm_pre_rule *rule = nlm_pre_rule_find(names[k], strlen(names[k]));
            CU_ASSERT_EQUAL_FATAL(nlm_pre_tokenizer_create(rule, &pre, NULL), NLM_OK);
            lengths.length = 0;
            CU_ASSERT_EQUAL(nlm_pre_tokenizer_split(pre, text.data, text.length, add_length, &lengths, NULL), NLM_OK);
            nlm_pre_tokenizer_destroy(pre);
        }
        nlm_str_release(&text);
        nlm_str_release(&lengths);
    }
}

static void invalid_bytes_are_words_of_their_own(void) {
    static const struct {
        const char *text, *words;
    } texts[] = {
        {"a\xFF"
         "b",
         "a|\xFF|b"},
        {"\xC3\xA9\xC3", "\xC3\xA9|\xC3"},
        {"\xE2\x82"
         "a\xF0\x9F\x99",
         "\xE2\x82|a|\xF0\x9F\x99"},
        {"\xED\xA0\x80", "\xED\xA0\x80"},                            /* a surrogate */
        {"x\xC0\x80\xF4\x90\x80\x80", "x|\xC0\x80\xF4\x90\x80\x80"}, /* overlong; above U+10FFFF */
        {"a \xFF b", "a| |\xFF| b"},
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        nlm_str words = split("gpt-2", texts[i].text, strlen(texts[i].text));
        CU_ASSERT_STRING_EQUAL(words.data, texts[i].words);
        nlm_str_release(&words);
    }
}

static void unknown_rules_are_not_found(void) {
    CU_ASSERT_PTR_NULL(nlm_pre_rule_find("gpt", 3));
    CU_ASSERT_PTR_NULL(nlm_pre_rule_find("", 0));
    CU_ASSERT_PTR_NULL(nlm_pre_rule_find("gpt-2 default", 13));
    CU_ASSERT_PTR_NOT_NULL(nlm_pre_rule_find("default", 7));
    char names[16];
    CU_ASSERT_STRING_EQUAL(nlm_pre_rule_names(names, sizeof names), "gpt-2 default p");
}

/* From the Unicode Character Database's NormalizationTest.txt, and its invalid neighbours. */
static void form_c_is_that_of_unicode(void) {
    static const struct {
        const char *text, *normal;
    } texts[] = {
        {"plain", "plain"},
        {"e\xCC\x81", "\xC3\xA9"},
        {"\xE2\x84\xAB", "\xC3\x85"},                             /* U+212B, a singleton */
        {"\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", "\xED\x95\x9C"}, /* Hangul jamo */
        {"\xEA\xB0\x80\xE1\x86\xA8", "\xEA\xB0\x81"},             /* LV + T */
        {"\xE0\xA5\x98", "\xE0\xA4\x95\xE0\xA4\xBC"},             /* U+0958 is excluded from composition */
        {"\xE1\xB8\x8A\xCC\xA3", "\xE1\xB8\x8C\xCC\x87"},         /* 1E0A 0323 -> 1E0C 0307 */
        {"a\xCC\x95\xCC\x80\xD6\xAE\xCC\x80"
         "b",
         "\xC3\xA0\xD6\xAE\xCC\x80\xCC\x95"
         "b"},
        {"\xCC\x81"
         "e",
         "\xCC\x81"
         "e"},
        {"e\xFF\xCC\x81", "e\xFF\xCC\x81"}, /* not across an invalid byte */
        {"e\xCC\x81\xCC", "\xC3\xA9\xCC"},
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        nlm_str normal = {0};
        CU_ASSERT_EQUAL(nlm_nfc_append(texts[i].text, strlen(texts[i].text), &normal, NULL), NLM_OK);
        CU_ASSERT_STRING_EQUAL(normal.data, texts[i].normal);
        nlm_str_release(&normal);
    }
}

/* Every character that form C touches, whole and taken apart, and marks in any order; the file's maker has its tables
 * of Unicode from elsewhere. */
static void form_c_of_every_character_is_that_of_another_program(void) {
    nlm_str text = read_file(NLM_TEST_DATA "/tokenizer/form-c.inp"), normal = {0};
    nlm_str expected = read_file(NLM_TEST_DATA "/tokenizer/form-c.out");
    CU_ASSERT_FATAL(text.length > 10000);
    CU_ASSERT_EQUAL_FATAL(nlm_nfc_append(text.data, text.length, &normal, NULL), NLM_OK);
    CU_ASSERT_EQUAL(normal.length, expected.length);
    const size_t least = normal.length < expected.length ? normal.length : expected.length;
    size_t same = 0;
    while (same < least && normal.data[same] == expected.data[same]) same++;
    if (same < least) printf(" [differs at byte %zu: %.40s] ", same, expected.data + same);
    CU_ASSERT_EQUAL(same, expected.length);
    nlm_str_release(&text);
    nlm_str_release(&normal);
    nlm_str_release(&expected);
}

/* Alternating classes, which an insertion sort would take minutes for. */
static void form_c_of_a_long_run_of_marks_is_sorted_by_class(void) {
    nlm_str text = {0}, normal = {0};
    const size_t pairs = 500000;
    nlm_str_puts(&text, "x");
    for (size_t i = 0; i < pairs; i++) nlm_str_puts(&text, "\xCC\x95\xCC\x96"); /* U+0315: 232, U+0316: 220 */
    CU_ASSERT_EQUAL_FATAL(nlm_nfc_append(text.data, text.length, &normal, NULL), NLM_OK);
    CU_ASSERT_EQUAL_FATAL(normal.length, text.length);
    bool is_sorted = true;
    for (size_t i = 0; i < 2 * pairs; i++) {
        is_sorted = is_sorted && memcmp(normal.data + 1 + 2 * i, i < pairs ? "\xCC\x96" : "\xCC\x95", 2) == 0;
    }
    CU_ASSERT_TRUE(is_sorted);
    nlm_str_release(&text);
    nlm_str_release(&normal);
}

static const check_case cases[] = {
    CHECK_CASE(rules_split_as_their_patterns_say),
    CHECK_CASE(rules_split_as_hugging_face_does),
    CHECK_CASE(long_runs_are_split_in_linear_time),
    CHECK_CASE(invalid_bytes_are_words_of_their_own),
    CHECK_CASE(unknown_rules_are_not_found),
    CHECK_CASE(form_c_is_that_of_unicode),
    CHECK_CASE(form_c_of_every_character_is_that_of_another_program),
    CHECK_CASE(form_c_of_a_long_run_of_marks_is_sorted_by_class),
};

CHECK_MAIN("pretokenize", cases)
