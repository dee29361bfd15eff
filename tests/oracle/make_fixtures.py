#!/usr/bin/env python3
"""Writes the small random-weight models of tests/data/models, each with its tokens and its logits.

usage: make_fixtures.py [OUT_DIRECTORY]

NAME.gguf is the model, NAME.txt a sequence of ids, NAME.npy its logits by forward.py (float64 rounded
to float32). Everything follows from the seeds: the same NumPy gives the same files. The tables at the
end say what each model is there for.
"""

import os
import sys
import zlib

import numpy as np

import forward
from gguf_file import ARRAY, BLOCKS, BOOL, F32, I32, STRING, TYPES, U32, write

N_TOKENS = 23

# ---- tensors ----------------------------------------------------------------------------------


def random_blocks(rng, kind, count, deviation):
    """Blocks of random bits, so that every nibble and scale occurs, with scales that fit the deviation."""
    at_d, at_m, unit, ratio, _ = BLOCKS[kind]
    blocks = rng.integers(0, 256, (count, TYPES[kind][2]), dtype=np.uint8)
    d = deviation / unit * rng.uniform(0.7, 1.3, count)
    blocks[:, at_d : at_d + 2] = d.astype("<f2").view(np.uint8).reshape(-1, 2)
    if at_m is not None:
        blocks[:, at_m : at_m + 2] = (d * ratio).astype("<f2").view(np.uint8).reshape(-1, 2)
    return blocks.tobytes()


def encode(values, kind):
    values = np.asarray(values, dtype="<f4")
    if kind == "f32":
        return values.tobytes()
    if kind == "f16":
        return values.astype("<f2").tobytes()
    return (values.view("<u4") >> 16).astype("<u2").tobytes()  # bf16, cut


class Model:
    """Collects metadata and tensors of one fixture."""

    def __init__(self, arch, name, kind):
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))
        self.arch, self.kind, self.tensors = arch, kind, []
        self.vector_kind = kind if kind in ("f16", "bf16") else "f32"
        self.meta = [("general.architecture", STRING, arch), ("general.name", STRING, name)]

    def key(self, name, kind, value):
        self.meta.append((f"{self.arch}.{name}", kind, value))

    def numbers(self, name, value):
        """One number, or a list with one for each layer."""
        if isinstance(value, list):
            self.key(name, ARRAY, (U32, value))
        else:
            self.key(name, U32, value)

    def matrix(self, name, rows, cols, deviation=None, kind=None):
        kind = kind or self.kind
        if cols % TYPES[kind][1] != 0:
            kind = "q8_0" if cols % 32 == 0 else "f16"
        deviation = deviation or cols**-0.5
        if kind in BLOCKS:
            data = random_blocks(self.rng, kind, rows * cols // TYPES[kind][1], deviation)
        else:
            data = encode(self.rng.standard_normal(rows * cols) * deviation, kind)
        self.tensors.append((name, kind, [rows, cols], data))

    def given(self, name, values):
        values = np.asarray(values)
        self.tensors.append((name, self.vector_kind, list(values.shape), encode(values.ravel(), self.vector_kind)))

    def norm(self, name, size):
        self.given(name, 1 + 0.2 * self.rng.standard_normal(size))

    def bias(self, name, size):
        self.given(name, 0.3 * self.rng.standard_normal(size))


# ---- tokenizers -------------------------------------------------------------------------------

LETTERS = "etaoinshrdlucmfwypvbgkjqxz"


def spm_pieces(with_bytes):
    """(text, score, type) of a SentencePiece-like vocabulary: control, bytes, letters, pairs."""
    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    if with_bytes:
        pieces += [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    words = ["\u2581"] + list(LETTERS) + ["\u2581" + c for c in LETTERS] + ["th", "he", "in", "er", "\u2581the", "an"]
    return pieces + [(word, -float(rank), 1) for rank, word in enumerate(words)]


def add_spm(model, size, with_bytes):
    pieces = spm_pieces(with_bytes)[:size]
    assert len(pieces) == size, size
    texts, scores, kinds = zip(*pieces)
    model.meta += [
        ("tokenizer.ggml.model", STRING, "llama"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, texts)),
        ("tokenizer.ggml.scores", ARRAY, (F32, scores)),
        ("tokenizer.ggml.token_type", ARRAY, (I32, kinds)),
        ("tokenizer.ggml.bos_token_id", U32, 1),
        ("tokenizer.ggml.eos_token_id", U32, 2),
        ("tokenizer.ggml.unknown_token_id", U32, 0),
    ]


def byte_letters():
    """GPT-2's printable stand-in for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, spare = {}, 256
    for byte in range(256):
        letters[byte] = chr(byte if byte in plain else spare)
        spare += byte not in plain
    return [letters[byte] for byte in range(256)]


def add_bpe(model, pre):
    """256 bytes, a few merges and an end token; returns the size."""
    space = byte_letters()[32]
    merges = [("t", "h"), ("th", "e"), (space, "the"), ("i", "n"), ("e", "r"), (space, "a")]
    tokens = byte_letters() + [left + right for left, right in merges] + ["<|endoftext|>"]
    model.meta += [
        ("tokenizer.ggml.model", STRING, "gpt2"),
        ("tokenizer.ggml.pre", STRING, pre),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)),
        ("tokenizer.ggml.merges", ARRAY, (STRING, [" ".join(merge) for merge in merges])),
        ("tokenizer.ggml.token_type", ARRAY, (I32, [1] * (len(tokens) - 1) + [3])),
        ("tokenizer.ggml.bos_token_id", U32, len(tokens) - 1),
        ("tokenizer.ggml.eos_token_id", U32, len(tokens) - 1),
    ]
    return len(tokens)


def add_tokenizer(model, vocab):
    """vocab: a size, "spm" (with bytes) or "bpe"; returns the size."""
    if vocab == "bpe":
        return add_bpe(model, "qwen2" if model.arch == "qwen2" else "gpt-2")
    size = len(spm_pieces(True)) if vocab == "spm" else vocab
    add_spm(model, size, vocab == "spm")
    return size


# ---- families ---------------------------------------------------------------------------------


def by_layer(value, layer):
    return value[layer] if isinstance(value, list) else value


def llama(name, kind, vocab, embd, heads, kv, ff, layers=2, head_dim=None, n_rot=None, tied=False, biases=(),
          window=None, freqs=None, keys=(), kinds=None, arch="llama"):
    model, kinds = Model(arch, name, kind), kinds or {}
    n_vocab, dim = add_tokenizer(model, vocab), head_dim or embd // heads
    for key, value in (("context_length", 256), ("embedding_length", embd), ("block_count", layers),
                       ("feed_forward_length", ff), ("attention.head_count", heads), ("vocab_size", n_vocab)):
        model.numbers(key, value)
    model.key("attention.layer_norm_rms_epsilon", F32, 1e-5)
    optional = {"attention.head_count_kv": None if kv == heads else kv, "attention.key_length": head_dim,
                "attention.value_length": head_dim, "rope.dimension_count": n_rot, "attention.sliding_window": window}
    for key, value in optional.items():
        if value is not None:
            model.numbers(key, value)
    for key in keys:
        model.key(*key)
    model.matrix("token_embd.weight", n_vocab, embd, 1.0, kinds.get("token_embd"))
    if freqs:
        model.given("rope_freqs.weight", np.linspace(1, freqs, (n_rot or dim) // 2))
    for layer in range(layers):
        blk = f"blk.{layer}."
        model.norm(blk + "attn_norm.weight", embd)
        model.norm(blk + "ffn_norm.weight", embd)
        q_dim, kv_dim, wide = by_layer(heads, layer) * dim, by_layer(kv, layer) * dim, by_layer(ff, layer)
        for part, rows, cols in (("attn_q", q_dim, embd), ("attn_k", kv_dim, embd), ("attn_v", kv_dim, embd),
                                 ("attn_output", embd, q_dim), ("ffn_gate", wide, embd), ("ffn_up", wide, embd),
                                 ("ffn_down", embd, wide)):
            model.matrix(f"{blk}{part}.weight", rows, cols, kind=kinds.get(part))
            if part in biases:
                model.bias(f"{blk}{part}.bias", rows)
    model.norm("output_norm.weight", embd)
    if not tied:
        model.matrix("output.weight", n_vocab, embd, kind=kinds.get("output"))
    return model, n_vocab


def mamba(name, kind, vocab, embd, inner, state, conv, rank, layers=2, tied=False, normed=False, kinds=None,
          biases=("ssm_conv1d",)):
    model, kinds = Model("mamba", name, kind), kinds or {}
    n_vocab = add_tokenizer(model, vocab)
    for key, value in (("context_length", 256), ("embedding_length", embd), ("block_count", layers),
                       ("feed_forward_length", 0), ("attention.head_count", 0), ("vocab_size", n_vocab),
                       ("ssm.conv_kernel", conv), ("ssm.inner_size", inner), ("ssm.state_size", state),
                       ("ssm.time_step_rank", rank)):
        model.key(key, U32, value)
    model.key("attention.layer_norm_rms_epsilon", F32, 1e-5)
    if normed:
        model.key("ssm.dt_b_c_rms", BOOL, True)
    model.matrix("token_embd.weight", n_vocab, embd, 1.0, kinds.get("token_embd"))
    for layer in range(layers):
        blk, rng = f"blk.{layer}.", model.rng
        model.norm(blk + "attn_norm.weight", embd)
        model.matrix(blk + "ssm_in.weight", 2 * inner, embd, kind=kinds.get("ssm_in"))
        if "ssm_in" in biases:
            model.bias(blk + "ssm_in.bias", 2 * inner)
        model.given(blk + "ssm_conv1d.weight", rng.standard_normal((inner, conv)) * conv**-0.5)
        if "ssm_conv1d" in biases:
            model.bias(blk + "ssm_conv1d.bias", inner)
        model.matrix(blk + "ssm_x.weight", rank + 2 * state, inner, kind=kinds.get("ssm_x"))
        model.matrix(blk + "ssm_dt.weight", inner, rank, kind=kinds.get("ssm_dt"))
        model.given(blk + "ssm_dt.bias", np.log(np.expm1(np.exp(rng.uniform(np.log(0.01), 0, inner)))))
        model.given(blk + "ssm_a", -np.arange(1, state + 1) * rng.uniform(0.5, 1.5, (inner, state)))
        model.norm(blk + "ssm_d", inner)
        model.matrix(blk + "ssm_out.weight", embd, inner, kind=kinds.get("ssm_out"))
        if "ssm_out" in biases:
            model.bias(blk + "ssm_out.bias", embd)
    model.norm("output_norm.weight", embd)
    if not tied:
        model.matrix("output.weight", n_vocab, embd, kind=kinds.get("output"))
    return model, n_vocab


# ---- the models -------------------------------------------------------------------------------

QKV = ("attn_q", "attn_k", "attn_v")
ALL_BIASES = (*QKV, "attn_output", "ffn_gate", "ffn_up", "ffn_down")

LLAMA = {
    "llama-gqa-f32": dict(kind="f32", vocab="spm", embd=36, heads=6, kv=2, ff=52),
    "llama-mha-f32": dict(kind="f32", vocab=31, embd=24, heads=3, kv=3, ff=37, layers=3),
    # 5 heads of 14, which is not embd / heads; 10 of 14 elements are rotated
    "llama-mqa-f32": dict(kind="f32", vocab=41, embd=34, heads=5, kv=1, ff=51, head_dim=14, n_rot=10, tied=True),
    "llama-biases-f16": dict(kind="f16", vocab=37, embd=40, heads=5, kv=5, ff=44, biases=ALL_BIASES),
    "llama-window-bf16": dict(kind="bf16", vocab=53, embd=36, heads=9, kv=3, ff=40, window=5, tied=True),
    "llama-freqs-f32": dict(kind="f32", vocab=47, embd=48, heads=4, kv=2, ff=33, freqs=8.0, tied=True,
                            keys=[("rope.freq_base", F32, 500000.0)]),
    "llama-linear-f32": dict(kind="f32", vocab=43, embd=32, heads=2, kv=1, ff=45,
                             keys=[("rope.scaling.type", STRING, "linear"), ("rope.scaling.factor", F32, 4.0)]),
    "llama-scale-linear-f32": dict(kind="f32", vocab=43, embd=20, heads=2, kv=1, ff=45,
                                   keys=[("rope.scale_linear", F32, 2.5)]),
    # no two layers alike; the last two have no window
    "llama-layers-f32": dict(kind="f32", vocab=39, embd=24, heads=[4, 6, 2, 4], kv=[2, 3, 1, 4], ff=[40, 17, 33, 20],
                             layers=4, head_dim=6, window=7, tied=True,
                             keys=[("attention.sliding_window_pattern", ARRAY, (BOOL, [True, True, False, False]))]),
    "qwen2-f32": dict(kind="f32", vocab="bpe", embd=42, heads=7, kv=1, ff=50, biases=QKV, tied=True, arch="qwen2"),
    "qwen2-rot-f16": dict(kind="f16", vocab=59, embd=40, heads=4, kv=2, ff=36, n_rot=6, biases=QKV, arch="qwen2"),
    # every block type as embedding table, tied head and each matrix whose rows are whole blocks
    **{f"llama-{kind}": dict(kind=kind, vocab=45, embd=64, heads=2, kv=1, ff=96, layers=1, tied=True)
       for kind in BLOCKS if TYPES[kind][1] == 32},
    **{f"llama-{kind}": dict(kind=kind, vocab=45, embd=256, heads=4, kv=2, ff=32, head_dim=8, layers=1, tied=True)
       for kind in BLOCKS if TYPES[kind][1] == 256},
    # as quantised files are: types differ from matrix to matrix
    "llama-mixed": dict(kind="q4_k", vocab=33, embd=256, heads=8, kv=2, ff=256, head_dim=4, layers=1,
                        kinds=dict(token_embd="q5_0", attn_q="q5_k", attn_v="q6_k", attn_output="f32", ffn_up="q4_1",
                                   ffn_down="q6_k", output="q8_0")),
}

MAMBA = {
    "mamba-f32": dict(kind="f32", vocab="bpe", embd=26, inner=52, state=16, conv=4, rank=3),
    # fewer channels than two tiles, an odd state, the shortest kernel
    "mamba-odd-f32": dict(kind="f32", vocab=39, embd=17, inner=29, state=5, conv=2, rank=1, tied=True),
    "mamba-normed-f32": dict(kind="f32", vocab=35, embd=24, inner=40, state=8, conv=3, rank=7, normed=True),
    # use_conv_bias = false; use_bias = true
    "mamba-bare-f32": dict(kind="f32", vocab=33, embd=20, inner=36, state=4, conv=4, rank=2, biases=()),
    "mamba-biases-f32": dict(kind="f32", vocab=33, embd=20, inner=36, state=4, conv=4, rank=2, tied=True,
                             biases=("ssm_in", "ssm_conv1d", "ssm_out")),
    "mamba-f16": dict(kind="f16", vocab=51, embd=22, inner=33, state=16, conv=4, rank=5),
    "mamba-bf16": dict(kind="bf16", vocab=29, embd=20, inner=48, state=3, conv=8, rank=2, tied=True),
    "mamba-mixed": dict(kind="q8_0", vocab=49, embd=64, inner=96, state=16, conv=4, rank=32, tied=True,
                        kinds=dict(ssm_in="q4_1", ssm_x="q5_1", ssm_dt="q4_0", ssm_out="q5_0")),
    "mamba-k": dict(kind="q4_k", vocab=49, embd=256, inner=20, state=4, conv=4, rank=3, layers=1, tied=True,
                    kinds=dict(token_embd="q6_k")),
}


def make(directory, name, family, options):
    model, n_vocab = family(name, **options)
    tokens = np.random.default_rng(zlib.crc32(name.encode()) + 1).integers(0, n_vocab, N_TOKENS)
    base = os.path.join(directory, name)
    write(base + ".gguf", model.meta, model.tensors)
    with open(base + ".txt", "w") as file:
        file.write(" ".join(map(str, tokens)) + "\n")
    logits = forward.logits(base + ".gguf", tokens)
    np.save(base + ".npy", logits.astype("<f4"))
    print(f"{name}: {os.path.getsize(base + '.gguf')} bytes, logits of deviation {logits.std():.3g}")


def main(argv):
    here = os.path.dirname(os.path.abspath(__file__))
    directory = argv[1] if len(argv) > 1 else os.path.join(here, "..", "data", "models")
    os.makedirs(directory, exist_ok=True)
    for family, table in ((llama, LLAMA), (mamba, MAMBA)):
        for name, options in table.items():
            make(directory, name, family, options)


if __name__ == "__main__":
    main(sys.argv)
