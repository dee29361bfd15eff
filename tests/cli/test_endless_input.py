"""Input without an end: bounded, told, and ended by one SIGTERM."""
import os
import resource
import signal
import subprocess
import unittest
from pathlib import Path

BIN = Path(os.environ["NLM_BIN"])
FIXTURES = Path(os.environ["NLM_SOURCE"]) / "tests/data/models"
LLAMA = FIXTURES / "llama-gqa-f32.gguf"

PROGRAMS = [
    ("nlm-run", "-m", LLAMA, "-f", "-"),
    ("nlm-run", "-m", LLAMA, "--chat", "--chat-template", "chatml"),
    ("nlm-tokenize", "-m", LLAMA),
    ("nlm-eval", "-m", LLAMA, "--text", "-"),
]


def bound_memory():
    resource.setrlimit(resource.RLIMIT_AS, (3 << 29, 3 << 29))


class EndlessInput(unittest.TestCase):
    def test_it_is_refused_in_a_sentence(self):
        for program, *arguments in PROGRAMS:
            with open("/dev/zero", "rb") as zeros:
                done = subprocess.run([BIN / program, *map(str, arguments)], stdin=zeros, capture_output=True, timeout=120)
            self.assertEqual(done.returncode, 1, done)
            self.assertRegex(done.stderr, rb"stdin: (it|line 1) is longer than \d+ bytes")

    @unittest.skipIf(os.environ.get("NLM_SANITIZE"), "a sanitizer takes more addresses than this leaves")
    def test_it_is_refused_where_memory_ends_first(self):
        for program, *arguments in PROGRAMS:
            with open("/dev/zero", "rb") as zeros:
                done = subprocess.run([BIN / program, *map(str, arguments)], stdin=zeros, capture_output=True, timeout=120,
                                      preexec_fn=bound_memory)
            self.assertEqual(done.returncode, 1, done)
            self.assertRegex(done.stderr, rb"stdin: (no memory for|line 1 is longer)")

    def test_one_sigterm_ends_a_program_that_waits_for_more(self):
        for program, *arguments in PROGRAMS:
            process = subprocess.Popen([BIN / program, *map(str, arguments)], stdin=subprocess.PIPE,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            process.stdin.write(b"a text " * 100000)  # more than a pipe holds: it is reading when this returns
            process.send_signal(signal.SIGTERM)
            self.assertIn(process.wait(60), (0, -signal.SIGTERM), program)
            process.stdin.close()


if __name__ == "__main__":
    unittest.main()
