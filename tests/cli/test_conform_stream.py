"""nlm-conform on a stream device: what it can and cannot see in memory that is not the host's, and every lie of the
fake device, found by the row that it is about."""
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

BIN, SOURCE = Path(os.environ["NLM_BIN"]), Path(os.environ["NLM_SOURCE"])
FAKE = Path(os.environ["NLM_BUILD"]) / "tests/fakes/fake_stream.so"
CASE = "add/R=7,N=33"


def conform(options, *args, program=(BIN / "nlm-conform", "--backend")):
    """What it says of the fake with these options."""
    with tempfile.TemporaryDirectory() as folder:
        registry = Path(folder) / "plugins.toml"
        lines = [f'[[plugin]]\nname = "fake_stream"\nlibrary = "{FAKE}"\nisolate = false\n[plugin.options]\n']
        lines += [f'{key} = "{value}"\n' for key, value in options.items()]
        registry.write_text("".join(lines))
        command = [*program, "fake_stream", *args]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300,
                                env=dict(os.environ, NLM_PLUGIN_REGISTRY=str(registry)))
        return result.returncode, result.stdout, result.stderr


# What becomes of arguments read after the call: they are zeroes, and UBSan ends the process before a fault does.
STALE = "the process exited with status 1" if os.environ.get("NLM_SANITIZE") == "address" else "touches memory at"

# (a lie of tests/fakes/fake.h, the rule that finds it, what is said)
LIES = [
    ("offset", "18_transfers", "upload at an offset: word 0"),
    ("from_offset", "18_transfers", "upload at an offset: word "),
    ("swapped", "18_transfers", "at an offset: word 1031"),
    ("alignment", "18_transfers", "buffer_alloc gives an address that is not 256-aligned"),
    ("at_once", "19_streams", "work of a stream is not done in order"),
    ("idle", "19_streams", "work of a stream is not done in order"),
    ("leak", "25_freed_memory", "100 buffers of 4 MiB, freed one by one, take "),
    ("order", "19_streams", "work of a stream is not done in order"),
    ("no_wait", "20_events", "event_wait does not wait for what was recorded"),
    ("query", "21_event_query", "event_query says 0 of an event that was never recorded"),
    ("elapsed", "22_event_elapsed", "ns from an event to itself"),
    ("fill", "23_fill", "does not set byte 65535"),
    ("pinned", "24_pinned_memory", "gives memory that is not 64-aligned"),
    ("free", "25_freed_memory", "buffer_free does not wait for pending work"),
    ("sync_null", "26_sync_all", "sync(NULL) does not wait for all streams"),
    ("peer", "27_peers", "copy_from: word"),
    ("eager", "28_recording", "a recording that was aborted is done"),
    ("abort", "28_recording", "a recording that was aborted is done"),
    ("once", "28_recording", "launched again, it does not read what memory holds"),
    ("borrow", "29_copied_calls", STALE),
    ("sticky", "30_late_errors", "a second sync still tells the error of the first"),
    ("swallow", "30_late_errors", "expected an invalid argument, got: ok"),
    ("host_counts", "31_recorded_ops", "replayed with no live rows: ids[0] is -1"),
    ("prepare", "32_prepare", "query says yes to add/R=6,N=33, but prepare fails"),
    ("pack", "33_pack_device", "pack_device gives other bytes than pack"),
]
# What a lie takes with it: other rules that need what is wrong.
ALSO_FAIL = {"leak": {34}, "offset": {19}, "from_offset": {19, 27, 28}, "swapped": {19, 20, 25, 28},
             "idle": {20, *range(22, 31), 33, 34}, "order": {26, 28}, "no_wait": {27}, "once": {31}, "borrow": {30, 31, 34},
             "prepare": {29, 30, 31}}

# (what is claimed, how ops break it, a case that shows it, what is said)
CLAIMS = [
    ("deterministic", "random", "matmul/M=3,K=256,N=33,w:f32", "y: other bits when run again"),
    ("deterministic", "random", "models/mamba-f32", "logits: other bits when run again"),
    ("batch", "batch", "matmul/M=3,K=256,N=33,w:f32", "y: other bits for a row alone"),
    ("batch", "batch", "models/llama-gqa-f32,cache:f32", "logits: other bits in steps of one token"),
    ("replay", "replay", "captured/matmul", "y: other bits when replayed"),
    ("replay", "replay", "captured/models/mamba-f32", "logits: other bits replayed than enqueued"),
]


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

    def test_a_lost_device_costs_the_case_that_lost_it_and_no_other(self):
        code, out, _ = conform({"lose_op": "add"}, "--filter", "add")
        self.assertEqual(code, 1)
        failed = re.findall(r"^FAILED add/(.*): (.*)$", out, re.M)
        passed = int(re.search(r"^FAILED: (\d+) passed", out, re.M)[1])
        self.assertGreater(len(failed), 5)
        self.assertGreater(passed, 5)  # all that is refused
        for case, reason in failed:
            self.assertNotIn("refuse=", case)
            self.assertIn("told to be lost in add", reason)

    def test_each_lie_is_found_by_the_rule_it_breaks(self):
        for lie, rule, words in LIES:
            with self.subTest(lie=lie):
                code, out, _ = conform({"lie": lie, "devices": "2", "pack": "1"}, "--level", "0")
                self.assertEqual(code, 1)
                failures = dict(re.findall(r"^FAILED abi/(\w+): (.*)$", out, re.M))
                self.assertIn(words, failures.get(rule, "passed"))
                others = {int(name[:2]) for name in failures} - {int(rule[:2])} - ALSO_FAIL.get(lie, set())
                self.assertEqual(others, set(), out)

    def test_what_is_claimed_of_numbers_is_tested_and_what_is_not_is_spared(self):
        for claim, spoil, case, words in CLAIMS:
            with self.subTest(claim=claim, case=case):
                self.fails({"claims": claim, "spoil": spoil}, words, case)
                code, out, _ = conform({"claims": "", "spoil": spoil}, "--filter", case)
                self.assertEqual(code, 0, out)

    def test_activations_of_16_bits_are_tested_where_they_are_claimed(self):
        for words in ("f16", "bf16"):
            code, out, _ = conform({"claims": words}, "--filter", f"activations/{words}")
            self.assertEqual(code, 0, out)
            self.fails({"claims": "f16 bf16", "lie": "activations"}, f"FAILED activations/{words}: y: element 0 is ",
                       f"activations/{words}")
            self.fails({"claims": words, "refuse": "matmul"}, "but query says no to matmul/", f"activations/{words}")
        code, out, _ = conform({}, "--filter", "activations")
        self.assertIn("not offered: activations of 16 bits", out)

    def test_a_stream_device_in_the_hosts_memory_runs_between_guard_pages(self):
        code, out, _ = conform({"shared": "1"}, "--filter", "matmul", "--strict", "--complete")
        self.assertEqual(code, 0, out)
        self.assertNotIn("without guard pages", out)
        for case in ("captured/add", "captured/ssm_scan", "models/mamba-f32", "captured/models/mamba-f32"):
            code, out, _ = conform({"shared": "1"}, "--filter", case)
            self.assertEqual(code, 0, out)
        self.fails({"shared": "1", "spoil": "input"}, "writes to a, which is only read")
        code, out, _ = conform({"shared": "1"}, "--level", "0")
        self.assertEqual(code, 0, out)
        self.assertIn("not offered: memory of its own", out)

    def test_ops_are_timed_by_events_or_by_the_clock(self):
        code, out, err = conform({"pack": "1"}, "--filter", "softmax/R=1,N=1000", "--perf")
        self.assertEqual((code, err), (0, ""))
        self.assertIn("timed by its events", out)
        self.assertIn("       2.00  ", out)  # of the device's own clock: the op and the event, a microsecond each
        code, out, _ = conform({"without": "event_elapsed"}, "--filter", "softmax/R=1,N=1000", "--perf")
        self.assertEqual(code, 0)
        self.assertIn("timed by the host's clock", out)
        self.assertIn("softmax/R=1,N=1000\n", out)

    def test_calls_that_it_does_not_have_are_no_failure(self):
        without = "prepare fill host_alloc event_query event_elapsed pack_device copy_from capture"
        code, out, _ = conform({"without": without}, "--level", "0")
        self.assertEqual(code, 0, out)
        self.assertRegex(out, r"\b[1-9]\d+ passed, 0 failed, 0 not supported")
        code, out, _ = conform({"without": without}, "--filter", "captured/add")
        self.assertEqual(code, 1)  # nothing was checked
        self.assertIn("not: told not to record", out)

    def test_many_seeds_are_run_and_what_fails_is_told(self):
        seeds = (sys.executable, SOURCE / "tools/conform-seeds", "--program", BIN / "nlm-conform", "--count", "3", "--first", "5")
        code, out, _ = conform({}, "--rows", CASE, program=seeds)
        self.assertEqual((code, re.sub(r"\d+ passed", "N passed", out)), (0, "seeds 5 to 7: N passed, 0 failed\n"))
        code, out, _ = conform({}, "--rows", CASE, "--sample", "3", program=seeds)  # of one case each, one seed in three
        self.assertEqual((code, out), (0, "seeds 5 to 7: 1 passed, 0 failed\n"))
        code, out, _ = conform({"spoil": "result"}, "--rows", CASE, program=seeds)
        self.assertEqual(code, 1, out)
        self.assertRegex(out, rf"(?m)^fake_stream --filter {CASE} --seed 6: FAILED {CASE}: y\[0, 0\] is ")
        self.assertIn("seeds 5 to 7: 0 passed, 3 failed", out)

    def test_a_wrong_op_is_seen(self):
        self.fails({"spoil": "result"}, "y[0, 0] is ")


if __name__ == "__main__":
    unittest.main(verbosity=2)
