"""What an interrupt, an end or a hangup in the middle of the work leaves: whole files or none, and no silence."""
import os
import re
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

BIN = Path(os.environ["NLM_BIN"])
MAMBA = Path(os.environ["NLM_SOURCE"]) / "tests/data/models/mamba-f32.gguf"


def wait_until(condition, process):
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < end, process.returncode
        time.sleep(0.002)


def has_caught(process, number):
    """Whether the program has taken the signal over."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) & 1 << (number - 1)


class Interrupts(unittest.TestCase):
    def setUp(self):
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.folder = Path(held.name)

    def left(self):
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))

    def test_a_session_is_told_to_be_unsaved(self):
        ids = self.folder / "ids"
        ids.write_text("1 " * 2000000)
        process = subprocess.Popen([BIN / "nlm-run", "-m", MAMBA, "--ids", ids, "--context", "10000000", "--threads", "1",
                                    "--save-session", self.folder / "kept"], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_until(lambda: has_caught(process, signal.SIGINT), process)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=60)[1]
        self.assertEqual(process.returncode, 1, told)
        self.assertIn(b"kept: the session is not saved", told)
        self.assertEqual(self.left(), ["ids"])

    def check(self, arguments, kept):
        """Each of the three signals, when a temporary is there."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(program=arguments[0], signal=number.name):
                process = subprocess.Popen([BIN / arguments[0], *map(str, arguments[1:])], stdin=subprocess.DEVNULL,
                                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                wait_until(lambda: any(".tmp-" in name for name in self.left()), process)
                process.send_signal(number)
                told = process.communicate(timeout=60)[1]
                self.assertEqual(process.returncode, 1, told)
                self.assertIn(b"cancelled", told)
                self.assertEqual(self.left(), kept)

    def test_a_file_that_is_not_finished_is_not_left(self):
        out = self.folder / "out"
        preset = ("nlm-bench", "--preset", "small_125m", "--type", "f16")
        self.check((*preset, "--save", out), [])
        big = self.folder / "big.gguf"
        subprocess.run([BIN / preset[0], *preset[1:], "--save", big], check=True, stdout=subprocess.DEVNULL)
        self.check(("nlm-model", "quantize", big, out, "--type", "q4_k"), ["big.gguf"])
        self.check(("nlm-model", "convert", big, out), ["big.gguf"])
        self.check(("nlm-model", "convert", big, out, "--shard-size", "0.05"), ["big.gguf"])
        tokens = self.folder / "tokens"
        tokens.write_text("1 " * 2000)
        self.check(("nlm-eval", "--model", big, "--tokens", tokens, "--logits", out), ["big.gguf", "tokens"])
        there = self.folder / "there"
        subprocess.run([BIN / "nlm-model", "convert", big, there], check=True, stdout=subprocess.DEVNULL)
        self.check(("nlm-model", "convert", there, out), self.left())


if __name__ == "__main__":
    unittest.main()
