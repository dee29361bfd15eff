"""nlm-bench --server against nlm-server: what it counts, and what it says of a server that fails."""
import json
import os
import socket
import subprocess
import sys
import threading
import unittest
from pathlib import Path

import serving
from serving import Server

PROGRAM = Path(os.environ["NLM_BIN"]) / "nlm-bench"
QUICK = ("--clients", "1,3", "--requests", 2, "--repeat", 2, "--prompt", 8, "--gen", 8)


def bench(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


def answer_once(server, answer, stays):
    """To one request; `stays` says whether the connection does, until the other side has closed it."""
    with server.accept()[0] as connection:
        request = b""
        while b"}}" not in request:
            request += connection.recv(65536)
        connection.sendall(answer)
        while stays and connection.recv(65536):
            pass


class BenchServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--slots", 2)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def test_every_token_is_counted_once(self):
        before = self.server.metric("nlm_generated_tokens_total")
        done = bench("--server", self.server.url, *QUICK, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        self.assertEqual([run["clients"] for run in result["runs"]], [1, 3])
        self.assertEqual(self.server.metric("nlm_generated_tokens_total") - before, 2 * 2 * (1 + 3) * 8)
        for run in result["runs"]:
            self.assertAlmostEqual(run["tokens_s"] / run["requests_s"], 8, places=6)
            self.assertEqual(run["first_s"]["count"], 2 * 2 * run["clients"])
            self.assertLessEqual(run["between_s"]["count"], 2 * 2 * run["clients"] * 7)
            for times in (run["first_s"], run["between_s"]):
                self.assertLessEqual(times["p50"], times["p95"])
                self.assertLessEqual(times["p95"], times["p99"])

    def test_prompts_are_their_own_unless_they_are_to_be_the_same(self):
        cached = []
        for more in ((), ("--same",)):
            with Server("--slots", 1) as server:
                done = bench("--server", server.url, "--clients", 2, "--prompt", 100, "--gen", 1, "--repeat", 1, *more)
                self.assertEqual(done.returncode, 0, done.stderr)
                cached.append(server.metric("nlm_cached_tokens_total"))
        self.assertLess(cached[0], 64)
        self.assertGreaterEqual(cached[1], 3 * 64)

    def test_servers_take_turns(self):
        with Server("--slots", 2) as other:
            done = bench("--server", self.server.url, "--server", other.url, *QUICK)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        for line, (server, clients) in zip(lines[::3], [(s, n) for n in (1, 3) for s in (self.server.url, other.url)]):
            self.assertTrue(line.startswith(f"{server}  {clients} clients  "), line)
        self.assertEqual(len(lines), 12)
        self.assertRegex(lines[1], r"^    first piece, ms     p50 [0-9.]+  p95 [0-9.]+  p99 [0-9.]+$")

    def test_answers_that_do_not_end_are_told(self):
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        event = b'data: {"choices": [{"text": "a"}]}\n\n'
        piece = b"%x\r\n%s\r\n" % (len(event), event)
        silence = "the answer broke off: nothing came for 1 s; --timeout N waits longer"
        closed = "the answer broke off: the connection was closed in the middle of it"
        for answer, stays, expected in ((b"", True, silence), (head + piece, True, silence), (head + piece, False, closed),
                                        (head + piece[:-9], False, closed), (head + piece + b"0\r\n\r\n", True, None),
                                        (b"", False, "the answer is no HTTP")):
            with socket.create_server(("127.0.0.1", 0)) as server:
                url = f"http://127.0.0.1:{server.getsockname()[1]}"
                thread = threading.Thread(target=answer_once, args=(server, answer, stays))
                thread.start()
                done = bench("--server", url, "--clients", 1, "--requests", 1, "--repeat", 1, "--timeout", 1)
                thread.join()
            self.assertEqual(done.returncode, 1 if expected else 0, done.stderr)
            self.assertIn(expected or "", done.stderr)

    def test_failures_are_told(self):
        key = self.server.url + "/"
        for arguments, code, expected in (
                (("--server", self.server.url, "--prompt", 3000), 1, "1 clients: status 400: "),
                (("--server", "http://127.0.0.1:1"), 1, "http://127.0.0.1:1: 1 clients: no connection: Connection refused"),
                (("--server", key, "--clients", "x"), 2, "--clients: 'x' is no list of up to 16 numbers from 1 to 1024"),
                (("--server", "localhost"), 2, "'localhost' is not as http://host:port"),
                (("--server", "http://a:65536"), 2, "'http://a:65536' is not as http://host:port"),
                (("--server", "http://a:b"), 2, "'http://a:b' is not as http://host:port"),
                (("--server", "http://localhost:80/v1"), 2, "is not as http://host:port"),
                (("--server", key, "--gen", 0), 2, "--server: --prompt and --gen have to be 1 or more"),
                (("--server", key, "--model", "x"), 2, "give one of"),
                (("--server", key, "--timeout", 0), 2, "--timeout"),
                (("--server", key, "--repeat", 0), 2, "--repeat")):
            done = bench(*arguments)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(expected, done.stderr)


if __name__ == "__main__":
    serving.skip_without_program()
    if not PROGRAM.exists():
        print("skipped: nlm-bench is not built")
        sys.exit(77)
    unittest.main()
