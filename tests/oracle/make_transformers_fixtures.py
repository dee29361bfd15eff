#!/usr/bin/env python3
"""Writes small random-weight models of tests/data/models whose logits are those of Hugging Face's transformers.

usage: make_transformers_fixtures.py [OUT_DIRECTORY]

Needs PyTorch and transformers, which nothing else here does: for these families they, and not forward.py, say what
is right. NAME.gguf is the model as llama.cpp's converter would write it, NAME.txt a sequence of ids, NAME.npy its
logits, computed in float64 and rounded to float32. Everything follows from the seeds.
"""

import contextlib
import os
import sys
import zlib

import numpy as np
import torch
from transformers import GraniteConfig, GraniteForCausalLM, Qwen3Config, Qwen3ForCausalLM
from transformers import SmolLM3Config, SmolLM3ForCausalLM

from gguf_file import F32, STRING, U32, write
from make_fixtures import N_TOKENS, Model, add_spm

# What the configurations share. Vocabularies are of control tokens and letters alone.
SIZES = dict(hidden_size=32, intermediate_size=52, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=256, attention_dropout=0.0, bos_token_id=1, eos_token_id=2, pad_token_id=None,
             use_cache=False)

# Their names of a layer's weights, and GGUF's; those that a model has not are passed over.
LAYER = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}


def randomize(model, seed):
    """Weights of a deviation that keeps activations near 1, norms around 1; exact in float32."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            if parameter.dim() == 1:
                values = 1 + 0.2 * noise
            else:
                values = noise if "embed_tokens" in name else noise * parameter.shape[1] ** -0.5
            parameter.copy_(values)


def interleave(weight, n_head):
    """Rows of halves (i, i + d/2) as pairs (2i, 2i + 1): how Llama's kin store queries and keys in a GGUF."""
    rows, cols = weight.shape
    return weight.reshape(n_head, 2, rows // n_head // 2, cols).swapaxes(1, 2).reshape(rows, cols)


def tensors_of(model, is_interleaved):
    config, weights = model.config, model.state_dict()
    named = [("token_embd.weight", "model.embed_tokens.weight"), ("output_norm.weight", "model.norm.weight")]
    if not config.tie_word_embeddings:
        named.append(("output.weight", "lm_head.weight"))
    for layer in range(config.num_hidden_layers):
        named += [(f"blk.{layer}.{ours}.weight", f"model.layers.{layer}.{theirs}.weight")
                  for theirs, ours in LAYER.items() if f"model.layers.{layer}.{theirs}.weight" in weights]
    for ours, theirs in named:
        values = weights[theirs].numpy()
        if is_interleaved and ".attn_q." in ours:
            values = interleave(values, config.num_attention_heads)
        if is_interleaved and ".attn_k." in ours:
            values = interleave(values, config.num_key_value_heads)
        yield ours, "f32", list(values.shape), values.astype("<f4").tobytes()


def write_gguf(path, arch, name, model, own_keys):
    config, file = model.config, Model(arch, name, "f32")
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    for key, value in (("context_length", config.max_position_embeddings), ("embedding_length", config.hidden_size),
                       ("block_count", config.num_hidden_layers), ("feed_forward_length", config.intermediate_size),
                       ("attention.head_count", config.num_attention_heads),
                       ("attention.head_count_kv", config.num_key_value_heads), ("vocab_size", config.vocab_size),
                       ("rope.dimension_count", head_dim)):
        file.key(key, U32, value)
    file.key("attention.layer_norm_rms_epsilon", F32, config.rms_norm_eps)
    file.key("rope.freq_base", F32, config.rope_parameters["rope_theta"])
    for key in own_keys(config):
        file.key(*key)
    add_spm(file, config.vocab_size, False)
    write(path, file.meta, list(tensors_of(model, is_interleaved=arch != "qwen3")))


def qwen3_keys(config):
    return [("attention.key_length", U32, config.head_dim), ("attention.value_length", U32, config.head_dim)]


def smollm3_keys(config):
    assert config.no_rope_layers == [1, 1, 1, 0] * (config.num_hidden_layers // 4), config.no_rope_layers
    return []


def granite_keys(config):
    return [("attention.scale", F32, config.attention_multiplier), ("embedding_scale", F32, config.embedding_multiplier),
            ("residual_scale", F32, config.residual_multiplier), ("logit_scale", F32, config.logits_scaling)]


def rope(theta):
    return {"rope_type": "default", "rope_theta": theta}


# name: (architecture, model, keys of its own, configuration)
MODELS = {
    # heads of 12, which is not hidden_size / heads
    "qwen3-f32": ("qwen3", Qwen3ForCausalLM, qwen3_keys,
                  Qwen3Config(**SIZES, vocab_size=41, head_dim=12, rms_norm_eps=1e-6, tie_word_embeddings=True,
                              rope_parameters=rope(1e6))),
    "qwen3-untied-f32": ("qwen3", Qwen3ForCausalLM, qwen3_keys,
                         Qwen3Config(**{**SIZES, "num_key_value_heads": 4, "num_hidden_layers": 2}, vocab_size=35,
                                     head_dim=8, rms_norm_eps=1e-6, tie_word_embeddings=False,
                                     rope_parameters=rope(1e4))),
    # two layers without positions
    "smollm3-f32": ("smollm3", SmolLM3ForCausalLM, smollm3_keys,
                    SmolLM3Config(**{**SIZES, "num_hidden_layers": 8}, vocab_size=39, rms_norm_eps=1e-6,
                                  tie_word_embeddings=True, use_sliding_window=False, rope_parameters=rope(5e6))),
    "granite-f32": ("granite", GraniteForCausalLM, granite_keys,
                    GraniteConfig(**SIZES, vocab_size=43, rms_norm_eps=1e-5, tie_word_embeddings=True,
                                  attention_bias=False, mlp_bias=False, embedding_multiplier=12.0,
                                  residual_multiplier=0.22, attention_multiplier=0.25, logits_scaling=8.0,
                                  rope_parameters=rope(1e4))),
}


@contextlib.contextmanager
def float64_throughout():
    """transformers has norms, softmax and angles in float32 whatever the model's type: here that means float64."""
    kept = torch.float32, torch.float, torch.Tensor.float
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.float32, torch.float, torch.Tensor.float = kept


def logits_of(model, tokens):
    with torch.no_grad(), float64_throughout():
        model = model.double()
        model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
        assert model.model.rotary_emb.inv_freq.dtype == torch.float64
        logits = model(torch.tensor(tokens)[None]).logits[0].numpy()
    assert logits.dtype == np.float64
    return logits


def make(directory, name, arch, model_class, own_keys, config):
    config._attn_implementation = "eager"
    model = model_class(config).eval()
    randomize(model, zlib.crc32(name.encode()))
    tokens = np.random.default_rng(zlib.crc32(name.encode()) + 1).integers(0, config.vocab_size, N_TOKENS)
    base = os.path.join(directory, name)
    write_gguf(base + ".gguf", arch, name, model, own_keys)
    with open(base + ".txt", "w") as file:
        file.write(" ".join(map(str, tokens)) + "\n")
    logits = logits_of(model, tokens)
    np.save(base + ".npy", logits.astype("<f4"))
    print(f"{name}: {os.path.getsize(base + '.gguf')} bytes, logits of deviation {logits.std():.3g}")


def main(argv):
    here = os.path.dirname(os.path.abspath(__file__))
    directory = argv[1] if len(argv) > 1 else os.path.join(here, "..", "data", "models")
    for name, (arch, model_class, own_keys, config) in MODELS.items():
        make(directory, name, arch, model_class, own_keys, config)


if __name__ == "__main__":
    main(sys.argv)
