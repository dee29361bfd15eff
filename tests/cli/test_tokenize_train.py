"""nlm-tokenize train as a user runs it: what it reads, writes and refuses, and the same vocabulary as the package
tokenizers where Python has it."""
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = Path(os.environ["NLM_BIN"]) / "nlm-tokenize"
SOURCE = Path(os.environ["NLM_SOURCE"])
sys.path.insert(0, str(SOURCE / "tests/oracle"))
import make_bpe_training  # noqa: E402

SPM = ["--kind", "sentencepiece"]


def run(*arguments, text=b"", code=0):
    done = subprocess.run([PROGRAM, *map(str, arguments)], input=text, capture_output=True)
    assert done.returncode == code, (arguments, done)
    return done


def train(out, *arguments, text=b"", code=0):
    return run("train", "--out", out, *arguments, text=text, code=code)


def strings(path, key):
    """The array of strings under a key: it stands once in the file."""
    data = path.read_bytes()
    name = b"tokenizer.ggml." + key.encode()
    at = data.index(struct.pack("<Q", len(name)) + name) + 8 + len(name)
    kind, item, count = struct.unpack_from("<IIQ", data, at)
    assert (kind, item) == (9, 8)
    at += 16
    items = []
    for _ in range(count):
        length, = struct.unpack_from("<Q", data, at)
        items.append(data[at + 8 : at + 8 + length].decode())
        at += 8 + length
    return items


def prose():
    """Texts in files of their own, for both trainers."""
    return [path.read_bytes().decode() for path in prose_files()]


def prose_files():
    data = SOURCE / "tests/data"
    return [SOURCE / "LICENSE", data / "tokenizer/trained.inp", data / "training/ties.inp", data / "tokenizer/words.inp"]


def ids(model, text):
    """As the package encodes: with special tokens, in the text and around it."""
    return list(map(int, run("-m", model, "--special", "--bos", text=text.encode()).stdout.split()))


def same_ids(folder, Tokenizer):
    """Files that nlm writes, read by the package."""
    texts = [*make_bpe_training.EXAMPLES, *("".join(prose())[i : i + 300] for i in range(0, 30000, 1500))]
    for kind in ([], SPM):
        out, learned = folder / "ids.json", folder / "ids.gguf"
        for path in (out, learned):
            train(path, *kind, "--vocab-size", 1200, *prose_files())
        theirs = Tokenizer.from_file(str(out))
        for text in texts:
            assert theirs.encode(text).ids == ids(out, text) == ids(learned, text), (kind, text)
            if not any(mark in text for mark in ("<", "\u2581")):
                assert theirs.decode(theirs.encode(text).ids) == text, (kind, text)
    for model in sorted((SOURCE / "tests/data/tokenizer").glob("trained-*.gguf")):
        run("convert", model, out)
        theirs = Tokenizer.from_file(str(out))
        for text in texts:
            assert theirs.encode(text).ids == ids(model, text), (model, text)


def same_steps(folder, rules):
    """Every published pre_tokenizer has a name, and is written again as it was."""
    train(folder / "steps.json", "--vocab-size", 300, prose_files()[0])
    tokenizer = json.loads((folder / "steps.json").read_text())
    for name, rule in rules.items():
        steps = json.loads(rule.__getstate__())
        tokenizer["pre_tokenizer"] = steps
        tokenizer["normalizer"] = {"type": "NFC"} if name in ("qwen2", "qwen35") else None
        tokenizer["model"]["ignore_merges"] = name in ("llama-bpe", "tekken", "minicpm5", "kimi-k2", "youtu")
        (folder / "steps.json").write_text(json.dumps(tokenizer))
        run("convert", folder / "steps.json", folder / "steps.gguf")
        assert f"tokenizer.ggml.pre\x08\0\0\0{chr(len(name))}\0\0\0\0\0\0\0{name}".encode() in (
            folder / "steps.gguf").read_bytes(), name
        run("convert", folder / "steps.gguf", folder / "again.json")
        again = json.loads((folder / "again.json").read_text())["pre_tokenizer"]
        assert again["pretokenizers"] == steps.get("pretokenizers", [steps]), name


def same_as_the_package(folder):
    try:
        import make_words
        import tokenizers
    except ImportError as error:
        return f"skipped: {error}"
    out = folder / "same.gguf"
    for size, least in ((400, 2), (2000, 2), (30000, 0)):
        train(out, "--vocab-size", size, "--min-frequency", least, *prose_files())
        theirs = make_bpe_training.byte_level(prose(), size, least)
        assert (strings(out, "tokens"), strings(out, "merges")) == make_bpe_training.tokens_and_merges(theirs), size
        if size < 2000:
            continue
        train(out, *SPM, "--vocab-size", size, "--min-frequency", least, "--special", "<|im_start|>", *prose_files())
        theirs = make_bpe_training.sentencepiece(prose(), size, least, ["<|im_start|>"])
        assert (strings(out, "tokens"), strings(out, "merges")) == make_bpe_training.tokens_and_merges(theirs), size
    same_ids(folder, tokenizers.Tokenizer)
    same_steps(folder, make_words.RULES)
    return f"ok with tokenizers {tokenizers.__version__}"


def inputs(folder):
    """The same texts as files, as lines of JSON, in folders and through a pipe."""
    parts = prose_files()[1].read_bytes().split(make_bpe_training.SEPARATOR.encode())
    texts = [b"\n".join(parts[i::8]) for i in range(8)]
    tree = folder / "tree"
    (tree / "b/c").mkdir(parents=True)
    (tree / ".hidden").mkdir()
    for i, text in enumerate(texts):
        (tree / ("b/c", "b", ".")[i % 3] / f"{i}.txt").write_bytes(text)
    (tree / "picture.png").write_bytes(b"\x89PNG\0" + b"qzqz" * 1000)
    (tree / ".hidden/x.txt").write_bytes(b"qzqz" * 1000)
    (tree / "again").symlink_to(tree)
    lines = folder / "texts.jsonl"
    for kind in ([], SPM):
        lines.write_text("".join(json.dumps({"id": 1, "body": text.decode()}) + "\n" for text in texts) + "\n")
        options = [*kind, "--vocab-size", 600]
        expected = folder / "files.gguf"
        train(expected, *options, *sorted(tree.glob("**/[0-9]*.txt"))[: len(texts)])
        assert "zq" not in strings(expected, "tokens")
        for name, arguments in {"tree": [tree], "json": ["--field", "body", lines]}.items():
            out = folder / f"{name}.gguf"
            train(out, *options, *arguments, "--threads", 3)
            assert out.read_bytes() == expected.read_bytes(), (kind, name)
        whole = b"\n\n".join(texts * 40)  # more than is read at once, and than a thread gets
        assert len(whole) > 400_000
        lines.write_text(json.dumps({"text": whole.decode()}))
        (folder / "whole.txt").write_bytes(whole)
        train(folder / "whole.gguf", *options, folder / "whole.txt")
        train(folder / "pipe.gguf", *options, "-", text=whole)
        train(folder / "one.gguf", *options, lines)
        for name in ("pipe", "one"):
            assert (folder / "whole.gguf").read_bytes() == (folder / f"{name}.gguf").read_bytes(), (kind, name)
        train(folder / "lines.gguf", *options, "--lines", folder / "whole.txt")
        assert (folder / "lines.gguf").read_bytes() != (folder / "whole.gguf").read_bytes()


def special_tokens(folder):
    out = folder / "special.gguf"
    train(out, "--vocab-size", 300, prose_files()[0])
    assert strings(out, "tokens")[0] == "<|endoftext|>"
    train(out, "--vocab-size", 300, "--special", "<a>", "--special", "<b>", prose_files()[0])
    assert strings(out, "tokens")[:3] == ["<a>", "<b>", "!"]
    assert run("-m", out, "--special", text=b"<b><a>").stdout == b"1 0\n"
    train(out, *SPM, "--vocab-size", 400, "--special", "<a>", prose_files()[0])
    assert strings(out, "tokens")[:4] == ["<unk>", "<s>", "</s>", "<0x00>"]
    assert run("-m", out, "--special", "--bos", text=b"<a></s>").stdout == b"1 259 2\n"


def conversions(folder):
    """A vocabulary in both kinds of files, there and back."""
    examples = ["The cat's 1984 \u4e16\n", " <s>x", ""]
    for kind in ([], SPM):
        train(folder / "a.gguf", *kind, "--vocab-size", 500, *prose_files()[:2])
        train(folder / "b.json", *kind, "--vocab-size", 500, *prose_files()[:2])
        run("convert", folder / "a.gguf", folder / "c.json")
        assert (folder / "b.json").read_bytes() == (folder / "c.json").read_bytes()
        run("convert", folder / "c.json", folder / "d.gguf")
        for key in ("tokens", "merges"):
            assert strings(folder / "a.gguf", key) == strings(folder / "d.gguf", key)
        for text in examples:
            assert len({tuple(ids(folder / name, text)) for name in ("a.gguf", "b.json", "d.gguf")}) == 1, text
    model = SOURCE / "tests/data/models/stories260K-q8_0.gguf"
    run("convert", model, folder / "stories.json")
    for text in examples:
        assert ids(model, text) == ids(folder / "stories.json", text)
    assert "it is a GGUF model" in run("convert", model, folder / "x.gguf", code=1).stderr.decode()
    assert "neither in .json" in run("convert", model, folder / "x.txt", code=2).stderr.decode()
    assert "one to write" in run("convert", model, code=2).stderr.decode()
    assert "no-such-file" in run("convert", "no-such-file", folder / "x.json", code=1).stderr.decode()
    assert not list(folder.glob("x.*"))


def broken_text_is_kept(folder):
    """Bytes that are no UTF-8 do not end training, and come back from what was learned."""
    text = b"one \xff\xfe two \xe4\xb8" * 50
    for kind in ([], SPM):
        out = folder / "broken.gguf"
        train(out, *kind, "--vocab-size", 320, "-", text=text)
        assert run("-m", out, "-d", text=run("-m", out, text=text).stdout).stdout == text


def failures(folder):
    out = folder / "never.json"

    def refused(told, *arguments, text=b"", code=1):
        error = train(out, *arguments, text=text, code=code).stderr.decode()
        assert told in error and len(error.splitlines()) <= 2, (arguments, error)
        assert not list(folder.glob("never*"))

    text = prose_files()[0]
    refused("--vocab-size is missing", text, code=2)
    assert "neither in .json" in train(folder / "never.txt", "--vocab-size", 300, text, code=2).stderr.decode()
    refused("give a text file", "--vocab-size", 300, code=2)
    refused("'wordpiece' is no kind", "--kind", "wordpiece", "--vocab-size", 300, text, code=2)
    refused("--alphabet goes with", "--alphabet", 5, "--vocab-size", 300, text, code=2)
    refused("no-such-file.txt", "--vocab-size", 300, folder / "no-such-file.txt")
    error = train(folder / "no-such-folder/x.json", "--vocab-size", 300, "no-such-file.txt", code=1).stderr.decode()
    assert "no-such-folder" in error, error
    refused("/dev/zero: more than 268435456 bytes are one word", "--vocab-size", 300, "/dev/zero")
    refused("no text to learn from", "--vocab-size", 300, "-")
    refused("expected 257", "--vocab-size", 200, text)
    refused("does not hold the text's", *SPM, "--vocab-size", 270, text)
    refused("'<a>' comes twice", "--special", "<a>", "--special", "<a>", "--vocab-size", 300, text)
    bad = folder / "bad.jsonl"
    bad.write_text('{"text": "fine"}\n{"text": 5}\n')
    refused("bad.jsonl: line 2 is an object without such a text", "--vocab-size", 300, bad)
    bad.write_text('{"text": "fine"}\n\n{"text": "no end}\n')
    refused("line 3 is no JSON", "--vocab-size", 300, bad)
    assert "--out is missing" in run("train", "--vocab-size", 300, text, code=2).stderr.decode()
    assert "train" in run("--help").stdout.decode()
    assert "--min-frequency" in run("train", "--help").stdout.decode()


def interrupts_leave_nothing(folder):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        here = folder / number.name
        here.mkdir()
        kept = here / "out.json"
        kept.write_bytes(b"as it was")
        process = subprocess.Popen([PROGRAM, "train", "--out", kept, "--vocab-size", "3000", "-"], stdin=subprocess.PIPE,
                                   stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
        for _ in range(40):  # more than a pipe holds: it reads by the end of this
            process.stdin.write("".join(prose()).encode())
        process.stdin.flush()
        process.send_signal(number)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        error = process.stderr.read().decode()
        process.stdin.close()
        assert process.returncode == 1 and "cancelled" in error, (number, process.returncode, error)
        assert kept.read_bytes() == b"as it was" and os.listdir(here) == ["out.json"]


def main():
    parts = (same_as_the_package, inputs, special_tokens, conversions, broken_text_is_kept, failures, interrupts_leave_nothing)
    for part in parts:
        with tempfile.TemporaryDirectory() as folder:
            print(part.__name__, part(Path(folder)) or "ok", flush=True)


sys.exit(main())
