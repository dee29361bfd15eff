"""Matrices in the registers of a warp: ldmatrix, stmatrix, mma.sync."""
from ptx_function import vector
from ptx_types import Refusal, c_type

# Elements of A and B that mma.sync takes, and the depths of m16n8 for each.
ELEMENTS = {"f16": (8, 16), "bf16": (8, 16), "tf32": (4, 8), "s8": (16, 32), "u8": (16, 32), "e4m3": (16, 32),
            "e5m2": (16, 32)}


def transposed(i):
    return 1 if i.has("trans") else 0


def check_form(i):
    if not i.has("m8n8") or i.type != "b16":
        raise Refusal("the shape")


def ldmatrix(f, i):
    check_form(i)
    registers = vector(i.args[0])
    writes = " ".join(f.write(r, "b32", f"m_.words[{n}]") for n, r in enumerate(registers))
    return (f"{{ struct rows m_ = {{{{0}}, 0}}; load_rows(&m_, (uint32_t){f.address(i.args[1])}, {len(registers)}, "
            f"{transposed(i)}, {i.place}); {writes} }}")


def stmatrix(f, i):
    check_form(i)
    words = ", ".join(f.read(r, "b32") for r in vector(i.args[1]))
    n = len(vector(i.args[1]))
    return (f"{{ struct rows m_ = {{{{{words}}}, 0}}; store_rows(&m_, (uint32_t){f.address(i.args[0])}, {n}, "
            f"{transposed(i)}, {i.place}); }}")


def movmatrix(f, i):
    check_form(i)
    return f.write(i.args[0], "b32", f"transpose({f.read(i.args[1], 'b32')}, {i.place})")


def mma(f, i):
    shape = next((m for m in i.mods if m.startswith("m16n8k")), None)
    d_kind, a_kind, b_kind, c_kind = i.mods[-4:]
    depth = int(shape[6:]) if shape else 0
    if a_kind not in ELEMENTS or b_kind not in ELEMENTS or depth not in ELEMENTS[a_kind] or not i.has("row", "col"):
        raise Refusal("the shape")
    sums = {"s8": "s32", "u8": "s32"}.get(a_kind, "f32")
    kinds = (sums, "f16") if a_kind in ("f16", "e4m3", "e5m2") else (sums,)
    if d_kind != c_kind or d_kind not in kinds or i.has("xor", "and", "sp"):
        raise Refusal("the types")
    held = "b32" if d_kind == "f16" else d_kind
    d, a, b, c = (vector(x) for x in i.args)
    member = {"f16": "h", "f32": "f", "s32": "i"}[d_kind]
    loads = " ".join(f"m_.c.{member}[{n}] = {f.read(r, held)};" for n, r in enumerate(c))
    loads += " " + " ".join(f"m_.a[{n}] = {f.read(r, 'b32')};" for n, r in enumerate(a))
    loads += " " + " ".join(f"m_.b[{n}] = {f.read(r, 'b32')};" for n, r in enumerate(b))
    stores = " ".join(f.write(r, held, f"({c_type(held)})m_.c.{member}[{n}]") for n, r in enumerate(d))
    clamps = 1 if i.has("satfinite") else 0
    return (f"{{ struct fragments m_ = {{{depth}, MMA_{a_kind.upper()}, MMA_{b_kind.upper()}, MMA_{d_kind.upper()}, "
            f"{clamps}}}; {loads} multiply(&m_, {i.place}); {stores} }}")


HANDLERS = {"ldmatrix": ldmatrix, "stmatrix": stmatrix, "movmatrix": movmatrix, "mma": mma}
