"""nlm-model convert: GGUF files to Hugging Face's folders and back, by what is in the files."""
import json
import os
import struct
import subprocess
import sys
import unittest

from converting import BIN, FIXTURES, SOURCE, Case, convert, ids_of, read_safetensors, write_safetensors

try:
    import numpy as np
except ImportError:
    np = None


PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_bytes(*args):
    """Of memory that a conversion had; in a process of its own, whose other children do not count."""
    done = subprocess.run([sys.executable, "-c", PEAK, BIN / "nlm-model", "convert", *args], check=True, timeout=120,
                          stdout=subprocess.PIPE)
    return 1024 * int(done.stdout)


class Files(Case):
    def test_wrong_use_exits_with_2(self):
        for args in ((), ("a",), ("a", "b", "c"), ("a", "b", "--json"), ("a", "b", "--no-mmap"),
                     ("a", "b", "--dtype", "q8_0"), ("a", "b", "--dtype", "f64"), ("a", "b", "--shard-size", "0")):
            with self.subTest(args):
                self.assertIn("--help", convert(*args, code=2))

    def test_there_and_back_computes_the_same_bits(self):
        names = ("llama-gqa-f32", "llama-biases-f16", "llama-linear-f32", "qwen2-f32", "qwen3-f32",
                 "smollm3-f32", "granite-f32", "mamba-f32")
        for name in names:
            with self.subTest(name):
                there, back = self.folder / name, self.folder / f"{name}.gguf"
                convert(FIXTURES / f"{name}.gguf", there)
                convert(there, back)
                tokens = (FIXTURES / f"{name}.txt").read_text().split()
                expected = self.logits(FIXTURES / f"{name}.gguf", tokens)
                if name == "mamba-f32":  # exp and log of A round
                    (shape, actual), (expected_shape, wanted) = self.logits(back, tokens), expected
                    self.assertEqual(shape, expected_shape)
                    for a, b in zip(struct.iter_unpack("<f", actual), struct.iter_unpack("<f", wanted)):
                        self.assertAlmostEqual(a[0], b[0], delta=1e-5)
                else:
                    self.assertEqual(self.logits(back, tokens), expected)

    def test_names_shapes_and_rows_are_those_of_transformers(self):
        if np is None:
            self.skipTest("reading a GGUF needs NumPy")
        sys.path.insert(0, str(SOURCE / "tests/oracle"))
        from gguf_file import GgufFile

        for name, prefix, checks in (
            ("llama-gqa-f32", "model.layers.1.", {"self_attn.q_proj.weight": "attn_q.weight",
                                                  "self_attn.v_proj.weight": "attn_v.weight",
                                                  "mlp.down_proj.weight": "ffn_down.weight"}),
            ("mamba-f32", "backbone.layers.1.", {"mixer.A_log": "ssm_a", "mixer.conv1d.weight": "ssm_conv1d.weight",
                                                 "mixer.D": "ssm_d", "norm.weight": "attn_norm.weight"})):
            convert(FIXTURES / f"{name}.gguf", self.folder / name)
            metadata, tensors = read_safetensors(self.folder / name / "model.safetensors")
            self.assertEqual(metadata, {"format": "pt"})
            file = GgufFile(FIXTURES / f"{name}.gguf")
            for theirs, ours in checks.items():
                with self.subTest(theirs):
                    dtype, shape, data = tensors[prefix + theirs]
                    values = file.tensor(f"blk.1.{ours}")
                    if ours == "attn_q.weight":  # pairs become halves
                        heads = file.meta["llama.attention.head_count"]
                        values = values.reshape(heads, -1, 2, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
                    elif ours == "ssm_a":
                        values = np.log(-values)
                    elif ours == "ssm_conv1d.weight":
                        values = values[:, None, :]
                    self.assertEqual((dtype, shape), ("F32", list(values.shape)))
                    np.testing.assert_allclose(np.frombuffer(data, "<f4").reshape(shape), values, rtol=1e-6)

    def test_types(self):
        source = FIXTURES / "stories260K-q8_0.gguf"
        for given, expected in ((None, "F32"), ("f16", "F16"), ("bf16", "BF16")):
            with self.subTest(given):
                there, back = self.folder / f"{given}", self.folder / f"{given}.gguf"
                convert(source, there, *(["--dtype", given] if given else []))
                _, tensors = read_safetensors(there / "model.safetensors")
                self.assertEqual(tensors["model.embed_tokens.weight"][0], expected)
                config = json.loads((there / "config.json").read_text())
                self.assertEqual(config["torch_dtype"], {"F32": "float32", "F16": "float16"}.get(expected, "bfloat16"))
                self.assertFalse(config["tie_word_embeddings"])
                self.assertEqual(tensors["lm_head.weight"][0], expected)
                convert(there, back)
                done = subprocess.run([BIN / "nlm-model", "inspect", "--json", "--tensors", back], check=True,
                                      timeout=60, stdout=subprocess.PIPE)
                kinds = {item["name"]: item["type"] for item in json.loads(done.stdout)["tensors"]}
                self.assertEqual(kinds["blk.0.attn_q.weight"], expected.lower())
                self.assertEqual(kinds["blk.0.attn_norm.weight"], "f32")

    def test_the_tokenizer_goes_with_the_model(self):
        source = FIXTURES / "stories260K-q8_0.gguf"
        convert(source, self.folder / "out")
        self.assertTrue((self.folder / "out/tokenizer.json").exists())
        convert(self.folder / "out", self.folder / "back.gguf")
        self.assertGreater(len(ids_of(source)), 20)
        self.assertEqual(ids_of(self.folder / "back.gguf"), ids_of(source))

    def test_the_chat_template_goes_with_the_tokenizer(self):
        out, back, text = self.folder / "out", self.folder / "back.gguf", "{% for m in messages %}\n{{ m }}{% endfor %}"
        convert(FIXTURES / "stories260K-q8_0.gguf", out)
        config = out / "tokenizer_config.json"
        for content in (text, [{"name": "tools", "template": "no"}, {"name": "default", "template": text}]):
            config.write_text(json.dumps({"chat_template": content}))
            convert(out, back)
            self.assertIn(struct.pack("<Q", len(text)) + text.encode(), back.read_bytes())
        convert(back, self.folder / "again")
        self.assertEqual((self.folder / "again/chat_template.jinja").read_text(), text)
        convert(self.folder / "again", self.folder / "last.gguf")
        self.assertIn(text.encode(), (self.folder / "last.gguf").read_bytes())
        config.write_text("[")
        self.assertIn("no valid JSON", convert(out, self.folder / "none.gguf", code=1))

    def test_numbers_that_a_type_has_not_are_told(self):
        out = self.folder / "out"
        convert(FIXTURES / "llama-gqa-f32.gguf", out)
        _, tensors = read_safetensors(out / "model.safetensors")
        name = "model.layers.0.mlp.up_proj.weight"
        dtype, shape, data = tensors[name]
        for value, says in ((1e6, "too large for f16"), (float("nan"), "is nan")):
            tensors[name] = dtype, shape, struct.pack("<f", value) + data[4:]
            write_safetensors(out / "model.safetensors", tensors)
            convert(out, self.folder / "f32.gguf")
            err = convert(out, self.folder / "f16.gguf", "--dtype", "f16", code=1)
            self.assertIn(f"'{name}' as f16: ", err)
            self.assertIn(says, err)
            self.assertFalse((self.folder / "f16.gguf").exists())

    def test_rows_without_a_token_get_a_name(self):
        convert(FIXTURES / "stories260K-q8_0.gguf", self.folder / "out")
        _, tensors = read_safetensors(self.folder / "out/model.safetensors")
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            dtype, (rows, columns), data = tensors[name]
            tensors[name] = dtype, [rows + 3, columns], data + bytes(3 * 4 * columns)
        write_safetensors(self.folder / "out/model.safetensors", tensors)
        config = json.loads((self.folder / "out/config.json").read_text())
        (self.folder / "out/config.json").write_text(json.dumps(config | {"vocab_size": 515}))
        convert(self.folder / "out", self.folder / "back.gguf")
        self.assertIn(b"[PAD514]", (self.folder / "back.gguf").read_bytes())
        self.assertEqual(ids_of(self.folder / "back.gguf"), ids_of(FIXTURES / "stories260K-q8_0.gguf"))
        self.logits(self.folder / "back.gguf", [1, 514])

    def test_what_becomes_of_a_tokenizer_that_is_not_read_is_told(self):
        convert(FIXTURES / "stories260K-q8_0.gguf", self.folder / "out")
        for text, code, says in (
                ('{"model": {"type": "WordPiece", "vocab": {}}}', 0, "note: without a tokenizer: "),
                ("{", 1, "no valid JSON"), (None, 0, "note: without a tokenizer: ")):
            with self.subTest(text):
                if text:
                    (self.folder / "out/tokenizer.json").write_text(text)
                else:
                    (self.folder / "out/tokenizer.json").unlink()
                result = subprocess.run([BIN / "nlm-model", "convert", self.folder / "out", self.folder / "back.gguf"],
                                        capture_output=True, timeout=60)
                self.assertEqual(result.returncode, code)
                self.assertIn(says, (result.stdout + result.stderr).decode())
                self.assertEqual((self.folder / "back.gguf").exists(), code == 0)
                (self.folder / "back.gguf").unlink(missing_ok=True)

    @unittest.skipIf(os.environ.get("NLM_SANITIZE"), "sanitizers take memory of their own")
    def test_memory_is_that_of_a_tensor_and_not_of_the_model(self):
        hidden, inner, layers = 512, 2048, 24
        sizes = {"model.embed_tokens.weight": [2048, hidden], "model.norm.weight": [hidden]}
        for i in range(layers):
            layer = f"model.layers.{i}."
            sizes |= {f"{layer}{name}_layernorm.weight": [hidden] for name in ("input", "post_attention")}
            sizes |= {f"{layer}self_attn.{name}_proj.weight": [hidden, hidden] for name in "qkvo"}
            sizes |= {f"{layer}mlp.{name}_proj.weight": [inner, hidden] for name in ("gate", "up")}
            sizes[f"{layer}mlp.down_proj.weight"] = [hidden, inner]
        (self.folder / "in").mkdir()
        (self.folder / "in/config.json").write_text(json.dumps({
            "architectures": ["LlamaForCausalLM"], "hidden_size": hidden, "intermediate_size": inner,
            "num_hidden_layers": layers, "num_attention_heads": 8, "rms_norm_eps": 1e-5, "vocab_size": 2048,
            "max_position_embeddings": 2048}))
        write_safetensors(self.folder / "in/model.safetensors", {
            name: ("BF16", shape, bytes(2 * shape[0] * (shape[1] if len(shape) > 1 else 1)))
            for name, shape in sizes.items()})
        self.assertGreater((self.folder / "in/model.safetensors").stat().st_size, 200e6)
        self.assertLess(peak_bytes(self.folder / "in", self.folder / "a.gguf", "--dtype", "f16"), 50e6)
        self.assertLess(peak_bytes(self.folder / "a.gguf", self.folder / "out"), 50e6)

    def test_shards(self):
        convert(FIXTURES / "llama-gqa-f32.gguf", self.folder / "whole")
        convert(FIXTURES / "llama-gqa-f32.gguf", self.folder / "parts", "--shard-size", "0.00002")
        files = sorted(path.name for path in (self.folder / "parts").iterdir())
        index = json.loads((self.folder / "parts/model.safetensors.index.json").read_text())
        shards = sorted(set(index["weight_map"].values()))
        self.assertGreater(len(shards), 2)
        self.assertEqual(shards[0], f"model-00001-of-{len(shards):05}.safetensors")
        self.assertEqual(files, sorted([*shards, "config.json", "model.safetensors.index.json", "tokenizer.json"]))
        _, whole = read_safetensors(self.folder / "whole/model.safetensors")
        parts = {}
        for shard in shards:
            _, tensors = read_safetensors(self.folder / "parts" / shard)
            self.assertTrue(all(index["weight_map"][name] == shard for name in tensors))
            self.assertTrue(len(tensors) == 1 or sum(len(item[2]) for item in tensors.values()) <= 20000)
            parts |= tensors
        self.assertEqual(parts, whole)
        self.assertEqual(index["metadata"]["total_size"], sum(len(item[2]) for item in whole.values()))
        convert(self.folder / "whole", self.folder / "a.gguf")
        convert(self.folder / "parts", self.folder / "b.gguf")
        a, b = ((self.folder / name).read_bytes() for name in ("a.gguf", "b.gguf"))
        self.assertEqual(a, b.replace(b"parts", b"whole"))  # general.name

    def test_what_cannot_be_converted_is_told(self):
        folder = self.folder / "model"
        convert(FIXTURES / "llama-gqa-f32.gguf", folder)
        config = json.loads((folder / "config.json").read_text())
        cases = (
            ({"architectures": ["GPT2LMHeadModel"]}, "names 'GPT2LMHeadModel', which is not supported; these are: 'Llama"),
            ({"architectures": "Llama"}, "is no list of names"),
            ({"hidden_size": None}, "'hidden_size' is missing"),
            ({"hidden_size": -3}, "'hidden_size' is no whole number of 1 to"),
            ({"hidden_size": "32"}, "'hidden_size' is no whole number of 1 to"),
            ({"hidden_size": 1.5}, "'hidden_size' is no whole number of 1 to"),
            ({"rms_norm_eps": "small"}, "'rms_norm_eps' is nan; expected a number"),
            ({"rms_norm_eps": 0}, "'rms_norm_eps' is 0; expected a number"),
            ({"hidden_act": "gelu"}, "'hidden_act' is gelu; 'silu' is what is supported"),
            ({"rope_scaling": {"rope_type": "yarn", "factor": 2}}, "scales positions by 'yarn'"),
            ({"rope_scaling": {"rope_type": "linear"}}, "'factor' is no positive number"),
            ({"rope_scaling": {"rope_type": "linear", "factor": -2}}, "'factor' is no positive number"),
            ({"rope_parameters": {"full_attention": {}}}, "scales positions by ''"),
            ({"layer_types": ["sliding_attention"]}, "'layer_types' has a layer of another kind"),
            ({"partial_rotary_factor": 0.5}, "positions in a part of a head"),
            ({"num_hidden_layers": config["num_hidden_layers"] + 1}, ".input_layernorm.weight' is missing"),
            ({"num_hidden_layers": config["num_hidden_layers"] - 1}, "has no place in a LlamaForCausalLM"),
            ({"tie_word_embeddings": False, "architectures": ["MistralForCausalLM"]}, None),
            ({"num_attention_heads": 8 * config["num_attention_heads"]}, "'blk.0.attn_q.weight' has shape"),
            ({"intermediate_size": 7}, "'blk.0.ffn_gate.weight' has shape"),
        )
        for change, says in cases:
            with self.subTest(change):
                (folder / "config.json").write_text(json.dumps(config | change))
                err = convert(folder, self.folder / "out.gguf", code=1 if says else 0)
                self.assertIn(says or "", err)
                self.assertEqual((self.folder / "out.gguf").exists(), says is None)
                (self.folder / "out.gguf").unlink(missing_ok=True)
        for text in ("", "[]", "{", '{"architectures": ["LlamaForCausalLM"], "architectures": []}'):
            (folder / "config.json").write_text(text)
            convert(folder, self.folder / "out.gguf", code=1)
        (folder / "config.json").unlink()
        self.assertIn("config.json", convert(folder, self.folder / "out.gguf", code=1))
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["model"])

    def test_tied_heads(self):
        folder = self.folder / "model"
        convert(FIXTURES / "qwen3-f32.gguf", folder)
        config = json.loads((folder / "config.json").read_text())
        self.assertTrue(config["tie_word_embeddings"])
        (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
        self.assertIn("'lm_head.weight' is missing", convert(folder, self.folder / "a.gguf", code=1))
        convert(FIXTURES / "qwen3-untied-f32.gguf", self.folder / "untied")
        config = json.loads((self.folder / "untied/config.json").read_text())
        self.assertFalse(config["tie_word_embeddings"])
        # transformers does not look at a head that is stored beside the embedding it is tied to
        (self.folder / "untied/config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
        convert(self.folder / "untied", self.folder / "b.gguf")
        self.assertNotIn(b"output.weight", (self.folder / "b.gguf").read_bytes().replace(b"attn_output.weight", b""))

    def test_a_file_of_what_transformers_has_not_is_told(self):
        for name, says in (("llama-layers-f32", "from layer to layer"),
                           ("llama-freqs-f32", "'rope_freqs.weight', which is not as Llama 3's models have it")):
            self.assertIn(says, convert(FIXTURES / f"{name}.gguf", self.folder / "out", code=1))
            self.assertFalse((self.folder / "out").exists())

    def test_a_folder_with_something_in_it_is_left_alone(self):
        (self.folder / "out").mkdir()
        (self.folder / "out/mine.txt").write_text("mine")
        self.assertIn("is not empty", convert(FIXTURES / "llama-gqa-f32.gguf", self.folder / "out", code=1))
        self.assertEqual([path.name for path in (self.folder / "out").iterdir()], ["mine.txt"])
        (self.folder / "out/mine.txt").unlink()
        convert(FIXTURES / "llama-gqa-f32.gguf", self.folder / "out")
        (self.folder / "file").write_text("")
        self.assertIn("cannot make the folder", convert(FIXTURES / "llama-gqa-f32.gguf", self.folder / "file", code=1))
        self.assertIn("No such file", convert(self.folder / "nothing", self.folder / "new", code=1))
        self.assertFalse((self.folder / "new").exists())


if __name__ == "__main__":
    unittest.main()
