"""nlm-server: samplers, embeddings, and what a schema or a grammar keeps a text to."""
import base64
import json
import struct
import unittest

import serving
from serving import Running


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


if __name__ == "__main__":
    serving.skip_without_program()
    unittest.main()
