#!/usr/bin/env python3
"""Makes tests/data/training: texts, and the vocabularies that the package tokenizers 0.23 learns from them and reads.

usage: make_bpe_training.py [OUT_DIRECTORY]

Texts are separated as those of tests/data/tokenizer. learned-NAME.gguf holds tokens, in the order of their ids, and
merges, in theirs. `ties` has few letters and short texts, so that most counts are equal, and tokens that two pairs
spell. read-NAME.json are tokenizer.json files of the package, read-NAME.out the ids
that it gives with them for the texts of tests/data/tokenizer/trained.inp and for EXAMPLES, a line for each text. The
trainers below are what `nlm-tokenize train` has to equal; tests/cli/test_tokenize_train.py uses them too.
"""
import json
import random
import sys
from pathlib import Path

SEPARATOR = "\n__ggml_vocab_test__\n"
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level(texts, vocab_size, min_frequency, specials=("<|endoftext|>",)):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=list(specials), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def sentencepiece(texts, vocab_size, min_frequency, specials=(), alphabet=None):
    """Llama's arrangement: a space before the text, spaces as U+2581, which words begin with."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="never", split=True)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=min_frequency, show_progress=False,
        special_tokens=["<unk>", "<s>", "</s>"] + BYTE_TOKENS + list(specials),
        **({"limit_alphabet": alphabet} if alphabet else {})))
    return tokenizer


def tokens_and_merges(tokenizer):
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    assert [model["vocab"][token] for token in tokens] == list(range(len(tokens)))
    return tokens, [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]


def tied_texts():
    rng = random.Random(11)
    for alphabet in ("ab", "aab  \n\t'sé世1", "abcd é"):
        for _ in range(30):
            yield "".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 60)))


# Special tokens within a text, spaces and marks at its start.
EXAMPLES = ["", " lead", "  two", "\u2581mark", "x\u2581y", "\n", "<s>", "a<s> b</s>  c", "<s><s>x", "<|endoftext|>a",
            " <|im_start|> user", "</s>\u2581a", "caf\u00e9 \u4e16\u754c \U0001f642", "tab\there", "abcabc ab bc"]


def published(tokenizer, changes, post=None):
    """The tokenizer with some members of its tokenizer.json changed, and a template that puts tokens around texts."""
    from tokenizers import Tokenizer, processors
    parts = json.loads(tokenizer.to_str())
    for name, value in changes.items():
        parts[name] = value
    # Byte tokens are no special ones in published files.
    parts["added_tokens"] = [token for token in parts["added_tokens"] if token["content"] not in BYTE_TOKENS]
    tokenizer = Tokenizer.from_str(json.dumps(parts))
    if post:
        special = [(token, tokenizer.token_to_id(token)) for token in post.split() if token != "$A"]
        tokenizer.post_processor = processors.TemplateProcessing(single=post, special_tokens=special)
    return tokenizer


def readable(prose):
    """name: a tokenizer of each kind that nlm reads."""
    byte = byte_level(prose, 420, 2, ["<|endoftext|>", "<|im_start|>"])
    spm = sentencepiece(prose, 640, 2)
    cl100k = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
              r"|\s+(?!\S)|\s+")
    qwen = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": cl100k}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}]}
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "split": False}
    yield "byte", published(byte, {})
    yield "qwen", published(byte, {"pre_tokenizer": qwen, "normalizer": {"type": "NFC"}}, "$A <|endoftext|>")
    yield "llama", published(spm, {"pre_tokenizer": None}, "<s> $A")
    yield "split", published(spm, {})
    # A merge that is listed late, and one that is not: abc is not made of a and bc.
    listed = json.loads(spm.to_str())["model"]
    listed["vocab"] = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>", *BYTE_TOKENS, *"abc\u2581", "bc", "ab", "abc"])}
    listed["merges"] = [["b", "c"], ["a", "b"], ["ab", "c"]]
    yield "listed", published(spm, {"model": listed})
    for scheme in ("always", "first", "never"):
        yield scheme, published(spm, {"pre_tokenizer": {**metaspace, "prepend_scheme": scheme}, "normalizer": None},
                                "<s> $A </s>")


def main():
    from gguf_file import ARRAY, STRING, write
    top = Path(__file__).parent.parent / "data"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else top / "training"
    prose = (top / "tokenizer/trained.inp").read_bytes().decode().split(SEPARATOR)
    ties = list(tied_texts())
    (folder / "ties.inp").write_bytes(SEPARATOR.join(ties).encode())
    # The 62nd and the 63rd character of the prose differ in how often they come; ties are broken at random.
    cases = {
        "byte": byte_level(prose, 700, 2),
        "byte-all": byte_level(prose, 100000, 0, ["<|endoftext|>", "<|im_start|>", "the"]),
        "byte-ties": byte_level(ties, 100000, 0),
        "spm": sentencepiece(prose, 1100, 2, ["<|im_start|>"]),
        "spm-alphabet": sentencepiece(prose, 500, 2, alphabet=62),
        "spm-ties": sentencepiece(ties, 100000, 1),
    }
    for name, tokenizer in cases.items():
        tokens, merges = tokens_and_merges(tokenizer)
        write(str(folder / f"learned-{name}.gguf"), [
            ("general.architecture", STRING, "llama"), ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)),
            ("tokenizer.ggml.merges", ARRAY, (STRING, merges))], [])
        print(f"{name}: {len(tokens)} tokens, {len(merges)} merges")
    for name, tokenizer in readable(prose):
        tokenizer.save(str(folder / f"read-{name}.json"), pretty=False)
        lines = [" ".join(map(str, tokenizer.encode(text).ids)) + "\n" for text in prose + EXAMPLES]
        (folder / f"read-{name}.out").write_text("".join(lines))
    (folder / "examples.inp").write_bytes(SEPARATOR.join(EXAMPLES).encode())


if __name__ == "__main__":
    main()
