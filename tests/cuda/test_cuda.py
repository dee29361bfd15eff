"""The cuda backend through nlm-run, as a user has it, on emulated GPUs (run by with-device)."""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from collections import Counter
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

BIN = Path(os.environ["NLM_BIN"])
MODELS = Path(os.environ["NLM_SOURCE"]) / "tests/data/models"
LLAMA, MAMBA = MODELS / "llama-gqa-f32.gguf", MODELS / "mamba-f32.gguf"
STORIES = MODELS / "stories260K-q8_0.gguf"
MAMBA_MIXED = MODELS / "mamba-mixed.gguf"
KERNELS = tempfile.TemporaryDirectory(prefix="nlm-cuda-")  # of all tests: what is compiled once is compiled for all


def run(*arguments, kernels=KERNELS.name, program="nlm-run", **variables):
    environment = os.environ | {"XDG_CACHE_HOME": kernels} | {key: str(value) for key, value in variables.items()}
    return subprocess.run([BIN / program, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=600, env=environment)


def text_of(model, *arguments, backend="cuda", n=12, **options):
    done = run("-m", model, "-p", "Once upon a time", "-n", n, "--backend", backend, "--quiet", *arguments, **options)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def load_predictions():
    loader = SourceFileLoader("predict_cuda", os.environ["NLM_SOURCE"] + "/tools/predict-cuda")
    predict = module_from_spec(spec_from_loader("predict_cuda", loader))
    sys.modules["predict_cuda"] = predict
    loader.exec_module(predict)
    return predict


class Text(unittest.TestCase):
    def test_models_say_what_they_say_on_the_cpu(self):
        for model, n in ((LLAMA, 12), (MAMBA, 12), (STORIES, 24), (MODELS / "llama-mixed.gguf", 6)):
            with self.subTest(model.name):
                self.assertEqual(text_of(model, n=n, backend="cpu_scalar"), text_of(model, "--no-fallback", n=n))

    def test_each_generation_of_gpu_has_kernels(self):
        expected = text_of(MAMBA, n=3, backend="cpu_scalar")
        for capability in ("7.5", "8.0", "12.0"):
            self.assertEqual(text_of(MAMBA, n=3, EMU_CUDA_CAPABILITY=capability), expected, capability)


class Ahead(unittest.TestCase):
    """Tokens that the device chooses and goes on with."""

    def test_texts_are_those_of_one_token_at_a_time(self):
        drawn = ("--temperature", 1, "--top-k", 30, "--top-p", 0.9, "--min-p", 0.01, "--seed", 4)
        for model, how in ((MAMBA, ()), (STORIES, drawn)):
            with self.subTest(model.name):
                whole = text_of(model, *how, n=9)
                self.assertEqual(text_of(model, "--ahead", 5, *how, n=9), whole)
        stop = whole[8:11].decode()  # comes within the second five
        self.assertEqual(text_of(STORIES, "--ahead", 5, "--stop", stop, *drawn, n=9), whole[: whole.index(stop.encode())])

    def test_all_but_the_first_token_is_chosen_there(self):
        with tempfile.TemporaryDirectory() as folder:
            run("-m", MAMBA, "-p", "a", "-n", 6, "--ahead", 3, "--backend", "cuda", EMU_CUDA_LAUNCHES=f"{folder}/launches")
            lines = [line.split()[0] for line in Path(folder, "launches").read_text().splitlines()]
        self.assertEqual(lines.count("advance"), 5)
        self.assertEqual(lines[-1], "advance")  # and nothing is computed behind the last


# Of the tests that are certified, whose kernels tools/check-cuda compiles for other GPUs.
CERTIFIED = BIN.parent / "tests/cuda/kernels"


class Tiles(unittest.TestCase):
    """A product has tiles of 128 rows and columns where these keep all multiprocessors busy."""

    def test_tiles_of_128_are_right(self):
        for case in ("matmul/M=20,K=96,N=150,w:f32", "matmul/M=33,K=768,N=41,w:q4_k,drawn", "matmul/M=530,K=32,N=9,w:f16",
                     "gate_up_silu_mul/M=17,K=64,N=150,w:q8_0", "norm_matmul/M=17,K=64,N=150,w:q4_0"):
            with self.subTest(case):
                done = run("--backend", "cuda", "--filter", case, program="nlm-conform", kernels=CERTIFIED,
                           EMU_CUDA_MULTIPROCESSORS=1)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertTrue(any(b"TILE=128" in path.read_bytes() for path in CERTIFIED.rglob("matmul-*.image")))


class Dense(unittest.TestCase):
    """Products by cuBLASLt, which are those of large models where nothing else is asked for."""

    PROMPT = ("Once upon a time, there was a little girl named Lily. She loved to play outside in the sun with her red "
              "ball. One day, she saw a big dog in the park.")
    BY_CUBLASLT = ("--set", "backend.options.products=cublaslt")

    def certify(self, case, *options, **variables):
        """Runs a case; the launches of its kernels."""
        with tempfile.TemporaryDirectory() as folder:
            done = run("--backend", "cuda", "--filter", case, "--option", "products=cublaslt", *options,
                       program="nlm-conform", kernels=CERTIFIED, EMU_CUDA_LAUNCHES=f"{folder}/launches", **variables)
            self.assertEqual(done.returncode, 0, (done.stdout + done.stderr).decode())
            return Counter(line.split()[0] for line in Path(folder, "launches").read_text().splitlines())

    def test_cases_of_many_rows_are_right(self):
        for case, kernel in (("matmul/M=20,K=256,N=6,data=huge,w:f16", "dense_rows"),
                             ("matmul/M=20,K=256,N=6,data=tiny,w:q6_k", "dense_weight"),
                             ("matmul/M=20,K=64,N=6,data=one_inf,w:q8_0,pad=3", "dense_results"),
                             ("matmul/M=65,K=33,N=31,w:bf16", "dense_rows"),
                             ("norm_matmul/M=70,K=256,N=5,w:f16", "dense_rows"),
                             ("gate_up_silu_mul/M=70,K=256,N=5,w:q6_k", "dense_gate"),
                             ("qkv_rope_append/seqs=20,past=0,K=32,H=5,G=3,D=32,B=16,w:q8_0,cache:f16", "dense_results")):
            with self.subTest(case):
                self.assertGreater(self.certify(case)[kernel], 0)

    def test_weights_are_decoded_in_tiles_where_memory_is_small(self):
        for case in ("matmul/M=20,K=96,N=150,w:q4_1", "gate_up_silu_mul/M=17,K=64,N=150,w:q8_0"):
            with self.subTest(case):
                whole = self.certify(case)
                tiles = self.certify(case, EMU_CUDA_MEMORY_MIB=16)
                self.assertEqual(tiles["dense_weight"], 2 * whole["dense_weight"])

    def test_prompts_are_read_as_on_the_cpu(self):
        expected = text_of(STORIES, "-p", self.PROMPT, "--temp", 0, backend="cpu_scalar", n=6)
        self.assertEqual(text_of(STORIES, "-p", self.PROMPT, "--temp", 0, *self.BY_CUBLASLT, n=6), expected)

    def test_each_device_has_its_own(self):
        with tempfile.TemporaryDirectory() as folder:
            expected = text_of(MAMBA_MIXED, "-p", self.PROMPT, backend="cpu_scalar", n=3)
            self.assertEqual(text_of(MAMBA_MIXED, "-p", self.PROMPT, *self.BY_CUBLASLT, "--set", "backend.devices=[1, 0]",
                                     n=3, EMU_CUDA_LOG=f"{folder}/log"), expected)
            self.assertFalse(Path(folder, "log").exists())  # nothing is left in a context

    def test_large_products_go_by_cublaslt(self):
        for kind, least in (("f16", 128), ("q8_0", 512)):
            with self.subTest(kind), tempfile.TemporaryDirectory() as folder:
                done = run("--micro", "--sweeps", "gemm", "--max-mb", 40, "--type", kind, "--backend", "cuda", "--repeat", 1,
                           "--warmup", 0, "--probe-mb", 1, program="nlm-bench", kernels=folder, EMU_CUDA_DRY=1,
                           EMU_CUDA_LAUNCHES=f"{folder}/launches")
                self.assertEqual(done.returncode, 0, done.stderr.decode())
                lines = [line.split() for line in Path(folder, "launches").read_text().splitlines()]
                rows = {int(line[1].split(",")[0]) for line in lines if line[0] == "dense_rows"}
                self.assertEqual(min(rows), least)

    def test_products_go_by_cublaslt_from_where_it_is_predicted_to_be_faster(self):
        predict, text = load_predictions(), (Path(os.environ["NLM_SOURCE"]) / "backends/cuda/dense.c").read_text()
        rows_plain, rows_blocks = map(int, re.search(r"FROM_ROWS_PLAIN = (\d+), FROM_ROWS_BLOCKS = (\d+)", text).groups())
        elements, products = (1 << int(re.search(rf"FROM_{name} +\(INT64_C\(1\) << (\d+)\)", text).group(1))
                              for name in ("ELEMENTS_PLAIN", "PRODUCTS_BLOCKS"))
        for gpu in predict.GPUS:
            for kind, rows, side in (("f16", rows_plain, elements ** 0.5), ("q8_0", rows_blocks, (products / rows_blocks) ** 0.5),
                                     ("q4_0", rows_blocks, (products / rows_blocks) ** 0.5)):
                n = round(side)
                self.assertLess(predict.library_product(gpu, rows, n, n, kind)[0], predict.own_product(gpu, rows, n, n, kind))

    def test_small_products_and_unvarying_batches_stay_with_own_kernels(self):
        for options in ((), ("--set", "backend.options.batch_invariant=true"), ("--set", "backend.options.products=own")):
            with self.subTest(options), tempfile.TemporaryDirectory() as folder:
                run("-m", STORIES, "-p", self.PROMPT, "-n", 1, "--backend", "cuda", *options, kernels=folder,
                    EMU_CUDA_DRY=1, EMU_CUDA_LAUNCHES=f"{folder}/launches")
                launches = Path(folder, "launches").read_text()
                self.assertIn("matmul_", launches)
                self.assertNotIn("dense", launches)

    def test_without_the_library_own_kernels_are_used_and_that_is_said(self):
        missing = ("--set", "backend.options.cublaslt=/nowhere/libcublasLt.so")
        done = run("-m", MAMBA, "-p", "a", "-n", 1, "--backend", "cuda", "--verbose", *missing)
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stderr.decode(), "own kernels: no /nowhere/libcublasLt.so")
        done = run("-m", MAMBA, "-p", "a", "-n", 1, "--backend", "cuda", *missing, *self.BY_CUBLASLT)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr.decode(), 'products = "cublaslt": no /nowhere/libcublasLt.so')

    def test_a_library_that_does_not_start_is_a_warning_unless_it_is_asked_for(self):
        for code, sentence in (("CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"),
                               ("CUDA_ERROR_UNKNOWN", "CUBLAS_STATUS_INTERNAL_ERROR")):
            failing = {"EMU_CUDA_FAIL_NAME": "cublasLtCreate", "EMU_CUDA_FAIL_CALL": 1, "EMU_CUDA_FAIL_CODE": code}
            with self.subTest(code):
                done = run("-m", MAMBA, "-p", "a", "-n", 1, "--backend", "cuda", "--no-fallback", **failing)
                self.assertEqual(done.returncode, 0, done.stderr.decode())
                self.assertRegex(done.stderr.decode(), f"own kernels: GPU 0 .*: cublasLtCreate: {sentence}")
                done = run("-m", MAMBA, "-p", "a", "-n", 1, "--backend", "cuda", "--no-fallback", *self.BY_CUBLASLT, **failing)
                self.assertNotEqual(done.returncode, 0)
                self.assertRegex(done.stderr.decode(), f"open failed: GPU 0 .*: {sentence}")

    def test_options_that_exclude_each_other_are_refused(self):
        for options, sentence in ((("products=cublaslt", "batch_invariant=true"), "exclude each other"),
                                  (("products=best",), 'expected "own" or "cublaslt"')):
            done = run("-m", MAMBA, "-p", "a", "--backend", "cuda",
                       *(part for option in options for part in ("--set", f"backend.options.{option}")))
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(sentence, done.stderr.decode())


class Precision(unittest.TestCase):
    def error_of(self, *options):
        """How much of the error is made that f32 may have."""
        case = "matmul/M=20,K=96,N=150,w:f32"
        done = run("--backend", "cuda", "--filter", case, "--json", *options, program="nlm-conform",
                   kernels=CERTIFIED)
        return next(c for c in json.loads(done.stdout)["cases"] if c["name"] == case)["error"]

    def test_weights_of_f32_are_rounded_to_tf32_by_those_who_want_it(self):
        self.assertLess(self.error_of(), 1)
        self.assertTrue(10 < self.error_of("--option", "tf32=true") < 1000)


class Devices(unittest.TestCase):
    def test_the_second_gpu_is_the_one_that_is_asked_for(self):
        done = run("-m", MAMBA, "-p", "a", "-n", 2, "--backend", "cuda", "--device-id", 1, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["device_id"], 1)

    def test_a_wrong_id_names_those_there_are(self):
        done = run("-m", MAMBA, "-p", "a", "--backend", "cuda", "--device-id", 7)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr.decode(), "there is no device 7; the backend 'cuda' has 0 to 1")

    def test_layers_are_split_over_both(self):
        for model in (LLAMA, MAMBA):
            self.assertEqual(text_of(model, "--set", "backend.devices=[1, 0]"), text_of(model, backend="cpu_scalar"))

    def test_metrics_are_those_of_nvml(self):
        done = json.loads(run("-m", MAMBA, "-p", "a", "-n", 2, "--backend", "cuda", "--json").stdout)
        self.assertGreater(done["device_metrics"]["memory_total_bytes"], 0)
        self.assertIn("temperature_celsius", done["device_metrics"])

    def test_a_model_that_does_not_fit_is_refused_with_both_numbers(self):
        done = run("-m", STORIES, "-p", "a", "-n", 2, "--backend", "cuda", "--context", 4096, EMU_CUDA_MEMORY_MIB=1)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("MiB", done.stderr.decode())


class Launches(unittest.TestCase):
    def test_a_layer_has_the_kernels_that_predictions_count(self):
        predict = load_predictions()
        for model, kernels, once in ((STORIES, predict.LLAMA, "attention"), (MAMBA, predict.MAMBA, "dt_bc_scan_few")):
            with self.subTest(model.name):
                launched = self.launched(model, "--set", "backend.options.cluster_step=false")
                layers = launched[once]
                self.assertGreater(layers, 1)
                self.assertEqual({k: launched[k] for k in set(kernels)},
                                 {k: layers * n for k, n in Counter(kernels).items()})

    def launched(self, model, *arguments, **variables):
        """How often each kernel is launched for a token."""
        with tempfile.TemporaryDirectory() as folder:
            run("-m", model, "-p", "a", "-n", 1, "--backend", "cuda", *arguments, kernels=folder, EMU_CUDA_DRY=1,
                EMU_CUDA_LAUNCHES=f"{folder}/launches", **variables)
            lines = [line.split() for line in Path(folder, "launches").read_text().splitlines()]
        if not variables:
            self.assertEqual({line[-1] for line in lines}, {"early"})
        return Counter(line[0] for line in lines)

    def test_layers_of_mamba_are_one_launch_where_there_are_clusters(self):
        launched = self.launched(MAMBA)
        self.assertEqual((launched["mamba_step"], launched["norm_xz_conv_few"], launched["dt_bc_scan_few"]), (1, 0, 0))
        self.assertEqual(self.launched(MAMBA, EMU_CUDA_CAPABILITY="8.0")["mamba_step"], 0)

    def test_kernels_begin_early_unless_they_may_not(self):
        for off in ({"EMU_CUDA_CAPABILITY": "8.0"}, ("--set", "backend.options.early_launch=false")):
            with self.subTest(off), tempfile.TemporaryDirectory() as folder:
                arguments, variables = ((), off) if isinstance(off, dict) else (off, {})
                run("-m", MAMBA, "-p", "a", "-n", 1, "--backend", "cuda", *arguments, kernels=folder, EMU_CUDA_DRY=1,
                    EMU_CUDA_LAUNCHES=f"{folder}/launches", **variables)
                lines = Path(folder, "launches").read_text().splitlines()
                self.assertEqual({line.split()[-1] for line in lines}, {"-"})


    def test_a_short_batch_is_not_done_as_a_long_one(self):
        """What a recording does goes by the rows it was made for, padding and all."""
        with tempfile.TemporaryDirectory() as folder:
            done = run("-m", STORIES, "--depth", 70, "--prompt", 20, "--gen", 0, "--repeat", 1, "--warmup", 0, "--probe-mb", 1,
                       "--backend", "cuda", program="nlm-bench", EMU_CUDA_LAUNCHES=f"{folder}/launches")
            self.assertEqual(done.returncode, 0, done.stderr.decode())
            lines = [line.split() for line in Path(folder, "launches").read_text().splitlines()]
        tiles = [line[2] for line in lines if line[0] == "gate_up_silu_mul_many"]  # of 64 rows
        self.assertEqual(sorted(set(tiles)), ["1", "2"])


class Probes(unittest.TestCase):
    """What a GPU does at best: the emulated one's time is made up, but what is done is done."""
    def test_the_device_is_measured_beside_what_predictions_assume(self):
        predict = load_predictions()
        done = run("--micro", "--sweeps", "device", "--probe-mb", 1, "--backend", "cuda", "--json", program="nlm-bench",
                   EMU_CUDA_MULTIPROCESSORS=2)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = {row["name"]: row for row in json.loads(done.stdout)["micro"]}
        self.assertEqual(len(rows), 8, rows)
        self.assertEqual([row for row in rows.values() if not row["value"] > 0], [])
        assumed = {name: value for name, (value, _) in (*predict.ASSUMED.items(), *predict.CYCLES.items())}
        bandwidth, _, clock, tf32 = predict.GPUS["H100 SXM"]  # as the device says it is
        for name, expected in (("copy", assumed["memory"] * bandwidth * 1e-9),
                               ("gap between kernels of a graph", assumed["late_us"]),
                               ("the same, launched early", assumed["gap_us"]), ("graph behind graph", assumed["graph_us"]),
                               ("st.async from block to block", (assumed["push"] + assumed["wait"]) / clock * 1e9),
                               ("mma.sync, TF32", assumed["mma_sync"] * tf32 * 1e-12 * 2 / 132)):
            self.assertAlmostEqual(rows[name]["expected"] / expected, 1, delta=2e-3, msg=name)
        self.assertEqual(rows["fence of the device"]["expected"], None)

    def test_a_copy_is_of_a_fixed_size_however_often(self):
        for memory_mib in (64, 4):  # the smaller one is copied several times at once
            with self.subTest(memory_mib), tempfile.TemporaryDirectory() as folder:
                done = run("--micro", "--sweeps", "device", "--probe-mb", 1, "--backend", "cuda", "--json",
                           program="nlm-bench", EMU_CUDA_MULTIPROCESSORS=1, EMU_CUDA_MEMORY_MIB=memory_mib,
                           EMU_TRAFFIC=f"{folder}/traffic")
                self.assertEqual(done.returncode, 0, done.stderr)
                lines = [line.split() for line in Path(folder, "traffic").read_text().splitlines()]
                copied = [16 * int(line[4]) for line in lines if line[0] == "probe_copy" and line[2] == "global-store"]
                self.assertGreater(copied[0], memory_mib << 20 >> 4)  # half of a fourth of what is free
                self.assertEqual([n for n in copied if n % copied[0]], [])
                value = next(row["value"] for row in json.loads(done.stdout)["micro"] if row["name"] == "copy")
                self.assertAlmostEqual(value * 2e-6 / (2e-9 * copied[-1]), 1, delta=1e-3)  # a launch takes so long there

    def test_what_a_gpu_has_not_is_said(self):
        done = run("--micro", "--sweeps", "device", "--probe-mb", 1, "--backend", "cuda", program="nlm-bench",
                   EMU_CUDA_CAPABILITY="7.5")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout.decode(), r"cluster of 8 +- \(barrier of a cluster of 8: from compute capability 9.0 on\)")
        self.assertNotIn(b"expected", done.stdout)

    def test_what_is_not_launched_early_is_not_measured_so(self):
        done = run("--micro", "--sweeps", "device", "--probe-mb", 1, "--backend", "cuda", program="nlm-bench",
                   EMU_CUDA_MULTIPROCESSORS=2, EMU_CUDA_FAIL_NAME="cuDriverGetVersion", EMU_CUDA_FAIL_CALL=1)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout.decode(), r"launched early +- \(the same, launched early: from CUDA 12.3 on")


class Training(unittest.TestCase):
    """Gradients are compared in unit.test_training_parity, which cuda.test_training runs on such a device."""

    def train(self, folder, model, backend):
        config = Path(folder, f"{backend}.toml")
        Path(folder, "text.txt").write_text("Once upon a time there was a cat. The cat found a golden key. " * 12)
        config.write_text(f'''
[model]
path = "{model}"
[backend]
name = "{backend}"
fallback = false
[data]
paths = ["{folder}/text.txt"]
[batch]
rows = 2
length = 20
[optimizer]
rate = 1e-2
[train]
steps = 3
output = "{folder}/{backend}"
''')
        done = run(config, "--quiet", program="nlm-train")
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        log = [json.loads(line) for line in Path(folder, backend, "log.jsonl").read_text().splitlines()]
        return [(line["loss"], line["norm"]) for line in log if "loss" in line]

    def test_a_run_takes_the_steps_of_the_cpu(self):
        for model in (LLAMA, MAMBA):
            with self.subTest(model.name), tempfile.TemporaryDirectory() as folder:
                found, expected = (self.train(folder, model, backend) for backend in ("cuda", "cpu_scalar"))
                self.assertEqual(len(found), 3)
                for here, there in zip(found, expected):
                    for a, b in zip(here, there):
                        self.assertAlmostEqual(a / b, 1, delta=1e-4)


class Libraries(unittest.TestCase):
    def test_without_a_driver_the_reason_is_said(self):
        done = run("--json", program="nlm-plugins", LD_LIBRARY_PATH="")
        cuda = [p for p in json.loads(done.stdout)["plugins"] if p["name"] == "cuda"]
        self.assertIn("no libcuda.so.1", cuda[0]["reason"])

    def test_without_a_gpu_the_reason_is_said(self):
        done = run("-m", MAMBA, "-p", "a", "--backend", "cuda", EMU_CUDA_DEVICES=0)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("no NVIDIA GPU", done.stderr.decode())

    def test_a_compiler_that_fails_is_no_crash(self):
        with tempfile.TemporaryDirectory() as empty:
            done = run("-m", MAMBA, "-p", "a", "--backend", "cuda", "--no-fallback", kernels=empty, EMU_NVRTC_FAIL=1)
        self.assertGreater(done.returncode, 0)
        self.assertIn("NVRTC", done.stderr.decode())


class Cache(unittest.TestCase):
    def images(self, folder):
        return sorted((Path(folder) / "nlm/cuda").glob("*.image"))

    def test_kernels_are_compiled_once(self):
        with tempfile.TemporaryDirectory() as folder:
            text = text_of(MAMBA, n=2, kernels=folder)
            before = [p.stat().st_mtime_ns for p in self.images(folder)]
            self.assertTrue(before)
            # with a compiler that fails, what is kept must do
            self.assertEqual(text_of(MAMBA, n=2, kernels=folder, EMU_NVRTC_FAIL=1), text)
            self.assertEqual([p.stat().st_mtime_ns for p in self.images(folder)], before)

    def test_a_dry_device_leaves_the_names_of_what_is_wanted(self):
        with tempfile.TemporaryDirectory() as folder:
            done = run("--backend", "cuda", "--filter", "scale", program="nlm-conform", kernels=folder, EMU_CUDA_DRY=1)
            self.assertEqual(done.returncode, 1)
            images = self.images(folder)
            self.assertEqual([p.read_bytes().count(b"scale.cu") for p in images], [1])
            # and what is in it is taken for no kernel by one that runs
            self.assertEqual(text_of(MAMBA, n=1, kernels=folder), text_of(MAMBA, n=1, backend="cpu_scalar"))
            self.assertIn(images[0], self.images(folder))

    def test_damaged_and_foreign_files_are_compiled_again(self):
        def cut(path):
            path.write_bytes(path.read_bytes()[:-100])

        def change(path):
            data = bytearray(path.read_bytes())
            data[-50] ^= 1
            path.write_bytes(data)

        def empty(path):
            path.write_bytes(b"")

        def open_to_all(path):
            path.chmod(0o666)

        with tempfile.TemporaryDirectory() as folder:
            text = text_of(MAMBA, n=2, kernels=folder)
            for damage in (cut, change, empty, open_to_all):
                for path in self.images(folder):
                    damage(path)
                with self.subTest(damage.__name__):
                    failing = run("-m", MAMBA, "-p", "a", "-n", 2, "--backend", "cuda", "--no-fallback", kernels=folder,
                                  EMU_NVRTC_FAIL=1)
                    self.assertNotEqual(failing.returncode, 0)  # nothing of it was believed
                    self.assertEqual(text_of(MAMBA, n=2, kernels=folder), text)

    def test_a_folder_that_cannot_be_written_is_no_error(self):
        with tempfile.NamedTemporaryFile() as file:
            self.assertEqual(text_of(MAMBA, n=2, kernels=file.name), text_of(MAMBA, n=2))

    def test_two_processes_may_compile_at_once(self):
        with tempfile.TemporaryDirectory() as folder:
            command = [BIN / "nlm-run", "-m", MAMBA, "-p", "a", "-n", "2", "--backend", "cuda", "--quiet"]
            environment = os.environ | {"XDG_CACHE_HOME": folder}
            both = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment)
                    for _ in range(2)]
            texts = [p.communicate(timeout=600)[0] for p in both]
            self.assertEqual(texts[0], texts[1])
            self.assertFalse([p for p in (Path(folder) / "nlm/cuda").iterdir() if p.suffix != ".image"])


if __name__ == "__main__":
    unittest.main()
