"""What the tests of nlm-model convert share."""
import ast
import json
import os
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

BIN = Path(os.environ["NLM_BIN"])
SOURCE = Path(os.environ["NLM_SOURCE"])
FIXTURES = SOURCE / "tests/data/models"

TEXT = "Once upon a time, in a big house near the sea, there lived a little girl. She was \u00e9t\u00e9 and 7.\n"


def convert(*args, code=0):
    result = subprocess.run([BIN / "nlm-model", "convert", *map(str, args)], capture_output=True, timeout=120)
    out, err = result.stdout.decode(), result.stderr.decode()
    assert result.returncode == code, f"exit code {result.returncode}, expected {code}\n{out}\n{err}"
    return err


def read_npy(path):
    """Shape and bytes of a version 1 file in C order."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack_from("<H", data, 8)
    return ast.literal_eval(data[10 : 10 + length].decode())["shape"], data[10 + length :]


def read_safetensors(path):
    """Metadata, and type, shape and bytes by name."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    assert length % 8 == 0, length
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, item in header.items():
        begin, end = item["data_offsets"]
        tensors[name] = item["dtype"], item["shape"], data[8 + length + begin : 8 + length + end]
    return metadata, tensors


def write_safetensors(path, tensors):
    header, end = {}, 0
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(values)]}
        end += len(values)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, values in tensors.values():
            file.write(values)


def ids_of(model, text=TEXT):
    done = subprocess.run([BIN / "nlm-tokenize", "--model", model], input=text.encode(), stdout=subprocess.PIPE,
                          check=True, timeout=60)
    return done.stdout.split()


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def logits(self, model, tokens):
        """The bytes of the f32 logits, row by row."""
        out, ids = self.folder / "logits.npy", self.folder / "ids.txt"
        ids.write_text(" ".join(map(str, tokens)))
        subprocess.run([BIN / "nlm-eval", "--model", model, "--tokens", ids, "--logits", out, "--kv-type", "f32",
                        "--backend", "cpu_scalar"], check=True, timeout=120, stderr=subprocess.PIPE)
        return read_npy(out)
