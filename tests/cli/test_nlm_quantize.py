"""nlm-model quantize: the files it writes, what it reports of them, and what it does when it cannot."""
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from converting import BIN, FIXTURES, SOURCE, TEXT, convert

try:
    import numpy as np
except ImportError:
    print("skipped: reading a GGUF needs NumPy")
    sys.exit(77)

sys.path.insert(0, str(SOURCE / "tests/oracle"))
import forward
import gguf_file

LLAMA, MAMBA, STORIES = (FIXTURES / f"{name}.gguf" for name in ("llama-gqa-f32", "mamba-f32", "stories260K-q8_0"))
PLAIN = ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl", "f16", "bf16")
K_TYPES = ("q4_k", "q5_k", "q6_k")
FILE_TYPES = {"q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q4_k": 14, "q5_k": 16, "q6_k": 18,
              "iq4_nl": 25, "f16": 1, "bf16": 32}
# The greatest relative error that a matrix of a trained model may have.
ERRORS = {"q8_0": 0.007, "q4_0": 0.12, "q4_1": 0.1, "q5_0": 0.06, "q5_1": 0.05, "iq4_nl": 0.1, "f16": 0.0005,
          "bf16": 0.003, "q4_k": 0.1, "q5_k": 0.05, "q6_k": 0.03}


def call(program, *args, code=0, **more):
    done = subprocess.run([BIN / program, *map(str, args)], capture_output=True, timeout=120, **more)
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == code, f"exit code {done.returncode}, expected {code}\n{out}\n{err}"
    return out, err


def quantize(*args, **more):
    """With one thread, which small models are fastest with on a busy machine, unless they are told."""
    threads = [] if "--threads" in args else ["--threads", 1]
    return call("nlm-model", "quantize", *args, *threads, **more)


def report(*args):
    return json.loads(quantize(*args, "--json")[0])


def relative(miss, values, weights=1.0):
    """Of rows, and of all: the root of the squared error over that of the values."""
    error, power = (weights * miss**2).sum(-1), (weights * values**2).sum(-1)
    rows = np.sqrt(np.divide(error, power, out=np.zeros_like(error), where=power > 0))
    return rows, np.sqrt(error.sum() / power.sum())


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shared = tempfile.TemporaryDirectory()
        cls.addClassCleanup(shared.cleanup)
        cls.stories = Path(shared.name) / "stories-f32.gguf"  # as f32: nothing is lost between the two
        convert(STORIES, Path(shared.name) / "folder")
        convert(Path(shared.name) / "folder", cls.stories)

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.out = self.folder / "out.gguf"
        self.text = self.folder / "text.txt"
        self.text.write_text(TEXT * 3)

    def check_report(self, source, told, weights=None):
        """That it says of each tensor what Python finds in the two files."""
        before, after = gguf_file.GgufFile(source), gguf_file.GgufFile(self.out)
        self.assertEqual([item["name"] for item in told["tensors"]], before.names())
        self.assertEqual(after.names(), before.names())
        sizes = elements = 0
        for item in told["tensors"]:
            name = item["name"]
            kind, shape, data = after.stored(name)
            old_kind, old_shape, old_data = before.stored(name)
            self.assertEqual((item["type"], item["type_before"], shape), (kind, old_kind, old_shape), name)
            self.assertEqual((item["bytes"], item["bytes_before"]), (len(data), len(old_data)), name)
            self.assertEqual(item["is_made"], data != old_data, name)
            sizes, elements = sizes + len(data), elements + int(np.prod(shape))
            values = before.tensor(name)
            rows, whole = relative(after.tensor(name) - values, values, 1.0 if weights is None else weights[name])
            self.assertAlmostEqual(item["relative_rms_error"], whole, delta=1e-6 + 1e-5 * whole, msg=name)
            if not item["is_made"]:
                continue
            self.assertAlmostEqual(item["worst_row_error"], rows.max(), delta=1e-6 + 1e-5 * whole, msg=name)
            self.assertAlmostEqual(rows[item["worst_row"]], rows.max(), delta=1e-6 + 1e-5 * whole, msg=name)
        self.assertEqual(told["bytes"], sizes)
        self.assertAlmostEqual(told["bits_per_weight"], 8 * sizes / elements, places=6)
        return before, after


class Types(Case):
    def test_every_type_runs_and_is_reported_as_it_is(self):
        for kind in PLAIN:
            with self.subTest(kind):
                told = report(self.stories, self.out, "--type", kind)
                before, after = self.check_report(self.stories, told)
                made = {item["name"]: item["type"] for item in told["tensors"] if item["is_made"]}
                self.assertEqual(made["blk.0.attn_q.weight"], kind)
                wide = {name: value for name, value in before.meta.items()}
                wide |= {"general.file_type": FILE_TYPES[kind], "general.quantization_version": 2}
                self.assertEqual(after.meta, wide)
                for item in told["tensors"]:
                    self.assertLessEqual(item["relative_rms_error"], ERRORS[item["type"]] if item["is_made"] else 0)
                self.assertEqual(after.stored("output_norm.weight"), before.stored("output_norm.weight"))
                call("nlm-model", "verify", self.out)
                out, _ = call("nlm-run", "-m", self.out, "-p", "Once upon a time", "-n", 8, "--temperature", 0, "-j", 1)
                self.assertTrue(out.strip())

    def test_k_types_take_rows_of_whole_blocks(self):
        for kind, source in zip(K_TYPES, ("llama-q6_k", "llama-q4_k", "mamba-k")):
            with self.subTest(kind):
                told = report(FIXTURES / f"{source}.gguf", self.out, "--type", kind)
                self.check_report(FIXTURES / f"{source}.gguf", told)
                self.assertIn(kind, {item["type"] for item in told["tensors"] if item["is_made"]})
                tokens = (FIXTURES / f"{source}.txt").read_text().split()
                ids = self.folder / "ids.txt"
                ids.write_text(" ".join(tokens))
                logits = self.folder / "logits.npy"
                call("nlm-eval", "-m", self.out, "--tokens", ids, "--logits", logits, "--backend", "cpu_scalar",
                     "--kv-type", "f32", "-j", "1")
                expected = forward.logits(self.out, list(map(int, tokens)))
                rows, whole = relative(np.load(logits) - expected, expected)
                self.assertLess(whole, 1e-3)

    def test_what_rows_of_other_lengths_become_is_told(self):
        told = {item["name"]: item for item in report(self.stories, self.out, "--type", "q4_0")["tensors"]}
        self.assertEqual(told["blk.0.ffn_down.weight"]["type"], "f16")  # rows of 172
        self.assertEqual(told["blk.0.ffn_down.weight"]["note"], "rows of 172 are no multiple of 32: not q4_0")
        told = {item["name"]: item for item in report(self.stories, self.out, "--type", "q4_k")["tensors"]}
        self.assertEqual(told["blk.0.attn_q.weight"]["type"], "q8_0")  # rows of 64
        self.assertEqual(told["blk.0.attn_q.weight"]["note"], "rows of 64 are no multiple of 256: not q4_k")
        self.assertEqual(told["blk.0.ffn_down.weight"]["type"], "f16")
        out, _ = quantize(self.stories, self.out, "--type", "q4_0")
        self.assertRegex(out, r"output.weight +f32 -> q8_0 .*  rows of 64 are no multiple of 256: not q6_k\n")

    def test_head_and_embedding_have_types_of_their_own(self):
        both = FIXTURES / "llama-q5_k.gguf"
        names = gguf_file.GgufFile(both).names()
        self.assertIn("token_embd.weight", names)
        head = "output.weight" if "output.weight" in names else "token_embd.weight"
        for options, expected in (([], "q6_k"), (["--head-type", "q8_0", "--embedding-type", "q8_0"], "q8_0"),
                                  (["--head-type", "q4_0", "--embedding-type", "q4_0"], "q4_0")):
            told = report(both, self.out, "--type", "q4_0", *options)
            self.assertEqual({item["name"]: item["type"] for item in told["tensors"]}[head], expected)
        told = {item["name"]: item["type"] for item in report(self.stories, self.out, "--type", "q4_0")["tensors"]}
        self.assertEqual((told["token_embd.weight"], told["output.weight"]), ("q4_0", "q8_0"))
        tied = {item["name"]: item for item in report(LLAMA, self.out, "--type", "q4_0")["tensors"]}
        if "output.weight" not in tied:
            self.assertNotEqual(tied["token_embd.weight"]["type"], "q4_0")

    def test_mamba_keeps_what_is_no_matrix(self):
        told = report(MAMBA, self.out, "--type", "q8_0")
        self.check_report(MAMBA, told)
        for item in told["tensors"]:
            part = item["name"].split(".", 2)[-1] if item["name"].startswith("blk.") else item["name"]
            is_matrix = part in ("ssm_in.weight", "ssm_x.weight", "ssm_dt.weight", "ssm_out.weight",
                                 "token_embd.weight", "output.weight")
            self.assertEqual(item["is_made"], is_matrix, item["name"])
        tokens = (FIXTURES / "mamba-f32.txt").read_text()
        call("nlm-eval", "-m", self.out, "--tokens", "-", "--logits", self.folder / "l.npy", "-j", 1,
             input=tokens.encode())

    def test_a_second_loss_is_warned_of_and_none_is_added_to_what_stays(self):
        _, err = quantize(STORIES, self.out, "--type", "q4_0")
        self.assertRegex(err, r"warning: \d+ tensors are quantised already: ")
        _, err = quantize(self.stories, self.out, "--type", "q4_0")
        self.assertEqual(err, "")
        told = {item["name"]: item for item in report(STORIES, self.out, "--type", "q8_0")["tensors"]}
        self.assertFalse(told["blk.0.attn_q.weight"]["is_made"])
        self.assertEqual(told["blk.0.attn_q.weight"]["relative_rms_error"], 0)

    def test_threads_do_not_change_a_bit(self):
        for extra in ([], ["--calibrate", self.text]):
            files, said = [], []
            for threads in (1, 3):
                said.append(report(self.stories, self.out, "--type", "q5_1", "--threads", threads, *extra))
                files.append(self.out.read_bytes())
            self.assertEqual(files[1], files[0])
            self.assertEqual(said[1], said[0])

    def test_errors_are_those_of_the_gguf_package(self):
        try:
            from gguf import GGMLQuantizationType, quants
        except ImportError:
            self.skipTest("the package gguf is not installed")
        file = gguf_file.GgufFile(self.stories)
        for kind in ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1"):
            told = {item["name"]: item for item in report(self.stories, self.out, "--type", kind)["tensors"]}
            for name in ("blk.0.attn_q.weight", "blk.2.ffn_up.weight"):
                with self.subTest(kind, name=name):
                    values = file.tensor(name)
                    number = GGMLQuantizationType[kind.upper()]
                    theirs = quants.dequantize(quants.quantize(values.astype(np.float32), number), number)
                    _, expected = relative(theirs - values, values)
                    self.assertAlmostEqual(told[name]["relative_rms_error"], expected, delta=2e-3 * expected)


class Texts(Case):
    def test_perplexities_are_those_of_nlm_eval(self):
        told = report(self.stories, self.out, "--type", "q4_0", "--text", self.text)
        for path, key in ((self.stories, "perplexity_before"), (self.out, "perplexity")):
            direct = json.loads(call("nlm-eval", "-m", path, "--text", self.text, "--json", "-j", 1)[0])
            self.assertEqual(told[key], direct["perplexity"])
            self.assertEqual(told[key + "_error"], direct["perplexity_error"])
            self.assertEqual(told["perplexity_tokens"], direct["tokens"])
        out, _ = quantize(self.stories, self.out, "--type", "q4_0", "--text", self.text)
        self.assertRegex(out, r"perplexity \d+\.\d{4} \+- [\d.]+ before, \d+\.\d{4} \+- [\d.]+ after \(\d+ tokens\)\n$")

    def test_importance_is_the_mean_square_of_what_columns_are_multiplied_by(self):
        for model in (LLAMA, MAMBA):
            with self.subTest(model.name):
                saved = self.folder / "importance.gguf"
                quantize(model, self.out, "--type", "q8_0", "--calibrate", self.text, "--save-importance", saved,
                         "--backend", "cpu_scalar")
                ids = list(map(int, call("nlm-tokenize", "-m", model, input=self.text.read_bytes())[0].split()))
                self.assertLess(len(ids), 500)
                expected = self.squares(model, ids)
                found = gguf_file.GgufFile(saved)
                self.assertEqual({name for name in found.names() if name.endswith(".in_sum2")},
                                 {name + ".in_sum2" for name in expected})
                for name, squares in expected.items():
                    sums = found.tensor(name + ".in_sum2")[0]
                    np.testing.assert_allclose(sums, squares, rtol=2e-3, atol=1e-4 * squares.max(), err_msg=name)
                    self.assertIn(found.tensor(name + ".counts")[0, 0], (len(ids), len(ids) + 1))
                self.assertEqual(gguf_file.GgufFile(self.out).meta["quantize.imatrix.entries_count"], len(expected))

    def squares(self, model, ids):
        """Sums of squares of the inputs of each matmul, from the oracle; with BOS if the model wants it."""
        seen = {}

        class Recording(forward.Weights):
            def linear(self, x, name):
                seen[name + ".weight"] = (x**2).sum(0)
                return super().linear(x, name)

        gguf = gguf_file.GgufFile(model)
        arch = gguf.meta["general.architecture"].decode()
        bos = gguf.meta.get("tokenizer.ggml.bos_token_id")
        wants = gguf.meta.get("tokenizer.ggml.add_bos_token", gguf.meta["tokenizer.ggml.model"] == b"llama")
        family = {"llama": forward.llama, "mamba": forward.mamba}[arch]
        hidden = family(gguf.meta, arch, Recording(gguf), np.asarray([bos] * bool(wants) + ids))
        head = "output.weight" if "output.weight" in gguf.names() else "token_embd.weight"
        return seen | {head: (hidden**2).sum(0)}

    def test_errors_are_weighted(self):
        saved = self.folder / "importance.gguf"
        for kind in ("q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl"):
            with self.subTest(kind):
                told = report(self.stories, self.out, "--type", kind, "--calibrate", self.text, "--save-importance",
                              saved)
                found = gguf_file.GgufFile(saved)
                weights = {}
                for item in told["tensors"]:
                    sums = found.tensor(item["name"] + ".in_sum2")
                    self.assertEqual(item["is_weighted"], sums is not None)
                    weights[item["name"]] = 1.0 if sums is None else sums[0] + 1e-3 * sums[0].mean()
                self.check_report(self.stories, told, weights)

    def test_a_text_without_tokens_is_told(self):
        self.text.write_text("")
        for option in ("--text", "--calibrate"):
            _, err = quantize(self.stories, self.out, "--type", "q4_0", option, self.text, code=1)
            self.assertIn("the text is empty", err)
            self.assertFalse(self.out.exists())


class Failures(Case):
    def left(self):
        return sorted(path.name for path in self.folder.iterdir() if path != self.text)

    def test_wrong_use_exits_with_2(self):
        copy = self.folder / "copy.gguf"
        copy.write_bytes(LLAMA.read_bytes())
        (self.folder / "link.gguf").symlink_to(copy)
        for args, says in (
                ([copy], "needs IN and OUT"), ([copy, self.out], "--type is missing; expected q4_0, q4_1,"),
                ([copy, self.out, "--type", "q2_k"], "--type is 'q2_k'; expected q4_0, q4_1, q5_0, q5_1, q8_0,"),
                ([copy, self.out, "--type", "i32"], "--type is 'i32'; expected"),
                ([copy, self.out, "--type", "q4_0", "--head-type", "x"], "--head-type is 'x'; expected"),
                ([copy, self.out, "--type", "q4_0", "--embedding-type", "x"], "--embedding-type is 'x'; expected"),
                ([copy, self.out, "--type", "q4_0", "--save-importance", "x"], "give that too"),
                ([copy, self.out, "--type", "q4_0", "--dtype", "f16"], "takes no --dtype"),
                ([copy, copy, "--type", "q4_0"], "OUT is the file that is read"),
                ([copy, self.folder / "link.gguf", "--type", "q4_0"], "OUT is the file that is read")):
            with self.subTest(args=args):
                self.assertIn(says, quantize(*args, code=2)[1])
        self.assertEqual(copy.read_bytes(), LLAMA.read_bytes())
        self.assertIn("takes no --type", call("nlm-model", "inspect", LLAMA, "--type", "q4_0", code=2)[1])

    def test_what_cannot_be_read_or_written_leaves_nothing(self):
        self.assertIn("No such file", quantize(self.folder / "none", self.out, "--type", "q4_0", code=1)[1])
        self.assertIn("No such file", quantize(LLAMA, self.folder / "a/b", "--type", "q4_0", code=1)[1])
        bad = self.folder / "bad.gguf"
        name, shape = "blk.1.attn_q.weight", [8, 64]
        for value, says in ((float("nan"), "is nan"), (1e30, "too large for q4_0")):
            wrong = np.ones(shape, "<f4")
            wrong[3, 5] = value
            gguf_file.write(bad, [("general.architecture", gguf_file.STRING, "llama")],
                            [(name, "f32", shape, wrong.tobytes())])
            _, err = quantize(bad, self.out, "--type", "q4_0", code=1)
            self.assertIn(f"'{name}' as q4_0, row 3 from element 0 on: ", err)
            self.assertIn(says, err)
        self.assertEqual(self.left(), ["bad.gguf"])

    def test_a_full_disk_leaves_nothing(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
        _, err = quantize(self.stories, self.out, "--type", "q8_0", code=1, preexec_fn=limit)
        self.assertIn("File too large", err)
        self.assertEqual(self.left(), [])

    def test_ctrl_c_leaves_nothing(self):
        big = self.folder / "big.gguf"
        data = np.random.default_rng(1).standard_normal((1024, 1024), dtype=np.float32).tobytes()
        gguf_file.write(big, [("general.architecture", gguf_file.STRING, "llama")],
                        [(f"blk.{i}.a.weight", "f32", [1024, 1024], data) for i in range(16)])
        process = subprocess.Popen([BIN / "nlm-model", "quantize", big, self.out, "--type", "q4_k"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while len(self.left()) < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"cancelled", err)
        self.assertEqual(self.left(), ["big.gguf"])


if __name__ == "__main__":
    unittest.main()
