#!/usr/bin/env python3
"""Trains a new model on a text, through libnlm.so and ctypes alone, and lets it go on with a prompt.

    python3 train.py text.txt vocabulary.gguf new.gguf "Once upon a time" 100

makes new.gguf, a small Mamba with the vocabulary of that file (a tokenizer.json will do too), in 100 steps. generate.py, which stands beside this
file, has what the two have in common.
"""
import ctypes
import sys
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

import generate
from generate import Error, Struct

LENGTH, ROWS = 64, 4  # tokens of a sequence, and sequences of a step


class TrainingOptions(Struct):
    _fields_ = [("struct_size", c_uint32), ("flags", c_uint32), ("path", c_char_p), ("preset", c_char_p),
                ("vocabulary", c_char_p), ("seed", c_uint64), ("max_tokens", c_uint32), ("max_seqs", c_uint32),
                ("type", c_char_p), ("lora_rank", c_uint32), ("lora_alpha", c_float), ("learning_rate", c_double),
                ("floor", c_double), ("schedule", c_int32), ("warmup_steps", c_uint32), ("steps", c_uint64),
                ("decay_steps", c_uint64), ("beta1", c_float), ("beta2", c_float), ("eps", c_float),
                ("weight_decay", c_float), ("clip_norm", c_double), ("label_smoothing", c_float), ("z_loss", c_float),
                ("architecture", c_char_p), ("n_embd", c_uint32), ("n_layer", c_uint32), ("n_ctx", c_uint32),
                ("n_head", c_uint32), ("n_head_kv", c_uint32), ("n_ff", c_uint32), ("d_state", c_uint32),
                ("d_conv", c_uint32), ("dt_rank", c_uint32), ("reserved", c_uint32),
                ("n_lanes", c_uint32), ("reserved2", c_uint32)]


class TrainingBatch(Struct):
    _fields_ = [("struct_size", c_uint32), ("n_seqs", c_uint32), ("ids", POINTER(c_int32)), ("labels", POINTER(c_int32)),
                ("lengths", POINTER(c_uint32)), ("from_lanes", POINTER(c_int32)), ("to_lanes", POINTER(c_int32))]


class TrainingMetrics(Struct):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("step", c_uint64), ("loss", c_double),
                ("gradient_norm", c_double), ("learning_rate", c_double), ("n_tokens", c_uint64), ("n_counted", c_uint64),
                ("seconds", c_double)]


def load_library():
    nlm = generate.load_library()
    for name, arguments in {
        "nlm_training_create": [c_void_p, POINTER(TrainingOptions), POINTER(c_void_p)],
        "nlm_training_step": [c_void_p, POINTER(TrainingBatch), c_size_t, POINTER(TrainingMetrics)],
        "nlm_training_export": [c_void_p, c_char_p, c_char_p],
    }.items():
        function = getattr(nlm, name)
        function.argtypes = [*arguments, POINTER(Error)]
        function.errcheck = generate.check
    nlm.nlm_training_destroy.argtypes = [c_void_p]
    nlm.nlm_training_destroy.restype = None
    return nlm


class Trainer:
    """A new model, and the file it is written to."""

    def __init__(self, vocabulary, path, steps):
        self.nlm, self.path = load_library(), path
        self.engine, self.training = c_void_p(), c_void_p()
        self.nlm.nlm_engine_create(None, byref(self.engine), byref(Error()))
        options = TrainingOptions(architecture=b"mamba", n_embd=64, n_layer=2, n_ctx=LENGTH,
                                  vocabulary=vocabulary.encode(), seed=1, max_tokens=ROWS * LENGTH, max_seqs=ROWS, learning_rate=1e-2, warmup_steps=steps // 10, steps=steps, clip_norm=1)
        self.nlm.nlm_training_create(self.engine, byref(options), byref(self.training), byref(Error()))

    def close(self):
        self.nlm.nlm_training_destroy(self.training)
        self.nlm.nlm_engine_destroy(self.engine)

    def export(self):
        self.nlm.nlm_training_export(self.training, None, self.path.encode(), byref(Error()))

    def step(self, ids, number):
        """Rows from the text, one behind the other, from where the step before ended; around its end."""
        rows = (c_int32 * (ROWS * LENGTH))(*(ids[(number * ROWS * LENGTH + i) % len(ids)] for i in range(ROWS * LENGTH)))
        lengths = (c_uint32 * ROWS)(*[LENGTH] * ROWS)
        batch, metrics = TrainingBatch(n_seqs=ROWS, ids=rows, lengths=lengths), TrainingMetrics()
        self.nlm.nlm_training_step(self.training, byref(batch), 1, byref(metrics), byref(Error()))
        return metrics


def with_model(path, use):
    model = generate.Example(path)
    try:
        return use(model)
    finally:
        model.close()


def train(text, vocabulary, path, steps):
    trainer = Trainer(vocabulary, path, steps)
    trainer.export()  # untrained: it knows how text becomes tokens
    ids = with_model(path, lambda model: list(model.encode(text)))
    for number in range(steps):
        metrics = trainer.step(ids, number)
        print(f"step {metrics.step}: loss {metrics.loss:.3f}, gradient {metrics.gradient_norm:.2f}, "
              f"{metrics.n_tokens / metrics.seconds:.0f} tokens/s", file=sys.stderr)
    trainer.export()
    trainer.close()


def main():
    if len(sys.argv) != 6:
        sys.exit(f"usage: {sys.argv[0]} TEXT VOCABULARY.gguf MODEL.gguf PROMPT STEPS")
    try:
        with open(sys.argv[1], encoding="utf-8") as file:
            train(file.read(), sys.argv[2], sys.argv[3], int(sys.argv[5]))
        with_model(sys.argv[3], lambda model: model.generate(sys.argv[4], 40, generate.write))
    except (OSError, RuntimeError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
