#!/usr/bin/env python3
"""Writes the small vocabularies of tests/data/tokenizer, each with texts and the ids expected for them.

usage: make_tokenizer_fixtures.py [OUT_DIRECTORY]

NAME.gguf is a vocabulary without weights, NAME.inp texts separated by SEPARATOR, NAME.out their ids, a
line a text, without BOS; form-c.inp holds texts and form-c.out their normal forms. The encoders below are written to be read, not to be fast: they look at every
pair again after every merge, and they split words with loops over Unicode categories instead of regular
expressions. They share nothing with nlm's.
"""

import os
import random
import sys
import unicodedata
from collections import Counter

from gguf_file import ARRAY, BOOL, F32, I32, STRING, U32, write

SEPARATOR = b"\n__ggml_vocab_test__\n"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
MARK = "\u2581"

CORPUS = """\
The tokenizer reads a text and writes numbers. It doesn't know what they mean, and that's fine: the model
will've learned it. We've seen that the longest words are the rarest, and the shortest the most common.
for (int i = 0; i < 100; i++) {
    total += values[i] * weights[i];
}
In 1984 there were 365 days; in 2024 there were 366. Der Schlüssel liegt über der Tür, größer als früher.
L'été dernier, à Besançon, où le café coûte 3,50 €. Привет, мир! Как дела? Хорошо, спасибо, мир.
你好，世界。世界你好。こんにちは世界。 🙂🙂 ok 🚀 the the the then there these those them they
"""

TEXTS = [
    "", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n ", "a", " a", "a ", "  a  b  ", "the then there",
    "The tokenizer reads a text.", "We've, WE'VE, don't, 'tis, 'S 's'll", "x's'd'm're", "1984 3,50 12345678",
    "für größer Tür", "L'été à Besançon", "e\u0301te\u0301 A\u030a \u212b \u1112\u1161\u11ab", "Привет, мир!", "你好，世界。",
    "こんにちは", "🙂🚀👩\u200d👩", "a\u00a0b\u2003c\u3000d\u0085e\u180ef", "\u2028x\u2029", "f(x)==y&&z;//", "_a_b-c.d",
    "½ ² Ⅷ ١٢٣", "<tool>", "a<tool>b <tool> c", "<<tool>>", "<|im_start|>user", "<|endoftext|>", "<s></s><unk>", "<0x41>",
    MARK + "a" + MARK, "    four     five", "aaaaaaaaaaaaaaaaaaaaaaaaa", "thethethethe", "\0", "a\0b", "\x7f\x80\u00ad",
    "total += values[i] * weights[i];\n    }\n", "ſ'ſ ǅ ʰ",
]
BROKEN = [b"\xff", b"a\xffb", b"\xc3", b"\xc3(", b"\xe2\x82", b"\xe2\x82\xac\xe2", b"\xf0\x9f\x99", b"\xed\xa0\x80", b"\xc0\x80",
          b"\xf4\x90\x80\x80", b" \x80 \x81 ", b"the\xe2the", b"\xf0\x9f\x99\x82\x99"]


def random_texts(seed, count):
    """Bits of the corpus, characters from anywhere, and bytes that are no text."""
    rng = random.Random(seed)
    for _ in range(count):
        text = b""
        for _ in range(rng.randrange(1, 9)):
            choice = rng.random()
            if choice < 0.6:
                start = rng.randrange(len(CORPUS))
                text += CORPUS[start : start + rng.randrange(1, 12)].encode()
            elif choice < 0.9:
                text += "".join(rng.choice(" '\n\t!-1290aTéüмир世界🙂\u0301\u00a0") for _ in range(rng.randrange(1, 6))).encode()
            else:
                text += rng.randbytes(rng.randrange(1, 4))
        yield text


def characters(data):
    """The characters of valid UTF-8; each other byte as a lone surrogate."""
    return data.decode("utf-8", "surrogateescape")


def raw(text):
    return text.encode("utf-8", "surrogateescape")


def is_broken(char):
    return 0xDC80 <= ord(char) <= 0xDCFF


# ---- words ------------------------------------------------------------------------------------


def is_space(char):
    """Unicode's White_Space."""
    return char in "\t\n\v\f\r \x85\u00a0\u1680\u2028\u2029\u202f\u205f\u3000" or "\u2000" <= char <= "\u200a"


def is_letter(char):
    return unicodedata.category(char).startswith("L")


def is_number(char):
    return unicodedata.category(char).startswith("N")


def is_other(char):
    return not (is_space(char) or is_letter(char) or is_number(char))


def run(text, at, holds):
    """Where the run of characters that starts at `at` ends."""
    while at < len(text) and holds(text[at]):
        at += 1
    return at


def contraction(text, at, folds):
    """The end of 's, 't, 're ... at `at`, or `at`."""
    for ending in ("s", "t", "re", "ve", "m", "ll", "d"):
        part = text[at + 1 : at + 1 + len(ending)]
        if text[at] == "'" and (part.casefold() if folds else part) == ending:
            return at + 1 + len(ending)
    return at


def after_spaces(text, at):
    """A run of spaces leaves its last to the word after it, if it has more than one."""
    end = run(text, at, is_space)
    return end - 1 if end < len(text) and end - at > 1 else end


def gpt2_word(text, at):
    end = contraction(text, at, folds=False)
    if end > at:
        return end
    start = at + 1 if text[at] == " " and at + 1 < len(text) else at
    for holds in (is_letter, is_number, is_other):
        end = run(text, start, holds)
        if end > start:
            return end
    return after_spaces(text, at)


def cl100k_word(most_digits):
    def word(text, at):
        end = contraction(text, at, folds=True)
        if end > at:
            return end
        start = at if is_letter(text[at]) or is_number(text[at]) or text[at] in "\r\n" else at + 1
        end = run(text, start, is_letter)
        if end > start:
            return end
        if is_number(text[at]):
            return min(run(text, at, is_number), at + most_digits)
        start = at + 1 if text[at] == " " and at + 1 < len(text) else at
        end = run(text, start, is_other)
        if end > start:
            return run(text, end, lambda char: char in "\r\n")
        end = run(text, at, is_space)
        newline = max(text.rfind("\r", at, end), text.rfind("\n", at, end))
        return newline + 1 if newline >= at else after_spaces(text, at)

    return word


def words(text, word):
    """Bytes that are no text are words of their own."""
    at = 0
    while at < len(text):
        if is_broken(text[at]):
            end = run(text, at, is_broken)
            yield text[at:end]
            at = end
            continue
        end = at
        while end < len(text) and not is_broken(text[end]):
            end += 1
        valid = text[at:end]
        at, inside = end, 0
        while inside < len(valid):
            after = word(valid, inside)
            yield valid[inside:after]
            inside = after


# ---- vocabularies -----------------------------------------------------------------------------


class Vocabulary:
    def __init__(self, model, pre=None, **flags):
        self.model, self.pre, self.flags = model, pre, flags
        self.tokens, self.types, self.scores, self.merges = [], [], [], []

    def add(self, token, kind, score=0.0):
        assert token not in self.tokens, token
        self.tokens.append(token)
        self.types.append(kind)
        self.scores.append(score)

    def of_type(self, *kinds):
        return {token: i for i, (token, kind) in enumerate(zip(self.tokens, self.types)) if kind in kinds}

    def write(self, path):
        meta = [("general.architecture", STRING, "llama"), ("tokenizer.ggml.model", STRING, self.model)]
        if self.pre:
            meta.append(("tokenizer.ggml.pre", STRING, self.pre))
        meta.append(("tokenizer.ggml.tokens", ARRAY, (STRING, self.tokens)))
        meta.append(("tokenizer.ggml.token_type", ARRAY, (I32, self.types)))
        if self.model == "llama":
            meta.append(("tokenizer.ggml.scores", ARRAY, (F32, self.scores)))
        else:
            meta.append(("tokenizer.ggml.merges", ARRAY, (STRING, [" ".join(pair) for pair in self.merges])))
        for key, value in self.flags.items():
            meta.append((f"tokenizer.ggml.{key}", BOOL if isinstance(value, bool) else U32, value))
        write(path, meta, [])


def learn_merges(corpus_words, count):
    """Byte-pair encoding's training: the pair seen most often, again and again."""
    splits = [list(word) for word in corpus_words]
    merges = []
    for _ in range(count):
        pairs = Counter(pair for word in splits for pair in zip(word, word[1:]))
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        splits = [merged(word, best) for word in splits]
    return merges


def merged(word, pair):
    out, at = [], 0
    while at < len(word):
        if tuple(word[at : at + 2]) == pair:
            out.append(word[at] + word[at + 1])
            at += 2
        else:
            out.append(word[at])
            at += 1
    return out


def split_at(text, tokens):
    """(part, is_token) with the tokens cut out: leftmost first, the longest of those that start together."""
    by_length, plain, at = sorted(tokens, key=len, reverse=True), "", 0
    while at < len(text):
        token = next((token for token in by_length if text.startswith(token, at)), None)
        if token is None:
            plain += text[at]
            at += 1
            continue
        if plain:
            yield plain, False
        yield token, True
        plain, at = "", at + len(token)
    if plain:
        yield plain, False


# ---- SentencePiece ----------------------------------------------------------------------------


def spm_normalised(vocabulary, text):
    if vocabulary.flags.get("remove_extra_whitespaces"):
        text = " ".join(part for part in text.split(" ") if part).rstrip(" " + MARK)
    if text and vocabulary.flags.get("add_space_prefix", True):
        text = " " + text
    return text.replace(" ", MARK)


def spm_encode(vocabulary, data):
    ids = []
    user_defined = vocabulary.of_type(USER_DEFINED)
    for part, is_token in split_at(spm_normalised(vocabulary, characters(data)), user_defined):
        if is_token:
            ids.append(user_defined[part])
        else:
            for symbol in spm_merge(vocabulary, part):
                spm_emit(vocabulary, symbol, ids)
    return ids


def spm_merge(vocabulary, text):
    """Symbols are (text, the two it was merged from or None)."""
    pieces = vocabulary.of_type(NORMAL, USER_DEFINED, UNUSED)
    symbols = [(char, None) for char in text]
    while True:
        best = None
        for i in range(len(symbols) - 1):
            piece = symbols[i][0] + symbols[i + 1][0]
            if piece in pieces and (best is None or vocabulary.scores[pieces[piece]] > best[0]):
                best = (vocabulary.scores[pieces[piece]], i)
        if best is None:
            return symbols
        i = best[1]
        symbols[i : i + 2] = [(symbols[i][0] + symbols[i + 1][0], (symbols[i], symbols[i + 1]))]


def spm_emit(vocabulary, symbol, ids):
    text, parts = symbol
    pieces = vocabulary.of_type(NORMAL, USER_DEFINED, UNUSED)
    if text in pieces and not (vocabulary.types[pieces[text]] == UNUSED and parts):
        ids.append(pieces[text])
    elif text in pieces:
        for part in parts:
            spm_emit(vocabulary, part, ids)
    else:
        byte_tokens = vocabulary.of_type(BYTE)
        for byte in raw(" " if text == MARK else text):
            unknown = vocabulary.flags["unknown_token_id"]
            number = byte_tokens.get(f"<0x{byte:02X}>", unknown)
            if number != unknown or ids[-1:] != [unknown]:
                ids.append(number)


def make_spm(n_merges, has_bytes, **flags):
    vocabulary = Vocabulary("llama", unknown_token_id=0, bos_token_id=1, eos_token_id=2, **flags)
    for token, kind in (("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)):
        vocabulary.add(token, kind)
    if has_bytes:
        for byte in range(256):
            vocabulary.add(f"<0x{byte:02X}>", BYTE)
    for token in ("<|im_start|>", "<|im_end|>"):
        vocabulary.add(token, CONTROL)
    for token in ("<tool>", "<tool", MARK * 4):
        vocabulary.add(token, USER_DEFINED)
    corpus_words = (MARK + CORPUS.replace(" ", MARK)).replace(MARK, " " + MARK).split(" ")
    merges = learn_merges([word for word in corpus_words if word], n_merges)
    for rank, pair in enumerate(merges):
        # Two in a row with one score, so that "the leftmost of equals" is put to the test; every seventh
        # piece is unused and must fall apart again.
        vocabulary.add("".join(pair), UNUSED if rank % 7 == 3 else NORMAL, -float(rank // 2))
    for rank, char in enumerate(sorted(set(CORPUS.replace(" ", MARK)) - set("*🚀"))):
        vocabulary.add(char, NORMAL, -1000.0 - rank)
    return vocabulary


# ---- byte-level BPE ---------------------------------------------------------------------------


def printable_bytes():
    """The characters that stand for the bytes: bytes_to_unicode of Radford et al. 2019."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {byte: chr(byte) for byte in kept}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + len(table) - len(kept))
    return table


PRINTABLE = printable_bytes()


def printable(text):
    return "".join(PRINTABLE[byte] for byte in raw(text))


WORDS = {"gpt-2": gpt2_word, "llama-bpe": cl100k_word(3), "qwen2": cl100k_word(1), "smollm": gpt2_word}


def normal_form(text):
    """Form C of what is text; bytes that are none stay and keep apart."""
    out, at = "", 0
    while at < len(text):
        end = run(text, at, is_broken) if is_broken(text[at]) else at
        out += text[at:end]
        at = end
        while end < len(text) and not is_broken(text[end]):
            end += 1
        out += unicodedata.normalize("NFC", text[at:end])
        at = end
    return out


def bpe_words(pre, text):
    if pre == "qwen2":
        text = normal_form(text)
    if pre != "smollm":
        yield from words(text, WORDS[pre])
        return
    part = ""  # each digit stands alone and the rest is split between them
    for char in text:
        if not is_broken(char) and is_number(char):
            yield from words(part, gpt2_word)
            yield char
            part = ""
        else:
            part += char
    yield from words(part, gpt2_word)


def bpe_encode(vocabulary, data):
    ranks = {pair: rank for rank, pair in enumerate(vocabulary.merges)}
    normal, user_defined = vocabulary.of_type(NORMAL), vocabulary.of_type(USER_DEFINED)
    ids = []
    for part, is_token in split_at(characters(data), user_defined):
        if is_token:
            ids.append(user_defined[part])
            continue
        for word in bpe_words(vocabulary.pre, part):
            word = printable(word)
            if vocabulary.pre == "llama-bpe" and word in normal:
                ids.append(normal[word])
            else:
                ids += [normal[symbol] for symbol in bpe_merge(ranks, word)]
    return ids


def bpe_merge(ranks, word):
    symbols = list(word)
    while len(symbols) > 1:
        pairs = list(zip(symbols, symbols[1:]))
        best = min(range(len(pairs)), key=lambda i: (ranks.get(pairs[i], len(ranks)), i))
        if pairs[best] not in ranks:
            break
        symbols[best : best + 2] = ["".join(pairs[best])]
    return symbols


def make_bpe(pre, n_merges):
    vocabulary = Vocabulary("gpt2", pre, bos_token_id=0, eos_token_id=0)
    vocabulary.add("<|endoftext|>", CONTROL)
    for char in sorted(PRINTABLE.values()):
        vocabulary.add(char, NORMAL)
    vocabulary.merges = learn_merges([printable(word) for word in bpe_words(pre, CORPUS)], n_merges)
    for pair in vocabulary.merges:
        vocabulary.add("".join(pair), NORMAL)
    vocabulary.add("ĠBesanÃ§", NORMAL)  # no merges give it: only where merges are ignored
    for token in ("<tool>", "<tool", "    "):
        vocabulary.add(token, USER_DEFINED)
    for token in ("<|im_start|>", "<|im_end|>"):
        vocabulary.add(token, CONTROL)
    return vocabulary


# ---- form C -----------------------------------------------------------------------------------


def form_c_texts():
    """All that composes, decomposes or moves (of Hangul a part), whole and in parts; then marks in any order, and bytes
    that are no text between them. Form C of assigned characters is the same in every version of Unicode."""
    touched = [char for char in map(chr, [*range(0xA0, 0xD800), *range(0xE000, 0x30000)])
               if unicodedata.category(char) != "Cn"
               and (unicodedata.normalize("NFD", char) != char or unicodedata.combining(char))]
    touched = [char for char in touched if not "\uac00" <= char <= "\ud7a3" or ord(char) % 97 == 0]
    for at in range(0, len(touched), 50):
        yield " ".join(char + "|" + unicodedata.normalize("NFD", char) for char in touched[at : at + 50])
    rng = random.Random(15)
    marks = [char for char in touched if unicodedata.combining(char)]
    letters = "aeioucnsz\u0958\u1112\u1161\u11ab\uac00\u0915\u05d0"
    for _ in range(300):
        text = ""
        for _ in range(rng.randrange(1, 6)):
            text += rng.choice(letters) + "".join(rng.choice(marks) for _ in range(rng.randrange(4)))
            text += rng.choice(["", "", "", " ", "\udcff", "\udcc3", "\udce2\udc82"])
        yield text


# ---- the fixtures -----------------------------------------------------------------------------

FIXTURES = {
    # name: (vocabulary, encoder)
    "spm": (lambda: make_spm(260, True), spm_encode),
    "spm-bare": (lambda: make_spm(120, True, add_space_prefix=False), spm_encode),
    "spm-unknown": (lambda: make_spm(120, False, remove_extra_whitespaces=True), spm_encode),
    "bpe-gpt-2": (lambda: make_bpe("gpt-2", 260), bpe_encode),
    "bpe-llama-3": (lambda: make_bpe("llama-bpe", 200), bpe_encode),
    "bpe-qwen2": (lambda: make_bpe("qwen2", 120), bpe_encode),
    "bpe-smollm": (lambda: make_bpe("smollm", 120), bpe_encode),
}


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "data", "tokenizer")
    os.makedirs(out, exist_ok=True)
    for seed, (name, (make, encode)) in enumerate(FIXTURES.items()):
        vocabulary = make()
        texts = [text.encode() for text in TEXTS] + BROKEN + list(random_texts(seed, 40))
        vocabulary.write(os.path.join(out, name + ".gguf"))
        with open(os.path.join(out, name + ".inp"), "wb") as file:
            file.write(SEPARATOR.join(texts))
        with open(os.path.join(out, name + ".out"), "w") as file:
            file.writelines(" ".join(map(str, encode(vocabulary, text))) + "\n" for text in texts)
    texts = list(form_c_texts())
    for suffix, of in (("inp", raw), ("out", lambda text: raw(normal_form(text)))):
        with open(os.path.join(out, f"form-c.{suffix}"), "wb") as file:
            file.write(SEPARATOR.join(map(of, texts)))


if __name__ == "__main__":
    main()
