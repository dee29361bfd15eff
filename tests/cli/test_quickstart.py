"""tools/quickstart builds what it runs and no more."""
import os
import subprocess
import sys
from pathlib import Path

BUILD = Path(os.environ["NLM_BUILD"])

if not (BUILD / "build.ninja").exists():
    print("skipped: the build is not Ninja's, which alone lists what a target needs")
    sys.exit(77)


def commands(target):
    done = subprocess.run(["ninja", "-C", BUILD, "-t", "commands", target], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


few, all_of_them = commands("quickstart"), commands("all")
for needed in ("bin/nlm-run", "bin/nlm-plugins", "nlm/nlm-vet", "nlm/cpu_scalar.so"):
    assert any(f"-o {needed}" in line or f"-o lib/{needed}" in line for line in few), needed
built_for_tests = [line for line in few if "/tests/" in line]
assert not built_for_tests, built_for_tests[:3]
assert len(few) < len(all_of_them) / 2, (len(few), len(all_of_them))
print(f"{len(few)} commands of {len(all_of_them)}")
