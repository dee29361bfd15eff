/* Documents that are encoded in parts, with every vocabulary of the tests: the ids are those of the whole. */
#include "unit/dataset_fixture.h"

#include "train/documents.h"
#include "train/encode.h"

static const char *const vocabularies[] = {
    "trained-gpt-2", "trained-gpt-neox", "trained-llama-bpe", "trained-qwen2", "trained-smollm",
    "trained-spm",   "bpe-gpt-2",        "bpe-llama-3",       "bpe-qwen2",     "bpe-smollm",
    "spm",           "spm-bare",         "spm-unknown",
};

static nlm_tokenizer *open_vocabulary(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/tokenizer/%s.gguf", NLM_TEST_DATA, name);
    return open_file(path);
}

/* Words, numbers, marks and scripts, with all that may stand between them. */
static nlm_str write_prose(uint64_t seed, size_t length, bool has_lines) {
    static const char *const words[] = {
        "the",
        "Model's",
        "don't",
        "1984",
        "3,141.59",
        "(a|b)",
        "x+=1;",
        "\xC3\xA9t\xC3\xA9",
        "\xE4\xB8\xAD\xE6\x96\x87",
        "I'll",
        "WE'RE",
        "--",
        "...",
        "\"so\"",
        "a",
        "e\xCC\x81",
        "\xF0\x9F\x98\x80",
        "\xD0\x9F\xD1\x80\xD0\xB8",
        "\xFF",
        "http://x.y/z?q=1",
        "snake_case",
        "CamelCase",
        "\xE0\xB8\x81\xE0\xB8\xB3",
        "\xE2\x96\x81",
    };
    static const char *const between[] = {" ",  " ",  " ",  " ",    " ",   "\n",  "\n",   "\n\n",     "  ",
                                          ", ", ". ", "\t", "\r\n", " \n", "\n ", "    ", "\xC2\xA0", "\xE3\x80\x80"};
    nlm_str out = {0};
    while (out.length < length) {
        nlm_str_puts(&out, words[next_random(&seed) % COUNT(words)]);
        nlm_str_puts(&out, has_lines ? between[next_random(&seed) % COUNT(between)] : " ");
    }
    return out;
}

/* The tokens of a text file that is encoded `window` bytes at once; how many parts it took is not known here. */
static nlm_status encode_file(const nlm_tokenizer *tokenizer, const nlm_str *text, const char *separator,
                              size_t window, uint64_t *out_documents, nlm_ids *out, nlm_error *err) {
    temporary t;
    CU_ASSERT_FATAL(temporary_make(&t));
    FILE *file = fopen(temporary_path(&t, "text"), "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_EQUAL(fwrite(text->data, 1, text->length, file), text->length);
    fclose(file);
    const nlm_dataset_options options = {.separator = separator};
    const nlm_token_key key = {.n_vocab = (uint32_t)nlm_tokenizer_count(tokenizer)};
    nlm_document_sink sink = {.tokenizer = tokenizer, .options = &options, .window = window};
    nlm_checksum sum;
    nlm_input input;
    nlm_checksum_init(&sum);
    char path[512];
    snprintf(path, sizeof path, "%s", temporary_path(&t, "text"));
    CU_ASSERT_EQUAL_FATAL(nlm_input_open(&input, path, &sum, NULL), NLM_OK);
    CU_ASSERT_EQUAL_FATAL(nlm_token_writer_create(temporary_path(&t, "tokens"), &key, &sink.writer, NULL), NLM_OK);
    const nlm_status status = nlm_text_documents_add(&sink, &input, err);
    nlm_token_file tokens = {0};
    if (status == NLM_OK) CU_ASSERT_EQUAL(nlm_token_writer_commit(sink.writer, NULL), NLM_OK);
    if (status == NLM_OK) {
        CU_ASSERT_EQUAL(nlm_token_file_open(temporary_path(&t, "tokens"), &key, &tokens, NULL), NLM_OK);
    }
    *out_documents = tokens.n_documents;
    for (uint64_t i = 0; i < tokens.n_tokens; i++) nlm_ids_append(out, nlm_token_at(&tokens, i));
    nlm_token_file_close(&tokens);
    nlm_token_writer_destroy(sink.writer);
    nlm_input_close(&input);
    nlm_ids_release(&sink.ids);
    temporary_remove(&t);
    return status;
}

/* BOS where it is added, the ids of the whole, and EOS. */
static nlm_ids encode_whole(const nlm_tokenizer *tokenizer, const nlm_str *text) {
    nlm_ids ids = {0};
    if (nlm_tokenizer_adds_bos(tokenizer)) nlm_ids_append(&ids, nlm_tokenizer_bos(tokenizer));
    CU_ASSERT_EQUAL(nlm_tokenizer_encode(tokenizer, text->data, text->length, 0, &ids, NULL), NLM_OK);
    if (nlm_tokenizer_eos(tokenizer) >= 0) nlm_ids_append(&ids, nlm_tokenizer_eos(tokenizer));
    return ids;
}

static void parts_have_the_ids_of_the_whole(void) {
    for (size_t v = 0; v < COUNT(vocabularies); v++) {
        nlm_tokenizer *tokenizer = open_vocabulary(vocabularies[v]);
        for (uint64_t seed = 1; seed <= 6; seed++) {
            nlm_error err = NLM_ERROR_INIT;
            nlm_str text = write_prose(seed, 60000, seed % 3 != 0);
            nlm_ids expected = encode_whole(tokenizer, &text), ids = {0};
            uint64_t n_documents;
            CU_ASSERT_EQUAL(encode_file(tokenizer, &text, NULL, 1500, &n_documents, &ids, &err), NLM_OK);
            CU_ASSERT_EQUAL(n_documents, 1);
            const bool is_same =
                ids.count == expected.count && memcmp(ids.data, expected.data, ids.count * sizeof *ids.data) == 0;
            if (!is_same) printf(" [%s, seed %llu: %s] ", vocabularies[v], (unsigned long long)seed, err.msg);
            CU_ASSERT(is_same);
            nlm_ids_release(&ids);
            nlm_ids_release(&expected);
            nlm_str_release(&text);
        }
        nlm_tokenizer_destroy(tokenizer);
    }
}

/* A place is taken only where cutting changes nothing; where a user-defined token spans it, it does. */
static void places_within_a_token_are_passed_over(void) {
    static const vocab_token tokens[] = {{"x\ny", 4, 0}};
    static const char *const merges[] = {"Q Z"};
    vocab_bytes v = {0};
    nlm_tokenizer *tokenizer = NULL;
    vocab_string(&v, "tokenizer.ggml.model", "gpt2");
    vocab_string(&v, "tokenizer.ggml.pre", "gpt-2");
    vocab_tokens(&v, false, true, tokens, COUNT(tokens));
    vocab_strings(&v, "tokenizer.ggml.merges", merges, COUNT(merges));
    CU_ASSERT_EQUAL_FATAL(vocab_open(&v, &tokenizer, NULL), NLM_OK);
    nlm_str text = {0};
    size_t cut;
    nlm_str_puts(&text, "a\nb");
    for (int i = 0; i < 40; i++) nlm_str_puts(&text, "x\ny");
    for (int i = 0; i < 300; i++) nlm_str_puts(&text, "z");
    CU_ASSERT_EQUAL(nlm_find_cut(tokenizer, text.data, text.length, &cut, NULL), NLM_OK);
    CU_ASSERT_EQUAL(cut, 0); /* it gives up before it comes to the first line */
    CU_ASSERT_EQUAL(nlm_find_cut(tokenizer, text.data + 60, text.length - 60, &cut, NULL), NLM_OK);
    CU_ASSERT_EQUAL(cut, 0);
    text.length = 3 + 3 * 20; /* few enough of them */
    for (int i = 0; i < 300; i++) nlm_str_puts(&text, "z");
    CU_ASSERT_EQUAL(nlm_find_cut(tokenizer, text.data, text.length, &cut, NULL), NLM_OK);
    CU_ASSERT_EQUAL(cut, 2);
    nlm_str_release(&text);
    nlm_tokenizer_destroy(tokenizer);
}

/* As long as four windows a stretch is encoded at once; then it is refused, with where it begins. */
static void stretches_without_a_place_are_bounded(void) {
    static const struct {
        size_t lead, stretch;
        nlm_status status;
    } cases[] = {{100, 500, NLM_OK}, {1500, 3000, NLM_OK}, {100, 5000, NLM_LIMIT}, {3000, 9000, NLM_LIMIT}};
    nlm_tokenizer *tokenizer = byte_tokenizer(false, true);
    for (size_t i = 0; i < COUNT(cases); i++) {
        nlm_str text = {0};
        nlm_ids ids = {0};
        nlm_error err = NLM_ERROR_INIT;
        while (text.length < cases[i].lead) nlm_str_puts(&text, "word ");
        while (text.length < cases[i].lead + cases[i].stretch) nlm_str_puts(&text, "a");
        for (int k = 0; k < 1000; k++) nlm_str_puts(&text, " b");
        uint64_t n_documents;
        CU_ASSERT_EQUAL(encode_file(tokenizer, &text, NULL, 1000, &n_documents, &ids, &err), cases[i].status);
        if (cases[i].status == NLM_OK) CU_ASSERT_EQUAL(ids.count, text.length + 1);
        if (cases[i].status != NLM_OK)
            CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "no place where the document can be cut"));
        nlm_ids_release(&ids);
        nlm_str_release(&text);
    }
    nlm_tokenizer_destroy(tokenizer);
}

/* A separator is whole wherever a window ends, also one in which a text could be cut. */
static void separators_are_found_across_windows(void) {
    nlm_tokenizer *tokenizer = byte_tokenizer(false, true);
    nlm_str separator = {0};
    for (int i = 0; i < 60; i++) nlm_str_printf(&separator, "== %d cut ==", i);
    for (size_t lead = 0; lead < 1300; lead += 37) {
        nlm_str text = {0};
        nlm_ids ids = {0};
        uint64_t n_documents;
        while (text.length < lead) nlm_str_puts(&text, "word ");
        nlm_str_printf(&text, "one\n%s\ntwo%sthree", separator.data, separator.data);
        CU_ASSERT_EQUAL(encode_file(tokenizer, &text, separator.data, 1000, &n_documents, &ids, NULL), NLM_OK);
        CU_ASSERT_EQUAL(n_documents, 3);
        CU_ASSERT_EQUAL(ids.count, text.length - 2 * separator.length - 2 + 3);
        nlm_ids_release(&ids);
        nlm_str_release(&text);
    }
    nlm_str_release(&separator);
    nlm_tokenizer_destroy(tokenizer);
}

static const check_case cases[] = {
    CHECK_CASE(parts_have_the_ids_of_the_whole),
    CHECK_CASE(places_within_a_token_are_passed_over),
    CHECK_CASE(stretches_without_a_place_are_bounded),
    CHECK_CASE(separators_are_found_across_windows),
};

CHECK_MAIN("long documents", cases)
