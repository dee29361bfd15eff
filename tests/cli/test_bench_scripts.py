"""The scripts that make figures: their JSON, and their pictures where gnuplot is installed."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

BIN = Path(os.environ["NLM_BIN"])
TOOLS = Path(os.environ["NLM_SOURCE"]) / "tools"
GNUPLOT = shutil.which("gnuplot")

TINY = ("--bin", BIN, "--threads", 1, "--repeat", 1, "--probe-mb", 2)


def run(script, *arguments, code=0, path=None):
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | ({"PATH": path} if path else {})
    done = subprocess.run([sys.executable, TOOLS / script, *map(str, arguments)], capture_output=True, text=True,
                          timeout=300, env=environment)
    assert done.returncode == code, (script, arguments, done)
    return done


class Scripts(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def check_figures(self, *names):
        """Pictures of the size asked for."""
        for name in names:
            png = (self.folder / f"{name}.png").read_bytes()
            self.assertEqual(png[:8], b"\x89PNG\r\n\x1a\n")
            self.assertEqual([int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")], [960, 600])
            svg = ElementTree.parse(self.folder / f"{name}.svg").getroot()
            self.assertTrue(svg.tag.endswith("svg"))

    def test_each_script_writes_its_table(self):
        for script, extra, unit, labels in (
                ("bench-throughput", ("--presets", "small,default", "--tokens", 4), "tokens/s", ["small", "default"]),
                ("bench-latency", ("--preset", "small", "--tokens", "2,5"), "ms", ["2 tokens", "5 tokens"]),
                ("bench-memory", ("--presets", "small", "--tokens", 4), "MB", ["small"])):
            run(script, *TINY, *extra, "--no-plot", "-o", self.folder)
            figure = json.loads((self.folder / f"{script[6:]}.json").read_text())
            self.assertEqual((figure["figure"], figure["unit"], figure["series"]), (script[6:], unit, ["nlm", "published"]))
            self.assertEqual([row["label"] for row in figure["rows"]], labels)
            for row, result in zip(figure["rows"], figure["results"]):
                self.assertGreater(row["values"][0], 0)
                self.assertIsNone(row["values"][1])  # nothing was published of these
                self.assertEqual(result["forward"]["logits"], "all")
            self.assertEqual(list(self.folder.glob("*.png")), [])
        self.assertEqual(figure["rows"][0]["values"][0] * 1e6, figure["results"][0]["rss_peak_bytes"])

    def test_figures_of_results(self):
        if not GNUPLOT:
            self.skipTest("gnuplot is not installed")
        result = subprocess.run([BIN / "nlm-bench", "--preset", "small", "--prompt", "4", "--gen", "2", "--repeat", "1",
                                 "--threads", "1,2", "--probe-mb", "2", "--json"], check=True, capture_output=True)
        (self.folder / "small.json").write_bytes(result.stdout)
        run("plot-bench", "-o", self.folder, self.folder / "small.json")
        self.check_figures("throughput", "latency", "memory")
        drawn = (self.folder / "throughput.svg").read_text()
        for part in ("small f32", "2 threads"):
            self.assertIn(part, drawn)
        decoded = json.loads(result.stdout)[0]["decode"]["tok_s"]["median"]
        self.assertIn(f"{decoded:.4g}" if decoded < 1000 else f"{decoded:.0f}", drawn)

    def test_a_figure_is_drawn_again_from_its_file(self):
        if not GNUPLOT:
            self.skipTest("gnuplot is not installed")
        run("bench-memory", *TINY, "--presets", "small", "--tokens", 4, "-o", self.folder)
        self.check_figures("memory")
        (self.folder / "memory.png").unlink()
        run("plot-bench", self.folder / "memory.json", "-o", self.folder)
        self.check_figures("memory")

    def test_without_gnuplot_the_table_is_written_and_the_figures_are_told_to_be_missing(self):
        done = run("bench-memory", *TINY, "--presets", "small", "--tokens", 4, "-o", self.folder, path=str(self.folder), code=1)
        self.assertIn("gnuplot is not installed: no figures", done.stderr)
        self.assertEqual([p.name for p in self.folder.iterdir()], ["memory.json"])

    def test_wrong_files_are_told(self):
        path = self.folder / "other.json"
        path.write_text('{"a": 1}')
        self.assertIn("other.json: this is no result", run("plot-bench", path, code=1).stderr)
        path.write_text("{")
        self.assertIn("other.json: this is not JSON", run("plot-bench", path, code=1).stderr)
        self.assertIn("No such file", run("plot-bench", self.folder / "none.json", code=1).stderr)
        self.assertIn("nlm-bench was not found", run("bench-memory", "--bin", self.folder, code=1).stderr)
        self.assertIn("nlm-bench failed with 2", run("bench-memory", *TINY, "--presets", "none", code=1).stderr)


if __name__ == "__main__":
    unittest.main()
