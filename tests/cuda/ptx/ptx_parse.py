"""PTX text as a module: its files, variables and functions, and the statements of these."""
import re
from dataclasses import dataclass, field

from ptx_types import Refusal, size_of

LINKAGE = r"(?:\.(?:visible|weak|extern|common)\s+)*"
DECLARATOR = re.compile(r"\.(?P<type>\w+)\s+(?P<attributes>(?:\.ptr\s+)?(?:\.(?:global|shared|local|const)\s+)?"
                        r"(?:\.align\s+\d+\s+)?)(?P<name>[\w$%]+)\s*(?P<extent>(?:\[\d*\])*)")


@dataclass
class Variable:
    space: str
    name: str
    type: str
    count: int  # 0: as many as the launch gives
    align: int
    is_array: bool = False
    init: str = ""

    @property
    def bytes(self):
        return self.count * size_of(self.type)


@dataclass
class Function:
    name: str
    is_kernel: bool
    params: list
    returns: list
    max_threads: int = 1024
    cluster: tuple = (0, 0, 0)
    statements: list = field(default_factory=list)


@dataclass
class Module:
    files: dict
    variables: list
    functions: list


def parse_variable(text):
    """A variable from its declaration: `.shared .align 4 .b8 name[32]`, without the semicolon."""
    head, _, init = text.partition("=")
    match = re.match(r"\s*" + LINKAGE + r"\.(param|shared|local|global|const)\b(.*)$", head, flags=re.S)
    if not match:
        raise Refusal(f"the declaration '{text.strip()[:80]}'")
    space, rest = match.groups()
    align = re.search(r"\.align\s+(\d+)", rest)
    rest = re.sub(r"\.align\s+\d+", "", rest)
    if ".attribute" in rest:
        raise Refusal(f"the declaration '{text.strip()[:80]}'")
    match = DECLARATOR.search(rest)
    extents = re.findall(r"\[(\d*)\]", match.group("extent"))
    count = 1
    for extent in extents:
        count *= int(extent or 0)
    kind = match.group("type")
    return Variable(space, match.group("name"), kind, count, int(align.group(1)) if align else size_of(kind),
                    bool(extents), init.strip())


def parse_parameters(text):
    return [parse_variable(part) for part in text.split(",") if part.strip()]


STATEMENT = re.compile(r"\s*(?:(?P<brace>[{}])|;|(?P<label>[$\w]+)\s*:(?!:)|\.loc\s+(?P<file>\d+)\s+(?P<line>\d+)[^\n]*"
                       r"|(?P<text>[^;]+);|$)")


def split_statements(body):
    """('open',), ('close',), ('label', name), ('loc', file, line), ('text', statement)."""
    at, out = 0, []
    while at < len(body):
        match = STATEMENT.match(body, at)
        if not match:
            raise Refusal(f"a statement without an end: '{body[at:].strip()[:80]}'")
        at = match.end()
        brace, label, file, line, text = match.groups()
        if brace:
            out.append(("open",) if brace == "{" else ("close",))
        elif label:
            out.append(("label", label))
        elif file:
            out.append(("loc", int(file), int(line)))
        elif text:
            out.append(("text", " ".join(text.split())))
    return out


def matching_brace(text, at):
    depth = 0
    for match in re.compile(r"[{}]").finditer(text, at):
        depth += 1 if match.group() == "{" else -1
        if depth == 0:
            return match.start()
    raise Refusal("a function without an end")


def parse_function(header, body):
    match = re.match(LINKAGE + r"\.(entry|func)\s*(?:\(([^()]*)\)\s*)?([\w$]+)\s*(?:\(([^()]*)\))?(.*)$", header, flags=re.S)
    kind, returns, name, params, directives = match.groups()
    f = Function(name, kind == "entry", parse_parameters(params or ""), parse_parameters(returns or ""))
    for directive, values in re.findall(r"\.(\w+)\s*((?:\d+\s*,?\s*)*)", directives):
        numbers = [int(n) for n in re.findall(r"\d+", values)]
        if directive in ("maxntid", "reqntid"):
            f.max_threads = 1
            for n in numbers:
                f.max_threads *= n
        elif directive == "reqnctapercluster":
            f.cluster = tuple((numbers + [1, 1])[:3])
        elif directive not in ("minnctapersm", "maxnreg", "explicitcluster", "maxclusterrank", "noreturn"):
            raise Refusal(f"the directive .{directive} of {name}")
    f.statements = split_statements(body)
    return f


def parse(text):
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    files = {int(n): path for n, path in re.findall(r'^\s*\.file\s+(\d+)\s+"([^"]*)"', text, flags=re.M)}
    text = re.sub(r"^\s*\.(version|target|address_size|file)\b[^\n]*", "", text, flags=re.M)
    text = re.sub(r"\.section\s+[\w.]+\s*\{[^}]*\}", "", text, flags=re.S)
    module, at = Module(files, [], []), 0
    while True:
        at = re.compile(r"[\s;]*").match(text, at).end()
        if at >= len(text):
            return module
        if re.compile(LINKAGE + r"\.(entry|func)\b").match(text, at):
            end = re.compile(r"[{;]").search(text, at).start()
            if text[end] == ";":  # a declaration: the definition follows, or a call is refused
                at = end + 1
                continue
            close = matching_brace(text, end)
            module.functions.append(parse_function(text[at:end].strip(), text[end + 1:close]))
            at = close + 1
        else:
            end = text.index(";", at)
            statement = text[at:end]
            if not re.match(r"\s*\.(pragma|alias)", statement):
                module.variables.append(parse_variable(statement))
            at = end + 1
