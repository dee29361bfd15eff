"""tools/check_layout finds what it is there to find, and nothing in the tree as it is."""
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(os.environ["NLM_SOURCE"])

# (file, text appended to it or, for a new file, its contents; what must be reported)
CASES = [
    ("backends/cpu_scalar/ops/no_such_op.c", "int x;\n", "'no_such_op' is no op of ops.def"),
    ("core/base/clock.c", '#include "graph/graph.h"\n', "core/base includes 'graph/graph.h'"),
    ("core/base/clock.c", '#include "cpu_scalar/scalar.h"\n', "core includes the backend 'cpu_scalar/scalar.h'"),
    ("core/base/clock.c", '#include "clock.h"\n', 'give the room, "base/clock.h"'),
    ("backends/cpu_scalar/ops/add.c", '#include "base/str.h"\n', "'base/str.h' is neither of backends/cpu_scalar"),
    ("backends/cpu_scalar/ops/add.c", "#include <base/str.h>\n", "a backend includes <base/str.h>"),
    ("core/include/nlm/tensor.h", "#include <stdio.h>\n", "a public header includes <stdio.h>"),
    ("core/include/nlm/tensor.h", "typedef unknown_type nlm_x;\n", "does not compile alone as C11"),
    ("core/include/nlm/tensor.h", "typedef int new;\n", "does not compile alone as C++17"),
    ("core/base/clock.c", "static int f(\n    void) {\n" + "    f();\n" * 98 + "}\n", "f has 101 lines, at most 100"),
    ("core/base/long.c", "\n" * 501, "core/base/long.c: 501 lines, at most 500"),
    ("core/base/clock.c", "void f(void) {\n    abort();\n}\n", "calls abort"),
    ("core/base/clock.c", "void f(char *a) {\n    strcpy (a, \"\");\n}\n", "calls strcpy"),
    ("core/base/clock.h", "typedef struct time { int x; } time;\n", "the type 'time' of a header has no nlm_"),
    ("backends/cpu/fail.h", "typedef int (*call)(int);\n", "the type 'call' of a header has no nlm_"),
    ("core/base/clock.c", "int tick(void) {\n    return 0;\n}\n", "tick is neither static nor begins with nlm_"),
    ("core/base/new.c", "#include <stdio.h>\n", "core/base/new.c:1: does not open with a comment"),
    ("core/attic/new.c", "int x;\n", "core/attic is no room"),
]

HARMLESS = "/* abort() and exit() are banned */\nstatic const char text[] = \"abort()\";\n_Static_assert(1, \"\");\n"


def check(tree):
    run = subprocess.run([sys.executable, tree / "tools/check_layout"], capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr


def main():
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in ("core", "backends", "tools"):
            shutil.copytree(SOURCE / name, tree / name)
        clock = tree / "core/base/clock.c"
        original = clock.read_text()
        clock.write_text(original + HARMLESS)
        code, output = check(tree)
        assert code == 0, output
        clock.write_text(original)
        for name, addition, expected in CASES:
            path = tree / name
            before = path.read_text() if path.exists() else None
            path.parent.mkdir(exist_ok=True)
            path.write_text((before or "") + addition)
            code, output = check(tree)
            assert code == 1 and expected in output, f"{name}: expected \"{expected}\", got {code}: {output}"
            path.unlink() if before is None else path.write_text(before)
    print(f"{len(CASES)} cases")


main()
