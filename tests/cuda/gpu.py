"""NVRTC, nvdisasm and the emulated device for tests in Python, which with-device runs."""
import ctypes
import glob
import os
import shutil
import subprocess
import tempfile

NVRTC = ctypes.CDLL(os.environ["EMU_NVRTC"]) if "EMU_NVRTC" in os.environ else None  # the real one, not its stand-in


def find_nvdisasm():
    """Of PATH, of a toolkit, or what get-nvrtc put into the build; None if there is none."""
    toolkits = [os.environ[name] for name in ("CUDA_PATH", "CUDA_HOME") if name in os.environ]
    package = os.path.join(os.environ["NLM_BUILD"], "tests/cuda/nvdisasm/nvidia/*")
    places = [place for root in (*toolkits, "/usr/local/cuda*", package) for place in glob.glob(f"{root}/bin/nvdisasm")]
    return shutil.which("nvdisasm") or next(iter(places), None)


def compile_kernels(source, arch):
    """The cubin and the PTX of a text."""
    program, options = ctypes.c_void_p(), [b"--gpu-architecture=sm_%d" % arch]

    def result(what):
        size = ctypes.c_size_t()
        assert getattr(NVRTC, f"nvrtcGet{what}Size")(program, ctypes.byref(size)) == 0, what
        data = ctypes.create_string_buffer(size.value)
        assert getattr(NVRTC, f"nvrtcGet{what}")(program, data) == 0, what
        return data.raw

    assert NVRTC.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None) == 0
    failure = NVRTC.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    assert failure == 0, result("ProgramLog").decode() + source
    both = result("CUBIN"), result("PTX")
    NVRTC.nvrtcDestroyProgram(ctypes.byref(program))
    return both


def disassemble(cubin):
    """The SASS of each kernel, by name."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([find_nvdisasm(), "-c", file.name], capture_output=True, text=True)
    assert done.returncode == 0, f"nvdisasm: {done.stderr}"
    return {part.split(",")[0].strip('"'): part for part in done.stdout.split(".section\t.text.")[1:]}


class Launch(ctypes.Structure):
    _fields_ = [(f"{of}Dim{axis}", ctypes.c_uint) for of in ("grid", "block") for axis in "XYZ"]
    _fields_ += [("sharedMemBytes", ctypes.c_uint), ("hStream", ctypes.c_void_p), ("attrs", ctypes.c_void_p),
                 ("numAttrs", ctypes.c_uint)]


class Device:
    """The first device."""

    def __init__(self):
        self.driver = ctypes.CDLL("libcuda.so.1")
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuInit", 0)
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)

    def call(self, name, *arguments):
        failure = getattr(self.driver, name)(*arguments)
        assert failure == 0, f"{name}: error {failure}"

    def load(self, ptx):
        module = ctypes.c_void_p()
        self.call("cuModuleLoadData", ctypes.byref(module), ptx)
        return module

    def run(self, module, kernel, inputs, n_out, threads=32, shared_bytes=0):
        """Runs kernel(inputs..., output) in a block: bytes in, so many bytes out."""
        function = ctypes.c_void_p()
        self.call("cuModuleGetFunction", ctypes.byref(function), module, kernel.encode())
        sizes = [len(data) for data in inputs] + [n_out]
        places = [ctypes.c_uint64() for _ in sizes]
        for place, size in zip(places, sizes):
            self.call("cuMemAlloc_v2", ctypes.byref(place), ctypes.c_size_t(size))
        for place, data in zip(places, inputs):
            self.call("cuMemcpyHtoD_v2", place, data, ctypes.c_size_t(len(data)))
        launch = Launch(1, 1, 1, threads, 1, 1, shared_bytes)
        pointers = (ctypes.c_void_p * len(places))(*(ctypes.addressof(place) for place in places))
        self.call("cuLaunchKernelEx", ctypes.byref(launch), function, pointers, None)
        self.call("cuCtxSynchronize")
        out = ctypes.create_string_buffer(n_out)
        self.call("cuMemcpyDtoH_v2", out, places[-1], ctypes.c_size_t(n_out))
        for place in places:
            self.call("cuMemFree_v2", place)
        return out.raw
