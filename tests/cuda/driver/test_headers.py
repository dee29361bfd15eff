#!/usr/bin/env python3
"""The declarations of backends/cuda/api against NVIDIA's own headers and libraries, where a toolkit has them.

Constants and the sizes, offsets and arguments of structs and functions are compared by a compiler; that a library has
a symbol, by its table. A header that is not there is said to be skipped; if none is, so is the test (exit 77).
"""
import glob
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(os.environ.get("NLM_SOURCE", Path(__file__).resolve().parents[3]))
API = SOURCE / "backends/cuda/api"
ROOTS = [os.environ[n] for n in ("CUDA_PATH", "CUDA_HOME") if n in os.environ] + ["/usr/local/cuda", "/usr"]

# ours: NVIDIA's, its list of functions, and the library they are in.
HEADERS = {
    "cuda.h": ("cuda.h", "NLM_CUDA_FUNCTIONS", "stubs/libcuda.so"),
    "nvrtc.h": ("nvrtc.h", "NLM_NVRTC_FUNCTIONS", "libnvrtc.so*"),
    "nvml.h": ("nvml.h", "NLM_NVML_FUNCTIONS", "stubs/libnvidia-ml.so"),
    "cublaslt.h": ("cublasLt.h", "NLM_CUBLASLT_FUNCTIONS", "libcublasLt.so*"),
}

# Two function types agree if each argument takes the same room and is a pointer in both or in none: enums are ints in
# ours, and handles point to structs of other names.
COMPARE = """
#include <stddef.h>
#include <stdint.h>
#include <type_traits>
template <class a, class b> constexpr bool agrees =
    sizeof(a) == sizeof(b) && std::is_pointer<a>::value == std::is_pointer<b>::value &&
    std::is_floating_point<a>::value == std::is_floating_point<b>::value;
template <class a, class b> struct same_call : std::false_type {};
template <class r, class... a, class s, class... b> struct same_call<r(a...), s(b...)> {
    template <class... x> struct list {};
    template <class x, class y, bool = true> struct all : std::false_type {};
    template <class... x, class... y> struct all<list<x...>, list<y...>, sizeof...(x) == sizeof...(y)>
        : std::integral_constant<bool, (agrees<x, y> && ...)> {};
    template <class x, class y> struct all<x, y, false> : std::false_type {};
    static constexpr bool value = agrees<r, s> && all<list<a...>, list<b...>, sizeof...(a) == sizeof...(b)>::value;
};
"""


def without_comments(text):
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.S)


def constants(text):
    return re.findall(r"\b([A-Z][A-Z0-9_a-z]+) = (\d+)", text)


def structs(text):
    """(name, fields) of each struct and union that is written out."""
    for body, name in re.findall(r"typedef (?:struct|union) \w+ \{(.*?)\n\} (\w+);", text, flags=re.S):
        body = re.sub(r"struct \{.*?\}", "int", body, flags=re.S)
        fields = [re.sub(r"\[.*|\*", "", f).split()[-1] for line in body.split(";") for f in line.split(",") if f.strip()]
        yield name, fields


def functions(text, macro):
    """(symbol, arguments) of each line of the list."""
    lines = text.split(f"#define {macro}(X)")[1].replace("\\\n", " ").split("\n")[0]
    for one in re.split(r"\bX\(", lines)[1:]:
        names, arguments = re.match(r"([\w, ]+), *\((.*)\)\s*\)", one.strip()).groups()
        yield names.split(",")[-1].strip(), arguments


def checks(ours, macro, real):
    """The C++ that compares one header: theirs as it is, ours in a namespace."""
    text = without_comments((API / ours).read_text())
    result = next(r for r in ("CUresult", "nvrtcResult", "nvmlReturn_t", "cublasStatus_t") if f"typedef int {r};" in text)
    lines = [COMPARE, "namespace ours {", f'#include "{API / ours}"', "}", f"#include <{real}>"]
    for name, value in constants(text):
        lines.append(f'static_assert(static_cast<int>({name}) == {value}, "{name}");')
    for name, fields in structs(text):
        lines.append(f'static_assert(sizeof(ours::{name}) == sizeof({name}), "{name}");')
        for field in fields:
            lines.append(f'static_assert(offsetof(ours::{name}, {field}) == offsetof({name}, {field}), "{name}.{field}");')
    found = list(functions(text, macro))
    lines.append("namespace ours {")
    for symbol, arguments in found:
        lines.append(f"using type_of_{symbol} = {result}({arguments});")
    lines.append("}")
    for symbol, _ in found:
        lines.append(f'static_assert(same_call<ours::type_of_{symbol}, decltype({symbol})>::value, "{symbol}");')
    return "\n".join(lines) + "\n", len(constants(text)), found


def compiles(source, include):
    command = [os.environ.get("CXX", "c++"), "-std=c++17", "-fsyntax-only", "-w", "-I", str(include), "-x", "c++", "-"]
    return subprocess.run(command, input=source, text=True, capture_output=True)


def compare(ours, real, macro, library):
    """None: not there. Else whether it agrees."""
    root = next((r for r in ROOTS if (Path(r) / "include" / real).exists()), None)
    if not root:
        print(f"{ours}: skipped, no {real} in {', '.join(ROOTS)}")
        return None
    include = Path(root) / "include"
    source, n_constants, found = checks(ours, macro, real)
    run = compiles(source, include)
    if run.returncode != 0:
        print(f"{ours}:\n{run.stderr}")
        return False
    # A comparison that cannot fail is none: one wrong argument and one wrong constant must be seen.
    for wrong in (source.replace("== 0,", "== 1,", 1), re.sub(r"(using type_of_\w+ = \w+)\((.*)\);", r"\1(char);", source, 1)):
        if compiles(wrong, include).returncode == 0:
            print(f"{ours}: a planted difference is not seen")
            return False
    missing = missing_symbols([s for s, _ in found], root, library)
    if missing:
        print(f"{ours}: {library} has no {', '.join(missing)}")
    print(f"{ours}: {n_constants} constants, {len(found)} functions agree with {include / real}")
    return not missing


def missing_symbols(symbols, root, library):
    paths = [p for folder in ("lib64", "targets/x86_64-linux/lib") for p in glob.glob(f"{root}/{folder}/{library}")]
    if not paths:
        print(f"{library}: skipped, not in {root}")
        return []
    table = subprocess.run(["nm", "-D", "--defined-only", paths[0]], text=True, capture_output=True).stdout
    exported = {line.split()[-1].split("@")[0] for line in table.splitlines() if line}
    return [s for s in symbols if s not in exported]


def main():
    results = [compare(ours, *how) for ours, how in HEADERS.items()]
    if all(r is None for r in results):
        return 77
    return 1 if False in results else 0


if __name__ == "__main__":
    sys.exit(main())
