"""Barriers in shared memory, and the copies and stores that complete on them."""
from ptx_function import vector
from ptx_types import Refusal, c_type, size_of


def shared(f, operand):
    return f"(uint32_t){f.address(operand)}"


def arrive(f, i):
    operands = list(i.args)
    to = operands.pop(0) if not operands[0].startswith("[") else "_"
    at = shared(f, operands[0])
    more = f.read(operands[1], "u32") if len(operands) > 1 else None
    count, n_bytes = ("1", more) if i.has("expect_tx") else (more or "1", "0")
    value = f"E->mbarrier_arrive({at}, {count}, {n_bytes}, {i.place})"
    return f"(void){value};" if to == "_" else f.write(to, "b64", value)


def wait(f, i):
    p, at, phase = i.args[:3]
    is_parity = 1 if i.has("parity") else 0
    value = f.read(phase, "u32" if is_parity else "b64")
    return f"{f.register(p)[0]} = E->mbarrier_test({shared(f, at)}, {value}, {is_parity}, {i.place});"


def mbarrier(f, i):
    operation = i.mods[0]
    if i.has("relaxed") and operation != "expect_tx":
        raise Refusal("a relaxed operation")
    if operation == "init":
        return f"E->mbarrier_init({shared(f, i.args[0])}, {f.read(i.args[1], 'u32')}, {i.place});"
    if operation == "inval":
        return f"E->mbarrier_invalidate({shared(f, i.args[0])}, {i.place});"
    if operation == "expect_tx":
        return f"E->mbarrier_expect({shared(f, i.args[0])}, {f.read(i.args[1], 'u32')}, {i.place});"
    if operation == "arrive":
        return arrive(f, i)
    if operation in ("test_wait", "try_wait"):
        return wait(f, i)
    raise Refusal("the operation")


def bulk(f, i):
    """cp.async.bulk"""
    if i.has("commit_group"):
        return "E->bulk_commit();"
    if i.has("wait_group"):
        return f"E->bulk_wait({f.read(i.args[0], 'u32')});"
    if i.has("tensor", "prefetch", "multicast::cluster") or any(m.startswith("L2") for m in i.mods):
        raise Refusal("the copy")
    to, source, n_bytes = i.args[:3]
    if i.has("bulk_group") and i.mods[2:4] == ["global", "shared::cta"]:
        return f"E->bulk_store({f.address(to)}, {shared(f, source)}, {f.read(n_bytes, 'u32')}, {i.place});"
    if i.has("mbarrier::complete_tx::bytes") and i.mods[2].startswith("shared"):
        is_from_shared = 1 if i.mods[3].startswith("shared") else 0
        return (f"E->bulk_load({shared(f, to)}, {f.address(source)}, {is_from_shared}, {f.read(n_bytes, 'u32')}, "
                f"{shared(f, i.args[3])}, {i.place});")
    raise Refusal("the copy")


def store(f, i):
    """st.async"""
    registers, kind = vector(i.args[1]), i.type
    if not i.has("mbarrier::complete_tx::bytes") or not i.has("shared::cluster"):
        raise Refusal("the form")
    values = ", ".join(f.read(r, kind) for r in registers)
    return (f"{{ const {c_type(kind)} t_[] = {{{values}}}; E->store_async({shared(f, i.args[0])}, t_, "
            f"{size_of(kind) * len(registers)}, {shared(f, i.args[2])}, {i.place}); }}")


HANDLERS = {"mbarrier": mbarrier}
