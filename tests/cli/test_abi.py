"""The binary interface: what tests/abi/layout.txt promises holds of today's headers, and a plugin compiled from frozen
headers runs on today's host."""
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SOURCE, BUILD, BIN = Path(os.environ["NLM_SOURCE"]), Path(os.environ["NLM_BUILD"]), Path(os.environ["NLM_BIN"])
FROZEN = SOURCE / "tests/abi/frozen"
sys.path.insert(0, str(SOURCE / "tests/abi"))
import layout  # noqa: E402

RECORDED = ["nlm_a.x at 0, 4 bytes: uint32_t x", "nlm_a is 8 bytes", "NLM_B = 1"]


class Layout(unittest.TestCase):
    def test_old_lines_hold_and_new_ones_are_recorded(self):
        recorded = layout.RECORD.read_text().splitlines()
        self.assertGreater(len(recorded), 400)
        wrong, added = layout.compare(recorded, layout.layout(SOURCE / "core/include"))
        self.assertEqual(wrong, [], "binaries that exist would break; see docs/adr")
        self.assertEqual(added, [], "new in the headers: tests/abi/layout.py --append records it")

    def test_every_line_of_the_frozen_headers_is_recorded(self):
        recorded = set(layout.RECORD.read_text().splitlines())
        for headers in sorted(FROZEN.glob("*/include")):
            self.assertEqual([line for line in layout.layout(headers) if line not in recorded], [], headers)

    def test_changes_are_told_from_growth(self):
        for today, words in [
            (["nlm_a.x at 4, 4 bytes: uint32_t x", "nlm_a is 8 bytes", "NLM_B = 1"], "was 'nlm_a.x at 0"),
            (["nlm_a.x at 0, 4 bytes: int32_t x", "nlm_a is 8 bytes", "NLM_B = 1"], "was 'nlm_a.x at 0"),
            (["nlm_a is 8 bytes", "NLM_B = 1"], "is gone"),
            (["nlm_a.x at 0, 4 bytes: uint32_t x", "nlm_a is 4 bytes", "NLM_B = 1"], "was 8 bytes, is 4"),
            (["nlm_a.x at 0, 4 bytes: uint32_t x", "nlm_a is 8 bytes", "NLM_B = 2"], "was 'NLM_B = 1'"),
            (RECORDED + ["nlm_a.y at 4, 4 bytes: uint32_t y"], "is within the 8 bytes"),
        ]:
            wrong, _ = layout.compare(RECORDED, today)
            self.assertEqual(len(wrong), 1, today)
            self.assertIn(words, wrong[0])
        grown = RECORDED[:1] + ["nlm_a.y at 8, 4 bytes: uint32_t y", "nlm_a is 12 bytes", "NLM_B = 1", "NLM_C = 2"]
        self.assertEqual(layout.compare(RECORDED, grown),
                         ([], ["nlm_a.y at 8, 4 bytes: uint32_t y", "nlm_a is 12 bytes", "NLM_C = 2"]))


@unittest.skipIf(os.environ.get("NLM_SANITIZE"), "plugins made outside the build do not carry the sanitizers")
class Frozen(unittest.TestCase):
    def test_plugins_of_every_frozen_version_run_on_todays_host(self):
        versions = sorted(FROZEN.glob("*/frozen.c"))
        self.assertTrue(versions)
        for source in versions:
            with self.subTest(source.parent.name), tempfile.TemporaryDirectory(dir=BUILD) as folder:
                library = Path(folder) / "frozen.so"
                subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror",
                                "-shared", "-fPIC", "-fvisibility=hidden", f"-I{source.parent / 'include'}", source,
                                f"-Wl,--version-script={SOURCE / 'backends/plugin.map'}", "-o", library], check=True)
                done = subprocess.run([BIN / "nlm-conform", "--library", library, "--level", "1"], capture_output=True,
                                      text=True, timeout=300)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                self.assertIn("level 0, the rules of the ABI: passed", done.stdout)
                # It knows no type that came later, and says so.
                self.assertRegex(done.stdout, r"(?m)^matmul +\d\d+ +0 +(0 |\d+ .* not: w: unknown type \d+$)")


if __name__ == "__main__":
    unittest.main()
