"""nlm-run's options and keys of samplers: what a stage does is tests/cli/test_sampler_stages.py's."""
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

PROGRAM = Path(os.environ["NLM_BIN"]) / "nlm-run"
STORIES = Path(os.environ["NLM_SOURCE"]) / "tests/data/models/stories260K-q8_0.gguf"


def run(*arguments, code=0):
    done = subprocess.run([PROGRAM, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
    assert done.returncode == code, (arguments, done)
    return done


def text_of(*arguments):
    return run(*arguments).stdout


class Samplers(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def test_samplers_by_options_and_keys(self):
        """Each changes the text, as an option and as a key."""
        def sample(*more):
            return text_of("-m", STORIES, "-p", "Once upon a time", "-n", 60, "--ignore-end", "-s", 3, "-j", 1,
                           "--set", "sampler.dry_allowed_length=1", *more)

        plain, seen = sample(), set()
        for option, key, value in [
            ("--frequency-penalty", "frequency_penalty", 1.5), ("--presence-penalty", "presence_penalty", 1.5),
            ("--typical-p", "typical_p", 0.3), ("--top-n-sigma", "top_n_sigma", 0.5), ("--xtc-probability", "xtc_probability", 1),
            ("--dry-multiplier", "dry_multiplier", 4), ("--mirostat-tau", "mirostat_tau", 1),
            (None, "temperature_range", 0.75), (None, "biases", '["366:-inf", "261:-3"]')]:
            text = sample("--set", f"sampler.{key}={value}")
            self.assertNotEqual(text, plain, key)
            seen.add(text)
            if option:
                self.assertEqual(sample(option, value), text, option)
        self.assertEqual(len(seen), 9)
        self.assertEqual(sample("--logit-bias", "366:-inf", "--logit-bias", "261:-3"), sample("--set", 'sampler.biases=["366:-inf", "261:-3"]'))
        for others, ours in ((("--mirostat", 2), ("--mirostat-tau", 5)), (("--mirostat", 2, "--mirostat-tau", 1), ("--mirostat-tau", 1)),
                             (("--mirostat", 0, "--mirostat-tau", 1), ()), (("--set", "sampler.mirostat=2"), ("--mirostat-tau", 5))):
            self.assertEqual(sample(*others), sample(*ours), others)
        self.assertIn(b"--mirostat: 1", run("-m", STORIES, "-p", "a", "--mirostat", 1, code=2).stderr)
        config = self.folder / "run.toml"
        config.write_text(f'[model]\npath = "{STORIES}"\n[sampler]\nseed = 3\ntop_p = 0.9\nmin_p = 0.2\nxtc_probability = 1\n'
                            'order = ["xtc", "min_p", "top_p", "temperature"]\n[run]\nprompt = "Once"\nmax_tokens = 40\n')
        self.assertNotEqual(text_of(config), text_of(config, "--set", 'sampler.order=["top_p", "min_p", "xtc"]'))
        for wrong, words in [("order=['top_q']", "'top_q' is no stage"), ("order=['top_p']", "'min_p' is on, and not in it"),
                             ("biases=['15']", "'15' is no ID:BIAS"), ("biases=['99999:1']", "token 99999")]:
            self.assertIn(words, run(config, "--set", f"sampler.{wrong}", code=2).stderr.decode())
        self.assertIn(b"--set sampler.dry_base=X", run("-m", STORIES, "--dry-base", 2, code=2).stderr)


if __name__ == "__main__":
    unittest.main()
