#!/usr/bin/env python3
"""Times a training step of PyTorch at the shapes of `nlm-bench --train`.

usage: torch_step.py [--preset llama_15m|small_125m] [--rows 4] [--length 256] [--threads 2] [--mode eager|compile]
                     [--repeat 5] [--warmup 2] [--json]
e.g.   tests/oracle/torch_step.py --preset llama_15m --mode compile --json
       build/bin/nlm-bench --train llama_15m --rows 4 --length 256 --threads 2 --repeat 5 --json

The model: RMSNorm, rotary embedding, causal scaled_dot_product_attention, SwiGLU, tied head, f32, no biases. A step:
zero_grad(set_to_none), forward, mean cross-entropy over all positions, backward, clip_grad_norm_(1.0), fused AdamW
(betas 0.9, 0.95, weight decay 0.1 on matrices). Parts are timed apart in eager mode and in compile mode alike (the
compiled part is forward and loss, with its backward).
"""
import argparse
import json
import os
import time

PRESETS = {  # vocabulary, width, layers, heads, feed-forward
    "llama_15m": (32000, 288, 6, 6, 768),
    "small_125m": (50304, 768, 12, 12, 2048),
}
parser = argparse.ArgumentParser()
parser.add_argument("--preset", default="llama_15m", choices=PRESETS)
parser.add_argument("--rows", type=int, default=4)
parser.add_argument("--length", type=int, default=256)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--mode", default="eager", choices=("eager", "compile"))
parser.add_argument("--repeat", type=int, default=5)
parser.add_argument("--warmup", type=int, default=2)
parser.add_argument("--json", action="store_true")
args = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(args.threads)

import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(args.threads)
torch.manual_seed(0)
VOCAB, WIDTH, LAYERS, HEADS, INNER = PRESETS[args.preset]
HEAD = WIDTH // HEADS


def rotate(x, cos, sin):
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn_norm, self.ffn_norm = nn.RMSNorm(WIDTH, 1e-5), nn.RMSNorm(WIDTH, 1e-5)
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(WIDTH, INNER, bias=False) for _ in range(2))
        self.down = nn.Linear(INNER, WIDTH, bias=False)

    def forward(self, x, cos, sin):
        rows, length, _ = x.shape
        h = self.attn_norm(x)
        q, k, v = (f(h).view(rows, length, HEADS, HEAD).transpose(1, 2) for f in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True)
        x = x + self.o(y.transpose(1, 2).reshape(rows, length, WIDTH))
        h = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.RMSNorm(WIDTH, 1e-5)
        angles = torch.outer(torch.arange(args.length), 1e4 ** (-torch.arange(0, HEAD, 2) / HEAD))
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids, labels):
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        logits = F.linear(self.norm(x), self.embed.weight)
        return F.cross_entropy(logits.view(-1, VOCAB), labels.view(-1))


model = Llama()
matrices = [p for p in model.parameters() if p.dim() == 2]
vectors = [p for p in model.parameters() if p.dim() != 2]
optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
                              lr=1e-4, betas=(0.9, 0.95), fused=True)
ids, labels = (torch.randint(0, VOCAB, (args.rows, args.length)) for _ in range(2))
forward = torch.compile(model) if args.mode == "compile" else model


def step():
    times = [time.perf_counter()]
    optimizer.zero_grad(set_to_none=True)
    loss = forward(ids, labels)
    times.append(time.perf_counter())
    loss.backward()
    times.append(time.perf_counter())
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    times.append(time.perf_counter())
    optimizer.step()
    times.append(time.perf_counter())
    return loss.item(), [b - a for a, b in zip(times, times[1:])] + [times[-1] - times[0]]


for _ in range(args.warmup):
    loss, _ = step()
samples = [step() for _ in range(args.repeat)]
median = [sorted(column)[len(samples) // 2] for column in zip(*(times for _, times in samples))]
best = min(times[-1] for _, times in samples)
tokens = args.rows * args.length
elements = LAYERS * (4 * WIDTH * WIDTH + 3 * WIDTH * INNER) + VOCAB * WIDTH
flop = 6 * tokens * elements + 3 * args.rows * args.length * (args.length + 1) // 2 * LAYERS * 4 * WIDTH
result = {
    "torch": torch.__version__, "mode": args.mode, "preset": args.preset, "threads": torch.get_num_threads(),
    "rows": args.rows, "length": args.length, "parameters": sum(p.numel() for p in model.parameters()),
    "train": {"tok_s": {"median": tokens / median[-1], "max": tokens / best}, "ms": {"median": median[-1] * 1e3},
              "parts_ms": dict(zip(("forward", "backward", "norm", "adamw"), (1e3 * t for t in median))),
              "flop": flop, "gflop_s": flop / best * 1e-9},
    "loss": samples[-1][0],
}
if args.json:
    print(json.dumps(result, indent=1))
else:
    parts = ", ".join(f"{name} {ms:.4g}" for name, ms in result["train"]["parts_ms"].items())
    print(f"torch {torch.__version__} {args.mode}, {args.preset}, {result['threads']} threads: "
          f"{tokens / median[-1]:.4g} tok/s median; a step of {median[-1] * 1e3:.4g} ms: {parts}; "
          f"best {result['train']['gflop_s']:.4g} GFLOP/s; loss {samples[-1][0]:.4f}")
