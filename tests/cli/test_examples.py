"""The examples, in C and in Python, built and run against libnlm.so: they give the text nlm-run gives."""
import os
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


def main():
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "generate"
        run(os.environ.get("CC", "cc"), "-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic",
            SOURCE / "examples/generate.c", f"-I{SOURCE / 'core/include'}", LIBRARY, f"-Wl,-rpath,{LIBRARY.parent}",
            "-o", program)
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
