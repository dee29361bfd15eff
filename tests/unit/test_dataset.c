/* Documents, token files and batches of training text, against texts whose tokens are their bytes. */
#include "unit/dataset_fixture.h"

#include "base/log.h"
#include "train/token_file.h"

#include <fcntl.h>
#include <nlm/plugin.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

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
    static const nlm_batch_shape shape = {1, 8192, 1};
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

/* ---- the token file ------------------------------------------------------------------------------------- */

static void token_files_hold_what_was_written(void) {
    static const struct {
        uint32_t n_vocab, n_tokens;
    } cases[] = {{300, 1}, {65536, NLM_TOKEN_BLOCK}, {65537, NLM_TOKEN_BLOCK + 1}, {100000, 3 * NLM_TOKEN_BLOCK - 7}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        temporary t;
        CU_ASSERT_FATAL(temporary_make(&t));
        const char *path = temporary_path(&t, "x.tokens");
        const nlm_token_key key = {.content = 1, .tokenizer = 2, .n_vocab = cases[i].n_vocab};
        nlm_token_writer *writer = NULL;
        CU_ASSERT_EQUAL_FATAL(nlm_token_writer_create(path, &key, &writer, NULL), NLM_OK);
        for (uint32_t n = 0; n < cases[i].n_tokens; n++) {
            const int32_t id = (int32_t)(n * 7919u % cases[i].n_vocab);
            if (n % 1000 == 0) CU_ASSERT_EQUAL(nlm_token_writer_begin(writer, NULL), NLM_OK);
            CU_ASSERT_EQUAL(nlm_token_writer_add(writer, &id, 1, n % 3 == 0, NULL), NLM_OK);
        }
        CU_ASSERT_EQUAL(nlm_token_writer_commit(writer, NULL), NLM_OK);
        nlm_token_writer_destroy(writer);
        nlm_token_file file;
        CU_ASSERT_EQUAL_FATAL(nlm_token_file_open(path, &key, &file, NULL), NLM_OK);
        CU_ASSERT_EQUAL(file.token_bytes, cases[i].n_vocab > 65536 ? 4 : 2);
        CU_ASSERT_EQUAL_FATAL(file.n_tokens, cases[i].n_tokens);
        CU_ASSERT_EQUAL(file.n_documents, (cases[i].n_tokens + 999) / 1000);
        uint32_t n_wrong = 0;
        for (uint32_t n = 0; n < cases[i].n_tokens; n++) {
            n_wrong += nlm_token_at(&file, n) != (int32_t)(n * 7919u % cases[i].n_vocab);
            n_wrong += nlm_token_counts(&file, n) != (n % 3 == 0);
            n_wrong += nlm_token_file_start(&file, n / 1000) != n / 1000 * 1000;
        }
        CU_ASSERT_EQUAL(n_wrong, 0);
        nlm_token_file_close(&file);
        const nlm_token_key others[] = {{2, 2, key.n_vocab}, {1, 1, key.n_vocab}, {1, 2, 70000000 - key.n_vocab}};
        for (size_t k = 0; k < COUNT(others) - (key.n_vocab > 65536); k++) {
            CU_ASSERT_EQUAL(nlm_token_file_open(path, &others[k], &file, NULL), NLM_UNSUPPORTED);
        }
        temporary_remove(&t);
    }
}

/* The only file of the cache. */
static void find_token_file(const dataset_rig *rig, char out[600]) {
    DIR *dir = opendir(rig->cache.folder);
    CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
    out[0] = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] != '.') snprintf(out, 600, "%s/%s", rig->cache.folder, entry->d_name);
    }
    closedir(dir);
    CU_ASSERT_FATAL(out[0]);
}

static void token_files_are_used_again_until_the_text_changes(void) {
    dataset_rig rig;
    char path[600];
    struct stat first, second;
    rig_make(&rig, byte_tokenizer(false, true));
    rig_puts(&rig, "a", "one\n\ntwo");
    nlm_dataset_close(rig_open(&rig));
    find_token_file(&rig, path);
    CU_ASSERT_EQUAL(stat(path, &first), 0);
    nlm_dataset_close(rig_open(&rig));
    CU_ASSERT_EQUAL(stat(path, &second), 0);
    CU_ASSERT_EQUAL(first.st_ino, second.st_ino);
    CU_ASSERT_EQUAL(temporary_count(&rig.cache), 1);
    rig.options.seed = 9; /* of batches, not of tokens */
    nlm_dataset_close(rig_open(&rig));
    CU_ASSERT_EQUAL(temporary_count(&rig.cache), 1);
    rig.options.separator = "\n\n";
    nlm_dataset_close(rig_open(&rig));
    CU_ASSERT_EQUAL(temporary_count(&rig.cache), 2);
    rig_puts(&rig, "a", "one\n\ntwO");
    nlm_dataset_close(rig_open(&rig));
    CU_ASSERT_EQUAL(temporary_count(&rig.cache), 3);
    nlm_tokenizer_destroy(rig.tokenizer);
    rig.tokenizer = byte_tokenizer(true, true);
    nlm_dataset_close(rig_open(&rig));
    CU_ASSERT_EQUAL(temporary_count(&rig.cache), 4);
    rig_remove(&rig);
}

/* Cut, changed at any byte, or grown: the same tokens come of it. */
static void damaged_token_files_are_built_anew(void) {
    dataset_rig rig;
    char path[600];
    rig_make(&rig, byte_tokenizer(false, true));
    rig_puts(&rig, "a", "some text");
    nlm_dataset_close(rig_open(&rig));
    find_token_file(&rig, path);
    nlm_str whole = read_file(path);
    const size_t step = 97;
    nlm_log_set_level(NLM_LOG_ERROR); /* of a warning each */
    for (size_t at = 0; at < 2 * whole.length + step; at += step) {
        FILE *file = fopen(path, "wb");
        CU_ASSERT_PTR_NOT_NULL_FATAL(file);
        const size_t length = at < whole.length ? at : whole.length;
        fwrite(whole.data, 1, length, file);
        if (at >= whole.length && at < 2 * whole.length) { /* one byte differs, the last among them */
            const size_t place = at - whole.length + step < whole.length ? at - whole.length : whole.length - 1;
            fseek(file, (long)place, SEEK_SET);
            fputc(whole.data[place] ^ 1, file);
        }
        if (at >= 2 * whole.length) fputc(0, file);
        fclose(file);
        nlm_dataset *dataset = rig_open(&rig);
        nlm_str ids = documents_of(dataset, NULL);
        CU_ASSERT_STRING_EQUAL(ids.data, "some text{/s}");
        nlm_str_release(&ids);
        nlm_dataset_close(dataset);
        nlm_str now = read_file(path);
        CU_ASSERT(now.length == whole.length && memcmp(now.data, whole.data, now.length) == 0);
        nlm_str_release(&now);
    }
    nlm_log_set_level(NLM_LOG_WARN);
    nlm_str_release(&whole);
    rig_remove(&rig);
}

/* 200 documents, some of them longer than a block. */
static void write_many(dataset_rig *rig) {
    nlm_str text = {0};
    uint64_t random = 5;
    for (int i = 0; i < 200; i++) {
        if (i > 0) nlm_str_puts(&text, "\n\n");
        const int n_words = i % 50 == 7 ? 1500 : (int)(next_random(&random) % 20) + 1;
        for (int k = 0; k < n_words; k++) nlm_str_printf(&text, "%s%d", k ? " " : "", i * 100 + k);
    }
    rig_write(rig, "many.txt", text.data, text.length);
    nlm_str_release(&text);
    rig->options.separator = "\n\n";
}

static void processes_that_build_at_once_agree(void) {
    enum { N_ROUNDS = 8, N_PROCESSES = 6 };
    dataset_rig rig;
    char path[600];
    rig_make(&rig, byte_tokenizer(false, true));
    write_many(&rig);
    for (int round = 0; round < N_ROUNDS; round++) {
        pid_t children[N_PROCESSES];
        for (int i = 0; i < N_PROCESSES; i++) {
            children[i] = fork();
            if (children[i] != 0) continue;
            nlm_dataset *dataset = NULL;
            const bool is_whole = rig_try(&rig, &dataset) == NLM_OK && nlm_dataset_documents(dataset, 0) == 200;
            _exit(is_whole ? 0 : 1);
        }
        for (int i = 0; i < N_PROCESSES; i++) {
            int status = -1;
            CU_ASSERT_EQUAL(waitpid(children[i], &status, 0), children[i]);
            CU_ASSERT_EQUAL(status, 0);
        }
        CU_ASSERT_EQUAL_FATAL(temporary_count(&rig.cache), 1); /* no temporary is left */
        find_token_file(&rig, path);
        unlink(path);
    }
    rig_remove(&rig);
}

static void full_disk_is_an_error_that_leaves_nothing(void) {
    dataset_rig rig;
    nlm_dataset *dataset = NULL;
    struct rlimit before;
    rig_make(&rig, byte_tokenizer(false, true));
    write_many(&rig);
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_FSIZE, &before), 0);
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_FSIZE, &(struct rlimit){9000, before.rlim_max}), 0);
    const nlm_status status = rig_try(&rig, &dataset);
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_FSIZE, &before), 0);
    CU_ASSERT_EQUAL(status, NLM_IO);
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.err.msg, "cannot write"));
    CU_ASSERT_EQUAL(temporary_count(&rig.cache), 0);
    rig_remove(&rig);
}

/* What a killed process left goes, of whatever text it was; what somebody writes to stays, and a young one. */
static void what_is_abandoned_goes(void) {
    static const char *const names[] = {"0.tokens.tmp-1-0", "1.tokens.tmp-1-0", "2.tokens.tmp-1-0",
                                        "2.other.tmp-1-0"};
    const struct timespec then = {.tv_sec = time(NULL) - 7200};
    dataset_rig rig;
    rig_make(&rig, byte_tokenizer(false, true));
    rig_puts(&rig, "a", "text");
    int locked = -1;
    for (size_t i = 0; i < COUNT(names); i++) {
        const int fd = open(temporary_path(&rig.cache, names[i]), O_WRONLY | O_CREAT | O_EXCL, 0600);
        CU_ASSERT_FATAL(fd >= 0);
        if (i != 1) CU_ASSERT_EQUAL(futimens(fd, (const struct timespec[]){then, then}), 0);
        if (i == 2) {
            locked = fd;
            CU_ASSERT_EQUAL(flock(fd, LOCK_EX), 0);
        } else {
            close(fd);
        }
    }
    nlm_dataset_close(rig_open(&rig));
    for (size_t i = 0; i < COUNT(names); i++) {
        CU_ASSERT_EQUAL(access(temporary_path(&rig.cache, names[i]), F_OK), i == 0 ? -1 : 0);
    }
    close(locked);
    rig_remove(&rig);
}

/* ---- the tokenizer's fingerprint -------------------------------------------------------------------------- */

typedef struct tokenizer_parts {
    const char *model, *pre, *merges[2];
    float score;
    int32_t type;
    bool adds_bos, removes_spaces;
} tokenizer_parts;

static uint64_t fingerprint_of(const tokenizer_parts *parts) {
    const vocab_token tokens[] = {{"ab", 1, parts->score}, {"bc", parts->type, -1}, {"</s>", 3, 0}};
    const bool is_spm = strcmp(parts->model, "llama") == 0;
    vocab_bytes v = {0};
    nlm_tokenizer *tokenizer = NULL;
    vocab_string(&v, "tokenizer.ggml.model", parts->model);
    vocab_string(&v, "tokenizer.ggml.pre", parts->pre);
    vocab_tokens(&v, is_spm, true, tokens, COUNT(tokens));
    vocab_strings(&v, "tokenizer.ggml.merges", parts->merges, 2);
    vocab_number(&v, "tokenizer.ggml.eos_token_id", 258);
    vocab_number(&v, "tokenizer.ggml.bos_token_id", 258);
    vocab_flag(&v, "tokenizer.ggml.add_bos_token", parts->adds_bos);
    vocab_flag(&v, "tokenizer.ggml.remove_extra_whitespaces", parts->removes_spaces);
    CU_ASSERT_EQUAL_FATAL(vocab_open(&v, &tokenizer, NULL), NLM_OK);
    const uint64_t fingerprint = nlm_tokenizer_fingerprint(tokenizer);
    nlm_tokenizer_destroy(tokenizer);
    return fingerprint;
}

static void fingerprints_tell_tokenizers_apart(void) {
    static const tokenizer_parts parts[] = {
        {"gpt2", "gpt-2", {"a b", "b c"}, 0, 1, false, false},
        {"gpt2", "gpt-2", {"b c", "a b"}, 0, 1, false, false},
        {"gpt2", "qwen2", {"a b", "b c"}, 0, 1, false, false},
        {"gpt2", "gpt-2", {"a b", "b c"}, 0, 4, false, false},
        {"gpt2", "gpt-2", {"a b", "b c"}, 0, 1, true, false},
        {"llama", "default", {"a b", "b c"}, 0, 1, false, false},
        {"llama", "default", {"a b", "b c"}, -2, 1, false, false},
        {"llama", "default", {"a b", "b c"}, 0, 1, false, true},
    };
    uint64_t fingerprints[COUNT(parts)];
    for (size_t i = 0; i < COUNT(parts); i++) {
        fingerprints[i] = fingerprint_of(&parts[i]);
        CU_ASSERT_EQUAL(fingerprints[i], fingerprint_of(&parts[i]));
        for (size_t k = 0; k < i; k++) CU_ASSERT_NOT_EQUAL(fingerprints[i], fingerprints[k]);
    }
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
    CHECK_CASE(token_files_hold_what_was_written),
    CHECK_CASE(token_files_are_used_again_until_the_text_changes),
    CHECK_CASE(damaged_token_files_are_built_anew),
    CHECK_CASE(processes_that_build_at_once_agree),
    CHECK_CASE(full_disk_is_an_error_that_leaves_nothing),
    CHECK_CASE(what_is_abandoned_goes),
    CHECK_CASE(fingerprints_tell_tokenizers_apart),
};

CHECK_MAIN("dataset", cases)
