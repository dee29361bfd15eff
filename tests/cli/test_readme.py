"""Every command of README.md is run, in its order, with the build's programs and a small model in place of the reader's.

What installs packages or fetches a model is not run here: tools/quickstart runs this test itself, and SmolLM2 is used where
tools/fetch-model has put it."""
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE, BUILD = Path(os.environ["NLM_SOURCE"]), Path(os.environ["NLM_BUILD"])
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nlm"
SMOLLM2 = CACHE / "SmolLM2-135M-Instruct.Q4_1.gguf"
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.M | re.S)


def prepared(folder):
    """A folder where the README's relative paths mean something."""
    (folder / "build").symlink_to(BUILD)
    (folder / "tools").symlink_to(SOURCE / "tools")
    shutil.copy(SOURCE / "tests/data/models/llama-gqa-f32.gguf", folder / "model.gguf")
    (folder / "program.c").write_text(
        '#include <nlm/nlm.h>\n#include <stdio.h>\nint main(void) { return puts(nlm_version()) < 0; }\n')
    return folder


def why_not(command):
    if command.startswith("tools/quickstart"):
        return "it is what runs this test"
    if "fetch-model" in command and not SMOLLM2.exists():
        return f"{SMOLLM2} is not there"
    if os.environ.get("NLM_SANITIZE") and command.startswith(("cc ", "./program")):
        return "a program outside the build does not carry the sanitizers"
    return None


def run(command, folder):
    done = subprocess.run(["bash", "-c", command], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="replace", timeout=500)
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def main():
    commands = [line.split("   #")[0].strip() for block in COMMANDS.findall((SOURCE / "README.md").read_text())
                for line in block.splitlines() if line.strip()]
    assert len(commands) >= 6, commands
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="test-readme-") as top:
        folder = prepared(Path(top))
        for command in commands:
            reason = why_not(command)
            if reason:
                print(f"skipped: {command}: {reason}")
                continue
            told = run(command, folder)
            print(f"ran: {command}")
            if "capital of France" in command:
                assert "Paris" in told, told


main()
