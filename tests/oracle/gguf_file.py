"""A GGUF reader and writer in NumPy, independent of nlm's: for the oracle and its fixtures.

Source: the GGUF specification (ggml docs/gguf.md) and the block layouts it names.
"""

import struct
from typing import Callable, NamedTuple, Optional

import numpy as np

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
SCALARS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}

# name: (number in the file, elements a block, bytes a block)
TYPES = {
    "f32": (0, 1, 4), "f16": (1, 1, 2), "q4_0": (2, 32, 18), "q4_1": (3, 32, 20), "q5_0": (6, 32, 22),
    "q5_1": (7, 32, 24), "q8_0": (8, 32, 34), "q4_k": (12, 256, 144), "q5_k": (13, 256, 176),
    "q6_k": (14, 256, 210), "iq4_nl": (20, 32, 18), "bf16": (30, 1, 2),
}
TYPE_NAMES = {number: name for name, (number, _, _) in TYPES.items()}


# ---- dequantisation: uint8 [blocks, bytes] -> float64 [blocks, elements] ----------------------


def _f16(blocks, at):
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float64)


def _nibbles(quants):
    return np.concatenate([quants & 15, quants >> 4], axis=1).astype(np.float64)


def _fifth_bits(blocks, at):
    word = np.ascontiguousarray(blocks[:, at : at + 4]).view("<u4")
    return ((word >> np.arange(32, dtype=np.uint32)) & 1).astype(np.float64)


def _bytes(quants):
    return np.ascontiguousarray(quants).view(np.int8).astype(np.float64)


def _q5_1(blocks):
    return _f16(blocks, 0) * (_nibbles(blocks[:, 8:]) + 16 * _fifth_bits(blocks, 4)) + _f16(blocks, 2)


def _iq4_nl(blocks):
    values = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113])
    return _f16(blocks, 0) * values[_nibbles(blocks[:, 2:]).astype(int)]


def _scales_and_mins(packed):
    """The eight 6-bit scales and mins of q4_k and q5_k."""
    scales, mins = [], []
    for j in range(8):
        if j < 4:
            scales.append(packed[:, j] & 63)
            mins.append(packed[:, j + 4] & 63)
        else:
            scales.append((packed[:, j + 4] & 15) | ((packed[:, j - 4] >> 6) << 4))
            mins.append((packed[:, j + 4] >> 4) | ((packed[:, j] >> 6) << 4))
    return np.stack(scales, 1).astype(np.float64), np.stack(mins, 1).astype(np.float64)


def _q4_k_nibbles(quants):
    """[n, 128] bytes -> [n, 8, 32]: each 32 bytes hold one sub-block low and the next one high."""
    groups = quants.reshape(-1, 4, 32)
    return np.stack([groups & 15, groups >> 4], axis=2).reshape(-1, 8, 32).astype(np.float64)


def _with_scales(blocks, quants):
    scales, mins = _scales_and_mins(blocks[:, 4:16])
    values = _f16(blocks, 0)[:, :, None] * scales[:, :, None] * quants - (_f16(blocks, 2) * mins)[:, :, None]
    return values.reshape(-1, 256)


def _q5_k(blocks):
    fifth = (blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[None, :, None]) & 1
    return _with_scales(blocks, _q4_k_nibbles(blocks[:, 48:176]) + 16.0 * fifth)


def _q6_k(blocks):
    low = blocks[:, 0:128].reshape(-1, 2, 2, 32)
    high = blocks[:, 128:192].reshape(-1, 2, 32)
    scales = _bytes(blocks[:, 192:208])
    parts = []
    for part in range(4):  # each 128 elements are four runs of 32
        nibble = low[:, :, part % 2] & 15 if part < 2 else low[:, :, part % 2] >> 4
        parts.append(nibble | (((high >> (2 * part)) & 3) << 4))
    quants = np.stack(parts, axis=2).astype(np.float64).reshape(-1, 16, 16) - 32
    return (_f16(blocks, 208)[:, :, None] * scales[:, :, None] * quants).reshape(-1, 256)


class BlockType(NamedTuple):
    """Where a block has its scale d and its minimum m; the deviation of random contents where d is 1, and how far their
    mean is from 0 in units of m; and its values."""

    at_d: int
    at_m: Optional[int]
    deviation: float
    ratio: float
    values: Callable


BLOCKS = {
    "q4_0": BlockType(0, None, 4.61, 0, lambda b: _f16(b, 0) * (_nibbles(b[:, 2:]) - 8)),
    "q4_1": BlockType(0, 2, 4.61, -7.5, lambda b: _f16(b, 0) * _nibbles(b[:, 4:]) + _f16(b, 2)),
    "q5_0": BlockType(0, None, 9.23, 0, lambda b: _f16(b, 0) * (_nibbles(b[:, 6:]) + 16 * _fifth_bits(b, 2) - 16)),
    "q5_1": BlockType(0, 2, 9.23, -15.5, _q5_1),
    "q8_0": BlockType(0, None, 73.9, 0, lambda b: _f16(b, 0) * _bytes(b[:, 2:])),
    "q4_k": BlockType(0, 2, 300.0, 7.5, lambda b: _with_scales(b, _q4_k_nibbles(b[:, 16:144]))),
    "q5_k": BlockType(0, 2, 600.0, 15.5, _q5_k),
    "iq4_nl": BlockType(0, None, 67.4, 0, _iq4_nl),
    "q6_k": BlockType(208, None, 1370.0, 0, _q6_k),
}


def dequantize(name, data, shape):
    """Bytes of a tensor of type `name` as float64 of `shape` (outermost first)."""
    raw = np.frombuffer(data, dtype=np.uint8)
    if name == "f32":
        values = raw.view("<f4").astype(np.float64)
    elif name == "f16":
        values = raw.view("<f2").astype(np.float64)
    elif name == "bf16":
        values = (raw.view("<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    else:
        values = BLOCKS[name].values(raw.reshape(-1, TYPES[name][2]))
    return values.reshape(shape)


def tensor_bytes(name, shape):
    _, elements, size = TYPES[name]
    assert shape[-1] % elements == 0, (name, shape)
    return int(np.prod(shape)) // elements * size


# ---- reading ----------------------------------------------------------------------------------


class GgufFile:
    """`meta`: key -> value (strings as bytes, arrays as lists); `tensor(name)`: float64 array or None."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self._data = file.read()
        self._at = 4
        assert self._data[:4] == b"GGUF", path
        version = self._scalar(U32)
        assert version in (2, 3), version
        n_tensors, n_keys = self._scalar(U64), self._scalar(U64)
        self.meta = {}
        for _ in range(n_keys):
            key = self._string().decode()
            self.meta[key] = self._value(self._scalar(U32))
        self._tensors = {}
        for _ in range(n_tensors):
            name = self._string().decode()
            dims = [self._scalar(U64) for _ in range(self._scalar(U32))]
            number, offset = self._scalar(U32), self._scalar(U64)
            self._tensors[name] = (TYPE_NAMES[number], dims[::-1], offset)
        alignment = self.meta.get("general.alignment", 32)
        self._base = -(-self._at // alignment) * alignment

    def _scalar(self, kind):
        form = "<" + SCALARS[kind]
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return value

    def _string(self):
        length = self._scalar(U64)
        value = self._data[self._at : self._at + length]
        self._at += length
        return value

    def _value(self, kind):
        if kind == STRING:
            return self._string()
        if kind == ARRAY:
            element, count = self._scalar(U32), self._scalar(U64)
            return [self._value(element) for _ in range(count)]
        return self._scalar(kind)

    def names(self):
        return list(self._tensors)

    def stored(self, name):
        """(type, shape, bytes) of a tensor, as `write` takes them."""
        kind, shape, offset = self._tensors[name]
        start = self._base + offset
        return kind, shape, self._data[start : start + tensor_bytes(kind, shape)]

    def tensor(self, name):
        if name not in self._tensors:
            return None
        kind, shape, data = self.stored(name)
        return dequantize(kind, data, shape)


# ---- writing ----------------------------------------------------------------------------------


def _pack_string(value):
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def _pack_value(kind, value):
    if kind == STRING:
        return _pack_string(value)
    if kind == ARRAY:
        element, items = value
        return struct.pack("<IQ", element, len(items)) + b"".join(_pack_value(element, item) for item in items)
    return struct.pack("<" + SCALARS[kind], value)


def write(path, meta, tensors, alignment=32):
    """meta: [(key, kind, value)], an array's value being (kind, items); tensors: [(name, type, shape, bytes)]."""
    infos, offset = b"", 0
    for name, kind, shape, data in tensors:
        assert len(data) == tensor_bytes(kind, shape), (name, kind, shape, len(data))
        infos += _pack_string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape[::-1])
        infos += struct.pack("<IQ", TYPES[kind][0], offset)
        offset += -(-len(data) // alignment) * alignment
    keys = b"".join(_pack_string(key) + struct.pack("<I", kind) + _pack_value(kind, value) for key, kind, value in meta)
    with open(path, "wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(meta)) + keys + infos)
        for _, _, _, data in tensors:
            file.write(b"\0" * (-file.tell() % alignment))
            file.write(data)
