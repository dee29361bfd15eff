"""nlm-server and clients that are slow, wrong, or not who they say: refused, while others are served."""
import http.client
import json
import os
import select
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

import serving
from serving import PATIENCE, Server, read_all

QUICK = ["--set", "server.head_seconds=1.5", "--set", "server.body_seconds=1.7", "--set", "server.idle_seconds=1.6"]
LIMITS = ["--set", "server.write_seconds=1", "--set", "server.max_body_kib=64", "--set", "server.max_head_kib=4",
          "--set", "server.max_output_kib=16", "--set", "server.max_connections=40", "--slots", "2"]
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post(body, *headers, path="/v1/completions", length=None):
    length = len(body) if length is None else length
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class BadClients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(*LIMITS)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        assert cls.server.process.returncode == 0, cls.server.log()

    def tearDown(self):
        self.server.wait_until_idle()
        answer = self.server.post("/v1/completions", {"prompt": "Once", "max_tokens": 2})
        self.assertEqual(answer["usage"]["completion_tokens"], 2)

    def refused(self, data, status):
        answer = self.server.exchange(data)
        self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % status), (data[:200], answer[:400]))
        head, _, body = answer.partition(b"\r\n\r\n")
        self.assertIn(b"Connection: close", head)
        self.assertTrue(json.loads(body)["error"]["message"])

    def test_requests_that_are_none(self):
        for data, status in (
                (b"\r\n\r\n", 400), (b"hello\r\n\r\n", 400), (b"GET /health\r\n\r\n", 400),
                (b"GET  /health HTTP/1.1\r\nHost: a\r\n\r\n", 400), (b"GET /health HTTP/2.0\r\nHost: a\r\n\r\n", 505),
                (b"GET /health HTTP/1.1\r\n\r\n", 400), (b"GET health HTTP/1.1\r\nHost: a\r\n\r\n", 400),
                (b"GET http://localhost/health HTTP/1.1\r\nHost: a\r\n\r\n", 400),
                (b"G(T /health HTTP/1.1\r\nHost: a\r\n\r\n", 400), (b"GET /he\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
                (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
                (b"GET /health HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n", 400),
                (b"GET /health HTTP/1.1\r\nHost: a\r\nName : x\r\n\r\n", 400),
                (b"GET /health HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n", 400),
                (b"GET /health HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400),
                (b"GET /health HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
                (b"GET /health HTTP/1.1\nHost: a\r\n\r\n", 400),
                (b"GET /health HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
                (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
                (b"GET /health HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n", 417),
                (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400)):
            self.refused(data, status)

    def test_two_readings_of_where_a_body_ends(self):
        hidden = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for headers, status in (
                ("Content-Length: 5\r\nContent-Length: 5", 400), ("Content-Length: 5\r\nContent-Length: 40", 400),
                ("Content-Length: 5, 5", 400), ("Content-Length: +5", 400), ("Content-Length: -5", 400),
                ("Content-Length: 0x5", 400), ("Content-Length: 5 5", 400), ("Content-Length:", 400),
                ("Content-Length: 99999999999999999999", 400),
                ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
                ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 400),
                ("Transfer-Encoding: gzip, chunked", 501), ("Transfer-Encoding: xchunked", 501),
                ("Transfer-Encoding : chunked", 400), ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
                ("Transfer-Encoding:\x0bchunked", 400)):
            request = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n".encode()
            answer = self.server.exchange(request + b"0\r\n\r\n" + hidden)
            self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % status), (headers, answer[:300]))
            self.assertEqual(answer.count(b"HTTP/1.1 "), 1, (headers, answer))
        old = b"POST /v1/completions HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        self.refused(old, 400)

    def test_chunks(self):
        body = b'{"prompt":"Once upon a time","max_tokens":3,"temperature":0}'
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        halves = b"%x;ext=1\r\n%s\r\n%X\r\n%s\r\n0\r\nTrailer: x\r\n\r\n" % (10, body[:10], len(body) - 10, body[10:])
        self.assertIn(b"200 OK", self.server.exchange(head + halves))
        with self.server.connect() as client:
            for byte in head + halves:
                client.sendall(bytes([byte]))
            self.assertIn(b"200 OK", read_all(client))
        for bad in (b"x\r\n", b"\r\n", b"5\n", b"-1\r\n", b"5\r\nabcdefg\r\n0\r\n\r\n", b"5\r\nabcdeX", b"ffffffffffffffffff\r\n",
                    b"0\r\nab\ncd\r\n\r\n", b"0\r\n" + b"a: b\r\n" * 2000, b"1;" + b"x" * 400 + b"\r\n"):
            self.refused(head + bad, 400)
        self.refused(head + b"fffff\r\n", 413)
        self.refused(head + b"8000\r\n" + b"a" * 0x8000 + b"\r\n8001\r\n", 413)

    def test_what_is_too_long(self):
        self.refused(b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431)
        self.refused(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000, 431)
        self.refused(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431)
        self.refused(post(b"", length=100_000_000), 413)
        self.refused(post(b"x" * 200_000), 413)

    def test_clients_that_do_not_read_are_ended(self):
        body = json.dumps({"prompt": "Once", "stream": True, "n": 100, "logprobs": 20, "ignore_eos": True}).encode()
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.settimeout(PATIENCE)
        client.connect((self.server.host, self.server.port))
        with client:
            client.sendall(post(body))
            self.server.wait_until_idle(300)
            self.assertNotIn(b"[DONE]", read_all(client))

    def test_client_that_goes_away_frees_its_slot(self):
        for stream in (True, False):
            before = self.server.metric("nlm_texts_cancelled_total")
            body = json.dumps({"prompt": "Once", "stream": stream, "n": 50, "ignore_eos": True}).encode()
            with self.server.connect() as client:
                client.sendall(post(body))
                if stream:
                    client.recv(100)
                else:
                    while self.server.get("/health")["running"] == 0:
                        pass
            self.server.wait_until_idle()
            self.assertGreater(self.server.metric("nlm_texts_cancelled_total"), before)

    def test_requests_behind_each_other_are_answered_in_order(self):
        one = post(b'{"prompt":"Once","max_tokens":4}')
        last = HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        answer = self.server.exchange(one + HEALTH + one + last)
        kinds = [part.split(b"\r\n\r\n", 1)[1][:16] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
        self.assertEqual([b"cmpl" in kind for kind in kinds], [True, False, True, False], answer)

    def test_body_is_asked_for_and_old_clients_are_answered(self):
        body = b'{"prompt":"Once","max_tokens":4}'
        with self.server.connect() as client:
            client.sendall(post(b"", "Expect: 100-continue", "Connection: close", length=len(body)))
            self.assertEqual(client.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
            client.sendall(body)
            self.assertTrue(read_all(client).startswith(b"HTTP/1.1 200 OK"))
        self.refused(post(b"", "Expect: 100-continue", length=10**8), 413)
        self.assertIn(b'"status":"ok"', self.server.exchange(b"GET /health HTTP/1.0\r\n\r\n"))
        streamed = b'{"prompt":"Once","max_tokens":4,"stream":true}'
        old = b"POST /v1/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(streamed), streamed)
        answer = self.server.exchange(old)
        self.assertTrue(answer.endswith(b"data: [DONE]\n\n"), answer[-100:])
        self.assertNotIn(b"Transfer-Encoding", answer)

    def test_too_many_connections(self):
        held = [self.server.connect() for _ in range(40)]
        try:
            with self.server.connect() as one_more:
                self.assertEqual(read_all(one_more), b"")
        finally:
            for client in held:
                client.close()
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                self.assertEqual(self.server.get("/health")["status"], "ok")
                return
            except (http.client.BadStatusLine, ConnectionResetError):
                time.sleep(0.05)
        self.fail("no connection is free again")


class SlowClients(unittest.TestCase):
    def test_slow_clients_are_ended_and_others_are_served(self):
        with Server(*QUICK) as server:
            self.check(server)

    def check(self, server):
        slow = [server.connect() for _ in range(6)]
        try:
            slow[3].sendall(HEALTH)  # a whole request, and then nothing
            slow[0].sendall(b"GET /hea")  # half a head
            slow[1].sendall(post(b"{", length=100))  # half a body
            for _ in range(12):  # a byte at a time
                slow[4].sendall(b"a")
                time.sleep(0.02)
            server.post("/v1/completions", {"prompt": "Once", "max_tokens": 1})
            answers = [read_all(client) for client in slow]
        finally:
            for client in slow:
                client.close()
        self.assertTrue(answers[0].startswith(b"HTTP/1.1 408"), answers[0])
        self.assertTrue(answers[1].startswith(b"HTTP/1.1 408"), answers[1])
        self.assertEqual(answers[2], b"")
        self.assertTrue(answers[3].startswith(b"HTTP/1.1 200") and answers[3].count(b"HTTP/1.1 ") == 1, answers[3])
        self.assertTrue(answers[4].startswith(b"HTTP/1.1 408"), answers[4])


class Browsers(unittest.TestCase):
    def test_pages_of_others_are_refused(self):
        with Server() as server:
            def ask(origin=None, host=None, method="GET", path="/v1/models"):
                headers = {} if origin is None else {"Origin": origin}
                if host:
                    headers["Host"] = host
                status, headers, _ = server.request(method, path, headers=headers)
                return status, headers.get("Access-Control-Allow-Origin")

            self.assertEqual(ask(), (200, None))
            for origin in ("http://localhost:3000", "http://127.0.0.1", "https://[::1]:1", "http://app.localhost:5173"):
                self.assertEqual(ask(origin), (200, origin))
                self.assertEqual(ask(origin, method="OPTIONS"), (204, origin))
            for origin in ("https://example.com", "null", "http://localhost.example.com", "http://127.0.0.1.evil.test", "x"):
                self.assertEqual(ask(origin), (403, None), origin)
                self.assertEqual(ask(origin, method="OPTIONS")[0], 403)
            self.assertEqual(ask(host="evil.test:8080")[0], 421)
            self.assertEqual(ask("http://evil.test:8080", host="evil.test:8080")[0], 421)
            for host in ("localhost:99", "127.0.0.1", "[::1]:8080", "192.168.1.2:8080"):
                self.assertEqual(ask(host=host)[0], 200, host)
        with Server("--set", 'server.cors_origins=["https://example.com"]', "--set",
                    'server.allowed_hosts=["model.example.com"]') as server:
            status, headers, _ = server.request("GET", "/v1/models", headers={"Origin": "https://example.com",
                                                                            "Host": "model.example.com"})
            self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (200, "https://example.com"))
            self.assertEqual(server.request("GET", "/v1/models", headers={"Origin": "https://example.org"})[0], 403)


class Tls(unittest.TestCase):
    def test_https(self):
        with tempfile.TemporaryDirectory() as folder:
            cert, key = Path(folder) / "cert.pem", Path(folder) / "key.pem"
            made = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                                   "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost",
                                   "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], capture_output=True)
            if made.returncode != 0:
                self.skipTest("openssl cannot make a certificate here")
            with Server("--tls-cert", cert, "--tls-key", key, "--set", "server.head_seconds=1.5") as server:
                self.assertTrue(server.url.startswith("https://"), server.url)
                context = ssl.create_default_context(cafile=cert)
                client = http.client.HTTPSConnection(server.host, server.port, context=context, timeout=PATIENCE)
                for _ in range(3):
                    body = {"prompt": "Once upon a time", "max_tokens": 20, "temperature": 0, "stream": True}
                    client.request("POST", "/v1/completions", json.dumps(body))
                    answer = client.getresponse().read()
                    self.assertTrue(answer.endswith(b"data: [DONE]\n\n"))
                client.close()
                with server.connect() as plain:
                    plain.sendall(HEALTH)
                    self.assertNotIn(b"200 OK", read_all(plain))
                with server.connect() as silent:  # it never says hello
                    self.assertEqual(read_all(silent), b"")
                old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                old.load_verify_locations(cert)
                with self.assertRaises((ssl.SSLError, ValueError, OSError)):
                    old.minimum_version = ssl.TLSVersion.TLSv1
                    old.maximum_version = ssl.TLSVersion.TLSv1_1
                    old.wrap_socket(server.connect(), server_hostname="localhost")


class LongRequests(unittest.TestCase):
    def test_others_are_served_while_one_is_read(self):
        """A long text to tokenize and a schema that takes its time: the loop answers others before them."""
        names = [f"{i:x}" * 6 for i in range(4000)]
        for path, body in (("/tokenize", {"content": "one word after the other " * 280000}),
                           ("/v1/completions", {"prompt": "a", "max_tokens": 1, "json_schema": {"enum": names}})):
            with self.subTest(path), Server() as server:
                with server.connect() as client:
                    client.sendall(post(json.dumps(body).encode(), "Connection: close", path=path))
                    while server.metric("nlm_requests_reading") == 0:
                        self.assertEqual(select.select([client], [], [], 0)[0], [], "it was read before others were served")
                    self.assertEqual(server.get("/health")["status"], "ok")
                    self.assertEqual(server.post("/tokenize", {"content": "short"})["count"], 4)
                    self.assertTrue(read_all(client).startswith(b"HTTP/1.1 200 "))
                self.assertEqual(server.metric("nlm_requests_reading"), 0)

    def test_several_long_ones_leave_way_for_others(self):
        body = json.dumps({"content": "one word after the other " * 280000}).encode()
        with Server() as server:
            clients = [server.connect() for _ in range(4)]
            try:
                for client in clients:
                    client.sendall(post(body, "Connection: close", path="/tokenize"))
                while server.metric("nlm_requests_reading") < 4:
                    pass
                self.assertEqual(server.post("/tokenize", {"content": "short"})["count"], 4)
                self.assertEqual(server.post("/v1/completions", {"prompt": "a", "max_tokens": 1})["usage"]["completion_tokens"], 1)
                self.assertEqual(select.select(clients, [], [], 0)[0], [], "they were read before others were served")
                for client in clients:
                    client.settimeout(PATIENCE)
                    self.assertTrue(read_all(client).startswith(b"HTTP/1.1 200 "))
            finally:
                for client in clients:
                    client.close()

    def test_client_that_goes_away_while_its_request_is_read(self):
        body = json.dumps({"prompt": "one word after the other " * 280000, "max_tokens": 5}).encode()
        with Server() as server:
            for _ in range(4):
                with server.connect() as client:
                    client.sendall(post(body))
                    while server.metric("nlm_requests_reading") == 0:
                        time.sleep(0.001)
            while server.metric("nlm_requests_reading"):
                time.sleep(0.01)
            self.assertEqual(server.metric("nlm_requests_total"), 0)
            with server.connect() as client:  # and one that the end of the server finds
                client.sendall(post(body))
                while server.metric("nlm_requests_reading") == 0:
                    time.sleep(0.001)
                server.stop()


class Queue(unittest.TestCase):
    def test_full_queue_is_told(self):
        with Server("--slots", 1, "--max-queue", 2) as server:
            body = json.dumps({"prompt": "Once", "n": 2, "ignore_eos": True}).encode()
            with server.connect() as first:
                first.sendall(post(body))
                while server.get("/health")["running"] == 0:
                    pass
                status, headers, answer = server.request("POST", "/v1/completions", {"prompt": "a", "n": 2})
                self.assertEqual((status, headers.get("Retry-After")), (429, "1"), answer)
                self.assertEqual(json.loads(answer)["error"]["type"], "rate_limit_error")

    def test_time_in_the_queue_and_of_a_text(self):
        with Server("--slots", 1, "--context", 16384, "--set", "server.queue_seconds=0.1") as server:
            long = json.dumps({"prompt": "Once", "ignore_eos": True}).encode()
            with server.connect() as first:
                first.sendall(post(long))
                while server.get("/health")["running"] == 0:
                    pass
                status, _, answer = server.request("POST", "/v1/completions", {"prompt": "a"})
                self.assertEqual(status, 429, answer)
            server.wait_until_idle()
            answer = server.post("/v1/completions", {"prompt": "Once", "ignore_eos": True, "timeout_seconds": 0.05})
            self.assertEqual(answer["choices"][0]["finish_reason"], "length")


if __name__ == "__main__":
    serving.skip_without_program()
    unittest.main()
