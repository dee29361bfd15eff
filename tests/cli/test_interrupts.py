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
        time.sleep(0.005)


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


if __name__ == "__main__":
    unittest.main()
