#!/usr/bin/env python3
"""Logits of a Llama, Qwen2 or Mamba GGUF in float64 NumPy: what nlm's are compared with.

usage: forward.py MODEL.gguf TOKENS.txt OUT.npy

TOKENS.txt holds ids separated by blanks: one sequence, nothing is added. OUT.npy receives float64
[tokens, vocabulary]. Shares no code with nlm; weights are dequantised and everything after that is
float64, whole sequences at a time and without a cache.

Sources: Touvron et al. 2023 (Llama), Su et al. 2021 (RoPE), Gu & Dao 2023 (Mamba).
"""

import sys

import numpy as np

import gguf_file


def rms_norm(x, weight, eps):
    y = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps)
    return y if weight is None else y * weight


def silu(x):
    return x / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class Weights:
    def __init__(self, gguf):
        self._gguf = gguf

    def linear(self, x, name):
        """x W^T + b; the bias may be absent."""
        y = x @ self._gguf.tensor(name + ".weight").T
        bias = self._gguf.tensor(name + ".bias")
        return y if bias is None else y + bias

    def __getitem__(self, name):
        return self._gguf.tensor(name)


def rope(x, n_rot, base, scale, factors, half_split):
    """x: [tokens, heads, head_dim]; rotates the first n_rot elements by position."""
    pairs = n_rot // 2
    i = np.arange(pairs)
    angle = np.arange(len(x))[:, None] * scale * np.power(float(base), -2.0 * i / n_rot)
    if factors is not None:
        angle = angle / factors
    cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
    first, second = (i, i + pairs) if half_split else (2 * i, 2 * i + 1)
    y = x.copy()
    y[..., first] = x[..., first] * cos - x[..., second] * sin
    y[..., second] = x[..., first] * sin + x[..., second] * cos
    return y


def attention(q, k, v, window):
    """q: [T, H, D]; k, v: [T, G, D]; causal, the last `window` positions (0: all)."""
    n_tokens, n_head, head_dim = q.shape
    shared = n_head // k.shape[1]
    k, v = np.repeat(k, shared, axis=1), np.repeat(v, shared, axis=1)
    scores = np.einsum("thd,jhd->htj", q, k) / np.sqrt(head_dim)
    t, j = np.arange(n_tokens)[:, None], np.arange(n_tokens)[None, :]
    seen = (j <= t) if window == 0 else (j <= t) & (j > t - window)
    return np.einsum("htj,jhd->thd", softmax(np.where(seen, scores, -np.inf)), v).reshape(n_tokens, -1)


def llama(meta, arch, w, tokens):
    def key(name, default=None):
        return meta.get(f"{arch}.{name}", default)

    def by_layer(name, layer, default=None):
        value = key(name, default)
        return value[layer] if isinstance(value, list) else value

    head_dim = key("attention.key_length") or key("embedding_length") // by_layer("attention.head_count", 0)
    pattern = key("attention.sliding_window_pattern")
    n_rot = key("rope.dimension_count", head_dim)
    eps = key("attention.layer_norm_rms_epsilon")
    factor = key("rope.scaling.factor", key("rope.scale_linear", 0.0))
    if key("rope.scaling.type") == b"none":
        factor = 0.0
    angles = (n_rot, key("rope.freq_base", 10000.0), 1 / factor if factor else 1.0, w["rope_freqs.weight"],
              arch == "qwen2")
    x = w["token_embd.weight"][tokens]
    for layer in range(key("block_count")):
        blk = f"blk.{layer}."
        n_head = by_layer("attention.head_count", layer)
        n_kv = by_layer("attention.head_count_kv", layer, n_head)
        window = key("attention.sliding_window", 0) if pattern is None or pattern[layer] else 0
        h = rms_norm(x, w[blk + "attn_norm.weight"], eps)
        q = rope(w.linear(h, blk + "attn_q").reshape(-1, n_head, head_dim), *angles)
        k = rope(w.linear(h, blk + "attn_k").reshape(-1, n_kv, head_dim), *angles)
        v = w.linear(h, blk + "attn_v").reshape(-1, n_kv, head_dim)
        x = x + w.linear(attention(q, k, v, window), blk + "attn_output")
        h = rms_norm(x, w[blk + "ffn_norm.weight"], eps)
        x = x + w.linear(silu(w.linear(h, blk + "ffn_gate")) * w.linear(h, blk + "ffn_up"), blk + "ffn_down")
    return rms_norm(x, w["output_norm.weight"], eps)


def conv_silu(x, kernel, bias):
    """Depthwise and causal. x: [T, C]; kernel: [C, K], its last column meets the present; bias: [C], or None."""
    n_tokens, size = len(x), kernel.shape[1]
    padded = np.concatenate([np.zeros((size - 1, x.shape[1])), x])
    y = sum(padded[j : j + n_tokens] * kernel[:, j] for j in range(size))
    return silu(y if bias is None else y + bias)


def selective_scan(x, dt, a, b, c, d):
    """x, dt: [T, C]; a: [C, N]; b, c: [T, N]; d: [C]."""
    step = np.logaddexp(0, dt)
    h, y = np.zeros_like(a), np.empty_like(x)
    for t in range(len(x)):
        h = np.exp(step[t][:, None] * a) * h + (step[t] * x[t])[:, None] * b[t]
        y[t] = h @ c[t] + d * x[t]
    return y


def mamba(meta, arch, w, tokens):
    inner, state, rank = (meta[f"{arch}.ssm.{name}"] for name in ("inner_size", "state_size", "time_step_rank"))
    eps = meta[f"{arch}.attention.layer_norm_rms_epsilon"]
    is_normed = meta.get(f"{arch}.ssm.dt_b_c_rms", False)
    x = w["token_embd.weight"][tokens]
    for layer in range(meta[f"{arch}.block_count"]):
        blk = f"blk.{layer}."
        xz = w.linear(rms_norm(x, w[blk + "attn_norm.weight"], eps), blk + "ssm_in")
        u, z = xz[:, :inner], xz[:, inner:]
        u = conv_silu(u, w[blk + "ssm_conv1d.weight"], w[blk + "ssm_conv1d.bias"])
        parts = np.split(w.linear(u, blk + "ssm_x"), [rank, rank + state], axis=1)
        if is_normed:
            parts = [rms_norm(part, None, eps) for part in parts]
        dt = w.linear(parts[0], blk + "ssm_dt")
        y = selective_scan(u, dt, w[blk + "ssm_a"], parts[1], parts[2], w[blk + "ssm_d"])
        x = x + w.linear(y * silu(z), blk + "ssm_out")
    return rms_norm(x, w["output_norm.weight"], eps)


def logits(path, tokens):
    """float64 [len(tokens), vocabulary]"""
    gguf = gguf_file.GgufFile(path)
    arch = gguf.meta["general.architecture"].decode()
    weights = Weights(gguf)
    family = {"llama": llama, "qwen2": llama, "mamba": mamba}[arch]
    hidden = family(gguf.meta, arch, weights, np.asarray(tokens))
    head = weights["output.weight"]
    return hidden @ (weights["token_embd.weight"] if head is None else head).T


def main(argv):
    if len(argv) != 4:
        sys.exit(__doc__)
    with open(argv[2]) as file:
        tokens = [int(word) for word in file.read().split()]
    np.save(argv[3], logits(argv[1], tokens))


if __name__ == "__main__":
    main(sys.argv)
