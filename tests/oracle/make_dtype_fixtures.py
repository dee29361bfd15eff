#!/usr/bin/env python3
"""Write tests/data/dtype/TYPE.bin: random blocks of a GGUF type, then their values as float32.

usage: make_dtype_fixtures.py OUT_DIRECTORY

Each file is BLOCKS blocks followed by the float32 value of every element. The decoder works on the
published description of the formats, one element at a time, with bits drawn from one big integer a
block, and shares no code or structure with the C reader. All arithmetic is float64, in which every
product and sum below is exact, so the one rounding is the last, to float32.
"""
import os
import random
import struct
import sys

BLOCKS = 6
SEED = 20240229


class Block:
    """A block as one little-endian integer."""

    def __init__(self, data):
        self.size = len(data)
        self.value = int.from_bytes(data, "little")

    def bits(self, first_byte, bit, count):
        return (self.value >> (8 * first_byte + bit)) & ((1 << count) - 1)

    def f16(self, first_byte):
        return struct.unpack("<e", struct.pack("<H", self.bits(first_byte, 0, 16)))[0]

    def i8(self, first_byte):
        byte = self.bits(first_byte, 0, 8)
        return byte - 256 if byte > 127 else byte


def nibble32(block, base, i):
    """Element i of 32: byte i % 16 from base on, high half of the byte for i >= 16."""
    return block.bits(base, 8 * (i % 16) + 4 * (i // 16), 4)


def q8_0(b, i):
    return b.f16(0) * b.i8(2 + i)


def q4_0(b, i):
    return b.f16(0) * (nibble32(b, 2, i) - 8)


def q4_1(b, i):
    return b.f16(0) * nibble32(b, 4, i) + b.f16(2)


def q5_0(b, i):
    return b.f16(0) * (nibble32(b, 6, i) + 16 * b.bits(2, i, 1) - 16)


def q5_1(b, i):
    return b.f16(0) * (nibble32(b, 8, i) + 16 * b.bits(4, i, 1)) + b.f16(2)


def k_scale_min(b, j):
    """Scale and minimum of sub-block j, from the 12 bytes at 4: six-bit fields, the later four split."""
    if j < 4:
        return b.bits(4 + j, 0, 6), b.bits(8 + j, 0, 6)
    scale = b.bits(12 + j - 4, 0, 4) + 16 * b.bits(4 + j - 4, 6, 2)
    minimum = b.bits(12 + j - 4, 4, 4) + 16 * b.bits(8 + j - 4, 6, 2)
    return scale, minimum


def k_value(b, i, q):
    scale, minimum = k_scale_min(b, i // 32)
    return b.f16(0) * scale * q - b.f16(2) * minimum


def q4_k(b, i):
    group, within = divmod(i, 64)
    return k_value(b, i, b.bits(16 + 32 * group + within % 32, 4 * (within // 32), 4))


def q5_k(b, i):
    group, within = divmod(i, 64)
    q = b.bits(48 + 32 * group + within % 32, 4 * (within // 32), 4)
    return k_value(b, i, q + 16 * b.bits(16 + i % 32, i // 32, 1))


def q6_k(b, i):
    half, within = divmod(i, 128)
    quarter, lane = divmod(within, 32)
    low = b.bits(64 * half + lane + (32 if quarter in (1, 3) else 0), 4 if quarter >= 2 else 0, 4)
    high = b.bits(128 + 32 * half + lane, 2 * quarter, 2)
    return b.f16(208) * b.i8(192 + i // 16) * (low + 16 * high - 32)


# name: (elements, bytes, byte offsets of the f16 fields, value of element i)
FORMATS = {
    "q8_0": (32, 34, [0], q8_0),
    "q4_0": (32, 18, [0], q4_0),
    "q4_1": (32, 20, [0, 2], q4_1),
    "q5_0": (32, 22, [0], q5_0),
    "q5_1": (32, 24, [0, 2], q5_1),
    "q4_k": (256, 144, [0, 2], q4_k),
    "q5_k": (256, 176, [0, 2], q5_k),
    "q6_k": (256, 210, [208], q6_k),
}


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
    rng = random.Random(SEED)
    for name, (elements, size, f16_fields, value) in FORMATS.items():
        blocks = [random_block(rng, size, f16_fields) for _ in range(BLOCKS)]
        values = [value(Block(block), i) for block in blocks for i in range(elements)]
        with open(os.path.join(sys.argv[1], name + ".bin"), "wb") as out:
            out.write(b"".join(blocks) + struct.pack("<%df" % len(values), *values))


main()
