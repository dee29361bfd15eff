"""Each of many ways in which the code can be wrong is found, by the test that is there for it.

Those of backends by nlm-conform, in the op that is wrong, for the right reason; those of core by the case of a unit test.
"""
import json
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
import core  # noqa: E402
import vector  # noqa: E402
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
    """backends: the copy of backends/ that includes come from, with a copy of the public ones."""
    includes = [backends / "include", backends / "cpu_scalar", backends]
    run([*CC, *FLAGS, *(f"-I{folder}" for folder in includes), "-c", source, "-o", target])


def conform(library, *args):
    command = [BIN / "nlm-conform", "--library", library, "--timeout", "20", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=400)


class Kit:
    """A copy of the sources with all their objects; a mutant compiles only what it changes."""

    def __init__(self, work):
        self.work = work
        self.backends = work / "backends"
        shutil.copytree(SOURCE / "backends", self.backends)
        shutil.copytree(SOURCE / "core/include", self.backends / "include")
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
        """Sources that include a changed header by name; all, of a public one."""
        if header.parts[0] == "include":
            return self.sources
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


class BuildTree:
    """The objects and programs of the build. A mutant compiles one source, as the build does but less optimised, and links
    it with the rest."""

    def __init__(self, work):
        self.work = work
        self.commands = {}
        for entry in json.loads((BUILD / "compile_commands.json").read_text()):
            command = shlex.split(entry["command"])
            self.commands[command[command.index("-o") + 1]] = command

    def compile(self, name, source, before, after, output):
        text = source.read_text()
        if text.count(before) != 1:
            raise RuntimeError(f"{source} has {text.count(before)} times, expected once: {before}")
        changed, target = self.work / f"{name}.c", self.work / f"{name}.o"
        changed.write_text(text.replace(before, after))
        command = [part for part in self.commands[output] if part not in ("-g", "-Werror")]
        replaced = {output: target, str(source): changed}
        run([*(replaced.get(part, part) for part in command), "-O1", "-w"])
        return target

    def backend(self, name, file, before, after):
        folder = "backends/CMakeFiles/cpu_avx2"
        changed = f"{folder}_kernels.dir/cpu/{file}.o"
        target = self.compile(name, SOURCE / "backends/cpu" / file, before, after, changed)
        rest = [BUILD / o for o in self.commands if re.match(f"{folder}(_\w+)?[.]dir/", o) and o != changed]
        library = self.work / f"{name}.so"
        run([*CC, *LINK, "-o", library, target, *rest, "-lm"])
        return library

    def program(self, name, file, before, after, program):
        target = self.compile(name, SOURCE / "core" / file, before, after, f"core/CMakeFiles/nlm_core.dir/{file}.o")
        listed = subprocess.run(["ninja", "-C", BUILD, "-t", "commands", "-s", f"tests/{program}"], check=True,
                                capture_output=True, text=True).stdout
        command = shlex.split(listed.strip().splitlines()[-1])
        command = command[command.index("&&") + 1 : len(command) - command[::-1].index("&&") - 1]
        at = command.index("-o") + 1
        command[at : at + 1] = [str(self.work / name), str(target)]  # ahead of the library's own
        subprocess.run(command, check=True, cwd=BUILD, capture_output=True)
        return self.work / name


def judge_failures(result, row, reason):
    failures = re.findall(rf"^FAILED {re.escape(row)}\S*: (.*)$", result.stdout, re.M)
    if result.returncode != 1 or not failures:
        return f"survived {row}: exit {result.returncode}\n{result.stderr}{result.stdout[-400:]}"
    if not any(re.search(reason, failure) for failure in failures):
        return f"none of {len(failures)} reasons matches {reason!r}, for example: {failures[:3]}"
    return None


def judge(kit, mutant):
    """What is wrong with how nlm-conform took the mutant, or None."""
    name, file, before, after, op, reason = mutant
    try:
        library = kit.mutate(name, file, before, after)
        return judge_failures(conform(library, "--strict", "--filter", op), f"{op}/", reason)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return str(error)


def judge_vector(tree, mutant, *options):
    name, file, before, after, row, reason = mutant
    try:
        library = tree.backend(name, file, before, after)
        return judge_failures(conform(library, "--filter", row, *options), row, reason)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return str(error)


def judge_core(tree, mutant):
    """What is wrong with how the case of a unit test took the mutant, or None."""
    name, file, before, after, program, case = mutant
    try:
        path = tree.program(name, file, before, after, program)
        result = subprocess.run([path], capture_output=True, text=True, timeout=120,
                                env={**os.environ, "XDG_CACHE_HOME": str(BUILD / "tests/cache")})
    except (RuntimeError, subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        return f"{error} {getattr(error, 'stderr', '')}"
    failed = re.findall(r"Test: (\w+) \.\.\.(?:(?!passed$|Test:).|\n)*?FAILED$", result.stdout, re.M)
    if case not in failed:
        return f"survived {case} of {program}: exit {result.returncode}, failed: {failed}\n{result.stdout[-300:]}"
    return None


class Mutants(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(dir=BUILD, prefix="test-mutants-")
        cls.kit = Kit(Path(cls.folder.name))
        cls.tree = BuildTree(Path(cls.folder.name))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_unchanged_sources_pass_every_op_of_the_table(self):
        library = self.kit.link("unchanged", [self.kit.object(source) for source in self.kit.sources])
        result = conform(library, "--strict", "--complete")
        self.assertEqual(result.returncode, 0, result.stdout[-2000:] + result.stderr)

    def test_names_are_unique_and_there_are_many(self):
        every = MUTANTS + vector.MUTANTS + vector.COARSE_MUTANTS + core.MUTANTS
        self.assertEqual(len({mutant[0] for mutant in every}), len(every))
        self.assertGreaterEqual(len(MUTANTS), 20)
        self.assertGreaterEqual(len(vector.MUTANTS + core.MUTANTS), 25)

    def check_each(self, mutants, judge_one, kit):
        with ThreadPoolExecutor(2) as pool:
            for mutant, problem in zip(mutants, pool.map(lambda m: judge_one(kit, m), mutants)):
                with self.subTest(mutant[0]):
                    self.assertIsNone(problem)

    def test_each_mutant_is_found_in_its_op_for_its_reason(self):
        self.check_each(MUTANTS, judge, self.kit)

    def test_each_mutant_of_the_vector_kernels_is_found_for_its_reason(self):
        if conform(BUILD / "lib/nlm/cpu_avx2.so", "--filter", "add").returncode:
            self.skipTest("cpu_avx2 is not for this machine")
        self.check_each(vector.MUTANTS, judge_vector, self.tree)
        self.check_each(vector.COARSE_MUTANTS, lambda tree, m: judge_vector(tree, m, "--option", "activations=8"), self.tree)

    def test_each_mutant_of_core_fails_the_case_that_is_there_for_it(self):
        self.check_each(core.MUTANTS, judge_core, self.tree)


if __name__ == "__main__":
    if os.environ.get("NLM_SANITIZE"):
        print("skipped: a mutant does not carry the sanitizers, and what it breaks they would find first")
        sys.exit(77)
    unittest.main()
