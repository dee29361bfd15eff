"""Model files that change while they are used, that cannot be mapped, and programs where there is no /proc."""
import os
import shlex
import subprocess
import tempfile
import unittest
from pathlib import Path

BIN, BUILD, SOURCE = (Path(os.environ[name]) for name in ("NLM_BIN", "NLM_BUILD", "NLM_SOURCE"))
CC = shlex.split(os.environ.get("CC", "cc"))
MODELS = SOURCE / "tests/data/models"
LLAMA, STORIES, MAMBA = (MODELS / name for name in ("llama-gqa-f32.gguf", "stories260K-q8_0.gguf", "mamba-f32.gguf"))

# A file system without mmap, which FUSE and some network file systems are.
WITHOUT_MMAP = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/mman.h>
void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
    if (fd >= 0 && !(protection & PROT_EXEC)) { errno = ENODEV; return MAP_FAILED; }
    void *(*real)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap");
    return real(at, bytes, protection, flags, fd, offset);
}
"""

# A container without /proc, as far as programs ask it who they are.
WITHOUT_PROC = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
int access(const char *path, int mode) {
    if (strncmp(path, "/proc/", 6) == 0) { errno = ENOENT; return -1; }
    return ((int (*)(const char *, int))dlsym(RTLD_NEXT, "access"))(path, mode);
}
char *realpath(const char *path, char *out) {
    if (strncmp(path, "/proc/", 6) == 0) { errno = ENOENT; return 0; }
    return ((char *(*)(const char *, char *))dlsym(RTLD_NEXT, "realpath"))(path, out);
}
"""

# Somebody who cuts the file CUT right after its size was asked for the COUNTth time.
CUT_ON_FSTAT = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
static int looked;
static int look(const char *name, int fd, struct stat *out) {
    struct stat cut;
    const char *path = getenv("CUT"), *count = getenv("COUNT");
    const int code = ((int (*)(int, struct stat *))dlsym(RTLD_NEXT, name))(fd, out);
    if (code || !path || !count || stat(path, &cut) || cut.st_ino != out->st_ino || cut.st_dev != out->st_dev) return code;
    if (++looked == atoi(count)) (void)!truncate(path, 4096);
    return code;
}
int fstat(int fd, struct stat *out) { return look("fstat", fd, out); }
int fstat64(int fd, struct stat64 *out) { return look("fstat64", fd, (struct stat *)out); }
"""


def run(program, *arguments, **options):
    options = {"stdin": subprocess.DEVNULL} | options
    if "input" in options:
        del options["stdin"]
    return subprocess.run([program, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300,
                          **options)


def text_of(*arguments, **options):
    done = run(BIN / "nlm-run", "-p", "Once upon a time", "-n", 40, "--ignore-end", *arguments, **options)
    assert done.returncode == 0, done
    return done.stdout


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(dir=BUILD, prefix="test-model-files-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def copy(self, model):
        path = self.folder / "model.gguf"
        path.write_bytes(model.read_bytes())
        return path


class Changed(Folder):
    """A chat between whose questions somebody cuts the file, which cpu_scalar reads where it is mapped."""

    def converse(self, *arguments):
        model = self.copy(STORIES)
        chat = subprocess.Popen([BIN / "nlm-run", "-m", model, "--chat", "--chat-template", "chatml", "--backend",
                                 "cpu_scalar", "--threads", "1", "-n", "8", *arguments], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(chat.kill)
        chat.stdin.write(b"Who are you?\n")
        chat.stdin.flush()
        first = chat.stdout.readline()
        os.truncate(model, 4096)
        rest, told = chat.communicate(b"And who am I?\n", timeout=60)
        return chat.returncode, first + rest, told.decode()

    def test_a_file_that_was_cut_is_a_sentence(self):
        code, _, told = self.converse()
        self.assertEqual(code, 1, told)
        self.assertRegex(told, r"was cut from \d+ bytes to 4096 while it was in use; .*--no-mmap")

    def test_what_was_read_into_memory_goes_on(self):
        code, text, told = self.converse("--no-mmap")
        self.assertEqual(code, 0, told)
        _, configured, _ = self.converse("--set", "model.mmap=false")
        self.assertEqual(text, configured)
        self.assertGreater(len(text.splitlines()), 1)


class Copied(Folder):
    def test_a_copy_gives_the_same_text(self):
        for model in (LLAMA, STORIES, MAMBA):
            with self.subTest(model.name):
                text = text_of("-m", model)
                self.assertEqual(text_of("-m", model, "--no-mmap"), text)
                for _ in range(2):  # written, then read
                    self.assertEqual(text_of("-m", model, "--no-mmap", "--pack-cache", self.folder / "packed"), text)

    def test_every_program_takes_the_option(self):
        ids = self.folder / "ids"
        ids.write_text("1 2 3")
        for program, *arguments in (
                ("nlm-model", "inspect", STORIES), ("nlm-model", "verify", STORIES),
                ("nlm-tokenize", "-m", STORIES), ("nlm-eval", "-m", STORIES, "--text", SOURCE / "LICENSE", "--window", 64)):
            with self.subTest(program, arguments=arguments):
                mapped, copied = (run(BIN / program, *arguments, *more, input=b"a text") for more in ((), ("--no-mmap",)))
                self.assertEqual((copied.returncode, copied.stdout), (0, mapped.stdout), copied.stderr)
        bench = run(BIN / "nlm-bench", "-m", LLAMA, "-p", 4, "-n", 4, "-r", 1, "-w", 0, "--probe-mb", 1, "--no-mmap")
        self.assertEqual(bench.returncode, 0, bench.stderr)


@unittest.skipIf(os.environ.get("NLM_SANITIZE"), "nothing may be loaded before a sanitizer")
class Shimmed(Folder):
    def environment(self, source):
        (self.folder / "shim.c").write_text(source)
        shim = self.folder / "shim.so"
        subprocess.run([*CC, "-shared", "-fPIC", "-w", "-o", shim, self.folder / "shim.c", "-ldl"], check=True, timeout=60)
        return os.environ | {"LD_PRELOAD": str(shim)}

    def cut_at_every_look(self, cut, is_clean, program, *arguments):
        """Until there are no more looks: a sentence, and nothing of what was to be written. The last look may be after all
        was read. Returns what is printed where nothing is cut."""
        environment, whole = self.environment(CUT_ON_FSTAT), cut.read_bytes()
        there, late = sorted(self.folder.rglob("*")), 0
        for count in range(1, 200):
            cut.write_bytes(whole)
            done = run(BIN / program, *arguments, env=environment | {"CUT": str(cut), "COUNT": str(count)})
            if cut.stat().st_size == len(whole):
                break
            told = done.stderr.decode()
            late += done.returncode == 0
            if done.returncode == 0:
                continue
            self.assertEqual(done.returncode, 1, (count, told))
            self.assertRegex(told, "was cut from [0-9]+ bytes to 4096 while it was in use", count)
            self.assertEqual(told.count("was cut"), 1, told)
            if is_clean:
                self.assertEqual(sorted(self.folder.rglob("*")), there)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreater(count, 2)
        self.assertLessEqual(late, 1)
        return done.stdout

    def test_a_model_cut_while_it_is_verified_is_a_sentence(self):
        model = self.copy(STORIES)
        self.cut_at_every_look(model, True, "nlm-model", "verify", model)

    def test_a_model_cut_while_it_is_quantised_leaves_nothing(self):
        model = self.copy(STORIES)
        self.cut_at_every_look(model, True, "nlm-model", "quantize", model, self.folder / "out.gguf", "--type", "q4_0")

    def test_a_model_cut_while_it_is_converted_leaves_nothing(self):
        model = self.copy(STORIES)
        self.cut_at_every_look(model, True, "nlm-model", "convert", model, self.folder / "out")

    def test_weights_cut_while_they_are_converted_leave_nothing(self):
        made = run(BIN / "nlm-model", "convert", STORIES, self.folder / "in")
        self.assertEqual(made.returncode, 0, made.stderr)
        weights, = (self.folder / "in").glob("*.safetensors")
        self.cut_at_every_look(weights, True, "nlm-model", "convert", self.folder / "in", self.folder / "out.gguf")

    def test_a_model_cut_while_it_is_loaded_is_a_sentence(self):
        model = self.copy(STORIES)
        for more in (), ("--pack-cache", self.folder / "packed"):
            with self.subTest(more=more):
                arguments = ("-p", "Once upon a time", "-n", 4, *more)
                text = self.cut_at_every_look(model, False, "nlm-run", "-m", model, *arguments)
                self.assertEqual(text, run(BIN / "nlm-run", "-m", STORIES, *arguments).stdout)

    def test_a_file_system_without_mmap_serves(self):
        environment = self.environment(WITHOUT_MMAP)
        for model in (LLAMA, STORIES, MAMBA):
            with self.subTest(model.name):
                text = text_of("-m", model)
                self.assertEqual(text_of("-m", model, env=environment), text)
                for _ in range(2):
                    self.assertEqual(text_of("-m", model, "--pack-cache", self.folder / "packed", env=environment), text)

    def test_without_proc_the_backends_are_found(self):
        environment = self.environment(WITHOUT_PROC)
        listing = run(BIN / "nlm-plugins").stdout
        self.assertEqual(run(BIN / "nlm-plugins", env=environment, cwd="/").stdout, listing)
        self.assertEqual(run("./nlm-plugins", env=environment, cwd=BIN).stdout, listing)
        link = self.folder / "link"
        link.symlink_to(BIN / "nlm-plugins")
        self.assertEqual(run("./link", env=environment, cwd=self.folder).stdout, listing)
        found = run(BIN / "nlm-conform", "--backend", "cpu_scalar", "--filter", "models/llama-gqa-f32,cache:f32",
                    env=environment, cwd="/")
        self.assertEqual(found.returncode, 0, found.stdout)


if __name__ == "__main__":
    unittest.main()
