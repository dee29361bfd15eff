"""Moves, jumps, calls and returns."""
from ptx_function import vector
from ptx_types import Refusal, bits_of, c_name, c_type, unsigned


def mov(f, i):
    to, value = i.args
    kind = i.type
    if kind == "pred":
        return f"{f.predicate(to)} = {f.predicate(value)};"
    if value.startswith("{"):
        parts, whole = vector(value), unsigned(kind)
        part = bits_of(kind) // len(parts)
        joined = " | ".join(f"({whole}){f.read(x, f'b{part}')} << {n * part}" for n, x in enumerate(parts))
        return f.write(to, kind, joined)
    if to.startswith("{"):
        parts = vector(to)
        part = bits_of(kind) // len(parts)
        each = " ".join(f.write(x, f"b{part}", f"(uint{part}_t)(t_ >> {n * part})") for n, x in enumerate(parts))
        return f"{{ const {unsigned(kind)} t_ = {f.read(value, unsigned_name(kind))}; {each} }}"
    return f.write(to, kind, f.read(value, kind))


def unsigned_name(kind):
    return f"b{bits_of(kind)}"


def cvta(f, i):
    to, value = i.args
    space = next((m for m in i.mods if m.split("::")[0] in ("shared", "global", "local", "const", "param")), None)
    expression = f.read(value, "u64")
    if space and space.startswith("shared"):
        expression = f"generic_to_shared({expression}, {i.place})" if i.has("to") else f"shared_to_generic({expression})"
    return f.write(to, i.type, expression)


def isspacep(f, i):
    space = i.mods[0]
    value = f.read(i.args[1], "u64")
    tests = {"shared": f"is_shared({value})", "shared::cta": f"is_shared({value})", "local": f"is_local({value})",
             "global": f"!is_shared({value}) && !is_local({value})"}
    if space not in tests:
        raise Refusal("the space")
    return f"{f.predicate(i.args[0])} = {tests[space]};"


def mapa(f, i):
    to, address, rank = i.args
    is_shared = any(m.startswith("shared") for m in i.mods)
    function = "mapa_shared" if is_shared else "mapa_generic"
    return f.write(to, i.type, f"{function}({f.read(address, i.type)}, {f.read(rank, 'u32')}, {i.place})")


def getctarank(f, i):
    if not any(m.startswith("shared") for m in i.mods):
        raise Refusal("the space")
    return f.write(i.args[0], "u32", f"rank_of({f.read(i.args[1], i.type)})")


def bra(f, i):
    return f.jump(i.args[0])


def brx(f, i):
    targets = f.branch_targets.get(i.args[1])
    if not targets:
        raise Refusal("the branch targets")
    cases = " ".join(f"case {n}: {f.jump(target)}" for n, target in enumerate(targets))
    return f"switch ({f.read(i.args[0], 'u32')}) {{ {cases} default: E->fault({i.place}, \"jumps past its table\"); }}"


def call(f, i):
    args = list(i.args)
    results = vector("{" + args.pop(0)[1:-1] + "}") if args[0].startswith("(") else []
    name = args.pop(0)
    params = [p for p in vector("{" + args[0][1:-1] + "}") if p] if args and args[0].startswith("(") else []
    if name == "__assertfail":
        return f"E->fault({i.place}, \"an assertion of the kernel does not hold\");"
    if name not in f.translator.functions:
        raise Refusal(f"the function '{name}'")
    f.called.add(name)

    def list_of(names):
        return ", ".join(f"(void *){f.scope.find('params', n)}" for n in names) or "0"

    return f"f_{c_name(name)}((void *const[]){{{list_of(results)}}}, (void *const[]){{{list_of(params)}}});"


def ret(f, i):
    del i
    return f.leave()


def exit_(f, i):
    if not f.function.is_kernel:
        raise Refusal("an exit within a function")
    return ret(f, i)


def trap(f, i):
    del f
    return f"E->fault({i.place}, \"the kernel traps\");"


def setp(f, i):
    kind, first = i.type, i.args[0]
    combine = i.one_of("and", "or", "xor")
    outs = first.split("|")
    test = i.mods[0]
    if kind in ("f16x2", "bf16x2"):
        half = kind[:-2]
        tests = [compare(test, half, f"(uint16_t)({f.read(i.args[1], kind)} >> {s})",
                         f"(uint16_t)({f.read(i.args[2], kind)} >> {s})") for s in (0, 16)]
        if combine or len(outs) != 2:
            raise Refusal("the form")
        return f"{{ const int t0_ = {tests[0]}, t1_ = {tests[1]}; {f.predicate(outs[0])} = t0_; {f.predicate(outs[1])} = t1_; }}"
    truth = compare(test, kind, f.read(i.args[1], kind), f.read(i.args[2], kind))
    values = [truth, f"!({truth})"][:len(outs)]
    if combine:
        operator = {"and": "&&", "or": "||", "xor": "^"}[combine]
        values = [f"({v}) {operator} ({f.predicate(i.args[3])})" for v in values]
    targets = [f.register(o)[0] if o != "_" else None for o in outs]
    lets = " ".join(f"const int t{n}_ = {v};" for n, v in enumerate(values))
    sets = " ".join(f"{t} = t{n}_;" for n, t in enumerate(targets) if t)
    return f"{{ {lets} {sets} }}"


ORDERED = {"eq": "==", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
UNORDERED = {"equ": "==", "neu": "!=", "ltu": "<", "leu": "<=", "gtu": ">", "geu": ">="}


def compare(test, kind, a, b):
    """The truth of a comparison, in C."""
    if kind in ("f16", "bf16"):
        a, b, kind = f"f32_of_{kind}({a})", f"f32_of_{kind}({b})", "f32"
    if kind in ("f32", "f64"):
        if test in ORDERED:
            return f"{a} {ORDERED[test]} {b}"
        if test == "ne":
            return f"{a} < {b} || {a} > {b}"
        if test in UNORDERED:
            return f"__builtin_isunordered({a}, {b}) || {a} {UNORDERED[test]} {b}"
        if test in ("num", "nan"):
            return f"{'!' if test == 'num' else ''}__builtin_isunordered({a}, {b})"
        raise Refusal("the comparison")
    same = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}.get(test, test)
    operator = {**ORDERED, "ne": "!="}.get(same)
    if not operator:
        raise Refusal("the comparison")
    return f"{a} {operator} {b}"


def set_(f, i):
    to, kind = i.mods[-2], i.type
    if i.has("and", "or", "xor") or to not in ("u32", "s32", "f32"):
        raise Refusal("the form")
    truth = compare(i.mods[0], kind, f.read(i.args[1], kind), f.read(i.args[2], kind))
    yes, no = ("1.0f", "0.0f") if to == "f32" else (f"({c_type(to)})~0u", "0")
    return f.write(i.args[0], to, f"({truth}) ? {yes} : {no}")


def selp(f, i):
    to, a, b, p = i.args
    return f.write(to, i.type, f"{f.predicate(p)} ? {f.read(a, i.type)} : {f.read(b, i.type)}")


def slct(f, i):
    to, a, b, c = i.args
    return f.write(to, i.mods[-2], f"{f.read(c, i.type)} >= 0 ? {f.read(a, i.mods[-2])} : {f.read(b, i.mods[-2])}")


def griddepcontrol(f, i):
    del f
    return "E->grid_wait();" if i.has("wait") else "E->grid_release();"


def nothing(f, i):
    del f, i
    return ";"


HANDLERS = {
    "mov": mov, "cvta": cvta, "isspacep": isspacep, "mapa": mapa, "getctarank": getctarank, "bra": bra, "brx": brx,
    "call": call, "ret": ret, "exit": exit_, "trap": trap, "setp": setp, "set": set_, "selp": selp, "slct": slct,
    "griddepcontrol": griddepcontrol, "setmaxnreg": nothing,
}
