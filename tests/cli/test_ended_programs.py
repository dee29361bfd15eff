"""A program that somebody ends, by a signal to it alone, leaves no process of its own behind."""
import os
import signal
import subprocess
import time
import unittest
from pathlib import Path

BIN = Path(os.environ["NLM_BIN"])
MODEL = Path(os.environ["NLM_SOURCE"]) / "tests/data/models/llama-gqa-f32.gguf"

LONG_RUNS = [
    ("nlm-bench", "--model", MODEL, "--prompt", "6", "--gen", "100", "--repeat", "10000", "--threads", "1"),
    ("nlm-conform", "--backend", "cpu_scalar", "--level", "1"),
    ("nlm-conform", "--backend", "cpu_scalar", "--level", "0"),
]


def children_of(process):
    return [int(c) for c in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=60):
    """What the condition gave when it first was true, or last."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return value


class EndedPrograms(unittest.TestCase):
    def test_no_child_outlives_a_program_that_was_ended(self):
        for name, *arguments in LONG_RUNS:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                with self.subTest(program=name, arguments=arguments, signal=number.name):
                    self.check(BIN / name, arguments, number)

    def check(self, program, arguments, number):
        with subprocess.Popen([program, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as started:
            children = wait_until(lambda: children_of(started.pid))
            started.send_signal(number)
            self.assertEqual(started.wait(timeout=60), -number)
        self.assertTrue(children, "it started no process")
        self.assertTrue(wait_until(lambda: not any(map(is_running, children))), f"{children} run on")


if __name__ == "__main__":
    unittest.main(verbosity=2)
