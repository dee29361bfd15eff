"""The examples, in C, Python and Go, built and run against libnlm.so: they give the text nlm-run gives, and train.py's model
has learned."""
import os
import re
import shutil
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


def build_go(folder):
    """train.go, or None where there is no Go."""
    if not shutil.which("go"):
        print("[skipped: there is no Go here: examples/train.go]")
        return None
    program = Path(folder) / "train"
    environment = os.environ | {"CGO_CFLAGS": f"-I{SOURCE / 'core/include'}", "GOCACHE": str(Path(folder) / "go"),
                                "CGO_LDFLAGS": f"{LIBRARY} -Wl,-rpath,{LIBRARY.parent}", "GOFLAGS": "-mod=mod"}
    subprocess.run(["go", "build", "-o", program, SOURCE / "examples/train.go"], stdin=subprocess.DEVNULL, check=True,
                   cwd=folder, env=environment)
    return program


def check_training(folder, example):
    """The loss falls; the text at the end is the one that nlm-run continues the prompt with."""
    text, model = Path(folder) / "text.txt", Path(folder) / "new.gguf"
    text.write_text("The rain falls on the hill. The sun shines on the sea.\n" * 40)
    done = run(*example, text, MODELS / "llama-gqa-f32.gguf", model, "The rain", 20)
    losses = [float(loss) for loss in re.findall(rb"^step \d+: loss ([\d.]+), gradient [\d.]+, \d+ tokens/s$", done.stderr, re.M)]
    assert len(losses) == 20 and losses[-1] < 0.7 * losses[0], done
    assert done.stdout == run(BUILD / "bin/nlm-run", "-q", "-m", model, "-p", "The rain", "-n", 40).stdout, done
    told = run(*example, text, "/no/such/vocabulary.gguf", model, "The rain", 20, code=1).stderr
    assert b"/no/such/vocabulary.gguf" in told, told


def check_copy_task(program):
    """What was said some steps before is said again, without a mistake."""
    lines = run(program, 120).stdout.decode().splitlines()
    losses = [float(line.split()[-1]) for line in lines if line.startswith("step ")]
    assert losses[0] > 0.693 and losses[-1] < 0.01, lines
    assert lines[-1] == "200 of 200 bits", lines


def main():
    with tempfile.TemporaryDirectory() as folder:
        check_training(folder, [sys.executable, "-B", SOURCE / "examples/train.py"])
        go = build_go(folder)
        if go:
            check_training(folder, [go])
        check_copy_task(build(folder, "copy_task"))
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
