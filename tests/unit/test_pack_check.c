/* The checksums of a pack cache's file, verified by many threads before the weights are asked for. */
#include "base/log.h"
#include "base/threads.h"
#include "exec/pack_cache.h"
#include "unit/check.h"
#include "unit/temporary.h"

#include <string.h>

enum { N_ENTRIES = 40, BYTES = 5000 };

static int n_warnings;

static void count_warning(void *user, int32_t level, const char *message) {
    (void)user;
    (void)message;
    n_warnings += level == 1;
}

static nlm_packed entries[N_ENTRIES];
static char names[N_ENTRIES][8];
static unsigned char data[N_ENTRIES][BYTES];

static void make_entries(void) {
    for (int i = 0; i < N_ENTRIES; i++) {
        const int length = snprintf(names[i], sizeof names[i], "w%d", i);
        for (int b = 0; b < BYTES; b++) data[i][b] = (unsigned char)(i * 31 + b * 7);
        entries[i] = (nlm_packed){.name = names[i],
                                  .name_bytes = (size_t)length,
                                  .dtype = 1,
                                  .layout = 2,
                                  .layout_version = 3,
                                  .rows = 10,
                                  .columns = BYTES / 10,
                                  .bytes = BYTES,
                                  .data = data[i]};
    }
}

/* Flips a bit of every `step`-th entry's data. */
static void damage(const char *path, int step) {
    FILE *file = fopen(path, "r+b");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    for (int i = 0; i < N_ENTRIES; i += step) {
        const long at = NLM_PACK_ALIGNMENT * (long)(1 + 2 * i) + i * 100;
        CU_ASSERT_EQUAL(fseek(file, at, SEEK_SET), 0);
        CU_ASSERT_EQUAL(fputc(data[i][i * 100] ^ 4, file), data[i][i * 100] ^ 4);
    }
    CU_ASSERT_EQUAL(fclose(file), 0);
}

static void check_part(void *user, uint32_t ith, uint32_t nth) {
    (void)ith;
    (void)nth;
    nlm_pack_cache_check(user);
}

/* Which entries are found, after `threads` have checked all; 0: nobody has. */
static void expect_found(const char *path, uint32_t threads, int step) {
    const nlm_device device = {.backend = "none"};
    nlm_pack_cache *cache = NULL;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(nlm_pack_cache_open(path, "key", &device, false, &cache, &err), NLM_OK);
    if (threads > 0) {
        nlm_pool *pool = NULL;
        const nlm_pool_options options = {.threads = threads, .is_unbound = true};
        CU_ASSERT_EQUAL_FATAL(nlm_pool_create(&options, &pool, &err), NLM_OK);
        nlm_pool_run(pool, check_part, cache);
        nlm_pool_destroy(pool);
    }
    n_warnings = 0;
    for (int i = 0; i < N_ENTRIES; i++) {
        const void *found = nlm_pack_cache_find(cache, &device, &entries[i]);
        CU_ASSERT_EQUAL(found != NULL, step == 0 || i % step != 0);
        if (found) CU_ASSERT_EQUAL(memcmp(found, data[i], BYTES), 0);
    }
    CU_ASSERT_EQUAL(n_warnings, step != 0);
    nlm_pack_cache_close(cache);
}

static void threads_find_what_one_finds(void) {
    temporary t;
    nlm_error err = NLM_ERROR_INIT;
    char path[512];
    CU_ASSERT_FATAL(temporary_make(&t));
    snprintf(path, sizeof path, "%s", temporary_path(&t, "w.nlmpack"));
    make_entries();
    nlm_log_set_sink(count_warning, NULL);
    for (int step = 0; step <= 9; step += 3) {
        CU_ASSERT_EQUAL_FATAL(nlm_pack_file_write(path, "key", entries, N_ENTRIES, &err), NLM_OK);
        if (step > 0) damage(path, step);
        for (uint32_t threads = 0; threads <= 5; threads++) expect_found(path, threads, step);
    }
    nlm_log_set_sink(NULL, NULL);
    nlm_pack_cache_check(NULL);
    temporary_remove(&t);
}

static const check_case cases[] = {CHECK_CASE(threads_find_what_one_finds)};
CHECK_MAIN("pack check", cases)
