/* What is remembered of vetting a plugin in a child process, and when that is not believed. */
#include "unit/plugin_folder.h"

#include "plugin/loaded.h"
#include "plugin/vet_cache.h"

#include <fcntl.h>
#include <time.h>

/* A folder whose cache/ is XDG_CACHE_HOME, with `witness`, which leaves the file `trace` when it runs. */
typedef struct cache_fixture {
    plugin_folder folder;
    char library[256], trace[256], file[256];
} cache_fixture;

static void fixture_create(cache_fixture *f, const char *plugin) {
    char name[64];
    folder_create(&f->folder);
    snprintf(name, sizeof name, "%s.so", plugin);
    folder_copy(&f->folder, name);
    snprintf(f->library, sizeof f->library, "%s", folder_file(&f->folder, name));
    snprintf(f->trace, sizeof f->trace, "%s", folder_file(&f->folder, "trace"));
    snprintf(f->file, sizeof f->file, "%s", folder_file(&f->folder, "cache/nlm/plugin-verdicts"));
    CU_ASSERT_EQUAL_FATAL(mkdir(folder_file(&f->folder, "cache"), 0755), 0);
    setenv("XDG_CACHE_HOME", folder_file(&f->folder, "cache"), 1);
    setenv("NLM_TEST_WITNESS", f->trace, 1);
}

static void fixture_destroy(cache_fixture *f) {
    unsetenv("XDG_CACHE_HOME");
    unsetenv("NLM_TEST_WITNESS");
    folder_destroy(&f->folder);
}

static bool vet(const cache_fixture *f, const char *name, nlm_verdict *verdict) {
    *verdict = (nlm_verdict){0};
    return nlm_vet_isolated(&(nlm_vet_job){f->library, name, NULL, 60000}, verdict);
}

/* Vets the witness, which must be found good; did any of its code run for that? */
static bool vetting_runs_it(const cache_fixture *f) {
    nlm_verdict verdict;
    unlink(f->trace);
    CU_ASSERT_TRUE(vet(f, "witness", &verdict));
    return access(f->trace, F_OK) == 0;
}

static void a_library_found_good_is_vetted_once(void) {
    cache_fixture f;
    fixture_create(&f, "witness");
    CU_ASSERT_TRUE(vetting_runs_it(&f));
    CU_ASSERT_FALSE(vetting_runs_it(&f));
    struct stat info;
    CU_ASSERT_EQUAL_FATAL(stat(f.file, &info), 0);
    CU_ASSERT_EQUAL(info.st_mode & 07777, 0600);
    CU_ASSERT_EQUAL(stat(folder_file(&f.folder, "cache/nlm"), &info), 0);
    CU_ASSERT_EQUAL(info.st_mode & 07777, 0700);
    fixture_destroy(&f);
}

static void a_library_that_has_changed_is_vetted_again(void) {
    cache_fixture f;
    fixture_create(&f, "witness");
    CU_ASSERT_TRUE(vetting_runs_it(&f));
    const struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000, .tv_nsec = 1}};
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, f.library, times, 0), 0);
    CU_ASSERT_TRUE(vetting_runs_it(&f)); /* another time */
    CU_ASSERT_FALSE(vetting_runs_it(&f));
    FILE *file = fopen(f.library, "ab");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputc(0, file);
    fclose(file);
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, f.library, times, 0), 0);
    CU_ASSERT_TRUE(vetting_runs_it(&f)); /* another size */
    char other[300];
    snprintf(other, sizeof other, "%s.other", f.library);
    size_t size;
    unsigned char *bytes = read_bytes(f.library, &size);
    folder_write(&f.folder, "witness.so.other", bytes, size);
    free(bytes);
    CU_ASSERT_EQUAL(rename(other, f.library), 0);
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, f.library, times, 0), 0);
    CU_ASSERT_TRUE(vetting_runs_it(&f)); /* another inode */
    CU_ASSERT_FALSE(vetting_runs_it(&f));
    file = fopen(f.library, "r+b");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, -1, SEEK_END);
    fputc(1, file);
    fclose(file);
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, f.library, times, 0), 0);
    CU_ASSERT_TRUE(vetting_runs_it(&f)); /* other bytes, of the same size and st_mtim */
    fixture_destroy(&f);
}

static void a_library_that_crashed_is_refused_without_another_crash(void) {
    cache_fixture f;
    nlm_verdict verdict;
    fixture_create(&f, "probe_crashes");
    CU_ASSERT_FALSE(vet(&f, "probe_crashes", &verdict));
    expect_contains(verdict.reason, "ended its process with SIGSEGV while in its probe");
    CU_ASSERT_PTR_NULL(strstr(verdict.reason, "before"));
    CU_ASSERT_FALSE(vet(&f, "probe_crashes", &verdict));
    CU_ASSERT_EQUAL(verdict.state, NLM_ENTRY_REFUSED);
    expect_contains(verdict.reason, "ended its process with SIGSEGV while in its probe; so it was found before");
    expect_contains(verdict.reason, f.file);
    unlink(f.file);
    CU_ASSERT_FALSE(vet(&f, "probe_crashes", &verdict));
    CU_ASSERT_PTR_NULL(strstr(verdict.reason, "before"));
    fixture_destroy(&f);
}

/* What it lacks today may be there tomorrow. */
static void an_orderly_refusal_is_not_remembered(void) {
    static const char *const names[] = {"missing_dependency", "probe_prints", "probe_leaves_thread", "no_open"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        cache_fixture f;
        nlm_verdict verdict;
        fixture_create(&f, names[i]);
        CU_ASSERT_FALSE(vet(&f, names[i], &verdict));
        CU_ASSERT_EQUAL(verdict.state, NLM_ENTRY_REFUSED);
        CU_ASSERT_NOT_EQUAL(access(f.file, F_OK), 0);
        fixture_destroy(&f);
    }
}

static void a_cache_that_others_can_write_is_not_believed(void) {
    static const struct {
        const char *what;
        mode_t mode;
    } rows[] = {{"cache/nlm/plugin-verdicts", 0620},
                {"cache/nlm/plugin-verdicts", 0602},
                {"cache/nlm", 0720},
                {"cache", 0757}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cache_fixture f;
        fixture_create(&f, "witness");
        CU_ASSERT_TRUE(vetting_runs_it(&f));
        CU_ASSERT_EQUAL_FATAL(chmod(folder_file(&f.folder, rows[i].what), rows[i].mode), 0);
        CU_ASSERT_TRUE(vetting_runs_it(&f));
        fixture_destroy(&f);
    }
}

static void a_cache_of_another_user_is_not_believed(void) {
    if (geteuid() != 0) CHECK_SKIP("only root can give files away");
    cache_fixture f;
    fixture_create(&f, "witness");
    CU_ASSERT_TRUE(vetting_runs_it(&f));
    if (chown(f.file, 12345, 0) == 0) CU_ASSERT_TRUE(vetting_runs_it(&f));
    fixture_destroy(&f);

    fixture_create(&f, "witness");
    if (chown(folder_file(&f.folder, "cache"), 12345, 0) == 0) {
        CU_ASSERT_TRUE(vetting_runs_it(&f));
        CU_ASSERT_NOT_EQUAL(access(folder_file(&f.folder, "cache/nlm"), F_OK), 0); /* nothing of ours there */
    }
    fixture_destroy(&f);
}

static void a_damaged_cache_counts_as_empty_and_is_replaced(void) {
    cache_fixture f;
    fixture_create(&f, "witness");
    CU_ASSERT_TRUE(vetting_runs_it(&f));
    size_t size;
    unsigned char *good = read_bytes(f.file, &size);
    for (size_t i = 0; i < size; i++) {
        unsigned char *bytes = malloc(size);
        CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
        memcpy(bytes, good, size);
        bytes[i] ^= 1;
        nlm_vet_identity identity;
        nlm_vet_record record;
        CU_ASSERT_TRUE(nlm_vet_identify(f.library, &identity));
        folder_write(&f.folder, "cache/nlm/plugin-verdicts", bytes, size);
        CU_ASSERT_FALSE(nlm_vet_cache_find(&identity, &record));
        folder_write(&f.folder, "cache/nlm/plugin-verdicts", good, i);
        CU_ASSERT_FALSE(nlm_vet_cache_find(&identity, &record));
        free(bytes);
    }
    free(good);
    CU_ASSERT_TRUE(vetting_runs_it(&f));
    CU_ASSERT_FALSE(vetting_runs_it(&f));
    fixture_destroy(&f);
}

static void a_cache_that_cannot_be_kept_costs_only_time(void) {
    cache_fixture f;
    fixture_create(&f, "witness");
    folder_write(&f.folder, "cache/nlm", "a file is in the way", 20);
    CU_ASSERT_TRUE(vetting_runs_it(&f));
    CU_ASSERT_TRUE(vetting_runs_it(&f));
    fixture_destroy(&f);

    fixture_create(&f, "witness");
    setenv("XDG_CACHE_HOME", "relative", 1);
    const char *home = getenv("HOME");
    char before[PATH_MAX] = "", path[PATH_MAX], expected[PATH_MAX];
    if (home) snprintf(before, sizeof before, "%s", home);
    setenv("HOME", f.folder.path, 1);
    snprintf(expected, sizeof expected, "%s/.cache/nlm/plugin-verdicts", f.folder.path);
    CU_ASSERT_TRUE(nlm_vet_cache_path(path));
    CU_ASSERT_STRING_EQUAL(path, expected);
    unsetenv("HOME");
    CU_ASSERT_FALSE(nlm_vet_cache_path(path));
    CU_ASSERT_TRUE(vetting_runs_it(&f));
    if (*before) setenv("HOME", before, 1);
    fixture_destroy(&f);
}

static void the_oldest_of_many_records_go_and_reasons_stay_on_their_line(void) {
    cache_fixture f;
    fixture_create(&f, "witness");
    nlm_vet_record record = {.reason = "one\n1 2 3 4 5 two\x1b"}, found;
    for (uint64_t i = 0; i < 130; i++) {
        record.identity.inode = i;
        nlm_vet_cache_store(&record);
    }
    record.identity.inode = 1;
    CU_ASSERT_FALSE(nlm_vet_cache_find(&record.identity, &found));
    record.identity.inode = 2;
    CU_ASSERT_TRUE(nlm_vet_cache_find(&record.identity, &found));
    CU_ASSERT_STRING_EQUAL(found.reason, "one 1 2 3 4 5 two ");
    record.identity.inode = 129;
    CU_ASSERT_TRUE(nlm_vet_cache_find(&record.identity, &found));
    strcpy(record.reason, "");
    nlm_vet_cache_store(&record); /* in place of what was known of it */
    CU_ASSERT_TRUE(nlm_vet_cache_find(&record.identity, &found));
    CU_ASSERT_STRING_EQUAL(found.reason, "");
    fixture_destroy(&f);
}

static const check_case cases[] = {
    CHECK_CASE(a_library_found_good_is_vetted_once),
    CHECK_CASE(a_library_that_has_changed_is_vetted_again),
    CHECK_CASE(a_library_that_crashed_is_refused_without_another_crash),
    CHECK_CASE(an_orderly_refusal_is_not_remembered),
    CHECK_CASE(a_cache_that_others_can_write_is_not_believed),
    CHECK_CASE(a_cache_of_another_user_is_not_believed),
    CHECK_CASE(a_damaged_cache_counts_as_empty_and_is_replaced),
    CHECK_CASE(a_cache_that_cannot_be_kept_costs_only_time),
    CHECK_CASE(the_oldest_of_many_records_go_and_reasons_stay_on_their_line),
};

CHECK_MAIN("verdicts on plugins", cases)
