"""The host's own rules on plugins (docs/abi-rules.md, H1 and on): each bad plugin in a process of its own with a
time limit, refused in the state and with the words that are expected, and a good one beside it that still loads."""
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

BIN = Path(os.environ["NLM_BIN"])
FIXTURES = Path(os.environ["NLM_BUILD"]) / "tests/fixtures"
RULES = (Path(os.environ["NLM_SOURCE"]) / "docs/abi-rules.md").read_text()
TIME_LIMIT_S = 60  # of one case; vetting stops a plugin after 5

# (rule, fixture, state, words of the reason)
PLUGINS = [
    ("H1", "extra_export", "refused", "exports more than nlm_plugin_query_v1: nlm_fixture_stray"),
    ("H1", "no_export", "refused", "does not export nlm_plugin_query_v1"),
    ("H1", "symbol_in_dependency", "refused", "does not export nlm_plugin_query_v1"),
    ("H2", "wrong_major", "refused", "exports nlm_plugin_query_v2 and not nlm_plugin_query_v1"),
    ("H4", "missing_dependency", "refused", "libnlm_fixture_dependency.so: cannot open shared object file"),
    ("H4", "unresolved_symbol", "refused", "undefined symbol: nlm_fixture_defined_nowhere"),
    ("H4", "relative_search_path", "refused", "has the relative entry 'elsewhere'"),
    ("H5", "newer_minor", "ready", ""),
    ("H5", "host_too_old", "refused", "needs a host of plugin.h 1.7 or later; this one has 1.0"),
    ("H5", "minor_inconsistent", "refused", "newer than the 1.3 it says it was written to"),
    ("H5", "query_null", "refused", "cannot work with a host of plugin.h 1.0"),
    ("H6", "size_zero", "refused", "descriptor says it has 0 bytes; expected 72"),
    ("H6", "size_small", "refused", "descriptor says it has 64 bytes"),
    ("H6", "size_garbage", "refused", "descriptor says it has 4294967295 bytes"),
    ("H6", "guarded_exact", "ready", ""),
    ("H6", "guarded_oversized", "ready", ""),
    ("H6", "guarded_truncated", "refused", "descriptor says it has 4 bytes"),
    ("H7", "no_probe", "refused", "lacks the function probe"),
    ("H7", "no_open", "refused", "lacks the function open"),
    ("H7", "no_close", "refused", "lacks the function close"),
    ("H8", "name_missing", "refused", "has no name"),
    ("H8", "name_invalid", "refused", "calls itself 'Bad-Name'"),
    ("H8", "name_other", "refused", "calls itself 'someone_else'; its registry entry says 'name_other'"),
    ("H9", "sanitizer_mismatch", "skipped", "is built with the memory sanitizer"),
    ("H9", "imports_sanitizer", "skipped", "is built with a sanitizer that this host is not built with"),
    ("H10", "load_crashes", "refused", "ended its process with SIGILL while being loaded"),
    ("H10", "probe_crashes", "refused", "ended its process with SIGSEGV while in its probe"),
    ("H10", "probe_aborts", "refused", "ended its process with SIGABRT while in its probe"),
    ("H10", "probe_exits", "refused", "ended its process with exit status 3 while in its probe"),
    ("H10", "probe_loops", "refused", "took longer than 5000 ms: it was stopped while in its probe"),
    ("H11", "probe_leaves_thread", "refused", "leaves 1 thread running"),
    ("H11", "probe_leaves_descriptor", "refused", "open (/proc/"),
    ("H11", "probe_leaves_process", "refused", "leaves 1 process running"),
    ("H12", "probe_changes_fp_mode", "refused", "changes the floating-point mode"),
    ("H12", "probe_changes_locale", "refused", "changes the locale"),
    ("H12", "probe_changes_directory", "refused", "changes the working directory"),
    ("H12", "probe_changes_handler", "refused", "changes a signal handler"),
    ("H12", "probe_changes_mask", "refused", "changes the signal mask"),
    ("H13", "probe_prints", "refused", "prints to standard output"),
    ("H14", "probe_fails", "refused", "probe failed with status 7"),
    ("H14", "probe_no_device", "skipped", "no such card in this machine"),
    ("H14", "probe_too_many", "refused", "found 4294967295 devices"),
]

# (rule, fixture, ordinal, words of the reason why this device does not open)
DEVICES = [
    ("H6", "guarded_truncated_device", 0, "table says it has 4 bytes"),
    ("H6", "guarded_truncated_ops", 0, "table of ops says it has 4 bytes"),
    ("H7", "devices", 4, "it has no table of ops"),
    ("H7", "devices", 7, "lacks the function describe"),
    ("H7", "devices", 8, "lacks the function query"),
    ("H7", "devices", 13, "a sliced device must have NLM_DEVICE_HOST_MEMORY"),
    ("H7", "devices", 14, "lacks the function stream_create"),
    ("H7", "devices", 15, "lacks the function pack_size"),
    ("H14", "devices", 9, "no answer from the card"),
]


class HostRules(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name).resolve()
        self.folder.chmod(0o755)
        self.put("good")

    def put(self, name, data=None):
        path = self.folder / f"{name}.so"
        path.write_bytes((FIXTURES / f"{name}.so").read_bytes() if data is None else data)
        path.chmod(0o644)
        return path

    def listing(self, entries, cwd=None, env=None, tool=BIN / "nlm-plugins"):
        registry = self.folder / "plugins.toml"
        registry.write_text("".join(f'[[plugin]]\nname = "{name}"\nlibrary = "{library}"\n{lines}\n'
                                    for name, library, lines in entries))
        registry.chmod(0o644)
        result = subprocess.run([tool, "--json", "--registry", registry], capture_output=True, text=True,
                                timeout=TIME_LIMIT_S, cwd=cwd,
                                env=os.environ | {"XDG_CACHE_HOME": str(self.folder / "cache"),
                                                  "NLM_TEST_WITNESS": str(self.folder / "witness")} | (env or {}))
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)["plugins"]

    def examine(self, name, library=None, lines="", **how):
        """The listing of an entry before that of `good`, which must be ready."""
        found = self.listing([(name, library or f"{name}.so", lines), ("good", "good.so", "")], **how)
        self.assertEqual([entry["state"] for entry in found if entry["name"] == "good"], ["ready"])
        return next(entry for entry in found if entry["name"] != "good")

    def expect(self, entry, state, words):
        self.assertEqual(entry["state"], state, entry)
        self.assertIn(words, entry.get("reason", ""))

    def test_every_bad_plugin_is_refused_with_its_reason(self):
        for rule, name, state, words in PLUGINS:
            with self.subTest(rule=rule, plugin=name):
                self.put(name)
                entry = self.examine(name)
                self.expect(entry, state, words)
                for device in entry.get("devices", []) if name.startswith("guarded") else []:
                    self.assertTrue(device["usable"], device)

    def test_every_bad_device_is_refused_with_its_reason(self):
        for rule, name, ordinal, words in DEVICES:
            with self.subTest(rule=rule, plugin=name, ordinal=ordinal):
                self.put(name)
                device = self.examine(name)["devices"][ordinal]
                self.assertFalse(device["usable"])
                self.assertIn(words, device["reason"])

    def test_h3_files_that_are_no_library_of_this_machine(self):
        good = (FIXTURES / "good.so").read_bytes()
        machine = b"\xf3\x00"  # EM_RISCV
        for name, data, words in [
            ("text", b"INPUT(-lm)\n", "not an ELF file"),
            ("empty", b"", "not an ELF file"),
            ("half", good[: len(good) // 2], "truncated or damaged"),
            ("header", good[:40], "truncated or damaged"),
            ("class", good[:4] + b"\x01" + good[5:], "class 32-bit; expected 64-bit"),
            ("machine", good[:18] + machine + good[20:], "built for riscv"),
            ("program", good[:16] + b"\x02\x00" + good[18:], "an executable"),
        ]:
            with self.subTest(file=name):
                self.put(name, data)
                self.expect(self.examine(name), "refused", words)
        (self.folder / "directory.so").mkdir()
        os.mkfifo(self.folder / "fifo.so", 0o644)
        self.expect(self.examine("directory"), "refused", "is a directory; expected a regular file")
        self.expect(self.examine("fifo"), "refused", "is a FIFO; expected a regular file")
        self.expect(self.examine("absent"), "refused", "No such file or directory")

    def vet_with(self, program=None, mode=0o755):
        """The listing of `good`, isolated, by a nlm-plugins that finds this program as its nlm-vet, or none."""
        tool = self.folder / "nlm-plugins"
        shutil.copyfile(BIN / "nlm-plugins", tool)
        tool.chmod(0o755)
        if program is not None:
            (self.folder / "nlm").mkdir(exist_ok=True)
            (self.folder / "nlm/nlm-vet").write_bytes(program)
            (self.folder / "nlm/nlm-vet").chmod(mode)
        return self.listing([("good", "good.so", "isolate = true")], tool=tool)[0]

    def test_h21_nothing_is_loaded_unvetted_where_vetting_fails(self):
        real = (BIN.parent / "lib/nlm/nlm-vet").read_bytes()
        self.expect(self.vet_with(), "refused", "nlm-vet, which belongs beside nlm's own plugins, is missing")
        for program, mode, words in [
            (b"#!/bin/sh\necho of another kind\n", 0o755, "nlm/nlm-vet gave no answer: of another kind"),
            (b"#!/bin/sh\nkill -9 $$\n", 0o755, "nlm/nlm-vet gave no answer"),
            (real, 0o644, "nlm/nlm-vet: Permission denied"),
            (real, 0o757, "nlm/nlm-vet can be written by everybody"),
        ]:
            with self.subTest(words=words):
                self.expect(self.vet_with(program, mode), "refused", words)
        self.expect(self.vet_with(real), "ready", "")

    def test_h8_the_first_of_a_name_wins(self):
        found = self.listing([("good", "good.so", ""), ("good", self.put("fast"), "priority = 9")])
        self.assertEqual([entry["state"] for entry in found], ["ready", "refused"])
        self.assertIn("the name 'good' is taken by", found[1]["reason"])

    def test_h15_no_instruction_runs_of_a_plugin_for_another_cpu(self):
        is_x86 = platform.machine() == "x86_64"
        self.put("witness")
        for lines, words in [
            (f'isa = ["{"sve" if is_x86 else "avx2"}"]', "which this CPU or its operating system"),
            (f'arch = "{"aarch64" if is_x86 else "x86_64"}"', "this machine is"),
        ]:
            trace = self.folder / "trace"
            self.expect(self.examine("witness", lines=lines, env={"NLM_TEST_WITNESS": str(trace)}), "skipped", words)
            self.assertFalse(trace.exists())
        self.examine("witness", env={"NLM_TEST_WITNESS": str(trace)})
        self.assertTrue(trace.exists())  # it would have been seen

    def test_h16_the_current_directory_is_never_searched(self):
        elsewhere = self.folder / "cwd"
        elsewhere.mkdir()
        for name in "planted.so", "libnlm_fixture_dependency.so":
            (elsewhere / name).write_bytes((FIXTURES / "good.so").read_bytes())
        self.expect(self.examine("planted", cwd=elsewhere), "refused", "No such file or directory")
        self.put("missing_dependency")
        self.expect(self.examine("missing_dependency", cwd=elsewhere), "refused", "cannot open shared object file")

    def test_h17_only_root_and_the_user_can_have_written_it(self):
        self.put("fast").chmod(0o664)
        self.expect(self.examine("fast"), "refused", "can be written by its group (mode 664)")
        folder = self.folder / "open"
        folder.mkdir()
        (folder / "fast.so").write_bytes((FIXTURES / "fast.so").read_bytes())
        folder.chmod(0o777)
        self.expect(self.examine("fast", library="open/fast.so"), "refused", "/open can be written by everybody")
        (self.folder / "link.so").symlink_to(folder / "fast.so")
        self.expect(self.examine("fast", library="link.so"), "refused", "/open can be written by everybody")
        self.expect(self.examine("fast", library="cwd/../open/fast.so"), "refused", "cannot be found")
        folder.chmod(0o755)
        (folder / "fast.so").chmod(0o644)
        self.expect(self.examine("fast", library="link.so"), "ready", "")

    def test_h18_sha256_of_the_entry(self):
        digest = hashlib.sha256(self.put("fast").read_bytes()).hexdigest()
        for value, state, words in [
            (digest, "ready", ""),
            (digest.upper(), "ready", ""),
            (digest[:-1] + ("0" if digest[-1] != "0" else "1"), "refused", f"its sha256 is {digest}; its registry entry says"),
            (digest[:-1], "refused", "sha256 is not 64 hexadecimal digits"),
            (digest + "0", "refused", "sha256 is not 64 hexadecimal digits"),
            ("g" + digest[1:], "refused", "sha256 is not 64 hexadecimal digits"),
            ("", "refused", "sha256 is not 64 hexadecimal digits"),
        ]:
            with self.subTest(value=value):
                self.expect(self.examine("fast", lines=f'sha256 = "{value}"'), state, words)

    def test_every_rule_is_documented_and_every_documented_rule_has_a_case(self):
        report = subprocess.run([BIN / "nlm-conform", "--library", FIXTURES / "good.so", "--level", "0", "--json"],
                                capture_output=True, text=True, check=True).stdout
        names = [case["name"] for case in json.loads(report)["cases"]]
        self.assertEqual(re.findall(r"^\| \d+ \|.*`(abi/\w+)` \|$", RULES, re.M), names)
        documented = re.findall(r"^\| (H\d+) \|", RULES, re.M)
        tested = {rule for rule, *_ in PLUGINS + DEVICES} | {name.split("_")[1].upper() for name in dir(self)
                                                             if name.startswith("test_h")}
        self.assertEqual(set(documented) - {"H19", "H20"}, tested)  # those have programs of their own


if __name__ == "__main__":
    unittest.main()
