/* Cuts text into words by the regular expression of a model's family. */
#include "text/pretokenize.h"

#include "base/status.h"
#include "base/str.h"
#include "text/stand_in.h"
#include "text/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

struct nlm_pre_tokenizer {
    const nlm_pre_rule *rule;
    pcre2_code *codes[NLM_PRE_PATTERNS_MAX];
    size_t count;
    pcre2_match_context *limits;
};

/* What one call of split needs. */
typedef struct splitter {
    const nlm_pre_tokenizer *pre;
    pcre2_match_data *matches[NLM_PRE_PATTERNS_MAX];
    nlm_pre_word_fn word;
    void *user;
    const char *matched;  /* what the patterns see ... */
    const char *original; /* ... and what it stands for, byte by byte */
} splitter;

static nlm_status compile(const char *pattern, pcre2_code **out, nlm_error *err) {
    int code;
    PCRE2_SIZE offset;
    *out = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &offset, NULL);
    if (!*out) {
        PCRE2_UCHAR text[128];
        pcre2_get_error_message(code, text, sizeof text);
        return nlm_fail(err, code == PCRE2_ERROR_HEAP_FAILED ? NLM_OUT_OF_MEMORY : NLM_INTERNAL, "pre-tokenizer",
                        "PCRE2 refuses a pattern at byte %zu: %s", (size_t)offset, (const char *)text);
    }
    /* Where there is no JIT, PCRE2 interprets: the same matches, slower. */
    (void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE);
    return NLM_OK;
}

static nlm_status compile_all(nlm_pre_tokenizer *pre, const nlm_pre_rule *rule, nlm_error *err) {
    for (size_t i = 0; i < NLM_PRE_PATTERNS_MAX && rule->patterns[i]; i++) {
        NLM_TRY(compile(rule->patterns[i], &pre->codes[i], err));
        pre->count++;
    }
    pre->limits = pcre2_match_context_create(NULL);
    if (!pre->limits) return nlm_fail(err, NLM_OUT_OF_MEMORY, "pre-tokenizer", "no memory for a match context");
    /* The patterns are linear; a text of many megabytes is no reason to give up. */
    pcre2_set_match_limit(pre->limits, UINT32_MAX);
    pcre2_set_depth_limit(pre->limits, UINT32_MAX);
    pcre2_set_heap_limit(pre->limits, UINT32_MAX);
    return NLM_OK;
}

nlm_status nlm_pre_tokenizer_create(const nlm_pre_rule *rule, nlm_pre_tokenizer **out, nlm_error *err) {
    nlm_pre_tokenizer *pre = calloc(1, sizeof *pre);
    if (!pre) return nlm_fail(err, NLM_OUT_OF_MEMORY, "pre-tokenizer", "no memory for a pre-tokenizer");
    pre->rule = rule;
    const nlm_status status = compile_all(pre, rule, err);
    if (status != NLM_OK) {
        nlm_pre_tokenizer_destroy(pre);
        return status;
    }
    *out = pre;
    return NLM_OK;
}

void nlm_pre_tokenizer_destroy(nlm_pre_tokenizer *pre) {
    if (!pre) return;
    for (size_t i = 0; i < NLM_PRE_PATTERNS_MAX; i++) pcre2_code_free(pre->codes[i]);
    pcre2_match_context_free(pre->limits);
    free(pre);
}

/* The first match of one pattern at or after `at`: false when there is none. */
static nlm_status find(const splitter *s, size_t level, const char *text, size_t length, size_t at, bool *out_found,
                       nlm_error *err) {
    /* Checked by the caller, once: PCRE2 would check all of the text at each call. */
    const uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    const int result =
        pcre2_match(s->pre->codes[level], (PCRE2_SPTR)text, length, at, options, s->matches[level], s->pre->limits);
    *out_found = result > 0;
    if (result > 0 || result == PCRE2_ERROR_NOMATCH) return NLM_OK;
    PCRE2_UCHAR message[128];
    pcre2_get_error_message(result, message, sizeof message);
    return nlm_fail(err, result == PCRE2_ERROR_NOMEMORY ? NLM_OUT_OF_MEMORY : NLM_INTERNAL, "pre-tokenizer",
                    "PCRE2 cannot split the text: %s", (const char *)message);
}

/* Byte-level BPE writes these as 0 to 9, and as superscripts and fractions, which are numbers too. */
static bool is_number_byte(unsigned char byte) {
    return (byte >= '0' && byte <= '9') || byte == 0xB2 || byte == 0xB3 || byte == 0xB9 ||
           (byte >= 0xBC && byte <= 0xBE);
}

static bool is_ascii_digits(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
    }
    return true;
}

/* Parts a word into runs of bytes that stand for numbers and runs of others, and takes three ASCII digits out of the
 * former at a time: falcon's last two steps, which see the bytes as characters. */
static nlm_status split_number_bytes(const splitter *s, const char *text, size_t length, nlm_error *err) {
    for (size_t at = 0, end; at < length; at = end) {
        const bool is_number = is_number_byte((unsigned char)text[at]);
        for (end = at + 1; end < length && is_number_byte((unsigned char)text[end]) == is_number;) end++;
        size_t done = at;
        for (size_t i = at; is_number && i + 3 <= end; i++) {
            if (!is_ascii_digits(text + i, 3)) continue;
            if (i > done) NLM_TRY(s->word(s->user, text + done, i - done, err));
            NLM_TRY(s->word(s->user, text + i, 3, err));
            done = i + 3;
            i += 2;
        }
        if (done < end) NLM_TRY(s->word(s->user, text + done, end - done, err));
    }
    return NLM_OK;
}

static nlm_status hand_out(const splitter *s, const char *matched, size_t length, nlm_error *err) {
    const char *text = s->original + (matched - s->matched);
    return s->pre->rule->splits_number_bytes ? split_number_bytes(s, text, length, err)
                                             : s->word(s->user, text, length, err);
}

/* Splits a piece of valid UTF-8 by the patterns from `level` on; the last hands out words. */
static nlm_status split_piece(const splitter *s, size_t level, const char *text, size_t length, nlm_error *err) {
    if (length == 0) return NLM_OK;
    if (level == s->pre->count) return hand_out(s, text, length, err);
    size_t done = 0;
    while (done < length) {
        bool is_found;
        NLM_TRY(find(s, level, text, length, done, &is_found, err));
        if (!is_found) break;
        const PCRE2_SIZE *match = pcre2_get_ovector_pointer(s->matches[level]);
        const size_t from = match[0], to = match[1];
        NLM_TRY(split_piece(s, level + 1, text + done, from - done, err));
        NLM_TRY(split_piece(s, level + 1, text + from, to - from, err));
        done = to;
    }
    return split_piece(s, level + 1, text + done, length - done, err);
}

/* Valid UTF-8, whose young characters the patterns are not shown. */
static nlm_status split_valid(splitter *s, const char *text, size_t length, nlm_error *err) {
    s->matched = s->original = text;
    if (nlm_stand_in_find(text, length) == length) return split_piece(s, 0, text, length, err);
    nlm_str copy = {0};
    nlm_str_append(&copy, text, length);
    nlm_status status;
    if (copy.has_failed) {
        status = nlm_fail(err, NLM_OUT_OF_MEMORY, "pre-tokenizer", "no memory for %zu bytes of text", length);
    } else {
        nlm_stand_in_put(copy.data, length);
        s->matched = copy.data;
        status = split_piece(s, 0, copy.data, length, err);
    }
    nlm_str_release(&copy);
    return status;
}

static nlm_status split_text(splitter *s, const char *text, size_t length, nlm_error *err) {
    while (length > 0) {
        const size_t valid = nlm_utf8_valid_prefix(text, length);
        NLM_TRY(split_valid(s, text, valid, err));
        const size_t invalid = nlm_utf8_invalid_prefix(text + valid, length - valid);
        if (invalid) NLM_TRY(s->word(s->user, text + valid, invalid, err));
        text += valid + invalid;
        length -= valid + invalid;
    }
    return NLM_OK;
}

nlm_status nlm_pre_tokenizer_split(const nlm_pre_tokenizer *pre, const char *text, size_t length,
                                   nlm_pre_word_fn word, void *user, nlm_error *err) {
    splitter s = {.pre = pre, .word = word, .user = user};
    bool has_memory = true;
    for (size_t i = 0; i < pre->count; i++) {
        s.matches[i] = pcre2_match_data_create(1, NULL);
        has_memory = has_memory && s.matches[i];
    }
    const nlm_status status = has_memory ? split_text(&s, text, length, err)
                                         : nlm_fail(err, NLM_OUT_OF_MEMORY, "pre-tokenizer", "no memory to match");
    for (size_t i = 0; i < pre->count; i++) pcre2_match_data_free(s.matches[i]);
    return status;
}
