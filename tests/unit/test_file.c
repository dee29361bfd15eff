/* Files that appear whole or not at all, maps, folders and the checksum. */
#include "unit/check.h"

#include "base/checksum.h"
#include "base/file.h"
#include "format/npy.h"
#include "unit/temporary.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void check_content(const char *path, const void *expected, size_t size) {
    nlm_file_map map;
    CU_ASSERT_EQUAL_FATAL(nlm_file_map_open(path, &map, NULL), NLM_OK);
    CU_ASSERT_EQUAL(map.size, size);
    if (map.size == size && size) CU_ASSERT_EQUAL(memcmp(map.data, expected, size), 0);
    nlm_file_map_close(&map);
}

static void write_text(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_TRUE(fputs(text, file) >= 0);
    CU_ASSERT_EQUAL(fclose(file), 0);
}

static void file_appears_whole_at_commit(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "out");
    const size_t size = 1000000; /* several buffers, and one piece larger than the buffer */
    unsigned char *data = malloc(size);
    for (size_t i = 0; i < size; i++) data[i] = (unsigned char)(i * 31 + i / 251);
    nlm_file_writer *w = NULL;
    CU_ASSERT_EQUAL_FATAL(nlm_file_writer_create(path, &w, NULL), NLM_OK);
    size_t at = 0;
    for (size_t piece = 1; at < size; piece = piece * 3 + 1) {
        const size_t bytes = piece < size - at ? piece : size - at;
        CU_ASSERT_EQUAL(nlm_file_writer_write(w, data + at, bytes, NULL), NLM_OK);
        at += bytes;
    }
    CU_ASSERT_EQUAL(nlm_file_writer_position(w), size);
    CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
    CU_ASSERT_EQUAL(nlm_file_writer_commit(w, NULL), NLM_OK);
    nlm_file_writer_destroy(w);
    check_content(path, data, size);
    CU_ASSERT_EQUAL(temporary_count(&t), 1);
    free(data);
    temporary_remove(&t);
}

static void file_abandoned_leaves_the_old_one(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "out");
    nlm_file_writer *w = NULL;
    CU_ASSERT_EQUAL_FATAL(nlm_file_writer_create(path, &w, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_file_writer_write(w, "old", 3, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_file_writer_commit(w, NULL), NLM_OK);
    nlm_file_writer_destroy(w);
    CU_ASSERT_EQUAL_FATAL(nlm_file_writer_create(path, &w, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_file_writer_write(w, "newer", 5, NULL), NLM_OK);
    nlm_file_writer_destroy(w);
    check_content(path, "old", 3);
    CU_ASSERT_EQUAL(temporary_count(&t), 1);
    temporary_remove(&t);
}

/* In a write that goes to the disk, and in the commit. */
static void a_writer_that_is_cancelled_leaves_nothing(void) {
    static const char large[1000000];
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "out");
    for (int written = 0; written < 2; written++) {
        volatile sig_atomic_t flag = 0;
        nlm_error err = NLM_ERROR_INIT;
        nlm_file_writer *w = NULL;
        nlm_file_cancel_by(&flag);
        CU_ASSERT_EQUAL_FATAL(nlm_file_writer_create(path, &w, NULL), NLM_OK);
        CU_ASSERT_EQUAL(nlm_file_writer_write(w, "few", 3, NULL), NLM_OK);
        if (written) CU_ASSERT_EQUAL(nlm_file_writer_write(w, large, sizeof large, NULL), NLM_OK);
        flag = 1;
        CU_ASSERT_EQUAL(
            written ? nlm_file_writer_commit(w, &err) : nlm_file_writer_write(w, large, sizeof large, &err),
            NLM_CANCELLED);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "is not written"));
        nlm_file_writer_destroy(w);
        CU_ASSERT_EQUAL(temporary_count(&t), 0);
        nlm_file_cancel_by(NULL);
        CU_ASSERT_EQUAL(nlm_file_write(path, "few", 3, NULL), NLM_OK);
        CU_ASSERT_EQUAL(unlink(path), 0);
    }
    temporary_remove(&t);
}

/* A size limit stands for a full disk: both make write(2) fail part of the way. */
static void file_that_does_not_fit_says_so_and_leaves_nothing(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "out");
    struct rlimit old;
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_FSIZE, &old), 0);
    const struct rlimit small = {300000, old.rlim_max};
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_FSIZE, &small), 0);
    nlm_file_writer *w = NULL;
    nlm_error err = NLM_ERROR_INIT;
    nlm_status status = nlm_file_writer_create(path, &w, &err);
    CU_ASSERT_EQUAL(status, NLM_OK);
    if (status == NLM_OK) status = nlm_file_writer_pad(w, 1000000, &err);
    if (status == NLM_OK) status = nlm_file_writer_commit(w, &err);
    nlm_file_writer_destroy(w);
    setrlimit(RLIMIT_FSIZE, &old);
    CU_ASSERT_EQUAL(status, NLM_IO);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "File too large"));
    CU_ASSERT_EQUAL(temporary_count(&t), 0);
    temporary_remove(&t);
}

static void folders_are_made_with_those_above_them(void) {
    temporary t;
    nlm_error err = NLM_ERROR_INIT;
    char path[600], upper[600];
    struct stat info;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    snprintf(upper, sizeof upper, "%s/a", t.folder);
    snprintf(path, sizeof path, "%s/a//b/", t.folder);
    const mode_t mask = umask(0);
    CU_ASSERT_EQUAL(nlm_file_make_folder(path, &err), NLM_OK);
    umask(mask);
    CU_ASSERT_EQUAL(nlm_file_make_folder(path, &err), NLM_OK);
    CU_ASSERT_EQUAL(nlm_file_make_folder("/", &err), NLM_OK);
    CU_ASSERT_TRUE(stat(path, &info) == 0 && (info.st_mode & 0777) == 0700);
    CU_ASSERT_TRUE(stat(upper, &info) == 0 && (info.st_mode & 0777) == 0700);
    CU_ASSERT_EQUAL(rmdir(path), 0);
    CU_ASSERT_EQUAL(rmdir(upper), 0);
    write_text(upper, "a file");
    CU_ASSERT_EQUAL(nlm_file_make_folder(upper, &err), NLM_NOT_FOUND);
    CU_ASSERT_EQUAL(nlm_file_make_folder(path, &err), NLM_NOT_FOUND);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "Not a directory"));
    CU_ASSERT_NOT_EQUAL(nlm_file_make_folder("", &err), NLM_OK);
    temporary_remove(&t);
}

static void a_map_says_when_the_file_was_changed_and_who_may_write_to_it(void) {
    temporary t;
    nlm_file_map map;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "f");
    write_text(path, "text");
    const struct timespec times[2] = {{5, 6}, {7, 8}};
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, path, times, 0), 0);
    static const struct {
        mode_t mode;
        bool is_ours;
    } rows[] = {{0600, true}, {0644, true}, {0620, false}, {0602, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CU_ASSERT_EQUAL(chmod(path, rows[i].mode), 0);
        CU_ASSERT_EQUAL_FATAL(nlm_file_map_open(path, &map, NULL), NLM_OK);
        CU_ASSERT_TRUE(map.is_file && map.modified_s == 7 && map.modified_ns == 8);
        CU_ASSERT_EQUAL(map.is_ours, rows[i].is_ours);
        nlm_file_map_close(&map);
    }
    CU_ASSERT_EQUAL_FATAL(nlm_file_map_zeros(4096, &map, NULL), NLM_OK);
    CU_ASSERT_FALSE(map.is_file);
    nlm_file_map_close(&map);
    temporary_remove(&t);
}

static void file_writer_refuses_what_is_no_file(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    nlm_file_writer *w = NULL;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_file_writer_create("/dev/null", &w, &err), NLM_IO);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "/dev/null"));
    CU_ASSERT_EQUAL(nlm_file_writer_create(t.folder, &w, NULL), NLM_IO);
    CU_ASSERT_EQUAL(nlm_file_writer_create(temporary_path(&t, "no/such/folder"), &w, NULL), NLM_NOT_FOUND);
    temporary_remove(&t);
}

static void file_writer_follows_a_symbolic_link(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    char target[512];
    snprintf(target, sizeof target, "%s", temporary_path(&t, "target"));
    FILE *file = fopen(target, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fclose(file);
    const char *link_path = temporary_path(&t, "link");
    CU_ASSERT_EQUAL_FATAL(symlink("target", link_path), 0);
    nlm_file_writer *w = NULL;
    CU_ASSERT_EQUAL_FATAL(nlm_file_writer_create(link_path, &w, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_file_writer_write(w, "x", 1, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_file_writer_commit(w, NULL), NLM_OK);
    nlm_file_writer_destroy(w);
    struct stat info;
    CU_ASSERT_EQUAL(lstat(link_path, &info), 0);
    CU_ASSERT_TRUE(S_ISLNK(info.st_mode));
    check_content(target, "x", 1);
    temporary_remove(&t);
}

/* Writes "x" over `path`. */
static nlm_status overwrite(const char *path, bool is_private, nlm_error *err) {
    nlm_file_writer *w = NULL;
    nlm_status status =
        is_private ? nlm_file_writer_create_private(path, &w, err) : nlm_file_writer_create(path, &w, err);
    if (status == NLM_OK) status = nlm_file_writer_write(w, "x", 1, err);
    if (status == NLM_OK) status = nlm_file_writer_commit(w, err);
    nlm_file_writer_destroy(w);
    return status;
}

static void file_that_is_replaced_passes_on_its_mode(void) {
    static const mode_t modes[] = {0600, 0640, 0400, 0666};
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "out");
    struct stat info;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        write_text(path, "old");
        CU_ASSERT_EQUAL(chmod(path, modes[i]), 0);
        CU_ASSERT_EQUAL(overwrite(path, false, NULL), NLM_OK);
        CU_ASSERT_EQUAL(stat(path, &info), 0);
        CU_ASSERT_EQUAL(info.st_mode & 07777, modes[i]);
        check_content(path, "x", 1);
        CU_ASSERT_EQUAL(unlink(path), 0);
    }
    write_text(path, "old");
    CU_ASSERT_EQUAL(chmod(path, 0666), 0);
    CU_ASSERT_EQUAL(overwrite(path, true, NULL), NLM_OK);
    CU_ASSERT_EQUAL(stat(path, &info), 0);
    CU_ASSERT_EQUAL(info.st_mode & 07777, 0600);
    temporary_remove(&t);
}

static void file_writer_does_not_follow_a_planted_link(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    char victim[512];
    snprintf(victim, sizeof victim, "%s", temporary_path(&t, "victim"));
    write_text(victim, "precious");
    const char *link_path = temporary_path(&t, "link");
    nlm_error err = NLM_ERROR_INIT;
    if (geteuid() == 0) { /* who alone can make a link of somebody else's */
        CU_ASSERT_EQUAL_FATAL(symlink("victim", link_path), 0);
        CU_ASSERT_EQUAL(lchown(link_path, 65534, (gid_t)-1), 0);
        CU_ASSERT_EQUAL(chmod(t.folder, 01777), 0);
        CU_ASSERT_EQUAL(overwrite(link_path, false, &err), NLM_PERMISSION);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "a link of user 65534"));
        check_content(victim, "precious", 8);
        CU_ASSERT_EQUAL(unlink(link_path), 0);
    }
    CU_ASSERT_EQUAL_FATAL(symlink("victim", link_path), 0);
    CU_ASSERT_EQUAL(overwrite(link_path, true, NULL), NLM_OK); /* replaces it */
    check_content(victim, "precious", 8);
    check_content(link_path, "x", 1);
    temporary_remove(&t);
}

static void file_that_is_read_does_not_change_with_it(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "in");
    write_text(path, "before");
    nlm_file_map map;
    CU_ASSERT_EQUAL_FATAL(nlm_file_read(path, &map, NULL), NLM_OK);
    CU_ASSERT_TRUE(map.is_file);
    CU_ASSERT_EQUAL_FATAL(map.size, 6);
    write_text(path, "after, which is longer");
    CU_ASSERT_EQUAL(memcmp(map.data, "before", 6), 0);
    CU_ASSERT_EQUAL(truncate(path, 0), 0);
    CU_ASSERT_EQUAL(memcmp(map.data, "before", 6), 0);
    nlm_file_map_close(&map);
    CU_ASSERT_EQUAL(nlm_file_read(path, &map, NULL), NLM_OK);
    CU_ASSERT_EQUAL(map.size, 0);
    CU_ASSERT_EQUAL(nlm_file_read(temporary_path(&t, "absent"), &map, NULL), NLM_NOT_FOUND);
    temporary_remove(&t);
}

/* A writer that cuts, lengthens or writes to a mapped file; what is done to its name or its mode is no change. */
static void a_map_tells_that_its_file_was_changed(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "in");
    static const struct {
        off_t size;
        int64_t modified_s;
        nlm_status status, size_status;
        const char *told;
    } cases[] = {{3, 0, NLM_IO, NLM_IO, "was cut from 6 bytes to 3"},
                 {9, 0, NLM_IO, NLM_OK, "was changed"},
                 {6, 5, NLM_IO, NLM_OK, "was changed"},
                 {6, 0, NLM_OK, NLM_OK, ""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nlm_file_map map, copy;
        nlm_error err = NLM_ERROR_INIT;
        write_text(path, "before");
        CU_ASSERT_EQUAL_FATAL(nlm_file_map_open(path, &map, NULL), NLM_OK);
        CU_ASSERT_EQUAL_FATAL(nlm_file_read(path, &copy, NULL), NLM_OK);
        CU_ASSERT_EQUAL(nlm_file_map_check(&map, path, NULL), NLM_OK);
        CU_ASSERT_EQUAL(truncate(path, cases[i].size), 0);
        const struct timespec kept = {map.modified_s + cases[i].modified_s, map.modified_ns};
        CU_ASSERT_EQUAL(utimensat(AT_FDCWD, path, (struct timespec[2]){kept, kept}, 0), 0);
        CU_ASSERT_EQUAL(chmod(path, 0400), 0);
        CU_ASSERT_EQUAL(unlink(path), 0);
        CU_ASSERT_EQUAL(nlm_file_map_check(&map, path, &err), cases[i].status);
        if (cases[i].status != NLM_OK) CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, cases[i].told));
        CU_ASSERT_EQUAL(nlm_file_map_check_size(&map, path, NULL), cases[i].size_status);
        CU_ASSERT_EQUAL(nlm_file_map_check(&copy, path, NULL), NLM_OK);
        nlm_file_map_close(&map);
        nlm_file_map_close(&copy);
    }
    temporary_remove(&t);
}

static void file_map_says_what_it_cannot_map(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    nlm_file_map map;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_file_map_open(temporary_path(&t, "absent"), &map, &err), NLM_NOT_FOUND);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "absent"));
    CU_ASSERT_EQUAL(nlm_file_map_open(t.folder, &map, NULL), NLM_IO);
    const char *pipe_path = temporary_path(&t, "pipe");
    CU_ASSERT_EQUAL_FATAL(mkfifo(pipe_path, 0600), 0);
    CU_ASSERT_EQUAL(nlm_file_map_open(pipe_path, &map, NULL), NLM_IO);
    temporary_remove(&t);
}

static void file_map_of_an_empty_file_is_empty(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "empty");
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fclose(file);
    check_content(path, "", 0);
    temporary_remove(&t);
}

/* Values of the xxhash 3.x Python package for bytes (7 i + 3) mod 256. */
static void checksum_matches_xxh64(void) {
    static const struct {
        size_t bytes;
        uint64_t expected;
    } known[] = {
        {0, 0xef46db3751d8e999},   {1, 0x1f25c8d0bc1f4bb6},   {3, 0x31d2363f52e564c9},    {4, 0x9bb64b7d66ee9fda},
        {7, 0x9a7b149959ce60d8},   {8, 0xdab99d95c6f90092},   {15, 0x1b47cb8243cc8e32},   {31, 0xa2aa5f33cc4a6119},
        {32, 0x23c3c17ef790fd97},  {33, 0x50a7cfc7ba588784},  {63, 0x5e3e54b431c7493c},   {64, 0x0eb64b3ef6eeb01f},
        {100, 0xa61f8d4c170fe531}, {255, 0x39ae55a29989206f}, {1000, 0x5f235fa033f1a3fb},
    };
    unsigned char data[1000];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (unsigned char)(i * 7 + 3);
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        CU_ASSERT_EQUAL(nlm_checksum_of(data, known[k].bytes), known[k].expected);
        for (size_t piece = 1; piece < 70; piece++) {
            nlm_checksum sum;
            nlm_checksum_init(&sum);
            for (size_t at = 0; at < known[k].bytes; at += piece) {
                const size_t rest = known[k].bytes - at;
                nlm_checksum_update(&sum, data + at, piece < rest ? piece : rest);
            }
            CU_ASSERT_EQUAL(nlm_checksum_value(&sum), known[k].expected);
        }
    }
}

static void npy_has_numpys_header_and_all_rows(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "m.npy");
    static const float values[6] = {1, 2.5f, -3, 0, 5, 6};
    nlm_npy_writer *w = NULL;
    CU_ASSERT_EQUAL_FATAL(nlm_npy_create(path, 3, 2, &w, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_npy_write_rows(w, values, 1, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_npy_write_rows(w, values + 2, 2, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_npy_finish(w, NULL), NLM_OK);
    nlm_npy_destroy(w);
    nlm_file_map map;
    CU_ASSERT_EQUAL_FATAL(nlm_file_map_open(path, &map, NULL), NLM_OK);
    const unsigned char *data = map.data;
    CU_ASSERT_EQUAL_FATAL(map.size, 128 + sizeof values);
    CU_ASSERT_EQUAL(memcmp(data, "\x93NUMPY\x01\x00\x76\x00", 10), 0);
    static const char dictionary[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }";
    CU_ASSERT_EQUAL(memcmp(data + 10, dictionary, sizeof dictionary - 1), 0);
    for (size_t i = 10 + sizeof dictionary - 1; i < 127; i++) CU_ASSERT_EQUAL(data[i], ' ');
    CU_ASSERT_EQUAL(data[127], '\n');
    CU_ASSERT_EQUAL(memcmp(data + 128, values, sizeof values), 0);
    nlm_file_map_close(&map);
    temporary_remove(&t);
}

static void npy_keeps_its_promise_of_rows(void) {
    temporary t;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "m.npy");
    static const float values[4] = {0};
    nlm_npy_writer *w = NULL;
    CU_ASSERT_EQUAL_FATAL(nlm_npy_create(path, 2, 2, &w, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_npy_write_rows(w, values, 1, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_npy_finish(w, NULL), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_npy_write_rows(w, values, 2, NULL), NLM_INVALID_ARGUMENT);
    nlm_npy_destroy(w);
    CU_ASSERT_EQUAL(temporary_count(&t), 0);
    CU_ASSERT_EQUAL(nlm_npy_create(path, UINT64_MAX / 8, 8, &w, NULL), NLM_INVALID_ARGUMENT);
    temporary_remove(&t);
}

static const check_case cases[] = {
    CHECK_CASE(file_appears_whole_at_commit),
    CHECK_CASE(file_abandoned_leaves_the_old_one),
    CHECK_CASE(a_writer_that_is_cancelled_leaves_nothing),
    CHECK_CASE(file_that_does_not_fit_says_so_and_leaves_nothing),
    CHECK_CASE(folders_are_made_with_those_above_them),
    CHECK_CASE(a_map_says_when_the_file_was_changed_and_who_may_write_to_it),
    CHECK_CASE(file_writer_refuses_what_is_no_file),
    CHECK_CASE(file_writer_follows_a_symbolic_link),
    CHECK_CASE(file_writer_does_not_follow_a_planted_link),
    CHECK_CASE(file_that_is_replaced_passes_on_its_mode),
    CHECK_CASE(file_that_is_read_does_not_change_with_it),
    CHECK_CASE(a_map_tells_that_its_file_was_changed),
    CHECK_CASE(file_map_says_what_it_cannot_map),
    CHECK_CASE(file_map_of_an_empty_file_is_empty),
    CHECK_CASE(checksum_matches_xxh64),
    CHECK_CASE(npy_has_numpys_header_and_all_rows),
    CHECK_CASE(npy_keeps_its_promise_of_rows),
};

CHECK_MAIN("file", cases)
