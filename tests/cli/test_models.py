"""The models of models/ write what models/README.md says, on the reference backend."""
import os
import re
import subprocess
import unittest
from pathlib import Path

BIN = Path(os.environ["NLM_BIN"])
MODELS = Path(os.environ["NLM_SOURCE"]) / "models"


class Models(unittest.TestCase):
    def test_they_write_the_text_that_stands_there(self):
        quotes = re.findall(r"(?:^> .*\n?)+", (MODELS / "README.md").read_text(), re.M)
        self.assertEqual(len(quotes), 2)
        for name, quote in zip(("llama", "mamba"), quotes):
            done = subprocess.run([BIN / "nlm-run", "--model", MODELS / f"{name}.gguf", "--prompt",
                                   "Once upon a time there was", "-n", "96", "-q", "--backend", "cpu_scalar"],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
            self.assertEqual(done.returncode, 0, done.stderr)
            expected = " ".join(quote.replace("> ", "").split())
            self.assertEqual("Once upon a time there was " + " ".join(done.stdout.split()), expected)

    def test_they_are_small(self):
        for file in MODELS.glob("*.gguf"):
            self.assertLess(file.stat().st_size, 4_000_000)

    def test_the_vocabulary_and_the_text_are_made_again_alike(self):
        text = subprocess.run([MODELS.parent / "tools/make-stories", "--count", "50", "--seed", "1"], capture_output=True,
                              check=True).stdout
        self.assertEqual(text.count(b"\n\n"), 50)
        self.assertTrue(text.startswith(b"Once upon a time there was a cheerful boy named Leo."))


if __name__ == "__main__":
    unittest.main()
