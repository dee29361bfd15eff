"""docs/writing-a-backend.md, followed to the letter: its files are written, its commands are run, in their order, in one
empty folder and against a fresh installation."""
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

if os.environ.get("NLM_SANITIZE"):
    print("skipped: plugins made outside the build do not carry the sanitizers")
    sys.exit(77)

SOURCE, BUILD = Path(os.environ["NLM_SOURCE"]), Path(os.environ["NLM_BUILD"])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
FILE = re.compile(r"/\* (demo/\S+)")


def steps(text):
    """A bash script that does what the guide says."""
    for number, (kind, body) in enumerate(BLOCK.findall(text)):
        if kind == "c":
            path = FILE.match(body)
            assert path, f"block {number}: its first line does not name a file: {body[:60]}"
            yield f"cat > {path[1]} <<'END-OF-FILE'\n{body}END-OF-FILE\n"
        elif kind == "sh":
            yield body
        else:
            raise AssertionError(f"block {number} is '{kind}': neither c nor sh, so nothing tests it")


def follow(folder, prefix):
    script = list(steps((SOURCE / "docs/writing-a-backend.md").read_text()))
    assert len(script) >= 10, "the guide's blocks were not recognised"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NLM_PLUGIN")}
    environment |= {"NLM_PREFIX": str(prefix), "MODEL": str(SOURCE / "tests/data/models/llama-gqa-f32.gguf"),
                    "PATH": f"{prefix / 'bin'}:{os.environ['PATH']}", "CFLAGS": "-Werror"}
    done = subprocess.run(["bash", "-euo", "pipefail", "-x", "-c", "\n".join(script)], cwd=folder, env=environment,
                          capture_output=True, text=True, errors="replace", timeout=500)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done


def main():
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="test-guide-") as top:
        prefix, folder = Path(top) / "prefix", Path(top) / "work"
        folder.mkdir()
        subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix], check=True, stdout=subprocess.DEVNULL)
        guide = list(prefix.rglob("writing-a-backend.md"))
        assert len(guide) == 1, guide
        done = follow(folder, prefix)
        assert done.stdout.count("level 0, the rules of the ABI: passed") >= 4, done.stdout
        assert "FAILED" not in done.stdout, done.stdout
        for op in ("matmul", "silu_mul", "gate_up_silu_mul"):
            row = re.findall(rf"^{op} +(\d+) +0 +0 ", done.stdout, re.M)
            assert row and int(row[-1]) > 5, (op, done.stdout)
        assert re.search(r'"name":\s*"demo",\s*"state":\s*"ready"', done.stdout), done.stdout
        assert re.search(r"not on example_stream:\s+attention", done.stderr), done.stderr[-3000:]
        assert (folder / "demo/certificate.json").stat().st_size > 1000


main()
