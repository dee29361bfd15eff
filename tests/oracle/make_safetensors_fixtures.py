#!/usr/bin/env python3
"""Writes tests/data/safetensors and the seeds of fuzz_safetensors: files of the Python package safetensors.

usage: make_safetensors_fixtures.py TESTS_DIRECTORY

Needs NumPy and safetensors. Seeds that lie are those files with one place changed.
"""
import json
import struct
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save

TENSORS = {
    "f32": np.arange(6, dtype="<f4").reshape(2, 3) / 4,
    "f16": np.array([0.5, -2, 65504], dtype="<f2"),
    "i32": np.array([[[1, -2]]], dtype="<i4"),
    "i64": np.array([1 << 40], dtype="<i8"),
    "u8": np.arange(3, dtype="u1"),
    "scalar": np.array(1.5, dtype="<f4"),
    "empty": np.zeros((0, 4), dtype="<f4"),
    "é \"quoted\"": np.array([7], dtype="<f4"),
}
METADATA = {"format": "pt", "note": "two\nlines, \"quoted\", é"}


def with_header(data, change):
    """The file with its header's JSON changed by a function, and no padding."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.dumps(change(json.loads(data[8 : 8 + length]))).encode()
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def set_f32(**members):
    return lambda header: header | {"f32": header["f32"] | members}


def seeds(whole):
    yield "whole", whole
    yield "none", save({})
    yield "truncated", whole[:-5]
    yield "length", struct.pack("<Q", 1 << 60) + whole[8:]
    yield "dtype", with_header(whole, set_f32(dtype="F33"))
    yield "shape", with_header(whole, set_f32(shape=[2, -3]))
    yield "wraps", with_header(whole, set_f32(shape=[1 << 31, 1 << 31, 1 << 31]))
    yield "rank", with_header(whole, set_f32(shape=[2, 3, 1, 1, 1]))
    yield "offsets", with_header(whole, set_f32(data_offsets=[1e300, -1]))
    yield "metadata", with_header(whole, lambda header: header | {"__metadata__": {"k": 1}})
    yield "deep", struct.pack("<Q", 4000) + b"[" * 4000
    yield "list", struct.pack("<Q", 2) + b"[]"
    yield "escapes", struct.pack("<Q", 22) + b'{"\\u0000\\ud800": null}'


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    tests = Path(sys.argv[1])
    data, corpus = tests / "data/safetensors", tests / "fuzz/corpus/fuzz_safetensors"
    for folder in (data, corpus):
        folder.mkdir(parents=True, exist_ok=True)
    whole = save(TENSORS, METADATA)
    (data / "types.safetensors").write_bytes(whole)
    (data / "writer.safetensors").write_bytes(save({name: TENSORS[name] for name in ("f16", "f32", "i32")}, {"a": "b\n"}))
    for name, content in seeds(whole):
        (corpus / f"{name}.safetensors").write_bytes(content)


main()
