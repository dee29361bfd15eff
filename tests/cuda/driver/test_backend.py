#!/usr/bin/env python3
"""backends/cuda on emulated GPUs, as a user runs it: the order of streams changes no text, and a call of the driver that
fails, whichever it is, ends in a sentence and leaves nothing on the device."""
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BUILD, SOURCE = Path(os.environ["NLM_BUILD"]), Path(os.environ["NLM_SOURCE"])
MODELS = [SOURCE / "models" / name for name in ("llama.gguf", "mamba.gguf")]
DENSE = SOURCE / "tests/data/models/llama-biases-f16.gguf"  # has products that cuBLASLt is asked for
# Sixteen blocks at once take the emulated device seconds; test_mamba_step has them, under its own seed.
SINGLE_OPS = ("--set", "backend.options.cluster_step=false")
IS_SLOW = bool(os.environ.get("NLM_SANITIZE"))
# After these the backend cannot give back what it has.
OF_CLEANING = re.compile("Free|Destroy|Release|Unload|Current|Synchronize")


def run(model, n, *arguments, **settings):
    command = [BUILD / "tests/cuda/with-device", BUILD / "bin/nlm-run", "--backend", "cuda", "--model", model,
               "--prompt", "Once upon a", "-n", str(n), "--temp", "0", *SINGLE_OPS, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ | settings)


def text_is_the_same_under_every_seed():
    for model in MODELS:
        texts = set()
        for seed in range(2 if IS_SLOW else 4):
            done = run(model, 4, EMU_CUDA_SEED=str(seed))
            if done.returncode == 77:
                print(done.stdout)
                sys.exit(77)
            assert done.returncode == 0, done.stderr
            texts.add(done.stdout)
        assert len(texts) == 1, (model, texts)
        print(f"{model.name}: {texts.pop()!r}")


def failing_call(model, number, code, folder, *arguments, **settings):
    """The name of the call that failed, or None where there are not so many."""
    log = folder / f"{number}.log"
    done = run(model, 1, *arguments, EMU_CUDA_FAIL_CALL=str(number), EMU_CUDA_FAIL_CODE=code, EMU_CUDA_LOG=str(log),
               **settings)
    text = log.read_text() if log.exists() else ""
    failed = re.search(rf"call {number}, (\w+), fails", text)
    if not failed:
        assert done.returncode == 0, done.stderr
        return None
    name = failed.group(1)
    assert done.returncode in (0, 1), (number, name, done.returncode, done.stderr)
    assert done.returncode == 0 or re.search(r"^nlm-run: .*\w", done.stderr, re.M), (number, name, done.stderr)
    if not OF_CLEANING.search(name):
        assert "left in its context" not in text and "at exit" not in text, (number, name, text)
    return name


def every_failing_call_ends_in_a_sentence():
    """All of the first calls; then fewer and fewer, as they come again and again."""
    for code in ("CUDA_ERROR_UNKNOWN", "CUDA_ERROR_OUT_OF_MEMORY"):
        names, number = set(), 1
        with tempfile.TemporaryDirectory() as folder:
            while name := failing_call(MODELS[0], number, code, Path(folder)):
                names.add(name)
                number += 1 + number // (1 if IS_SLOW else 12 if code == "CUDA_ERROR_UNKNOWN" else 3)
        assert len(names) > (4 if IS_SLOW else 8), names
        print(f"{code}: up to call {number}; {len(names)} functions: {' '.join(sorted(names))}")


def every_failing_call_of_cublaslt_ends_in_a_sentence():
    """All that the first shape takes; then fewer and fewer."""
    arguments = ("--prompt", "Once upon a time there was a little cat who lived in a house with a dog and a golden key",
                 "--set", "backend.options.products=cublaslt")
    names, number = set(), 1
    with tempfile.TemporaryDirectory() as folder:
        while name := failing_call(DENSE, number, "CUDA_ERROR_UNKNOWN", Path(folder), *arguments,
                                   EMU_CUDA_FAIL_NAME="cublasLt"):
            names.add(name)
            number += 1 + number // (4 if IS_SLOW else 16)
    assert {"cublasLtCreate", "cublasLtMatmulAlgoGetHeuristic", "cublasLtMatmul"} <= names, names
    print(f"cuBLASLt: up to call {number}; {' '.join(sorted(names))}")


def main():
    text_is_the_same_under_every_seed()
    every_failing_call_ends_in_a_sentence()
    every_failing_call_of_cublaslt_ends_in_a_sentence()


main()
