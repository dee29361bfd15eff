"""nlm-server through the Python packages that its users have: openai, anthropic, schemathesis. Each is skipped where it is
not installed; packages.py says how they are found.

NLM_SERVER_CASES (20) is how many requests schemathesis draws for each path, beside those that cover the document."""
import os
import subprocess
import sys
import tempfile
import unittest

import packages
import serving
from packages import has
from serving import Server

CASES = int(os.environ.get("NLM_SERVER_CASES", "20"))
USER = [{"role": "user", "content": "Once upon a time"}]


@unittest.skipUnless(has("openai"), "the package openai is not installed")
class OpenAI(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        import openai

        cls.module = openai
        cls.server = Server()
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def test_chat(self):
        same = {"model": "any", "messages": USER, "temperature": 0, "max_tokens": 20}
        whole = self.client.chat.completions.create(**same, logprobs=True, top_logprobs=2)
        text = whole.choices[0].message.content
        self.assertEqual("".join(item.token for item in whole.choices[0].logprobs.content), text)
        self.assertEqual(whole.usage.completion_tokens, 20)
        chunks = list(self.client.chat.completions.create(**same, stream=True, stream_options={"include_usage": True}))
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in chunks if c.choices), text)
        self.assertEqual(chunks[-1].usage.total_tokens, whole.usage.total_tokens)

    def test_completions(self):
        answer = self.client.completions.create(model="any", prompt="Once upon a time", temperature=0, max_tokens=20, n=2)
        self.assertTrue(answer.choices[0].text.startswith(", there was a little girl"))
        self.assertEqual(answer.choices[1].index, 1)

    def test_responses(self):
        whole = self.client.responses.create(model="any", input="Once upon a time", temperature=0, max_output_tokens=20,
                                             instructions="Tell.")
        self.assertEqual((whole.status, whole.incomplete_details.reason), ("incomplete", "max_output_tokens"))
        self.assertEqual(whole.usage.output_tokens, 20)
        events = list(self.client.responses.create(model="any", input=USER, instructions="Tell.", temperature=0,
                                                   max_output_tokens=20, stream=True))
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        self.assertEqual("".join(e.delta for e in events if e.type == "response.output_text.delta"), whole.output_text)
        self.assertEqual(events[-1].response.output_text, whole.output_text)
        with self.assertRaises(self.module.BadRequestError):
            self.client.responses.create(model="any", input="x", previous_response_id="resp_1")

    def test_embeddings_and_models(self):
        answer = self.client.embeddings.create(model="any", input=["Once", "Lily"])  # base64 on the wire
        self.assertAlmostEqual(sum(x * x for x in answer.data[0].embedding), 1, places=4)
        self.assertEqual(len(answer.data), 2)
        self.assertEqual([model.id for model in self.client.models.list()], ["stories260K-q8_0"])

    def test_errors(self):
        with self.assertRaises(self.module.BadRequestError) as caught:
            self.client.chat.completions.create(model="any", messages=USER, temperature=-1)
        self.assertEqual(caught.exception.param, "temperature")
        with self.assertRaises(self.module.NotFoundError):
            self.client.get("/nothing", cast_to=object)


@unittest.skipUnless(has("anthropic"), "the package anthropic is not installed")
class Anthropic(unittest.TestCase):
    def test_messages(self):
        import anthropic

        with Server() as server:
            client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)
            same = {"model": "any", "messages": USER, "max_tokens": 20, "system": "Tell.",
                    "extra_body": {"temperature": 0}}
            whole = client.messages.create(**same)
            self.assertEqual(whole.stop_reason, "max_tokens")
            with client.messages.stream(**same) as stream:
                text = "".join(stream.text_stream)
                final = stream.get_final_message()
            self.assertEqual(text, whole.content[0].text)
            self.assertEqual(final.usage.output_tokens, 20)
            counted = client.messages.count_tokens(model="any", messages=USER, system="Tell.").input_tokens
            self.assertEqual(whole.usage.input_tokens + whole.usage.cache_read_input_tokens, counted)
            with self.assertRaises(anthropic.BadRequestError):
                client.messages.create(**{**same, "messages": [{"role": "king", "content": "x"}]})
            client.close()


@unittest.skipUnless(has("schemathesis"), "the package schemathesis is not installed")
class Schema(unittest.TestCase):
    def test_requests_made_from_the_openapi_document(self):
        limits = ["--context", 128, "--slots", 8, "--max-tokens", 3, "--quiet", "--set", "server.request_seconds=2"]
        with tempfile.TemporaryDirectory() as folder, Server(*limits, "--slot-folder", folder) as server:
            done = subprocess.run(
                [sys.executable, "-m", "schemathesis.cli", "run", server.url + "/openapi.json", "--url", server.url,
                 "--max-examples", str(CASES), "--phases", "examples,coverage,fuzzing", "--checks",
                 "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
                 "--request-timeout", "60", "--no-color"], capture_output=True, text=True, cwd=folder)
            print(done.stdout[-1500:])
            self.assertEqual(done.returncode, 0, done.stdout[-8000:] + done.stderr[-2000:])
            server.wait_until_idle()


if __name__ == "__main__":
    serving.skip_without_program()
    packages.use_their_interpreter()
    packages.skip_without_any("openai", "anthropic", "schemathesis")
    unittest.main()
