"""nlm-conform finds each of many ways in which a backend can be wrong, in the op that is, for the right reason."""
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BIN, BUILD, SOURCE = (Path(os.environ[name]) for name in ("NLM_BIN", "NLM_BUILD", "NLM_SOURCE"))
sys.path.insert(0, str(SOURCE / "tests/mutants"))
from mutants import MUTANTS  # noqa: E402

CC = shlex.split(os.environ.get("CC", "cc"))
FLAGS = ["-std=c11", "-O1", "-g0", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-D_GNU_SOURCE"]
LINK = ["-shared", f"-Wl,--version-script={SOURCE}/backends/plugin.map"]
FOLDERS = ("cpu", "cpu_scalar", "cpu_scalar/ops")


def run(command):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
    if result.returncode:
        raise RuntimeError(f"{shlex.join(map(str, command))}\n{result.stderr}")


def compile_file(source, backends, target):
    """backends: the copy of backends/ that includes come from."""
    includes = [SOURCE / "core/include", backends / "cpu_scalar", backends]
    run([*CC, *FLAGS, *(f"-I{folder}" for folder in includes), "-c", source, "-o", target])


def conform(library, *args):
    command = [BIN / "nlm-conform", "--library", library, "--strict", "--timeout", "20", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


class Kit:
    """A copy of the sources with all their objects; a mutant compiles only what it changes."""

    def __init__(self, work):
        self.work = work
        self.backends = work / "backends"
        shutil.copytree(SOURCE / "backends", self.backends)
        self.sources = [p.relative_to(self.backends) for d in FOLDERS for p in sorted((self.backends / d).glob("*.c"))]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda s: compile_file(self.backends / s, self.backends, self.object(s)), self.sources))

    def object(self, source):
        return self.work / (str(source).replace("/", "-") + ".o")

    def link(self, name, objects):
        library = self.work / f"{name}.so"
        run([*CC, *LINK, "-o", library, *objects, "-lm"])
        return library

    def users_of(self, header):
        """Sources that include a changed header by name."""
        return [s for s in self.sources if f'"{header.name}"' in (self.backends / s).read_text()]

    def mutate(self, name, file, before, after):
        file = Path(file)
        text = (self.backends / file).read_text()
        if text.count(before) != 1:
            raise RuntimeError(f"{file} has {text.count(before)} times, expected once: {before}")
        folder = self.work / name
        shutil.copytree(self.backends, folder)
        (folder / file).write_text(text.replace(before, after))
        changed = [file] if file.suffix == ".c" else self.users_of(file)
        objects = []
        for source in self.sources:
            objects.append(folder / "changed" / self.object(source).name if source in changed else self.object(source))
        (folder / "changed").mkdir()
        for source in changed:
            compile_file(folder / source, folder, folder / "changed" / self.object(source).name)
        return self.link(name, objects)


def judge(kit, mutant):
    """What is wrong with how nlm-conform took the mutant, or None."""
    name, file, before, after, op, reason = mutant
    try:
        library = kit.mutate(name, file, before, after)
        result = conform(library, "--filter", op)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return str(error)
    failures = re.findall(rf"^FAILED {op}/\S+: (.*)$", result.stdout, re.M)
    if result.returncode != 1 or not failures:
        return f"survived {op}: exit {result.returncode}\n{result.stderr}{result.stdout[-400:]}"
    if not any(re.search(reason, failure) for failure in failures):
        return f"none of {len(failures)} reasons matches {reason!r}, for example: {failures[:3]}"
    return None


class Mutants(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(dir=BUILD, prefix="test-mutants-")
        cls.kit = Kit(Path(cls.folder.name))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_unchanged_sources_pass_every_op_of_the_table(self):
        library = self.kit.link("unchanged", [self.kit.object(source) for source in self.kit.sources])
        result = conform(library, "--complete", "--level", "2")
        self.assertEqual(result.returncode, 0, result.stdout[-2000:] + result.stderr)

    def test_names_are_unique_and_there_are_many(self):
        self.assertEqual(len({mutant[0] for mutant in MUTANTS}), len(MUTANTS))
        self.assertGreaterEqual(len(MUTANTS), 20)

    def test_each_mutant_is_found_in_its_op_for_its_reason(self):
        with ThreadPoolExecutor(2) as pool:
            for mutant, problem in zip(MUTANTS, pool.map(lambda m: judge(self.kit, m), MUTANTS)):
                with self.subTest(mutant[0]):
                    self.assertIsNone(problem)


if __name__ == "__main__":
    if os.environ.get("NLM_SANITIZE"):
        print("skipped: a mutant does not carry the sanitizers, and what it breaks they would find first")
        sys.exit(77)
    unittest.main()
