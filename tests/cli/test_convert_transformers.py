"""nlm-model convert against transformers, safetensors, tokenizers and gguf, where these packages are."""
import json
import os
import sys
import unittest

from converting import FIXTURES, TEXT, Case, convert, ids_of, read_safetensors

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", CUDA_VISIBLE_DEVICES="")

try:
    import gguf
    import numpy as np
    import safetensors.numpy
    import tokenizers
    import torch
    import transformers
except ImportError as error:
    print(f"skipped: the packages torch, transformers, safetensors, tokenizers and gguf are needed: {error}")
    sys.exit(77)

transformers.utils.logging.disable_progress_bar()

SIZES = dict(hidden_size=32, intermediate_size=52, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=256, vocab_size=41, bos_token_id=1, eos_token_id=2, pad_token_id=None)
MAMBA = dict(hidden_size=24, num_hidden_layers=3, vocab_size=37, state_size=8, bos_token_id=1, eos_token_id=2,
             pad_token_id=None)
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192}

# name: (class, what its configuration has)
MODELS = {
    "llama": ("Llama", SIZES),
    "llama-tied": ("Llama", SIZES | {"tie_word_embeddings": True, "rms_norm_eps": 1e-5}),
    "llama-biases": ("Llama", SIZES | {"attention_bias": True, "mlp_bias": True}),
    "llama-head-dim": ("Llama", SIZES | {"head_dim": 12}),
    "llama-linear": ("Llama", SIZES | {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
    "llama-3": ("Llama", SIZES | {"head_dim": 64, "rope_theta": 5e5, "rope_scaling": LLAMA3}),
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


class Transformers(Case):
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
