"""Conversions."""
from ptx_types import FLOATS, INTEGERS, Refusal, bits_of, c_type

TO_INTEGER = {"rni": "rint", "rzi": "trunc", "rmi": "floor", "rpi": "ceil"}
DIRECTED = {"rz": "TO_ZERO", "rm": "DOWN", "rp": "UP"}
PAIRS = ("f16x2", "bf16x2", "e4m3x2", "e5m2x2")


def pairs(f, i, to, kind):
    """Two numbers in one register."""
    suffix = "_finite" if i.has("satfinite") else ""
    if to in ("f16x2", "bf16x2") and kind == "f32" and len(i.args) == 3:
        half = to[:-2]
        rounding = "_rz" if i.has("rz") else ""
        high, low = (f"(uint32_t){half}_of_f32{rounding}({f.read(x, 'f32')})" for x in i.args[1:])
        value = f"{high} << 16 | {low}"
        value = f"{to}_relu({value})" if i.has("relu") else value
        if suffix:
            raise Refusal("the modifier .satfinite")
        return f.write(i.args[0], to, value)
    if to in ("e4m3x2", "e5m2x2") and kind == "f32" and len(i.args) == 3 and suffix and not i.has("relu"):
        high, low = (f"{to[:-2]}_of_f32({f.read(x, 'f32')})" for x in i.args[1:])
        return f.write(i.args[0], to, f"(uint16_t)({high} << 8 | {low})")
    if to in ("e4m3x2", "e5m2x2") and kind == "f16x2" and suffix and not i.has("relu"):
        x = f.read(i.args[1], kind)
        high, low = (f"{to[:-2]}_of_f32(f32_of_f16((uint16_t)({x}{shift})))" for shift in (" >> 16", ""))
        return f.write(i.args[0], to, f"(uint16_t)({high} << 8 | {low})")
    if to == "f16x2" and kind in ("e4m3x2", "e5m2x2") and not i.has("relu"):
        x = f.read(i.args[1], kind)
        high, low = (f"(uint32_t)f16_of_f32(f32_of_{kind[:-2]}((uint8_t)({x}{shift})))" for shift in (" >> 8", ""))
        return f.write(i.args[0], to, f"{high} << 16 | {low}")
    raise Refusal("the conversion")


def from_float(f, i, to, kind, x):
    """From f32 or f64, as which halves come too."""
    wide = kind if kind in FLOATS else "f32"
    s = "f" if wide == "f32" else ""
    to_integer = i.one_of(*TO_INTEGER)
    directed = i.one_of(*DIRECTED)
    if to in INTEGERS:
        if not to_integer:
            raise Refusal("the rounding")
        is_wide = kind == "f64" or bits_of(to) == 64
        return f"{to}_of_double({TO_INTEGER[to_integer]}{s}({x}), {1 if is_wide else 0})"
    if to_integer:
        x = f"{TO_INTEGER[to_integer]}{s}({x})"
    if to in ("f16", "bf16"):
        if directed and (directed != "rz" or wide != "f32"):
            raise Refusal("the rounding")
        x = f"{to}_of_{wide}{'_rz' if directed else ''}({x})"
        x = f"{to}_saturate({x})" if i.has("sat") else x
        return f"{to}_relu({x})" if i.has("relu") else x
    if i.has("relu"):
        raise Refusal("the modifier .relu")
    if to == "f32" and wide == "f64" and directed:
        x = f"round_f32({x}, {DIRECTED[directed]})"
    x = f"(({c_type(to)}){x})"
    return f"saturate_{to}({x})" if i.has("sat") else x


def cvt(f, i):
    to, kind = i.mods[-2:]
    if to in PAIRS or kind in PAIRS:
        return pairs(f, i, to, kind)
    x = f.read(i.args[1], kind)
    if to == "tf32":
        if kind != "f32" or i.has("satfinite", "relu") or not i.has("rna", "rn"):
            raise Refusal("the conversion")
        return f.write(i.args[0], "b32", f"tf32_of_f32_{'rna' if i.has('rna') else 'rn'}({x})")
    if kind == "f32" and i.has("ftz"):
        x = f"flush({x})"
    if kind in ("f16", "bf16"):
        x = f"f32_of_{kind}({x})"
    if kind in FLOATS or kind in ("f16", "bf16"):
        value = from_float(f, i, to, kind, x)
    elif to in FLOATS:
        directed = i.one_of(*DIRECTED)
        if directed and (to != "f32" or bits_of(kind) > 32):
            raise Refusal("the rounding")
        value = f"round_f32((double){x}, {DIRECTED[directed]})" if directed else f"({c_type(to)}){x}"
    elif to in ("f16", "bf16"):
        if i.has("rz", "rm", "rp") or bits_of(kind) > 32:
            raise Refusal("the rounding")
        value = f"{to}_of_f64((double){x})"
    elif i.has("sat"):
        value = f"saturate_{to}((__int128){x})"
    elif to in INTEGERS and kind in INTEGERS:
        value = f"({c_type(to)}){x}"
    else:
        raise Refusal("the conversion")
    if to == "f32" and i.has("ftz"):
        value = f"flush({value})"
    return f.write(i.args[0], to, value)


HANDLERS = {"cvt": cvt}
