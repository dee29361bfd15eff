"""One PTX function as a C function: its registers, operands and statements."""
import re
from functools import lru_cache

from ptx_parse import parse_variable
from ptx_types import FLOATS, Refusal, align_up, c_name, c_type, size_of, unsigned

SPECIAL = {
    "%laneid": "(uint32_t)E->self->lane", "%warpid": "(uint32_t)E->self->warp",
    "%nwarpid": "n_warps()", "%cluster_ctarank": "(uint32_t)E->self->rank",
    "%cluster_nctarank": "(E->n_cluster.x * E->n_cluster.y * E->n_cluster.z)",
    "%clock": "(uint32_t)next_clock()", "%clock64": "next_clock()", "%globaltimer": "next_clock()",
    "%globaltimer_lo": "(uint32_t)next_clock()", "%lanemask_eq": "(1u << E->self->lane)",
    "%lanemask_lt": "((1u << E->self->lane) - 1)", "%lanemask_le": "((2u << E->self->lane) - 1)",
    "%lanemask_gt": "~((2u << E->self->lane) - 1)", "%lanemask_ge": "~((1u << E->self->lane) - 1)",
    "%dynamic_smem_size": "E->dynamic_shared_bytes", "%is_explicit_cluster": "1",
    "%smid": "0u", "%nsmid": "1u", "%gridid": "0u", "WARP_SZ": "32u",
}
VECTORS = {"%tid": "self->tid", "%ctaid": "self->ctaid", "%ntid": "n_threads", "%nctaid": "n_blocks",
           "%cluster_nctaid": "n_cluster"}
PLACED = {"%cluster_ctaid": "cluster_ctaid", "%clusterid": "clusterid", "%nclusterid": "nclusterid"}
IGNORED = (".pragma", ".branchtargets", ".callprototype", ".maxnreg")


def kind_of(register):
    """C type of a register: integers are held as their bits."""
    return c_type(register) if register in FLOATS else unsigned(register)


class Scope:
    """Names of a pair of braces."""

    def __init__(self, parent, number):
        self.parent, self.number = parent, number
        self.registers, self.labels, self.params = {}, {}, {}

    def find(self, table, name):
        scope = self
        while scope:
            if name in getattr(scope, table):
                return getattr(scope, table)[name]
            scope = scope.parent
        return None


INSTRUCTION = re.compile(r"(?:@(!?[\w$%]+)\s+)?([a-zA-Z_][\w.:]*)\s*(.*)$", flags=re.S)


class Instruction:
    def __init__(self, text, place):
        match = INSTRUCTION.match(text)
        if not match:
            raise Refusal(f"'{text}'")
        self.text, self.place = text, place
        self.guard, full, rest = match.groups()
        self.op, *self.mods = full.split(".")
        self.type = self.mods[-1] if self.mods else ""
        self.args = split_operands(rest)

    def has(self, *names):
        return any(name in self.mods for name in names)

    def one_of(self, *names):
        return next((name for name in self.mods if name in names), None)


def split_operands(text):
    if not any(char in text for char in "{[("):
        return [part.strip() for part in text.split(",")] if text.strip() else []
    out, depth, current = [], 0, ""
    for char in text:
        depth += (char in "{[(") - (char in "}])")
        if char == "," and depth == 0:
            out.append(current.strip())
            current = ""
        else:
            current += char
    return out + [current.strip()] if current.strip() else out


def vector(operand):
    return [part.strip() for part in operand[1:-1].split(",")] if operand.startswith("{") else [operand]


class FunctionWriter:
    def __init__(self, translator, function, handlers):
        self.translator, self.function, self.handlers = translator, function, handlers
        self.out, self.declared = [], []
        self.root = self.scope = Scope(None, 0)
        self.n_scopes, self.place, self.has_local = 0, 0, False
        self.branch_targets, self.emitted_labels, self.registers = {}, set(), []
        self.shared_used, self.called = set(), set()
        for i, p in enumerate(function.params):
            self.root.params[p.name] = f"((char *)args[{i}])"
        for i, p in enumerate(function.returns):
            self.root.params[p.name] = f"((char *)results[{i}])"

    # Operands

    def register(self, operand):
        """C name and PTX type of a register."""
        found = self.scope.find("registers", operand)
        if not found:
            raise Refusal(f"the operand '{operand}'")
        return found

    def is_register(self, operand):
        return self.scope.find("registers", operand) is not None

    def read(self, operand, kind):
        """The operand as a C expression of the C type of PTX type `kind`."""
        target = c_type(kind)
        if self.is_register(operand):
            name, held = self.register(operand)
            if held in FLOATS:
                if kind == held:
                    return name
                bits = f"as_u{8 * size_of(held)}({name})"
                return f"as_{kind}({bits})" if kind in FLOATS else f"({target}){bits}"
            if kind in FLOATS:
                return f"as_{kind}({name})"
            return f"({target}){name}"
        special = self.special(operand)
        if special:
            return f"({target}){special}"
        number = self.number(operand, kind)
        return number if number else f"({target}){self.symbol(operand)}"

    def special(self, operand):
        if operand in SPECIAL:
            return SPECIAL[operand]
        base, _, part = operand.rpartition(".")
        if base in VECTORS and part in "xyz":
            return f"E->{VECTORS[base]}.{part}"
        if base in PLACED and part in "xyz":
            return f"{PLACED[base]}().{part}"
        return None

    @staticmethod
    @lru_cache(maxsize=None)
    def number(operand, kind):
        target = c_type(kind)
        if re.fullmatch(r"0[fF][0-9a-fA-F]{8}", operand):
            bits = f"0x{operand[2:]}u"
            return f"as_f32({bits})" if kind == "f32" else f"(double)as_f32({bits})" if kind == "f64" else f"({target}){bits}"
        if re.fullmatch(r"0[dD][0-9a-fA-F]{16}", operand):
            bits = f"0x{operand[2:]}ull"
            return f"as_f64({bits})" if kind == "f64" else f"(float)as_f64({bits})" if kind == "f32" else f"({target}){bits}"
        if re.fullmatch(r"-?\d+\.\d*(?:[eE][-+]?\d+)?", operand) and kind in FLOATS:
            return f"({target}){operand}"
        match = re.fullmatch(r"(-?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[0-7]+|\d+)U?", operand)
        if not match:
            return None
        text = match.group(2)
        value = int(text, 8) if re.fullmatch(r"0[0-7]+", text) else int(text, 0)
        value = (-value if match.group(1) else value) & (1 << 64) - 1
        if kind in FLOATS:
            return f"as_{kind}({value}ull)"
        return f"(({target}){value}ull)"

    def symbol(self, operand):
        """The address of a variable, as uint64_t."""
        match = re.fullmatch(r"([\w$%]+)\s*(?:([+-])\s*(-?\d+))?", operand)
        name = match.group(1) if match else operand
        offset = f" {match.group(2)} {match.group(3)}" if match and match.group(2) else ""
        param = self.scope.find("params", name)
        if param:
            return f"((uint64_t)(uintptr_t){param}{offset})"
        if name in self.translator.shared:
            self.shared_used.add(name)
            return f"((uint64_t){self.translator.shared[name]}{offset})"
        if name in self.translator.memory:
            return f"((uint64_t)(uintptr_t){self.translator.memory[name]}{offset})"
        raise Refusal(f"the operand '{operand}'")

    def address(self, operand):
        """What stands in brackets, as a C expression of uint64_t."""
        inside = operand.strip()[1:-1].strip()
        match = re.fullmatch(r"([\w$%.]+)\s*(?:\+\s*(-?\w+))?", inside)
        if not match:
            raise Refusal(f"the address '{operand}'")
        base, offset = match.groups()
        more = f" + {int(offset, 0)}" if offset and int(offset, 0) else ""
        if self.is_register(base):
            name, held = self.register(base)
            return f"(uint64_t)({name}{more})" if size_of(held) == 8 else f"(uint64_t)(uint32_t)({name}{more})"
        number = self.number(base, "u64")
        return f"({number}{more})" if number else f"({self.symbol(base)}{more})"

    def write(self, operand, kind, value):
        """The statement that gives register `operand` the C value of PTX type `kind`."""
        if operand == "_":
            return f"(void)({value});"
        name, held = self.register(operand)
        if held == "pred" or kind == held:
            return f"{name} = {value};"
        if held in FLOATS:
            if kind in FLOATS:
                raise Refusal(f"a .{kind} in a register of .{held}")
            return f"{name} = as_{held}(({unsigned(held)})({value}));"
        if kind in FLOATS:
            return f"{name} = as_u{8 * size_of(kind)}({value});"
        return f"{name} = ({unsigned(held)})({c_type(kind)})({value});"

    def predicate(self, operand):
        if re.fullmatch(r"-?\d+", operand):
            return str(int(int(operand) != 0))
        negated = operand.startswith("!")
        name, _ = self.register(operand.lstrip("!"))
        return f"!{name}" if negated else name

    # Statements

    def label(self, name):
        found = self.scope.find("labels", name)
        if not found:
            raise Refusal(f"the label '{name}'")
        return found

    def jump(self, name):
        """A jump back counts as a step, so that a loop without an end is found."""
        target = self.label(name)
        if target in self.emitted_labels:
            return f"STEP({self.place}); goto {target};"
        return f"goto {target};"

    def leave(self):
        return "LEAVE; return;" if self.has_local else "return;"

    def collect_labels(self):
        """Which labels each scope has, by the scope's number: jumps may go forward."""
        scopes, stack, last_label = [{}], [0], None
        for statement in self.function.statements:
            if statement[0] == "open":
                stack.append(len(scopes))
                scopes.append({})
            elif statement[0] == "close":
                stack.pop()
            elif statement[0] == "label":
                last_label = statement[1]
                scopes[stack[-1]][last_label] = f"L{stack[-1]}_{c_name(last_label)}"
            elif statement[0] == "text" and statement[1].startswith(".branchtargets"):
                self.branch_targets[last_label] = split_operands(statement[1][len(".branchtargets"):])
        return scopes

    def declare_registers(self, text):
        match = re.match(r"\.reg\s+\.(\w+)\s+(.*)$", text)
        if not match:
            raise Refusal(f"'{text}'")
        kind = match.group(1)
        for part in match.group(2).split(","):
            many = re.fullmatch(r"([\w$%]+)<(\d+)>", part.strip())
            names = [f"{many.group(1)}{i}" for i in range(int(many.group(2)))] if many else [part.strip()]
            for name in names:
                c = f"r{self.scope.number}_{c_name(name)}"
                self.scope.registers[name] = (c, kind)
                self.registers.append((c, kind))

    def declare_variable(self, text):
        v = parse_variable(text)
        c = f"v{self.scope.number}_{c_name(v.name)}"
        if v.space == "param":
            self.declared.append(f"_Alignas(16) char {c}[{max(16, align_up(v.bytes, 16))}];")
            self.scope.params[v.name] = c
        elif v.space == "local":
            self.has_local = True
            self.declared.append(f"char *{c} = E->local_enter({v.bytes}, {v.align}, {self.place});")
            self.scope.params[v.name] = c
        elif v.space == "shared":
            pass  # placed by the module
        else:
            raise Refusal(f"'{text}'")

    def statement(self, text):
        if text.startswith(".reg"):
            return self.declare_registers(text)
        if text.startswith((".param", ".local", ".shared")):
            return self.declare_variable(text)
        if text.startswith(IGNORED):
            return None
        i = Instruction(text, self.place)
        if i.op not in self.handlers:
            raise Refusal("the instruction")
        code = self.handlers[i.op](self, i)
        if i.guard:
            code = f"if ({self.predicate(i.guard)}) {{ {code} }}"
        self.out.append(f"    {code}")
        return None

    def body(self):
        scopes = self.collect_labels()
        self.root.labels = scopes[0]
        self.has_local = any(s[0] == "text" and s[1].startswith(".local") for s in self.function.statements)
        for statement in self.function.statements:
            kind = statement[0]
            if kind == "open":
                self.n_scopes += 1
                self.scope = Scope(self.scope, self.n_scopes)
                self.scope.labels = scopes[self.n_scopes]
            elif kind == "close":
                self.scope = self.scope.parent
            elif kind == "loc":
                self.place = self.translator.place(statement[1], statement[2])
            elif kind == "label":
                self.out.append(f"{self.label(statement[1])}:;")
                self.emitted_labels.add(self.label(statement[1]))
            else:
                try:
                    self.statement(statement[1])
                except Refusal as refusal:
                    raise Refusal(f"{self.translator.where(self.place)}: {refusal} in '{statement[1]}'") from None

    def text(self):
        """The C function."""
        self.body()
        text = "\n".join(self.out)
        used = set(re.findall(r"\br\d+_\w+", text))
        registers = [f"    {'int' if kind == 'pred' else kind_of(kind)} {name} = 0;"
                     for name, kind in dict(self.registers).items() if name in used]
        f = self.function
        head = (f"static void k_{c_name(f.name)}(const void *const *args)" if f.is_kernel else
                f"static void f_{c_name(f.name)}(void *const *results, void *const *args)")
        local = ["    char *const local_ = E->self->local;"] if self.has_local else []
        return "\n".join([head + " {", "    (void)args;", "    int carry_ = 0;", *local, *registers, *("    " + d for d in self.declared), text,
                          "    " + self.leave(), "}", ""])
