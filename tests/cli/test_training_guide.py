"""docs/training.md, followed to the letter: its files are written and its commands run, in their order, in one empty folder
with the source tree's names; what it says of them is looked at afterwards."""
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

if os.environ.get("NLM_SANITIZE"):
    print("skipped: a program made outside the build does not carry the sanitizers")
    sys.exit(77)

SOURCE, BUILD = Path(os.environ["NLM_SOURCE"]), Path(os.environ["NLM_BUILD"])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
FILE = {"c": re.compile(r"/\* (\S+) \*/"), "toml": re.compile(r"# (\S+)")}


def steps(text):
    """A bash script that does what the page says."""
    for number, (kind, body) in enumerate(BLOCK.findall(text)):
        if kind == "sh":
            yield body
            continue
        path = FILE[kind].match(body) if kind in FILE else None
        assert path, f"block {number} is '{kind}' and no file: nothing tests it"
        yield f"cat > {path[1]} <<'END-OF-FILE'\n{body}END-OF-FILE\n"


def follow(folder):
    script = list(steps((SOURCE / "docs/training.md").read_text()))
    assert len(script) >= 10, "the page's blocks were not recognised"
    (folder / "build").symlink_to(BUILD)
    for name in ("tools", "core"):
        (folder / name).symlink_to(SOURCE / name)
    done = subprocess.run(["bash", "-euo", "pipefail", "-x", "-c", "\n".join(script)], cwd=folder, capture_output=True,
                          text=True, errors="replace", timeout=500)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done


def check_log(folder):
    """The run that was stopped has every step once, and has learned what the page says."""
    lines = [json.loads(line) for line in (folder / "story/log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, len(losses) + 1)), lines
    assert abs(losses[0] - 6.2) < 0.2, losses[0]
    assert losses[-1] < 3.5, losses[-1]
    assert any("perplexity" in line for line in lines), lines


def main():
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="test-training-guide-") as top:
        folder = Path(top)
        done = follow(folder)
        check_log(folder)
        plan = done.stderr[:done.stderr.index("+ timeout")]
        assert re.search(r"memory +[\d.]+ MiB: parameters", plan), plan
        assert "sample      Once upon a time there was" in done.stderr, done.stderr
        assert (folder / "lora/adapter.safetensors").stat().st_size > 1000
        told = [float(loss) for loss in re.findall(r"step \d: loss ([\d.]+)$", done.stdout, re.M)]
        assert len(told) == 5 and told[-1] < told[0], told
        assert "level 3" in done.stdout and "FAILED" not in done.stdout, done.stdout


main()
