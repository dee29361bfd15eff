"""nlm-tokenize as a user runs it: ids and text through pipes, exit codes, and texts of ten megabytes."""
import os
import random
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(os.environ["NLM_BIN"]) / "nlm-tokenize"
DATA = Path(os.environ["NLM_SOURCE"]) / "tests/data/tokenizer"
SPM, BPE, LLAMA3 = DATA / "spm.gguf", DATA / "bpe-gpt-2.gguf", DATA / "bpe-llama-3.gguf"
SEPARATOR = b"\n__ggml_vocab_test__\n"


def run(*arguments, text=b"", code=0):
    done = subprocess.run([PROGRAM, *arguments], input=text, capture_output=True)
    assert done.returncode == code, (arguments, done)
    return done


def told(done):
    return done.stderr.decode()


def ids_and_text():
    expected = (DATA / "bpe-gpt-2.out").read_bytes().split(b"\n")
    for text, line in zip((DATA / "bpe-gpt-2.inp").read_bytes().split(SEPARATOR)[:20], expected):
        done = run("--model", BPE, text=text)
        assert done.stdout == line + b"\n" and done.stderr == b"", (text, line, done)
        assert run("--model", BPE, "--decode", text=done.stdout).stdout == text
    assert run("-m", SPM).stdout == b"\n"
    assert run("-m", SPM, "-d").stdout == b""
    everything = bytes(range(256)) * 3
    assert run("-m", SPM, "-d", text=run("-m", SPM, text=everything).stdout).stdout == everything


def bos_and_special():
    plain = run("-m", SPM, text=b"a").stdout
    assert run("-m", SPM, "--bos", text=b"a").stdout == b"1 " + plain
    assert run("-m", SPM, "--special", text=b"<s></s>").stdout == b"1 2\n"
    assert len(run("-m", SPM, text=b"<s></s>").stdout.split()) > 2
    assert run("-m", SPM, "-d", text=b"1 2\n").stdout == b""
    assert run("-m", SPM, "-d", "--special", text=b" 1\t2\n\n").stdout == b"<s></s>"


def pieces():
    text = run("-m", SPM, "--bos", "--special", "--pieces", text=b"one</s>\x1b").stdout.decode()
    lines = [line.split(maxsplit=1) for line in text.splitlines()]
    ids = run("-m", SPM, "--bos", "--special", text=b"one</s>\x1b").stdout.decode().split()
    assert [line[0] for line in lines] == ids, text
    assert "".join(line[1][1:-1].strip() for line in lines) == "<s>one</s>\\x1b", text
    assert "--pieces" in told(run("-m", SPM, "--pieces", "--decode", code=2))


def help_and_version():
    text = run("--help").stdout.decode()
    assert "nlm-tokenize --model" in text and "--decode" in text and "--bos" in text, text
    assert run("--version").stdout.startswith(b"nlm-tokenize ")


def failures():
    assert "--model" in told(run(code=2))
    assert "--decode" in told(run("-m", SPM, "--decod3", code=2))
    assert "--bos" in told(run("-m", SPM, "--bos", "--decode", code=2))
    assert "no-such-file.gguf" in told(run("-m", "no-such-file.gguf", code=1))
    assert "check.h" in told(run("-m", DATA.parent.parent / "unit/check.h", code=1))
    assert "item 2, '1x', is no token id" in told(run("-m", SPM, "-d", text=b"1 1x 2", code=1))
    assert "item 1" in told(run("-m", SPM, "-d", text=b"\0", code=1))
    assert "item 1" in told(run("-m", SPM, "-d", text=b"-1", code=1))
    assert "item 1" in told(run("-m", SPM, "-d", text=b"99999999999999999999", code=1))
    assert "token id 2000000" in told(run("-m", SPM, "-d", text=b"2000000", code=1))
    if os.path.exists("/dev/full"):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "-m", SPM], input=b"a" * 100000, stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 1 and b"stdout" in done.stderr, done


def long_texts():
    """Not a matter of seconds but of coming back at all: a quadratic step would take days."""
    size = 10_000_000 if not os.environ.get("NLM_SANITIZE") else 500_000
    rng = random.Random(7)
    prose = (DATA / "spm.inp").read_bytes().replace(SEPARATOR, b" ")
    texts = {
        "one letter": b"a" * size,
        "one word": bytes(rng.choices(b"etaoinshrdlu", k=size)),
        "spaces": b" " * (size - 1) + b"x",
        "newlines": b"\n" * size,
        "prose": (prose * (size // len(prose) + 1))[:size],
    }
    for name, text in texts.items():
        for model in (SPM, BPE, LLAMA3):
            ids = run("-m", model, text=text).stdout
            # U+2581 is a space to SentencePiece
            expected = text.replace("\u2581".encode(), b" ") if model == SPM else text
            assert run("-m", model, "-d", text=ids).stdout == expected, (name, model)


def main():
    for part in (ids_and_text, bos_and_special, pieces, help_and_version, failures, long_texts):
        part()
        print(part.__name__, "ok", flush=True)


sys.exit(main())
