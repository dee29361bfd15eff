/* Cuts text into words by the regular expression of a model's family. */
#include "text/pretokenize.h"

#include "base/status.h"
#include "text/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* \s as the trainers' regular expressions have it: Unicode's White_Space. (PCRE2's \s also holds
 * U+180E.) For use inside brackets. */
#define WS     "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
/* \s+(?!\S)|\s+ : a run of spaces, less the one that belongs to the word after it. */
#define SPACES "[" WS "]+(?![^" WS "])|[" WS "]+"

/* Radford et al. 2019 (GPT-2). */
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|" SPACES

/* OpenAI's cl100k, with `digits` for the numbers. */
#define CL100K(digits)                                                                                             \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*|[" WS \
    "]*[\\r\\n]+|" SPACES

/* OpenAI's o200k: a word is what has capitals in front alone, with `ending` after it. */
#define CAPITALS "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define SMALLS   "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
#define LEAD     "[^\\r\\n\\p{L}\\p{N}]?"
#define O200K(digits, ending)                                                                                       \
    LEAD "[" CAPITALS "]*[" SMALLS "]+" ending "|" LEAD "[" CAPITALS "]+[" SMALLS "]*" ending "|" digits "| ?[^" WS \
         "\\p{L}\\p{N}]+[\\r\\n/]*|[" WS "]*[\\r\\n]+|" SPACES

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
/* cl100k whose words hold marks, and whose punctuation takes no newlines along. */
#define QWEN35 \
    CONTRACTION "|" LEAD "[\\p{L}\\p{M}]+|\\p{N}| ?[^" WS "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|[" WS "]*[\\r\\n]+|" SPACES
#define SEED_CODER CONTRACTION "|" LEAD "\\p{L}+|\\p{N}| ?[^" WS "\\p{L}\\p{N}\\r\\n]+|[" WS "]*[\\r\\n]+|" SPACES

/* What is neither a space nor one of ( ) | . , ! ? and their like of other scripts. */
#define BLOOM " ?[^(" WS "|.,!?\\x{2026}\\x{3002}\\x{FF0C}\\x{3001}\\x{964}\\x{6D4}\\x{60C})]+"

#define KANA "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+"
#define DEEPSEEK_V3                                                                                         \
    "[!-/:-@\\[-`{-~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|[" WS \
    "]*[\\r\\n]+|" SPACES

#define NEWLINE "[\\r\\n]"
#define DIGIT   "\\p{N}"
#define CJK     "[\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"

/* The letters of deepseek-llm: those that have case, of the Unicode of its day. */
#define CASED_LETTERS                                                                                 \
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}"   \
    "\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}"             \
    "\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}"   \
    "\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}"   \
    "\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}" \
    "\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}"  \
    "\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}"  \
    "\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}" \
    "\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}"   \
    "\\x{2126}\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}"            \
    "\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}"            \
    "\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}"  \
    "\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}" \
    "\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}"                \
    "\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}"            \
    "\\x{1E900}-\\x{1E943}"

#define DEEPSEEK_PUNCTUATION "!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}"
/* \s+$ in a piece without newlines; as it stands it would try every space of a long run. */
#define TRAILING_SPACES      "(?<![" WS "])[" WS "]++\\z"

/* Sources: the tokenizer.json of each family's first model (gpt2, Llama-3, SmolLM, gpt-neox-20b, OLMo,
 * mpt-7b, starcoder, Refact, falcon-7b, deepseek-llm-7b, deepseek-coder-6.7b, c4ai-command-r, Qwen2,
 * Mistral-Nemo, GPT-4o, Seed-Coder, Viking, bloom, Qwen3.5, DeepSeek-V3); names that share a rule: llama.cpp. */
static const nlm_pre_rule rules[] = {
    {.names = "gpt-2 default phi-2 mellum a.x-4.0 trillion gigachat jais exaone4 granite-docling",
     .patterns = {GPT2}},
    {.names = "gpt-neox olmo mpt", .patterns = {GPT2}, .has_nfc = true},
    {.names = "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     .patterns = {CL100K("\\p{N}{1,3}")},
     .ignores_merges = true,
     .adds_bos = true},
    {.names = "smaug-bpe dbrx glm4 chatglm-bpe", .patterns = {CL100K("\\p{N}{1,3}")}}, /* SmolLM3's is the first */
    {.names = "smollm starcoder refact minerva-7b codeshell exaone", .patterns = {DIGIT, GPT2}},
    {.names = "command-r", .patterns = {DIGIT, GPT2}, .has_nfc = true},
    {.names = "qwen2", .patterns = {CL100K("\\p{N}")}, .has_nfc = true},
    {.names = "deepseek-r1-qwen megrez stablelm2 hunyuan solar-open grok-2 kormo", .patterns = {CL100K("\\p{N}")}},
    {.names = "qwen35", .patterns = {QWEN35}},
    {.names = "seed-coder", .patterns = {SEED_CODER}},
    {.names = "tekken", .patterns = {O200K("\\p{N}", "")}, .ignores_merges = true, .adds_bos = true},
    {.names = "gpt-4o llama4 kanana2 minimax-m2", .patterns = {O200K("\\p{N}{1,3}", CONTRACTION "?")}},
    {.names = "bloom poro-chat gpt3-finnish", .patterns = {BLOOM}},
    {.names = "viking", .patterns = {BLOOM, DIGIT}},
    {.names = "deepseek-v3 hunyuan-dense joyai-llm", .patterns = {"\\p{N}{1,3}", KANA, DEEPSEEK_V3}},
    {.names = "falcon", .patterns = {"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {.names = "deepseek-llm",
     .patterns = {NEWLINE, "[" WS "]?[" CASED_LETTERS "]+", "[" WS "]?[" DEEPSEEK_PUNCTUATION "]+", TRAILING_SPACES,
                  CJK, DIGIT}},
    {.names = "deepseek-coder", .patterns = {NEWLINE, "[" WS "]?\\p{L}+", "[" WS "]?\\p{P}+", CJK, DIGIT}},
};
#define RULE_COUNT (sizeof rules / sizeof *rules)

struct nlm_pre_tokenizer {
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
} splitter;

const nlm_pre_rule *nlm_pre_rule_find(const char *name, size_t length) {
    for (size_t i = 0; i < RULE_COUNT; i++) {
        for (const char *at = rules[i].names; *at; at += *at == ' ') {
            const size_t span = strcspn(at, " ");
            if (span == length && memcmp(at, name, length) == 0) return &rules[i];
            at += span;
        }
    }
    return NULL;
}

const char *nlm_pre_rule_names(char *out, size_t size) {
    size_t used = 0;
    for (size_t i = 0; i < RULE_COUNT && used < size; i++) {
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? " " : "", rules[i].names);
    }
    return out;
}

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

/* Splits a piece of valid UTF-8 by the patterns from `level` on; the last hands out words. */
static nlm_status split_piece(const splitter *s, size_t level, const char *text, size_t length, nlm_error *err) {
    if (length == 0) return NLM_OK;
    if (level == s->pre->count) return s->word(s->user, text, length, err);
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

static nlm_status split_text(const splitter *s, const char *text, size_t length, nlm_error *err) {
    while (length > 0) {
        const size_t valid = nlm_utf8_valid_prefix(text, length);
        NLM_TRY(split_piece(s, 0, text, valid, err));
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
