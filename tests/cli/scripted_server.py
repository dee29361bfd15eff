"""A server that gives nlm-server's page, with its headers, and whatever answers a test wants the page to get."""
import http.server
import json
import threading

PROPS = {"model": "scripted", "total_slots": 2, "chat_template_name": "chatml", "build_info": "0", "backend": "none",
         "device": "paper", "threads": 1,
         "default_generation_settings": {"n_ctx": 4096, "temperature": 1, "top_p": 0, "top_k": 0, "min_p": 0.05,
                                         "repeat_penalty": 0, "max_tokens": 0}}
SLOTS = [{"id": i, "is_processing": i == 0, "n_ctx": 4096, "n_tokens": 100 * i, "n_prompt": 0, "n_generated": 0}
         for i in range(2)]
METRICS = ("# HELP nlm_steps_total Steps.\nnlm_steps_total 10\nnlm_step_sequences_total 25\n"
           "nlm_cached_tokens_total 30\nnlm_prompt_tokens_total 10\nnlm_generated_tokens_total 1234\nnlm_slots 2\n"
           "nlm_texts_running 1\n"
           "nlm_device_memory_used_bytes 1073741824\nnlm_device_memory_total_bytes 4294967296\n")


def chunk(content=None, finish=None, **more):
    delta = {} if content is None else {"content": content}
    body = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


def ending(finish="stop", tokens=5):
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": tokens}}
    return chunk(finish=finish) + f"data: {json.dumps(usage)}\n\ndata: [DONE]\n\n".encode()


class Stream:
    """An answer in parts, sent one by one; a threading.Event among them is waited for."""

    def __init__(self, *parts, size=None):
        self.parts, self.size = parts, size
        self.gone = threading.Event()  # the client went away

    def send(self, handler):
        handler.reply(200, "text/event-stream", None)
        try:
            for part in self.parts:
                if isinstance(part, threading.Event):
                    while not part.wait(0.02):
                        handler.piece(b": still here\n\n")
                    continue
                step = self.size or len(part)
                for at in range(0, len(part), step):
                    handler.piece(part[at : at + step])
        except OSError:
            self.gone.set()


class Says(Stream):
    """A text, whole."""

    def __init__(self, text, finish="stop"):
        super().__init__(chunk(text, seed=7), ending(finish))


class Fails:
    def __init__(self, status, message):
        self.status, self.message = status, message

    def send(self, handler):
        handler.reply(self.status, "application/json", json.dumps({"error": {"message": self.message}}).encode())


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, kind, body, headers=()):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers:
            self.send_header(name, value)
        if body is None:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body is not None:
            self.wfile.write(body)

    def piece(self, data):
        self.wfile.write(data)
        self.wfile.flush()

    def handle(self):
        try:
            super().handle()
        except ConnectionError:
            pass  # the page went away

    def do_GET(self):
        owner = self.server.owner
        owner.asked.append(self.path)
        if self.path == "/":
            self.reply(200, "text/html; charset=utf-8", owner.page, owner.headers)
        elif self.path in owner.answers:
            owner.answers[self.path].send(self)
        elif self.path == "/metrics":
            self.reply(200, "text/plain", METRICS.encode())
        else:
            body = {"/props": PROPS, "/slots": SLOTS}.get(self.path, {})
            self.reply(200, "application/json", json.dumps(body).encode())

    def do_POST(self):
        owner = self.server.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        owner.asked.append(self.path)
        owner.bodies.append(body)
        owner.script.pop(0).send(self)


class Scripted:
    """bodies: what was asked of /v1/chat/completions; script: what it answers, in turn."""

    def __init__(self, page, headers):
        kept = ("Content-Security-Policy", "Referrer-Policy", "X-Content-Type-Options", "Cache-Control")
        self.page, self.headers = page, [(name, value) for name, value in headers.items() if name in kept]
        self.script, self.bodies, self.asked, self.answers = [], [], [], {}
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.owner = self
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
