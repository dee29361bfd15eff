#!/usr/bin/env python3
"""The binary interface of nlm's headers, one line a fact: where each field of each public struct is and how it is
declared, the size of each struct, and the value of each constant.

usage: tests/abi/layout.py [--headers FOLDER]    print them (FOLDER holds nlm/; core/include if not given)
       tests/abi/layout.py --append              add what is new to tests/abi/layout.txt
       tests/abi/layout.py --restart             record today's headers anew, in layout.txt and in frozen/1.0: only
                                                 while ADR 0003 keeps 1.0 open, and with an entry there

What is on a line of layout.txt is promised to binaries that exist. A struct may grow, behind the size it had."""
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
RECORD = TOP / "tests/abi/layout.txt"
FROZEN = TOP / "tests/abi/frozen/1.0/include"
HEADERS = ("nlm/plugin.h", "nlm/nlm.h", "nlm/train.h")
# They say how far an interface has grown, and are meant to change.
MOVING = {"NLM_ABI_MINOR", "NLM_API_MINOR", "NLM_OP_END", "NLM_SANITIZER_BUILD", "NLM_ROWS_KINDS"}


def compiler():
    return shlex.split(os.environ.get("CC") or "cc") + ["-std=c11"]


def known(headers):
    """Those of the headers that the folder has: an older interface lacks some."""
    return [name for name in HEADERS if (Path(headers) / name).exists()]


def preprocess(headers, *flags):
    source = "".join(f"#include <{name}>\n" for name in known(headers))
    return subprocess.run(compiler() + ["-E", "-P", *flags, f"-I{headers}", "-"], input=source, text=True, check=True,
                          capture_output=True).stdout


def declarations(headers):
    """(struct, [(field, declaration)]) of each public struct, and the names of all constants."""
    text = preprocess(headers)
    structs = []
    for match in re.finditer(r"typedef struct (nlm_\w+) \{(.*?)\} \1;", text, re.S):
        fields = []
        for declaration in match[2].split(";"):
            declaration = re.sub(r"\s+", " ", declaration).strip()
            if declaration:
                name = re.search(r"\(\*(\w+)\)", declaration) or re.search(r"(\w+)(\[\w+\])*$", declaration)
                fields.append((name[1], declaration))
        structs.append((match[1], fields))
    constants = [name for body in re.findall(r"\benum \{(.*?)\}", text, re.S) for name in re.findall(r"\bNLM_\w+", body)]
    for name, value in re.findall(r"^#define (NLM_\w+) (.*)$", preprocess(headers, "-dM"), re.M):
        if re.fullmatch(r"\(?-?(0[xX])?[0-9a-fA-F]+[uUlL]*\)?", value.strip()):
            constants.append(name)
    return structs, sorted(set(constants) - MOVING)


def layout(headers):
    """The facts, in order."""
    structs, constants = declarations(headers)
    lines = [f'#include <{name}>' for name in known(headers)] + ['#include <stdio.h>', 'int main(void) {']
    for name, fields in structs:
        for field, declaration in fields:
            at = f"offsetof({name}, {field}), sizeof((({name} *)0)->{field})"
            lines.append(f'printf("%s.%s at %zu, %zu bytes: %s\\n", "{name}", "{field}", {at}, "{declaration}");')
        lines.append(f'printf("%s is %zu bytes\\n", "{name}", sizeof({name}));')
    lines += [f'printf("%s = %lld\\n", "{name}", (long long)({name}));' for name in constants]
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "probe.c", Path(folder) / "probe"
        source.write_text("\n".join(lines + ["return 0;", "}", ""]))
        subprocess.run(compiler() + [f"-I{headers}", source, "-o", program], check=True)
        return subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()


def parse(lines):
    """What each line promises: subject -> the whole line; and the recorded sizes of structs."""
    promises, sizes = {}, {}
    for line in lines:
        size = re.fullmatch(r"(nlm_\w+) is (\d+) bytes", line)
        if size:
            sizes[size[1]] = max(int(size[2]), sizes.get(size[1], 0))
        else:
            promises[re.split(r" at | = ", line)[0]] = line
    return promises, sizes


def compare(recorded, today):
    """What is wrong, as sentences, and the lines that are new."""
    old, old_sizes = parse(recorded)
    new, new_sizes = parse(today)
    wrong = [f"was '{line}', is {repr(new[subject]) if subject in new else 'gone'}"
             for subject, line in old.items() if new.get(subject) != line]
    wrong += [f"{name} was {size} bytes, is {new_sizes.get(name, 'gone')}"
              for name, size in old_sizes.items() if new_sizes.get(name, -1) < size]
    for subject, line in new.items():
        place = re.fullmatch(r"(nlm_\w+)\.\w+ at (\d+), .*", line)
        if subject not in old and place and int(place[2]) < old_sizes.get(place[1], 0):
            wrong.append(f"'{line}' is within the {old_sizes[place[1]]} bytes that {place[1]} had")
    return wrong, [line for line in today if line not in set(recorded)]


def main():
    if sys.argv[1:2] == ["--headers"] and len(sys.argv) == 3:
        print("\n".join(layout(Path(sys.argv[2]))))
    elif sys.argv[1:] == ["--append"]:
        recorded = RECORD.read_text().splitlines() if RECORD.exists() else []
        wrong, added = compare(recorded, layout(TOP / "core/include"))
        print("\n".join(wrong), end="\n" if wrong else "", file=sys.stderr)
        if wrong:
            return 1
        RECORD.write_text("".join(f"{line}\n" for line in recorded + added))
    elif sys.argv[1:] == ["--restart"]:
        RECORD.write_text("".join(f"{line}\n" for line in layout(TOP / "core/include")))
        shutil.rmtree(FROZEN / "nlm", ignore_errors=True)
        shutil.copytree(TOP / "core/include/nlm", FROZEN / "nlm")
    elif len(sys.argv) == 1:
        print("\n".join(layout(TOP / "core/include")))
    else:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
