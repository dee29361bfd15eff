"""nlm-conform as a backend's author runs it: it finds what is wrong, says what, and how to see it again."""
import json
import os
import re
import shlex
import subprocess
import unittest
from pathlib import Path

BIN = Path(os.environ["NLM_BIN"])
FIXTURES = Path(os.environ["NLM_BUILD"]) / "tests/fixtures"

# (way of the fixture adder_WAY to be wrong, the case that must fail, what must be said of it)
WRONG = [
    ("gives_no_reason", "add/R=7,N=33,b@1", "not supported, but no reason is given"),
    ("forgets_the_tail", "add/R=7,N=33", r"y\[\d, 32\] is -?nan, expected"),
    ("writes_past_the_end", "add/R=1,N=1", r"touches memory \d+ bytes past the end of y \(4 bytes\)|writes beside y"),
    ("reads_past_the_end", "add/R=3,N=64,y=a", r"touches memory 0 bytes past the end of a \(768 bytes\)"),
    ("writes_an_input", "add/R=1,N=1", "writes to b, which is only read, at byte 0"),
    ("writes_padding_columns", "add/R=4,N=31,a+2,b+3,y+1,pad=2", "writes between the rows of y"),
    ("depends_on_threads", "add/R=1,N=1000", "y: other bits with 3 threads"),
    ("depends_on_the_batch", "add/R=7,N=33", "y: other bits for a row alone"),
    ("claims_too_much", "add/R=7,N=33,b@1", "claimed as supported, but with 1 threads fails: unsupported"),
    ("claims_too_much", "add/R=2,N=8,refuse=shape", "query accepts arguments that cannot run"),
    ("accepts_unknown_flags", "add/R=2,N=8,refuse=flags", "query accepts arguments that cannot run"),
    ("exceeds_its_workspace", "add/R=1,N=1", r"touches memory 0 bytes past the end of the workspace"),
    ("dies", "add/R=3,N=64,y=a", "the process died of signal 6"),
    ("hangs", "add/R=3,N=64,y=a", "not done after 2 s"),
]


# (the number of the rule that the fixture breaks_rule_NUMBER breaks, what must be said of it)
BROKEN_RULES = [
    (2, "ended its process with SIGSEGV while in its probe"),
    (3, "the descriptor has no version"),
    (4, "a host of plugin.h 1.1 gets no descriptor, though the plugin says it needs 1.0"),
    (5, "does not give the same descriptor each time"),
    (6, "claims to have the extension 'nlm.probes' of version 4294967295"),
    (7, "probe answers 2 devices and score 10, then 2 and 11"),
    (8, "its kind is neither NLM_DEVICE_SLICED nor NLM_DEVICE_STREAM"),
    (9, "open of device 0 fails"),
    (10, "touches memory 0 bytes past the end of nlm_device_info_v1"),
    (11, r"query of op \d+ \(unknown op\) with a number that no op has: status 0"),
    (12, r"touches memory \d+ bytes past the end of the arguments|with arguments cut short: status 0"),
    (13, "touches memory at|the process exited with status 1"),  # the latter by a sanitizer
    (14, "after close 1 allocations from the host are not released"),
    (15, "leaves 1 thread running"),
    (16, "open changes the signal mask"),
    (17, "open prints to standard output or standard error"),
]
# What a broken rule takes with it: a plugin that dies in probe dies in every rule that probes it.
STREAMS = set(range(18, 36))  # which open the device, to see whether it has a stream or what its ops do
ALSO_FAIL = {2: set(range(5, 18)) - {6} | STREAMS, 8: {10} | STREAMS, 9: {8} | set(range(10, 18)) | STREAMS,
             10: {8, 9, 14, 15, 16, 17} | STREAMS, 13: {8, 9, 10, 11, 12, 14, 15, 16, 17} | STREAMS,
             14: set(range(8, 18)) | STREAMS, 15: {34}}  # a leak checker sees it in every rule that opens


def conform(*args):
    result = subprocess.run([BIN / "nlm-conform", *map(str, args)], capture_output=True, text=True, timeout=300)
    return result.returncode, result.stdout, result.stderr


def library(way):
    return ("--library", FIXTURES / f"adder_{way}.so")


class NlmConform(unittest.TestCase):
    def test_a_right_op_passes_and_what_is_missing_is_no_failure(self):
        code, out, err = conform(*library("right"), "--level", 1)
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(out, r"\nadd +\d+ +0 ")
        self.assertRegex(out, r"\nPASSED: \d+ passed, 0 failed, \d+ not supported; seed 1\n")

    def test_what_is_missing_fails_a_backend_that_should_be_complete(self):
        code, out, _ = conform(*library("right"), "--complete", "--filter", "mul")
        self.assertEqual(code, 1)
        self.assertIn("FAILED mul/R=1,N=1: not supported: the device has no such op", out)

    def test_a_sample_is_one_case_in_so_many_from_the_first_on(self):
        def cases(*options):
            return [case["name"] for case in json.loads(conform(*library("right"), "--filter", "add", "--json", *options)[1])["cases"]]

        every = cases()
        self.assertGreater(len(every), 5)
        self.assertEqual(cases("--sample", 5), every[::5])
        self.assertEqual(cases("--sample", 5, "--first", 2), every[2::5])
        self.assertIn("--first 5 is not below --sample 5", conform(*library("right"), "--sample", 5, "--first", 5)[2])
        first = conform(*library("right"), "--level", 2, "--parts", 50)
        self.assertEqual(first[0], 0, first[1])  # though it has no case of level 2
        parts = [cases("--parts", 3, "--part", part) for part in range(3)]
        self.assertEqual(sum(parts, []), every)
        self.assertLessEqual(max(map(len, parts)) - min(map(len, parts)), 1)
        self.assertIn("--part 3 is not below --parts 3", conform(*library("right"), "--parts", 3, "--part", 3)[2])

    def test_a_backend_that_supports_nothing_fails(self):
        code, out, _ = conform(*library("supports_nothing"))
        self.assertEqual(code, 1)
        self.assertIn("a backend must support something", out)

    def test_a_level_is_certified_with_those_below_it(self):
        code, out, _ = conform(*library("supports_nothing"), "--level", 0)
        self.assertEqual(code, 0, out)
        self.assertRegex(out, r"\nabi +[1-9]\d* +0 ")
        self.assertIn("level 0, the rules of the ABI: passed\n", out)
        self.assertNotIn("level 1", out)
        code, out, _ = conform(*library("right"), "--level", 2, "--filter", "norm_matmul")
        self.assertEqual(code, 1)
        self.assertIn("level 2, fused and captured: nothing of it is supported\n", out)
        self.assertIn("; a backend must support something of the level\n", out)

    def test_a_level_without_ops_is_not_passed(self):
        code, out, _ = conform(*library("right"), "--level", 3, "--filter", "add")
        self.assertEqual(code, 1)
        self.assertIn("level 1, ops and models: passed what it supports\n", out)
        self.assertNotIn("\nlevel 3", out)
        self.assertRegex(out, r"\nFAILED: \d+ passed, 0 failed, .*; the filter leaves no case of level 3\n$")

    def test_each_way_to_be_wrong_is_found_by_its_case_and_found_again(self):
        for way, case, words in WRONG:
            with self.subTest(way=way, case=case):
                code, out, _ = conform(*library(way), "--filter", "add", "--seed", 5, "--timeout", 2)
                self.assertEqual(code, 1)
                failure = re.search(rf"^FAILED {re.escape(case)}: (.*)\n  (nlm-conform .*)$", out, re.M)
                self.assertIsNotNone(failure, out)
                self.assertRegex(failure[1], words)
                command = shlex.split(failure[2])[1:]
                self.assertEqual(command[-4:], ["--seed", "5", "--filter", case])
                code, out, _ = conform(*command, "--timeout", 2)
                self.assertEqual(code, 1)
                self.assertIn(f"FAILED {case}: ", out)
                self.assertIn("0 passed, 1 failed, 0 not supported", out)

    def test_a_good_plugin_keeps_every_rule_of_the_abi(self):
        code, out, err = conform("--library", FIXTURES / "good.so", "--level", 0)
        self.assertEqual((code, err), (0, ""), out)
        self.assertIn("18 passed, 0 failed, 0 not supported", out)

    def test_each_broken_rule_of_the_abi_is_found_by_its_number(self):
        for number, words in BROKEN_RULES:
            with self.subTest(rule=number):
                code, out, _ = conform("--library", FIXTURES / f"breaks_rule_{number}.so", "--level", 0)
                self.assertEqual(code, 1)
                failures = dict(re.findall(r"^FAILED abi/(\d\d)_\w+: (.*)$", out, re.M))
                self.assertRegex(failures.get(f"{number:02}", "passed"), words)
                others = {int(n) for n in failures} - {number} - ALSO_FAIL.get(number, set())
                self.assertEqual(others, set(), out)

    def test_a_file_that_is_no_plugin_breaks_the_first_rule(self):
        code, out, _ = conform("--library", FIXTURES / "extra_export.so", "--level", 0)
        self.assertEqual(code, 1)
        self.assertIn("FAILED abi/01_file: it exports more than nlm_plugin_query_v1: nlm_fixture_stray", out)
        self.assertIn("FAILED abi/08_device_tables: it exports more", out)
        self.assertIn("FAILED abi/10_describe: cannot be checked before rules 1 to 3 hold", out)

    def test_a_plugin_that_hangs_is_stopped_in_each_rule(self):
        code, out, _ = conform("--library", FIXTURES / "probe_loops.so", "--filter", "abi/07_probe", "--timeout", 1)
        self.assertEqual(code, 1)
        self.assertIn("FAILED abi/07_probe: not done after 1 s", out)

    def test_what_is_not_for_this_machine_is_no_failure_of_the_rules(self):
        _, out, _ = conform("--library", FIXTURES / "probe_no_device.so", "--level", 0)
        self.assertIn(" 0 failed,", out)
        self.assertIn("no such card in this machine", out)

    def test_json_has_every_case_once(self):
        code, out, _ = conform(*library("right"), "--filter", "add", "--json")
        report = json.loads(out)
        names = [case["name"] for case in report["cases"]]
        self.assertEqual(code, 0)
        self.assertTrue(report["passed"])
        self.assertEqual(report["levels"], {"1": "passed what it supports"})
        self.assertEqual(len(names), len(set(names)))
        self.assertIn({"passed", "unsupported"}, [{case["verdict"] for case in report["cases"]}])

    def test_an_extension_that_is_not_offered_is_told_and_no_failure(self):
        code, out, _ = conform("--backend", "cpu_scalar", "--complete", "--filter", "captured")
        self.assertEqual(code, 1)  # nothing was checked
        self.assertRegex(out, r"\ncaptured .* not offered: nlm\.capture\n")
        self.assertIn("0 passed, 0 failed, 0 not supported", out)

    def test_the_reference_steps_in_for_what_a_model_lacks_of_a_backend(self):
        code, out, err = conform(*library("right"), "--filter", "models")
        self.assertEqual((code, err), (0, ""), out)
        self.assertRegex(out, r"\nmodels +[1-9]\d* +0 +[1-9].* not: .*embed")  # most have no op of it
        for way, words in (("depends_on_threads", "other bits with 3 threads"), ("depends_on_the_batch", "other bits in steps")):
            code, out, _ = conform(*library(way), "--filter", "models")
            self.assertEqual(code, 1)
            self.assertRegex(out, rf"(?m)^FAILED models/.*: .*{words}")

    def test_a_model_of_which_a_backend_has_no_op_is_not_supported_and_says_which(self):
        for way, more in (("supports_nothing", ()), ("right", ("--complete",))):
            code, out, _ = conform(*library(way), "--filter", "models", *more)
            self.assertEqual(code, 1)
            self.assertRegex(out, r"\nmodels +0 +\d+ +\d+.* not: .*embed|FAILED models/.*embed, runs on no device")

    def test_models_run_on_the_reference_backend(self):
        code, out, _ = conform("--backend", "cpu_scalar", "--complete", "--filter", "models/mamba-f32")
        self.assertEqual(code, 0, out)
        self.assertIn("1 passed, 0 failed, 0 not supported", out)

    def test_an_exp_near_the_smallest_number_may_be_nothing(self):
        for backend in ("cpu_scalar", "cpu_avx2"):
            code, out, _ = conform("--backend", backend, "--seed", 27116, "--filter", "softmax/R=5,N=63,data=wide")
            self.assertTrue(code == 0 or (backend == "cpu_avx2" and "FAILED" not in out), out)  # that may not run here

    def test_perf_times_what_is_supported(self):
        args = (*library("right"), "--perf", "--threads", 2, "--filter")
        code, out, err = conform(*args, "add/R=7,N=33")
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(out, r"\n( +\d+\.\d\d){6}  add/R=7,N=33\n")
        code, out, _ = conform(*args, "add/R=7,N=33", "--json")
        report = json.loads(out)
        self.assertEqual((code, report["threads"], len(report["cases"])), (0, 2, 1))
        self.assertEqual((report["cases"][0]["bytes"], report["cases"][0]["flop"]), (3 * 4 * 7 * 33, 7 * 33))
        code, _, err = conform(*args, "mul")
        self.assertEqual(code, 1)
        self.assertIn("no case was timed", err)

    def test_options_reach_the_device(self):
        def nmse(bits):
            args = ("--backend", "cpu_avx2", "--filter", "matmul/M=3,K=256,N=33,w:q4_0", "--option", f"activations={bits}", "--json")
            code, out, err = conform(*args)
            if "is not for this machine" in err:
                self.skipTest(err)
            self.assertEqual((code, err), (0, ""))
            return json.loads(out)["cases"][0]["nmse"]
        self.assertGreater(nmse(8), 1000 * nmse(15))
        code, _, err = conform("--backend", "cpu_avx2", "--filter", "matmul", "--option", "activations=7")
        self.assertEqual((code, err), (1, "nlm-conform: cpu_avx2: device 0: open failed: option activations is '7'; "
                                          "expected 8 or 15 (bits)\n"))

    def test_wrong_use_is_told(self):
        code, _, err = conform("--option", "threads")
        self.assertEqual(code, 2)
        self.assertIn("--option: 'threads' is not KEY=VALUE", err)
        code, _, err = conform("--filter", "no_such_op")
        self.assertEqual(code, 2)
        self.assertIn("no case is named 'no_such_op'", err)
        code, _, err = conform("--backend", "no_such_backend")
        self.assertEqual(code, 1)
        self.assertIn("no_such_backend", err)
        code, _, err = conform("--library", FIXTURES / "load_crashes.so")
        self.assertEqual(code, 1)
        self.assertIn("nlm-conform: ", err)
        code, _, err = conform("--backend", "cpu_scalar", "--library", FIXTURES / "adder_right.so")
        self.assertEqual(code, 2)
        self.assertIn("--backend", err)


if __name__ == "__main__":
    unittest.main()
