#!/usr/bin/env python3
"""Where PTX has the elements of matrices in the registers of a warp, as NVIDIA's assembler knows it (run by with-device).

In memory wmma's matrices lie by rows or columns. Its loads and stores become SASS that computes each lane's addresses,
and around them stand HMMA or IMMA, LDSM and MOVM, which mma.sync, ldmatrix and movmatrix become too. sass.py runs that
arithmetic: which lane has which element in which word. The emulated device is given matrices in just these words, does
what the PTX instructions are, and its words go to where the SASS stores them: they have to be the product.
"""
import os
import random
import re
import struct
import sys
import unittest
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import gpu
import sass

SEED = int(os.environ.get("NLM_SEED", "1"))
N = 16  # rows and columns of wmma's product
# Where matrices are said to lie. In global memory, so that additions carry into the upper word.
GLOBAL, SHARED, SHARED_BYTES = {"a": 0x7FFFFFF80, "b": 0x9FFFFFF40}, {"a": 0x100, "b": 0x900}, 0x1000
D = 0xBFFFFFE00


@dataclass
class Kind:
    bits: int
    depth: int  # of wmma's step
    words: int  # of a lane of A or B, as wmma counts them
    sums: str
    pack: object


KINDS = {
    "f16": Kind(16, 16, 8, "f32", lambda x: struct.pack("<e", x)),
    "bf16": Kind(16, 16, 4, "f32", lambda x: struct.pack("<f", x)[2:]),
    "tf32": Kind(32, 8, 4, "f32", lambda x: struct.pack("<f", x)),
    "s8": Kind(8, 16, 2, "s32", lambda x: struct.pack("<b", x)),
    "u8": Kind(8, 16, 2, "s32", lambda x: struct.pack("<B", x)),
}
SUMS = {"f32": ("<f", 4), "f16": ("<e", 2), "s32": ("<i", 4)}


@dataclass
class Case:
    """A product of wmma's. Elements are whole, and so small that every sum is exact. A sum does not tell in which order
    its terms come: what brings matrices into registers has to be tried with A or B alone."""
    name: str
    arch: int
    kind: str
    opcodes: set  # that the SASS has to have
    elements: tuple  # the least and the greatest
    a: str = "row"
    b: str = "col"
    shared: str = ""  # the one that lies in shared memory
    sums: str = ""
    n_steps: int = 1  # products in a row; the second begins with the sums of the first
    joined: str = ""  # what two products in a row are made, if so

    def __post_init__(self):
        self.sums = self.sums or KINDS[self.kind].sums
        self.depth = self.n_steps * KINDS[self.kind].depth

    def place(self, matrix):
        return (SHARED if matrix in self.shared else GLOBAL)[matrix]

    def at(self, matrix, row, column):
        """The index in memory of an element of A (16 x depth) or B (depth x 16)."""
        order, rows, columns = (self.a, N, self.depth) if matrix == "a" else (self.b, self.depth, N)
        return row * columns + column if order == "row" else column * rows + row


HMMA, MOVM, LDSM = "HMMA.16816.F32", "MOVM.16.MT88", "LDSM.16.M"
CASES = (
    Case("f16", 80, "f16", {HMMA}, (-500, 500)),
    Case("f16, sums in f16", 80, "f16", {"HMMA.16816.F16"}, (-8, 8), sums="f16", n_steps=2),
    Case("f16 of Turing", 75, "f16", {"HMMA.1688.F32"}, (-500, 500)),
    Case("bf16", 80, "bf16", {HMMA + ".BF16"}, (-200, 200), n_steps=2),
    Case("tf32", 80, "tf32", {"HMMA.1684.F32.TF32"}, (-500, 500)),
    Case("tf32, two made one", 80, "tf32", {"HMMA.1688.F32.TF32"}, (-500, 500), joined="HMMA.1688.F32.TF32"),
    Case("s8", 80, "s8", {"IMMA.16816.S8.S8"}, (-128, 127), n_steps=2),
    Case("u8", 80, "u8", {"IMMA.16816.U8.U8"}, (0, 255), n_steps=2),
    Case("s8, two made one", 80, "s8", {"IMMA.16832.S8.S8"}, (-128, 127), n_steps=2, joined="IMMA.16832.S8.S8"),
    Case("u8, two made one", 80, "u8", {"IMMA.16832.U8.U8"}, (0, 255), n_steps=2, joined="IMMA.16832.U8.U8"),
    Case("f16, A transposed in registers", 80, "f16", {MOVM, HMMA}, (-500, 500), a="col"),
    Case("f16, B transposed in registers", 80, "f16", {MOVM, HMMA}, (-500, 500), b="row"),
    Case("f16, A shared", 80, "f16", {LDSM + "88.4", HMMA}, (-500, 500), shared="a"),
    Case("f16, B shared", 80, "f16", {LDSM + "88.4", HMMA}, (-500, 500), shared="b"),
    Case("f16, A shared, transposed", 80, "f16", {LDSM + "T88.4", HMMA}, (-500, 500), a="col", shared="a"),
    Case("f16, B shared, transposed", 80, "f16", {LDSM + "T88.4", HMMA}, (-500, 500), b="row", shared="b"),
    Case("f16 of Turing, A shared", 75, "f16", {LDSM + "88.2", "HMMA.1688.F32"}, (-500, 500), shared="a"),
    Case("f16 of Turing, B shared, transposed", 75, "f16", {LDSM + "T88.2", "HMMA.1688.F32"}, (-500, 500), b="row", shared="b"),
    Case("s8, B shared", 80, "s8", {LDSM + "88.2", "IMMA.16816.S8.S8"}, (-128, 127), shared="b"),
)
OPCODES = sorted(set().union(*(case.opcodes for case in CASES)))


def symbol(name):
    return re.sub(r"\W", "_", name)


def numbered(first, n):
    return "{" + ", ".join(f"%{i}" for i in range(first, first + n)) + "}"


def bound(constraint, name, n):
    return ", ".join(f'"{constraint}"({name}[{i}])' for i in range(n))


def wmma_kernel(case):
    """d = a b; a matrix in shared memory is there before it begins."""
    kind, n_sums = KINDS[case.kind], 4 if case.sums == "f16" else 8
    shape, n = f"m16n16k{kind.depth}", kind.words
    types = ".".join([case.sums, *([] if case.kind == "f16" else [case.kind] * 2), case.sums])
    text = [f'extern "C" __global__ void {symbol(case.name)}(u64 a, u64 b, u64 d) {{',
            f"unsigned x[{n}], y[{n}], sums[{n_sums}] = {{}};"]
    for step in range(case.n_steps):
        depth = step * kind.depth
        for name, order, words, at in (("a", case.a, "x", case.at("a", 0, depth)), ("b", case.b, "y", case.at("b", depth, 0))):
            lead = N if (name, order) in (("a", "col"), ("b", "row")) else case.depth
            space, address = ("shared", '"r"((unsigned)') if name in case.shared else ("global", '"l"(')
            text.append(f'asm volatile("wmma.load.{name}.sync.aligned.{order}.{shape}.{space}.{case.kind} '
                        f'{numbered(0, n)}, [%{n}], {lead};" : {bound("=r", words, n)} : '
                        f'{address}{name} + {at * kind.bits // 8}) : "memory");')
        text.append(f'asm volatile("wmma.mma.sync.aligned.{case.a}.{case.b}.{shape}.{types} {numbered(0, n_sums)}, '
                    f'{numbered(n_sums, n)}, {numbered(n_sums + n, n)}, {numbered(0, n_sums)};" : '
                    f'{bound("+r", "sums", n_sums)} : {bound("r", "x", n)}, {bound("r", "y", n)});')
    text.append(f'asm volatile("wmma.store.d.sync.aligned.row.{shape}.global.{case.sums} [%0], {numbered(1, n_sums)}, {N};" '
                f':: "l"(d), {bound("r", "sums", n_sums)} : "memory");\n}}')
    return "\n".join(text)


def joined(trace, opcode):
    """Each product, and the one that it is added to, as one of double depth: its words are those of the first and then
    those of the second. So it is with halves, see below; wmma has no tf32 of depth 8 and no bytes of depth 32."""
    steps, number_of = [], {}
    for number, step in enumerate(trace.steps):
        n_a, n_b, n_c = sass.product_words(step.opcode)
        depth = n_a + n_b
        before = getattr(step.words[0][depth], "step", None)
        if before is None:
            continue
        words = []
        for lane, (first, second) in enumerate(zip(trace.steps[before].words, step.words)):
            assert second[depth:] == [sass.Made(lane, before, i) for i in range(n_c)], step.opcode
            words.append(first[:n_a] + second[:n_a] + first[n_a:depth] + second[n_a:depth] + first[depth:])
        number_of[number] = len(steps)
        steps.append(sass.Step(opcode, words))
    stores = [[(at, sass.Made(w.lane, number_of[w.step], w.word)) for at, w in lane] for lane in trace.stores]
    return sass.Trace(steps, stores)


@lru_cache(None)
def wmma_code(arch):
    source = "typedef unsigned long long u64;\n" + "\n".join(wmma_kernel(case) for case in CASES if case.arch == arch)
    return gpu.disassemble(gpu.compile_kernels(source, arch)[0])


def trace_of(case):
    """What the SASS of a case does."""
    parameters = struct.pack("<QQQ", case.place("a"), case.place("b"), D)
    trace = sass.run(wmma_code(case.arch)[symbol(case.name)], parameters)
    return joined(trace, case.joined) if case.joined else trace


def ptx_of(opcode):
    """The PTX that an instruction of SASS is said to come from; the words it gives a lane, and those it takes."""
    if opcode.startswith("LDSM"):
        n = int(opcode[-1])
        order = ".trans" if "MT88" in opcode else ""
        return f"ldmatrix.sync.aligned.m8n8.x{n}{order}.shared.b16 {numbered(0, n)}, [%{n}];", n, 1
    if opcode.startswith("MOVM"):
        return "movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;", 1, 1
    n_a, n_b, n_c = sass.product_words(opcode)
    kind = next((kind for kind in ("bf16", "tf32", "s8", "u8") if f".{kind.upper()}" in opcode), "f16")
    sums = "f16" if ".F16" in opcode else KINDS[kind].sums
    depth = re.match(r"[HI]MMA\.168(\d+)", opcode)[1]
    operands = ", ".join((numbered(0, n_c), numbered(n_c, n_a), numbered(n_c + n_a, n_b), numbered(n_c + n_a + n_b, n_c)))
    return f"mma.sync.aligned.m16n8k{depth}.row.col.{sums}.{kind}.{kind}.{sums} {operands};", n_c, n_a + n_b + n_c


def word_kernel(name, opcode, fill=False):
    """The instruction with a lane's words of `in`, its own written to `out`. With `fill` shared memory is filled from an
    image, and an address counts from its beginning."""
    text, n_out, n_in = ptx_of(opcode)
    prepare = "" if not fill else f"""
        extern __shared__ uint4 room[];
        for (unsigned i = lane; i < {SHARED_BYTES // 16}; i += 32) room[i] = image[i];
        __syncwarp();
        x[0] += (unsigned)__cvta_generic_to_shared(room);"""
    return f"""
    extern "C" __global__ void {name}(const unsigned *in, {"const uint4 *image, " if fill else ""}unsigned *out) {{
        unsigned lane, x[{n_in}], y[{n_out}];
        asm("mov.u32 %0, %%laneid;" : "=r"(lane));
        for (int i = 0; i < {n_in}; i++) x[i] = in[lane * {n_in} + i];{prepare}
        asm volatile("{text}" : {bound("=r", "y", n_out)} : {bound("r", "x", n_in)} : "memory");
        for (int i = 0; i < {n_out}; i++) out[lane * {n_out} + i] = y[i];
    }}"""


@lru_cache(None)
def instructions():
    """The cubin and the PTX of kernels that are one instruction; those that load matrices have one with `fill` too."""
    source = "".join(word_kernel(symbol(opcode), opcode) for opcode in OPCODES)
    source += "".join(word_kernel(symbol(opcode) + "_fill", opcode, True) for opcode in OPCODES if opcode.startswith("LDSM"))
    return gpu.compile_kernels(source, 80)


@lru_cache(None)
def device():
    """The emulated device, and these kernels on it."""
    one = gpu.Device()
    return one, one.load(instructions()[1])


def run_instruction(opcode, words, matrices):
    """What each lane has after an instruction; words by lanes in a row."""
    _, n_out, _ = ptx_of(opcode)
    gpu_device, module = device()
    inputs, size = [struct.pack(f"<{len(words)}I", *words)], 4 * n_out * sass.LANES
    if opcode.startswith("LDSM"):
        inputs.append(matrices.image())
        raw = gpu_device.run(module, symbol(opcode) + "_fill", inputs, size, sass.LANES, SHARED_BYTES)
    else:
        raw = gpu_device.run(module, symbol(opcode), inputs, size)
    return [struct.unpack_from(f"<{n_out}I", raw, 4 * n_out * lane) for lane in range(sass.LANES)]


class Matrices:
    """A and B of whole numbers, drawn by lot, and where they lie."""

    def __init__(self, case):
        self.case, pack, draw = case, KINDS[case.kind].pack, random.Random(f"{SEED} {case.name}").randint
        self.a = [[draw(*case.elements) for _ in range(case.depth)] for _ in range(N)]
        self.b = [[draw(*case.elements) for _ in range(N)] for _ in range(case.depth)]
        a = {case.at("a", i, k): pack(self.a[i][k]) for i in range(N) for k in range(case.depth)}
        b = {case.at("b", k, j): pack(self.b[k][j]) for k in range(case.depth) for j in range(N)}
        self.bytes = {case.place(name): b"".join(data for _, data in sorted(of.items())) for name, of in (("a", a), ("b", b))}

    def product(self):
        return [[sum(self.a[i][k] * self.b[k][j] for k in range(self.case.depth)) for j in range(N)] for i in range(N)]

    def loaded(self, address):
        for at, data in self.bytes.items():
            if at <= address <= at + len(data) - 4:
                return int.from_bytes(data[address - at :][:4], "little")
        raise AssertionError(f"a lane loads from {address:#x}, which is in no matrix")

    def image(self):
        """All of shared memory, from its beginning."""
        room = bytearray(SHARED_BYTES)
        for at, data in self.bytes.items():
            if at < SHARED_BYTES:
                room[at : at + len(data)] = data
        return bytes(room)


def run_on_device(trace, matrices, turned=""):
    """The product as memory has it after the steps of a trace, each done by the emulated device. Of the instruction
    `turned` the words that it gives have their halves exchanged."""
    made = []

    def value(word):
        if isinstance(word, sass.Made):
            return made[word.step][word.lane][word.word]
        return matrices.loaded(word.address) if isinstance(word, sass.Loaded) else word

    for step in trace.steps:
        given = run_instruction(step.opcode, [value(word) for words in step.words for word in words], matrices)
        if step.opcode == turned:
            given = [[word >> 16 | (word & 0xFFFF) << 16 for word in words] for words in given]
        made.append(given)
    memory = {}
    for lane in range(sass.LANES):
        for address, word in trace.stores[lane]:
            assert address not in memory, f"lanes store to {address:#x} twice"
            memory[address] = struct.pack("<I", value(word))
    form, size = SUMS[matrices.case.sums]
    assert sorted(memory) == list(range(D, D + N * N * size, 4)), "what lanes store is not the product's place"
    sums = [x for (x,) in struct.iter_unpack(form, b"".join(memory[address] for address in sorted(memory)))]
    return [sums[N * i : N * (i + 1)] for i in range(N)]


def wrong_traces(trace):
    """(what is wrong, trace): in each instruction's first step two lanes have each other's word, of one after the other, and
    all lanes the second for the first; two lanes store each other's word."""
    first = {step.opcode: number for number, step in reversed(list(enumerate(trace.steps)))}
    for number in first.values():
        step = trace.steps[number]
        n = 1 if not step.opcode[1:].startswith("MMA") else sum(sass.product_words(step.opcode)[:2])
        for word in range(n):
            wrong = trace.copy()
            one, other = wrong.steps[number].words[0], wrong.steps[number].words[5]
            one[word], other[word] = other[word], one[word]
            yield f"word {word} of {step.opcode}, lanes 0 and 5", wrong
        if n > 1:
            wrong = trace.copy()
            for words in wrong.steps[number].words:
                words[0], words[1] = words[1], words[0]
            yield f"words 0 and 1 of {step.opcode}", wrong
    wrong = trace.copy()
    (at, one), (there, other) = wrong.stores[0][0], wrong.stores[5][0]
    wrong.stores[0][0], wrong.stores[5][0] = (at, other), (there, one)
    yield "what lanes 0 and 5 store first", wrong


class Layouts(unittest.TestCase):
    def test_a_deep_product_has_the_words_of_two(self):
        turing, ampere = (next(c for c in CASES if c.name == name) for name in ("f16 of Turing", "f16"))
        self.assertEqual(joined(trace_of(turing), HMMA), trace_of(ampere))

    def test_ptx_becomes_the_instruction_with_its_words_in_order(self):
        code = gpu.disassemble(instructions()[0])
        for opcode in OPCODES:
            with self.subTest(opcode):
                _, n_out, n_in = ptx_of(opcode)
                words, lanes = GLOBAL["a"], range(sass.LANES)
                trace = sass.run(code[symbol(opcode)], struct.pack("<QQ", words, D))
                taken = [[sass.Loaded(words + 4 * (lane * n_in + i)) for i in range(n_in)] for lane in lanes]
                given = [{D + 4 * (lane * n_out + i): sass.Made(lane, 0, i) for i in range(n_out)} for lane in lanes]
                self.assertEqual(trace.steps, [sass.Step(opcode, taken)])
                self.assertEqual(list(map(dict, trace.stores)), given)

    def test_the_device_has_elements_where_the_assembler_has_them(self):
        for case in CASES:
            with self.subTest(case.name, seed=SEED):
                trace, matrices = trace_of(case), Matrices(case)
                self.assertEqual({step.opcode for step in trace.steps}, case.opcodes)
                self.assertEqual(run_on_device(trace, matrices), matrices.product())

    def test_a_word_in_a_wrong_lane_is_noticed(self):
        for case in CASES:
            matrices = Matrices(case)
            expected = matrices.product()
            for what, wrong in wrong_traces(trace_of(case)):
                with self.subTest(case.name, seed=SEED, what=what):
                    self.assertNotEqual(run_on_device(wrong, matrices), expected)

    def test_halves_in_a_wrong_order_are_noticed(self):
        for case in CASES:
            matrices = Matrices(case)
            for opcode in (x for x in case.opcodes if x.startswith(("LDSM", "MOVM"))):
                with self.subTest(case.name, seed=SEED, what=opcode):
                    self.assertNotEqual(run_on_device(trace_of(case), matrices, opcode), matrices.product())


class Cluster(unittest.TestCase):
    def test_layers_of_a_step_have_no_fence_of_the_whole_gpu(self):
        os.environ["NLM_NVRTC"] = os.environ["EMU_NVRTC"]
        sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
        import cuda_kernels

        macros = ("-DACT=f32", "-DW=f32", "-DW_DT=f32", "-DPACKED=1", "-DSTATES=16")
        text = gpu.disassemble(cuda_kernels.compile_cubin(90, "mamba_step.cu", macros))["mamba_step"].splitlines()
        labels = {line.strip()[:-1]: i for i, line in enumerate(text) if re.fullmatch(r"\.L_\w+:", line.strip())}
        loops = [(labels[to[1]], i) for i, line in enumerate(text)
                 if (to := re.search(r"BRA.*\((\.L_\w+)\)", line)) and labels[to[1]] < i]
        first, end = max(loops, key=lambda loop: loop[1] - loop[0])  # that of the layers

        def places(what):
            return [i for i, line in enumerate(text) if what in line]

        self.assertGreaterEqual(sum(first < i < end for i in places("SYNCS.PHASECHK")), 5)
        self.assertEqual(len(places("MEMBAR.ALL.GPU")), 1)
        self.assertLess(places("MEMBAR.ALL.GPU")[0], first)


class Interpreter(unittest.TestCase):
    def test_an_unknown_instruction_is_named(self):
        code = "        /*0000*/    FOO.BAR R1, R2 ;\n        /*0010*/    EXIT ;\n"
        with self.assertRaisesRegex(sass.Refusal, "FOO.BAR R1, R2: the instruction is not known"):
            sass.run(code, b"")


if __name__ == "__main__":
    if not gpu.find_nvdisasm():
        print("skipped: there is no nvdisasm; tests/cuda/get-nvrtc BUILD fetches it")
        sys.exit(77)
    unittest.main()
