/* Token files: what they hold, when one is used again, and what goes wrong while one is built. */
#include "unit/dataset_fixture.h"

#include "base/log.h"
#include "train/token_file.h"

#include <nlm/plugin.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

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

static void change_text(void *user, int32_t level, const char *message) {
    (void)level;
    (void)message;
    rig_puts(user, "a", "other text");
}

/* Between the reading that names a token file and the one that fills it: here when a warning is said. */
static void text_that_changes_while_it_is_read_is_refused(void) {
    dataset_rig rig;
    nlm_dataset *dataset = NULL;
    rig_make(&rig, byte_tokenizer(false, false));
    rig_puts(&rig, "a", "some text");
    nlm_log_set_sink(change_text, &rig);
    CU_ASSERT_EQUAL(rig_try(&rig, &dataset), NLM_IO);
    nlm_log_set_sink(NULL, NULL);
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.err.msg, "changed while it was read"));
    CU_ASSERT_EQUAL(temporary_count(&rig.cache), 0);
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

/* Who may write to it may have put anything there, with a checksum that fits. */
static void token_files_that_others_may_write_are_not_used(void) {
    dataset_rig rig;
    char path[600];
    struct stat info;
    rig_make(&rig, byte_tokenizer(false, true));
    rig_puts(&rig, "a", "some text");
    nlm_dataset_close(rig_open(&rig));
    find_token_file(&rig, path);
    CU_ASSERT_EQUAL(chmod(path, 0666), 0);
    nlm_log_set_level(NLM_LOG_ERROR);
    nlm_dataset_close(rig_open(&rig));
    nlm_log_set_level(NLM_LOG_WARN);
    CU_ASSERT_EQUAL(stat(path, &info), 0);
    CU_ASSERT_EQUAL(info.st_mode & 0777, 0600);
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
    if (!is_spm) vocab_strings(&v, "tokenizer.ggml.merges", parts->merges, 2);
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
    CHECK_CASE(token_files_hold_what_was_written),
    CHECK_CASE(token_files_are_used_again_until_the_text_changes),
    CHECK_CASE(text_that_changes_while_it_is_read_is_refused),
    CHECK_CASE(damaged_token_files_are_built_anew),
    CHECK_CASE(processes_that_build_at_once_agree),
    CHECK_CASE(full_disk_is_an_error_that_leaves_nothing),
    CHECK_CASE(token_files_that_others_may_write_are_not_used),
    CHECK_CASE(what_is_abandoned_goes),
    CHECK_CASE(fingerprints_tell_tokenizers_apart),
};

CHECK_MAIN("token file", cases)
