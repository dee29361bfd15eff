"""nlm-server as its clients see it: OpenAI's and Anthropic's interfaces, tokens, slots, keys, start and end."""
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

import serving
from serving import PATIENCE, PROGRAM, STORIES, Running, Server

STORY = ", there was a little girl named Lily. She loved to play outside in the park."
ONCE = {"prompt": "Once upon a time", "temperature": 0}
CHAT = {"messages": [{"role": "user", "content": "Once upon a time"}], "temperature": 0, "max_tokens": 20}


class Completions(Running):
    def test_text_is_the_reference_and_usage_counts(self):
        answer = self.server.post("/v1/completions", {**ONCE, "max_tokens": 40})
        choice = answer["choices"][0]
        self.assertTrue(choice["text"].startswith(STORY), choice)
        self.assertEqual(choice["finish_reason"], "length")
        self.assertEqual(answer["object"], "text_completion")
        self.assertEqual(answer["usage"]["completion_tokens"], 40)
        self.assertEqual(answer["usage"]["total_tokens"], answer["usage"]["prompt_tokens"] + 40)

    def test_stream_has_the_same_text_and_ends_with_done(self):
        body = {**ONCE, "max_tokens": 40, "stream_options": {"include_usage": True}}
        data = [data for _, data in self.server.stream("/v1/completions", body)]
        self.assertEqual(data.pop(), "[DONE]")
        chunks = [json.loads(item) for item in data]
        text = "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
        self.assertEqual(text, self.server.post("/v1/completions", {**ONCE, "max_tokens": 40})["choices"][0]["text"])
        self.assertEqual(chunks[-1]["choices"], [])
        self.assertEqual(chunks[-1]["usage"]["completion_tokens"], 40)
        self.assertEqual([chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]][-1], "length")
        self.assertGreater(len(chunks), 20)
        self.assertEqual(len({chunk["id"] for chunk in chunks}), 1)

    def test_stop_strings(self):
        answer = self.server.post("/v1/completions", {**ONCE, "max_tokens": 40, "stop": ["nowhere", " named"]})
        self.assertEqual(answer["choices"][0]["text"], ", there was a little girl")
        self.assertEqual(answer["choices"][0]["finish_reason"], "stop")
        streamed = self.server.stream("/v1/completions", {**ONCE, "max_tokens": 40, "stop": " named"})
        text = "".join(json.loads(data)["choices"][0]["text"] for _, data in streamed if data != "[DONE]")
        self.assertEqual(text, ", there was a little girl")

    def test_as_many_tokens_as_the_context_has_room_for(self):
        with Server("--context", 64) as server:
            for more in ({"max_tokens": -1}, {"n_predict": -1}, {"max_completion_tokens": -1, "n_predict": 3}, {}):
                body = {"prompt": "Once", "temperature": 0, "ignore_eos": True, **more}
                usage = server.post("/v1/completions", body)["usage"]
                self.assertEqual(usage["total_tokens"], 64, more)
            usage = server.post("/v1/completions", {"prompt": "Once", "n_predict": 3, "ignore_eos": True})["usage"]
            self.assertEqual(usage["completion_tokens"], 3)
            for name, value in (("max_tokens", 0), ("n_predict", -2), ("max_completion_tokens", 0)):
                error = server.post("/v1/completions", {"prompt": "Once", name: value}, expected=400)["error"]
                self.assertEqual(error["param"], name)
        with Server("--context", 64, "--max-tokens", -1) as server:
            usage = server.post("/v1/completions", {"prompt": "Once", "ignore_eos": True})["usage"]
            self.assertEqual(usage["total_tokens"], 64)

    def test_seed_gives_the_same_text_and_n_gives_several(self):
        body = {"prompt": "Once", "temperature": 1.5, "max_tokens": 30, "seed": 7, "n": 3}
        first = [choice["text"] for choice in self.server.post("/v1/completions", body)["choices"]]
        self.assertEqual(first, [choice["text"] for choice in self.server.post("/v1/completions", body)["choices"]])
        self.assertEqual(len(set(first)), 3)
        alone = self.server.post("/v1/completions", {**body, "n": 1, "seed": 9})
        self.assertEqual(alone["choices"][0]["text"], first[2])
        other = self.server.post("/v1/completions", {**body, "seed": None})
        again = self.server.post("/v1/completions", {**body, "seed": other["seed"]})
        self.assertEqual([choice["text"] for choice in other["choices"]],
                         [choice["text"] for choice in again["choices"]])

    def test_several_prompts_texts_and_tokens(self):
        ids = self.server.post("/tokenize", {"content": "Once upon a time", "add_special": True})["tokens"]
        body = {"prompt": ["Once upon a time", "Lily"], "temperature": 0, "max_tokens": 8, "n": 2, "echo": True}
        choices = self.server.post("/v1/completions", body)["choices"]
        self.assertEqual([choice["index"] for choice in choices], [0, 1, 2, 3])
        self.assertEqual(choices[0]["text"], choices[1]["text"])
        self.assertTrue(choices[0]["text"].startswith("Once upon a time, there"), choices)
        self.assertTrue(choices[2]["text"].startswith("Lily"), choices)
        by_ids = self.server.post("/v1/completions", {**body, "prompt": ids, "n": 1})["choices"]
        self.assertEqual(by_ids[0]["text"], choices[0]["text"])
        by_ids = self.server.post("/v1/completions", {**body, "prompt": [ids, ids], "n": 1})["choices"]
        self.assertEqual([choice["text"] for choice in by_ids], [choices[0]["text"]] * 2)

    def test_logprobs_are_those_of_the_text(self):
        body = {**ONCE, "max_tokens": 12, "logprobs": 3}
        whole = self.server.post("/v1/completions", body)["choices"][0]
        self.assertEqual("".join(whole["logprobs"]["tokens"]), whole["text"])
        for offset, token in zip(whole["logprobs"]["text_offset"], whole["logprobs"]["tokens"]):
            self.assertEqual(whole["text"][offset : offset + len(token)], token)
        for logprob, top in zip(whole["logprobs"]["token_logprobs"], whole["logprobs"]["top_logprobs"]):
            self.assertEqual(logprob, max(top.values()))
            self.assertEqual(len(top), 3)
        streamed = [json.loads(data)["choices"][0] for _, data in self.server.stream("/v1/completions", body)
                    if data != "[DONE]"]
        parts = [choice["logprobs"] for choice in streamed if choice["logprobs"]]
        for key in ("tokens", "token_logprobs", "text_offset"):
            self.assertEqual(sum((part[key] for part in parts), []), whole["logprobs"][key])

    def test_logit_bias(self):
        comma = self.server.post("/tokenize", {"content": "x,"})["tokens"][-1]
        body = {**ONCE, "max_tokens": 5, "logit_bias": {str(comma): -100}}
        text = self.server.post("/v1/completions", body)["choices"][0]["text"]
        self.assertNotIn(",", text)

    def test_prompt_that_does_not_fit_is_refused_with_both_numbers(self):
        n = self.server.get("/props")["default_generation_settings"]["n_ctx"]
        refused = self.fails("/v1/completions", {"prompt": [5] * n}, 400, str(n), f"context of {n}")
        self.assertEqual(refused["error"]["code"], "context_length_exceeded")
        refused = self.fails("/v1/embeddings", {"input": [5] * (n + 1)}, 400, str(n))
        self.assertEqual(refused["error"]["code"], "context_length_exceeded")
        self.assertIsNone(self.fails("/v1/completions", {"prompt": 1}, 400)["error"]["code"])
        answer = self.server.post("/v1/completions", {"prompt": [5] * (n - 1), "ignore_eos": True})
        self.assertEqual(answer["usage"]["completion_tokens"], 1)
        self.assertEqual(answer["choices"][0]["finish_reason"], "length")

    def test_wrong_requests_say_what_is_wrong(self):
        for body, words, param in (
                ({}, ["prompt"], "prompt"),
                ({"prompt": 5}, ["string"], "prompt"),
                ({"prompt": []}, ["no token"], None),
                ({"prompt": [999999]}, ["token id"], "prompt"),
                ({"prompt": [1.5]}, ["token id"], "prompt"),
                ({**ONCE, "temperature": "hot"}, ["temperature", "number"], "temperature"),
                ({**ONCE, "temperature": -1}, ["temperature"], "temperature"),
                ({**ONCE, "top_p": 2}, ["top_p"], "top_p"),
                ({**ONCE, "max_tokens": 0}, ["max_tokens"], "max_tokens"),
                ({**ONCE, "max_tokens": 1.5}, ["integer"], "max_tokens"),
                ({**ONCE, "n": 1000}, ["1 to 128"], "n"),
                ({**ONCE, "stop": [""]}, ["not empty"], "stop"),
                ({**ONCE, "stop": ["a"] * 17}, ["at most 16"], "stop"),
                ({**ONCE, "stop": 3}, ["string"], "stop"),
                ({**ONCE, "logit_bias": {"x": 1}}, ["token id"], "logit_bias"),
                ({**ONCE, "logit_bias": {"1": "a"}}, ["bias"], "logit_bias"),
                ({**ONCE, "logprobs": 99}, ["logprobs"], "logprobs"),
                ({**ONCE, "best_of": 4}, ["best_of"], "best_of"),
                ({**ONCE, "suffix": "x"}, ["suffix"], "suffix"),
                ({**ONCE, "stream": "yes"}, ["true or false"], "stream")):
            self.fails("/v1/completions", body, 400, *words, param=param)
        for text, word in ((b"{", "JSON"), (b"[1]", "no object"), (b'{"a":"\xff"}', "UTF-8"), (b'{"a":1}x', "follows"),
                           (b'{"a":"\\u0000"}', "u0000"), (b'{"a":1,"a":2}', "twice"), (b"", "JSON"),
                           (b'{"a":"\n"}', "control"), (b"[" * 5000, "deep"), (b'{"a":\x00}', "0")):
            status, _, answer = self.server.request("POST", "/v1/completions", text)
            self.assertEqual(status, 400, text[:20])
            self.assertIn(word, json.loads(answer)["error"]["message"])
            self.assertEqual(json.loads(answer)["error"]["type"], "invalid_request_error")

    def test_cached_prompts_give_the_same_text(self):
        prompt = " ".join(["Once upon a time there was a little girl named Lily."] * 8)
        body = {"prompt": prompt, "temperature": 0, "max_tokens": 20}
        first = self.server.post("/v1/completions", body)
        second = self.server.post("/v1/completions", body)
        self.assertEqual(first["choices"], second["choices"])
        self.assertGreater(second["usage"]["prompt_tokens_details"]["cached_tokens"], 64)


class Chat(Running):
    def test_whole_and_stream_are_the_same(self):
        whole = self.server.post("/v1/chat/completions", CHAT)
        message = whole["choices"][0]["message"]
        self.assertEqual((whole["object"], message["role"]), ("chat.completion", "assistant"))
        data = [data for _, data in self.server.stream("/v1/chat/completions", CHAT)]
        self.assertEqual(data.pop(), "[DONE]")
        chunks = [json.loads(item)["choices"][0] for item in data]
        self.assertEqual(chunks[0]["delta"], {"role": "assistant", "content": ""})
        self.assertEqual("".join(chunk["delta"].get("content", "") for chunk in chunks), message["content"])
        self.assertEqual([chunk["finish_reason"] for chunk in chunks if chunk["finish_reason"]],
                         [whole["choices"][0]["finish_reason"]])

    def test_logprobs(self):
        body = {**CHAT, "logprobs": True, "top_logprobs": 2}
        choice = self.server.post("/v1/chat/completions", body)["choices"][0]
        content = choice["logprobs"]["content"]
        self.assertEqual(bytes(sum((item["bytes"] for item in content), [])).decode(), choice["message"]["content"])
        self.assertTrue(all(item["logprob"] == item["top_logprobs"][0]["logprob"] for item in content))
        streamed = [json.loads(data)["choices"][0] for _, data in self.server.stream("/v1/chat/completions", body)
                    if data != "[DONE]"]
        parts = sum((chunk["logprobs"]["content"] for chunk in streamed if chunk["logprobs"]), [])
        self.assertEqual(parts, content)
        self.fails("/v1/chat/completions", {**CHAT, "top_logprobs": 2}, 400, "logprobs")

    def test_contents_and_roles(self):
        parts = [{"type": "text", "text": "Once upon"}, {"type": "text", "text": "a time"}]
        as_parts = self.server.post("/apply-template", {"messages": [{"role": "user", "content": parts}]})
        as_text = self.server.post("/apply-template", {"messages": [{"role": "user", "content": "Once upon\na time"}]})
        self.assertEqual(as_parts, as_text)
        self.assertIn("<|im_start|>user\nOnce upon\na time<|im_end|>", as_parts["prompt"])
        developer = self.server.post("/apply-template", {"messages": [{"role": "developer", "content": "x"}]})
        self.assertIn("<|im_start|>system\nx", developer["prompt"])
        typed = self.server.post("/apply-template", {"messages": [{"role": "user", "content": "<s>"}]})
        self.assertNotIn(1, typed["tokens"][1:])
        going_on = self.server.post("/apply-template", {"messages": [
            {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "continue_final_message": True})
        self.assertTrue(going_on["prompt"].endswith("<|im_start|>assistant\nb"), going_on)
        asked = {"messages": [{"role": "user", "content": "a"}]}
        closed = self.server.post("/apply-template", {**asked, "add_generation_prompt": False})["prompt"]
        opened = self.server.post("/apply-template", {**asked, "add_generation_prompt": True})["prompt"]
        self.assertEqual(opened, closed + "<|im_start|>assistant\n")
        self.fails("/v1/chat/completions", {**CHAT, "add_generation_prompt": True, "continue_final_message": True}, 400,
                   "both true")
        image = [{"type": "image_url", "image_url": {"url": "data:"}}]
        for messages, word in (([], "at least one"), (None, "array"), ([{"content": "x"}], "role"),
                               ([{"role": "king", "content": "x"}], "king"),
                               ([{"role": "user", "content": 3}], "messages[0]: its content"),
                               ([{"role": "user", "content": image}], "image_url"), (["x"], "role")):
            self.fails("/v1/chat/completions", {**CHAT, "messages": messages}, 400, word)

    def test_many_clients_get_what_each_gets_alone(self):
        bodies = [{**CHAT, "max_tokens": 5 + 7 * i, "seed": i, "temperature": i % 2} for i in range(8)]
        alone = [self.server.post("/v1/chat/completions", body)["choices"] for body in bodies]
        together = [None] * len(bodies)

        def ask(i):
            together[i] = self.server.post("/v1/chat/completions", bodies[i])["choices"]

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(bodies))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(together, alone)


class Anthropic(Running):
    BODY = {"max_tokens": 20, "temperature": 0, "system": "Be brief.",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Once upon a time"}]}]}

    def test_whole_and_stream_are_the_same(self):
        whole = self.server.post("/v1/messages", self.BODY)
        self.assertEqual((whole["type"], whole["role"], whole["content"][0]["type"]), ("message", "assistant", "text"))
        self.assertEqual(whole["stop_reason"], "max_tokens")
        events = [(name, json.loads(data)) for name, data in self.server.stream("/v1/messages", self.BODY)]
        names = [name for name, _ in events]
        self.assertEqual(names[:2], ["message_start", "content_block_start"])
        self.assertEqual(names[-3:], ["content_block_stop", "message_delta", "message_stop"])
        self.assertTrue(all(name == data["type"] for name, data in events))
        text = "".join(data["delta"]["text"] for name, data in events if name == "content_block_delta")
        self.assertEqual(text, whole["content"][0]["text"])
        self.assertEqual(events[-2][1]["delta"]["stop_reason"], "max_tokens")
        self.assertEqual(events[-2][1]["usage"]["output_tokens"], 20)

    def test_stop_sequence_is_told(self):
        text = self.server.post("/v1/messages", self.BODY)["content"][0]["text"]
        stopped = self.server.post("/v1/messages", {**self.BODY, "stop_sequences": ["@@@", text[5:9]]})
        self.assertEqual((stopped["stop_reason"], stopped["stop_sequence"]), ("stop_sequence", text[5:9]))
        self.assertEqual(stopped["content"][0]["text"], text[: text.index(text[5:9])])

    def test_count_tokens_is_the_usage(self):
        counted = self.server.post("/v1/messages/count_tokens", self.BODY)["input_tokens"]
        usage = self.server.post("/v1/messages", self.BODY)["usage"]
        self.assertEqual(usage["input_tokens"] + usage["cache_read_input_tokens"], counted)

    def test_errors_have_their_form(self):
        for body, word in (({"messages": [{"role": "user", "content": "x"}]}, "max_tokens"),
                           ({"max_tokens": 3, "messages": [{"role": "system", "content": "x"}]}, "system"),
                           ({"max_tokens": 3, "messages": []}, "messages"), ({"max_tokens": 3}, "messages")):
            answer = self.server.post("/v1/messages", body, expected=400)
            self.assertEqual((answer["type"], answer["error"]["type"]), ("error", "invalid_request_error"))
            self.assertIn(word, answer["error"]["message"])


class Others(Running):
    def test_tokens_there_and_back(self):
        text = "Once upon a time, Lily & \u00e9\u4e2d\U0001f600 went."
        tokens = self.server.post("/tokenize", {"content": text})
        self.assertEqual(tokens["count"], len(tokens["tokens"]))
        self.assertEqual(self.server.post("/detokenize", {"tokens": tokens["tokens"]})["content"], text)
        pieces = self.server.post("/tokenize", {"content": "Once upon", "with_pieces": True})["tokens"]
        self.assertEqual("".join(item["piece"] for item in pieces).strip(), "Once upon")
        special = self.server.post("/tokenize", {"content": "</s>", "parse_special": True, "add_special": True})
        self.assertEqual(special["tokens"], [1, 2])
        self.fails("/tokenize", {}, 400, "content")
        self.fails("/detokenize", {"tokens": [-1]}, 400, "token id")

    def test_what_there_is(self):
        model = self.server.get("/v1/models")["data"][0]
        self.assertEqual(model["id"], "stories260K-q8_0")
        self.assertEqual(self.server.get("/v1/models/stories260K-q8_0"), model)
        self.assertEqual(self.server.get("/v1/models/stories260K%2Dq8%5f0"), model)
        for name in ("", "stories260K-q8", "stories260K-q8_0x", "x", "%", "%0", "%00", "%zz", "stories260K-q8_0%"):
            self.assertEqual(self.server.request("GET", "/v1/models/" + name)[0], 404, name)
        self.assertEqual(self.server.get("/props")["total_slots"], 3)
        self.assertEqual(self.server.get("/health")["status"], "ok")
        status, headers, page = self.server.request("GET", "/")
        self.assertEqual((status, headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        self.assertRegex(page[:1000], rb"<title>nlm.*</title>")
        status, headers, page = self.server.request("HEAD", "/")
        self.assertEqual((status, page), (200, b""))
        self.assertGreater(int(headers["Content-Length"]), 100)

    def test_paths_and_methods(self):
        self.assertEqual(self.server.request("GET", "/nowhere")[0], 404)
        status, headers, _ = self.server.request("GET", "/v1/completions")
        self.assertEqual(status, 405)
        self.assertIn("POST", headers["Allow"])

    def test_metrics_count(self):
        before = self.server.metric("nlm_generated_tokens_total")
        self.server.post("/v1/completions", {**ONCE, "max_tokens": 9})
        self.assertEqual(self.server.metric("nlm_generated_tokens_total"), before + 9)
        for line in self.server.request("GET", "/metrics")[2].decode().splitlines():
            self.assertRegex(line, r"^(# (HELP|TYPE) nlm_\w+ .+|nlm_\w+(\{[^}]*\})? [0-9.e+-]+)$")

    def test_metrics_of_a_device(self):
        registry = Path(os.environ["NLM_BUILD"]) / "tests/fakes/plugins.toml"
        with Server("--backend", "fake_stream", environment={"NLM_PLUGIN_REGISTRY": str(registry)}) as server:
            for name, value in (("memory_used_bytes", 1 << 20), ("memory_total_bytes", 1 << 30),
                                ("temperature_celsius", 40), ("power_watts", 70.5)):
                self.assertEqual(server.metric("nlm_device_" + name), value)
            self.assertNotIn(b"clock", server.request("GET", "/metrics")[2])
        self.assertNotIn(b"nlm_device", self.server.request("GET", "/metrics")[2])

    def test_slots_are_kept_in_files(self):
        self.server.post("/v1/completions", {**ONCE, "max_tokens": 9})
        slots = self.server.get("/slots")
        index = max(range(3), key=lambda i: slots[i]["n_tokens"])
        kept = self.server.post(f"/slots/{index}?action=save", {"filename": "a.bin"})
        self.assertEqual(kept["n_tokens"], slots[index]["n_tokens"])
        self.assertTrue((Path(self.folder.name) / "a.bin").exists())
        self.assertEqual(self.server.post(f"/slots/{index}?action=erase", {})["n_tokens"], 0)
        self.assertEqual(self.server.get("/slots")[index]["n_tokens"], 0)
        self.assertEqual(self.server.post(f"/slots/{index}?action=restore", {"filename": "a.bin"})["n_tokens"],
                         kept["n_tokens"])
        for name in ("../a.bin", "/etc/passwd", "", ".", "a/b", None, "x" * 300):
            self.fails(f"/slots/{index}?action=save", {"filename": name}, 400, "filename")
        self.fails(f"/slots/{index}?action=restore", {"filename": "none"}, 404)
        self.fails("/slots/9?action=erase", {}, 404, "slot 9")
        self.fails("/slots/x?action=erase", {}, 404)
        self.fails("/slots/0?action=dance", {}, 400, "action")


class Keys(unittest.TestCase):
    def test_keys_are_needed_and_read_again(self):
        with tempfile.TemporaryDirectory() as folder:
            keys = Path(folder) / "keys"
            keys.write_text("# mine\nfirst-key\n\nsecond-key\r\n")
            with Server("--api-key-file", keys) as server:
                def status(path="/v1/models", **headers):
                    return server.request("GET", path, headers=headers)[0]

                self.assertEqual(status(), 401)
                self.assertEqual(status(Authorization="Bearer first-kex"), 401)
                self.assertEqual(status(Authorization="Bearer "), 401)
                self.assertEqual(status(Authorization="Bearer # mine"), 401)
                self.assertEqual(status(Authorization="Bearer first-key"), 200)
                self.assertEqual(status(**{"X-Api-Key": "second-key"}), 200)
                self.assertEqual(status("/health"), 200)
                self.assertEqual(server.request("POST", "/v1/completions", b"x" * 1000000)[0], 401)
                keys.write_text("third-key\n")
                server.process.send_signal(signal.SIGHUP)
                end = time.monotonic() + PATIENCE
                while status(Authorization="Bearer third-key") != 200 and time.monotonic() < end:
                    time.sleep(0.02)
                self.assertEqual(status(Authorization="Bearer first-key"), 401)
                keys.write_text("# none\n")
                server.process.send_signal(signal.SIGHUP)
                while "stay as they were" not in server.log() and time.monotonic() < end:
                    time.sleep(0.02)
                self.assertEqual(status(Authorization="Bearer third-key"), 200)
                keys.unlink()
                os.mkfifo(keys)  # nobody writes to it
                server.process.send_signal(signal.SIGHUP)
                while "no regular file" not in server.log() and time.monotonic() < end:
                    time.sleep(0.02)
                self.assertEqual(status(Authorization="Bearer third-key"), 200)
                self.assertNotIn("third-key", server.log())


class StartAndEnd(unittest.TestCase):
    def fails(self, *arguments, code=1, word=""):
        done = subprocess.run([PROGRAM, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, code, done)
        self.assertEqual(done.stdout, b"")
        self.assertIn(word, done.stderr.decode())

    def test_what_cannot_be_served(self):
        self.fails(code=2, word="no model")
        self.fails("-m", "/nowhere.gguf", word="nowhere")
        self.fails("-m", STORIES, "--backend", "nothing", code=2, word="nothing")
        self.fails("-m", STORIES, "--host", "no.such.host.invalid", word="no.such.host.invalid")
        self.fails("-m", STORIES, "--host", "203.0.113.7", "--port", 0, word="cannot listen")
        self.fails("-m", STORIES, "--api-key-file", "/nowhere", word="/nowhere")
        self.fails("-m", STORIES, "--tls-cert", "a", code=2, word="both")
        self.fails("-m", STORIES, "--tls-cert", STORIES, "--tls-key", STORIES, word="stories260K")
        self.fails("-m", STORIES, "--ctx-size", "5", code=2, word="--context N")
        self.fails("-m", STORIES, "--log-format", "xml", code=2, word="xml")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            self.fails("-m", STORIES, "--port", taken.getsockname()[1], word="Address already in use")

    def test_configuration_in_a_file(self):
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "server.toml"
            config.write_text(f'[model]\npath = "{STORIES}"\ncontext = 100\n[sampler]\ntemperature = 0\n'
                              '[server]\nport = 1\nslots = 2\nmodel_name = "tales"\n')
            command = [str(PROGRAM), str(config), "--port", "0", "--context", "64"]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            server = Server.__new__(Server)
            server.host, _, port = process.stdout.readline().decode().strip()[len("http://") :].rpartition(":")
            server.port = int(port)
            self.assertEqual(server.get("/v1/models")["data"][0]["id"], "tales")
            props = server.get("/props")
            self.assertEqual((props["total_slots"], props["default_generation_settings"]["n_ctx"]), (2, 64))
            text = server.post("/v1/completions", {"prompt": "Once upon a time", "max_tokens": 10})
            self.assertTrue(STORY.startswith(text["choices"][0]["text"][:20]))
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE)
            self.assertEqual(process.returncode, 0)
            config.write_text("[server]\nprot = 1\n")
            self.fails(config, code=2, word="server.port")

    def test_requests_under_way_end_before_the_server_does(self):
        with Server("--set", "server.drain_seconds=600", code=0) as server:
            stream = server.stream("/v1/completions", {**ONCE, "max_tokens": 400, "ignore_eos": True})
            next(stream)
            server.process.send_signal(signal.SIGTERM)
            data = [data for _, data in stream]
            self.assertEqual(data[-1], "[DONE]")
            self.assertEqual(server.process.wait(PATIENCE), 0)
            self.assertRaises(ConnectionRefusedError, server.connect)

    def test_second_signal_does_not_wait(self):
        with Server("--set", "server.drain_seconds=1000", "--slots", 1, "--context", 512) as server:
            stream = server.stream("/v1/completions", {**ONCE, "ignore_eos": True, "n": 100})
            next(stream)
            server.process.send_signal(signal.SIGTERM)
            while "stopping" not in server.log():
                time.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(server.process.wait(PATIENCE), 0)
            stream.close()

    def test_unix_socket_and_logs(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "socket"
            for _ in range(2):
                server = Server("--unix-socket", path, "--log-format", "json")
                with server, socket.socket(socket.AF_UNIX) as client:
                    self.assertEqual(server.url, f"http+unix:{path}")
                    client.connect(str(path))
                    body = json.dumps({"prompt": "secret words", "max_tokens": 2}).encode()
                    client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                                   b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
                    self.assertTrue(serving.read_all(client).startswith(b"HTTP/1.1 200"))
                lines = [json.loads(line) for line in server.log().splitlines()]
                answer = [line for line in lines if line.get("path") == "/v1/completions"]
                self.assertEqual((answer[0]["status"], answer[0]["peer"]), (200, "unix"))
                self.assertNotIn("secret", server.log())
                self.assertFalse(path.exists())

    def test_prompts_are_logged_where_that_is_asked_for(self):
        body = {"prompt": "secret\n\u001b[31m words \u00e9", "max_tokens": 2}
        for form in ("json", "text"):
            with Server("--set", "server.log_prompts=true", "--log-format", form, "--quiet") as server:
                server.request("POST", "/v1/completions", json.dumps(body, ensure_ascii=False).encode())
                line = server.log().splitlines()[-1]
                if form == "json":
                    line = json.loads(line)
                    self.assertEqual((line["path"], json.loads(line["body"])), ("/v1/completions", body))
                else:
                    self.assertIn("/v1/completions says ", line)
                    self.assertEqual(json.loads(line.partition(" says ")[2]), body)

    def test_service_manager(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket() as listening, \
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.bind(f"{folder}/notify")
            notified.settimeout(PATIENCE)
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            start = (f"import os; os.dup2({listening.fileno()}, 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
                     f"os.execv({str(PROGRAM)!r}, [{str(PROGRAM)!r}, '-m', {str(STORIES)!r}])")
            process = subprocess.Popen([os.environ.get("NLM_PYTHON", "python3"), "-c", start], stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, pass_fds=[listening.fileno(), 3],
                                       env={**os.environ, "LISTEN_FDS": "1", "NOTIFY_SOCKET": f"{folder}/notify"})
            self.assertEqual(notified.recv(100), b"READY=1")
            port = listening.getsockname()[1]
            self.assertEqual(process.stdout.readline(), b"http://127.0.0.1:%d\n" % port)
            server = Server.__new__(Server)
            server.host, server.port = "127.0.0.1", port
            self.assertEqual(server.get("/health")["status"], "ok")
            process.send_signal(signal.SIGTERM)
            self.assertEqual(notified.recv(100), b"STOPPING=1")
            process.communicate(timeout=PATIENCE)
            self.assertEqual(process.returncode, 0)


if __name__ == "__main__":
    serving.skip_without_program()
    unittest.main()
