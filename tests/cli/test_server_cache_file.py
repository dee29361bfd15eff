"""nlm-server's cache_file: prompts of an earlier run are not computed again, and a file that is none of them is told."""
import os
import stat
import subprocess
import tempfile
import unittest
from pathlib import Path

import serving
from serving import FIXTURES, PATIENCE, PROGRAM, Server

PROMPT = "Once upon a time there was a little girl who lived in a house by the sea. " * 6
ASKED = {"prompt": PROMPT, "max_tokens": 12, "temperature": 0, "logprobs": 1}


class CacheFile(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "prompts"

    def ask(self, *arguments, **options):
        """One run of a server that answers once: the choice, what was cached, its log."""
        with Server("--cache-file", self.path, "--context", 512, *arguments, **options) as server:
            answer = server.post("/v1/completions", ASKED)
            cached = server.metric("nlm_cached_tokens_total")
            self.assertEqual(answer["usage"]["prompt_tokens_details"]["cached_tokens"], cached)
        return answer["choices"][0], cached, server.log()

    def test_a_restart_finds_the_prompt(self):
        for model in ("stories260K-q8_0", "mamba-f32"):
            options = {"model": FIXTURES / f"{model}.gguf"}
            with self.subTest(model), tempfile.TemporaryDirectory() as folder:
                self.path = Path(folder) / "prompts"
                cold, cached, _ = self.ask(**options)
                self.assertEqual(cached, 0)
                self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
                warm, cached, log = self.ask(**options)
                self.assertGreaterEqual(cached, 64)
                self.assertIn("tokens of prompts are known", log)
                self.assertEqual(warm, cold)
                self.assertEqual(os.listdir(folder), ["prompts"])

    def test_a_damaged_file_is_told_and_replaced(self):
        cold, _, _ = self.ask()
        whole = self.path.read_bytes()
        self.path.write_bytes(whole[:-100])
        again, cached, log = self.ask()
        self.assertEqual((again, cached), (cold, 0))
        self.assertIn("the file was cut or changed; the server begins without", log)
        self.assertEqual(self.path.read_bytes(), whole)

    def test_prompts_of_another_model_are_replaced(self):
        self.ask()
        _, cached, log = self.ask(model=FIXTURES / "mamba-f32.gguf")
        self.assertEqual(cached, 0)
        self.assertIn("computed with another model; the server begins without", log)
        _, cached, _ = self.ask(model=FIXTURES / "mamba-f32.gguf")
        self.assertGreaterEqual(cached, 64)

    def test_what_is_no_file_of_prompts_stays(self):
        self.path.write_text("a letter to a friend")
        _, cached, log = self.ask()
        self.assertEqual(cached, 0)
        self.assertIn("this is no file of prompts", log)
        self.assertIn("leaves the file as it is", log)
        self.assertEqual(self.path.read_text(), "a letter to a friend")

    def test_a_link_is_replaced_and_not_followed(self):
        target = self.path.with_name("target")
        self.ask()
        self.path.rename(target)
        before = target.read_bytes()
        self.path.symlink_to(target)
        self.ask("--set", "model.prompt_cache_mib=1")
        self.assertFalse(self.path.is_symlink())
        self.assertEqual(target.read_bytes(), before)

    def test_its_size_is_bounded(self):
        self.ask("--set", "server.cache_file_mib=1")
        self.assertLess(self.path.stat().st_size, (1 << 20) + 4096)
        done = subprocess.run([PROGRAM, "-m", serving.STORIES, "--cache-file", self.path, "--set",
                               "model.prompt_cache_mib=-1"], capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--cache-file: model.prompt_cache_mib is -1", done.stderr)


if __name__ == "__main__":
    serving.skip_without_program()
    unittest.main()
