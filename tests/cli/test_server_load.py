"""64 clients stream from nlm-server, and many of them go away: no slot is stuck, nothing leaks, every text is the one that
its request gets alone.

NLM_SERVER_LOAD_SECONDS (6) is how long; from 60 on the model is SmolLM2, if it is in the user's cache."""
import json
import os
import random
import socket
import threading
import time
import unittest

import serving
from serving import SMOLLM2, STORIES, Server

SECONDS = float(os.environ.get("NLM_SERVER_LOAD_SECONDS", "6"))
CLIENTS = 64
N_BODIES = 24


def bodies(rng):
    words = "Once upon a time there was a little girl named Lily who loved to play outside with her big red ball".split()
    for i in range(N_BODIES):
        start = " ".join(words[: 4 + i % 3 * 8])  # beginnings that several share
        rest = " ".join(rng.choice(words) for _ in range(rng.choice((0, 3, 20, 60))))
        yield {"prompt": f"{start} {rest}".strip(), "max_tokens": rng.choice((1, 5, 20, 60)), "seed": i,
               "temperature": i % 2, "top_p": 0.95, **({"stop": [" the"]} if i % 5 == 0 else {})}


def rss_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])


class Client(threading.Thread):
    def __init__(self, server, asked, expected, seed, until):
        super().__init__()
        self.server, self.asked, self.expected, self.until = server, asked, expected, until
        self.rng = random.Random(seed)
        self.n_texts = self.n_left = 0
        self.problem = None

    def run(self):
        try:
            while time.monotonic() < self.until and not self.problem:
                i = self.rng.randrange(len(self.asked))
                if self.rng.random() < 0.3:
                    self.leave(self.asked[i])
                else:
                    self.read(i)
        except Exception as problem:  # told by the main thread
            self.problem = repr(problem)

    def read(self, i):
        text, has_ended = "", False
        for _, data in self.server.stream("/v1/completions", self.asked[i]):
            if data == "[DONE]":
                has_ended = True
            else:
                text += json.loads(data)["choices"][0]["text"]
        if not has_ended or text != self.expected[i]:
            self.problem = f"{self.asked[i]}: {text!r} is not {self.expected[i]!r}"
        self.n_texts += 1

    def leave(self, body):
        data = json.dumps({**body, "stream": self.rng.random() < 0.7}).encode()
        with self.server.connect() as client:
            client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data))
            client.sendall(data[: self.rng.choice((len(data), len(data), len(data) // 2))])
            client.settimeout(self.rng.choice((0.001, 0.05, 0.3)))
            try:
                client.recv(self.rng.choice((1, 500, 5000)))
            except socket.timeout:
                pass
        self.n_left += 1


class Load(unittest.TestCase):
    def test_many_clients(self):
        seed = int(os.environ.get("NLM_SERVER_LOAD_SEED", random.randrange(1 << 30)))
        print(f"NLM_SERVER_LOAD_SEED={seed}")
        asked = list(bodies(random.Random(seed)))
        model = SMOLLM2 if SECONDS >= 60 and SMOLLM2.exists() else STORIES
        with Server("--slots", 1, "--set", "model.prompt_cache_mib=-1", "--quiet", model=model) as alone:
            expected = [alone.post("/v1/completions", body)["choices"][0]["text"] for body in asked]
        with Server("--slots", 8, "--quiet", "--context", 512, model=model) as server:
            for body, text in zip(asked, expected):
                self.assertEqual(server.post("/v1/completions", body)["choices"][0]["text"], text)
            self.run_clients(server, asked, expected, seed, max(2, SECONDS / 4))
            before = rss_kib(server.process.pid)
            clients = self.run_clients(server, asked, expected, seed + 1, SECONDS)
            after = rss_kib(server.process.pid)
            steps = server.metric("nlm_steps_total")
            print(f"{sum(c.n_texts for c in clients)} texts, {sum(c.n_left for c in clients)} clients that left; "
                  f"{server.metric('nlm_step_sequences_total') / steps:.2f} sequences a step; "
                  f"RSS {before} to {after} KiB")
            self.assertGreater(sum(client.n_texts for client in clients), CLIENTS)
            self.assertGreater(sum(client.n_left for client in clients), CLIENTS / 4)
            if not os.environ.get("NLM_SANITIZE"):
                self.assertLess(after, before * 1.02 + 1024)

    def run_clients(self, server, asked, expected, seed, seconds):
        until = time.monotonic() + seconds
        clients = [Client(server, asked, expected, seed * CLIENTS + i, until) for i in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        for client in clients:
            self.assertIsNone(client.problem)
        server.wait_until_idle()
        self.assertEqual(server.metric("nlm_texts_failed_total"), 0)
        return clients


if __name__ == "__main__":
    serving.skip_without_program()
    unittest.main()
