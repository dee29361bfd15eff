/* Files of packed weights: what is written, and that no file, however made, is read outside itself. */
#include "base/file.h"
#include "exec/pack_file.h"
#include "unit/check.h"
#include "unit/pack_bytes.h"
#include "unit/temporary.h"

#include <stdlib.h>
#include <sys/stat.h>

/* A copy of exactly `size` bytes, so that a sanitizer sees what is read behind it. */
static nlm_status parse_copy(const unsigned char *file, size_t size, nlm_error *err) {
    unsigned char *copy = malloc(size ? size : 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
    memcpy(copy, file, size);
    nlm_pack_view view;
    const nlm_status status = nlm_pack_file_parse("cache", copy, size, PACK_KEY, &view, err);
    unsigned sum = 0;
    size_t at = 0;
    for (uint32_t i = 0; status == NLM_OK && i < view.n_entries; i++) {
        nlm_packed entry;
        nlm_pack_view_next(&view, &at, &entry);
        for (uint64_t b = 0; b < entry.bytes; b++) sum += ((const unsigned char *)entry.data)[b];
        for (size_t b = 0; b < entry.name_bytes; b++) sum += (unsigned char)entry.name[b];
    }
    free(copy);
    CU_ASSERT_TRUE(status != NLM_OK || sum > 0);
    return status;
}

static void a_file_made_by_hand_is_read(void) {
    static unsigned char file[PACK_SIZE];
    nlm_pack_view view;
    nlm_error err = NLM_ERROR_INIT;
    pack_build(file);
    CU_ASSERT_EQUAL_FATAL(nlm_pack_file_parse("cache", file, sizeof file, PACK_KEY, &view, &err), NLM_OK);
    CU_ASSERT_EQUAL_FATAL(view.n_entries, 2);
    nlm_packed a, b;
    size_t at = 0;
    nlm_pack_view_next(&view, &at, &a);
    nlm_pack_view_next(&view, &at, &b);
    CU_ASSERT_TRUE(a.name_bytes == 1 && a.name[0] == 'a' && a.bytes == 100 && a.rows == 10 && a.columns == 10);
    CU_ASSERT_TRUE(a.dtype == 6 && a.layout == 7 && a.layout_version == 8 && a.roles == 3);
    CU_ASSERT_PTR_EQUAL(a.data, file + PACK_A_DATA);
    CU_ASSERT_TRUE(b.name_bytes == 2 && memcmp(b.name, "bc", 2) == 0 && b.bytes == 5000);
    CU_ASSERT_PTR_EQUAL(b.data, file + PACK_B_DATA);
}

static void what_is_written_is_that_file(void) {
    static unsigned char file[PACK_SIZE];
    pack_build(file);
    const nlm_packed entries[] = {
        {"a", 1, 6, 7, 8, 3, 10, 10, 100, file + PACK_A_DATA, 0},
        {"bc", 2, 6, 7, 8, 3, 10, 500, 5000, file + PACK_B_DATA, 0},
    };
    temporary t;
    nlm_error err = NLM_ERROR_INIT;
    nlm_file_map map = {0};
    CU_ASSERT_TRUE_FATAL(temporary_make(&t));
    const mode_t mask = umask(0);
    CU_ASSERT_EQUAL(nlm_pack_file_write(temporary_path(&t, "p"), PACK_KEY, entries, 2, &err), NLM_OK);
    umask(mask);
    CU_ASSERT_EQUAL(temporary_count(&t), 1);
    struct stat info;
    CU_ASSERT_EQUAL(stat(temporary_path(&t, "p"), &info), 0);
    CU_ASSERT_EQUAL(info.st_mode & 0777, 0600);
    CU_ASSERT_EQUAL_FATAL(nlm_file_map_open(temporary_path(&t, "p"), &map, &err), NLM_OK);
    CU_ASSERT_EQUAL_FATAL(map.size, PACK_SIZE);
    CU_ASSERT_EQUAL(memcmp(map.data, file, PACK_SIZE), 0);
    nlm_file_map_close(&map);
    temporary_remove(&t);
}

/* A number of the file, changed; the checksum is put right. */
static const struct {
    const char *what;
    int at, bytes;
    uint64_t value;
    nlm_status status;
    const char *message;
} changes[] = {
    {"an earlier version", 8, 4, 1, NLM_UNSUPPORTED, "version 1"},
    {"a later version", 8, 4, 3, NLM_UNSUPPORTED, "version 3"},
    {"more entries than the table has", 12, 4, 3, NLM_BAD_FORMAT, "ends inside entry 2"},
    {"entries without end", 12, 4, UINT32_MAX, NLM_BAD_FORMAT, "ends inside entry 2"},
    {"fewer entries", 12, 4, 1, NLM_BAD_FORMAT, "goes on behind its 1 entries"},
    {"a larger file", 16, 8, PACK_SIZE + 1, NLM_BAD_FORMAT, "truncated"},
    {"a size that wraps", 16, 8, UINT64_MAX, NLM_BAD_FORMAT, "truncated"},
    {"a key longer than the table", 24, 4, PACK_END, NLM_BAD_FORMAT, "do not fit"},
    {"a shorter key", 24, 4, 17, NLM_UNSUPPORTED, "stale"},
    {"another model", PACK_KEY_AT + 6, 1, '2', NLM_UNSUPPORTED, "stale: made of 'model 2; backend 2', wanted"},
    {"another backend", PACK_KEY_AT + 17, 1, '1', NLM_UNSUPPORTED, "stale: made of 'model 1; backend 1', wanted"},
    {"data in the table", PACK_A, 8, 0, NLM_BAD_FORMAT, "entry 0 has 100 bytes at offset 0"},
    {"data that is not aligned", PACK_A, 8, PACK_A_DATA + 64, NLM_BAD_FORMAT, "expected a multiple of 4096"},
    {"data behind the file", PACK_A, 8, 16384, NLM_BAD_FORMAT, "entry 0 has"},
    {"an offset that wraps", PACK_A, 8, UINT64_MAX - 4095, NLM_BAD_FORMAT, "entry 0 has"},
    {"no data", PACK_A + 8, 8, 0, NLM_BAD_FORMAT, "entry 0 has 0 bytes"},
    {"data across the end", PACK_B + 8, 8, 5001, NLM_BAD_FORMAT, "entry 1 has 5001 bytes"},
    {"bytes that wrap", PACK_B + 8, 8, UINT64_MAX - 100, NLM_BAD_FORMAT, "entry 1 has"},
    {"a name across the table's end", PACK_B + 48, 4, 3, NLM_BAD_FORMAT, "entry 1 has a name of 3 bytes"},
    {"a name without end", PACK_B + 48, 4, UINT32_MAX, NLM_BAD_FORMAT, "entry 1 has a name of 4294967295 bytes"},
};

static void wrong_numbers_are_named(void) {
    static unsigned char file[PACK_SIZE];
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        nlm_error err = NLM_ERROR_INIT;
        pack_build(file);
        pack_put(file + changes[i].at, changes[i].value, changes[i].bytes);
        pack_seal(file, PACK_END);
        const nlm_status status = parse_copy(file, PACK_SIZE, &err);
        const bool is_told = strstr(err.msg, changes[i].message) != NULL;
        if (status != changes[i].status || !is_told) printf("\n%s: %d '%s'\n", changes[i].what, status, err.msg);
        CU_ASSERT_EQUAL(status, changes[i].status);
        CU_ASSERT_TRUE(is_told);
    }
}

static void a_table_longer_than_the_file_is_refused(void) {
    static unsigned char file[PACK_SIZE];
    nlm_error err = NLM_ERROR_INIT;
    pack_build(file);
    for (uint32_t i = 0; i < 3; i++) { /* before the checksum is taken, which would read as far */
        pack_put(file + 28, (const uint32_t[]){PACK_SIZE - 39, UINT32_MAX, UINT32_MAX - 39}[i], 4);
        CU_ASSERT_EQUAL(parse_copy(file, PACK_SIZE, &err), NLM_BAD_FORMAT);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "do not fit"));
    }
}

static void every_cut_and_every_changed_byte_of_the_table_is_found(void) {
    static unsigned char file[PACK_SIZE];
    pack_build(file);
    for (size_t size = 0; size < PACK_SIZE; size += size < PACK_END ? 1 : 997) {
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_NOT_EQUAL(parse_copy(file, size, &err), NLM_OK);
        CU_ASSERT_TRUE(err.msg[0] != 0);
    }
    for (size_t at = 0; at < PACK_END; at++) {
        nlm_error err = NLM_ERROR_INIT;
        file[at] ^= 0x10;
        CU_ASSERT_NOT_EQUAL(parse_copy(file, PACK_SIZE, &err), NLM_OK);
        file[at] ^= 0x10;
    }
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(parse_copy(file, PACK_SIZE, &err), NLM_OK);
}

/* What the fuzzer begins from is of this version, or it gets no further than the header. */
static void the_fuzzers_seeds_are_read_to_the_end(void) {
    static const struct {
        const char *name;
        nlm_status status;
        const char *told;
    } seeds[] = {
        {"sound", NLM_OK, ""},
        {"shorter", NLM_OK, ""},
        {"changed-data", NLM_OK, ""}, /* which is checked where it is used */
        {"no-entries", NLM_OK, ""},
        {"other-model", NLM_UNSUPPORTED, "stale"},
        {"many-entries", NLM_BAD_FORMAT, "ends inside entry 2 of 3"},
        {"long-name", NLM_BAD_FORMAT, "entry 0 has a name of 5000 bytes"},
        {"wrapping", NLM_BAD_FORMAT, "entry 1 has 9097 bytes"},
        {"changed-table", NLM_BAD_FORMAT, "the checksum at offset 32"},
        {"version-1", NLM_UNSUPPORTED, "version 1"},
    };
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        nlm_file_map map = {0};
        nlm_pack_view view;
        nlm_error err = NLM_ERROR_INIT;
        char path[512];
        snprintf(path, sizeof path, NLM_TEST_DATA "/../fuzz/corpus/fuzz_pack_file/%s", seeds[i].name);
        CU_ASSERT_EQUAL_FATAL(nlm_file_map_open(path, &map, &err), NLM_OK);
        CU_ASSERT_EQUAL(nlm_pack_file_parse(path, map.data, map.size, PACK_KEY, &view, &err), seeds[i].status);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, seeds[i].told));
        nlm_file_map_close(&map);
    }
}

static const check_case cases[] = {
    CHECK_CASE(a_file_made_by_hand_is_read),
    CHECK_CASE(what_is_written_is_that_file),
    CHECK_CASE(wrong_numbers_are_named),
    CHECK_CASE(a_table_longer_than_the_file_is_refused),
    CHECK_CASE(the_fuzzers_seeds_are_read_to_the_end),
    CHECK_CASE(every_cut_and_every_changed_byte_of_the_table_is_found),
};
CHECK_MAIN("pack file", cases)
