/* Whole vocabularies: the ids of other encoders, and what any bytes come back as. */
#include "unit/tokenizer_fixture.h"

#define SEPARATOR "\n__ggml_vocab_test__\n"

/* Every text of NAME.inp gives the ids of its line in NAME.out. Returns how many there were. */
static size_t check_texts(const nlm_tokenizer *tokenizer, const char *inp_path, const char *out_path) {
    nlm_str inp = read_file(inp_path), out = read_file(out_path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(inp.data);
    CU_ASSERT_PTR_NOT_NULL_FATAL(out.data);
    const char *text = inp.data, *line = out.data, *const end = inp.data + inp.length;
    size_t count = 0;
    for (; text; count++) {
        const char *stop = memmem(text, (size_t)(end - text), SEPARATOR, strlen(SEPARATOR));
        line += strspn(line, " ");
        const size_t line_length = strcspn(line, "\n");
        nlm_str got = encode_line(tokenizer, text, (size_t)((stop ? stop : end) - text), 0, NULL);
        size_t got_length = got.length, wanted = line_length;
        while (wanted > 0 && line[wanted - 1] == ' ') wanted--;
        const bool is_equal = got_length == wanted && memcmp(got.data, line, wanted) == 0;
        if (!is_equal) printf(" [%s: text %zu: %s, not %.*s] ", inp_path, count, got.data, (int)wanted, line);
        CU_ASSERT_TRUE(is_equal);
        nlm_str_release(&got);
        line += line_length + (line[line_length] == '\n');
        text = stop ? stop + strlen(SEPARATOR) : NULL;
    }
    nlm_str_release(&inp);
    nlm_str_release(&out);
    return count;
}

#define VOCABULARIES NLM_TEST_DATA "/tokenizer/"

static void fixtures_give_the_ids_of_the_naive_encoders(void) {
    static const char *const names[] = {"spm",         "spm-bare",  "spm-unknown", "bpe-gpt-2",
                                        "bpe-llama-3", "bpe-qwen2", "bpe-smollm"};
    for (size_t i = 0; i < COUNT(names); i++) {
        char gguf[256], inp[256], out[256];
        snprintf(gguf, sizeof gguf, VOCABULARIES "%s.gguf", names[i]);
        snprintf(inp, sizeof inp, VOCABULARIES "%s.inp", names[i]);
        snprintf(out, sizeof out, VOCABULARIES "%s.out", names[i]);
        nlm_tokenizer *tokenizer = open_file(gguf);
        CU_ASSERT_TRUE(check_texts(tokenizer, inp, out) > 90);
        nlm_tokenizer_destroy(tokenizer);
    }
}

static void trained_vocabularies_give_the_ids_of_their_trainers(void) {
    static const char *const names[] = {"spm", "gpt-2", "gpt-neox", "llama-bpe", "qwen2", "smollm"};
    for (size_t i = 0; i < COUNT(names); i++) {
        char gguf[256], out[256];
        snprintf(gguf, sizeof gguf, VOCABULARIES "trained-%s.gguf", names[i]);
        snprintf(out, sizeof out, VOCABULARIES "trained-%s.out", names[i]);
        nlm_tokenizer *tokenizer = open_file(gguf);
        CU_ASSERT_TRUE(check_texts(tokenizer, VOCABULARIES "trained.inp", out) > 150);
        nlm_tokenizer_destroy(tokenizer);
    }
}

/* More tokens than 16 bits number, with ids that follow from how they are listed: bytes, all pairs of 40 letters, all
 * threes, each merged from a pair and a letter. */
static void large_vocabularies_keep_their_ids_apart(void) {
    enum { LETTERS = 40, PAIRS = LETTERS * LETTERS, THREES = PAIRS * LETTERS };
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmn";
    static char texts[PAIRS + THREES][4], merges[PAIRS + THREES][6];
    static vocab_token tokens[PAIRS + THREES];
    static const char *merge_list[PAIRS + THREES];
    for (int i = 0; i < PAIRS + THREES; i++) {
        const int n = i < PAIRS ? i : i - PAIRS, pair = i < PAIRS ? n : n / LETTERS;
        const char a = letters[pair / LETTERS], b = letters[pair % LETTERS], c = letters[n % LETTERS];
        snprintf(texts[i], sizeof texts[i], i < PAIRS ? "%c%c" : "%c%c%c", a, b, c);
        snprintf(merges[i], sizeof merges[i], i < PAIRS ? "%c %c" : "%c%c %c", a, b, c);
        tokens[i] = (vocab_token){texts[i], 1, 0};
        merge_list[i] = merges[i];
    }
    vocab_bytes v = {0};
    nlm_tokenizer *tokenizer = NULL;
    vocab_string(&v, "tokenizer.ggml.model", "gpt2");
    vocab_string(&v, "tokenizer.ggml.pre", "gpt-2");
    vocab_tokens(&v, false, true, tokens, COUNT(tokens));
    vocab_strings(&v, "tokenizer.ggml.merges", merge_list, COUNT(merge_list));
    CU_ASSERT_EQUAL_FATAL(vocab_open(&v, &tokenizer, NULL), NLM_OK);
    for (int i = 0; i < THREES; i += 7) {
        const char *text = texts[PAIRS + i];
        nlm_ids ids = {0};
        nlm_str back = {0};
        CU_ASSERT_EQUAL(nlm_tokenizer_encode(tokenizer, text, 3, 0, &ids, NULL), NLM_OK);
        /* The pair listed first is merged first, and only the pair in front goes on to a three. */
        const int front = i / LETTERS, end = i % PAIRS;
        if (front <= end) {
            CU_ASSERT_FATAL(ids.count == 1 && ids.data[0] == 256 + PAIRS + i);
        } else {
            CU_ASSERT_FATAL(ids.count == 2 && ids.data[0] == text[0] && ids.data[1] == 256 + end);
        }
        CU_ASSERT_EQUAL(nlm_tokenizer_decode_all(tokenizer, ids.data, ids.count, false, &back, NULL), NLM_OK);
        CU_ASSERT_STRING_EQUAL_FATAL(back.data, text);
        nlm_ids_release(&ids);
        nlm_str_release(&back);
    }
    nlm_tokenizer_destroy(tokenizer);
}

typedef enum text_change { UNCHANGED, WITHOUT_IMPOSSIBLE_BYTES } text_change;

/* What decode(encode(text)) should be. */
static nlm_str changed(const nlm_str *text, text_change change) {
    nlm_str out = {0};
    for (size_t i = 0; i < text->length; i++) {
        const unsigned char byte = (unsigned char)text->data[i];
        const bool is_impossible = byte == 0xC0 || byte == 0xC1 || byte > 0xF4; /* in UTF-8 */
        if (is_impossible && change == WITHOUT_IMPOSSIBLE_BYTES) {
            nlm_str_puts(&out, "\xEF\xBF\xBD");
        } else {
            nlm_str_append(&out, &text->data[i], 1);
        }
    }
    return out;
}

static void check_round_trip(const char *path, text_change change) {
    nlm_tokenizer *tokenizer = open_file(path);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        nlm_str text = random_bytes(seed, 20000), expected = changed(&text, change);
        nlm_str back = round_trip(tokenizer, text.data, text.length);
        const bool is_same = back.length == expected.length && memcmp(back.data, expected.data, back.length) == 0;
        if (!is_same) printf(" [%s, seed %d] ", path, (int)seed);
        CU_ASSERT_TRUE(is_same);
        nlm_str_release(&text);
        nlm_str_release(&expected);
        nlm_str_release(&back);
    }
    nlm_tokenizer_destroy(tokenizer);
}

static void any_bytes_survive_encoding_and_decoding(void) {
    check_round_trip(VOCABULARIES "spm.gguf", UNCHANGED);
    check_round_trip(VOCABULARIES "spm-bare.gguf", UNCHANGED);
    check_round_trip(VOCABULARIES "bpe-gpt-2.gguf", UNCHANGED);
    check_round_trip(VOCABULARIES "bpe-llama-3.gguf", UNCHANGED);
    check_round_trip(VOCABULARIES "bpe-smollm.gguf", UNCHANGED);
    check_round_trip(VOCABULARIES "trained-spm.gguf", UNCHANGED);
    check_round_trip(VOCABULARIES "trained-gpt-2.gguf", WITHOUT_IMPOSSIBLE_BYTES);
    check_round_trip(VOCABULARIES "trained-smollm.gguf", WITHOUT_IMPOSSIBLE_BYTES);
}

/* The normal forms are those of another implementation, see make_tokenizer_fixtures.py. */
static void text_comes_back_in_form_c_where_the_rule_asks_for_it(void) {
    nlm_tokenizer *tokenizer = open_file(VOCABULARIES "bpe-qwen2.gguf");
    nlm_str text = read_file(VOCABULARIES "form-c.inp"), normal = read_file(VOCABULARIES "form-c.out");
    CU_ASSERT_FATAL(text.length > 10000 && normal.length > 10000 && text.length != normal.length);
    nlm_str back = round_trip(tokenizer, text.data, text.length);
    CU_ASSERT(back.length == normal.length && memcmp(back.data, normal.data, normal.length) == 0);
    nlm_str_release(&back);
    back = round_trip(tokenizer, normal.data, normal.length);
    CU_ASSERT(back.length == normal.length && memcmp(back.data, normal.data, normal.length) == 0);
    nlm_str_release(&back);
    nlm_str_release(&text);
    nlm_str_release(&normal);
    nlm_tokenizer_destroy(tokenizer);
}

static const check_case cases[] = {
    CHECK_CASE(fixtures_give_the_ids_of_the_naive_encoders),
    CHECK_CASE(trained_vocabularies_give_the_ids_of_their_trainers),
    CHECK_CASE(large_vocabularies_keep_their_ids_apart),
    CHECK_CASE(any_bytes_survive_encoding_and_decoding),
    CHECK_CASE(text_comes_back_in_form_c_where_the_rule_asks_for_it),
};

CHECK_MAIN("vocabularies", cases)
