"""Starting nlm-server in tests, and talking to it with the standard library alone."""
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from urllib.parse import urlparse

PROGRAM = Path(os.environ["NLM_BIN"]) / "nlm-server"
FIXTURES = Path(os.environ["NLM_SOURCE"]) / "tests/data/models"
STORIES = FIXTURES / "stories260K-q8_0.gguf"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nlm"
PATIENCE = 1200 if os.environ.get("NLM_SANITIZE") else 120  # seconds, with other tests at work beside this one
SMOLLM2 = CACHE / "SmolLM2-135M-Instruct.Q4_1.gguf"


def skip_without_program():
    if not PROGRAM.exists():
        print("skipped: nlm-server is not built (libevent or OpenSSL is missing)")
        sys.exit(77)


class Server:
    """A server of a model, on a port of its own; stopped at the end of `with`, and expected to end well."""

    def __init__(self, *arguments, model=STORIES, code=0, environment=None, template="chatml", **options):
        self.code = code
        self.errors = tempfile.TemporaryFile()
        command = [PROGRAM, "--model", model, "--port", 0, *arguments]
        if template:
            command += ["--chat-template", template]
        self.process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=self.errors,
                                        stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})},
                                        **options)
        self.url = self.process.stdout.readline().decode().strip()
        if not self.url:
            raise AssertionError(f"the server did not start: {self.log()}")
        self.host, self.port = urlparse(self.url).hostname, urlparse(self.url).port

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.stop()
        if kind is None and self.process.returncode != self.code:
            raise AssertionError(f"exit code {self.process.returncode}: {self.log()}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def log(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def connect(self, timeout=PATIENCE):
        return socket.create_connection((self.host, self.port), timeout)

    def request(self, method, path, body=None, headers=None):
        """(status, headers, bytes)"""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)
        try:
            data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
            connection.request(method, path, data, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def get(self, path, **headers):
        status, _, body = self.request("GET", path, headers=headers)
        assert status == 200, (status, body)
        return json.loads(body)

    def post(self, path, body, expected=200, headers=None):
        status, _, answer = self.request("POST", path, body, headers)
        assert status == expected, (status, answer)
        return json.loads(answer)

    def stream(self, path, body):
        """The events of a stream: (name or None, data)."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)
        connection.request("POST", path, json.dumps({**body, "stream": True}).encode())
        answer = connection.getresponse()
        assert answer.status == 200, (answer.status, answer.read())
        assert answer.getheader("Content-Type") == "text/event-stream"
        name = None
        for line in answer:
            line = line.rstrip(b"\n")
            if line.startswith(b"event: "):
                name = line[7:].decode()
            elif line.startswith(b"data: "):
                yield name, line[6:].decode()
                name = None
        connection.close()

    def exchange(self, data, timeout=30):
        """Sends bytes, and returns all that comes until the server closes, or does not for a while."""
        with self.connect(timeout) as client:
            client.sendall(data)
            return read_all(client)

    def metric(self, name):
        for line in self.request("GET", "/metrics")[2].decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise AssertionError(f"no metric {name}")

    def wait_until_idle(self, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            n_reading = self.metric("nlm_requests_reading")  # these queue next, so look there afterwards
            health = self.get("/health")
            if n_reading == health["running"] == health["queued"] == 0:
                return
            time.sleep(0.02)
        raise AssertionError("a slot is still in use")


class Running(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.server = Server("--slots", 3, "--slot-folder", cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.folder.cleanup()
        assert cls.server.process.returncode == 0, cls.server.log()

    def fails(self, path, body, status, *words, param=None):
        answer = self.server.post(path, body, expected=status)
        for word in words:
            self.assertIn(word, answer["error"]["message"])
        if param:
            self.assertEqual(answer["error"]["param"], param)
        return answer


def read_all(client):
    parts = []
    try:
        while True:
            part = client.recv(65536)
            if not part:
                break
            parts.append(part)
    except (socket.timeout, ConnectionResetError):
        pass
    return b"".join(parts)
