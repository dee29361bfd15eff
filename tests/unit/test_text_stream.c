/* Pieces of text with stop strings that begin and do not end. */
#include <string.h>

#include "check.h"
#include "session/text_stream.h"

/* Feeds pieces as tokens would come; collects what goes out. Returns the stop string's number, or -1. */
static int32_t feed(const char *const *stops, size_t n_stops, const char *const *pieces, size_t n_pieces, char *out) {
    nlm_text_stream stream = {0};
    int32_t stop = -1;
    out[0] = '\0';
    CU_ASSERT_EQUAL_FATAL(nlm_text_stream_begin(&stream, stops, n_stops, NULL), NLM_OK);
    for (size_t i = 0; i < n_pieces && stop < 0; i++) {
        CU_ASSERT_EQUAL(nlm_text_stream_add(&stream, pieces[i], strlen(pieces[i]), false, NULL), NLM_OK);
        const size_t ready = nlm_text_stream_ready(&stream, &stop);
        if (ready) strncat(out, stream.pending.data, ready);
        strcat(out, "|");
        nlm_text_stream_drop(&stream, ready);
    }
    if (stop < 0 && nlm_text_stream_rest(&stream)) {
        strncat(out, stream.pending.data, nlm_text_stream_rest(&stream));
    }
    nlm_text_stream_release(&stream);
    return stop;
}

typedef struct stream_case {
    const char *stops[3];
    const char *pieces[6];
    const char *expected; /* '|' after each piece */
    int32_t stop;
} stream_case;

static void check_cases(const stream_case *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        size_t n_stops = 0, n_pieces = 0;
        while (n_stops < 3 && list[i].stops[n_stops]) n_stops++;
        while (n_pieces < 6 && list[i].pieces[n_pieces]) n_pieces++;
        char out[256];
        CU_ASSERT_EQUAL(feed(list[i].stops, n_stops, list[i].pieces, n_pieces, out), list[i].stop);
        CU_ASSERT_STRING_EQUAL(out, list[i].expected);
    }
}

static void stream_finds_stops_across_pieces(void) {
    static const stream_case list[] = {
        {{NULL}, {"Hello", " world"}, "Hello| world|", -1},
        {{"END"}, {"abc", "E", "N", "D", "x"}, "abc||||", 0},
        {{"END"}, {"abcEN", "d"}, "abc|ENd|", -1},
        {{"END"}, {"abEEN", "DEND"}, "abE||", 0},
        {{"\n\n"}, {"a\n", "b\n", "\n"}, "a|\nb||", 0},
        {{"aab"}, {"aa", "ab"}, "|a|", 0}, /* what is held back may itself begin a later match */
        {{"abcabd"}, {"abcabc", "abd"}, "abc||", 0},
        {{"x", "lo w"}, {"hello", " world"}, "hel||", 1},
        {{"world", "wor"}, {"a wor"}, "a |", 1},
        {{"ll", "hel"}, {"hello"}, "|", 1}, /* the first in the text, not in the list */
        {{"END"}, {"abcEN"}, "abc|EN", -1}, /* nothing came of it */
    };
    check_cases(list, sizeof list / sizeof *list);
}

static void stream_gives_whole_characters(void) {
    static const stream_case list[] = {
        {{NULL}, {"\xc3", "\xa9t\xc3", "\xa9"}, "|\xc3\xa9t|\xc3\xa9|", -1},
        {{NULL}, {"a\xf0\x9f", "\x99", "\x82."}, "a||\xf0\x9f\x99\x82.|", -1},
        {{NULL}, {"\xff", "\xfe"}, "\xff|\xfe|", -1}, /* never UTF-8: as it is */
        {{NULL}, {"\xe2\x82", "x"}, "|\xe2\x82x|", -1},
        {{NULL}, {"ab\xe2\x82"}, "ab|", -1}, /* cut at the end: stays behind */
        {{"\xe2\x82\xac"}, {"5\xe2", "\x82", "\xac"}, "5|||", 0},
        {{"\xac"}, {"5\xe2\x82", "\xac"}, "5|\xe2\x82|", 0},
    };
    check_cases(list, sizeof list / sizeof *list);
}

/* What is shown of the tokens so far, which a stop string ends. Tokens that begin with '@' are hidden. */
static void show(nlm_text_stream *stream, const char *const *tokens, char *out, int32_t *stop) {
    out[0] = '\0';
    for (*stop = -1; *tokens && *stop < 0; tokens++) {
        const bool is_hidden = (*tokens)[0] == '@';
        CU_ASSERT_EQUAL(nlm_text_stream_add(stream, *tokens, strlen(*tokens), is_hidden, NULL), NLM_OK);
        size_t run;
        for (size_t ready = nlm_text_stream_ready(stream, stop); ready > 0; ready -= run) {
            bool is_shown;
            run = nlm_text_stream_run(stream, ready, &is_shown);
            if (is_shown) strncat(out, stream->pending.data, run);
            nlm_text_stream_drop(stream, run);
        }
    }
}

static void stream_matches_hidden_tokens_whole(void) {
    static const struct {
        const char *stops[3], *tokens[6], *shown;
        int32_t stop;
        size_t n_held;
    } list[] = {
        {{"@end@"}, {"a", "@user@", "b", "@end@", "c"}, "ab", 0, 0},
        {{"end", "@", "@en"}, {"a", "@end@", "b"}, "ab", -1, 0}, /* never a part of one */
        {{"end"}, {"@end@", "end"}, "", 0, 3},
        {{"\n@user@x"}, {"a\n", "@user@", "x"}, "a", 0, 2},
        {{"\n@user@x"}, {"a\n", "@user@", "y"}, "a\ny", -1, 0},
        {{"\n@user@x"}, {"a\n", "@user@"}, "a", -1, 1},
        {{"@@"}, {"@", "@", "@"}, "", 0, 0},
        {{"abc"}, {"xa", "@user@", "b", "@user@", "c"}, "x", 0, 3}, /* what is shown has it */
        {{"ab@c"}, {"a", "@user@", "b", "@user@"}, "", -1, 2},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        size_t n_stops = 0;
        while (n_stops < 3 && list[i].stops[n_stops]) n_stops++;
        nlm_text_stream stream = {0};
        char out[64];
        int32_t stop;
        CU_ASSERT_EQUAL(nlm_text_stream_begin(&stream, list[i].stops, n_stops, NULL), NLM_OK);
        show(&stream, list[i].tokens, out, &stop);
        CU_ASSERT_STRING_EQUAL(out, list[i].shown);
        CU_ASSERT_EQUAL(stop, list[i].stop);
        CU_ASSERT_EQUAL(nlm_text_stream_held(&stream), list[i].n_held);
        nlm_text_stream_release(&stream);
    }
}

static void stream_refuses_wrong_stops(void) {
    nlm_text_stream stream = {0};
    nlm_error err = NLM_ERROR_INIT;
    const char *empty[] = {"a", ""};
    CU_ASSERT_EQUAL(nlm_text_stream_begin(&stream, empty, 2, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_STRING_EQUAL(err.msg, "number 2 is empty");
    const char *many[NLM_STOPS_MAX + 1];
    for (size_t i = 0; i <= NLM_STOPS_MAX; i++) many[i] = "x";
    CU_ASSERT_EQUAL(nlm_text_stream_begin(&stream, many, NLM_STOPS_MAX + 1, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_EQUAL(nlm_text_stream_begin(&stream, many, NLM_STOPS_MAX, &err), NLM_OK);
}

static const check_case cases[] = {
    CHECK_CASE(stream_finds_stops_across_pieces),
    CHECK_CASE(stream_gives_whole_characters),
    CHECK_CASE(stream_matches_hidden_tokens_whole),
    CHECK_CASE(stream_refuses_wrong_stops),
};
CHECK_MAIN("text_stream", cases)
