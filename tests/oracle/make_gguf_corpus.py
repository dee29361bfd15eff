#!/usr/bin/env python3
"""Write the seeds of fuzz_gguf: small files that are sound, and some that lie in one place.

usage: make_gguf_corpus.py tests/fuzz/corpus/fuzz_gguf
"""
import struct
import sys
from pathlib import Path

from gguf_file import TYPES
from tiny_gguf import (ARRAY, BOOL, F32, F64, I8, I16, I32, I64, STRING, TYPE_F16, TYPE_F32, TYPE_Q2_K, U8, U16, U32, U64,
                       gguf)

SCALARS = [("general.architecture", STRING, "llama"), ("u8", U8, 1), ("i8", I8, -1), ("u16", U16, 2), ("i16", I16, -2),
           ("u32", U32, 3), ("i32", I32, -3), ("f32", F32, 0.5), ("bool", BOOL, True), ("u64", U64, 4),
           ("i64", I64, -4), ("f64", F64, 0.25)]
ARRAYS = [("strings", (ARRAY, STRING), ["a", "", "bc"]), ("numbers", (ARRAY, I32), [1, -2, 3]),
          ("bools", (ARRAY, BOOL), [True, False]), ("doubles", (ARRAY, F64), [0.5]), ("none", (ARRAY, U8), [])]
# What no weight of the other tests has. name: (number, elements, bytes of a block)
OTHER_TYPES = {"i32": (26, 1, 4), "q2_k": (TYPE_Q2_K, 256, 84)}


def tensors():
    for name, (kind, elements, size) in (TYPES | OTHER_TYPES).items():
        yield name, (elements,), kind, bytes(i & 0x3F for i in range(size))


def seeds():
    matrix = [("w", (4, 2), TYPE_F32, struct.pack("<8f", *range(8)))]
    yield "v3", gguf(SCALARS + ARRAYS, matrix)
    yield "v2", gguf(SCALARS, matrix, version=2)
    yield "v1", gguf(SCALARS, matrix, version=1)
    yield "types", gguf((), list(tensors()))
    yield "empty", gguf()
    yield "aligned", gguf([("general.alignment", U32, 64)], matrix, alignment=64)
    yield "alignment_0", gguf([("general.alignment", U32, 0)])
    yield "twins", gguf([("k", U8, 1), ("k", U8, 2)])
    yield "nested", gguf([("k", (ARRAY, ARRAY), [])])
    yield "wrapping", gguf((), [("w", (1 << 32, 1 << 32), TYPE_F32, bytes(64))])
    yield "rank_4", gguf((), [("w", (2, 1, 3, 2), TYPE_F16, bytes(24))])
    yield "truncated", gguf(SCALARS + ARRAYS, matrix)[:-40]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds():
        (folder / f"{name}.gguf").write_bytes(data)


main()
