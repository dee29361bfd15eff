"""nlm-run --chat: on a terminal, when the context is full, and the texts that people's editors leave."""
import fcntl
import json
import os
import pty
import resource
import select
import signal
import subprocess
import tempfile
import termios
import unittest
from pathlib import Path

PROGRAM = Path(os.environ["NLM_BIN"]) / "nlm-run"
FIXTURES = Path(os.environ["NLM_SOURCE"]) / "tests/data/models"
LLAMA = FIXTURES / "llama-gqa-f32.gguf"
ARGUMENTS = ("-m", LLAMA, "--chat", "--chat-template", "chatml", "--ignore-end", "-q")


def run(*arguments, given=b"", code=0):
    done = subprocess.run([PROGRAM, *map(str, (*ARGUMENTS, *arguments))], input=given, capture_output=True, timeout=120)
    assert done.returncode == code, done
    return done


def report(*arguments, **options):
    return json.loads(run(*arguments, "--json", **options).stdout)


class Terminal:
    """nlm-run with a keyboard and a screen."""

    def __init__(self, *arguments):
        self.keyboard, terminal = pty.openpty()
        self.process = subprocess.Popen([PROGRAM, *map(str, (*ARGUMENTS, *arguments))], stdin=terminal, stdout=terminal,
                                        stderr=terminal, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
                                        env=os.environ | {"TERM": "xterm"})
        os.close(terminal)
        self.shown = b""

    def read(self):
        ready, _, _ = select.select([self.keyboard], [], [], 60)
        assert ready, self.shown
        try:
            more = os.read(self.keyboard, 4096)
        except OSError:  # the other end is closed
            more = b""
        self.shown += more
        return more

    def wait_for(self, text):
        """What was shown up to the text, which is then forgotten."""
        while text not in self.shown:
            assert self.read(), self.shown
        before, _, self.shown = self.shown.partition(text)
        return before

    def prompt(self):
        return self.wait_for(b"> ")

    def type(self, text):
        os.write(self.keyboard, text.encode() if isinstance(text, str) else text)

    def say(self, line):
        self.type(line + "\n")
        return self.prompt()

    def end(self, code=0):
        while self.read():
            pass
        os.close(self.keyboard)
        assert self.process.wait(60) == code, self.shown
        return self.shown

    def messages(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "chat.json"
            self.say(f"/save {path}")
            return [(message["role"], message["content"]) for message in json.loads(path.read_text())["messages"]]


class Keyboard(unittest.TestCase):
    def questions(self, terminal):
        return [content for role, content in terminal.messages() if role == "user"]

    def edited(self, *arguments):
        terminal = Terminal(*arguments)
        if b"\x1b[?2004h" in terminal.prompt():
            return terminal
        terminal.type("\x04")
        terminal.end()
        self.skipTest("nlm-run was built without libedit")

    def answering(self, question):
        terminal = Terminal("--context", 1000000, "-n", -1)
        terminal.prompt()
        terminal.type(question + "\n")
        terminal.wait_for(question.encode() + b"\r\n")
        while len(terminal.shown) < 100:
            terminal.read()
        return terminal

    def test_ctrl_c_ends_the_answer_and_another_at_the_prompt_the_program(self):
        terminal = self.answering("one")
        terminal.type("\x03")
        terminal.prompt()
        (_, question), (role, answer) = terminal.messages()
        self.assertEqual((question, role), ("one", "assistant"))
        self.assertTrue(answer)
        terminal.type("\x03")
        terminal.end()

    def test_sigterm_ends_the_program_in_an_answer(self):
        terminal = self.answering("one")
        terminal.process.send_signal(signal.SIGTERM)
        terminal.end()

    def test_long_lines_history_and_utf_8(self):
        terminal = self.edited("-n", 2, "--context", 100000)
        long = "x" * 5000 + " Gr\u00f6\u00dfe"
        terminal.say(long)
        terminal.say("\x1b[A")  # the arrow up
        self.assertEqual(self.questions(terminal), [long, long])
        terminal.type("\x04")
        terminal.end()

    def test_a_paste_of_lines_is_one_question(self):
        terminal = self.edited("-n", 2)
        terminal.type("\x1b[200~one\rtw\u00f6\x1b[201~ and more")
        terminal.wait_for(b" and more")
        terminal.say("")
        self.assertEqual(self.questions(terminal), ["one\ntw\u00f6 and more"])
        terminal.type("\x04")
        terminal.end()

    def test_commands(self):
        terminal = Terminal("-n", 2, "--temperature", 1, "--seed", 3, "--system", "be brief")
        terminal.prompt()
        shown = terminal.say("/help")
        for name in ("reset", "save FILE", "load FILE", "system TEXT", "regenerate", "drop", "bye"):
            self.assertIn(f"/{name}".replace(" ", ""), shown.decode().replace(" ", ""))
        self.assertIn(b"no answer yet", terminal.say("/regenerate"))
        terminal.say("one")
        before = terminal.messages()
        self.assertEqual([role for role, _ in before], ["system", "user", "assistant"])
        terminal.say("/regenerate")
        again = terminal.messages()
        self.assertEqual(again[:2], before[:2])
        self.assertNotEqual(again[2], before[2])
        terminal.say("/system")
        terminal.say("two")
        self.assertEqual([role for role, _ in terminal.messages()], ["user", "assistant"] * 2)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "chat.json"
            terminal.say(f"/save {path}")
            kept = terminal.messages()
            terminal.say("/system be long")
            terminal.say("/reset")
            self.assertEqual(terminal.messages(), [("system", "be long")])
            self.assertIn(b"cannot be opened", terminal.say(f"/load {path}.not"))
            path.with_suffix(".bad").write_text('{"messages": [{"role": "user", "content": "a"}]}')
            self.assertIn(b"out of place", terminal.say(f"/load {path.with_suffix('.bad')}"))
            terminal.say(f"/load {path}")
            self.assertEqual(terminal.messages(), kept)
        self.assertIn(b"/save needs a FILE", terminal.say("/save"))
        self.assertIn(b"no command '/nonsense'", terminal.say("/nonsense a b"))
        terminal.type("/bye\n")
        terminal.end()

    def test_a_file_that_fails_is_told_and_the_chat_goes_on(self):
        terminal = Terminal("-n", 2)
        terminal.prompt()
        terminal.say("one")
        kept = terminal.messages()
        with tempfile.TemporaryDirectory() as folder:
            for line in (f"/save {folder}", f"/load {folder}", "/save /dev/full"):
                self.assertIn(b"nlm-run: ", terminal.say(line), line)
            self.assertEqual(terminal.messages(), kept)
        terminal.type("/bye\n")
        terminal.end()

    def test_a_full_disk_leaves_the_conversation_that_was_saved(self):
        terminal = Terminal("-n", 2)
        terminal.prompt()
        terminal.say("one")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "chat.json"
            terminal.say(f"/save {path}")
            before = path.read_bytes()
            terminal.say("two")
            kept = terminal.messages()
            _, most = resource.prlimit(terminal.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(terminal.process.pid, resource.RLIMIT_FSIZE, (16, most))
            self.assertIn(b"File too large", terminal.say(f"/save {path}"))
            resource.prlimit(terminal.process.pid, resource.RLIMIT_FSIZE, (most, most))
            self.assertEqual(path.read_bytes(), before)
            self.assertEqual(os.listdir(folder), [path.name])
            self.assertEqual(terminal.messages(), kept)
        terminal.type("/bye\n")
        terminal.end()

    def test_a_loaded_conversation_goes_on_as_it_would_have(self):
        whole = Terminal("-n", 4)
        whole.prompt()
        whole.say("one")
        whole.say("two")
        expected = whole.messages()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "chat.json"
            path.write_text(json.dumps({"messages": [{"role": r, "content": c} for r, c in expected[:2]]}))
            if all(c.isascii() for _, c in expected):  # else the tokens may not be the same
                whole.say("/reset")
                whole.say(f"/load {path}")
                whole.say("two")
                self.assertEqual(whole.messages()[:3], expected[:3])
        whole.type("\x04")
        whole.end()

    def test_a_full_context_is_told_and_the_chat_goes_on(self):
        terminal = Terminal("--context", 64, "-n", -1)
        terminal.prompt()
        self.assertIn(b"the answer cut; --context N makes it longer, /drop", terminal.say("one"))
        self.assertIn(b"--context N makes it longer", terminal.say("two"))
        self.assertEqual(self.questions(terminal), ["one"])
        terminal.say("/reset")
        terminal.say("three")
        self.assertEqual(self.questions(terminal), ["three"])
        terminal.type("/bye\n")
        terminal.end()


class FullContext(unittest.TestCase):
    QUESTIONS = b"one\ntwo\nthree\n"

    def test_what_there_is_is_printed_and_how_it_ended(self):
        done = run("--context", 80, "-n", 20, "--json", given=self.QUESTIONS, code=1)
        self.assertIn(b"--context", done.stderr)
        printed = json.loads(done.stdout)
        self.assertIn("--context", printed["error"])
        turns = printed["turns"]
        self.assertEqual([turn["question"] for turn in turns], ["one", "two", "three"][: len(turns)])
        self.assertEqual((turns[0]["ended_by"], turns[-1]["ended_by"]), ("max_tokens", "full context"))
        self.assertTrue(turns[0]["text"])

    def test_text_that_was_cut_is_told(self):
        done = run("--context", 64, "-n", -1, given=b"one\n")
        self.assertIn(b"the answer cut; --context N makes it longer, --overflow drop", done.stderr)

    def test_the_oldest_turns_can_be_dropped(self):
        for arguments in (("--overflow", "drop"), ("--set", "chat.overflow=drop")):
            printed = report("--context", 80, "-n", 20, *arguments, given=self.QUESTIONS)
            self.assertEqual([turn["ended_by"] for turn in printed["turns"]], ["max_tokens"] * 3)
        self.assertEqual(run("--overflow", "fall", code=2).stdout, b"")

    def test_an_answer_goes_on_when_its_context_is_full(self):
        questions = b"one\ntwo\n"
        cut = report("--context", 200, "-n", 60, given=questions)["turns"]
        whole = report("--context", 200, "-n", 60, "--overflow", "drop", given=questions)
        self.assertEqual(whole["generated_tokens"], 120)
        self.assertEqual((cut[1]["ended_by"], whole["turns"][1]["ended_by"]), ("full context", "max_tokens"))
        self.assertTrue(whole["turns"][1]["text"].startswith(cut[1]["text"].rstrip("\ufffd")))


class TextFiles(unittest.TestCase):
    def questions(self, given, **options):
        return [turn["question"] for turn in report("-n", 1, given=given, **options)["turns"]]

    def test_lines_end_in_crlf_too(self):
        self.assertEqual(self.questions(b"one\r\n\r\ntwo\r\n\r\nthree"), ["one", "two", "three"])

    def test_a_byte_order_mark_is_no_text(self):
        self.assertEqual(self.questions(b"\xef\xbb\xbfone\ntwo\n"), ["one", "two"])

    def test_a_nul_byte_is_an_error(self):
        done = run("-n", 1, "--json", given=b"one\ntwo\0 three\n", code=1)
        self.assertIn(b"line 2 holds a NUL byte", done.stderr)
        self.assertEqual([turn["question"] for turn in json.loads(done.stdout)["turns"]], ["one"])
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"one\0two")
            file.flush()
            self.assertIn(b"byte 3 is 0", run("-f", file.name, code=1).stderr)

    def test_prompt_files(self):
        def text(data):
            with tempfile.NamedTemporaryFile() as file:
                file.write(data)
                file.flush()
                return subprocess.run([PROGRAM, "-m", LLAMA, "-f", file.name, "-n", "8", "-q"], check=True,
                                      stdin=subprocess.DEVNULL, capture_output=True).stdout

        plain = text(b"one\ntwo\n")
        self.assertEqual(text(b"one\r\ntwo\r\n"), plain)
        self.assertEqual(text(b"\xef\xbb\xbfone\ntwo\n"), plain)
        self.assertNotEqual(text(b"one\rtwo\n"), plain)
        self.assertNotEqual(text(b"one\0two\n"), text(b"one"))


if __name__ == "__main__":
    unittest.main()
