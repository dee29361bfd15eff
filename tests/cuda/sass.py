"""Runs a kernel's SASS, as nvdisasm prints it, for the 32 lanes of a warp, to see where their words come from and go to.

Addresses are numbers. What lies in memory is not: a loaded word is where it was loaded from, and what the warp makes of
its words together (a product, a load or a transposition of matrices) is the number of the step and of its word. Code
runs straight on; an instruction that is not known here is refused by its text.
"""
import re
import struct
from dataclasses import dataclass, field

LANES = 32
WORD = 0xFFFFFFFF
PARAMETERS = 0x160  # in constant bank 0, up to compute capability 8.9; what is before them is of no use here


class Refusal(Exception):
    """What is not known of an instruction."""


@dataclass(frozen=True)
class Loaded:
    """Four bytes of global memory."""
    address: int


@dataclass(frozen=True)
class Made:
    """A word that a step gave a lane."""
    lane: int
    step: int
    word: int


@dataclass
class Step:
    """What a warp does together: its instruction, and the words that each lane has for it. Of a product these are those
    of A, B and C; of a load of matrices an address in shared memory."""
    opcode: str
    words: list


@dataclass
class Trace:
    steps: list = field(default_factory=list)
    stores: list = field(default_factory=list)  # of lanes: pairs of an address in global memory and a word

    def copy(self):
        return Trace([Step(s.opcode, list(map(list, s.words))) for s in self.steps], list(map(list, self.stores)))


class Lane:
    def __init__(self, number, parameters):
        self.number, self.parameters = number, parameters
        self.registers, self.carries = {}, {"PT": 1, "UPT": 1}
        self.steps, self.stores = [], []

    def constant(self, offset):
        if offset < PARAMETERS:
            return 0
        return int.from_bytes(self.parameters[offset - PARAMETERS :][:4], "little")

    def word(self, operand, after=0):
        """A 32-bit operand; the one `after` it of several."""
        if operand in ("RZ", "URZ"):
            return 0
        if found := re.fullmatch(r"(U?R)(\d+)", operand):
            name = f"{found[1]}{int(found[2]) + after}"
            if name not in self.registers:
                raise Refusal(f"nothing was written to {name}")
            return self.registers[name]
        if found := re.fullmatch(r"c\[0x0\]\[(0x[0-9a-f]+)\]", operand):
            return self.constant(int(found[1], 16) + 4 * after)
        if re.fullmatch(r"-?0x[0-9a-f]+", operand) and after == 0:
            return int(operand, 16) & WORD
        raise Refusal(f"the operand {operand}")

    def number_of(self, operand, after=0):
        value = self.word(operand, after)
        if not isinstance(value, int):
            raise Refusal("it reckons with what is not known")
        return value

    def wide(self, operand):
        """A 64-bit operand: a pair of registers."""
        return self.number_of(operand) | self.number_of(operand, 1) << 32

    def carry(self, operand):
        name = operand.lstrip("!")
        if name not in self.carries:
            raise Refusal(f"nothing was written to {name}")
        return self.carries[name] ^ operand.startswith("!")

    def put(self, operand, *values):
        found = re.fullmatch(r"(U?R)(\d+)", operand)
        if not found:
            raise Refusal(f"the operand {operand}")
        for i, value in enumerate(values):
            self.registers[f"{found[1]}{int(found[2]) + i}"] = value

    def put_sum(self, operand, total, carry):
        """The low word, and what is above it where a predicate takes it."""
        if carry and total >> 32 > 1:
            raise Refusal("a carry of more than one")
        self.put(operand, total & WORD)
        if carry:
            self.carries[carry] = total >> 32

    def address(self, operand, is_global):
        found = re.fullmatch(r"\[(R\d+|RZ)(\.64)?(?:\+(-?0x[0-9a-f]+))?\]", operand)
        if not found:
            raise Refusal(f"the operand {operand}")
        if is_global:
            return (self.wide(found[1]) + int(found[3] or "0", 16)) & (2**64 - 1)
        return self.word(found[1]) if not found[3] else (self.number_of(found[1]) + int(found[3], 16)) & WORD

    def step(self, opcode, words, to, n_out):
        self.steps.append((opcode, words))
        self.put(to, *(Made(self.number, len(self.steps) - 1, i) for i in range(n_out)))


def signed(value):
    return value - 2 * (value & 0x80000000)


def must_be(operands, *expected):
    if tuple(operands) != expected:
        raise Refusal("other operands are expected")


def move(lane, name, to, *operands):
    must_be(operands[:-1], *("RZ",) * (0 if name == "MOV" else 2))
    lane.put(to, lane.word(operands[-1]))


def move_halves(lane, name, to, *operands):
    """A product of zeros and two halves: a constant."""
    must_be(operands[:2], "-RZ", "RZ")
    high, low = (struct.unpack("<H", struct.pack("<e", float(x)))[0] for x in operands[2:])
    lane.put(to, high << 16 | low)


def read_special(lane, name, to, register):
    must_be([register], "SR_LANEID")
    lane.put(to, lane.number)


def n_words(name):
    width = re.search(r"\.(64|128)\b", name)
    return int(width[1]) // 32 if width else 1


def load_constant(lane, name, to, operand):
    lane.put(to, *(lane.word(operand, i) for i in range(n_words(name))))


def multiply_add(lane, name, to, a, b, c):
    lane.put(to, lane.number_of(a) * lane.number_of(b) + lane.number_of(c) & WORD)


def multiply_add_wide(lane, name, to, a, b, c):
    x, y = lane.number_of(a), lane.number_of(b)
    product = x * y if name.endswith("U32") else signed(x) * signed(y)
    total = product + lane.wide(c)
    lane.put(to, total & WORD, total >> 32 & WORD)


def combine_bits(lane, name, to, *operands):
    must_be(operands[4:], "!PT")
    a, b, c = (lane.number_of(x) for x in operands[:3])
    table, result = int(operands[3], 16), 0
    for bit in range(32):
        row = (a >> bit & 1) << 2 | (b >> bit & 1) << 1 | c >> bit & 1
        result |= (table >> row & 1) << bit
    lane.put(to, result)


def shift_right(lane, name, to, low, by, x):
    must_be([low], "RZ")
    lane.put(to, lane.number_of(x) >> lane.number_of(by))


def shift_left(lane, name, to, x, by, low):
    must_be([low], "RZ")
    lane.put(to, lane.number_of(x) << lane.number_of(by) & WORD)


def with_carry(operands, n):
    """The predicate that takes a carry, if one does, and the n operands after it."""
    carry = operands[0] if re.fullmatch(r"U?P\d", operands[0]) else None
    rest = operands[1:] if carry else operands
    if len(rest) != n:
        raise Refusal(f"{n} operands are expected")
    return carry, rest


def shift_add(lane, name, to, *operands):
    carry, (a, b, by) = with_carry(operands, 3)
    lane.put_sum(to, (lane.number_of(a) << lane.number_of(by) & WORD) + lane.number_of(b), carry)


def shift_add_high(lane, name, to, low, b, high, by, carry):
    shifted = (lane.number_of(high) << 32 | lane.number_of(low)) << lane.number_of(by) >> 32 & WORD
    lane.put(to, shifted + lane.number_of(b) + lane.carry(carry) & WORD)


def add(lane, name, to, *operands):
    carry, terms = with_carry(operands, 3)
    lane.put_sum(to, sum(map(lane.number_of, terms)), carry)


def add_high(lane, name, to, *operands):
    carry, (*terms, carried, other) = with_carry(operands, 5)
    lane.put_sum(to, sum(map(lane.number_of, terms)) + lane.carry(carried) + lane.carry(other), carry)


def load(lane, name, to, at):
    address = lane.address(at, True)
    lane.put(to, *(Loaded(address + 4 * i) for i in range(n_words(name))))


def store(lane, name, at, operand):
    address = lane.address(at, True)
    lane.stores += [(address + 4 * i, lane.word(operand, i)) for i in range(n_words(name))]


def load_matrices(lane, name, to, at):
    n = name.rsplit(".", 1)[1]
    lane.step(name, [lane.address(at, False)], to, int(n) if n.isdigit() else 1)


def transpose(lane, name, to, operand):
    lane.step(name, [lane.word(operand)], to, 1)


def product_words(name):
    """Words of a lane of A (16 x depth), B (depth x 8) and C (16 x 8)."""
    depth = int(re.match(r"[HI]MMA\.168(\d+)", name)[1])
    bits = 8 if name.startswith("I") else 32 if name.endswith("TF32") else 16
    return 16 * depth * bits // 1024, 8 * depth * bits // 1024, 2 if ".F16" in name else 4


def multiply(lane, name, to, a, b, c):
    """Of integers it is said that A lies by rows and B by columns; so do halves."""
    if name.startswith("IMMA"):
        if not (a.endswith(".ROW") and b.endswith(".COL")):
            raise Refusal("A by rows and B by columns is expected")
        a, b = a.removesuffix(".ROW"), b.removesuffix(".COL")
    words = [lane.word(x, i) for x, n in zip((a, b, c), product_words(name)) for i in range(n)]
    lane.step(name, words, to, product_words(name)[2])


HANDLERS = [(re.compile(pattern), handler) for pattern, handler in (
    (r"MOV|IMAD\.MOV\.U32", move),
    (r"HFMA2\.MMA", move_halves),
    (r"S2R", read_special),
    (r"ULDC(\.64)?", load_constant),
    (r"IMAD|IMAD\.SHL\.U32", multiply_add),
    (r"IMAD\.WIDE(\.U32)?", multiply_add_wide),
    (r"LOP3\.LUT", combine_bits),
    (r"SHF\.R\.U32\.HI", shift_right),
    (r"SHF\.L\.U32", shift_left),
    (r"LEA", shift_add),
    (r"LEA\.HI\.X", shift_add_high),
    (r"U?IADD3", add),
    (r"U?IADD3\.X", add_high),
    (r"LDG\.E(\.64|\.128)?(\.SYS)?", load),
    (r"STG\.E(\.64|\.128)?(\.SYS)?", store),
    (r"LDSM\.16\.MT?88(\.[24])?", load_matrices),
    (r"MOVM\.16\.MT88", transpose),
    (r"HMMA\.168(8|16)\.F(16|32)|HMMA\.168(8|16)\.F32\.BF16|HMMA\.168[48]\.F32\.TF32", multiply),
    (r"IMMA\.168(16|32)\.(S8\.S8|U8\.U8)", multiply),
)]


def instructions(text):
    """The text and the words of each, up to the end of the kernel."""
    for line in text.splitlines():
        found = re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", line)
        if not found or re.match(r"@!U?PT ", found[1]):  # what is never done fills a slot
            continue
        name, _, operands = found[1].partition(" ")
        if name == "EXIT":
            return
        yield found[1], name, [x.strip().replace(".reuse", "") for x in operands.split(",")]
    raise Refusal("the code has no end")


def run(text, parameters):
    """A kernel's Trace, its parameters given as bytes."""
    lanes = [Lane(i, parameters) for i in range(LANES)]
    for whole, name, operands in instructions(text):
        handler = next((handler for pattern, handler in HANDLERS if pattern.fullmatch(name)), None)
        try:
            if handler is None:
                raise Refusal("the instruction is not known")
            for lane in lanes:
                handler(lane, name, *operands)
        except (Refusal, TypeError, ValueError) as why:
            raise Refusal(f"{whole}: {why}") from None
    steps = [Step(of_lanes[0][0], [words for _, words in of_lanes]) for of_lanes in zip(*(x.steps for x in lanes))]
    return Trace(steps, [x.stores for x in lanes])
