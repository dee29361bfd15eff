"""The backends in tests/abi/examples and examples/example_stream, built as a third party builds them: against a fresh installation, certified by
nlm-conform, and driving models whose other ops fall back to cpu_scalar, with its logits."""
import array
import ast
import os
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

if os.environ.get("NLM_SANITIZE"):
    print("skipped: plugins made outside the build do not carry the sanitizers")
    sys.exit(77)

SOURCE, BUILD = Path(os.environ["NLM_SOURCE"]), Path(os.environ["NLM_BUILD"])
EXAMPLES = SOURCE / "tests/abi/examples"
MODELS = SOURCE / "tests/data/models"
TOKENS = " ".join(str(1 + i * 37 % 31) for i in range(40))

REGISTRY = """[[plugin]]
name = "{name}"
library = "{library}"
priority = 1
[[plugin]]
name = "cpu_scalar"
library = "{scalar}"
"""


def run(*command, code=0, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, timeout=300, **options)
    assert done.returncode == code, (command, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    return done


def read_npy(path):
    data = Path(path).read_bytes()
    (length,) = struct.unpack_from("<H", data, 8)
    header = ast.literal_eval(data[10 : 10 + length].decode())
    assert data[:8] == b"\x93NUMPY\x01\x00" and header["descr"] == "<f4" and not header["fortran_order"], header
    values = array.array("f")
    values.frombytes(data[10 + length :])
    return values


class ExampleBackends(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(dir=BUILD, prefix="test-examples-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        cls.prefix = cls.folder / "prefix"
        run("cmake", "--install", BUILD, "--prefix", cls.prefix)
        cached = subprocess.run([SOURCE / "tools/fetch-model", "--cached", "smollm2"], capture_output=True, text=True)
        cls.smollm2 = Path(cached.stdout.strip()) if cached.returncode == 0 else None

    def build(self, name, source):
        build = self.folder / name
        run("cmake", "-S", source, "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}",
            env=os.environ | {"CFLAGS": "-Werror", "CXXFLAGS": "-Werror"})
        run("cmake", "--build", build)
        return build / f"{name}.so"

    def environment(self, name, library):
        scalar = next(self.prefix.rglob("cpu_scalar.so"))
        registry = self.folder / f"{name}.toml"
        registry.write_text(REGISTRY.format(name=name, library=library, scalar=scalar))
        return os.environ | {"NLM_PLUGIN_REGISTRY": str(registry), "XDG_CACHE_HOME": str(self.folder / "cache")}

    def logits(self, backend, model, environment):
        out = self.folder / "logits.npy"
        run(self.prefix / "bin/nlm-eval", "--backend", backend, "--model", model, "--tokens", "-", "--logits", out,
            "--kv-type", "f32", input=TOKENS.encode(), env=environment)
        return read_npy(out)

    def check_logits(self, name, model, environment):
        expected = self.logits("cpu_scalar", model, environment)
        actual = self.logits(name, model, environment)
        error = sum((a - e) ** 2 for a, e in zip(actual, expected, strict=True))
        self.assertLess(error / sum(e * e for e in expected), 1e-9, model)
        self.assertTrue(any(actual), model)

    def check(self, name, ops, source=None):
        library = self.build(name, source or EXAMPLES / name)
        environment = self.environment(name, library)
        report = run(self.prefix / "bin/nlm-conform", "--library", library, "--level", "1", env=environment).stdout
        self.assertIn(b"level 0, the rules of the ABI: passed\n", report)
        for op in ops:
            self.assertRegex(report, rb"(?m)^%s +\d\d+ +0 +0 " % op.encode())
        for model in ("llama-gqa-f32", "llama-mixed", "mamba-f32", "mamba-mixed"):
            with self.subTest(model=model):
                self.check_logits(name, MODELS / f"{model}.gguf", environment)
        done = run(self.prefix / "bin/nlm-run", "--backend", name, "-m", MODELS / "mamba-f32.gguf", "-p", "rain", "-n", 8,
                   env=environment)
        self.assertIn(f"not on {name}: ssm_scan: ".encode(), done.stderr.replace(b"\n", b" "))
        for op in ops:
            self.assertNotIn(f"not on {name}: {op}: ".encode(), done.stderr)
        if self.smollm2:
            self.check_logits(name, self.smollm2, environment)
        else:
            print("SmolLM2 is not here (tools/fetch-model smollm2); checked with the fixtures alone", file=sys.stderr)

    def test_blas(self):
        source = EXAMPLES / "example_blas/example_blas.c"
        self.assertLess(source.read_text().count("\n"), 150)
        if not list(Path("/usr/include").glob("*/openblas-serial/cblas.h")):
            self.skipTest("no libopenblas-serial-dev is installed")
        self.check("example_blas", ["matmul"])

    def test_cpp(self):
        self.check("example_cpp", ["matmul", "rms_norm"])

    def test_stream(self):
        installed = self.prefix / "share/doc/nlm/examples/example_stream"
        self.check("example_stream", ["embed", "matmul", "rms_norm", "silu_mul", "add"], installed)


if __name__ == "__main__":
    unittest.main()
