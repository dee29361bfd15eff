"""tools/loadtest against nlm-server: what it counts, and what it says of a server that fails."""
import json
import os
import subprocess
import unittest
from pathlib import Path

import serving
from serving import Server

TOOL = Path(os.environ["NLM_SOURCE"]) / "tools/loadtest"
QUICK = ("--clients", "1,3", "--requests", 2, "--rounds", 2, "--words", 8, "--max-tokens", 8)


def loadtest(*arguments):
    return subprocess.run([TOOL, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


class LoadTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--slots", 2)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def tokens(self):
        lines = self.server.request("GET", "/metrics")[2].decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("nlm_generated_tokens_total"))

    def test_every_token_is_counted_once(self):
        before = self.tokens()
        done = loadtest(self.server.url, *QUICK, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        self.assertEqual([run["clients"] for run in result["runs"]], [1, 3])
        self.assertEqual(self.tokens() - before, 2 * 2 * (1 + 3) * 8)
        for run in result["runs"]:
            self.assertAlmostEqual(run["tokens_s"] / run["requests_s"], 8, places=6)
            for times in (run["first_ms"], run["between_ms"]):
                self.assertLessEqual(times["p50"], times["p95"])
                self.assertLessEqual(times["p95"], times["p99"])

    def test_servers_take_turns(self):
        with Server("--slots", 2) as other:
            done = loadtest(self.server.url, other.url, *QUICK)
        self.assertEqual(done.returncode, 0, done.stderr)
        for line, (server, clients) in zip(done.stdout.splitlines()[::3],
                                           [(s, n) for n in (1, 3) for s in (self.server.url, other.url)]):
            self.assertTrue(line.startswith(f"{server}  {clients} clients  "), line)

    def test_failures_are_told(self):
        for arguments, expected in (((self.server.url, "--words", 3000), "loadtest: {url}, 1 clients: status 400: "),
                                    (("http://127.0.0.1:1",), "loadtest: http://127.0.0.1:1, 1 clients: "),
                                    ((self.server.url, "--clients", "x"), "--clients is 'x'; expected numbers, as in 1,8,32"),
                                    (("localhost",), "'localhost' is not as http://host:port"),
                                    ((self.server.url, "--rounds", 0), "expected numbers of at least 1")):
            done = loadtest(*arguments)
            self.assertIn(done.returncode, (1, 2))
            self.assertIn(expected.format(url=self.server.url), done.stderr)
            self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    serving.skip_without_program()
    unittest.main()
