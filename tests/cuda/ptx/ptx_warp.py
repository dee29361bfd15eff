"""What lanes, warps, blocks and clusters do together: shuffles, votes, barriers."""
from ptx_types import Refusal


def shfl(f, i):
    value, _, predicate = i.args[0].partition("|")
    a, b, c, mask = i.args[1:]
    mode = i.one_of("up", "down", "bfly", "idx")
    if "sync" not in i.mods:
        raise Refusal("the form")
    moved = (f"shfl(SHFL_{mode.upper()}, {f.read(a, 'b32')}, {f.read(b, 'u32')}, {f.read(c, 'u32')}, "
             f"{f.read(mask, 'u32')}, &is_in_, {i.place})")
    test = f" {f.register(predicate)[0]} = is_in_;" if predicate and predicate != "_" else ""
    return f"{{ int is_in_; const uint32_t t_ = {moved}; {f.write(value, 'b32', 't_')}{test} }}"


def vote(f, i):
    mode = i.one_of("ballot", "any", "all", "uni")
    ballot = f"ballot({f.predicate(i.args[1])}, {f.read(i.args[2], 'u32')}, {i.place})"
    if mode == "ballot":
        return f.write(i.args[0], "b32", ballot)
    mask = f.read(i.args[2], "u32")
    test = {"any": "t_ != 0", "all": f"t_ == {mask}", "uni": f"t_ == 0 || t_ == {mask}"}[mode]
    return f"{{ const uint32_t t_ = {ballot}; {f.register(i.args[0])[0]} = {test}; }}"


def match(f, i):
    value, _, predicate = i.args[0].partition("|")
    mode = i.one_of("any", "all")
    same = f"match_{mode}({f.read(i.args[1], i.type)}, {f.read(i.args[2], 'u32')}, {i.place})"
    test = f" {f.register(predicate)[0]} = t_ != 0;" if predicate and predicate != "_" else ""
    return f"{{ const uint32_t t_ = {same}; {f.write(value, 'b32', 't_')}{test} }}"


def redux(f, i):
    operation, kind = i.mods[1], i.type
    if kind not in ("u32", "s32", "b32") or operation not in ("add", "min", "max", "and", "or", "xor"):
        raise Refusal("the form")
    name = f"REDUX_{operation.upper()}" + ("_S" if kind == "s32" and operation in ("min", "max") else "")
    return f.write(i.args[0], "b32", f"redux({name}, {f.read(i.args[1], 'b32')}, {f.read(i.args[2], 'u32')}, {i.place})")


def activemask(f, i):
    return f.write(i.args[0], "b32", "activemask()")


def elect(f, i):
    lane, _, predicate = i.args[0].partition("|")
    moved = f"elect({f.read(i.args[1], 'u32')}, {i.place})"
    to = "" if lane == "_" else f.write(lane, "b32", "t_")
    test = f" {f.register(predicate)[0]} = t_ == E->self->lane;" if predicate and predicate != "_" else ""
    return f"{{ const uint32_t t_ = {moved}; {to}{test} }}"


def cluster_barrier(f, i):
    if i.has("arrive"):
        return f"E->cluster_arrive({1 if i.has('relaxed') else 0}, {i.place});"
    if i.has("wait"):
        return f"E->cluster_wait({i.place});"
    raise Refusal("the form")


def barrier(f, i):
    if i.has("cluster"):
        return cluster_barrier(f, i)
    if i.has("warp"):
        return f"E->warp_sync({f.read(i.args[0], 'u32')}, {i.place});"
    is_aligned = 1 if i.op == "bar" or i.has("aligned") else 0
    if i.has("red"):
        operation = i.one_of("popc", "and", "or")
        to, number, *count, predicate = i.args
        many = f.read(count[0], "u32") if count else "0"
        value = f"E->barrier_reduce({f.read(number, 'u32')}, {many}, EMU_{operation.upper()}, {f.predicate(predicate)}, {i.place})"
        return f.write(to, "u32", value) if operation == "popc" else f"{f.register(to)[0]} = {value};"
    number = f.read(i.args[0], "u32")
    many = f.read(i.args[1], "u32") if len(i.args) > 1 else "0"
    if i.has("sync"):
        return f"E->barrier({number}, {many}, {is_aligned}, {i.place});"
    if i.has("arrive") and len(i.args) > 1:
        return f"E->barrier_arrive({number}, {many}, {i.place});"
    raise Refusal("the form")


def nanosleep(f, i):
    del f, i
    return "E->yield();"


HANDLERS = {"shfl": shfl, "vote": vote, "match": match, "redux": redux, "activemask": activemask, "elect": elect,
            "bar": barrier, "barrier": barrier, "nanosleep": nanosleep}
