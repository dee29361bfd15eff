/* The ways to cut text into words, by name. */
#include "text/pretokenize.h"

#include <stdio.h>
#include <string.h>

/* \s as the trainers' regular expressions have it: Unicode's White_Space. (PCRE2's \s also holds
 * U+180E.) For use inside brackets. */
#define WS     "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
/* \s+(?!\S)|\s+ : a run of spaces, less the one that belongs to the word after it. */
#define SPACES "[" WS "]+(?![^" WS "])|[" WS "]+"

/* Radford et al. 2019 (GPT-2). */
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|" SPACES

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LEAD        "[^\\r\\n\\p{L}\\p{N}]?"

/* OpenAI's cl100k, with `digits` for the numbers and `spaces` for runs of spaces. */
#define CL100K_WITH(digits, spaces) \
    CONTRACTION "|" LEAD "\\p{L}+|" digits "| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*|" spaces
#define CL100K(digits) CL100K_WITH(digits, "[" WS "]*[\\r\\n]+|" SPACES)
/* Runs of spaces, less the last, in powers of two. After the first of them no line end is left to look for. */
#define JAIS_SPACES                                                                                                \
    "(?:(?<![" WS "])|(?<=[\\r\\n]))[" WS "]*[\\r\\n]+|[" WS "]{512}(?![^" WS "])|[" WS "]{256}(?![^" WS "])|[" WS \
    "]{128}(?![^" WS "])|[" WS "]{64}(?![^" WS "])|[" WS "]{32}(?![^" WS "])|[" WS "]{16}(?![^" WS "])|[" WS       \
    "]{8}(?![^" WS "])|[" WS "]{4}(?![^" WS "])|[" WS "]{1,2}(?![^" WS "])|[" WS "]"
/* Ling, LLaDA: a run of spaces ends at its last newline, which it takes alone. */
#define BAILING \
    "'(?i:[sdmt]|ll|ve|re)|" LEAD "\\p{L}+|\\p{N}| ?[^" WS "\\p{L}\\p{N}]++[\\r\\n]*|[" WS "]*[\\r\\n]|" SPACES
/* K-EXAONE: words go on over single spaces. */
#define EXAONE_MOE                                                                                                  \
    CONTRACTION "|" LEAD "(?:\\p{L}\\p{M}*+(?: \\p{L}\\p{M}*+)*+)++|\\p{N}| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n/]?|[" WS \
                "]*[\\r\\n]|" SPACES

/* OpenAI's o200k: a word is what has capitals in front alone, with `ending` after it. */
#define CAPITALS "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define SMALLS   "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
#define O200K(digits, ending)                                                                                       \
    LEAD "[" CAPITALS "]*[" SMALLS "]+" ending "|" LEAD "[" CAPITALS "]+[" SMALLS "]*" ending "|" digits "| ?[^" WS \
         "\\p{L}\\p{N}]+[\\r\\n/]*|[" WS "]*[\\r\\n]+|" SPACES

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

/* What the package tokenizers takes for punctuation: ASCII's, and Unicode's as it was in version 7. */
#define PUNCTUATION                                                                                            \
    "(?:(?![\\x{61D}\\x{9FD}\\x{A76}\\x{C77}\\x{C84}\\x{1B7D}-\\x{1B7F}\\x{2E43}-\\x{2E5D}\\x{10EAD}"          \
    "\\x{10F55}-\\x{10F89}\\x{1144B}-\\x{1145D}\\x{11660}-\\x{1166C}\\x{116B9}\\x{1183B}\\x{11944}-\\x{11946}" \
    "\\x{119E2}\\x{11A3F}-\\x{11A46}\\x{11A9A}-\\x{11AA2}\\x{11C41}-\\x{11C45}\\x{11C70}\\x{11C71}\\x{11EF7}"  \
    "\\x{11EF8}\\x{11FFF}\\x{12FF1}\\x{12FF2}\\x{16E97}-\\x{16E9A}\\x{16FE2}\\x{1E95E}\\x{1E95F}])"            \
    "[\\p{P}$+<=>^~|`\\x{166D}\\x{111C9}])"

/* Digits in threes that end with the number. A number begins with a group that all of it follows, and the groups
 * after it go on where the last one ended: a look at the rest of a long number at every group would be slow. */
#define THREES "\\G(?<=\\p{Nd})\\p{Nd}{3}"
/* \d{1,3}(?=(?:\d{3})*\b), \b being the end of the number and of the word. */
#define WORD_CHARACTER                                                                                               \
    "[\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}" \
    "\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}]"
#define AYA_DIGITS "(?<!\\p{Nd})\\p{Nd}{1,3}(?=(?:\\p{Nd}{3})*+(?!" WORD_CHARACTER "))|" THREES
/* Cuts at (?=(\d{3})+(?!\d)) in a run of numbers. A piece goes from one cut over what has none, that is other numbers
 * than digits and fewer than three digits, to the next cut, which may lie one or two digits further. */
#define UNCUT                                                    \
    "(?:[\\p{Nl}\\p{No}]|(?<!\\p{Nd})\\p{Nd}{1,2}(?!\\p{Nd}))*+" \
    "(?:(?<!\\p{Nd})\\p{Nd}{1,2}(?=(?:\\p{Nd}{3})++(?!\\p{Nd})))?+"
#define SUPERBPE_DIGITS "\\G(?!(?<=\\p{Nd})\\p{Nd})" UNCUT "|\\p{Nd}{3}(?:(?!\\p{Nd})" UNCUT ")?+"

/* Moonshot's: o200k whose words hold no Chinese characters, which are words of their own. */
#define KIMI_CAPITALS "[^\\p{Ll}\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}\\p{sc:Han}]"
#define KIMI_SMALLS   "[^\\p{Lu}\\p{Lt}\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}\\p{sc:Han}]"
#define KIMI                                                                                                   \
    "\\p{sc:Han}+|" LEAD KIMI_CAPITALS "*" KIMI_SMALLS "+" CONTRACTION "?|" LEAD KIMI_CAPITALS "+" KIMI_SMALLS \
    "*" CONTRACTION "?|\\p{N}{1,3}| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*|[" WS "]*[\\r\\n]+|" SPACES

/* A run of line ends goes with the text after it. */
#define LAGUNA_LINE "(?:\\r?\\n)++(?:[^\\r\\n]|\\r(?!\\n))*+"

#define YOUTU_SCRIPTS                                                                                            \
    "[\\x{AC00}-\\x{D7A3}\\x{3131}-\\x{318E}]+|[\\x{FF01}\\x{2026}\\x{201C}\\x{201D}\\x{2018}\\x{2019}\\x{2014}" \
    "\\x{FF1A}\\x{FF1B}\\x{FF0C}\\x{3001}-\\x{303F}\\x{FE30}-\\x{FE4F}]+|[\\x{3105}-\\x{312F}]+|" KANA

/* Sources: the tokenizer.json of each family's first model (gpt2, Llama-3, SmolLM, gpt-neox-20b, OLMo,
 * mpt-7b, starcoder, Refact, falcon-7b, deepseek-llm-7b, deepseek-coder-6.7b, c4ai-command-r, Qwen2,
 * Mistral-Nemo, GPT-4o, Seed-Coder, Viking, bloom, Qwen3.5, DeepSeek-V3, MiniCPM5, Laguna, LLaDA, tiny-aya), Kimi's
 * tokenization_kimi.py; of Jais-2, K-EXAONE, Chameleon, Youtu and SuperBPE, and of names that share a rule:
 * llama.cpp. Each is held to the package tokenizers by tests/oracle/make_words.py. */
static const nlm_pre_rule rules[] = {
    {.names = "gpt-2 default phi-2 mellum a.x-4.0 trillion gigachat jais exaone4 granite-docling",
     .patterns = {GPT2}},
    {.names = "gpt-neox olmo mpt", .patterns = {GPT2}, .has_nfc = true},
    {.names = "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     .patterns = {CL100K("\\p{N}{1,3}")},
     .ignores_merges = true,
     .adds_bos = true},
    {.names = "smaug-bpe dbrx glm4 chatglm-bpe", .patterns = {CL100K("\\p{N}{1,3}")}}, /* SmolLM3's is the first */
    {.names = "smollm starcoder refact minerva-7b codeshell exaone mellum2", .patterns = {DIGIT, GPT2}},
    {.names = "command-r", .patterns = {DIGIT, GPT2}, .has_nfc = true},
    {.names = "qwen2 f2llmv2", .patterns = {CL100K("\\p{N}")}, .has_nfc = true},
    {.names = "deepseek-r1-qwen megrez stablelm2 hunyuan solar-open grok-2 kormo", .patterns = {CL100K("\\p{N}")}},
    {.names = "qwen35", .patterns = {QWEN35}, .has_nfc = true},
    {.names = "seed-coder", .patterns = {SEED_CODER}},
    {.names = "tekken", .patterns = {O200K("\\p{N}", "")}, .ignores_merges = true, .adds_bos = true},
    {.names = "gpt-4o llama4 kanana2 minimax-m2 talkie", .patterns = {O200K("\\p{N}{1,3}", CONTRACTION "?")}},
    {.names = "bloom poro-chat gpt3-finnish", .patterns = {BLOOM}},
    {.names = "viking", .patterns = {BLOOM, DIGIT}},
    {.names = "deepseek-v3 hunyuan-dense joyai-llm", .patterns = {"\\p{N}{1,3}", KANA, DEEPSEEK_V3}},
    {.names = "falcon", .patterns = {PUNCTUATION "++", GPT2}, .splits_number_bytes = true},
    {.names = "deepseek-llm",
     .patterns = {NEWLINE, "[" WS "]?[" CASED_LETTERS "]+", "[" WS "]?[" DEEPSEEK_PUNCTUATION "]+", TRAILING_SPACES,
                  CJK, DIGIT}},
    {.names = "deepseek-coder", .patterns = {NEWLINE, "[" WS "]?\\p{L}+", "[" WS "]?\\p{P}+", CJK, DIGIT}},
    {.names = "minicpm5", .patterns = {"\\p{N}{1,3}", CL100K("\\p{N}+")}, .ignores_merges = true},
    {.names = "laguna", .patterns = {LAGUNA_LINE, CL100K("\\p{N}")}},
    {.names = "jais-2", .patterns = {CL100K_WITH("\\p{N}{1,3}", JAIS_SPACES)}},
    {.names = "bailingmoe bailingmoe2 llada-moe", .patterns = {BAILING}},
    {.names = "exaone-moe", .patterns = {EXAONE_MOE}},
    {.names = "tiny_aya cohere2moe", .patterns = {AYA_DIGITS, O200K("\\p{N}{1,3}", CONTRACTION "?")}},
    {.names = "superbpe", .patterns = {"\\p{N}+", SUPERBPE_DIGITS}},
    {.names = "kimi-k2", .patterns = {KIMI}, .ignores_merges = true},
    {.names = "youtu", .patterns = {YOUTU_SCRIPTS, O200K("\\p{N}", CONTRACTION "?")}, .ignores_merges = true},
    {.names = "chameleon",
     .patterns = {"<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", "[\\t\\n]|    |  ", DIGIT, PUNCTUATION, GPT2},
     .adds_bos = true},
};
#define RULE_COUNT (sizeof rules / sizeof *rules)

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
