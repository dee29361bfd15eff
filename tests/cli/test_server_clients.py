"""nlm-server through openai, anthropic and llm, where these packages are: tools, schemas, keys, and what goes wrong."""
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import packages
import serving
from packages import has
from serving import Server

TEMPLATE = """{% if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}Answer with <tool_call></tool_call>.<|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content or "" }}{% for call in message.tool_calls or [] %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
USER = [{"role": "user", "content": "Once upon a time"}]
PARAMETERS = {"type": "object", "additionalProperties": False, "required": ["city"],
              "properties": {"city": {"enum": ["Rome", "Oslo"]}}}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Of a city", "parameters": PARAMETERS}}
SCHEMA = {"type": "object", "additionalProperties": False, "required": ["name", "age"],
          "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99}}}


class Serving(unittest.TestCase):
    """Their server has a template that knows tools."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        path = Path(cls.folder.name) / "template"
        path.write_text(TEMPLATE)
        cls.server = Server("--chat-template-file", path, template=None)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.folder.cleanup()
        assert cls.server.process.returncode == 0, cls.server.log()


@unittest.skipUnless(has("openai"), "the package openai is not installed")
class OpenAI(Serving):
    def setUp(self):
        import openai

        self.module = openai
        self.client = openai.OpenAI(base_url=self.server.url + "/v1", api_key="none", max_retries=0)
        self.addCleanup(self.client.close)

    def create(self, **more):
        return self.client.chat.completions.create(**{"model": "any", "messages": USER, "max_tokens": 100, **more})

    def test_tools_whole_and_streamed(self):
        choice = self.create(tools=[TOOL], tool_choice="required").choices[0]
        self.assertEqual(choice.finish_reason, "tool_calls")
        called = choice.message.tool_calls[0]
        self.assertEqual((called.type, called.function.name), ("function", "weather"))
        self.assertIn(json.loads(called.function.arguments)["city"], ("Rome", "Oslo"))
        with self.client.chat.completions.stream(model="any", messages=USER, tools=[TOOL], tool_choice={
                "type": "function", "function": {"name": "weather"}}) as stream:
            final = stream.get_final_completion().choices[0]
        self.assertEqual(final.finish_reason, "tool_calls")
        self.assertIn(json.loads(final.message.tool_calls[0].function.arguments)["city"], ("Rome", "Oslo"))
        result = {"role": "tool", "tool_call_id": called.id, "content": "sunny"}
        message = choice.message.model_dump(exclude_none=True)
        after = self.create(messages=[*USER, message, result], tools=[TOOL], tool_choice="none", max_tokens=5)
        self.assertGreater(after.usage.prompt_tokens, self.create(max_tokens=1).usage.prompt_tokens)
        self.assertIsNone(after.choices[0].message.tool_calls)

    def test_schema_becomes_an_object(self):
        import pydantic

        class Dog(pydantic.BaseModel):
            name: str
            age: int

        answer = self.client.chat.completions.parse(model="any", messages=USER, response_format=Dog, seed=3,
                                                    max_tokens=400)
        self.assertIsInstance(answer.choices[0].message.parsed, Dog)
        text = self.create(response_format={"type": "json_object"}, seed=1, max_tokens=400).choices[0]
        if text.finish_reason == "stop":
            self.assertIsInstance(json.loads(text.message.content), dict)

    def test_many_at_once(self):
        async def all_of_them():
            async with self.module.AsyncOpenAI(base_url=self.server.url + "/v1", api_key="none", max_retries=0) as client:
                return await asyncio.gather(*[client.completions.create(
                    model="any", prompt=f"Once upon {i}", max_tokens=8, temperature=0) for i in range(12)])

        answers = asyncio.run(all_of_them())
        for i, answer in enumerate(answers):
            alone = self.client.completions.create(model="any", prompt=f"Once upon {i}", max_tokens=8, temperature=0)
            self.assertEqual(answer.choices[0].text, alone.choices[0].text)

    def test_a_stream_that_is_left(self):
        stream = self.create(stream=True, max_tokens=400, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
        self.server.wait_until_idle()

    def test_errors(self):
        model = self.client.models.retrieve("stories260K-q8_0")
        self.assertEqual((model.id, model.object), ("stories260K-q8_0", "model"))
        with self.assertRaises(self.module.NotFoundError):
            self.client.models.retrieve("some/other")
        with self.assertRaises(self.module.BadRequestError) as caught:
            self.create(messages=[{"role": "user", "content": "a b c " * 3000}])
        self.assertEqual(caught.exception.code, "context_length_exceeded")
        with self.assertRaises(self.module.BadRequestError) as caught:
            self.create(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "king"}}})
        self.assertIn("king", str(caught.exception))
        with tempfile.NamedTemporaryFile("w") as keys:
            keys.write("secret\n")
            keys.flush()
            with Server("--api-key-file", keys.name) as server:
                right = self.client.with_options(base_url=server.url + "/v1", api_key="secret")
                self.assertEqual(len(right.models.list().data), 1)
                with self.assertRaises(self.module.AuthenticationError) as caught:
                    self.client.with_options(base_url=server.url + "/v1").models.list()
                self.assertEqual(caught.exception.code, "invalid_api_key")
                right.close()


@unittest.skipUnless(has("anthropic"), "the package anthropic is not installed")
class Anthropic(Serving):
    def test_tools_thinking_and_errors(self):
        import anthropic

        client = anthropic.Anthropic(base_url=self.server.url, api_key="none", max_retries=0)
        self.addCleanup(client.close)
        tools = [{"name": "weather", "description": "Of a city", "input_schema": PARAMETERS}]
        same = {"model": "any", "max_tokens": 100, "messages": USER, "tools": tools}
        whole = client.messages.create(**same, tool_choice={"type": "any"})
        self.assertEqual((whole.stop_reason, whole.content[0].type), ("tool_use", "tool_use"))
        self.assertIn(whole.content[0].input["city"], ("Rome", "Oslo"))
        with client.messages.stream(**same, tool_choice={"type": "tool", "name": "weather"}) as stream:
            final = stream.get_final_message()
        self.assertIn(final.content[0].input["city"], ("Rome", "Oslo"))
        blocks = [{"type": "thinking", "thinking": "So.", "signature": ""}, {"type": "text", "text": "Let me see."},
                  whole.content[0].model_dump(include={"type", "id", "name", "input"})]
        result = {"type": "tool_result", "tool_use_id": whole.content[0].id, "content": [{"type": "text", "text": "sunny"}]}
        after = client.messages.create(**{**same, "max_tokens": 5, "messages": [
            *USER, {"role": "assistant", "content": blocks}, {"role": "user", "content": [result]}]})
        self.assertEqual(after.usage.output_tokens, 5)
        with self.assertRaises(anthropic.BadRequestError) as caught:
            client.messages.create(**{**same, "messages": [{"role": "user", "content": "a b c " * 3000}]})
        self.assertIn("context", str(caught.exception))


@unittest.skipUnless(has("llm"), "the package llm is not installed")
class Llm(Serving):
    def ask(self, *arguments):
        (Path(self.folder.name) / "extra-openai-models.yaml").write_text(json.dumps([{
            "model_id": "nlm", "model_name": "any", "api_base": self.server.url + "/v1", "supports_schema": True}]))
        done = subprocess.run([sys.executable, "-m", "llm", "-m", "nlm", *arguments], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=120,
                              env={**os.environ, "LLM_USER_PATH": self.folder.name, "OPENAI_API_KEY": "none"})
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_text_streamed_and_whole_and_schema(self):
        same = ["-o", "temperature", "0", "-o", "max_tokens", "20", "-s", "Tell.", "Once upon a time"]
        text = self.ask(*same)
        self.assertGreater(len(text), 10)
        self.assertEqual(self.ask("--no-stream", *same), text)
        dog = json.loads(self.ask("--schema", json.dumps(SCHEMA), "A dog"))
        self.assertEqual(sorted(dog), ["age", "name"])


if __name__ == "__main__":
    serving.skip_without_program()
    packages.use_their_interpreter()
    packages.skip_without_any("openai", "anthropic", "llm")
    unittest.main()
