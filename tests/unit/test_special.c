/* Special tokens in text: the leftmost, the longest of those, in time linear in the text. */
#include "text/special.h"
#include "unit/check.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define BOTH         (NLM_SPECIAL_USER_DEFINED | NLM_SPECIAL_CONTROL)

/* Tokens of a vocabulary that has nothing else. */
typedef struct tokens {
    nlm_bytes spelled[16];
    uint8_t types[16];
    size_t count;
} tokens;

static void add_token(tokens *t, const char *text, size_t length, uint8_t type) {
    t->spelled[t->count] = (nlm_bytes){text, (uint32_t)length};
    t->types[t->count++] = type;
}

static nlm_specials create(tokens *t) {
    const nlm_vocab vocab = {.count = t->count, .spelled = t->spelled, .types = t->types};
    nlm_specials specials;
    CU_ASSERT_EQUAL_FATAL(nlm_specials_create(&vocab, &specials, NULL), NLM_OK);
    return specials;
}

static bool touches(const nlm_text_spans *spans, size_t from, size_t to) {
    for (size_t i = 0; spans && i < spans->count; i++) {
        const nlm_text_span span = spans->data[i];
        if (span.from < span.to && span.from < to && from < span.to) return true;
    }
    return false;
}

/* By trying every token at every place. */
static bool next_by_trial(const tokens *t, const nlm_special_scan *scan, size_t from, nlm_special_match *out) {
    for (size_t at = from; at < scan->length; at++) {
        out->to = at;
        for (size_t i = 0; i < t->count; i++) {
            const nlm_bytes text = t->spelled[i];
            const bool is_control = t->types[i] == NLM_TOKEN_CONTROL || t->types[i] == NLM_TOKEN_UNKNOWN;
            if (!is_control && t->types[i] != NLM_TOKEN_USER_DEFINED) continue;
            if (!(scan->kinds & (is_control ? NLM_SPECIAL_CONTROL : NLM_SPECIAL_USER_DEFINED))) continue;
            if (text.length <= out->to - at || text.length > scan->length - at) continue;
            if (memcmp(scan->text + at, text.data, text.length) != 0) continue;
            if (is_control && touches(scan->user_spans, at, at + text.length)) continue;
            *out = (nlm_special_match){at, at + text.length, (int32_t)i};
        }
        if (out->to > at) return true;
    }
    return false;
}

/* Whether a scan finds what trial does, one token after another. */
static bool finds_the_same(const tokens *t, nlm_special_scan *scan) {
    nlm_special_match found = {0}, expected = {0};
    bool is_same = nlm_specials_begin(scan, NULL) == NLM_OK;
    for (size_t from = 0; is_same; from = found.to) {
        const bool is_found = nlm_specials_next(scan, from, &found);
        is_same = is_found == next_by_trial(t, scan, from, &expected);
        if (!is_found) break;
        is_same = is_same && found.from == expected.from && found.to == expected.to && found.id == expected.id;
    }
    nlm_specials_end(scan);
    return is_same;
}

static uint32_t draw(uint64_t *seed, uint32_t below) {
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33) % below;
}

static void fill(uint64_t *seed, char *text, size_t length, uint32_t letters) {
    for (size_t i = 0; i < length; i++) text[i] = (char)('a' + draw(seed, letters));
}

/* Ascending, not overlapping, some of them empty. */
static nlm_text_spans draw_spans(uint64_t *seed, nlm_text_span *data, size_t capacity, size_t length) {
    size_t at = 0, count = 0;
    while (count < capacity) {
        const size_t from = at + draw(seed, 1 + (uint32_t)length / 4), to = from + draw(seed, 9);
        if (to > length) break;
        data[count++] = (nlm_text_span){from, to};
        at = to;
    }
    return (nlm_text_spans){data, count, capacity};
}

static void random_tokens_are_found_as_by_trial(void) {
    static char token_text[16][8], text[20000];
    static const uint8_t types[] = {NLM_TOKEN_CONTROL, NLM_TOKEN_UNKNOWN, NLM_TOKEN_USER_DEFINED, NLM_TOKEN_NORMAL};
    for (uint64_t number = 0; number < 400; number++) {
        uint64_t seed = number;
        tokens t = {0};
        const uint32_t letters = 1 + draw(&seed, 3);
        for (size_t n = draw(&seed, 17); t.count < n;) {
            const size_t length = draw(&seed, sizeof token_text[0] + 1);
            fill(&seed, token_text[t.count], length, letters);
            add_token(&t, token_text[t.count], length, types[draw(&seed, COUNT(types))]);
        }
        /* Every tenth text is of several blocks. */
        const size_t length = draw(&seed, number % 10 == 0 ? sizeof text : 100);
        fill(&seed, text, length, letters + draw(&seed, 2));
        nlm_text_span data[8];
        const nlm_text_spans spans = draw_spans(&seed, data, COUNT(data), length);
        nlm_specials specials = create(&t);
        nlm_special_scan scan = {.specials = &specials,
                                 .text = text,
                                 .length = length,
                                 .kinds = draw(&seed, BOTH + 1),
                                 .user_spans = draw(&seed, 2) ? &spans : NULL};
        const bool is_same = finds_the_same(&t, &scan);
        if (!is_same) printf(" [seed %llu] ", (unsigned long long)number);
        CU_ASSERT_TRUE(is_same);
        nlm_specials_release(&specials);
    }
}

/* Each of these would take hours if the places were tried one by one: 8 MB against 2 MB. */
static void long_tokens_take_no_longer(void) {
    const size_t token_length = 2000000, length = 8000000;
    char *almost = malloc(token_length), *text = malloc(length);
    CU_ASSERT_FATAL(almost && text);
    memset(text, '<', length);
    for (int end = 0; end < 2; end++) { /* what does not fit is the token's first byte, or its last */
        for (int has_short = 0; has_short < 2; has_short++) {
            memset(almost, '<', token_length);
            almost[end ? token_length - 1 : 0] = '>';
            tokens t = {0};
            add_token(&t, almost, token_length, NLM_TOKEN_USER_DEFINED);
            if (has_short) add_token(&t, text, 1, NLM_TOKEN_USER_DEFINED);
            nlm_specials specials = create(&t);
            nlm_special_scan scan = {.specials = &specials, .text = text, .length = length, .kinds = BOTH};
            CU_ASSERT_EQUAL_FATAL(nlm_specials_begin(&scan, NULL), NLM_OK);
            nlm_special_match match;
            size_t found = 0;
            for (size_t from = 0; nlm_specials_next(&scan, from, &match); from = match.to) found++;
            CU_ASSERT_EQUAL(found, has_short ? length : 0);
            nlm_specials_end(&scan);
            nlm_specials_release(&specials);
        }
    }
    free(almost);
    free(text);
}

/* Spans keep control tokens out, and looking at spans costs no time of its own. */
static void many_spans_and_nested_tokens_take_no_longer(void) {
    const size_t length = 2000000;
    char *text = malloc(length);
    nlm_text_span *data = malloc(length / 4 * sizeof *data);
    CU_ASSERT_FATAL(text && data);
    memset(text, '<', length);
    tokens t = {0};
    for (size_t i = 0; i < 16; i++) add_token(&t, text, 100000 * (i + 1), NLM_TOKEN_CONTROL);
    for (size_t i = 0; i < length / 4; i++) data[i] = (nlm_text_span){4 * i, 4 * i + 1};
    const nlm_text_spans spans = {data, length / 4, length / 4};
    nlm_specials specials = create(&t);
    nlm_special_scan scan = {
        .specials = &specials, .text = text, .length = length, .kinds = BOTH, .user_spans = &spans};
    CU_ASSERT_EQUAL_FATAL(nlm_specials_begin(&scan, NULL), NLM_OK);
    nlm_special_match match;
    CU_ASSERT_FALSE(nlm_specials_next(&scan, 0, &match));
    nlm_specials_end(&scan);
    nlm_specials_release(&specials);
    free(data);
    free(text);
}

static const check_case cases[] = {
    CHECK_CASE(random_tokens_are_found_as_by_trial),
    CHECK_CASE(long_tokens_take_no_longer),
    CHECK_CASE(many_spans_and_nested_tokens_take_no_longer),
};

CHECK_MAIN("special", cases)
