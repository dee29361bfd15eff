"""What reaches a terminal: nothing of a file or of generated text that a terminal would act on."""
import os
import pty
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

BIN = Path(os.environ["NLM_BIN"])
SOURCE = Path(os.environ["NLM_SOURCE"])
MAMBA = SOURCE / "tests/data/models/mamba-f32.gguf"

sys.path.insert(0, str(SOURCE / "tests/oracle"))
from tiny_gguf import ARRAY, I32, STRING, TYPE_F32, gguf  # noqa: E402

NASTY = "\x1b]0;title\x07\x1b[2J\x9b2J"


def run(program, *arguments, code=0, **options):
    done = subprocess.run([BIN / program, *map(str, arguments)], capture_output=True, timeout=120,
                          **{"stdin": subprocess.DEVNULL} | options)
    assert done.returncode == code, (arguments, done)
    return done


def on_a_terminal(program, *arguments, given=b"", stream="stdout"):
    """What the program writes to a stream that is a terminal."""
    screen, terminal = pty.openpty()
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | {stream: terminal}
    process = subprocess.Popen([BIN / program, *map(str, arguments)], stdin=subprocess.PIPE, **streams)
    os.close(terminal)
    process.stdin.write(given)
    process.stdin.close()
    shown = b""
    try:
        while more := os.read(screen, 4096):
            shown += more
    except OSError:  # the other end is closed
        pass
    os.close(screen)
    assert process.wait(60) == 0
    return shown


class Messages(unittest.TestCase):
    def check(self, told):
        text = told.decode()
        self.assertIn("\\x1b", text)
        self.assertFalse([c for c in text if (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160], text)

    def test_strings_of_a_model_file_are_escaped(self):
        vocabulary = [("general.architecture", STRING, "llama"), ("tokenizer.ggml.model", STRING, NASTY)]
        files = [
            [("general.architecture", STRING, NASTY)],
            vocabulary,
            [("general.architecture", STRING, "llama"), ("tokenizer.ggml.model", STRING, "gpt2"),
             ("tokenizer.ggml.pre", STRING, NASTY), ("tokenizer.ggml.tokens", (ARRAY, STRING), ["a", "b"]),
             ("tokenizer.ggml.token_type", (ARRAY, I32), [1, 1]), ("tokenizer.ggml.merges", (ARRAY, STRING), [NASTY])],
        ]
        with tempfile.TemporaryDirectory() as folder:
            for number, entries in enumerate(files):
                path = Path(folder) / f"{number}.gguf"
                path.write_bytes(gguf(entries, [(NASTY, (4,), TYPE_F32, bytes(16))]))
                program = "nlm-run" if number == 0 else "nlm-tokenize"
                self.check(run(program, "-m", path, code=1).stderr)
            self.check(run("nlm-model", "inspect", "--tensors", path).stdout)
            self.check(run("nlm-run", "-m", Path(folder) / NASTY, "-p", "a", code=1).stderr)

    def test_a_configuration_is_escaped(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write('[run]\n"\\u001b[2J" = 1\n')
            file.flush()
            self.check(run("nlm-run", file.name, code=2).stderr)

    def test_arguments_are_escaped(self):
        self.check(run("nlm-run", f"--{NASTY}", code=2).stderr)


class Progress(unittest.TestCase):
    ARGUMENTS = ("--preset", "small", "--prompt", 4, "--gen", 2, "--repeat", 2, "--probe-mb", 2, "--json")

    def test_a_long_run_says_on_a_terminal_alone_what_it_is_at(self):
        self.assertEqual(run("nlm-bench", *self.ARGUMENTS).stderr, b"")
        shown = on_a_terminal("nlm-bench", *self.ARGUMENTS, stream="stderr")
        for step in (b"loading", b"measuring, 1 of 2", b"measuring, 2 of 2"):
            self.assertIn(step, shown)
        self.assertTrue(shown.endswith(b"\r\x1b[K"), shown)


class Text(unittest.TestCase):
    # These weights give any byte there is.
    ARGUMENTS = ("-m", MAMBA, "-p", "the", "-n", 300, "--ignore-end", "--temperature", 3, "--seed", 1)

    def test_generated_text_is_escaped_on_a_terminal_alone(self):
        plain = run("nlm-run", *self.ARGUMENTS).stdout
        self.assertIn(b"\x1b", plain)
        shown = on_a_terminal("nlm-run", *self.ARGUMENTS).replace(b"\r\n", b"\n")
        self.assertFalse([byte for byte in shown if (byte < 32 and byte not in b"\n\t") or byte == 127], shown)
        self.assertIn(b"\\x1b", shown)
        self.assertIn(b"\x1b", on_a_terminal("nlm-run", *self.ARGUMENTS, "--raw"))

    def test_decoded_text_is_escaped_on_a_terminal_alone(self):
        ids = run("nlm-tokenize", "-m", MAMBA, stdin=None, input=b"a\x1b[2Jb\n").stdout
        self.assertEqual(run("nlm-tokenize", "-m", MAMBA, "-d", stdin=None, input=ids).stdout, b"a\x1b[2Jb\n")
        shown = on_a_terminal("nlm-tokenize", "-m", MAMBA, "-d", given=ids)
        self.assertEqual(shown, b"a\\x1b[2Jb\r\n")


if __name__ == "__main__":
    unittest.main()
