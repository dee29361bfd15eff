"""nlm-model convert: to Hugging Face's folders and back, against transformers, safetensors and gguf where they are.

Without those packages, which nothing else here needs, only the cases that read the files themselves run.
"""
import ast
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

BIN = Path(os.environ["NLM_BIN"])
SOURCE = Path(os.environ["NLM_SOURCE"])
FIXTURES = SOURCE / "tests/data/models"

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", CUDA_VISIBLE_DEVICES="")

try:
    import numpy as np
except ImportError:
    np = None
try:
    import gguf
    import safetensors.numpy
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    WHY_NOT = None
except ImportError as error:
    WHY_NOT = f"the comparison with transformers needs the packages torch, transformers, safetensors and gguf: {error}"


TEXT = "Once upon a time, in a big house near the sea, there lived a little girl. She was \u00e9t\u00e9 and 7.\n"


def convert(*args, code=0):
    result = subprocess.run([BIN / "nlm-model", "convert", *map(str, args)], capture_output=True, timeout=120)
    out, err = result.stdout.decode(), result.stderr.decode()
    assert result.returncode == code, f"exit code {result.returncode}, expected {code}\n{out}\n{err}"
    return err


def read_npy(path):
    """Shape and bytes of a version 1 file in C order."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack_from("<H", data, 8)
    return ast.literal_eval(data[10 : 10 + length].decode())["shape"], data[10 + length :]


def read_safetensors(path):
    """Metadata, and type, shape and bytes by name."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    assert length % 8 == 0, length
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, item in header.items():
        begin, end = item["data_offsets"]
        tensors[name] = item["dtype"], item["shape"], data[8 + length + begin : 8 + length + end]
    return metadata, tensors


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def ids_of(model, text=TEXT):
    done = subprocess.run([BIN / "nlm-tokenize", "--model", model], input=text.encode(), stdout=subprocess.PIPE,
                          check=True, timeout=60)
    return done.stdout.split()


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def logits(self, model, tokens):
        """The bytes of the f32 logits, row by row."""
        out, ids = self.folder / "logits.npy", self.folder / "ids.txt"
        ids.write_text(" ".join(map(str, tokens)))
        subprocess.run([BIN / "nlm-eval", "--model", model, "--tokens", ids, "--logits", out, "--kv-type", "f32",
                        "--backend", "cpu_scalar"], check=True, timeout=120, stderr=subprocess.PIPE)
        return read_npy(out)


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


SIZES = dict(hidden_size=32, intermediate_size=52, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=256, vocab_size=41, bos_token_id=1, eos_token_id=2, pad_token_id=None)
MAMBA = dict(hidden_size=24, num_hidden_layers=3, vocab_size=37, state_size=8, bos_token_id=1, eos_token_id=2,
             pad_token_id=None)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192}

# name: (class, what its configuration has)
MODELS = {
    "llama": ("Llama", SIZES),
    "llama-tied": ("Llama", SIZES | {"tie_word_embeddings": True, "rms_norm_eps": 1e-5}),
    "llama-biases": ("Llama", SIZES | {"attention_bias": True, "mlp_bias": True}),
    "llama-head-dim": ("Llama", SIZES | {"head_dim": 12}),
    "llama-linear": ("Llama", SIZES | {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
    "llama-3": ("Llama", SIZES | {"head_dim": 64, "rope_parameters": LLAMA3}),
    "mistral": ("Mistral", SIZES | {"sliding_window": 5}),
    "qwen2": ("Qwen2", SIZES),
    "qwen3": ("Qwen3", SIZES | {"head_dim": 12, "tie_word_embeddings": True}),
    "smollm3": ("SmolLM3", SIZES | {"num_hidden_layers": 8, "use_sliding_window": False}),
    "granite": ("Granite", SIZES | {"embedding_multiplier": 12.0, "residual_multiplier": 0.22,
                                    "attention_multiplier": 0.25, "logits_scaling": 8.0}),
    "mamba": ("Mamba", MAMBA),
    "mamba-untied-biases": ("Mamba", MAMBA | {"use_bias": True, "tie_word_embeddings": False, "expand": 3}),
    "mamba-no-conv-bias": ("Mamba", MAMBA | {"use_conv_bias": False, "conv_kernel": 3}),
}
N_TOKENS = 24


def make_model(kind, settings, seed=7):
    """Weights of a deviation that keeps activations near 1; A is what Mamba begins with, a little off."""
    config = getattr(transformers, f"{kind}Config")(**settings)
    config._attn_implementation = "eager"
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("A_log"):
                parameter.add_(0.1 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.3 * noise)
            elif parameter.dim() == 1:
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(noise * parameter.shape[-1] ** -0.5)
    return model


def logits_of(model, tokens):
    with torch.no_grad():
        return model(torch.tensor(tokens)[None], use_cache=False).logits[0].float().numpy()


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Packages(Case):
    def nlm_logits(self, path, tokens):
        shape, data = self.logits(path, tokens)
        return np.frombuffer(data, "<f4").reshape(shape)

    def load(self, folder):
        """By transformers, which must miss nothing and find nothing that it does not expect."""
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder, output_loading_info=True, attn_implementation="eager", dtype=torch.float32)
        for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            self.assertFalse(info[key], key)
        return model.eval()

    def test_logits_are_those_of_transformers_there_and_back(self):
        for name, (kind, settings) in MODELS.items():
            with self.subTest(name):
                theirs, ours, back = self.folder / name, self.folder / f"{name}.gguf", self.folder / f"{name}-back"
                model = make_model(kind, settings)
                model.save_pretrained(theirs)
                tokens = np.random.default_rng(3).integers(3, settings["vocab_size"], N_TOKENS).tolist()
                expected = logits_of(model, tokens)
                self.assertGreater(expected.std(), 0.02)
                convert(theirs, ours)
                np.testing.assert_allclose(self.nlm_logits(ours, tokens), expected, rtol=0, atol=1e-4)
                convert(ours, back)
                loaded = self.load(back)
                self.assertEqual(type(loaded), type(model))
                np.testing.assert_allclose(logits_of(loaded, tokens), expected, rtol=0, atol=1e-4)
                weights = loaded.state_dict()
                for key, values in model.state_dict().items():
                    wanted = 1e-6 if key.endswith("A_log") else 0
                    np.testing.assert_allclose(weights[key].numpy(), values.numpy(), rtol=wanted, atol=wanted)

    def test_ids_are_those_of_the_package_tokenizers(self):
        import tokenizers
        from tokenizers import decoders, models, pre_tokenizers, trainers

        model = make_model("Qwen2", SIZES | {"vocab_size": 300})
        model.save_pretrained(self.folder / "model")
        theirs = tokenizers.Tokenizer(models.BPE())
        theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        theirs.decoder = decoders.ByteLevel()
        theirs.train_from_iterator([TEXT] * 4, trainers.BpeTrainer(
            vocab_size=290, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<s>", "</s>"]))
        theirs.save(str(self.folder / "model/tokenizer.json"))
        expected = [str(i).encode() for i in theirs.encode(TEXT).ids]
        convert(self.folder / "model", self.folder / "model.gguf")
        self.assertEqual(ids_of(self.folder / "model.gguf"), expected)
        convert(self.folder / "model.gguf", self.folder / "back")
        again = tokenizers.Tokenizer.from_file(str(self.folder / "back/tokenizer.json"))
        self.assertEqual([str(i).encode() for i in again.encode(TEXT).ids], expected)

    def test_other_types_and_shards(self):
        for dtype in (torch.bfloat16, torch.float16):
            with self.subTest(dtype):
                name = str(dtype).removeprefix("torch.")
                model = make_model("Llama", SIZES).to(dtype)
                model.save_pretrained(self.folder / name, max_shard_size="20KB")
                self.assertTrue((self.folder / name / "model.safetensors.index.json").exists())
                convert(self.folder / name, self.folder / f"{name}.gguf")
                convert(self.folder / f"{name}.gguf", self.folder / f"{name}-back", "--dtype",
                        {"bfloat16": "bf16", "float16": "f16"}[name], "--shard-size", "0.00001")
                self.assertTrue((self.folder / f"{name}-back/model.safetensors.index.json").exists())
                self.assertEqual(json.loads((self.folder / f"{name}-back/config.json").read_text())["torch_dtype"], name)
                weights = self.load(self.folder / f"{name}-back").state_dict()
                for key, values in model.state_dict().items():
                    self.assertTrue(torch.equal(weights[key], values.float()), key)

    def test_the_package_safetensors_reads_what_is_written(self):
        convert(FIXTURES / "stories260K-q8_0.gguf", self.folder / "out", "--dtype", "f16")
        ours = safetensors.numpy.load_file(self.folder / "out/model.safetensors")
        _, expected = read_safetensors(self.folder / "out/model.safetensors")
        self.assertEqual(sorted(ours), sorted(expected))
        for name, values in ours.items():
            self.assertEqual(values.tobytes(), expected[name][2])

    def test_the_package_gguf_reads_what_is_written(self):
        model = make_model("Mamba", MAMBA)
        model.save_pretrained(self.folder / "model")
        convert(self.folder / "model", self.folder / "model.gguf")
        reader = gguf.GGUFReader(self.folder / "model.gguf")
        self.assertEqual(reader.fields["general.architecture"].contents(), "mamba")
        self.assertEqual(reader.fields["mamba.ssm.inner_size"].contents(), 48)
        tensors = {tensor.name: tensor.data for tensor in reader.tensors}
        weights = model.state_dict()
        self.assertEqual(len(tensors), len(weights) - 1)  # without the head, which is the embedding
        for ours, theirs in (("ssm_in.weight", "in_proj.weight"), ("ssm_dt.bias", "dt_proj.bias"), ("ssm_d", "D")):
            np.testing.assert_array_equal(tensors[f"blk.2.{ours}"], weights[f"backbone.layers.2.mixer.{theirs}"])
        np.testing.assert_allclose(tensors["blk.2.ssm_a"], -np.exp(weights["backbone.layers.2.mixer.A_log"].numpy()), rtol=1e-6)
        np.testing.assert_array_equal(tensors["blk.2.ssm_conv1d.weight"],
                                      weights["backbone.layers.2.mixer.conv1d.weight"][:, 0])

    def test_a_trained_model_is_the_same_to_transformers(self):
        convert(FIXTURES / "stories260K-q8_0.gguf", self.folder / "out")
        tokens = [1, *range(300, 340)]
        np.testing.assert_allclose(logits_of(self.load(self.folder / "out"), tokens),
                                   self.nlm_logits(FIXTURES / "stories260K-q8_0.gguf", tokens), rtol=0, atol=1e-3)


if __name__ == "__main__":
    unittest.main()
