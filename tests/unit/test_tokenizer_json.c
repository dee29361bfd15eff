/* tokenizer.json: the ids of the program that made the file, what is refused, and what is written. */
#include "text/tokenizer_json.h"
#include "unit/tokenizer_fixture.h"

#define TRAINING     NLM_TEST_DATA "/training/"
#define VOCABULARIES NLM_TEST_DATA "/tokenizer/"
#define SEPARATOR    "\n__ggml_vocab_test__\n"

static nlm_gguf *read_json(const char *path) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_gguf *gguf = NULL;
    const nlm_status status = nlm_tokenizer_json_read(path, &gguf, &err);
    if (status != NLM_OK) printf(" [%s: %s] ", err.where, err.msg);
    CU_ASSERT_EQUAL_FATAL(status, NLM_OK);
    return gguf;
}

static nlm_tokenizer *tokenizer_of(const nlm_gguf *gguf) {
    nlm_tokenizer *tokenizer = NULL;
    CU_ASSERT_EQUAL_FATAL(nlm_tokenizer_create(gguf, &tokenizer, NULL), NLM_OK);
    return tokenizer;
}

/* The GGUF of what nlm writes of another, as tokenizer.json. */
static nlm_gguf *written_and_read(const nlm_gguf *gguf) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_gguf *again = NULL;
    nlm_str json = {0};
    nlm_status status = nlm_tokenizer_json_print(gguf, &json, &err);
    if (status == NLM_OK) status = nlm_tokenizer_json_parse("written", json.data, json.length, NULL, &again, &err);
    if (status != NLM_OK) printf(" [%s: %s] ", err.where, err.msg);
    CU_ASSERT_EQUAL_FATAL(status, NLM_OK);
    nlm_str_release(&json);
    return again;
}

/* Encodes the texts of a file; `expected` has a line of ids for each, and is moved behind them. */
static void check_texts(const nlm_tokenizer *tokenizer, const char *name, const char *path, uint32_t flags,
                        const char **expected) {
    nlm_str texts = read_file(path);
    CU_ASSERT_FATAL(texts.length > 0);
    for (const char *text = texts.data, *end; text; text = end ? end + strlen(SEPARATOR) : NULL) {
        end = strstr(text, SEPARATOR);
        const size_t length = end ? (size_t)(end - text) : strlen(text);
        const char *line = *expected;
        const size_t line_length = strcspn(line, "\n");
        CU_ASSERT_EQUAL_FATAL(line[line_length], '\n');
        *expected += line_length + 1;
        nlm_str ids = encode_line(tokenizer, text, length, flags, NULL);
        const bool is_same = ids.length == line_length && memcmp(ids.data, line, line_length) == 0;
        if (!is_same)
            printf(" [%s: '%.*s' gives %s, not %.*s] ", name, (int)length, text, ids.data, (int)line_length, line);
        CU_ASSERT_TRUE(is_same);
        nlm_str_release(&ids);
    }
    nlm_str_release(&texts);
}

static void check_ids(const nlm_gguf *gguf, const char *name) {
    char path[512];
    snprintf(path, sizeof path, TRAINING "read-%s.out", name);
    nlm_str lines = read_file(path);
    CU_ASSERT_FATAL(lines.length > 0);
    const char *expected = lines.data;
    nlm_tokenizer *tokenizer = tokenizer_of(gguf);
    const uint32_t flags = NLM_ENCODE_BOS | NLM_ENCODE_SPECIAL;
    check_texts(tokenizer, name, VOCABULARIES "trained.inp", flags, &expected);
    check_texts(tokenizer, name, TRAINING "examples.inp", flags, &expected);
    CU_ASSERT_EQUAL(*expected, '\0');
    nlm_tokenizer_destroy(tokenizer);
    nlm_str_release(&lines);
}

static const char *const readable[] = {"byte", "qwen", "llama", "split", "listed", "always", "first", "never"};

static void files_give_the_ids_of_the_package_tokenizers(void) {
    for (size_t i = 0; i < COUNT(readable); i++) {
        char path[512];
        snprintf(path, sizeof path, TRAINING "read-%s.json", readable[i]);
        nlm_gguf *gguf = read_json(path), *again = written_and_read(gguf);
        check_ids(gguf, readable[i]);
        check_ids(again, readable[i]);
        nlm_gguf_close(again);
        nlm_gguf_close(gguf);
    }
}

static void vocabularies_of_models_are_written_as_they_are(void) {
    static const char *const models[] = {"gpt-2", "gpt-neox", "llama-bpe", "qwen2", "smollm", "spm"};
    for (size_t i = 0; i < COUNT(models); i++) {
        char model[512], ids[512];
        snprintf(model, sizeof model, VOCABULARIES "trained-%s.gguf", models[i]);
        snprintf(ids, sizeof ids, VOCABULARIES "trained-%s.out", models[i]);
        nlm_gguf *gguf = NULL;
        CU_ASSERT_EQUAL_FATAL(nlm_gguf_open(model, &gguf, NULL), NLM_OK);
        nlm_gguf *again = written_and_read(gguf);
        nlm_tokenizer *tokenizer = tokenizer_of(again);
        nlm_str lines = read_file(ids);
        const char *expected = lines.data;
        check_texts(tokenizer, models[i], VOCABULARIES "trained.inp", 0, &expected);
        nlm_str_release(&lines);
        nlm_tokenizer_destroy(tokenizer);
        nlm_gguf_close(again);
        nlm_gguf_close(gguf);
    }
}

/* ---- small files ---- */

/* Members of a small byte-level file, as JSON but for model_type; NULL: those that make it a sound one. `of_model`
 * are further members of its model. */
typedef struct parts {
    const char *model_type, *vocab, *merges, *added, *normalizer, *pre, *post, *of_model;
} parts;

static const char *or_else(const char *given, const char *otherwise) {
    return given ? given : otherwise;
}

static nlm_status parse(const parts *p, const char *config, nlm_gguf **out, nlm_error *err) {
    nlm_str text = {0};
    nlm_str_printf(&text,
                   "{\"added_tokens\":%s,\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_processor\":%s,\"model\":{",
                   or_else(p->added, "[]"), or_else(p->normalizer, "null"),
                   or_else(p->pre, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"), or_else(p->post, "null"));
    nlm_str_printf(&text, "\"type\":\"%s\",\"vocab\":%s,\"merges\":%s%s}}", or_else(p->model_type, "BPE"),
                   or_else(p->vocab, "{\"a\":0,\"b\":1,\"ab\":2,\"</s>\":3}"), or_else(p->merges, "[\"a b\"]"),
                   or_else(p->of_model, ""));
    const nlm_status status = nlm_tokenizer_json_parse("small", text.data, text.length, config, out, err);
    nlm_str_release(&text);
    return status;
}

static void what_a_gguf_cannot_say_is_refused_by_name(void) {
    static const struct {
        parts parts;
        nlm_status status;
        const char *told;
    } cases[] = {
        {{.model_type = "Unigram"}, NLM_UNSUPPORTED, "'Unigram'"},
        {{.of_model = ",\"dropout\":0.1"}, NLM_UNSUPPORTED, "dropout"},
        {{.of_model = ",\"end_of_word_suffix\":\"</w>\""}, NLM_UNSUPPORTED, "end_of_word_suffix"},
        {{.of_model = ",\"ignore_merges\":true"}, NLM_UNSUPPORTED, "with ignore_merges"},
        {{.of_model = ",\"unk_token\":\"a\""}, NLM_UNSUPPORTED, "unk_token"},
        {{.normalizer = "{\"type\":\"Lowercase\"}"}, NLM_UNSUPPORTED, "normalizer 'Lowercase'"},
        {{.pre = "{\"type\":\"Whitespace\"}"}, NLM_UNSUPPORTED, "pre_tokenizer 'Whitespace'"},
        {{.pre = "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}"}, NLM_UNSUPPORTED, "'ByteLevel'"},
        {{.pre = "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[xyz]\"},\"behavior\":\"Isolated\"}"},
         NLM_UNSUPPORTED,
         "'[xyz]'"},
        {{.pre = "null"}, NLM_UNSUPPORTED, "neither a ByteLevel"},
        {{.pre = "{\"type\":\"Sequence\"}"}, NLM_BAD_FORMAT, "no list 'pretokenizers'"},
        {{.pre = "{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\"}"}, NLM_UNSUPPORTED, "byte_fallback"},
        {{.pre = "{\"type\":\"Metaspace\",\"replacement\":\"_\"}"}, NLM_UNSUPPORTED, "'Metaspace'"},
        {{.post = "{\"type\":\"BertProcessing\"}"}, NLM_UNSUPPORTED, "'BertProcessing'"},
        {{.post = "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{}},{\"Sequence\":{}}]}"},
         NLM_UNSUPPORTED,
         "'TemplateProcessing'"},
        {{.post = "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"no\"}},"
                  "{\"Sequence\":{}}]}"},
         NLM_BAD_FORMAT,
         "names what is no token"},
        {{.added = "[{\"id\":3,\"content\":\"</s>\",\"lstrip\":true}]"}, NLM_UNSUPPORTED, "lstrip"},
        {{.added = "[{\"id\":9}]"}, NLM_BAD_FORMAT, "no content"},
        {{.added = "[{\"id\":2,\"content\":\"</s>\"}]"}, NLM_BAD_FORMAT, "'</s>' or its id 2"},
        {{.added = "[{\"id\":5000000,\"content\":\"<x>\"}]"}, NLM_BAD_FORMAT, "the id 5000000"},
        {{.vocab = "{}"}, NLM_BAD_FORMAT, "no vocab"},
        {{.vocab = "{\"a\":0,\"b\":-1}"}, NLM_BAD_FORMAT, "'b'"},
        {{.vocab = "{\"a\":0,\"b\":0}"}, NLM_BAD_FORMAT, "'b' or its id 0"},
        {{.vocab = "{\"a\":0,\"a\":1}"}, NLM_BAD_FORMAT, "'a' or its id 1"},
        {{.merges = "null"}, NLM_BAD_FORMAT, "no list of merges"},
        {{.merges = "[\"a\"]"}, NLM_BAD_FORMAT, "merge 0 is not"},
        {{.merges = "[[\"a\",\"b\"],[\"a\"]]"}, NLM_BAD_FORMAT, "merge 1 is not"},
        {{.merges = "[\"a a\"]"}, NLM_BAD_FORMAT, "'a a'"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        nlm_error err = NLM_ERROR_INIT;
        nlm_gguf *gguf = NULL;
        const nlm_status status = parse(&cases[i].parts, NULL, &gguf, &err);
        const bool is_told = status == cases[i].status && strstr(err.msg, cases[i].told);
        if (!is_told) printf(" [case %zu: %d, %s] ", i, status, err.msg);
        CU_ASSERT_TRUE(is_told);
    }
    nlm_gguf *gguf = NULL;
    CU_ASSERT_EQUAL(nlm_tokenizer_json_parse("x", "{}", 2, NULL, &gguf, NULL), NLM_BAD_FORMAT);
    CU_ASSERT_EQUAL(nlm_tokenizer_json_parse("x", "{", 1, NULL, &gguf, NULL), NLM_BAD_FORMAT);
    CU_ASSERT_EQUAL(nlm_tokenizer_json_read("no/such/tokenizer.json", &gguf, NULL), NLM_NOT_FOUND);
}

/* Which tokens begin and end a text: first the template, then the settings beside, then names. */
static void ends_of_texts_are_where_the_files_say(void) {
    static const char added[] = "[{\"id\":3,\"content\":\"</s>\",\"special\":true}]";
    static const char template[] =
        "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},{\"type\":"
        "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"ab\"}},"
        "{\"Sequence\":{\"id\":\"A\"}}]}]}";
    static const struct {
        parts parts;
        const char *config;
        int32_t bos, eos;
        bool adds_bos;
    } cases[] = {
        {{0}, NULL, -1, -1, false},
        {{.added = added}, NULL, -1, 3, false},
        {{.added = added}, "{\"eos_token\":\"b\",\"bos_token\":{\"content\":\"a\"}}", 0, 1, false},
        {{.added = added, .post = template}, "{\"bos_token\":\"a\",\"eos_token\":null}", 2, 3, true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        nlm_error err = NLM_ERROR_INIT;
        nlm_gguf *gguf = NULL;
        CU_ASSERT_EQUAL_FATAL(parse(&cases[i].parts, cases[i].config, &gguf, &err), NLM_OK);
        nlm_tokenizer *tokenizer = tokenizer_of(gguf);
        CU_ASSERT_EQUAL(nlm_tokenizer_bos(tokenizer), cases[i].bos);
        CU_ASSERT_EQUAL(nlm_tokenizer_eos(tokenizer), cases[i].eos);
        CU_ASSERT_EQUAL(nlm_tokenizer_adds_bos(tokenizer), cases[i].adds_bos);
        nlm_tokenizer_destroy(tokenizer);
        nlm_gguf_close(gguf);
    }
}

static void ids_without_a_token_are_unused(void) {
    const parts holes = {.vocab = "{\"a\":0,\"b\":1,\"ab\":5}",
                         .added = "[{\"id\":8,\"content\":\"<x>\",\"special\":false}]"};
    nlm_gguf *gguf = NULL;
    CU_ASSERT_EQUAL_FATAL(parse(&holes, NULL, &gguf, NULL), NLM_OK);
    nlm_tokenizer *tokenizer = tokenizer_of(gguf);
    CU_ASSERT_EQUAL(nlm_tokenizer_count(tokenizer), 9);
    nlm_str ids = encode_line(tokenizer, "abb<x>[unused id 3]", 19, 0, NULL);
    CU_ASSERT_STRING_EQUAL(ids.data, "5 1 8"); /* the bytes of the rest have no tokens */
    nlm_str_release(&ids);
    nlm_tokenizer_destroy(tokenizer);
    nlm_gguf_close(gguf);
}

/* The tokenizer that vocab_bytes makes of a small table. */
static nlm_status print_small(const char *model, const char *pre, const vocab_token *tokens, size_t count,
                              const char *const *merges, size_t n_merges, nlm_error *err) {
    vocab_bytes v = {0};
    nlm_gguf *gguf = NULL;
    nlm_str json = {0};
    const bool is_spm = strcmp(model, "llama") == 0;
    vocab_string(&v, "tokenizer.ggml.model", model);
    if (pre) vocab_string(&v, "tokenizer.ggml.pre", pre);
    vocab_tokens(&v, is_spm, true, tokens, count);
    if (n_merges) vocab_strings(&v, "tokenizer.ggml.merges", merges, n_merges);
    CU_ASSERT_EQUAL_FATAL(nlm_gguf_parse("small", v.bytes.data, v.bytes.length, &gguf, NULL), NLM_OK);
    const nlm_status status = nlm_tokenizer_json_print(gguf, &json, err);
    nlm_gguf_close(gguf);
    nlm_str_release(&json);
    nlm_str_release(&v.bytes);
    return status;
}

static void what_tokenizer_json_cannot_say_is_not_written(void) {
    static const char *const merges[] = {"a b"}, *const foreign[] = {"a c"};
    static const struct {
        const char *model, *pre;
        vocab_token token;
        const char *const *merges;
        const char *told; /* NULL: it is written */
    } cases[] = {
        {"gpt2", "gpt-2", {"ab", 1, 0}, merges, NULL},
        {"gpt2", "gpt-2", {"ab", 1, 0}, foreign, "merge 0, 'a c'"},
        {"gpt2", "gpt-2", {"a", 1, 0}, merges, "two tokens 'a'"},
        {"gpt2", "gpt-2", {"\xFF", 1, 0}, merges, "is not UTF-8"},
        {"gpt2", "gpt-2", {"<tool>", 4, 0}, NULL, "no merges"},
        {"llama", NULL, {"ab", 1, 0}, NULL, NULL},
        {"llama", NULL, {"<tool>", 4, 0}, NULL, "user-defined token '<tool>'"},
        {"llama", NULL, {"\xE2\x96\x81", 4, 0}, NULL, "U+2581 in the user-defined token"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        nlm_error err = NLM_ERROR_INIT;
        const nlm_status status = print_small(cases[i].model, cases[i].pre, &cases[i].token, 1, cases[i].merges,
                                              cases[i].merges != NULL, &err);
        const bool is_right = cases[i].told ? status != NLM_OK && strstr(err.msg, cases[i].told) : status == NLM_OK;
        if (!is_right) printf(" [case %zu: %s] ", i, err.msg);
        CU_ASSERT_TRUE(is_right);
    }
}

static void a_file_of_either_kind_opens(void) {
    nlm_tokenizer *tokenizer = NULL;
    CU_ASSERT_EQUAL(nlm_tokenizer_open(TRAINING "read-byte.json", false, &tokenizer, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_tokenizer_count(tokenizer), 420);
    nlm_tokenizer_destroy(tokenizer);
    CU_ASSERT_EQUAL(nlm_tokenizer_open(VOCABULARIES "spm.gguf", true, &tokenizer, NULL), NLM_OK);
    nlm_tokenizer_destroy(tokenizer);
    CU_ASSERT_EQUAL(nlm_tokenizer_open(TRAINING "ties.inp", false, &tokenizer, NULL), NLM_BAD_FORMAT);
    CU_ASSERT_EQUAL(nlm_tokenizer_open("no-such-file", false, &tokenizer, NULL), NLM_NOT_FOUND);
}

static const check_case cases[] = {
    CHECK_CASE(files_give_the_ids_of_the_package_tokenizers),
    CHECK_CASE(vocabularies_of_models_are_written_as_they_are),
    CHECK_CASE(what_a_gguf_cannot_say_is_refused_by_name),
    CHECK_CASE(ends_of_texts_are_where_the_files_say),
    CHECK_CASE(ids_without_a_token_are_unused),
    CHECK_CASE(what_tokenizer_json_cannot_say_is_not_written),
    CHECK_CASE(a_file_of_either_kind_opens),
};

CHECK_MAIN("tokenizer_json", cases)
