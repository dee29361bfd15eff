"""The examples, in C and in Python, built and run against libnlm.so: they give the text nlm-run gives."""
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

if os.environ.get("NLM_SANITIZE"):
    print("skipped: programs outside the build do not carry the sanitizers")
    sys.exit(77)

SOURCE, BUILD = Path(os.environ["NLM_SOURCE"]), Path(os.environ["NLM_BUILD"])
LIBRARY = BUILD / "lib/libnlm.so"
MODELS = SOURCE / "tests/data/models"


def run(*command, code=0):
    done = subprocess.run([*map(str, command)], stdin=subprocess.DEVNULL, capture_output=True, timeout=120,
                          env=os.environ | {"NLM_LIBRARY": str(LIBRARY)})
    assert done.returncode == code, (command, done)
    return done


def build(folder, name):
    program = Path(folder) / name
    run(os.environ.get("CC", "cc"), "-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic",
        SOURCE / f"examples/{name}.c", f"-I{SOURCE / 'core/include'}", LIBRARY, f"-Wl,-rpath,{LIBRARY.parent}", "-lm",
        "-o", program)
    return program


def check_tokens(program, model):
    """The token chosen greedily is the likeliest; the text at the end is the prompt's and all tokens'."""
    text = subprocess.run([BUILD / "bin/nlm-run", "-q", "-m", model, "-p", "the rain", "-n", "5"], stdin=subprocess.DEVNULL,
                          capture_output=True, check=True).stdout.rstrip(b"\n")
    lines = run(program, model, "the rain", 5).stdout.split(b"\n", 5)
    for line in lines[:5]:
        chosen, shown, top, likelihood = re.fullmatch(rb'(".*?") ([\d.]+)%: (".*?") ([\d.]+)% .*', line).groups()
        assert (chosen, shown) == (top, likelihood), line
    assert lines[5] == b"the rain" + text, (lines, text)


def main():
    with tempfile.TemporaryDirectory() as folder:
        program, tokens = build(folder, "generate"), build(folder, "tokens")
        for name in ("llama-gqa-f32", "mamba-f32"):
            check_tokens(tokens, MODELS / f"{name}.gguf")
        for example in ([program], [sys.executable, SOURCE / "examples/generate.py"]):
            for name in ("llama-gqa-f32", "mamba-f32"):
                model = MODELS / f"{name}.gguf"
                expected = run(BUILD / "bin/nlm-run", "-q", "-m", model, "-p", "the rain", "-n", 40).stdout
                done = run(*example, model, "the rain", 40)
                assert done.stdout == expected and expected, (example, name, done, expected)
                assert b"device 0: prompt " in done.stderr, done
            told = run(*example, "/no/such/model.gguf", "the rain", 40, code=1).stderr
            assert b"/no/such/model.gguf" in told, told


main()
