#!/usr/bin/env python3
"""Writes tests/data/training: gradients and losses of PyTorch for models of tests/data/models.

usage: make_training_fixtures.py [OUT_DIRECTORY]

Needs PyTorch, transformers and safetensors. A model is read from its GGUF, computed by transformers in float64 (a
Mamba by its slow path) and trained by torch.optim.AdamW; NAME.safetensors has, rounded to float32,
  batch.B.ids, .labels, .starts   batches that steps take in turn; sequences lie one after the other, and go through
                                  transformers each for itself; labels are what follows, -1: not counted
  loss.B                          the sum of the losses of the batch with the first weights
  gradient.TENSOR                 of the sum of batch 0, named and laid out as in the GGUF; of log(-ssm_a), not ssm_a
  step.losses, step.norms         of each step: the mean loss, the gradient's norm before clipping
  after.TENSOR                    the norm of the parameter after all steps
Everything follows from the seeds. The logits of NAME.npy are checked on the way.
"""

import os
import sys
import zlib

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import LlamaConfig, LlamaForCausalLM, MambaConfig, MambaForCausalLM
from transformers import MistralConfig, MistralForCausalLM, Qwen3Config, Qwen3ForCausalLM

from gguf_file import GgufFile
from make_transformers_fixtures import LAYER, float64_throughout, interleave

LENGTHS = (13, 1, 9)  # of a batch's sequences
BATCHES, STEPS, WARMUP = 3, 20, 5
RATE, BETAS, EPS, DECAY, CLIP = 1e-2, (0.9, 0.95), 1e-8, 0.1, 1.0

MIXER = {
    "norm": "attn_norm", "mixer.in_proj": "ssm_in", "mixer.conv1d": "ssm_conv1d", "mixer.x_proj": "ssm_x",
    "mixer.dt_proj": "ssm_dt", "mixer.out_proj": "ssm_out",
}


# ---- between the two files' names and layouts -------------------------------------------------


def names_of(model):
    """(GGUF's, transformers') names of all parameters that the model has."""
    is_mamba = model.config.model_type == "mamba"
    stem, layers = ("backbone", MIXER) if is_mamba else ("model", LAYER)
    pairs = {"embeddings" if is_mamba else "embed_tokens": "token_embd", "norm_f" if is_mamba else "norm": "output_norm"}
    both = {f"{stem}.{theirs}.weight": f"{ours}.weight" for theirs, ours in pairs.items()}
    both["lm_head.weight"] = "output.weight"
    for layer in range(model.config.num_hidden_layers):
        theirs, ours = f"{stem}.layers.{layer}.", f"blk.{layer}."
        for part, name in layers.items():
            both |= {f"{theirs}{part}.{kind}": f"{ours}{name}.{kind}" for kind in ("weight", "bias")}
        both |= {f"{theirs}mixer.A_log": f"{ours}ssm_a", f"{theirs}mixer.D": f"{ours}ssm_d"}
    return [(both[name], name) for name, _ in model.named_parameters()]


def heads_of(config, arch, name):
    """Of a matrix whose rows are interleaved in the GGUF; 0: they are not."""
    if arch != "llama":
        return 0
    return {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(name.split(".")[-2], 0)


def to_gguf(values, heads):
    values = values.reshape(values.shape[0], -1) if values.ndim == 3 else values  # a kernel of one channel each
    return interleave(values, heads) if heads else values


def from_gguf(values, heads, shape):
    if heads:
        order = to_gguf(np.arange(len(values))[:, None], heads)[:, 0]
        values = values[np.argsort(order)]
    return values.reshape(shape)


def load(model, arch, gguf):
    for ours, theirs in names_of(model):
        values = gguf.tensor(ours)
        if ours.endswith("ssm_a"):
            values = np.log(-values)
        parameter = model.get_parameter(theirs)
        values = from_gguf(values, heads_of(model.config, arch, ours), tuple(parameter.shape))
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(values))
    assert {ours for ours, _ in names_of(model)} == set(gguf.names()), gguf.names()


# ---- training ---------------------------------------------------------------------------------


def make_batch(rng, n_vocab):
    total = sum(LENGTHS)
    ids, labels = rng.integers(0, n_vocab, total), rng.integers(0, n_vocab, total)
    labels[rng.permutation(total)[: total // 5]] = -1
    starts = np.concatenate([[0], np.cumsum(LENGTHS)])
    for begin, end in zip(starts[:-1], starts[1:]):
        labels[begin : end - 1] = np.where(labels[begin : end - 1] < 0, -1, ids[begin + 1 : end])
    return {"ids": ids.astype("<i4"), "labels": labels.astype("<i4"), "starts": starts.astype("<i4")}


def sum_of_losses(model, batch):
    total = torch.zeros((), dtype=torch.float64)
    for begin, end in zip(batch["starts"][:-1], batch["starts"][1:]):
        ids = torch.tensor(batch["ids"][None, begin:end].astype(np.int64))
        labels = torch.tensor(batch["labels"][begin:end].astype(np.int64))
        logits = model(ids, use_cache=False).logits[0]
        assert logits.dtype == torch.float64
        total = total + torch.nn.functional.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
    return total


def optimizer_of(model):
    decays = [p for name, p in model.named_parameters() if p.dim() >= 2 and not name.endswith("A_log")]
    others = [p for name, p in model.named_parameters() if p.dim() < 2 or name.endswith("A_log")]
    return torch.optim.AdamW([{"params": decays, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}],
                             lr=RATE, betas=BETAS, eps=EPS)


def train(model, batches):
    optimizer, losses, norms = optimizer_of(model), [], []
    for step in range(STEPS):
        batch = batches[step % BATCHES]
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARMUP)
        optimizer.zero_grad()
        loss = sum_of_losses(model, batch) / (batch["labels"] >= 0).sum()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP).item())
        optimizer.step()
        losses.append(loss.item())
    return losses, norms


def compute(model, arch, batches, out):
    for b, batch in enumerate(batches):
        out |= {f"batch.{b}.{name}": values for name, values in batch.items()}
        loss = sum_of_losses(model, batch)
        out[f"loss.{b}"] = np.array([loss.item()])
        if b > 0:
            continue
        loss.backward()
        for ours, theirs in names_of(model):
            gradient = model.get_parameter(theirs).grad.numpy()
            out["gradient." + ours] = to_gguf(gradient, heads_of(model.config, arch, ours))
    out["step.losses"], out["step.norms"] = map(np.array, train(model, batches))
    for ours, theirs in names_of(model):
        out["after." + ours] = np.array([model.get_parameter(theirs).detach().norm().item()])


# ---- the models -------------------------------------------------------------------------------


def rope(theta, **more):
    return {"rope_type": "default", "rope_theta": theta} | more


TRANSFORMER = dict(max_position_embeddings=256, attention_dropout=0.0, pad_token_id=None, num_hidden_layers=2,
                   bos_token_id=1, eos_token_id=2, attn_implementation="eager")
MAMBA = dict(hidden_size=20, state_size=4, conv_kernel=4, time_step_rank=2, num_hidden_layers=2,
             vocab_size=33, layer_norm_epsilon=1e-5, pad_token_id=0, bos_token_id=1, eos_token_id=2)

# name: (architecture, model, configuration)
MODELS = {
    # grouped queries, a head of its own
    "llama-scale-linear-f32": ("llama", LlamaForCausalLM, LlamaConfig(
        **TRANSFORMER, vocab_size=43, hidden_size=20, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=45, rms_norm_eps=1e-5, tie_word_embeddings=False,
        rope_parameters=rope(1e4, rope_type="linear", factor=2.5))),
    # the embedding is the head; a Llama with a window is a Mistral
    "llama-window-bf16": ("llama", MistralForCausalLM, MistralConfig(
        **TRANSFORMER, vocab_size=53, hidden_size=36, num_attention_heads=9, num_key_value_heads=3,
        intermediate_size=40, rms_norm_eps=1e-5, tie_word_embeddings=True, sliding_window=5,
        rope_parameters=rope(1e4))),
    "qwen3-untied-f32": ("qwen3", Qwen3ForCausalLM, Qwen3Config(
        **TRANSFORMER, vocab_size=35, hidden_size=32, num_attention_heads=4, num_key_value_heads=4, head_dim=8,
        intermediate_size=52, rms_norm_eps=1e-6, tie_word_embeddings=False, rope_parameters=rope(1e4))),
    "mamba-bare-f32": ("mamba", MambaForCausalLM, MambaConfig(
        **MAMBA, use_bias=False, use_conv_bias=False, tie_word_embeddings=False)),
    "mamba-biases-f32": ("mamba", MambaForCausalLM, MambaConfig(
        **MAMBA, use_bias=True, use_conv_bias=True, tie_word_embeddings=True)),
}


def open_model(models, name, arch, model_class, config):
    if arch == "mamba":
        config.intermediate_size = 36  # not a whole multiple of hidden_size, as the configuration has it
    model = model_class(config).eval().double()
    if hasattr(model, "model"):
        model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
    load(model, arch, GgufFile(os.path.join(models, name + ".gguf")))
    with open(os.path.join(models, name + ".txt")) as file:
        tokens = torch.tensor([[int(word) for word in file.read().split()]])
    with torch.no_grad():
        logits = model(tokens, use_cache=False).logits[0].numpy()
    expected = np.load(os.path.join(models, name + ".npy"))
    assert np.abs(logits - expected).max() < 1e-5, (name, np.abs(logits - expected).max())
    return model


def make(directory, models, name, arch, model_class, config):
    rng = np.random.default_rng(zlib.crc32(name.encode()) + 2)
    batches = [make_batch(rng, config.vocab_size) for _ in range(BATCHES)]
    out = {}
    with float64_throughout():
        compute(open_model(models, name, arch, model_class, config), arch, batches, out)
    out = {key: np.ascontiguousarray(v if v.dtype == np.int32 else v.astype("<f4")) for key, v in out.items()}
    path = os.path.join(directory, name + ".safetensors")
    save_file(out, path)
    losses = out["step.losses"]
    print(f"{name}: {os.path.getsize(path)} bytes, losses from {losses[0]:.4f} to {losses[-1]:.4f}, norms from "
          f"{out['step.norms'].min():.3g} to {out['step.norms'].max():.3g}")


def main(argv):
    data = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
    directory = argv[1] if len(argv) > 1 else os.path.join(data, "training")
    os.makedirs(directory, exist_ok=True)
    for name, line in MODELS.items():
        make(directory, os.path.join(data, "models"), name, *line)


if __name__ == "__main__":
    main(sys.argv)
