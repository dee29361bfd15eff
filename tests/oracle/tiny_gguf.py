"""Small GGUF files from Python values, with the standard library alone: whatever a test wants to say, true or not."""
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
TYPE_F32, TYPE_F16, TYPE_Q4_0, TYPE_Q2_K, TYPE_Q6_K = 0, 1, 2, 10, 14


def string(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(value)) + value


def scalar(kind, value):
    if kind == STRING:
        return string(value)
    formats = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<?", U64: "<Q",
               I64: "<q", F64: "<d"}
    return struct.pack(formats[kind], value)


def gguf(entries=(), tensors=(), version=3, alignment=32):
    """entries: (key, type, value) or (key, (ARRAY, type), values); tensors: (name, dims, type, data)."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries))
    for key, kind, value in entries:
        if isinstance(kind, tuple):
            head += string(key) + struct.pack("<IIQ", ARRAY, kind[1], len(value))
            head += b"".join(scalar(kind[1], item) for item in value)
        else:
            head += string(key) + struct.pack("<I", kind) + scalar(kind, value)
    data = b""
    for name, dims, kind, values in tensors:
        head += string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, len(data))
        data += values + bytes(-len(values) % alignment)
    return head + bytes(-len(head) % alignment) + data
