/* Statuses, arenas, checked arithmetic, misspelt names, truncated text. */
#include "unit/check.h"

#include "base/arena.h"
#include "base/checked.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/status.h"
#include "base/str.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

static void status_fail_says_why(void) {
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_fail(&err, NLM_BAD_FORMAT, "f:3", "bad %d", 7), NLM_BAD_FORMAT);
    CU_ASSERT_STRING_EQUAL(err.msg, "bad 7");
    CU_ASSERT_STRING_EQUAL(err.where, "f:3");
    CU_ASSERT_EQUAL(err.code, NLM_BAD_FORMAT);
    errno = ENOENT;
    nlm_fail_errno(&err, nlm_status_from_errno(errno), "open", "cannot open '%s'", "x");
    CU_ASSERT_STRING_EQUAL(err.msg, "cannot open 'x': No such file or directory");
    CU_ASSERT_EQUAL(err.code, NLM_NOT_FOUND);
    CU_ASSERT_EQUAL(nlm_fail(NULL, NLM_IO, "", "no record"), NLM_IO);
    CU_ASSERT_STRING_EQUAL(nlm_status_text(NLM_DEVICE_LOST), "device lost");
}

static void arena_grows_zeroed_and_refuses_wrapping_sizes(void) {
    nlm_arena arena = {0};
    for (size_t i = 0; i < 1000; i++) {
        unsigned char *memory = nlm_arena_alloc(&arena, i);
        CU_ASSERT_PTR_NOT_NULL_FATAL(memory);
        CU_ASSERT_EQUAL((uintptr_t)memory % 16, 0);
        for (size_t j = 0; j < i; j++) CU_ASSERT_EQUAL_FATAL(memory[j], 0);
        memset(memory, 0xAA, i);
    }
    CU_ASSERT_PTR_NULL(nlm_arena_array(&arena, SIZE_MAX / 2, 3));
    CU_ASSERT_PTR_NULL(nlm_arena_alloc(&arena, SIZE_MAX));
    CU_ASSERT_STRING_EQUAL(nlm_arena_printf(&arena, "%s-%d", "a", 1), "a-1");
    CU_ASSERT_STRING_EQUAL(nlm_arena_strndup(&arena, "abcdef", 3), "abc");
    nlm_arena_release(&arena);
}

static void checked_arithmetic_reports_overflow(void) {
    uint64_t out;
    CU_ASSERT_TRUE(nlm_add_u64(1, 2, &out) && out == 3);
    CU_ASSERT_FALSE(nlm_add_u64(UINT64_MAX, 1, &out));
    CU_ASSERT_FALSE(nlm_mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &out));
    CU_ASSERT_TRUE(nlm_align_u64(33, 32, &out) && out == 64);
    CU_ASSERT_FALSE(nlm_align_u64(UINT64_MAX, 32, &out));
    CU_ASSERT_TRUE(nlm_is_power_of_two(64));
    CU_ASSERT_FALSE(nlm_is_power_of_two(0));
}

static void nearest_finds_typos_and_not_strangers(void) {
    static const char *const keys[] = {"model", "prompt", "temperature", "threads"};
    CU_ASSERT_STRING_EQUAL(nlm_nearest("temprature", keys, 4), "temperature");
    CU_ASSERT_STRING_EQUAL(nlm_nearest("modle", keys, 4), "model");
    CU_ASSERT_PTR_NULL(nlm_nearest("xyzzy", keys, 4));
}

static void utf8_is_never_cut(void) {
    CU_ASSERT_EQUAL(nlm_utf8_complete("abc", 3), 3);
    CU_ASSERT_EQUAL(nlm_utf8_complete("a\xC3", 2), 1);
    CU_ASSERT_EQUAL(nlm_utf8_complete("a\xC3\xA9", 3), 3);
    CU_ASSERT_EQUAL(nlm_utf8_complete("\xE2\x82", 2), 0);
    CU_ASSERT_EQUAL(nlm_utf8_complete("\xF0\x9F\x98", 3), 0);
    CU_ASSERT_EQUAL(nlm_utf8_complete("\xF0\x9F\x98\x80", 4), 4);
    CU_ASSERT_EQUAL(nlm_utf8_complete("\x80\x80\x80\x80", 4), 4);
    CU_ASSERT_EQUAL(nlm_utf8_complete("\xFF", 1), 1);
    CU_ASSERT_EQUAL(nlm_utf8_complete("", 0), 0);
}

static void what_a_terminal_acts_on_is_escaped(void) {
    static const struct {
        const char *text, *shown;
    } rows[] = {
        {"plain \\x1b \xC3\xA9 \xF0\x9F\x98\x80", "plain \\x1b \xC3\xA9 \xF0\x9F\x98\x80"},
        {"\033]0;title\a\033[2J", "\\x1b]0;title\\x07\\x1b[2J"},
        {"a\nb\tc\rd\x7F", "a\\nb\\tc\\rd\\x7f"},
        {"\xC2\x9B"
         "2J",
         "\\u{9b}2J"},
        {"\xE2\x80\xAE"
         "fdp.exe",
         "\\u{202e}fdp.exe"},
        {"\x9B"
         "2J \xC3",
         "\\x9b2J \\xc3"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[64];
        snprintf(text, sizeof text, "%s", rows[i].text);
        nlm_make_printable(text, sizeof text);
        CU_ASSERT_STRING_EQUAL(text, rows[i].shown);
        nlm_str appended = {0};
        nlm_str_puts(&appended, "");
        nlm_str_printable(&appended, rows[i].text, strlen(rows[i].text));
        CU_ASSERT_STRING_EQUAL(appended.data, rows[i].shown);
        nlm_str_release(&appended);
    }
}

static void escapes_that_do_not_fit_are_left_out_whole(void) {
    static const struct {
        size_t size;
        const char *shown;
    } rows[] = {{1, ""}, {2, "a"}, {5, "a"}, {6, "a\\x1b"}, {7, "a\\x1b"}, {8, "a\\x1b\xC3\xA9"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[16] = "a\033\xC3\xA9";
        nlm_make_printable(text, rows[i].size);
        CU_ASSERT_STRING_EQUAL(text, rows[i].shown);
    }
}

static void collect_line(void *user, int32_t level, const char *message) {
    (void)level;
    snprintf(user, 64, "%s", message);
}

static void messages_escape_what_they_quote(void) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_fail(&err, NLM_BAD_FORMAT, "a\033[2J:3", "bad '%s'", "\033]0;x\a");
    CU_ASSERT_STRING_EQUAL(err.where, "a\\x1b[2J:3");
    CU_ASSERT_STRING_EQUAL(err.msg, "bad '\\x1b]0;x\\x07'");
    nlm_status_prefix(NLM_BAD_FORMAT, &err, "of '%s'", "\033c");
    CU_ASSERT_STRING_EQUAL(err.msg, "of '\\x1bc': bad '\\x1b]0;x\\x07'");
    errno = ENOENT;
    nlm_fail_errno(&err, NLM_IO, "f", "'%s'", "\033c");
    CU_ASSERT_STRING_EQUAL(err.msg, "'\\x1bc': No such file or directory");
    char line[64] = "";
    nlm_log_set_sink(collect_line, line);
    nlm_log(0, "two\nlines, %s", "\033c");
    nlm_log_set_sink(NULL, NULL);
    CU_ASSERT_STRING_EQUAL(line, "two\\nlines, \\x1bc");
}

static const check_case cases[] = {
    CHECK_CASE(what_a_terminal_acts_on_is_escaped),
    CHECK_CASE(escapes_that_do_not_fit_are_left_out_whole),
    CHECK_CASE(messages_escape_what_they_quote),
    CHECK_CASE(status_fail_says_why),
    CHECK_CASE(arena_grows_zeroed_and_refuses_wrapping_sizes),
    CHECK_CASE(checked_arithmetic_reports_overflow),
    CHECK_CASE(nearest_finds_typos_and_not_strangers),
    CHECK_CASE(utf8_is_never_cut),
};

CHECK_MAIN("base", cases)
