/* Documents of training text, against texts whose tokens are their bytes; and what is refused. */
#include "unit/dataset_fixture.h"

/* ---- documents ------------------------------------------------------------------------------------------ */

static void documents_begin_and_end_as_the_tokenizer_says(void) {
    static const struct {
        bool adds_bos, has_eos;
        const char *ids, *labels;
    } cases[] = {
        {false, true, "ab{/s}", "b{/s}_"},
        {true, true, "{s}ab{/s}", "ab{/s}_"},
        {true, false, "{s}ab", "ab_"},
        {false, false, "ab", "b_"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        dataset_rig rig;
        rig_make(&rig, byte_tokenizer(cases[i].adds_bos, cases[i].has_eos));
        rig_puts(&rig, "a.txt", "ab");
        nlm_dataset *dataset = rig_open(&rig);
        nlm_str labels = {0}, ids = documents_of(dataset, &labels);
        CU_ASSERT_STRING_EQUAL(ids.data, cases[i].ids);
        CU_ASSERT_STRING_EQUAL(labels.data, cases[i].labels);
        nlm_str_release(&ids);
        nlm_str_release(&labels);
        nlm_dataset_close(dataset);
        rig_remove(&rig);
    }
}

static void separators_cut_texts_into_documents(void) {
    static const struct {
        const char *separator, *text, *documents;
    } cases[] = {
        {NULL, "a\n\n<|end|>\nb\n", "a\n\n<|end|>\nb\n{/s}"},
        {"<|end|>", "a<|end|>b", "a{/s}|b{/s}"},
        {"<|end|>", "\na\nb\n<|end|>\r\n\n c\n<|end|>\n", "\na\nb{/s}| c{/s}"},
        {"<|end|>", "<|end|><|end|>\na<|end|><|end|>", "a{/s}"},
        {"<|end|>", "a<|end|", "a<|end|{/s}"},
        {"\n\n", "a\nb\n\nc\n\n\n\nd\n", "a\nb{/s}|c{/s}|d{/s}"},
        {"", "a\n\nb", "a\n\nb{/s}"},
        {NULL,
         "\xEF\xBB\xBF"
         "a",
         "a{/s}"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        dataset_rig rig;
        rig_make(&rig, byte_tokenizer(false, true));
        rig.options.separator = cases[i].separator;
        rig_puts(&rig, "a.txt", cases[i].text);
        nlm_dataset *dataset = rig_open(&rig);
        nlm_str ids = documents_of(dataset, NULL);
        CU_ASSERT_STRING_EQUAL(ids.data, cases[i].documents);
        nlm_str_release(&ids);
        nlm_dataset_close(dataset);
        rig_remove(&rig);
    }
}

/* What a text spells never becomes a token that ends or begins something. */
static void text_spells_no_control_token(void) {
    dataset_rig rig;
    rig_make(&rig, byte_tokenizer(false, true));
    rig_puts(&rig, "a.txt", "a</s><|im_end|>");
    nlm_dataset *dataset = rig_open(&rig);
    nlm_str ids = documents_of(dataset, NULL);
    CU_ASSERT_STRING_EQUAL(ids.data, "a</s><|im_end|>{/s}");
    nlm_str_release(&ids);
    nlm_dataset_close(dataset);
    rig_remove(&rig);
}

static void folders_are_read_in_order_of_paths(void) {
    dataset_rig rig;
    char folder[600], file[700];
    rig_make(&rig, byte_tokenizer(false, true));
    snprintf(folder, sizeof folder, "%s/b", rig.text.folder);
    snprintf(file, sizeof file, "%s/x.txt", folder);
    CU_ASSERT_EQUAL_FATAL(mkdir(folder, 0700), 0);
    CU_ASSERT_EQUAL(symlink(rig.text.folder, temporary_path(&rig.text, "loop")), 0);
    CU_ASSERT_EQUAL(symlink(file, temporary_path(&rig.text, "link")), 0);
    CU_ASSERT_EQUAL(mkfifo(temporary_path(&rig.text, "pipe"), 0600), 0);
    rig_puts(&rig, "c", "three");
    rig_puts(&rig, "b/x.txt", "two");
    rig_puts(&rig, "a.txt", "one");
    rig_puts(&rig, ".hidden", "no");
    rig_puts(&rig, "empty", "");
    rig_write(&rig, "image", "\x89PNG\0\1", 6);
    rig_puts(&rig, "d.jsonl", "{\"text\": \"four\"}\n\n{\"text\": \"five\"}");
    nlm_dataset *dataset = rig_open(&rig);
    nlm_str ids = documents_of(dataset, NULL);
    CU_ASSERT_STRING_EQUAL(ids.data, "one{/s}|two{/s}|three{/s}|four{/s}|five{/s}|two{/s}");
    nlm_str_release(&ids);
    nlm_dataset_close(dataset);
    unlink(file);
    rmdir(folder);
    rig_remove(&rig);
}

/* Whatever the bytes are, a file that is named is encoded as the tokenizer does. */
static void any_bytes_are_text_of_a_file_that_is_named(void) {
    static const nlm_batch_shape shape = {.rows = 1, .length = 8192, .max_seqs = 1};
    dataset_rig rig;
    rig_make(&rig, byte_tokenizer(false, true));
    nlm_str bytes = random_bytes(7, 4000);
    rig_write(&rig, "a", bytes.data, bytes.length);
    const char *path = temporary_path(&rig.text, "a");
    rig.options.paths = &path;
    nlm_ids expected = {0};
    CU_ASSERT_EQUAL(nlm_tokenizer_encode(rig.tokenizer, bytes.data, bytes.length, 0, &expected, NULL), NLM_OK);
    nlm_dataset *dataset = rig_open(&rig);
    nlm_train_batch batch;
    batch_make(&batch, &shape);
    nlm_dataset_batch(dataset, NLM_SPLIT_TRAIN, &shape, 0, &batch);
    CU_ASSERT_EQUAL_FATAL(batch.n_tokens, (int32_t)expected.count + 1);
    CU_ASSERT_EQUAL(memcmp(batch.ids, expected.data, expected.count * sizeof *expected.data), 0);
    batch_release(&batch);
    nlm_dataset_close(dataset);
    nlm_ids_release(&expected);
    nlm_str_release(&bytes);
    rig_remove(&rig);
}

/* ---- what is refused ------------------------------------------------------------------------------------ */

static void what_is_no_text_is_refused_with_its_place(void) {
    nlm_str deep = {0}, long_line = {0};
    nlm_str_puts(&deep, "{\"text\": ");
    for (int i = 0; i < 100000; i++) nlm_str_puts(&deep, "[");
    for (int i = 0; i < 5 << 20; i++) nlm_str_puts(&long_line, "a");
    const struct {
        const char *name, *text;
        nlm_status status;
        const char *where, *msg;
    } cases[] = {
        {"a.txt", "", NLM_INVALID_ARGUMENT, "dataset", "there is no text in"},
        {"a.jsonl", "\n \n", NLM_INVALID_ARGUMENT, "dataset", "there is no text in"},
        {"a.jsonl", "{\"text\": \"\"}", NLM_INVALID_ARGUMENT, "dataset", "there is no text in"},
        {"a.jsonl", "{\"text\": \"a\"}\n{\"txt\": \"b\"}\n", NLM_BAD_FORMAT, "a.jsonl:2", "has no 'text' or"},
        {"a.jsonl", "{\"text\": \"a\"}\n\n{\"text\": 5}", NLM_BAD_FORMAT, "a.jsonl:3", "neither a text nor"},
        {"a.json", "[\n{\"text\": \"a\"}\n]", NLM_BAD_FORMAT, "a.json:1", "expected a JSON object a line"},
        {"a.json", "[1]", NLM_BAD_FORMAT, "a.json:1", "no JSON object"},
        {"a.jsonl", "{\"text\": \"\xFF\"}", NLM_BAD_FORMAT, "a.jsonl:1", "no valid UTF-8"},
        {"a.jsonl", "{\"text\": \"a\\u0000b\"}", NLM_BAD_FORMAT, "a.jsonl:1", "NUL"},
        {"a.jsonl", "{\"messages\": [{\"role\": \"user\"}]}", NLM_INVALID_ARGUMENT, "a.jsonl:1", "no chat template"},
        {"a.jsonl", deep.data, NLM_BAD_FORMAT, "a.jsonl:1", "JSON"},
        {"a.txt", long_line.data, NLM_LIMIT, "a.txt", "no place where the document can be cut"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        dataset_rig rig;
        nlm_dataset *dataset = NULL;
        rig_make(&rig, byte_tokenizer(false, true));
        rig_puts(&rig, cases[i].name, cases[i].text);
        CU_ASSERT_EQUAL(rig_try(&rig, &dataset), cases[i].status);
        const size_t length = strlen(rig.err.where), tail = strlen(cases[i].where);
        CU_ASSERT_FATAL(length >= tail);
        CU_ASSERT_STRING_EQUAL(rig.err.where + length - tail, cases[i].where);
        CU_ASSERT_PTR_NOT_NULL(strstr(rig.err.msg, cases[i].msg));
        CU_ASSERT_EQUAL(temporary_count(&rig.cache), 0); /* neither a token file nor a temporary */
        nlm_dataset_close(dataset);
        rig_remove(&rig);
    }
    nlm_str_release(&deep);
    nlm_str_release(&long_line);
}

static void paths_and_options_out_of_range_are_refused(void) {
    dataset_rig rig;
    nlm_dataset *dataset = NULL;
    rig_make(&rig, byte_tokenizer(false, false));
    CU_ASSERT_EQUAL(rig_try(&rig, &dataset), NLM_INVALID_ARGUMENT); /* an empty folder */
    rig_puts(&rig, "a", "a");
    CU_ASSERT_EQUAL(rig_try(&rig, &dataset), NLM_INVALID_ARGUMENT); /* one token has none to follow it */
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.err.msg, "one token"));
    rig_puts(&rig, "a", "ab");
    rig.options.validation = 0.6;
    CU_ASSERT_EQUAL(rig_try(&rig, &dataset), NLM_INVALID_ARGUMENT);
    rig.options.validation = 0;
    rig.options.n_paths = 0;
    CU_ASSERT_EQUAL(rig_try(&rig, &dataset), NLM_INVALID_ARGUMENT);
    rig.options.n_paths = 1;
    rig.paths[0] = "/nowhere/at/all";
    CU_ASSERT_EQUAL(rig_try(&rig, &dataset), NLM_NOT_FOUND);
    rig.paths[0] = "/dev/null";
    CU_ASSERT_EQUAL(rig_try(&rig, &dataset), NLM_IO);
    CU_ASSERT_EQUAL(symlink("/nowhere", temporary_path(&rig.text, "b")), 0); /* cannot be read, and is no mistake */
    rig.paths[0] = rig.text.folder;
    CU_ASSERT_EQUAL(rig_try(&rig, &dataset), NLM_NOT_FOUND);
    CU_ASSERT_PTR_NULL(dataset);
    rig_remove(&rig);
}

/* A file that cannot be read stops the build: what is missing from a dataset would not be noticed. */
static void unreadable_files_are_refused(void) {
    dataset_rig rig;
    nlm_dataset *dataset = NULL;
    if (geteuid() == 0) CHECK_SKIP("root reads everything");
    rig_make(&rig, byte_tokenizer(false, true));
    rig_puts(&rig, "a", "ab");
    CU_ASSERT_EQUAL(chmod(temporary_path(&rig.text, "a"), 0), 0);
    CU_ASSERT_EQUAL(rig_try(&rig, &dataset), NLM_PERMISSION);
    rig_remove(&rig);
}

static const check_case cases[] = {
    CHECK_CASE(documents_begin_and_end_as_the_tokenizer_says),
    CHECK_CASE(separators_cut_texts_into_documents),
    CHECK_CASE(text_spells_no_control_token),
    CHECK_CASE(folders_are_read_in_order_of_paths),
    CHECK_CASE(any_bytes_are_text_of_a_file_that_is_named),
    CHECK_CASE(what_is_no_text_is_refused_with_its_place),
    CHECK_CASE(paths_and_options_out_of_range_are_refused),
    CHECK_CASE(unreadable_files_are_refused),
};

CHECK_MAIN("dataset", cases)
