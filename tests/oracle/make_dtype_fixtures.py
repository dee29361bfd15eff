#!/usr/bin/env python3
"""Write tests/data/dtype/TYPE.bin: random blocks of a GGUF type, then their values as float32.

usage: make_dtype_fixtures.py OUT_DIRECTORY

Each file is N_BLOCKS blocks followed by the float32 value of every element, by gguf_file.py. All arithmetic is
float64, in which every product and sum is exact, so the one rounding is the last, to float32.
"""
import os
import random
import struct
import sys

from gguf_file import BLOCKS, TYPES, dequantize

N_BLOCKS = 6
SEED = 20240229


def random_block(rng, size, f16_fields):
    """Random bytes; scales are drawn from all finite halves: subnormal, tiny and large ones too."""
    data = bytearray(rng.randbytes(size))
    for at in f16_fields:
        half = rng.randrange(0x7C00) | rng.choice([0, 0x8000])
        data[at:at + 2] = struct.pack("<H", half)
    return bytes(data)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for name, block in BLOCKS.items():
        _, elements, size = TYPES[name]
        rng = random.Random(f"{SEED} {name}")
        fields = [at for at in (block.at_d, block.at_m) if at is not None]
        data = b"".join(random_block(rng, size, fields) for _ in range(N_BLOCKS))
        values = dequantize(name, data, [N_BLOCKS * elements])
        with open(os.path.join(sys.argv[1], name + ".bin"), "wb") as out:
            out.write(data + values.astype("<f4").tobytes())


main()
