"""nlm_embed beside the hidden states of transformers, where the packages are that cli.test_convert_transformers needs."""
import ctypes
import os
import sys
import unittest
from ctypes import POINTER, byref, c_float, c_int32, c_size_t, c_void_p
from pathlib import Path

import test_convert_transformers as peer  # skips without the packages
from converting import SOURCE, Case, convert

if os.environ.get("NLM_SANITIZE"):
    print("skipped: Python, which loads libnlm.so, does not carry the sanitizers")
    sys.exit(77)

np, torch = peer.np, peer.torch
sys.path.insert(0, str(SOURCE / "examples"))
os.environ["NLM_LIBRARY"] = str(Path(os.environ["NLM_BUILD"]) / "lib/libnlm.so.1")
import generate as nlm_structs  # noqa: E402

MEAN, LAST, NONE = 0, 1, 2
NORMALIZE = 1


class EmbedOptions(nlm_structs.Struct):
    _fields_ = [("struct_size", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("pooling", ctypes.c_uint32),
                ("reserved", ctypes.c_uint32)]


def load_library():
    nlm = nlm_structs.load_library()
    nlm.nlm_embed.argtypes = [c_void_p, POINTER(POINTER(c_int32)), POINTER(c_size_t), c_size_t, POINTER(EmbedOptions),
                              POINTER(c_float), POINTER(nlm_structs.Error)]
    nlm.nlm_embed.errcheck = nlm_structs.check
    return nlm


class Embed(Case):
    def embed(self, path, sequences, pooling, flags, width):
        nlm, error = load_library(), nlm_structs.Error()
        engine, model = c_void_p(), c_void_p()
        nlm.nlm_engine_create(None, byref(engine), byref(error))
        options = nlm_structs.ModelOptions(kv_type=b"f32", parallel=2)
        nlm.nlm_model_load(engine, str(path).encode(), byref(options), byref(model), byref(error))
        held = [(c_int32 * len(ids))(*ids) for ids in sequences]
        ids = (POINTER(c_int32) * len(held))(*[ctypes.cast(one, POINTER(c_int32)) for one in held])
        counts = (c_size_t * len(held))(*map(len, sequences))
        rows = sum(map(len, sequences)) if pooling == NONE else len(sequences)
        out = (c_float * (rows * width))()
        nlm.nlm_embed(model, ids, counts, len(held), byref(EmbedOptions(pooling=pooling, flags=flags)), out, byref(error))
        nlm.nlm_model_unload(model)
        nlm.nlm_engine_destroy(engine)
        return np.array(out).reshape(rows, width)

    def test_hidden_states_are_those_of_transformers(self):
        for name, (kind, settings) in peer.MODELS.items():
            with self.subTest(name):
                theirs, ours = self.folder / name, self.folder / f"{name}.gguf"
                model = peer.make_model(kind, settings)
                model.save_pretrained(theirs)
                convert(theirs, ours)
                draw = np.random.default_rng(5)
                sequences = [draw.integers(3, settings["vocab_size"], n).tolist() for n in (24, 1, 9)]
                with torch.no_grad():
                    states = [model.base_model(torch.tensor(ids)[None], use_cache=False).last_hidden_state[0].numpy()
                              for ids in sequences]
                width = settings["hidden_size"]
                unit = [s / np.linalg.norm(s, axis=-1, keepdims=True) for s in states]
                for pooling, flags, expected in (
                        (NONE, 0, np.concatenate(states)), (NONE, NORMALIZE, np.concatenate(unit)),
                        (LAST, 0, np.stack([s[-1] for s in states])), (MEAN, 0, np.stack([s.mean(0) for s in states]))):
                    np.testing.assert_allclose(self.embed(ours, sequences, pooling, flags, width), expected, rtol=0, atol=1e-4)


if __name__ == "__main__":
    unittest.main()
