"""nlm-plugins as a user runs it: the list for people and for programs, and what it exits with."""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

BIN = Path(os.environ["NLM_BIN"])
FIXTURES = Path(os.environ["NLM_BUILD"]) / "tests/fixtures"

ENTRIES = """
[[plugin]]
name = "probe_no_device"
library = "probe_no_device.so"
priority = 70

[[plugin]]
name = "good"
library = "good.so"
isolate = false

[[plugin]]
name = "fast"
library = "fast.so"
isa = []

[[plugin]]
name = "probe_crashes"
library = "probe_crashes.so"

[[plugin]]
name = "extra_export"
library = "extra_export.so"
"""


def run(*args, code=0, env=None, cwd=None, program=BIN / "nlm-plugins"):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("NLM_PLUGIN")}
    result = subprocess.run([program, *map(str, args)], capture_output=True, text=True, timeout=120, cwd=cwd,
                            env=clean | (env or {}))
    assert result.returncode == code, f"exit {result.returncode}, expected {code}\n{result.stdout}\n{result.stderr}"
    return result.stdout, result.stderr


class NlmPlugins(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name).resolve()
        self.registry = self.write(ENTRIES)
        cache = unittest.mock.patch.dict(os.environ, XDG_CACHE_HOME=str(self.folder / "cache"))
        cache.start()
        self.addCleanup(cache.stop)

    def write(self, text, name="plugins.toml"):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
        for library in ("good", "fast", "probe_no_device", "probe_crashes", "extra_export"):
            copy = path.parent / f"{library}.so"
            shutil.copyfile(FIXTURES / f"{library}.so", copy)
            copy.chmod(0o644)
        return path

    def listed(self, *args, **kwargs):
        out, err = run("--json", *args, **kwargs)
        self.assertEqual(err, "")
        return json.loads(out)["plugins"]

    def test_help_and_version(self):
        out, err = run("--help")
        for word in ("--json", "--registry", "Examples", "NLM_PLUGIN_REGISTRY", "ready", "skipped", "refused"):
            self.assertIn(word, out)
        self.assertEqual(err, "")
        self.assertRegex(run("--version")[0], r"^nlm-plugins \d+\.\d+\.\d+\n$")

    def test_installation_has_the_reference_backend(self):
        names = {entry["name"]: entry for entry in self.listed()}
        self.assertEqual(names["cpu_scalar"]["state"], "ready", names["cpu_scalar"])
        self.assertFalse(names["cpu_scalar"]["isolate"])
        self.assertTrue(names["cpu_scalar"]["devices"][0]["usable"])
        self.assertEqual(names["cpu_scalar"]["devices"][0]["kind"], "sliced")

    def test_json_tells_state_reason_score_and_devices(self):
        entries = self.listed("--registry", self.registry)
        self.assertEqual([entry["name"] for entry in entries],
                         ["fast", "good", "probe_no_device", "probe_crashes", "extra_export"])
        fast, good, no_device, crashes, extra = entries
        self.assertEqual((fast["state"], fast["score"], fast["isolate"]), ("ready", 50, True))
        self.assertEqual((good["score"], good["version"], good["isolate"]), (10, "1.2.3", False))
        self.assertEqual([device["device_id"] for device in good["devices"]], [0, 1])
        self.assertEqual(good["devices"][1]["name"], "fixture device")
        self.assertEqual(good["devices"][1]["memory_total_bytes"], 1 << 20)
        self.assertNotIn("reason", good)
        self.assertEqual((no_device["state"], no_device["reason"]), ("skipped", "no such card in this machine"))
        self.assertEqual((crashes["state"], extra["state"]), ("refused", "refused"))
        self.assertIn("SIGSEGV", crashes["reason"])
        self.assertIn("nlm_fixture_stray", extra["reason"])
        self.assertEqual(good["library"], str(self.folder / "good.so"))
        self.assertEqual(good["registry"], f"{self.registry}:7")

    def test_table_is_aligned_and_gives_reasons(self):
        out, err = run("--registry", self.registry)
        self.assertEqual(err, "")
        lines = out.splitlines()
        rows = [line for line in lines if not line.startswith(" ")]
        state = rows[0].index("STATE")
        self.assertEqual([row[:state].strip() for row in rows[1:]],
                         ["fast", "good", "probe_no_device", "probe_crashes", "extra_export"])
        self.assertEqual([row[state:].split()[0] for row in rows[1:]],
                         ["ready", "ready", "skipped", "refused", "refused"])
        self.assertEqual(len({len(row) for row in rows}), 1, rows)
        self.assertIn("    reason    no such card in this machine", lines)
        self.assertIn("    device 1  fixture device [any], sliced, 1 MiB", lines)

    def test_a_directory_with_its_own_registry_is_not_looked_into(self):
        self.write(ENTRIES, "nlm/plugins.toml")
        names = [entry["name"] for entry in self.listed(cwd=self.folder)]
        self.assertIn("cpu_scalar", names)
        self.assertNotIn("good", names)

    def test_argv0_does_not_move_the_default(self):
        """The program's name is its caller's choice; a plugin planted beside that name is not loaded."""
        self.write(ENTRIES, "nlm/plugins.toml")
        out = subprocess.run([str(self.folder / "nlm-plugins"), "--json"], executable=BIN / "nlm-plugins",
                             capture_output=True, text=True, check=True).stdout
        self.assertNotIn("good", [entry["name"] for entry in json.loads(out)["plugins"]])

    def test_environment_names_registries(self):
        names = [entry["name"] for entry in self.listed(env={"NLM_PLUGIN_REGISTRY": str(self.registry)})]
        self.assertNotIn("cpu_scalar", names)
        names = [entry["name"] for entry in self.listed(env={"NLM_PLUGIN_REGISTRY_ADD": str(self.registry)})]
        self.assertLessEqual({"cpu_scalar", "good"}, set(names))
        _, err = run(code=2, env={"NLM_PLUGIN_REGISTRY": "plugins.toml"}, cwd=self.folder)
        self.assertIn("NLM_PLUGIN_REGISTRY: 'plugins.toml' is not an absolute path", err)

    def test_a_set_uid_program_ignores_the_environment(self):
        if os.geteuid() != 0:
            self.skipTest("only root can make a program set-uid to another user")
        self.folder.chmod(0o755)
        program = self.folder / "nlm-plugins"
        shutil.copyfile(BIN / "nlm-plugins", program)
        env = {"NLM_PLUGIN_REGISTRY": str(self.registry)}
        program.chmod(0o755)
        self.assertIn("good", run("--json", env=env, program=program)[0])
        os.chown(program, 65534, 65534)
        program.chmod(0o4755)
        whoami = self.folder / "id"
        shutil.copyfile(shutil.which("id"), whoami)
        os.chown(whoami, 65534, 65534)
        whoami.chmod(0o4755)
        if subprocess.run([whoami, "-u"], capture_output=True, text=True).stdout.strip() != "65534":
            self.skipTest("this file system does not take set-uid")
        result = subprocess.run([program, "--json"], env=env, capture_output=True, text=True)
        self.assertNotIn(str(self.registry), result.stdout + result.stderr)

        if os.environ.get("NLM_SANITIZE"):
            self.skipTest("a sanitizer's runtime does not work in a set-uid program")
        # Nor does it believe or keep verdicts where the environment says; the same program does for its user.
        cache = self.folder / "user-cache"
        cache.mkdir(mode=0o700)
        os.chown(cache, 65534, 65534)
        env = {"XDG_CACHE_HOME": str(cache), "HOME": str(cache)}
        (self.folder / "nlm").mkdir(mode=0o755)
        shutil.copy(BIN.parent / "lib/nlm/nlm-vet", self.folder / "nlm/nlm-vet")
        entry = '[[plugin]]\nname = "fast"\nlibrary = "fast.so"\nisolate = true\n'
        command = [program, "--json", "--registry", self.write(entry, "isolated.toml")]
        listed = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
        self.assertEqual(json.loads(listed)["plugins"][0]["state"], "ready", listed)
        self.assertEqual(list(cache.iterdir()), [])
        subprocess.run(command, env=env, capture_output=True, check=True, user=65534)
        self.assertEqual(list(cache.rglob("plugin-*")), [cache / "nlm/plugin-verdicts"])

    def test_sha256_of_an_entry_is_checked(self):
        digest = hashlib.sha256((self.folder / "good.so").read_bytes()).hexdigest()
        entry = '[[plugin]]\nname = "good"\nlibrary = "good.so"\nsha256 = "%s"\n'
        self.assertEqual(self.listed("--registry", self.write(entry % digest))[0]["state"], "ready")
        wrong = self.listed("--registry", self.write(entry % ("0" * 64)))[0]
        self.assertEqual(wrong["state"], "refused")
        self.assertIn(f"its sha256 is {digest}; its registry entry says 000", wrong["reason"])

    def test_a_library_that_others_can_write_is_refused(self):
        (self.folder / "good.so").chmod(0o664)
        good = next(entry for entry in self.listed("--registry", self.registry) if entry["name"] == "good")
        self.assertEqual(good["state"], "refused")
        self.assertIn("can be written by its group (mode 664)", good["reason"])

    def test_text_of_a_registry_cannot_move_the_cursor(self):
        out, _ = run("--registry", self.write('[[plugin]]\nname = "\\u001b[2Jx"\nlibrary = "a\\nb"\n'))
        self.assertNotIn("\x1b", out)
        self.assertIn("\\x1b[2Jx", out)

    def test_wrong_use_and_wrong_registries(self):
        for args, code, text in [
            (["--jsno"], 2, "did you mean '--json'?"),
            (["extra"], 2, "unexpected argument 'extra'"),
            (["--registry"], 2, "needs a value"),
            (["--registry", self.folder / "none.toml"], 1, "none.toml: cannot open the plugin registry: No such file"),
            (["--registry", self.write("[[plugin]]\nname = \n", "bad.toml")], 2, "bad.toml:2:8"),
            (["--registry", self.write("[[plugins]]\n", "key.toml")], 2, "key.toml:1:3: plugins: unknown key"),
        ]:
            with self.subTest(args=args):
                out, err = run(*args, code=code)
                self.assertEqual(out, "")
                self.assertIn(text, err)

    def test_lost_output_is_a_failure(self):
        if not Path("/dev/full").exists():
            self.skipTest("there is no /dev/full")
        with open("/dev/full", "w") as full:
            code = subprocess.run([BIN / "nlm-plugins"], stdout=full, stderr=subprocess.DEVNULL).returncode
        self.assertEqual(code, 1)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
