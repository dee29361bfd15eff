#!/usr/bin/env python3
"""Writes some tensors of a GGUF file, as they are, to a smaller one: tests/data/dtype/stories260K-*.gguf.

usage: cut_gguf.py FILE OUT TENSOR...
"""
import sys

from gguf_file import STRING, GgufFile, write

source, out, *names = sys.argv[1:]
file = GgufFile(source)
meta = [(key, STRING, file.meta[key]) for key in ("general.architecture", "general.name", "general.license")]
write(out, meta, [(name, *file.stored(name)) for name in names])
