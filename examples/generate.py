#!/usr/bin/env python3
"""Continues a text with a model, through libnlm.so and ctypes alone.

    python3 generate.py model.gguf "Once upon a time" 64

The library is looked for where the system looks, or in NLM_LIBRARY.
"""
import ctypes
import os
import sys
from ctypes import POINTER, byref, c_char, c_char_p, c_double, c_float, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

API_MAJOR, API_MINOR = 1, 0  # of the nlm.h that the structs below follow
MODEL_NO_PROMPT_CACHE = 1
TEXT_BOS = 1

TextFunction = ctypes.CFUNCTYPE(c_int32, c_void_p, POINTER(c_char), c_size_t)


class Struct(ctypes.Structure):
    """struct_size comes first in every struct of nlm.h; a field left out is the default."""

    def __init__(self, **fields):
        super().__init__(struct_size=ctypes.sizeof(self), **fields)


class Error(Struct):
    _fields_ = [("struct_size", c_uint32), ("code", c_int32), ("native_code", c_int32), ("reserved", c_uint32),
                ("where", c_char * 112), ("msg", c_char * 896)]


class ModelOptions(Struct):
    _fields_ = [("struct_size", c_uint32), ("flags", c_uint32), ("context_length", c_uint32), ("parallel", c_uint32),
                ("kv_type", c_char_p), ("prompt_cache_bytes", c_uint64), ("chat_template", c_char_p),
                ("progress", c_void_p), ("progress_user", c_void_p)]


class SamplerOptions(Struct):
    _fields_ = [("struct_size", c_uint32), ("repeat_last_n", c_uint32), ("seed", c_uint64), ("temperature", c_float),
                ("top_p", c_float), ("min_p", c_float), ("repeat_penalty", c_float), ("top_k", c_int32),
                ("reserved", c_uint32)]


class GenerateOptions(Struct):
    _fields_ = [("struct_size", c_uint32), ("flags", c_uint32), ("max_tokens", c_uint64), ("stops", POINTER(c_char_p)),
                ("n_stops", c_size_t)]


class GenerateResult(Struct):
    _fields_ = [("struct_size", c_uint32), ("ended_by", c_int32), ("n_tokens", c_uint64), ("n_bytes", c_uint64),
                ("stop_index", c_int32), ("reserved", c_uint32)]


class Metrics(Struct):
    _fields_ = [("struct_size", c_uint32), ("device_id", c_int32), ("threads", c_uint32), ("reserved", c_uint32),
                ("backend", c_char_p), ("prompt_tokens", c_uint64), ("cached_tokens", c_uint64),
                ("decode_tokens", c_uint64), ("prompt_seconds", c_double), ("decode_seconds", c_double),
                ("first_token_seconds", c_double), ("prompt_tokens_per_second", c_double),
                ("decode_tokens_per_second", c_double)]  # what follows in nlm.h is not asked for


def load_library():
    nlm = ctypes.CDLL(os.environ.get("NLM_LIBRARY", "libnlm.so.1"))
    nlm.nlm_api_version.restype = c_uint32
    version = nlm.nlm_api_version()
    if version >> 16 != API_MAJOR or version & 0xFFFF < API_MINOR:
        sys.exit("libnlm is too old or too new for this program")
    text = [c_char_p, c_size_t]
    for name, arguments in {
        "nlm_engine_create": [c_void_p, POINTER(c_void_p)],
        "nlm_model_load": [c_void_p, c_char_p, POINTER(ModelOptions), POINTER(c_void_p)],
        "nlm_sampler_create": [c_void_p, POINTER(SamplerOptions), POINTER(c_void_p)],
        "nlm_session_create": [c_void_p, POINTER(c_void_p)],
        "nlm_encode": [c_void_p, *text, c_uint32, POINTER(c_int32), c_size_t, POINTER(c_size_t)],
        "nlm_session_extend": [c_void_p, POINTER(c_int32), c_size_t],
        "nlm_session_generate": [c_void_p, c_void_p, POINTER(GenerateOptions), TextFunction, c_void_p,
                                 POINTER(GenerateResult)],
        "nlm_session_metrics": [c_void_p, POINTER(Metrics)],
    }.items():
        function = getattr(nlm, name)
        function.argtypes = [*arguments, POINTER(Error)]
        function.errcheck = check
    for name in ("nlm_engine_destroy", "nlm_model_unload", "nlm_sampler_destroy", "nlm_session_destroy"):
        getattr(nlm, name).argtypes = [c_void_p]
        getattr(nlm, name).restype = None
    return nlm


def check(status, function, arguments):
    """Turns a failed call, whose last argument is an Error, into an exception."""
    error = arguments[-1]._obj
    if status != 0:
        raise RuntimeError(f"{error.where.decode()}: {error.msg.decode(errors='replace')}")
    return status


class Example:
    def __init__(self, path):
        self.nlm = load_library()
        self.engine, self.model, self.sampler, self.session = c_void_p(), c_void_p(), c_void_p(), c_void_p()
        nlm = self.nlm
        nlm.nlm_engine_create(None, byref(self.engine), byref(Error()))
        options = ModelOptions(flags=MODEL_NO_PROMPT_CACHE)
        nlm.nlm_model_load(self.engine, path.encode(), byref(options), byref(self.model), byref(Error()))
        nlm.nlm_sampler_create(self.model, byref(SamplerOptions(temperature=0)), byref(self.sampler), byref(Error()))
        nlm.nlm_session_create(self.model, byref(self.session), byref(Error()))

    def close(self):
        self.nlm.nlm_session_destroy(self.session)
        self.nlm.nlm_sampler_destroy(self.sampler)
        self.nlm.nlm_model_unload(self.model)
        self.nlm.nlm_engine_destroy(self.engine)

    def encode(self, text):
        data, count = text.encode(), c_size_t()
        self.nlm.nlm_encode(self.model, data, len(data), TEXT_BOS, None, 0, byref(count), byref(Error()))
        ids = (c_int32 * count.value)()
        self.nlm.nlm_encode(self.model, data, len(data), TEXT_BOS, ids, len(ids), byref(count), byref(Error()))
        return ids

    def generate(self, prompt, max_tokens, on_text):
        ids = self.encode(prompt)
        self.nlm.nlm_session_extend(self.session, ids, len(ids), byref(Error()))
        function = TextFunction(lambda _, text, length: on_text(ctypes.string_at(text, length)) or 0)
        result = GenerateResult()
        self.nlm.nlm_session_generate(self.session, self.sampler, byref(GenerateOptions(max_tokens=max_tokens)), function,
                                      None, byref(result), byref(Error()))
        return result

    def metrics(self):
        metrics = Metrics()
        self.nlm.nlm_session_metrics(self.session, byref(metrics), byref(Error()))
        return metrics


def write(text):
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


def main():
    if len(sys.argv) != 4:
        sys.exit(f"usage: {sys.argv[0]} MODEL.gguf PROMPT TOKENS")
    try:
        example = Example(sys.argv[1])
        example.generate(sys.argv[2], int(sys.argv[3]), write)
        metrics = example.metrics()
    except RuntimeError as error:
        sys.exit(str(error))
    print(f"{metrics.backend.decode()} device {metrics.device_id}: prompt {metrics.prompt_tokens_per_second:.1f} tokens/s, "
          f"text {metrics.decode_tokens_per_second:.1f} tokens/s", file=sys.stderr)
    example.close()


if __name__ == "__main__":
    main()
