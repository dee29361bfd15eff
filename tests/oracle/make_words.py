#!/usr/bin/env python3
"""Asks the package tokenizers into which words its pre-tokenizers cut texts: words.inp, words.out of tests/data/tokenizer.

usage: make_words.py [OUT_DIRECTORY [COUNT]]

words.inp holds texts separated by SEPARATOR; words.out, for each rule, a line with its name in tokenizer.ggml.pre and a line
for each text: how many bytes each of its words has. Made with tokenizers 0.23, whose Unicode is 16 (17 for Digits).
"""
import random
import sys
from pathlib import Path

from tokenizers import Regex, pre_tokenizers

from make_tokenizer_fixtures import SEPARATOR

# ---- the pre-tokenizers as published -------------------------------------------------------------


def split(pattern, behavior="isolated"):
    return pre_tokenizers.Split(Regex(pattern), behavior)


def digits():
    return pre_tokenizers.Digits(individual_digits=True)


def gpt_2():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def chain(*parts):
    """The parts, and last the bytes, as characters."""
    return pre_tokenizers.Sequence([*parts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LINES = r"\s*[\r\n]+|"
SPACES = r"\s+(?!\S)|\s+"
LEAD = r"[^\r\n\p{L}\p{N}]?"


def cl100k(number, spaces=LINES + SPACES):
    return CONTRACTION + "|" + LEAD + r"\p{L}+|" + number + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|" + spaces


def o200k(number, ending, others=""):
    """`others`: what a class of letters leaves out."""
    capitals = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}" + others + "]"
    smalls = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}" + others + "]"
    newlines = r"[\r\n]*|" if others else r"[\r\n/]*|"
    return (LEAD + capitals + "*" + smalls + "+" + ending + "|" + LEAD + capitals + "+" + smalls + "*" + ending + "|" +
            number + r"| ?[^\s\p{L}\p{N}]+" + newlines + LINES + SPACES)


ENDING = CONTRACTION + "?"
THREE = r"\p{N}{1,3}"
BLOOM = " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"
KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
CASED = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-"
    "\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-"
    "\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf"
    "\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-"
    "\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc"
    "\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115"
    "\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e"
    "\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-"
    "\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-"
    "\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943")
DEEPSEEK_V3 = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
               r"| ?[\p{P}\p{S}]+[\r\n]*|" + LINES + SPACES)
JAIS_SPACES = LINES + "".join(r"\s{%d}(?!\S)|" % 2**i for i in range(9, 1, -1)) + r"\s{1,2}(?!\S)|\s{1}"
BAILING = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|" + SPACES)
EXAONE = (CONTRACTION + "|" + LEAD + r"(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|" +
          SPACES)
QWEN35 = (CONTRACTION + "|" + LEAD + r"[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + LINES + SPACES)
SEED_CODER = CONTRACTION + "|" + LEAD + r"\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|" + LINES + SPACES
YOUTU = ("[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+"
         "|[\u3105-\u312f]+|" + KANA)

RULES = {
    "gpt-2": gpt_2(),
    "llama-bpe": chain(split(cl100k(THREE))),
    "smollm": pre_tokenizers.Sequence([digits(), gpt_2()]),
    "qwen2": chain(split(cl100k(r"\p{N}"))),
    "qwen35": chain(split(QWEN35)),
    "seed-coder": chain(split(SEED_CODER)),
    "tekken": chain(split(o200k(r"\p{N}", ""))),
    "gpt-4o": chain(split(o200k(THREE, ENDING))),
    "bloom": chain(split(BLOOM)),
    "viking": chain(split(BLOOM), digits()),
    "deepseek-v3": chain(split(THREE), split(KANA), split(DEEPSEEK_V3)),
    "falcon": pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), gpt_2(),
                                       pre_tokenizers.Digits(individual_digits=False), split("[0-9][0-9][0-9]")]),
    "deepseek-llm": chain(split("[\r\n]"), split(r"\s?[" + CASED + "]+"),
                          split("\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"), split(r"\s+$"),
                          split(CJK), digits()),
    "deepseek-coder": chain(split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split(CJK), digits()),
    "minicpm5": chain(split(THREE), split(cl100k(r"\p{N}+"))),
    "laguna": chain(split(r"(?:\r?\n)+(?!\r?\n)", "merged_with_next"), split(cl100k(r"\p{N}"))),
    "jais-2": chain(split(cl100k(THREE, JAIS_SPACES))),
    "bailingmoe": chain(split(BAILING)),
    "exaone-moe": chain(split(EXAONE)),
    "tiny_aya": chain(split(r"\d{1,3}(?=(?:\d{3})*\b)"), split(o200k(THREE, ENDING))),
    "superbpe": chain(split(r"\p{N}+"), split(r"(?=(\d{3})+(?!\d))")),
    "kimi-k2": chain(split(r"[\p{Han}]+|" + o200k(THREE, ENDING, r"&&[^\p{Han}]"))),
    "youtu": chain(split(YOUTU), split(o200k(r"\p{N}", ENDING))),
    "chameleon": pre_tokenizers.Sequence([split("<sentinel:[0-9]+>"), split("(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"),
                                          split("([\t\n]|    |  )"), digits(), pre_tokenizers.Punctuation("isolated"),
                                          gpt_2()]),
}

# ---- the texts -----------------------------------------------------------------------------------

# The ends of what Unicode 15 and 16 added; regular expressions may be older.
YOUNG = """
897 CF3 ECE 1B4E 1B4F 1B7F 1C89 1C8A 2427 2429 2FFC 2FFF 31E4 31E5 31EF A7CB A7CC A7CD A7DA A7DB A7DC 105C0
105F3 10D40 10D49 10D4A 10D4D 10D4E 10D4F 10D50 10D65 10D69 10D6D 10D6E 10D6F 10D70 10D85 10D8E 10D8F 10EC2
10EC4 10EFC 10EFF 1123F 11240 11241 11380 11389 1138B 1138E 11390 113B5 113B7 113B8 113C0 113C2 113C5 113C7
113CA 113CC 113D0 113D1 113D2 113D3 113D4 113D5 113D7 113D8 113E1 113E2 116D0 116E3 11B00 11B09 11BC0 11BE0
11BE1 11BF0 11BF9 11F00 11F01 11F02 11F03 11F04 11F10 11F12 11F33 11F34 11F3A 11F3E 11F42 11F43 11F4F 11F50
11F59 11F5A 1342F 13440 13441 13446 13447 13455 13460 143FA 16100 1611D 1611E 1612F 16130 16139 16D40 16D42
16D43 16D6A 16D6B 16D6C 16D6D 16D6F 16D70 16D79 18CFF 1B132 1B155 1CC00 1CCEF 1CCF0 1CCF9 1CD00 1CEB3 1D2C0
1D2D3 1DF25 1DF2A 1E030 1E06D 1E08F 1E4D0 1E4EA 1E4EB 1E4EC 1E4EF 1E4F0 1E4F9 1E5D0 1E5ED 1E5EE 1E5EF 1E5F0
1E5F1 1E5FA 1E5FF 1F6DC 1F774 1F776 1F77B 1F77F 1F7D9 1F8B2 1F8BB 1F8C0 1F8C1 1FA75 1FA77 1FA87 1FA89 1FA8F
1FAAD 1FAAF 1FABB 1FABF 1FAC6 1FACE 1FACF 1FADA 1FADC 1FADF 1FAE8 1FAE9 1FAF7 1FAF8 1FBCB 1FBEF 2B739 2EBF0
2EE5D 31350 323AF
"""


def characters(*ranges):
    return [chr(code) for first, last in ranges for code in range(first, last + 1)]


KINDS = [
    characters((0x20, 0x7E)),
    characters((0, 0x1F), (0x7F, 0x9F)),
    list(" \t\n\r\v\f\x85\xa0\u1680\u180e\u2000\u2003\u200a\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"),
    ["\U0001f469\u200d\U0001f469\u200d\U0001f466", "\U0001f3f3\ufe0f\u200d\U0001f308", "\U0001f44d\U0001f3fd", "1\ufe0f\u20e3",
     "\U0001f1e9\U0001f1ea", "\u2603\ufe0f", "\U0001fae0", *characters((0x1F300, 0x1F340))],
    characters((0xE000, 0xE002), (0xF8FF, 0xF8FF), (0xF0000, 0xF0001), (0x10FFFD, 0x10FFFF), (0xFDD0, 0xFDD1), (0xFFFE, 0xFFFF)),
    characters((0x300, 0x36F), (0x483, 0x489), (0x93C, 0x94D), (0x20D0, 0x20F0), (0x302A, 0x302F), (0xFE00, 0xFE0F)),
    characters((0x30, 0x39), (0xB2, 0xB3), (0xBC, 0xBE), (0x660, 0x669), (0x966, 0x96F), (0x2160, 0x2162), (0x2460, 0x2461),
               (0x3007, 0x3007), (0x4E00, 0x4E00), (0xA620, 0xA621), (0xFF10, 0xFF11), (0x1D7CE, 0x1D7CF), (0x1F100, 0x1F10A)),
    ["don't", "I'LL", "x'RE", "'S", "'\u017f", "'\u212a", "HTTPServer", "fooBar", "\u01c5ungla", "\u02b0a", "\u00aa", "stra\u00dfe",
     "\u041f\u0440\u0438\u0432\u0435\u0442", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e44\u0e17\u0e22", "\u05e2\u05d1\u05e8",
     "\u65e5\u672c\u8a9e", "\u304b\u306a", "\uff71", "\ud55c\uad6d\uc5b4", "\U00020000", "\U00010400", "\uab70", "the", " the",
     "1984", "12345678", "3.14", "0x1F", "foo_bar", "a/b", "//", "///\n", ".\n\n", " \n", "\r\n", "\r\r\n\n", "a b c d", "\u24d0123",
     "\u00bd1234", "34\u00bd1234abc", "<sentinel:12>", "IMGIMGABZ", "IMGIMGABCDEZ"],
    [chr(int(word, 16)) for word in YOUNG.split()],
    list("\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c\uff08\uff09\uff01\u2018\u2019\u201c\u301c\u2010\u2014\u203f\u20ac\u00a3\u00a7"
         "\u00b6\u00b7\u00a1\u00bf\u00ab\u00b4`^~|$+<=>\u00b0\u00b1\u00d7\u00f7\u00ac\u166d\u061d\u2e4f"),
    characters((0x80, 0x2FF), (0x370, 0x3FF), (0x1780, 0x17FF), (0x2100, 0x214F), (0xFB00, 0xFB1F)),
]


def texts(seed, count):
    rng = random.Random(seed)
    yield "".join("a" + char + "1" for char in KINDS[8])
    yield " ".join(KINDS[8])
    for _ in range(count):
        kinds = rng.sample(KINDS, rng.randrange(1, 5))
        yield "".join(rng.choice(rng.choice(kinds)) * rng.choice([1, 1, 1, 1, 1, 2, 3, rng.randrange(4, 20)])
                      for _ in range(rng.randrange(1, 10)))


def main(argv):
    here = Path(__file__).resolve().parent
    directory = Path(argv[1]) if len(argv) > 1 else here.parent / "data" / "tokenizer"
    all_texts = list(texts(32, int(argv[2]) if len(argv) > 2 else 200))
    (directory / "words.inp").write_bytes(SEPARATOR.join(text.encode() for text in all_texts))
    with open(directory / "words.out", "w", encoding="ascii") as out:
        for name, rule in RULES.items():
            print(name, file=out)
            for text in all_texts:
                print(*(len(word) for word, _ in rule.pre_tokenize_str(text)), file=out)


if __name__ == "__main__":
    main(sys.argv)
