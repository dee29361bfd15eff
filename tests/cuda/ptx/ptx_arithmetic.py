"""Integer and floating-point arithmetic."""
from ptx_types import FLOATS, INTEGERS, Refusal, bits_of, c_type, unsigned

HALVES = ("f16", "bf16", "f16x2", "bf16x2")
ROUNDINGS = {"rz": "TO_ZERO", "rm": "DOWN", "rp": "UP"}
FLOAT_OPERATIONS = {"add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}", "neg": "-{0}"}


def operands(f, i, kind):
    return [f.read(o, kind) for o in i.args[1:]]


def float_arithmetic(f, i):
    kind, x = i.type, operands(f, i, i.type)
    rounding = i.one_of(*ROUNDINGS)
    if i.has("xorsign", "abs") or len(x) > 2 and i.op in ("min", "max"):
        raise Refusal("the modifier")
    if i.has("ftz"):
        x = [f"flush({v})" for v in x]
    if rounding:
        if kind != "f32" or i.op not in ("add", "sub", "mul", "fma"):
            raise Refusal("the rounding")
        value = f"{i.op}_{kind}({', '.join(x)}, {ROUNDINGS[rounding]})"
    elif i.op in FLOAT_OPERATIONS:
        value = FLOAT_OPERATIONS[i.op].format(*x)
    else:
        name = {"mad": "fma"}.get(i.op, i.op) + ("_nan" if i.has("NaN") else "")
        value = f"{name}_{kind}({', '.join(x)})"
    if i.op == "div" and i.has("approx", "full"):
        value = f"approximate_{kind}({value})"
    if i.has("ftz"):
        value = f"flush({value})"
    if i.has("sat"):
        value = f"saturate_{kind}({value})"
    return f.write(i.args[0], kind, value)


def half_arithmetic(f, i):
    name = {"mad": "fma"}.get(i.op, i.op) + ("_nan" if i.has("NaN") else "")
    if i.has("xorsign", "abs") or i.op == "div":
        raise Refusal("the modifier")
    value = f"{i.type}_{name}({', '.join(operands(f, i, i.type))})"
    if i.has("sat"):
        value = f"{i.type}_saturate({value})"
    if i.has("relu"):
        value = f"{i.type}_relu({value})"
    return f.write(i.args[0], i.type, value)


def double_width(kind):
    return {"s16": "s32", "u16": "u32", "s32": "s64", "u32": "u64"}.get(kind)


def high_product(kind, a, b):
    if bits_of(kind) == 64:
        wide = "__int128" if kind[0] == "s" else "unsigned __int128"
    else:
        wide = c_type(double_width(kind))
    return f"({c_type(kind)})(({wide}){a} * ({wide}){b} >> {bits_of(kind)})"


def product(f, i):
    """mul and mad of integers: the low or the high half, or all of it."""
    kind, to = i.type, i.args[0]
    a, b = f.read(i.args[1], kind), f.read(i.args[2], kind)
    u = unsigned(kind)
    if i.has("wide"):
        wide = double_width(kind)
        value = f"(({c_type(wide)}){a} * ({c_type(wide)}){b})"
        if i.op == "mad":
            value = f"({unsigned(wide)}){value} + ({unsigned(wide)}){f.read(i.args[3], wide)}"
        return f.write(to, wide, value)
    value = high_product(kind, a, b) if i.has("hi") else f"({u})((uint64_t)({u}){a} * ({u}){b})"
    if i.op == "mad":
        third = f.read(i.args[3], kind)
        if i.has("sat"):
            return f.write(to, kind, f"saturate_s32((int64_t){value} + {third})")
        value = f"({u}){value} + ({u}){third}"
    return f.write(to, kind, value)


def carried(f, i, operator):
    """add.cc, addc and the like: the carry is a variable of the function."""
    kind = i.type
    wide = "unsigned __int128" if bits_of(kind) == 64 else "uint64_t"
    u = unsigned(kind)
    a, b = f"({wide})({u}){f.read(i.args[1], kind)}", f"({wide})({u}){f.read(i.args[2], kind)}"
    into = f" {operator} carry_" if i.op in ("addc", "subc") else ""
    out = f" carry_ = (int)(t_ >> {bits_of(kind)}) & 1;" if i.has("cc") else ""
    return f"{{ const {wide} t_ = {a} {operator} {b}{into};{out} {f.write(i.args[0], kind, f'({u})t_')} }}"


def carried_product(f, i):
    kind, u = i.type, unsigned(i.type)
    wide = "unsigned __int128" if bits_of(kind) == 64 else "uint64_t"
    a, b, c = (f.read(o, kind) for o in i.args[1:])
    value = high_product(kind, a, b) if i.has("hi") else f"({u})((uint64_t)({u}){a} * ({u}){b})"
    into = " + carry_" if i.op == "madc" else ""
    out = f" carry_ = (int)(t_ >> {bits_of(kind)}) & 1;" if i.has("cc") else ""
    return (f"{{ const {wide} t_ = ({wide})({u}){value} + ({wide})({u}){c}{into};{out} "
            f"{f.write(i.args[0], kind, f'({u})t_')} }}")


INTEGER_OPERATIONS = {
    "add": "({u}){0} + ({u}){1}", "sub": "({u}){0} - ({u}){1}", "min": "{0} < {1} ? {0} : {1}",
    "max": "{0} > {1} ? {0} : {1}", "neg": "-({u}){0}", "abs": "{0} < 0 ? -({u}){0} : ({u}){0}", "and": "{0} & {1}",
    "or": "{0} | {1}", "xor": "{0} ^ {1}", "not": "~{0}", "cnot": "{0} == 0", "div": "div_{t}({0}, {1})",
    "rem": "rem_{t}({0}, {1})",
}


def integer_arithmetic(f, i):
    kind, x = i.type, operands(f, i, i.type)
    if i.has("sat"):
        if kind != "s32" or i.op not in ("add", "sub"):
            raise Refusal("the modifier .sat")
        return f.write(i.args[0], kind, f"saturate_s32((int64_t){x[0]} {'+' if i.op == 'add' else '-'} {x[1]})")
    if i.has("relu") or len(x) > 2:
        raise Refusal("the form")
    if kind in ("u16x2", "s16x2"):
        raise Refusal("pairs of integers")
    return f.write(i.args[0], kind, INTEGER_OPERATIONS[i.op].format(*x, u=unsigned(kind), t=kind))


def logic_of_predicates(f, i):
    x = [f.predicate(o) for o in i.args[1:]]
    forms = {"and": "{0} && {1}", "or": "{0} || {1}", "xor": "{0} ^ {1}", "not": "!{0}"}
    return f"{f.register(i.args[0])[0]} = {forms[i.op].format(*(f'({v})' for v in x))};"


def arithmetic(f, i):
    kind = i.type
    if kind == "pred":
        return logic_of_predicates(f, i)
    if kind in FLOATS:
        return float_arithmetic(f, i)
    if kind in HALVES:
        return half_arithmetic(f, i)
    if kind not in INTEGERS:
        raise Refusal(f"the type .{kind}")
    if i.op in ("mad", "madc") and (i.has("cc") or i.op == "madc"):
        return carried_product(f, i)
    if i.op in ("mul", "mad"):
        return product(f, i)
    if i.has("cc") or i.op in ("addc", "subc"):
        return carried(f, i, "+" if i.op.startswith("add") else "-")
    return integer_arithmetic(f, i)


def shift(f, i):
    kind, amount = i.type, f.read(i.args[2], "u32")
    value, n = f.read(i.args[1], kind), bits_of(kind)
    filler = f"({value} >> {n - 1})" if i.op == "shr" and kind[0] == "s" else "0"
    shifted = f"{value} >> s_" if i.op == "shr" else f"({unsigned(kind)}){value} << s_"
    return f"{{ const uint32_t s_ = {amount}; {f.write(i.args[0], kind, f's_ > {n - 1} ? {filler} : {shifted}')} }}"


# Functions of the runtime by name: (types of the operands, type of the result); 't' is the instruction's type.
FUNCTIONS = {
    "popc": ("t", "u32"), "clz": ("t", "u32"), "brev": ("t", "t"), "bfe": (("t", "u32", "u32"), "t"),
    "bfi": (("t", "t", "u32", "u32"), "t"), "bfind": ("t", "u32"), "sad": (("t", "t", "t"), "t"),
    "copysign": (("t", "t"), "t"), "bmsk": (("u32", "u32"), "b32"),
}


def function(f, i):
    kinds, result = FUNCTIONS[i.op]
    kinds = [i.type if k == "t" else k for k in ((kinds,) if isinstance(kinds, str) else kinds)]
    x = ", ".join(f.read(o, k) for o, k in zip(i.args[1:], kinds))
    extra = "".join("_" + m for m in i.mods[:-1])
    return f.write(i.args[0], i.type if result == "t" else result, f"{i.op}{extra}_{i.type}({x})")


FORMS = {"prmt": ("",), "lop3": ("",), "shf": ("_l_wrap", "_r_wrap", "_l_clamp", "_r_clamp"),
         "dp4a": ("_u32_u32", "_u32_s32", "_s32_u32", "_s32_s32"),
         "dp2a": tuple(f"_{h}_{a}_{b}" for h in ("lo", "hi") for a in ("u32", "s32") for b in ("u32", "s32"))}


def words(f, i):
    """A function of 32-bit words whose modifiers are in its name."""
    form = "".join("_" + m for m in i.mods if m != "b32")
    if form not in FORMS[i.op]:
        raise Refusal("the form")
    x = ", ".join(f.read(o, "b32") for o in i.args[1:])
    return f.write(i.args[0], "b32", f"{i.op}{form}({x})")


def multiply_24(f, i):
    kind = i.type
    a, b = (f"low_24_{kind}({f.read(o, kind)})" for o in i.args[1:3])
    wide = c_type(double_width(kind))
    value = f"({unsigned(kind)})(({wide}){a} * {b}{' >> 16' if i.has('hi') else ''})"
    if i.op == "mad24":
        value = f"{value} + ({unsigned(kind)}){f.read(i.args[3], kind)}"
    return f.write(i.args[0], kind, value)


# Of f32, and of f64 where there is no approximation.
TRANSCENDENTALS = {"rcp": "1 / {0}", "rsqrt": "1 / sqrt{s}({0})", "sqrt": "sqrt{s}({0})", "ex2": "exp2{s}({0})",
                   "lg2": "log2{s}({0})", "sin": "sin{s}({0})", "cos": "cos{s}({0})", "tanh": "tanh{s}({0})"}


APPROXIMATIONS = {"sin": "sine", "cos": "sine", "lg2": "logarithm", "tanh": "tangent"}


def transcendental(f, i):
    kind = i.type
    if kind in HALVES:
        return f.write(i.args[0], kind, f"{kind}_{i.op}({f.read(i.args[1], kind)})")
    if kind not in FLOATS or i.has("rz", "rm", "rp"):
        raise Refusal("the form")
    x = f.read(i.args[1], kind)
    if i.has("ftz"):
        x = f"flush({x})"
    value = TRANSCENDENTALS[i.op].format(x, s="f" if kind == "f32" else "")
    if i.has("approx"):
        value = f"approximate_{APPROXIMATIONS.get(i.op, kind)}({value})"
    if i.has("ftz"):
        value = f"flush({value})"
    return f.write(i.args[0], kind, value)


def testp(f, i):
    x = f.read(i.args[1], i.type)
    forms = {"finite": "__builtin_isfinite({0})", "infinite": "__builtin_isinf({0}) != 0", "notanumber": "{0} != {0}",
             "number": "{0} == {0}", "normal": "__builtin_isnormal({0})",
             "subnormal": "{0} != 0 && __builtin_isfinite({0}) && !__builtin_isnormal({0})"}
    return f"{f.predicate(i.args[0])} = {forms[i.mods[0]].format(x)};"


HANDLERS = {name: arithmetic for name in ("add", "sub", "mul", "mad", "fma", "div", "rem", "min", "max", "abs", "neg",
                                          "and", "or", "xor", "not", "cnot", "addc", "subc", "madc")}
HANDLERS.update({name: function for name in FUNCTIONS})
HANDLERS.update({name: transcendental for name in TRANSCENDENTALS})
HANDLERS.update({name: words for name in FORMS})
HANDLERS.update({"shl": shift, "shr": shift, "testp": testp, "mul24": multiply_24, "mad24": multiply_24})
