"""nlm-model as a user runs it: what it prints, what it finds, what it exits with."""
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

BIN = Path(os.environ["NLM_BIN"])
SOURCE = Path(os.environ["NLM_SOURCE"])

sys.path.insert(0, str(SOURCE / "tests/oracle"))
from tiny_gguf import (ARRAY, BOOL, F32, F64, STRING, TYPE_F16, TYPE_F32, TYPE_Q2_K, TYPE_Q4_0, TYPE_Q6_K, U32, U64,
                       gguf)

def run(*args, code=0):
    result = subprocess.run([BIN / "nlm-model", *map(str, args)], capture_output=True, timeout=120)
    out, err = result.stdout.decode(), result.stderr.decode()
    assert result.returncode == code, f"exit code {result.returncode}, expected {code}\n{out}\n{err}"
    return out, err


class NlmModel(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "model.gguf"

    def write(self, *args, **kwargs):
        self.path.write_bytes(gguf(*args, **kwargs))
        return self.path

    def test_help_and_version(self):
        out, _ = run("--help")
        for word in ("inspect", "verify", "--tensors", "--json", "Examples"):
            self.assertIn(word, out)
        out, _ = run("--version")
        self.assertRegex(out, r"^nlm-model \d+\.\d+\.\d+\n$")

    def test_wrong_use_exits_with_2(self):
        for args in ((), ("inspect",), ("examine", "x"), ("inspect", "a", "b"), ("inspect", "--tensros", "x"),
                     ("verify", "--json", "x")):
            out, err = run(*args, code=2)
            self.assertEqual(out, "")
            self.assertIn("--help", err)

    def test_a_file_that_cannot_be_read_exits_with_1(self):
        for command in ("inspect", "verify"):
            _, err = run(command, self.path, code=1)
            self.assertIn("No such file", err)
            self.assertIn(str(self.path), err)
        self.path.write_bytes(b"not a model")
        for command in ("inspect", "verify"):
            out, err = run(command, self.path, code=1)
            self.assertIn("not a GGUF file", err)
            self.assertEqual(out, "")

    def test_inspect_tells_shape_types_and_memory(self):
        matrix = bytes(18 * 8)
        self.write(
            [("general.architecture", STRING, "llama"), ("general.name", STRING, "Tiny"),
             ("llama.context_length", U32, 2048), ("llama.block_count", U32, 3),
             ("llama.embedding_length", U32, 64), ("llama.attention.head_count", U32, 8),
             ("llama.attention.head_count_kv", U32, 2), ("tokenizer.ggml.tokens", (ARRAY, STRING), ["a"] * 1500)],
            [("w.q4", (64, 4), TYPE_Q4_0, matrix), ("w.f32", (64,), TYPE_F32, bytes(256)),
             ("w.q2", (256,), TYPE_Q2_K, bytes(84))])
        out, _ = run("inspect", self.path)
        for line in ("architecture +llama", "name +Tiny", "context +2,048 tokens", "vocabulary +1,500 tokens",
                     "layers +3", "embedding +64", "attention +8 heads, 2 for keys and values, of 8",
                     r"q4_0 +1 +256 +144 B +29.8%", r"f32 +1 +64 +256 B +52.9%",
                     r"q2_k +1 +256 +84 B +17.4% +not supported", r"484 B, 6.72 bits a parameter",
                     # 3 layers x 2 heads x (8 + 8) x 2 bytes = 192 bytes a token
                     r"KV cache +192 KiB per 1024 tokens in f16, 384 KiB for the whole context of 2,048",
                     r"tokenizer.ggml.tokens +string\[1500\] +\[\"a\", .*\.\.\.\]"):
            self.assertRegex(out, line)
        self.assertNotIn("w.q4", out)
        out, _ = run("inspect", "--tensors", self.path)
        self.assertRegex(out, r"w.q4 +q4_0 +\[4, 64\] +at \d+ +144 B")

    def test_inspect_tells_the_state_of_a_mamba_model(self):
        self.write([("general.architecture", STRING, "mamba"), ("mamba.block_count", U32, 24),
                    ("mamba.ssm.inner_size", U32, 1536), ("mamba.ssm.state_size", U32, 16),
                    ("mamba.ssm.conv_kernel", U32, 4)], [("w", (8,), TYPE_F32, bytes(32))])
        out, _ = run("inspect", self.path)
        # 24 x 1536 x (16 + 3) x 4 bytes
        self.assertRegex(out, r"state +2\.67 MiB per sequence")
        self.assertNotIn("KV cache", out)

    def test_inspect_json_is_json_and_exact(self):
        self.write([("general.architecture", STRING, "llama"), ("big", U64, 2**64 - 1), ("small", F32, 0.1),
                    ("double", F64, 1 / 3), ("tenth", F64, 0.1), ("inf", F32, float("inf")), ("yes", BOOL, True),
                    ("list", (ARRAY, U32), list(range(100)))],
                   [("w", (2, 3), TYPE_F32, bytes(24))])
        out, _ = run("inspect", "--json", "--tensors", self.path)
        self.assertIn("18446744073709551615", out)
        report = json.loads(out)
        entries = {entry["key"]: entry for entry in report["metadata"]}
        self.assertEqual(entries["big"], {"key": "big", "type": "u64", "value": 2**64 - 1})
        self.assertEqual(entries["small"]["value"], 0.1)
        self.assertEqual(entries["double"]["value"], 1 / 3)
        self.assertEqual(entries["tenth"]["value"], 0.1)
        self.assertNotIn("0.1000", out)
        self.assertIsNone(entries["inf"]["value"])
        self.assertIs(entries["yes"]["value"], True)
        self.assertEqual(entries["list"]["count"], 100)
        self.assertEqual(entries["list"]["first"], list(range(16)))
        self.assertEqual(report["architecture"], "llama")
        self.assertEqual(report["parameters"], 6)
        self.assertEqual(report["tensors"], [{"name": "w", "type": "f32", "supported": True, "shape": [3, 2],
                                              "offset": report["tensors"][0]["offset"], "bytes": 24}])
        self.assertNotIn("tensors", json.loads(run("inspect", "--json", self.path)[0]))

    def test_strings_of_a_file_cannot_drive_the_terminal(self):
        nasty = b"\x1b[2J\x00\x07\r\xff\xc2\x9b31m\xe2\x80\xae" + "schön".encode()
        self.write([("general.architecture", STRING, nasty), (nasty, STRING, nasty),
                    ("list", (ARRAY, STRING), [nasty])], [(nasty, (1,), TYPE_F32, bytes(4))])
        for args in (("inspect", "--tensors"), ("inspect", "--tensors", "--json"), ("verify",)):
            out, _ = run(*args, self.path)
            if "--json" in args:
                self.assertIsNone(re.search("[\x00-\x08\x0b-\x1f]", out))
                self.assertIn("schön", json.loads(out)["metadata"][0]["value"])
            else:
                self.assertIsNone(re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out))
                self.assertIn("schön", out)
                self.assertIn(r"\x1b[2J\x00\x07\r\xff\u{9b}31m\u{202e}", out)

    def test_long_strings_are_shortened(self):
        self.write([("template", STRING, "x" * 100000)])
        out, _ = run("inspect", self.path)
        self.assertLess(len(out), 1000)
        self.assertIn("xxx...", out)

    def test_verify_names_the_tensor_and_the_place(self):
        def f16(bits):
            return struct.pack("<H", bits)

        good = f16(0x3C00) + bytes(16)
        f32s = [1.0] * 12
        f32s[7] = float("nan")
        f32s[9] = float("inf")
        q6_k = bytes(range(208)) + f16(0x7C00)
        self.write((), [("fine", (32,), TYPE_Q4_0, good),
                        ("plain", (4, 3), TYPE_F32, struct.pack("<12f", *f32s)),
                        ("halves", (3,), TYPE_F16, f16(0x3C00) + f16(0x3C00) + f16(0xFC00)),
                        ("scale", (32, 2), TYPE_Q4_0, good + f16(0x7E00) + bytes(16)),
                        ("super", (256,), TYPE_Q6_K, q6_k),
                        ("empty", (8,), TYPE_F32, bytes(32)),
                        ("other", (256,), TYPE_Q2_K, bytes(84))])
        out, _ = run("verify", self.path, code=1)
        for line in (r"^plain: 2 of its values are not finite, first -?nan at \[1, 3\]$",
                     r"^halves: 1 of its values are not finite, first -inf at \[2\]$",
                     r"^scale: 32 of its values are not finite, first -?nan at \[1, 0\]$",
                     r"^super: 256 of its values are not finite, first .* at \[0\]$",
                     r"^empty: note: all zeros$",
                     r"^other: not checked, its type is not supported: q2_k$",
                     r": 2 of 7 tensors are sound"):
            self.assertRegex(out, re.compile(line, re.M))
        self.assertNotIn("fine", out)

    def test_verify_finds_a_truncated_file(self):
        data = self.write((), [("w", (64,), TYPE_F32, bytes(256))]).read_bytes()
        self.path.write_bytes(data[:-1])
        _, err = run("verify", self.path, code=1)
        self.assertIn("tensor 'w' (256 bytes at offset 0) reaches past the 255 bytes", err)

    def test_full_disk_is_told(self):
        self.write([("k", U32, 1)])
        with open("/dev/full", "wb") as full:
            result = subprocess.run([BIN / "nlm-model", "inspect", self.path], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"No space left", result.stderr)

    def test_fixture_models_are_sound(self):
        models = sorted((SOURCE / "tests/data/models").glob("*.gguf"))
        self.assertTrue(models)
        for model in models:
            run("verify", model)
            json.loads(run("inspect", "--json", "--tensors", model)[0])

    def test_a_real_model_is_described(self):
        out, _ = run("inspect", SOURCE / "tests/data/models/stories260K-q8_0.gguf")
        self.assertRegex(out, "vocabulary +512 tokens")
        self.assertRegex(out, "parameters +292,800")


if __name__ == "__main__":
    unittest.main(verbosity=2)
