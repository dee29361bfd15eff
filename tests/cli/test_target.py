"""Targets that nlm cannot be built for are refused by name when it is configured."""
import os
import subprocess
import unittest
from pathlib import Path

RULE = Path(os.environ["NLM_SOURCE"]) / "cmake/target.cmake"


def configure(processor, pointer_bytes, byte_order):
    return subprocess.run(["cmake", f"-DCMAKE_SYSTEM_PROCESSOR={processor}", f"-DCMAKE_SIZEOF_VOID_P={pointer_bytes}",
                           f"-DCMAKE_C_BYTE_ORDER={byte_order}", "-P", RULE], capture_output=True, text=True, timeout=60)


class Target(unittest.TestCase):
    def test_32_bits_and_big_endian_are_refused_by_name(self):
        for target, reason in ((("armv7l", 4, "LITTLE_ENDIAN"), "needs a 64-bit target; armv7l here has 32 bits"),
                               (("s390x", 8, "BIG_ENDIAN"), "needs a little-endian target; s390x here is big-endian"),
                               (("aarch64", 8, "BIG_ENDIAN"), "needs a little-endian target; aarch64 here")):
            done = configure(*target)
            self.assertNotEqual(done.returncode, 0, target)
            self.assertIn(reason, done.stderr)

    def test_what_is_supported_passes(self):
        for processor in ("x86_64", "aarch64"):
            done = configure(processor, 8, "LITTLE_ENDIAN")
            self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
