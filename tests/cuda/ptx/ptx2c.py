#!/usr/bin/env python3
"""PTX, as NVRTC makes it, to C that the test device's engine runs: one function for each, one statement an
instruction, every access checked. What it does not know it refuses, with the source's line and the instruction.

usage: ptx2c.py IN.ptx OUT.c
"""
import re
import sys

import ptx_arithmetic
import ptx_async
import ptx_control
import ptx_convert
import ptx_matrix
import ptx_memory
import ptx_warp
from ptx_function import FunctionWriter
from ptx_parse import parse, parse_variable
from ptx_types import FLOATS, Refusal, align_up, c_name, c_type, size_of

LINE_BITS = 20
GAP = 32  # between shared variables; an access is at most as wide

HANDLERS = {}
for part in (ptx_arithmetic, ptx_async, ptx_control, ptx_convert, ptx_matrix, ptx_memory, ptx_warp):
    HANDLERS.update(part.HANDLERS)


def odd_multiple(offset, alignment):
    """A place that is aligned as asked for and not better, so that a wider access shows."""
    offset = align_up(offset, alignment)
    return offset if offset // alignment % 2 else offset + alignment


class Translator:
    def __init__(self, text):
        self.module = parse(text)
        self.file_numbers = {n: at for at, n in enumerate(sorted(self.module.files), 1)}
        self.functions = {f.name: f for f in self.module.functions if not f.is_kernel}
        self.variables = {v.name: v for v in self.module.variables}
        self.shared, self.memory = {}, {}
        self.place_shared()
        self.place_memory()

    def place(self, file, line):
        return self.file_numbers.get(file, 0) << LINE_BITS | min(line, (1 << LINE_BITS) - 1)

    def where(self, place):
        numbers = {at: n for n, at in self.file_numbers.items()}
        name = self.module.files.get(numbers.get(place >> LINE_BITS), "PTX")
        return f"{name}:{place & (1 << LINE_BITS) - 1}"

    def place_shared(self):
        """One placing for all kernels of the module: each touches a part of it."""
        found = [v for v in self.module.variables if v.space == "shared"]
        for f in self.module.functions:
            texts = (s[1] for s in f.statements if s[0] == "text" and s[1].startswith(".shared"))
            found += [parse_variable(t) for t in texts]
        self.shared_variables = {v.name: v for v in found}
        at, dynamic = GAP, [v for v in found if v.count == 0]
        for v in self.shared_variables.values():
            if v.count:
                at = odd_multiple(at + GAP, v.align)
                self.shared[v.name] = at
                at += v.bytes
        self.dynamic_at = odd_multiple(at + GAP, max([v.align for v in dynamic], default=16))
        for v in dynamic:
            self.shared[v.name] = self.dynamic_at

    def place_memory(self):
        for v in self.module.variables:
            if v.space in ("global", "const"):
                self.memory[v.name] = f"m_{c_name(v.name)}"

    def initialiser(self, v):
        """C of the values of a variable, or nothing."""
        if not v.init:
            return ""
        values = [x for x in re.split(r"[{},\s]+", v.init) if x]
        out = []
        for value in values:
            if value in self.memory and size_of(v.type) == 8:
                out.append(f"(uintptr_t){self.memory[value]}")
                continue
            match = re.fullmatch(r"generic\(([\w$]+)\)", value)
            if match and match.group(1) in self.memory and size_of(v.type) == 8:
                out.append(f"(uintptr_t){self.memory[match.group(1)]}")
                continue
            number = FunctionWriter.number(value, v.type)
            bits = re.fullmatch(r"0[fFdD]([0-9a-fA-F]+)", value)
            if v.type in FLOATS and bits:  # a constant expression, which as_f32 is none of
                number = f"{{.bits = 0x{bits.group(1)}}}"
            if not number:
                raise Refusal(f"the value '{value}' of {v.name}")
            out.append(number)
        return " = {" + ", ".join(out) + "}"

    def variable_text(self, v, with_init):
        if v.count == 0:
            raise Refusal(f"the variable {v.name} of another module")
        kind = {"f32": "union bits_f32", "f64": "union bits_f64"}.get(v.type) if v.init else None
        init = self.initialiser(v) if with_init else ""
        return f"static _Alignas(64) {kind or c_type(v.type)} {self.memory[v.name]}[{v.count}]{init};"

    def uses(self, writers, name, seen):
        """Shared variables of a function and of what it calls."""
        if name in seen:
            return set()
        seen.add(name)
        writer = writers[name]
        return writer.shared_used.union(*(self.uses(writers, c, seen) for c in writer.called))

    def static_bytes(self, names):
        at = 0
        for name, v in self.shared_variables.items():
            if name in names and v.count:
                at = align_up(at, v.align) + v.bytes
        return at

    def kernel_entry(self, f, writers):
        used = self.uses(writers, f.name, set())
        n = len(f.params)
        cluster = ", ".join(map(str, f.cluster))
        return (f'    {{"{f.name}", k_{c_name(f.name)}, {self.static_bytes(used)}, {n}, bytes_{c_name(f.name)}, '
                f"{f.max_threads}, {{{cluster}}}, shared_variables, {len([v for v in self.shared if self.shared_variables[v].count])}, "
                f"{self.dynamic_at}, files}},")

    def text(self):
        kernels = [f for f in self.module.functions if f.is_kernel]
        writers = {f.name: FunctionWriter(self, f, HANDLERS) for f in self.module.functions}
        bodies = [w.text() for w in writers.values()]
        memory = [v for v in self.module.variables if v.space in ("global", "const")]
        placed = [f"{{{self.shared[n]}, {v.bytes}}}" for n, v in self.shared_variables.items() if v.count]
        names = ['"PTX"'] + ['"' + self.module.files[n].replace("\\", "/") + '"' for n in sorted(self.module.files)]
        out = ['#include "runtime.h"', f"static const char *const files[] = {{{', '.join(names)}}};",
               f"static const struct emu_shared shared_variables[] = {{{', '.join(placed + ['{0, 0}'])}}};"]
        out += [self.variable_text(v, False) for v in memory] + [self.variable_text(v, True) for v in memory if v.init]
        out += [f"static void f_{c_name(name)}(void *const *results, void *const *args);" for name in self.functions]
        out += bodies
        for f in kernels:
            sizes = ", ".join([str(p.bytes) for p in f.params] + ["0"])
            out.append(f"static const unsigned short bytes_{c_name(f.name)}[] = {{{sizes}}};")
        out.append("static const struct emu_kernel kernels[] = {")
        out += [self.kernel_entry(f, writers) for f in kernels] + ["    {0}", "};"]
        out.append("static const struct emu_variable variables[] = {")
        out += [f'    {{"{v.name}", {self.memory[v.name]}, sizeof {self.memory[v.name]}}},' for v in memory]
        out += ["    {0}", "};",
                f"static const struct emu_module module = {{kernels, {len(kernels)}, variables, {len(memory)}}};",
                "__attribute__((visibility(\"default\"))) const struct emu_module *emu_attach(struct emu_engine *engine) {",
                "    E = engine;", "    return &module;", "}"]
        return "\n".join(out) + "\n"


def main():
    if len(sys.argv) != 3:
        print(__doc__.strip())
        return 2
    with open(sys.argv[1], encoding="utf-8") as file:
        text = file.read()
    try:
        text = Translator(text).text()
    except Refusal as refusal:
        print(f"the test device does not know {refusal}", file=sys.stderr)
        return 1
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
