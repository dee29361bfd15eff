"""Files that are read are not written over, by whatever name."""
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

BIN, SOURCE = (Path(os.environ[name]) for name in ("NLM_BIN", "NLM_SOURCE"))
LLAMA = SOURCE / "tests/data/models/llama-gqa-f32.gguf"


class Outputs(unittest.TestCase):
    def setUp(self):
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.folder = Path(held.name)
        self.model, self.text, self.ids = (self.folder / name for name in ("model.gguf", "a.json", "ids"))
        self.model.write_bytes(LLAMA.read_bytes())
        self.text.write_text("once upon a time there was a text. " * 40)
        self.ids.write_text("1 2 3")

    def names_of(self, path):
        """Itself, a link of each kind, and a way around."""
        links = [self.folder / f"{kind}-{path.name}" for kind in ("hard", "soft")]
        if not links[0].exists():
            links[0].hardlink_to(path)
            links[1].symlink_to(path)
        return [path, *links, self.folder / ".." / self.folder.name / path.name]

    def refused(self, says, program, *arguments):
        done = subprocess.run([BIN / program, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=120)
        self.assertEqual(done.returncode, 2, done)
        self.assertIn(says, done.stderr)

    def check(self, read, option, program, *arguments):
        """With each name of what is read in place of OUT."""
        before = read.read_bytes()
        for name in self.names_of(read):
            with self.subTest(program, option=option, name=name):
                self.refused(f"{option} is the file that is read; name another\n", program,
                             *(name if argument == "OUT" else argument for argument in arguments))
                self.assertEqual(read.read_bytes(), before)

    def test_eval(self):
        for read in self.model, self.ids:
            self.check(read, "--logits", "nlm-eval", "-m", self.model, "--tokens", self.ids, "--logits", "OUT")

    def test_run(self):
        for read in self.model, self.text:
            self.check(read, "--save-session", "nlm-run", "-m", self.model, "-f", self.text, "-n", 1, "--save-session",
                       "OUT")
        config = self.folder / "run.toml"
        config.write_text('[model]\npath = "model.gguf"\n')
        self.check(config, "--save-session", "nlm-run", config, "-p", "a", "-n", 1, "--save-session", "OUT")

    def test_a_session_goes_on_in_its_file(self):
        saved = self.folder / "saved"
        for more in (), ("--session", saved):
            done = subprocess.run([BIN / "nlm-run", "-m", self.model, "-p", "a", "-n", "1", *more, "--save-session", saved],
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
            self.assertEqual(done.returncode, 0, done)

    def test_quantize(self):
        out = self.folder / "out.gguf"
        for option, arguments in (
                ("OUT", (self.model, "OUT", "--type", "q8_0", "--calibrate", self.text)),
                ("--save-importance", (self.model, out, "--type", "q8_0", "--calibrate", self.text, "--save-importance",
                                       "OUT"))):
            for read in self.model, self.text:
                self.check(read, option, "nlm-model", "quantize", *arguments)
        for is_there in False, True:
            if is_there:
                out.write_text("before")
            for name in out, self.folder / ".." / self.folder.name / out.name:
                self.refused("--save-importance is the file OUT; name another\n", "nlm-model", "quantize", self.model,
                             out, "--type", "q8_0", "--calibrate", self.text, "--save-importance", name)
        self.assertEqual(out.read_text(), "before")

    def test_bench(self):
        self.check(self.model, "--samples-json", "nlm-bench", "--model", self.model, "--samples-json", "OUT")

    def test_tokenize(self):
        other = self.folder / "other.txt"
        other.write_text("a text")
        self.check(self.text, "--out", "nlm-tokenize", "train", "-n", 300, "-o", "OUT", other, self.text)
        vocab = self.folder / "v.gguf"
        subprocess.run([BIN / "nlm-tokenize", "train", "-n", "300", "-o", vocab, other], check=True, capture_output=True)
        self.check(vocab, "OUT", "nlm-tokenize", "convert", vocab, "OUT")

    @unittest.skipUnless((BIN / "nlm-server").exists(), "nlm-server is not built")
    def test_server(self):
        self.check(self.model, "--cache-file", "nlm-server", "-m", self.model, "--port", 0, "--cache-file", "OUT")


if __name__ == "__main__":
    unittest.main()
