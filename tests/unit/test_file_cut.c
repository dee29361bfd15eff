/* Mapped files that are cut while they are read: zeros, and a sentence. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/file_cut.h"
#include "base/threads.h"
#include "check.h"
#include "temporary.h"

#define N_PAGES 4

static size_t page_bytes(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Whole pages of 'x', mapped. */
static const char *map_pages(const char *path, nlm_file_map *map) {
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    for (size_t i = 0; i < N_PAGES * page_bytes(); i++) fputc('x', file);
    CU_ASSERT_EQUAL(fclose(file), 0);
    CU_ASSERT_EQUAL_FATAL(nlm_file_map_open(path, map, NULL), NLM_OK);
    return map->data;
}

static void what_is_gone_is_zeros_and_told(void) {
    temporary t;
    nlm_file_map map;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "model");
    const char *data = map_pages(path, &map);
    CU_ASSERT_EQUAL(nlm_file_cut_check(NULL), NLM_OK);
    CU_ASSERT_EQUAL(truncate(path, (off_t)page_bytes()), 0);
    CU_ASSERT_EQUAL(data[3 * page_bytes()], 0);
    CU_ASSERT_EQUAL(data[2 * page_bytes() + 5], 0); /* before what faulted first */
    CU_ASSERT_EQUAL(data[page_bytes() - 1], 'x');
    CU_ASSERT_EQUAL(nlm_file_map_check_size(&map, path, &err), NLM_IO);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "was cut from"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "while it was in use"));
    CU_ASSERT_EQUAL(nlm_file_cut_check_open(NULL), NLM_IO);
    nlm_file_map_close(&map);
    CU_ASSERT_EQUAL(nlm_file_cut_check_open(NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_file_cut_check(&err), NLM_IO);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "was cut from"));
    temporary_remove(&t);
}

static void a_file_that_grew_again_stays_cut(void) {
    temporary t;
    nlm_file_map map;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    const char *path = temporary_path(&t, "model");
    const char *data = map_pages(path, &map);
    CU_ASSERT_EQUAL(truncate(path, 0), 0);
    CU_ASSERT_EQUAL(data[0], 0);
    CU_ASSERT_EQUAL(truncate(path, (off_t)(N_PAGES * page_bytes())), 0);
    CU_ASSERT_EQUAL(nlm_file_map_check_size(&map, path, &err), NLM_IO);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "has grown again"));
    nlm_file_map_close(&map);
    temporary_remove(&t);
}

typedef struct reading {
    const char *data;
    char value;
} reading;

static void read_last(void *user, uint32_t ith, uint32_t nth) {
    reading *r = user;
    if (ith == nth - 1) r->value = r->data[3 * page_bytes()];
}

static void threads_of_a_pool_read_zeros_too(void) {
    temporary t;
    nlm_file_map map;
    nlm_pool *pool = NULL;
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    CU_ASSERT_EQUAL_FATAL(nlm_pool_create(&(nlm_pool_options){.threads = 2}, &pool, NULL), NLM_OK);
    const char *path = temporary_path(&t, "model");
    const char *data = map_pages(path, &map);
    CU_ASSERT_EQUAL(truncate(path, 0), 0);
    reading r = {data, 'x'};
    nlm_pool_run(pool, read_last, &r);
    CU_ASSERT_EQUAL(r.value, 0);
    CU_ASSERT_EQUAL(nlm_file_map_check_size(&map, path, NULL), NLM_IO);
    nlm_pool_destroy(pool);
    nlm_file_map_close(&map);
    temporary_remove(&t);
}

/* Copied by us, or by the system out of the map, which finds nothing to copy. */
static void nothing_is_written_of_what_was_cut(void) {
    for (int is_small = 0; is_small < 2; is_small++) {
        temporary t;
        nlm_file_map map;
        nlm_file_writer *w = NULL;
        nlm_error err = NLM_ERROR_INIT;
        char path[600];
        CU_ASSERT_TRUE_FATAL(temporary_make(&t));
        snprintf(path, sizeof path, "%s", temporary_path(&t, "model"));
        FILE *file = fopen(path, "w");
        CU_ASSERT_PTR_NOT_NULL_FATAL(file);
        CU_ASSERT_EQUAL(ftruncate(fileno(file), 1 << 20), 0);
        fclose(file);
        CU_ASSERT_EQUAL_FATAL(nlm_file_map_open(path, &map, NULL), NLM_OK);
        CU_ASSERT_EQUAL_FATAL(nlm_file_writer_create(temporary_path(&t, "out"), &w, NULL), NLM_OK);
        CU_ASSERT_EQUAL(truncate(path, 0), 0);
        nlm_status status = nlm_file_writer_write(w, map.data, is_small ? 100 : map.size, &err);
        if (status == NLM_OK) status = nlm_file_writer_commit(w, &err);
        CU_ASSERT_EQUAL(status, NLM_IO);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "while it was in use"));
        nlm_file_writer_destroy(w);
        nlm_file_map_close(&map);
        CU_ASSERT_EQUAL(temporary_count(&t), 1);
        temporary_remove(&t);
    }
}

/* In a file that nobody watches, and sent by another process. */
static void other_faults_end_the_process(void) {
    for (int is_sent = 0; is_sent < 2; is_sent++) {
        temporary t;
        nlm_file_map map;
        CU_ASSERT_TRUE_FATAL(temporary_make(&t));
        const char *path = temporary_path(&t, "model");
        const char *data = map_pages(path, &map);
        const pid_t child = fork();
        if (child == 0) {
            nlm_file_cut_unwatch(map.watch);
            if (!freopen("/dev/null", "w", stderr)) _exit(3); /* what a sanitizer says */
            if (is_sent) raise(SIGBUS);
            _exit(truncate(path, 0) == 0 && data[0] == 0 ? 0 : 3);
        }
        int how = 0;
        CU_ASSERT_EQUAL(waitpid(child, &how, 0), child);
        CU_ASSERT_TRUE(WIFSIGNALED(how) || (WIFEXITED(how) && WEXITSTATUS(how) != 0 && WEXITSTATUS(how) != 3));
        nlm_file_map_close(&map);
        temporary_remove(&t);
    }
}

static const check_case cases[] = {
    CHECK_CASE(what_is_gone_is_zeros_and_told),   CHECK_CASE(a_file_that_grew_again_stays_cut),
    CHECK_CASE(threads_of_a_pool_read_zeros_too), CHECK_CASE(nothing_is_written_of_what_was_cut),
    CHECK_CASE(other_faults_end_the_process),
};

int main(void) {
    nlm_file_cut_guard();
    return check_main("file_cut", cases, sizeof cases / sizeof *cases);
}
