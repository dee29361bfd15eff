#!/usr/bin/env python3
"""Trains the vocabularies trained-* of tests/data/tokenizer and asks their trainers for the ids of texts.

usage: make_trained_vocabularies.py [OUT_DIRECTORY]

Files as those of make_tokenizer_fixtures.py, with one trained.inp for all, but vocabularies and ids are made by other
programs: the packages tokenizers 0.23 (byte-level BPE) and sentencepiece 0.2 (its BPE). Both are taught the prose of
Python's own modules and the names of Unicode's characters. Other versions of Python teach them other words.
"""
import ast
import io
import itertools
import json
import random
import sys
import sysconfig
import unicodedata
from pathlib import Path

import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from gguf_file import ARRAY, BOOL, F32, I32, STRING, U32, write
from make_tokenizer_fixtures import (BYTE, CONTROL, CORPUS, NORMAL, PRINTABLE, SEPARATOR, TEXTS, UNKNOWN)

# As their authors publish them, in tokenizer.json of the first model of each kind.
GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")

# pre: (merges, pattern, splits off digits, form C first)
BYTE_LEVEL = {
    "gpt-2": (3000, GPT_2, False, False),
    "gpt-neox": (800, GPT_2, False, True),
    "llama-bpe": (800, CL100K, False, False),
    "qwen2": (800, CL100K.replace("{1,3}", ""), False, True),
    "smollm": (800, GPT_2, True, False),
}


def prose():
    """Docstrings of the standard library, and every character with its name."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                yield from (ast.get_docstring(node) or "").splitlines()
    for code in itertools.chain(range(0xA0, 0x2000), range(0x3040, 0x3100), range(0x4E00, 0x4F00)):
        name = unicodedata.name(chr(code), "")
        if name:
            yield f"{chr(code)} {name.lower()}"
    yield from CORPUS.splitlines()


def texts(lines):
    """Those of make_tokenizer_fixtures.py that are valid and name no special token; and stretches of what was learned,
    with others between."""
    yield from (text for text in TEXTS if "<" not in text and "\0" not in text)
    rng = random.Random(20)
    book = "\n".join(lines)
    for _ in range(120):
        text = ""
        for _ in range(rng.randrange(1, 5)):
            start = rng.randrange(len(book))
            text += book[start : start + rng.randrange(1, 60)]
            text += "".join(rng.choice(" '\n\t!-1290aTéüмир世界🙂\u0301\u00a0ﬁ한ᄒ") for _ in range(rng.randrange(4)))
        yield text


def save(folder, name, meta, examples, encode):
    write(str(folder / f"trained-{name}.gguf"), [("general.architecture", STRING, "llama"), *meta], [])
    lines = [" ".join(map(str, encode(text))) + "\n" for text in examples]
    (folder / f"trained-{name}.out").write_text("".join(lines))


def make_byte_level(folder, pre, lines, examples):
    n_merges, pattern, splits_digits, has_form_c = BYTE_LEVEL[pre]
    tokenizer = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    if has_form_c:
        tokenizer.normalizer = normalizers.NFC()
    steps = [pre_tokenizers.Digits(individual_digits=True)] if splits_digits else []
    steps += [pre_tokenizers.Split(Regex(pattern), "isolated"),
              pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    # Bytes that are in no UTF-8 have no token, as in most vocabularies learned from text.
    impossible = {PRINTABLE[byte] for byte in (0xC0, 0xC1, *range(0xF5, 0x100))}
    alphabet = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - impossible)
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=len(alphabet) + n_merges + 1, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet,
        show_progress=False))
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    save(folder, pre, [
        ("tokenizer.ggml.model", STRING, "gpt2"), ("tokenizer.ggml.pre", STRING, pre),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)),
        ("tokenizer.ggml.token_type", ARRAY, (I32, [CONTROL] + [NORMAL] * (len(tokens) - 1))),
        ("tokenizer.ggml.merges", ARRAY, (STRING, merges)),
        ("tokenizer.ggml.bos_token_id", U32, 0), ("tokenizer.ggml.eos_token_id", U32, 0),
    ], examples, lambda text: tokenizer.encode(text).ids)


def make_spm(folder, lines, examples):
    """With what Llama's has: bytes for the unknown, digits alone, spaces kept, one put before the text."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="bpe", vocab_size=3000, byte_fallback=True,
        character_coverage=0.99, normalization_rule_name="identity", remove_extra_whitespaces=False,
        split_digits=True, allow_whitespace_only_pieces=True, minloglevel=2)
    spm = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(spm.get_piece_size())
    kinds = [UNKNOWN if spm.is_unknown(i) else CONTROL if spm.is_control(i) else BYTE if spm.is_byte(i) else NORMAL
             for i in ids]
    save(folder, "spm", [
        ("tokenizer.ggml.model", STRING, "llama"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, [spm.id_to_piece(i) for i in ids])),
        ("tokenizer.ggml.scores", ARRAY, (F32, [spm.get_score(i) for i in ids])),
        ("tokenizer.ggml.token_type", ARRAY, (I32, kinds)),
        ("tokenizer.ggml.unknown_token_id", U32, spm.unk_id()), ("tokenizer.ggml.bos_token_id", U32, spm.bos_id()),
        ("tokenizer.ggml.eos_token_id", U32, spm.eos_id()), ("tokenizer.ggml.add_space_prefix", BOOL, True),
    ], examples, spm.encode)


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "data/tokenizer")
    lines = list(prose())
    examples = list(texts(lines))
    (folder / "trained.inp").write_bytes(SEPARATOR.join(text.encode() for text in examples))
    make_spm(folder, lines, examples)
    for pre in BYTE_LEVEL:
        make_byte_level(folder, pre, lines, examples)


main()
