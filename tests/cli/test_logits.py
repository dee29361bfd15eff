"""nlm-eval's logits against the float64 oracle: on the fixtures, and on a real model as it is and with f32 weights.

The real one needs NumPy, as the oracle does.
"""
import array
import ast
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

BIN = Path(os.environ["NLM_BIN"])
SOURCE = Path(os.environ["NLM_SOURCE"])
FIXTURES = SOURCE / "tests/data/models"

TEXT = """Once upon a time, in a big house near the sea, there lived a little girl who liked to sing.
One day she found a shiny red box under her bed. "What is in it?" she asked. Her mom smiled and said, "Open it and see."
"""


def read_npy(path):
    """Shape and values of a version 1 float file in C order."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack_from("<H", data, 8)
    header = ast.literal_eval(data[10 : 10 + length].decode())
    assert data[:8] == b"\x93NUMPY\x01\x00" and not header["fortran_order"], header
    values = array.array({"<f4": "f", "<f8": "d"}[header["descr"]])
    values.frombytes(data[10 + length :])
    return header["shape"], values


def nmse(actual, expected):
    error = sum((a - e) ** 2 for a, e in zip(actual, expected, strict=True))
    return error / sum(e * e for e in expected)


class Logits(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def evaluate(self, model, tokens, kv_type, backend="cpu_scalar"):
        out = self.folder / "logits.npy"
        subprocess.run([BIN / "nlm-eval", "--model", model, "--tokens", tokens, "--logits", out, "--kv-type", kv_type,
                        "--backend", backend], check=True, timeout=120, stderr=subprocess.PIPE)
        return read_npy(out)

    def check(self, model, tokens, expected_path, kv_type, most, backend="cpu_scalar"):
        shape, expected = read_npy(expected_path)
        actual_shape, actual = self.evaluate(model, tokens, kv_type, backend)
        self.assertEqual(actual_shape, shape)
        self.assertLessEqual(nmse(actual, expected), most, f"{model} with a cache of {kv_type} on {backend}")

    def test_fixtures(self):
        for name in ("llama-gqa-f32", "llama-mixed", "qwen2-f32", "mamba-f32", "mamba-mixed"):
            with self.subTest(name):
                path = FIXTURES / name
                self.check(f"{path}.gguf", f"{path}.txt", f"{path}.npy", "f32", 1e-9)

    def test_families_that_transformers_computed(self):
        """On every backend that this machine can run."""
        done = subprocess.run([BIN / "nlm-plugins", "--json"], check=True, timeout=60, stdout=subprocess.PIPE)
        ready = [p["name"] for p in json.loads(done.stdout)["plugins"] if p["state"] == "ready"]
        self.assertIn("cpu_scalar", ready)
        for name in ("qwen3-f32", "qwen3-untied-f32", "smollm3-f32", "granite-f32"):
            path = FIXTURES / name
            for backend in ready:
                with self.subTest(name, backend=backend):
                    self.check(f"{path}.gguf", f"{path}.txt", f"{path}.npy", "f32", 1e-9, backend)

    def with_f32_weights(self, model):
        from gguf_file import ARRAY, F32, I32, STRING, U32, GgufFile, write

        file, path = GgufFile(model), self.folder / "f32.gguf"
        kinds = {bytes: STRING, int: U32, float: F32}
        arrays = {"tokens": STRING, "scores": F32, "token_type": I32}
        meta = [(key, ARRAY, (arrays[key.split(".")[-1]], value)) if isinstance(value, list)
                else (key, kinds[type(value)], value) for key, value in file.meta.items()]
        tensors = [(name, file.tensor(name).astype("<f4")) for name in file.names()]
        write(path, meta, [(name, "f32", list(values.shape), values.tobytes()) for name, values in tensors])
        return path

    def test_real_model(self):
        try:
            import numpy  # noqa: F401
        except ImportError:
            self.skipTest("the oracle needs NumPy")
        sys.path.insert(0, str(SOURCE / "tests/oracle"))
        tokens, expected = self.folder / "tokens.txt", self.folder / "expected.npy"
        real = FIXTURES / "stories260K-q8_0.gguf"
        for model in (real, self.with_f32_weights(real)):
            with self.subTest(model.name), open(tokens, "wb") as file:
                subprocess.run([BIN / "nlm-tokenize", "--model", model, "--bos"], input=TEXT.encode(), stdout=file,
                               check=True, timeout=60)
                subprocess.run([sys.executable, SOURCE / "tests/oracle/forward.py", model, tokens, expected],
                               check=True, timeout=120)
                self.check(model, tokens, expected, "f32", 1e-9)
                self.check(model, tokens, expected, "f16", 1e-5)


if __name__ == "__main__":
    unittest.main()
