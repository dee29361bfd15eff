"""Loads, stores, atomic operations, fences and asynchronous copies."""
import re

import ptx_async
from ptx_function import vector
from ptx_types import FLOATS, Refusal, c_type, size_of

SPACES = ("global", "shared", "shared::cta", "shared::cluster", "local", "const", "param", "param::entry", "param::func")
HINT = re.compile(r"nc|ca|cg|cs|cv|lu|wb|wt|weak|volatile|relaxed|acquire|release|acq_rel|cta|cluster|gpu|sys|noftz|"
                  r"L1::\w+|L2::\w+|L2|v2|v4|v8|unified|to|async|bulk")


def space_of(i):
    return i.one_of(*SPACES) or "generic"


def place_in(space, f, address, n_bytes, access, place):
    """The host's address of n_bytes that may be accessed so."""
    if space.startswith("shared"):
        return f"E->shared((uint32_t){f.address(address)}, {n_bytes}, {access}, {place})"
    if space.startswith("param"):
        return f"(char *)(uintptr_t){f.address(address)}"
    if space == "local":
        return f"local_at({f.address(address)}, {n_bytes}, {place})"
    return f"E->generic({f.address(address)}, {n_bytes}, {access}, {place})"


def access_of(i, base):
    flags = [base]
    if i.has("volatile", "relaxed", "acquire", "release", "acq_rel"):
        flags.append("EMU_STRONG")
    if i.has("acquire", "acq_rel"):
        flags.append("EMU_ACQUIRE")
    if i.has("release", "acq_rel"):
        flags.append("EMU_RELEASE")
    return " | ".join(flags)


def check_modifiers(i, *more):
    for mod in i.mods[:-1]:
        if mod not in SPACES and mod not in more and not HINT.fullmatch(mod):
            raise Refusal(f"the modifier .{mod}")


def ld(f, i):
    check_modifiers(i)
    registers, kind = vector(i.args[0]), i.type
    each = size_of(kind)
    p = place_in(space_of(i), f, i.args[1], each * len(registers), access_of(i, "EMU_READ"), i.place)
    if len(registers) == 1:
        return f"{{ {c_type(kind)} t_; memcpy(&t_, {p}, {each}); {f.write(registers[0], kind, 't_')} }}"
    moves = " ".join(f.write(r, kind, f"t_[{n}]") for n, r in enumerate(registers))
    return f"{{ {c_type(kind)} t_[{len(registers)}]; memcpy(t_, {p}, sizeof t_); {moves} }}"


def st(f, i):
    if i.has("async"):
        return ptx_async.store(f, i)
    check_modifiers(i)
    registers, kind, space = vector(i.args[1]), i.type, space_of(i)
    if space == "const":
        raise Refusal("a store to constant memory")
    n_bytes = size_of(kind) * len(registers)
    p = place_in(space, f, i.args[0], n_bytes, access_of(i, "EMU_WRITE"), i.place)
    values = ", ".join(f.read(r, kind) for r in registers)
    return f"{{ const {c_type(kind)} t_[] = {{{values}}}; memcpy({p}, t_, sizeof t_); }}"


def prefetch(f, i):
    del f, i
    return ";"


# What the new value is, of the old one and the operands.
ATOMICS = {
    "add": "{old} + {b}", "exch": "{b}", "cas": "{old} == {b} ? {c} : {old}", "min": "{b} < {old} ? {b} : {old}",
    "max": "{b} > {old} ? {b} : {old}", "inc": "{old} >= {b} ? 0 : {old} + 1",
    "dec": "{old} == 0 || {old} > {b} ? {b} : {old} - 1", "and": "{old} & {b}", "or": "{old} | {b}", "xor": "{old} ^ {b}",
}


def new_value(i, operation, kind):
    if kind in ("f16", "bf16", "f16x2", "bf16x2"):
        if operation == "add":
            return f"{kind}_add({{old}}, {{b}})"
        if operation in ("min", "max"):
            return f"{kind}_{operation}({{old}}, {{b}})"
        raise Refusal("the operation")
    if kind in FLOATS and operation not in ("add", "exch"):
        raise Refusal("the operation")
    return ATOMICS[operation]


def atomic(f, i, to, address, operands):
    kind, space = i.type, space_of(i)
    operation = i.one_of(*ATOMICS)
    if not operation:
        raise Refusal("the operation")
    check_modifiers(i, operation)
    access = access_of(i, "EMU_WRITE | EMU_STRONG | EMU_CHAIN")
    p = place_in(space, f, address, size_of(kind), access, i.place)
    c = c_type(kind)
    values = " ".join(f"const {c} {n} = {f.read(o, kind)};" for n, o in zip(("b_", "c_"), operands))
    new = new_value(i, operation, kind).format(old="o_", b="b_", c="c_")
    result = f.write(to, kind, "o_") if to else ""
    size = size_of(kind)
    is_float = kind in FLOATS or kind in ("f16", "bf16", "f16x2", "bf16x2")
    order = f"E->atomic_sum({i.place}); " if is_float and operation == "add" else ""
    return (f"{{ {order}{values} char *p_ = {p}; {c} o_; memcpy(&o_, p_, {size}); const {c} n_ = ({c})({new}); "
            f"memcpy(p_, &n_, {size}); {result} }}")


def atom(f, i):
    if i.args[0].startswith("{"):
        raise Refusal("a vector of atomic operations")
    return atomic(f, i, i.args[0], i.args[1], i.args[2:])


def red(f, i):
    if i.has("async") or i.args[1].startswith("{"):
        raise Refusal("the form")
    return atomic(f, i, None, i.args[0], i.args[1:])


SCOPES = {"cta": "EMU_CTA", "cluster": "EMU_CLUSTER", "gpu": "EMU_GPU", "gl": "EMU_GPU", "sys": "EMU_GPU"}


def fence(f, i):
    del f
    if i.has("proxy"):
        return ";"
    scope = i.one_of(*SCOPES)
    if not scope:
        raise Refusal("the scope")
    return f"E->fence({SCOPES[scope]});"


def cp(f, i):
    if i.mods[:2] == ["async", "bulk"]:
        return ptx_async.bulk(f, i)
    if i.mods[0] != "async" or i.has("mbarrier"):
        raise Refusal("the copy")
    if i.mods[1] == "commit_group":
        return "E->async_commit();"
    if i.mods[1] == "wait_group":
        return f"E->async_wait({f.read(i.args[0], 'u32')});"
    if i.mods[1] == "wait_all":
        return "E->async_wait(~0u);"
    to, source, n_bytes, *more = i.args
    is_predicate = bool(more) and more[0].lstrip("!").startswith("%p")
    source_bytes = f.read(n_bytes, "u32")
    if more and (is_predicate or f.is_register(more[0].lstrip("!")) and f.register(more[0].lstrip("!"))[1] == "pred"):
        source_bytes = f"({f.predicate(more[0])} ? 0 : {source_bytes})"
    elif more and not any(m.startswith("L2::cache_hint") for m in i.mods) or len(more) > 1:
        source_bytes = f.read(more[0], "u32")
    return f"E->async_copy((uint32_t){f.address(to)}, {f.address(source)}, {n_bytes}, {source_bytes}, {i.place});"


HANDLERS = {
    "ld": ld, "ldu": ld, "st": st, "prefetch": prefetch, "prefetchu": prefetch, "applypriority": prefetch,
    "discard": prefetch, "atom": atom, "red": red, "membar": fence, "fence": fence, "cp": cp,
}
