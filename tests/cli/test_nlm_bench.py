"""nlm-bench as a user runs it: what it prints, its JSON, comparisons and failures. No time is judged."""
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

PROGRAM = Path(os.environ["NLM_BIN"]) / "nlm-bench"
MODELS = Path(os.environ["NLM_SOURCE"]) / "tests/data/models"
LLAMA = MODELS / "llama-gqa-f32.gguf"
MAMBA = MODELS / "mamba-f32.gguf"

QUICK = ("--prompt", 6, "--gen", 3, "--repeat", 2, "--threads", 1, "--probe-mb", 2)
STATISTICS = {"count", "median", "min", "max", "p50", "p95", "p99"}


def run(*arguments, code=0):
    done = subprocess.run([PROGRAM, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == code, (arguments, done)
    return done


def result_of(*arguments):
    return json.loads(run(*arguments, "--json").stdout)


class Results(unittest.TestCase):
    def check_statistics(self, found, count):
        self.assertEqual(set(found), STATISTICS)
        self.assertEqual(found["count"], count)
        self.assertTrue(0 < found["min"] <= found["p50"] <= found["p95"] <= found["p99"] <= found["max"], found)
        self.assertEqual(found["median"], found["p50"])

    def test_json_has_every_key_with_its_type(self):
        for model, family in ((LLAMA, "llama"), (MAMBA, "mamba")):
            r = result_of("--model", model, *QUICK)
            self.check_statistics(r["prefill"]["tok_s"], 2)
            self.check_statistics(r["decode"]["tok_s"], 2)
            self.check_statistics(r["step"]["us"], 6)
            for value in (r["ttft_ms"], r["decode"]["bw_frac"], r["decode"]["cache_frac"], r["prefill"]["peak_frac"],
                          r["prefill"]["own_peak_frac"], r["probe"]["own_f32_gflop_s"], r["step"]["barriers"],
                          r["probe"]["read_gb_s"], r["probe"]["f32_gflop_s"], r["decode"]["gb_s"],
                          r["prefill"]["gflop_s"]):
                self.assertIsInstance(value, (int, float))
                self.assertGreater(value, 0)
            self.assertIsInstance(r["rss_peak_bytes"], int)
            self.assertGreater(r["rss_peak_bytes"], 1 << 20)
            self.assertIsInstance(r["backend"], str)
            self.assertEqual((r["threads"], r["family"], r["prompt"], r["gen"], r["batch"]), (1, family, 6, 3, 1))
            self.assertEqual(r["file_bytes"], model.stat().st_size)

    def test_barriers_of_a_step_are_counted(self):
        steps = [result_of("--model", model, *QUICK)["step"]["barriers"] for model in (LLAMA, MAMBA)]
        for count in steps:
            self.assertGreater(count, 1)
            self.assertEqual(count, int(count))
        text = run("--model", LLAMA, *QUICK, "--barriers").stdout
        self.assertRegex(text, rf"(?m)^barriers  {steps[0]:.0f} a step, \S+ us each at best: \S+ of the best step$")
        self.assertNotIn("barriers", run("--model", LLAMA, *QUICK).stdout)

    def test_a_sequence_goes_on_with_its_own_tokens(self):
        for model, prompt in ((LLAMA, 6), (MAMBA, 0)):
            r = result_of("--model", model, *QUICK, "--prompt", prompt, "--ahead", 2)
            self.assertEqual(r["ahead"], 2)
            self.check_statistics(r["decode"]["tok_s"], 2)
            self.check_statistics(r["step"]["us"], 2)

    def test_what_is_not_measured_is_null(self):
        r = result_of("--model", LLAMA, *QUICK, "--prompt", 0)
        self.assertIsNone(r["prefill"]["tok_s"])
        self.assertIsNone(r["prefill"]["peak_frac"])
        self.assertIsNone(r["ttft_ms"])
        self.check_statistics(r["decode"]["tok_s"], 2)
        r = result_of("--model", LLAMA, *QUICK, "--gen", 0)
        self.assertIsNone(r["decode"]["tok_s"])
        self.assertIsNone(r["step"]["us"])
        self.assertIsNone(r["step"]["barriers"])
        self.check_statistics(r["prefill"]["tok_s"], 2)

    def test_forward_times_one_pass_and_says_which_logits(self):
        for which in ("all", "last"):
            r = result_of("--model", MAMBA, "--forward", 9, "--logits", which, *QUICK)
            self.check_statistics(r["forward"]["ms"], 2)
            self.assertEqual((r["forward"]["tokens"], r["forward"]["logits"]), (9, which))
            self.assertAlmostEqual(r["forward"]["tok_s"] * r["forward"]["ms"]["median"], 9e3, places=3)
            self.assertIsNone(r["prefill"]["tok_s"])
        self.assertEqual(result_of("--model", MAMBA, "--forward", 9, *QUICK)["forward"]["logits"], "all")

    def test_bytes_of_a_step_are_weights_and_what_the_context_holds(self):
        # llama-gqa: the keys and values of a position are 2 x layers x key/value heads x head size f16 values
        short = result_of("--model", LLAMA, *QUICK)["decode"]["bytes_per_step"]
        deep = result_of("--model", LLAMA, *QUICK, "--depth", 10)["decode"]["bytes_per_step"]
        pair = result_of("--model", LLAMA, *QUICK, "--batch", 2)["decode"]["bytes_per_step"]
        info = json.loads(subprocess.run([PROGRAM.with_name("nlm-model"), "inspect", "--json", str(LLAMA)],
                                         capture_output=True, check=True).stdout)
        meta = {entry["key"]: entry["value"] for entry in info["metadata"] if "value" in entry}
        heads, layers = meta["llama.attention.head_count"], meta["llama.block_count"]
        head_dim = meta.get("llama.attention.key_length", meta["llama.embedding_length"] // heads)
        position = 2 * layers * meta["llama.attention.head_count_kv"] * head_dim * 2
        self.assertEqual(deep - short, 10 * position)
        self.assertEqual(pair - short, (6 + 3 // 2 + 1) * position)

    def test_packed_weights_are_kept_in_a_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(2):
                r = result_of("--model", LLAMA, *QUICK, "--pack-cache", folder)
            packs = r["backend"] in ("cpu_avx2", "cpu_avx512")
            self.assertEqual(len(list(Path(folder).iterdir())), 1 if packs else 0)

    def test_samples_and_several_thread_counts(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "samples.json"
            runs = result_of("--model", LLAMA, *QUICK, "--threads", "1,2", "--samples-json", path)
            samples = json.loads(path.read_text())
            done = run("--model", LLAMA, *QUICK, "--samples-json", path.parent, code=1)
        self.assertIn("not a regular file", done.stderr)
        self.assertNotIn("tok/s", done.stdout)
        self.assertEqual([r["threads"] for r in runs], [1, 2])
        for r, s in zip(runs, samples):
            self.assertEqual(len(s["step_us"]), 6)
            self.assertEqual(len(s["probe_read_gb_s"]), 2)
            self.assertEqual(min(s["step_us"]), r["step"]["us"]["min"])
            self.assertEqual(sorted(s["decode_tok_s"])[0], r["decode"]["tok_s"]["min"])

    def test_text_for_people(self):
        text = run("--model", LLAMA, *QUICK).stdout
        for expected in ("tok/s median", "of peak", "of the read bandwidth", "first token", "memory", "probe"):
            self.assertIn(expected, text)


class Training(unittest.TestCase):
    STEPS = ("--backend", "cpu_scalar", "--rows", 2, "--length", 5, "--repeat", 3)

    def test_json_has_the_step_and_its_parts(self):
        for model, family in ((LLAMA, "llama"), (MAMBA, "mamba")):
            r = result_of("--train", model, *self.STEPS, "--threads", 1)
            train = r["train"]
            self.assertEqual((r["family"], r["rows"], r["length"], r["threads"], r["type"]), (family, 2, 5, 1, "f32"))
            self.assertEqual((train["tok_s"]["count"], train["ms"]["count"]), (3, 3))
            self.assertAlmostEqual(train["tok_s"]["max"] * train["ms"]["min"], 10e3, places=3)
            self.assertEqual(set(train["parts_ms"]), {"forward", "backward", "norm", "adamw"})
            for value in (*train["parts_ms"].values(), train["gflop_s"], train["peak_frac"], r["probe"]["f32_gflop_s"]):
                self.assertGreaterEqual(value, 0)
            self.assertGreater(train["parts_ms"]["forward"] * train["parts_ms"]["adamw"], 0)
            self.assertAlmostEqual(train["gflop_s"] * train["ms"]["min"], train["flop"] * 1e-6, places=6)
            memory = r["memory"]
            self.assertEqual(memory["parameters"], 4 * r["parameters"])
            self.assertLess(memory["gradients"], 2 * r["parameters"])  # the others are among the activations
            self.assertGreater(memory["activations"] + memory["gradients"], 4 * r["parameters"])
            self.assertEqual(memory["optimizer"], 8 * r["parameters"])
            self.assertEqual(memory["states"] > 0, family == "mamba")

    def test_a_step_is_six_operations_an_element_and_attention(self):
        # llama-gqa: 2 layers, 36 wide, 6 heads of 6 and 2 of keys, 52 inside; 2 rows of 5 tokens see 15 pairs each
        info = json.loads(subprocess.run([PROGRAM.with_name("nlm-model"), "inspect", "--json", str(LLAMA)],
                                         capture_output=True, check=True).stdout)
        vocabulary = next(entry["value"] for entry in info["metadata"] if entry["key"] == "llama.vocab_size")
        layer = 2 * 36 * 36 + 2 * 12 * 36 + 3 * 36 * 52
        expected = 6 * 10 * (2 * layer + 36 * vocabulary) + 3 * 2 * 15 * 2 * 4 * 36
        r = result_of("--train", LLAMA, *self.STEPS, "--threads", 1)
        self.assertEqual(r["train"]["flop"], expected)

    def test_what_is_computed_again_needs_no_memory(self):
        kept, up, layer = (result_of("--train", LLAMA, "--length", 64, "--rows", 2, "--repeat", 1, "--warmup", 0,
                                     "--threads", 1, "--checkpoint", what) for what in ("none", "up", "layer"))
        activations = [r["memory"]["activations"] for r in (kept, up, layer)]
        if kept["backend"] != "cpu_scalar":  # which has a fused op that keeps neither
            self.assertGreater(activations[0], activations[1])
        self.assertGreater(activations[1], activations[2])

    def test_halves_hold_their_masters(self):
        runs = result_of("--train", "small", *self.STEPS, "--type", "bf16", "--threads", "1,2")
        self.assertEqual([r["threads"] for r in runs], [1, 2])
        for r in runs:
            self.assertEqual((r["preset"], r["parameters"]), ("small", Presets.COUNTS["small"]))
            self.assertLess(r["memory"]["parameters"], 4 * r["parameters"])
            self.assertEqual(r["memory"]["optimizer"], 12 * r["parameters"])

    def test_text_for_people(self):
        text = run("--train", MAMBA, *self.STEPS, "--threads", "1,2").stdout
        for expected in ("2 rows of 5 tokens", "tok/s median", "AdamW", "of peak", "activations", "probe"):
            self.assertEqual(text.count(expected), 2, (expected, text))


class Presets(unittest.TestCase):
    # Published counts; tests/unit/test_presets.c has all of them.
    COUNTS = {"small": 69_632, "default": 366_464, "medium": 1_818_112, "large": 10_434_560}

    def test_mamba_presets_run_with_their_parameters(self):
        for name, parameters in self.COUNTS.items():
            r = result_of("--preset", name, *QUICK)
            self.assertEqual((r["preset"], r["type"], r["family"], r["parameters"]), (name, "f32", "mamba", parameters))
            self.assertEqual(r["matrices_of_other_types"], 0)

    def test_every_type_runs_and_rows_of_no_whole_blocks_are_told(self):
        # Rows of a layer's four matrices are 128, 256, 8 and 256 wide, those of the embedding 128; 3 layers.
        for kinds, others in ((("f16", "bf16"), 0), (("q8_0", "q4_0", "q4_1", "q5_0", "q5_1"), 3),
                              (("q4_k", "q5_k", "q6_k"), 3 * 2 + 1)):
            for kind in kinds:
                r = result_of("--preset", "default", "--type", kind, *QUICK)
                self.assertEqual((r["type"], r["matrices_of_other_types"]), (kind, others))
        text = run("--preset", "default", "--type", "q8_0", *QUICK).stdout
        self.assertIn("3 matrices are f16: their rows are no multiple of a block of q8_0", text)


    def test_a_preset_is_saved_as_a_file_that_is_the_same_model(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "medium.gguf"
            run("--preset", "medium", "--type", "q8_0", "--save", path)
            saved = result_of("--model", path, *QUICK)
            memory = result_of("--preset", "medium", "--type", "q8_0", *QUICK)
            subprocess.run([PROGRAM.with_name("nlm-model"), "verify", path], check=True, capture_output=True)
        for key in ("parameters", "file_bytes", "weight_bytes_per_token", "family"):
            self.assertEqual(saved[key], memory[key])
        self.assertIn("--save is for --preset", run("--model", LLAMA, "--save", "x.gguf", code=2).stderr)


class Micro(unittest.TestCase):
    SIZES = ("--micro", "--threads", 1, "--repeat", 1, "--probe-mb", 2, "--json")

    def test_sweeps_are_listed_with_their_shapes(self):
        r = json.loads(run(*self.SIZES, "--sweeps", "gemv,scan,barrier", "--max-mb", 1).stdout)
        self.assertEqual([(c["sweep"], c.get("n"), c.get("tokens")) for c in r["micro"]],
                         [("gemv", 32, None), ("gemv", 64, None), ("scan", None, 1), ("scan", None, 8),
                          ("scan", None, 64), ("scan", None, 512), ("barrier", None, None)])
        gemv = r["micro"][0]
        self.assertEqual((gemv["m"], gemv["k"], gemv["bytes"], gemv["flop"]), (1, 4096, 32 * 4096 * 4, 2 * 32 * 4096))
        self.assertAlmostEqual(gemv["gb_s"] * gemv["us"]["min"], gemv["bytes"] / 1e3, delta=1)
        self.assertGreater(r["probe"]["read_gb_s"], 0)

    def test_attention_and_gemm_run(self):
        r = json.loads(run(*self.SIZES, "--sweeps", "attention,gemm", "--max-mb", 1, "--type", "q4_0").stdout)
        cases = [c for c in r["micro"] if c["sweep"] == "attention"]
        self.assertEqual([(c["heads_kv"], c["tokens"], c["context"]) for c in cases],
                         [(12, 1, 128), (12, 1, 256), (4, 1, 128), (4, 1, 256), (4, 1, 512), (4, 1, 1024), (1, 1, 128),
                          (1, 1, 256), (1, 1, 512), (1, 1, 1024), (1, 1, 2048), (1, 1, 4096), (4, 128, 128),
                          (4, 256, 256), (4, 512, 512), (4, 512, 1024)])
        self.assertEqual(cases[0]["bytes"], 2 * 12 * 128 * 64 * 2)
        self.assertEqual([(c["m"], c["n"], c["k"]) for c in r["micro"] if c["sweep"] == "gemm"], [(1024, 1024, 1024)])

    def test_attention_reads_the_cache_it_is_told(self):
        r = json.loads(run(*self.SIZES, "--sweeps", "attention", "--max-mb", 1, "--kv-type", "q8_0").stdout)
        self.assertEqual(r["micro"][0]["bytes"], 2 * 12 * 128 * 64 // 32 * 34)
        text = run(*self.SIZES, "--sweeps", "attention", "--kv-type", "x8", code=2).stderr
        self.assertIn("--kv-type: 'x8' is no type", text)


class Compare(unittest.TestCase):
    A = {"decode": {"tok_s": {"median": 10, "min": 8}, "bw_frac": 0.5}, "backend": "a", "runs": [{"us": 4}, {"us": 5}],
         "only_a": 1, "zero": 0}
    B = {"decode": {"tok_s": {"median": 15, "min": 2}, "bw_frac": None}, "backend": "b", "runs": [{"us": 1}], "zero": 3}

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.a, self.b, self.bad = (Path(folder.name) / name for name in ("a.json", "b.json", "bad.json"))
        self.a.write_text(json.dumps(self.A))
        self.b.write_text(json.dumps(self.B))

    def test_ratios_are_b_over_a_of_what_both_have(self):
        found = json.loads(run("--compare", self.a, self.b, "--json").stdout)
        self.assertEqual(found, {"decode.tok_s.median": {"a": 10, "b": 15, "ratio": 1.5},
                                 "decode.tok_s.min": {"a": 8, "b": 2, "ratio": 0.25},
                                 "runs[0].us": {"a": 4, "b": 1, "ratio": 0.25},
                                 "zero": {"a": 0, "b": 3, "ratio": None}})
        line = next(line for line in run("--compare", self.a, self.b).stdout.splitlines() if "median" in line)
        self.assertEqual(line.split(), ["decode.tok_s.median", "10", "15", "1.5000"])

    def test_files_that_cannot_be_compared_are_told(self):
        self.bad.write_text('{"decode": ')
        self.assertIn("bad.json: this is not JSON", run("--compare", self.a, self.bad, code=1).stderr)
        self.bad.write_text('{"other": 1}')
        self.assertIn("no number in common", run("--compare", self.a, self.bad, code=1).stderr)
        self.assertIn("missing.json", run("--compare", self.a, self.a.with_name("missing.json"), code=1).stderr)
        self.assertIn("two files", run("--compare", self.a, code=2).stderr)


class Failures(unittest.TestCase):
    def test_wrong_use_is_told_with_exit_code_2(self):
        for arguments, expected in (
                ((), "give one of --model, --preset, --train, --micro, --server and --compare"),
                (("--model", LLAMA, "--preset", "small"), "give one of"),
                (("--preset", "small_126m"), "did you mean 'small_125m'"),
                (("--train", "lama_15m"), "--train: there is no 'lama_15m'; did you mean 'llama_15m'"),
                (("--train", "small", "--model", LLAMA), "give one of"),
                (("--train", "small", "--type", "q8_0"), "expected f32, f16 or bf16"),
                (("--train", "small", "--length", 0), "--length"),
                (("--train", "small", "--checkpoint", "all"), "'all' is none of 'none', 'up' and 'layer'"),
                (("--preset", "small", "--checkpoint", "up"), "--checkpoint is for --train"),
                (("--preset", "small", "--type", "q3_k"), "'q3_k' is no type of weights"),
                (("--preset", "small", "--type", "i32"), "'i32' is no type of weights"),
                (("--model", LLAMA, "--type", "f16"), "a file has its own"),
                (("--model", LLAMA, "--threads", "1,x"), "--threads: '1,x'"),
                (("--model", LLAMA, "--threads", "-1"), "--threads: '-1'"),
                (("--model", LLAMA, "--prompt", 0, "--gen", 0), "nothing to measure"),
                (("--model", LLAMA, "--logits", "last"), "--logits is for --forward"),
                (("--model", LLAMA, "--forward", 4, "--logits", "some"), "neither 'all' nor 'last'"),
                (("--model", LLAMA, "--repeat", 0), "--repeat"),
                (("--model", LLAMA, "--ahead", 2, "--batch", 2), "--ahead is for decoding one sequence"),
                (("--model", LLAMA, "extra"), "only --compare takes operands"),
                (("--model", LLAMA, "--backend", "none_such"), "none_such"),
                (("--model", LLAMA, "--kv-type", "q4_0"), "'q4_0' is no type of the KV cache"),
                (("--micro", "--sweeps", "gemv,none"), "--micro has gemv, gemm, attention, scan, barrier and device"),
                (("--model", LLAMA, "--sweeps", "gemv"), "--sweeps")):
            done = run(*arguments, code=2)
            self.assertIn(expected, done.stderr)
            self.assertEqual(done.stdout, "")

    def test_what_fails_is_told_with_exit_code_1(self):
        for arguments, expected in (
                (("--model", "/nowhere/model.gguf"), "/nowhere/model.gguf"),
                (("--model", __file__), "test_nlm_bench.py"),
                (("--train", __file__), "test_nlm_bench.py"),
                (("--model", LLAMA, *QUICK, "--samples-json", "/nowhere/samples.json"), "/nowhere/samples.json")):
            self.assertIn(expected, run(*arguments, code=1).stderr)

    def test_help_has_examples_and_presets(self):
        text = run("--help").stdout
        for expected in ("Examples", "--samples-json", "tinyllama_1.1b", "mamba_1.4b", "Exit codes"):
            self.assertIn(expected, text)


if __name__ == "__main__":
    unittest.main()
