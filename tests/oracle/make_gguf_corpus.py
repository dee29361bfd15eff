#!/usr/bin/env python3
"""Write the seeds of fuzz_gguf: small files that are sound, and some that lie in one place.

usage: make_gguf_corpus.py tests/fuzz/corpus/fuzz_gguf
"""
import struct
import sys
from pathlib import Path

from tiny_gguf import (ARRAY, BOOL, F32, F64, I8, I16, I32, I64, STRING, TYPE_F16, TYPE_F32, TYPE_Q2_K, TYPE_Q4_0,
                       TYPE_Q6_K, U8, U16, U32, U64, gguf)

SCALARS = [("general.architecture", STRING, "llama"), ("u8", U8, 1), ("i8", I8, -1), ("u16", U16, 2), ("i16", I16, -2),
           ("u32", U32, 3), ("i32", I32, -3), ("f32", F32, 0.5), ("bool", BOOL, True), ("u64", U64, 4),
           ("i64", I64, -4), ("f64", F64, 0.25)]
ARRAYS = [("strings", (ARRAY, STRING), ["a", "", "bc"]), ("numbers", (ARRAY, I32), [1, -2, 3]),
          ("bools", (ARRAY, BOOL), [True, False]), ("doubles", (ARRAY, F64), [0.5]), ("none", (ARRAY, U8), [])]
# name: (number, bytes of a block, elements)
TYPES = {"f32": (TYPE_F32, 4, 1), "f16": (TYPE_F16, 2, 1), "bf16": (30, 2, 1), "i32": (26, 4, 1),
         "q4_0": (TYPE_Q4_0, 18, 32), "q4_1": (3, 20, 32), "q5_0": (6, 22, 32), "q5_1": (7, 24, 32),
         "q8_0": (8, 34, 32), "q4_k": (12, 144, 256), "q5_k": (13, 176, 256), "q6_k": (TYPE_Q6_K, 210, 256),
         "q2_k": (TYPE_Q2_K, 84, 256)}


def tensors():
    for name, (kind, size, elements) in TYPES.items():
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
