"""The variants of CUDA kernels that a cache of compiled ones holds, compiled again without a GPU, and their figures."""
import ctypes
import os
import re
import struct
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
CUDA = TOP / "backends/cuda"
MAGIC = b"nlm cuda image 1\n"
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
# Registers and bytes of shared memory of an SM, and its warps: CUDA's programming guide, table of compute capabilities.
SM = {75: (65536, 64, 32), 80: (65536, 164, 64), 86: (65536, 100, 48), 89: (65536, 100, 48), 90: (65536, 228, 64),
      100: (65536, 228, 64), 120: (65536, 100, 48)}


def open_nvrtc():
    root = os.environ.get("CUDA_PATH") or os.environ.get("CUDA_HOME") or "/usr/local/cuda"
    named = os.environ.get("NLM_NVRTC")
    for name in (named, "libnvrtc.so.13", "libnvrtc.so.12", f"{root}/lib64/libnvrtc.so"):
        try:
            if name:
                return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def source_of(name):
    """A kernel's file: an op's own, or one of several that an op has."""
    return next((p for p in (CUDA / "ops" / name, CUDA / "device" / name) if p.exists()), None)


def variants(folder):
    """The (source, macros) that a folder of images was compiled from."""
    found = set()
    for path in Path(folder).rglob("*.image"):
        data = path.read_bytes()
        if not data.startswith(MAGIC):
            continue
        (length,) = struct.unpack_from("<Q", data, 24)
        key = data[48 : 48 + length].decode()
        if source_of(key.split()[0]):  # else of another release
            found.add((key.split()[0], tuple(re.findall(r"-D\S+", key))))
    return sorted(found)


def supported(nvrtc):
    count = ctypes.c_int()
    nvrtc.nvrtcGetNumSupportedArchs(ctypes.byref(count))
    archs = (ctypes.c_int * count.value)()
    nvrtc.nvrtcGetSupportedArchs(archs)
    return set(archs)


def text_of(nvrtc, program, what):
    size = ctypes.c_size_t()
    getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value + 1)
    getattr(nvrtc, f"nvrtcGet{what}")(program, text)
    return text.value.decode(errors="replace")


def compiled(nvrtc, arch, source, macros):
    """A program of NVRTC's and its log; None if it does not compile."""
    headers = sorted(p for p in (CUDA / "device").iterdir() if p.suffix in (".h", ".cuh"))
    texts = (ctypes.c_char_p * len(headers))(*(p.read_bytes() for p in headers))
    names = (ctypes.c_char_p * len(headers))(*(p.name.encode() for p in headers))
    program = ctypes.c_void_p()
    options = [f"--gpu-architecture=sm_{arch}", "--std=c++17", "--ptxas-options=-v", *macros]
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source_of(source).read_bytes(), source.encode(),
                             len(headers), texts, names)
    result = nvrtc.nvrtcCompileProgram(program, len(options),
                                       (ctypes.c_char_p * len(options))(*(o.encode() for o in options)))
    log = text_of(nvrtc, program, "ProgramLog")
    return program if result == 0 else None, log.strip() or f"error {result}"


def compile_one(job):
    """(arch, source, macros) to that and its kernels' figures, or a sentence that says why there are none."""
    arch, source, macros = job
    nvrtc = open_nvrtc()
    program, log = compiled(nvrtc, arch, source, macros)
    if program is None:
        return job, f"does not compile: {log.splitlines()[0]}"
    ptx = text_of(nvrtc, program, "PTX")
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return job, figures(log, ptx)


def compile_cubin(arch, source, macros):
    """The device's code."""
    nvrtc, size = open_nvrtc(), ctypes.c_size_t()
    program, log = compiled(nvrtc, arch, source, macros)
    if program is None:
        raise ValueError(f"{source} does not compile: {log}")
    nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
    cubin = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetCUBIN(program, cubin)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return cubin.raw


def figures(log, ptx):
    """By kernel: registers, bytes of stack, spills and shared memory, threads of a block (0: not said)."""
    kernels = {}
    for part in log.split("Compiling entry function")[1:]:
        name = re.search(r"'(\w+)'", part)[1]
        frame = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part)
        shared = re.search(r"(\d+) bytes smem", part)
        threads = re.search(rf"\.entry {name}\(.*?\.maxntid (\d+)", ptx, re.S)
        kernels[name] = {"registers": int(re.search(r"Used (\d+) registers", part)[1]), "stack": int(frame[1]),
                         "spills": int(frame[2]) + int(frame[3]), "shared": int(shared[1]) if shared else 0,
                         "threads": int(threads[1]) if threads else 0}
    return kernels


def warps(arch, kernel):
    """Of an SM, how many at once; a block's shared memory is the static one alone."""
    registers, shared, most = SM[arch]
    per_block = (kernel["threads"] + 31) // 32 or 1
    by_registers = registers // (-(-kernel["registers"] // 8) * 8 * 32) // per_block
    by_shared = shared * 1024 // (kernel["shared"] + 1024)
    return min(by_registers, by_shared, most // per_block) * per_block
