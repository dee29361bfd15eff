"""nlm-eval as a user runs it. Perplexities are compared with float64 sums over logits of each window, which
test_logits.py compares with the oracle."""
import array
import ast
import json
import math
import os
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

BIN = Path(os.environ["NLM_BIN"])
FIXTURES = Path(os.environ["NLM_SOURCE"]) / "tests/data/models"
LLAMA, MAMBA = FIXTURES / "llama-gqa-f32.gguf", FIXTURES / "mamba-f32.gguf"
TEXT = b"The rain in Spain stays mainly in the plain, and the sea is as blue as the sky.\n" * 3


def run(program, *arguments, code=0, input=b""):
    done = subprocess.run([BIN / program, *map(str, arguments)], input=input, capture_output=True, timeout=120)
    assert done.returncode == code, (arguments, done)
    return done


def read_npy(path):
    data = Path(path).read_bytes()
    (length,) = struct.unpack_from("<H", data, 8)
    header = ast.literal_eval(data[10 : 10 + length].decode())
    assert data[:8] == b"\x93NUMPY\x01\x00" and header["descr"] == "<f4" and not header["fortran_order"], header
    values = array.array("f")
    values.frombytes(data[10 + length :])
    rows, columns = header["shape"]
    return [values[i * columns : (i + 1) * columns] for i in range(rows)]


class Eval(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.text = self.folder / "text.txt"
        self.text.write_bytes(TEXT)

    def logits(self, model, ids):
        out = self.folder / "logits.npy"
        run("nlm-eval", "-m", model, "--tokens", "-", "--logits", out, "--kv-type", "f32",
            input=" ".join(map(str, ids)).encode())
        return read_npy(out)

    def expected(self, model, window, stride, bos):
        """Mean of -ln p and how many tokens it is of."""
        ids = [int(word) for word in run("nlm-tokenize", "-m", model, input=TEXT).stdout.split()]
        held = window - (bos is not None)
        total, count, scored, start = 0.0, 0, 0, 0
        while scored < len(ids):
            part = ids[start : start + held]
            rows = self.logits(model, ([bos] if bos is not None else []) + part)
            for i, token in enumerate(part):
                row_index = i - 1 + (bos is not None)
                if start + i < scored or row_index < 0:
                    continue
                row = rows[row_index]
                top = max(row)
                total += math.log(math.fsum(math.exp(x - top) for x in row)) + top - row[token]
                count += 1
            scored = start + len(part)
            start += stride
        return total / count, count

    def test_metadata_is_overridden(self):
        def logits(*overrides, model=LLAMA):
            out = self.folder / "overridden.npy"
            given = [word for override in overrides for word in ("--override", override)]
            run("nlm-eval", "-m", model, "--tokens", "-", "--logits", out, "--kv-type", "f32", *given, input=b"1 2 3 4")
            return read_npy(out)

        name = b"llama.rope.freq_base"
        plain = logits()
        other = logits("llama.rope.freq_base=float:500")
        self.assertNotEqual(plain, other)
        self.assertEqual(plain, logits("llama.rope.freq_base=float:500", "llama.rope.freq_base=float:10000"))
        data = LLAMA.read_bytes()
        changed = self.folder / "changed.gguf"
        if name in data:
            at = data.index(name) + len(name) + 4
            changed.write_bytes(data[:at] + struct.pack("<f", 500) + data[at + 4 :])
            self.assertEqual(other, logits(model=changed))
        for override, expected in [("a", "KEY=TYPE:VALUE"), ("a=5", "KEY=int:N"), ("a=int:x", "whole number"),
                                   ("llama.block_count=int:-1", "llama.block_count"),
                                   ("a=float:nan", "number"), ("=int:1", "KEY=TYPE:VALUE")]:
            done = subprocess.run([BIN / "nlm-eval", "-m", LLAMA, "--tokens", "-", "--logits", self.folder / "no.npy",
                                   "--override", override], input=b"1", capture_output=True, timeout=60)
            self.assertIn(done.returncode, (1, 2))
            self.assertIn(expected, done.stderr.decode())

    def test_ids_need_no_tokenizer(self):
        name = struct.pack("<Q", 20) + b"tokenizer.ggml.model" + struct.pack("<IQ", 8, 5)
        data = LLAMA.read_bytes()
        self.assertEqual(data.count(name + b"llama"), 1)
        unknown = self.folder / "unknown.gguf"
        unknown.write_bytes(data.replace(name + b"llama", name + b"tlhin"))
        self.assertEqual(self.logits(unknown, [1, 2, 3]), self.logits(LLAMA, [1, 2, 3]))
        told = run("nlm-eval", "-m", unknown, "--text", self.text, code=1).stderr.decode()
        self.assertIn("the tokenizer 'tlhin' (tokenizer.ggml.model) is not known", told)

    def test_perplexity_by_windows(self):
        for model, bos, window, stride in [(LLAMA, 1, 32, 16), (LLAMA, 1, 40, 39), (LLAMA, None, 32, 8), (LLAMA, 1, 256, 128),
                                           (MAMBA, None, 50, 25), (MAMBA, None, 64, 64)]:
            with self.subTest(model=model.name, bos=bos, window=window, stride=stride):
                more = ["--no-bos"] if bos is None else []
                done = json.loads(run("nlm-eval", "-m", model, "--text", self.text, "--window", window, "--stride", stride,
                                      "--kv-type", "f32", "--json", *more).stdout)
                mean, count = self.expected(model, window, stride, bos)
                self.assertEqual(done["tokens"], count)
                self.assertAlmostEqual(done["mean_negative_log_likelihood"], mean, places=6)
                self.assertAlmostEqual(done["perplexity"] / math.exp(mean), 1, places=5)

    def chunked(self, model, window, bos):
        """Losses as llama-perplexity counts them."""
        flags = ["--bos"] if bos is not None else []
        ids = [int(word) for word in run("nlm-tokenize", "-m", model, *flags, input=TEXT).stdout.split()]
        losses = []
        for start in range(0, len(ids) - window + 1, window):
            part = ids[start : start + window]
            if bos is not None:
                part[0] = bos
            rows = self.logits(model, part)
            for i in range(window // 2, window - 1):
                top = max(rows[i])
                losses.append(math.log(math.fsum(math.exp(x - top) for x in rows[i])) + top - rows[i][part[i + 1]])
        return losses

    def test_chunked_perplexity_and_its_error(self):
        for model, bos, window in [(LLAMA, 1, 32), (LLAMA, 1, 51), (LLAMA, None, 40), (MAMBA, None, 50)]:
            with self.subTest(model=model.name, bos=bos, window=window):
                more = ["--no-bos"] if bos is None else []
                done = json.loads(run("nlm-eval", "-m", model, "--text", self.text, "--window", window, "--chunked",
                                      "--kv-type", "f32", "--json", *more).stdout)
                losses = self.chunked(model, window, bos)
                mean = math.fsum(losses) / len(losses)
                error = math.sqrt(math.fsum((x - mean) ** 2 for x in losses) / len(losses) / (len(losses) - 1))
                self.assertEqual(done["tokens"], len(losses))
                self.assertAlmostEqual(done["perplexity"] / math.exp(mean), 1, places=5)
                self.assertAlmostEqual(done["perplexity_error"] / (math.exp(mean) * error), 1, places=4)
        self.assertRegex(run("nlm-eval", "-m", LLAMA, "--text", self.text, "--window", 32, "--chunked").stdout,
                         rb"^perplexity \d+\.\d+ \+- \d+\.\d+ \(\d+ tokens, \d+ windows of 32, the second half of each\)\n$")
        self.assertIn(b"fill no window", run("nlm-eval", "-m", LLAMA, "--text", "-", "--chunked", input=b"a", code=1).stderr)
        run("nlm-eval", "-m", LLAMA, "--text", self.text, "--chunked", "--stride", 4, code=2)

    def test_perplexity_is_printed_on_one_line(self):
        done = run("nlm-eval", "-m", LLAMA, "--text", self.text)
        self.assertRegex(done.stdout, rb"^perplexity \d+\.\d+ \+- \d+\.\d+ \(\d+ tokens, 1 windows of 256, stride 128\)\n$")
        self.assertEqual(run("nlm-eval", "-m", LLAMA, "--text", "-", input=TEXT).stdout, done.stdout)
        for threads in (1, 2):
            self.assertEqual(run("nlm-eval", "-m", LLAMA, "--text", self.text, "--threads", threads).stdout, done.stdout)

    def test_logits_longer_than_a_chunk_and_than_the_context(self):
        ids = [i % 318 for i in range(700)]
        rows = self.logits(LLAMA, ids)
        self.assertEqual((len(rows), len(rows[0])), (700, 318))
        self.assertEqual(rows[:300], self.logits(LLAMA, ids[:300]))

    def test_wrong_use(self):
        for arguments in [("-m", LLAMA), ("-m", LLAMA, "--tokens", "a"), ("-m", LLAMA, "--logits", "a"), ("--text", "a"),
                          ("-m", LLAMA, "--text", "a", "--tokens", "b", "--logits", "c"), ("--widnow", 3)]:
            self.assertIn(b"--help", run("nlm-eval", *arguments, code=2).stderr)

    def test_failures(self):
        out = self.folder / "out.npy"
        for arguments, input, expected in [
            (("-m", LLAMA, "--tokens", "-", "--logits", out), b"1 2 x", "item 3, 'x'"),
            (("-m", LLAMA, "--tokens", "-", "--logits", out), b"1 318", "318"),
            (("-m", LLAMA, "--tokens", "-", "--logits", out), b" \n", "no token ids"),
            (("-m", LLAMA, "--tokens", "-", "--logits", "/no/such/folder/out.npy"), b"1", "/no/such/folder"),
            (("-m", "/no/model", "--text", "-"), TEXT, "/no/model"),
            (("-m", LLAMA, "--text", "-"), b"", "empty"),
            (("-m", MAMBA, "--text", "-"), b"a", "nothing before it"),
        ]:
            self.assertIn(expected, run("nlm-eval", *arguments, code=1, input=input).stderr.decode())
            self.assertFalse(out.exists())
        for arguments, expected in [(("--window", 20, "--stride", 20), "--stride"), (("--kv-type", "f17"), "f17"),
                                    (("--backend", "none"), "none"), (("--device-id", 9), "device 9")]:
            told = run("nlm-eval", "-m", LLAMA, "--text", "-", *arguments, code=2, input=TEXT).stderr.decode()
            self.assertIn(expected, told)

    def test_help_and_version(self):
        self.assertIn(b"Examples", run("nlm-eval", "--help").stdout)
        self.assertTrue(run("nlm-eval", "--version").stdout.startswith(b"nlm-eval "))


if __name__ == "__main__":
    unittest.main()
