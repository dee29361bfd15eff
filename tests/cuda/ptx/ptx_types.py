"""PTX types, as C has them; names; and the refusal of what the translator does not know."""
import re
from functools import lru_cache


class Refusal(Exception):
    """What this PTX has and the translator does not know."""


# type: (C type, bytes). Half precision and smaller floats are held as their bits.
TYPES = {
    "pred": ("int", 1),
    "b8": ("uint8_t", 1), "u8": ("uint8_t", 1), "s8": ("int8_t", 1),
    "b16": ("uint16_t", 2), "u16": ("uint16_t", 2), "s16": ("int16_t", 2),
    "b32": ("uint32_t", 4), "u32": ("uint32_t", 4), "s32": ("int32_t", 4),
    "b64": ("uint64_t", 8), "u64": ("uint64_t", 8), "s64": ("int64_t", 8),
    "f16": ("uint16_t", 2), "bf16": ("uint16_t", 2), "f16x2": ("uint32_t", 4), "bf16x2": ("uint32_t", 4),
    "e4m3x2": ("uint16_t", 2), "e5m2x2": ("uint16_t", 2), "tf32": ("uint32_t", 4),
    "f32": ("float", 4), "f64": ("double", 8),
}
FLOATS = {"f32", "f64"}
INTEGERS = {name for name in TYPES if re.fullmatch(r"[usb](8|16|32|64)", name)}


def c_type(name):
    if name not in TYPES:
        raise Refusal(f"the type .{name}")
    return TYPES[name][0]


def size_of(name):
    c_type(name)
    return TYPES[name][1]


def bits_of(name):
    return 8 * size_of(name)


def unsigned(name):
    return f"uint{bits_of(name)}_t"


@lru_cache(maxsize=None)
def c_name(name):
    return re.sub(r"\W", "_", name.replace("$", "_S").replace("%", "_P"))


def align_up(value, alignment):
    return (value + alignment - 1) // alignment * alignment
