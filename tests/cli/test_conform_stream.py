"""nlm-conform on a stream device: what it can and cannot see in memory that is not the host's."""
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

BIN = Path(os.environ["NLM_BIN"])
FAKE = Path(os.environ["NLM_BUILD"]) / "tests/fakes/fake_stream.so"
CASE = "add/R=7,N=33"


def conform(options, *args):
    """What it says of the fake with these options."""
    with tempfile.TemporaryDirectory() as folder:
        registry = Path(folder) / "plugins.toml"
        lines = [f'[[plugin]]\nname = "fake_stream"\nlibrary = "{FAKE}"\nisolate = false\n[plugin.options]\n']
        lines += [f'{key} = "{value}"\n' for key, value in options.items()]
        registry.write_text("".join(lines))
        command = [BIN / "nlm-conform", "--backend", "fake_stream", *args]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300,
                                env=dict(os.environ, NLM_PLUGIN_REGISTRY=str(registry)))
        return result.returncode, result.stdout, result.stderr


class ConformStream(unittest.TestCase):
    def fails(self, options, sentence, case=CASE):
        code, out, _ = conform(options, "--filter", case)
        self.assertEqual(code, 1, out)
        self.assertIn(sentence, out)

    def test_a_right_device_passes_and_is_told_what_was_not_seen(self):
        code, out, err = conform({}, "--filter", CASE)
        self.assertEqual((code, err), (0, ""))
        self.assertIn("1 cases ran in the device's own memory, without guard pages", out)
        code, out, _ = conform({}, "--filter", CASE, "--json")
        self.assertEqual(code, 0, out)

    def test_weights_are_packed_and_then_uploaded(self):
        code, out, _ = conform({"pack": "1"}, "--filter", "matmul", "--strict", "--complete")
        self.assertEqual(code, 0, out)

    def test_a_write_past_a_buffer_is_seen(self):
        self.fails({"spoil": "past"}, "writes beside y")

    def test_a_write_to_an_input_is_seen(self):
        self.fails({"spoil": "input"}, "writes to a, which is only read, at byte 0")

    def test_work_that_fails_at_the_sync_is_a_claim_not_kept(self):
        self.fails({"fail_work": "1"}, "claimed as supported, but with 1 threads fails: device error: work 1")

    def test_memory_that_the_device_does_not_have_is_told(self):
        self.fails({"fail_alloc": "2"}, "buffer_alloc of b: no ")

    def test_a_lost_device_fails_all_that_follows(self):
        self.fails({"lost_call": "20"}, "the device is lost", "add")

    def test_a_wrong_op_is_seen(self):
        self.fails({"spoil": "result"}, "y[0, 0] is ")


if __name__ == "__main__":
    unittest.main(verbosity=2)
