/* The regular expressions of published tokenizer.json files, for those of pre_rules.c. */
#include "text/pre_json.h"

#include <string.h>

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LEAD        "[^\\r\\n\\p{L}\\p{N}]?"
#define LINES       "\\s*[\\r\\n]+|"
#define SPACES      "\\s+(?!\\S)|\\s+"

#define CL100K_WITH(digits, spaces) CONTRACTION "|" LEAD "\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" spaces
#define CL100K(digits)              CL100K_WITH(digits, LINES SPACES)

#define CAPITALS "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define SMALLS   "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
/* `less` is what a class of letters leaves out; `newlines` go with the punctuation before them. */
#define O200K_WITH(digits, ending, less, newlines)                                                                \
    LEAD "[" CAPITALS less "]*[" SMALLS less "]+" ending "|" LEAD "[" CAPITALS less "]+[" SMALLS less "]*" ending \
         "|" digits "| ?[^\\s\\p{L}\\p{N}]+" newlines "*|" LINES SPACES
#define O200K(digits, ending) O200K_WITH(digits, ending, "", "[\\r\\n/]")

#define ENDING CONTRACTION "?"
#define THREE  "\\p{N}{1,3}"
#define BLOOM  " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"
#define KANA   "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
#define CJK    "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"

#define CASED                                                                                            \
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-"  \
    "\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-"    \
    "\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf"  \
    "\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-" \
    "\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc"    \
    "\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115"   \
    "\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e"    \
    "\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-"   \
    "\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"  \
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-"    \
    "\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
#define DEEPSEEK_PUNCTUATION "!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002"
#define DEEPSEEK_V3                                                                                        \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?" \
    "[\\p{P}\\p{S}]+[\\r\\n]*|" LINES SPACES

#define JAIS_SPACES                                                                                       \
    LINES                                                                                                 \
    "\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}" \
    "(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}"
#define BAILING                                                     \
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| " \
    "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|" SPACES
#define EXAONE_MOE                                                                                      \
    CONTRACTION "|" LEAD                                                                                \
                "(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r" \
                "\\n]|" SPACES
#define QWEN35     CONTRACTION "|" LEAD "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" LINES SPACES
#define SEED_CODER CONTRACTION "|" LEAD "\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" LINES SPACES
#define YOUTU                                                                                            \
    "[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-" \
    "\u303f\ufe30-"                                                                                      \
    "\ufe4f]+|[\u3105-\u312f]+|" KANA

static const struct {
    const char *name; /* the first of its rule */
    const char *steps[NLM_PRE_STEPS_MAX + 1];
} rules[] = {
    {"gpt-2", {NLM_STEP_GPT2}},
    {"gpt-neox", {NLM_STEP_GPT2}},
    {"llama-bpe", {CL100K(THREE), NLM_STEP_BYTES}},
    {"smaug-bpe", {CL100K(THREE), NLM_STEP_BYTES}},
    {"smollm", {NLM_STEP_DIGITS, NLM_STEP_GPT2}},
    {"command-r", {NLM_STEP_DIGITS, NLM_STEP_GPT2}},
    {"qwen2", {CL100K("\\p{N}"), NLM_STEP_BYTES}},
    {"deepseek-r1-qwen", {CL100K("\\p{N}"), NLM_STEP_BYTES}},
    {"qwen35", {QWEN35, NLM_STEP_BYTES}},
    {"seed-coder", {SEED_CODER, NLM_STEP_BYTES}},
    {"tekken", {O200K("\\p{N}", ""), NLM_STEP_BYTES}},
    {"gpt-4o", {O200K(THREE, ENDING), NLM_STEP_BYTES}},
    {"bloom", {BLOOM, NLM_STEP_BYTES}},
    {"viking", {BLOOM, NLM_STEP_DIGITS, NLM_STEP_BYTES}},
    {"deepseek-v3", {THREE, KANA, DEEPSEEK_V3, NLM_STEP_BYTES}},
    {"falcon", {NLM_STEP_MARKS, NLM_STEP_GPT2, NLM_STEP_NUMBERS, "[0-9][0-9][0-9]"}},
    {"deepseek-llm",
     {"[\r\n]", "\\s?[" CASED "]+", "\\s?[" DEEPSEEK_PUNCTUATION "]+", "\\s+$", CJK, NLM_STEP_DIGITS,
      NLM_STEP_BYTES}},
    {"deepseek-coder", {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK, NLM_STEP_DIGITS, NLM_STEP_BYTES}},
    {"minicpm5", {THREE, CL100K("\\p{N}+"), NLM_STEP_BYTES}},
    {"laguna", {NLM_STEP_NEXT "(?:\\r?\\n)+(?!\\r?\\n)", CL100K("\\p{N}"), NLM_STEP_BYTES}},
    {"jais-2", {CL100K_WITH(THREE, JAIS_SPACES), NLM_STEP_BYTES}},
    {"bailingmoe", {BAILING, NLM_STEP_BYTES}},
    {"exaone-moe", {EXAONE_MOE, NLM_STEP_BYTES}},
    {"tiny_aya", {"\\d{1,3}(?=(?:\\d{3})*\\b)", O200K(THREE, ENDING), NLM_STEP_BYTES}},
    {"superbpe", {"\\p{N}+", "(?=(\\d{3})+(?!\\d))", NLM_STEP_BYTES}},
    {"kimi-k2", {"[\\p{Han}]+|" O200K_WITH(THREE, ENDING, "&&[^\\p{Han}]", "[\\r\\n]"), NLM_STEP_BYTES}},
    {"youtu", {YOUTU, O200K("\\p{N}", ENDING), NLM_STEP_BYTES}},
    {"chameleon",
     {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\t\n]|    |  )", NLM_STEP_DIGITS,
      NLM_STEP_PUNCTUATION, NLM_STEP_GPT2}},
};
#define RULE_COUNT (sizeof rules / sizeof *rules)

static bool has_steps(const char *const *expected, const char *const *steps, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!expected[i] || strcmp(expected[i], steps[i]) != 0) return false;
    }
    return !expected[count];
}

const char *nlm_pre_json_find(const char *const *steps, size_t count, bool has_nfc, bool ignores_merges) {
    for (size_t i = 0; i < RULE_COUNT && count <= NLM_PRE_STEPS_MAX; i++) {
        const nlm_pre_rule *rule = nlm_pre_rule_find(rules[i].name, strlen(rules[i].name));
        if (!rule || rule->has_nfc != has_nfc || rule->ignores_merges != ignores_merges) continue;
        if (has_steps(rules[i].steps, steps, count)) return rules[i].name;
    }
    return NULL;
}

const char *const *nlm_pre_json_steps(const char *name, size_t length) {
    const nlm_pre_rule *rule = nlm_pre_rule_find(name, length);
    for (size_t i = 0; rule && i < RULE_COUNT; i++) {
        if (nlm_pre_rule_find(rules[i].name, strlen(rules[i].name)) == rule) return rules[i].steps;
    }
    return NULL;
}
