"""nlm-server: samplers, embeddings, and what a schema or a grammar keeps a text to."""
import base64
import json
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

import serving
from serving import PATIENCE, Running, Server


class Sampling(Running):
    def test_every_sampler_is_passed_on(self):
        body = {"prompt": "Once upon a time", "max_tokens": 40, "seed": 3, "temperature": 1.2}
        texts = set()
        for more in ({}, {"top_k": 3}, {"top_p": 0.3}, {"min_p": 0.5}, {"repeat_penalty": 5}, {"frequency_penalty": 5},
                     {"presence_penalty": 5}, {"typical_p": 0.2}, {"top_n_sigma": 0.3},
                     {"xtc_probability": 1, "xtc_threshold": 0.05}, {"dry_multiplier": 50, "dry_allowed_length": 1},
                     {"dynatemp_range": 1.2}, {"mirostat": 2, "mirostat_tau": 1}):
            answer = self.server.post("/v1/completions", {**body, **more})
            texts.add(answer["choices"][0]["text"])
        self.assertGreater(len(texts), 10)
        same = self.server.post("/v1/completions", {**body, "top_p": 0, "seed": 9})["choices"][0]["text"]
        self.assertEqual(same, self.server.post("/v1/completions", {**body, "temperature": 0})["choices"][0]["text"])
        for more, word in (({"mirostat": 1}, "version 2"), ({"samplers": ["wrong"]}, "wrong"), ({"dry_base": 0.5}, "dry_base"),
                           ({"samplers": ["temperature"], "top_p": 0.5}, "top_p"), ({"samplers": [3]}, "strings"),
                           ({"logit_bias": {"1": 2000}}, "bias")):
            self.fails("/v1/completions", {**body, **more}, 400, word)


    def test_the_sampler_of_the_configuration_holds_where_a_request_says_nothing(self):
        body = {"prompt": "Once upon a time", "max_tokens": 30, "seed": 4}
        for arguments, fields in (
                (["--temperature", 0.5, "--frequency-penalty", 2], {"temperature": 0.5, "frequency_penalty": 2}),
                (["--mirostat", 2], {"mirostat": 2, "mirostat_tau": 5}),
                (["--mirostat-tau", 2, "--mirostat", 2], {"mirostat_tau": 2}),
                (["--logit-bias", "400:9", "--logit-bias", "410:8"], {"logit_bias": {"400": 9, "410": 8}}),
                (["--set", "sampler.order=[\"temperature\", \"top_k\"]", "--top-k", 3],
                 {"samplers": ["temperature", "top_k"], "top_k": 3}),
                (["--dry-multiplier", 9, "--set", "sampler.dry_breakers=[\"Lily was\"]", "--set", "sampler.dry_last_n=20"],
                 {"dry_multiplier": 9, "dry_sequence_breakers": ["Lily was"], "dry_penalty_last_n": 20})):
            expected = self.server.post("/v1/completions", {**body, **fields})["choices"][0]["text"]
            other = self.server.post("/v1/completions", {**body, "temperature": 0.9})["choices"][0]["text"]
            with self.subTest(arguments), Server(*arguments) as server:
                self.assertEqual(server.post("/v1/completions", body)["choices"][0]["text"], expected)
                over = {**body, "temperature": 0.9, "frequency_penalty": 0, "mirostat": 0, "logit_bias": {}, "dry_multiplier": 0}
                if "samplers" not in fields:
                    self.assertEqual(server.post("/v1/completions", over)["choices"][0]["text"], other)
        for arguments, code, word in ((["--logit-bias", "512:1"], 2, "512"), (["--logit-bias", "1"], 2, "ID:BIAS"),
                                      (["--mirostat", 1], 2, "--mirostat: 1"), (["--set", "sampler.order=[\"x\"]"], 2, "'x'")):
            done = subprocess.run([str(part) for part in (serving.PROGRAM, "-m", serving.STORIES, *arguments)],
                                  capture_output=True, text=True, timeout=PATIENCE)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(word, done.stderr)


class Embeddings(Running):
    def test_rows_have_length_one_and_depend_on_their_text_alone(self):
        texts = ["Once upon a time", "Lily", "a big red ball"]
        answer = self.server.post("/v1/embeddings", {"input": texts})
        rows = [item["embedding"] for item in answer["data"]]
        self.assertEqual([item["index"] for item in answer["data"]], [0, 1, 2])
        for text, row in zip(texts, rows):
            self.assertAlmostEqual(sum(x * x for x in row), 1, places=5)
            self.assertEqual(self.server.post("/v1/embeddings", {"input": text})["data"][0]["embedding"], row)
        encoded = self.server.post("/v1/embeddings", {"input": texts[0], "encoding_format": "base64"})
        data = base64.b64decode(encoded["data"][0]["embedding"])
        for x, y in zip(struct.unpack(f"<{len(data) // 4}f", data), rows[0]):
            self.assertAlmostEqual(x, y, places=6)
        ids = self.server.post("/tokenize", {"content": texts[0], "add_special": True})["tokens"]
        self.assertEqual(self.server.post("/v1/embeddings", {"input": ids})["data"][0]["embedding"], rows[0])
        self.assertEqual(self.server.post("/v1/embeddings", {"input": [ids]})["usage"]["prompt_tokens"], len(ids))
        last = self.server.post("/v1/embeddings", {"input": texts[0], "pooling": "last", "normalize": False})
        self.assertNotEqual(last["data"][0]["embedding"], rows[0])
        for body, word in (({}, "input"), ({"input": []}, "no token"), ({"input": [[]]}, "no token"),
                           ({"input": "x", "dimensions": 3}, "dimensions"), ({"input": "x", "pooling": "max"}, "max"),
                           ({"input": "x", "encoding_format": "int8"}, "int8"), ({"input": [5] * 5000}, "5000")):
            self.fails("/v1/embeddings", body, 400, word)


SCHEMA = {"type": "object", "additionalProperties": False, "required": ["name", "age", "tags"], "properties": {
    "name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99},
    "tags": {"type": "array", "maxItems": 2, "items": {"enum": ["big", "red"]}}}}
USER = [{"role": "user", "content": "Once upon a time"}]


class Constrained(Running):
    def check(self, text):
        document = json.loads(text)
        self.assertEqual(list(document), ["name", "age", "tags"])
        self.assertLessEqual(len(document["name"]), 8)
        self.assertTrue(0 <= document["age"] <= 99 and set(document["tags"]) <= {"big", "red"}, document)

    def test_schema(self):
        response_format = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}
        for seed in range(4):
            body = {"messages": USER, "response_format": response_format, "seed": seed, "n": 2}
            for choice in self.server.post("/v1/chat/completions", body)["choices"]:
                self.check(choice["message"]["content"])
                self.assertEqual(choice["finish_reason"], "stop")
        self.check(self.server.post("/v1/completions", {"prompt": ["a", "b"], "json_schema": SCHEMA})["choices"][1]["text"])
        answer = self.server.post("/v1/responses", {"input": "x", "text": {"format": {
            "type": "json_schema", "name": "x", "schema": SCHEMA}}})
        self.check(answer["output"][0]["content"][0]["text"])
        streamed = self.server.stream("/v1/chat/completions", {"messages": USER, "response_format": response_format})
        self.check("".join(json.loads(data)["choices"][0]["delta"].get("content", "") for _, data in streamed
                           if data != "[DONE]"))

    def test_same_bits_beside_others(self):
        body = {"messages": USER, "json_schema": SCHEMA, "seed": 5, "logprobs": True}
        alone = self.server.post("/v1/chat/completions", body)["choices"][0]
        self.check(alone["message"]["content"])
        beside = self.server.post("/v1/chat/completions", {**body, "seed": 3, "n": 3})["choices"][2]
        self.assertEqual({**beside, "index": 0}, alone)

    def test_grammar_and_object(self):
        answer = self.server.post("/v1/completions", {"prompt": "x", "grammar": 'root ::= ("yes" | "no") " " [0-9]{3}'})
        self.assertRegex(answer["choices"][0]["text"], r"^(yes|no) \d{3}$")
        bias = {"prompt": "x", "response_format": {"type": "json_object"}, "max_tokens": 200, "temperature": 0}
        choice = self.server.post("/v1/completions", bias)["choices"][0]
        self.assertTrue(choice["text"].startswith("{"), choice)
        if choice["finish_reason"] == "stop":
            json.loads(choice["text"])

    def test_what_cannot_be_compiled(self):
        for more, word in (({"grammar": 'root ::= "a'}, "grammar:1"), ({"grammar": "x ::= y"}, "root"),
                           ({"json_schema": {"not": {"type": "null"}}}, "not"),
                           ({"json_schema": 3}, "object"), ({"response_format": {"type": "xml"}}, "xml"),
                           ({"response_format": {"type": "json_schema"}}, "no schema"),
                           ({"grammar": 'root ::= "a"', "json_schema": {}}, "exclude")):
            self.fails("/v1/completions", {"prompt": "x", **more}, 400, word)


TEMPLATE = """{% if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<tool_call></tool_call><|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}{% for call in message.tool_calls or [] %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if mood %}{{ mood }}{% endif %}{% endif %}"""
PARAMETERS = {"type": "object", "additionalProperties": False, "required": ["city"],
              "properties": {"city": {"enum": ["Rome", "Oslo"]}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}},
         {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "unknownKeyword": 1,
                                                                         "maxProperties": 1}}}]
WEATHER = {"type": "function", "function": {"name": "weather"}}


class Tools(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "template"
            path.write_text(TEMPLATE)
            cls.server = Server("--chat-template-file", path, "--context", 2048, template=None)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        assert cls.server.process.returncode == 0, cls.server.log()

    def test_tool_that_has_to_be_called(self):
        body = {"messages": USER, "tools": TOOLS, "tool_choice": WEATHER}
        choice = self.server.post("/v1/chat/completions", body)["choices"][0]
        self.assertEqual((choice["finish_reason"], choice["message"]["content"]), ("tool_calls", None))
        call = choice["message"]["tool_calls"][0]
        self.assertEqual((call["type"], call["function"]["name"]), ("function", "weather"))
        self.assertIn(json.loads(call["function"]["arguments"])["city"], ("Rome", "Oslo"))
        chunks = [json.loads(data)["choices"][0] for _, data in self.server.stream("/v1/chat/completions", body)
                  if data != "[DONE]"]
        calls = [call for chunk in chunks for call in chunk["delta"].get("tool_calls", [])]
        self.assertEqual([(call["index"], call["function"]["name"]) for call in calls], [(0, "weather")])
        self.assertEqual("".join(chunk["delta"].get("content") or "" for chunk in chunks), "")
        any_tool = self.server.post("/v1/chat/completions", {**body, "tool_choice": "required", "max_tokens": 300})
        self.assertIn(any_tool["choices"][0]["finish_reason"], ("tool_calls", "length"))

    def test_a_call_that_is_cut_is_content(self):
        body = {"messages": USER, "tools": TOOLS, "tool_choice": WEATHER, "max_tokens": 4}
        choice = self.server.post("/v1/chat/completions", body)["choices"][0]
        self.assertEqual(choice["finish_reason"], "length")
        self.assertTrue(choice["message"]["content"].startswith("{"), choice)

    def test_other_forms(self):
        tools = [{"name": "weather", "input_schema": PARAMETERS}]
        body = {"max_tokens": 100, "messages": USER, "tools": tools, "tool_choice": {"type": "tool", "name": "weather"}}
        answer = self.server.post("/v1/messages", body)
        self.assertEqual((answer["stop_reason"], answer["content"][0]["type"]), ("tool_use", "tool_use"))
        self.assertIn(answer["content"][0]["input"]["city"], ("Rome", "Oslo"))
        events = [json.loads(data) for _, data in self.server.stream("/v1/messages", body)]
        pieces = [event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta"]
        self.assertIn(json.loads("".join(pieces))["city"], ("Rome", "Oslo"))
        tools = [{"type": "function", "name": "weather", "parameters": PARAMETERS}]
        body = {"input": "x", "tools": tools, "tool_choice": "required"}
        output = self.server.post("/v1/responses", body)["output"][0]
        self.assertEqual((output["type"], output["name"]), ("function_call", "weather"))
        events = [json.loads(data) for _, data in self.server.stream("/v1/responses", body)]
        self.assertEqual(events[-1]["response"]["output"][0]["name"], "weather")
        self.assertIn("response.function_call_arguments.done", [event["type"] for event in events])

    def test_calls_and_results_reach_the_template(self):
        call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
        ours = self.server.post("/apply-template", {"tools": TOOLS[:1], "messages": [
            USER[0], {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"}]})["prompt"]
        self.assertIn('<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>', ours)
        self.assertIn("<|im_start|>tool\nsunny<|im_end|>", ours)
        blocks = [USER[0], {"role": "assistant", "content": [
            {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Rome"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "sunny"}]}]
        counted = self.server.post("/v1/messages/count_tokens", {"max_tokens": 1, "messages": blocks, "tools": [
            {"name": "weather", "input_schema": PARAMETERS}]})["input_tokens"]
        tokens = self.server.post("/tokenize", {"content": ours, "add_special": True, "parse_special": True})
        self.assertEqual(counted, tokens["count"])
        mood = self.server.post("/apply-template", {"messages": USER, "chat_template_kwargs": {"mood": "glad"}})
        self.assertTrue(mood["prompt"].endswith("assistant\nglad"), mood)

    def test_large_numbers_keep_their_digits(self):
        digits = "[9007199254740993, 1234567890123456, -9223372036854775808]"
        call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": %s}' % digits}}
        body = json.dumps({"tools": TOOLS[:1], "messages": [USER[0], {
            "role": "assistant", "content": "", "tool_calls": [call]}], "chat_template_kwargs": {"mood": "MOOD"}})
        status, _, answer = self.server.request("POST", "/apply-template", body.replace('"MOOD"', "9007199254740993").encode())
        prompt = json.loads(answer)["prompt"]
        self.assertIn(digits, prompt)
        self.assertTrue(prompt.endswith("assistant\n9007199254740993"), prompt)
        for seed in (9007199254740993, 1 - 2 ** 63, 2 ** 63 - 1):
            done = self.server.post("/v1/completions", {"prompt": "a", "max_tokens": 1, "seed": seed})
            self.assertEqual(done["seed"], seed % 2 ** 64)
        for wrong in ("9223372036854775808", "-9223372036854775808", "1e400", "1234567890.1234567890"):
            status, _, answer = self.server.request("POST", "/v1/completions", b'{"prompt": "a", "seed": %s}' % wrong.encode())
            self.assertEqual((status, json.loads(answer)["error"]["param"]), (400, "seed"))

    def test_thinking_reaches_the_template(self):
        template = "{% for m in messages %}[{{ m.role }}({{ m.reasoning_content }}){{ m.content }}]{% endfor %}"
        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as file:
            file.write(template)
            file.flush()
            with Server("--chat-template-file", file.name, template=None) as server:
                blocks = [{"type": "thinking", "thinking": "red", "signature": ""}, {"type": "redacted_thinking", "data": ""},
                          {"type": "thinking", "thinking": "big"}, {"type": "text", "text": "ball"}]
                messages = [USER[0], {"role": "assistant", "content": blocks}, {"role": "user", "content": "Yes"}]
                counted = server.post("/v1/messages/count_tokens", {"messages": messages})["input_tokens"]
                text = "[user()Once upon a time][assistant(red\nbig)ball][user()Yes]"
                expected = server.post("/tokenize", {"content": text, "add_special": True})["count"]
                self.assertEqual(counted, expected)
                wrong = [{"role": "assistant", "content": [{"type": "thinking"}]}]
                answer = server.post("/v1/messages/count_tokens", {"messages": wrong}, expected=400)
                self.assertIn("thinking", answer["error"]["message"])

    def test_what_is_wrong(self):
        for more, word in (({"tools": [{"type": "x"}]}, "function"), ({"tool_choice": "required"}, "tool_choice"),
                           ({"tools": TOOLS, "tool_choice": {"function": {"name": "none"}}}, "names one"),
                           ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice"), ({"tools": {}}, "array"),
                           ({"functions": [{"name": "x"}]}, "'tools' is"), ({"function_call": "auto"}, "'tool_choice' is"),
                           ({"tools": TOOLS, "tool_choice": WEATHER, "grammar": 'root ::= "a"'}, "exclude")):
            answer = self.server.post("/v1/chat/completions", {"messages": USER, **more}, expected=400)
            self.assertIn(word, answer["error"]["message"])
        with Server() as plain:
            answer = plain.post("/v1/chat/completions", {"messages": USER, "tools": TOOLS}, expected=400)
            self.assertIn("tools", answer["error"]["message"])


if __name__ == "__main__":
    serving.skip_without_program()
    unittest.main()
