#!/usr/bin/env python3
"""The test device stops faults that are planted in backends/cuda itself, by mutants.py: in its kernels, whose texts the
stand-in of NVRTC changes as they are compiled, each with the line; and on the host's side, of which a library is made."""
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutants import HOST, KERNELS

BUILD, SOURCE = Path(os.environ["NLM_BUILD"]), Path(os.environ["NLM_SOURCE"])
BACKEND = SOURCE / "backends/cuda"
FAULT = re.compile(r"kernel \w+, .*?([\w.]+):(\d+): (.*)")


def certify(case, library=None, options=(), **settings):
    """Runs a case; what nlm-conform ends with, and the device's own sentences."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        name = case.split("/")[0]
        levels = {"abi": "0", "captured": "2", "norm_matmul": "2", "sample": "2", "advance": "2"}
        level = levels.get(name, "3" if name.endswith(("_bwd", "_dx", "_dw")) else "1")
        conform = [BUILD / "bin/nlm-conform", "--level", level, "--filter", case,
                   "--timeout", "900", *options, *(["--library", library] if library else ["--backend", "cuda"])]
        step = [BUILD / "tests/cuda/test_mamba_step", library or BUILD / "lib/nlm/cuda.so", case.split("/")[-1]]
        command = [BUILD / "tests/cuda/with-device", *(step if name == "mamba_step" else conform)]
        environment = os.environ | {"EMU_CUDA_LOG": str(log)} | settings
        if "EMU_NVRTC_EDIT" in settings:
            environment["XDG_CACHE_HOME"] = folder  # a cache of kernels knows nothing of changes
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
        return done, log.read_text() if log.exists() else ""


def kernel_problem(mutant):
    """Why a mutant was not stopped as it should be; empty if it was."""
    path = next(p for p in (BACKEND / "ops" / mutant.file, BACKEND / "device" / mutant.file) if p.exists())
    text = path.read_text()
    if text.count(mutant.before) != 1:
        return f"'{mutant.before}' is {text.count(mutant.before)} times in {path.name}"
    with tempfile.NamedTemporaryFile("w") as edit:
        edit.write(f"{mutant.file}\n====\n{mutant.before}\n====\n{mutant.after}")
        edit.flush()
        done, log = certify(mutant.case, options=mutant.options, EMU_NVRTC_EDIT=edit.name, **mutant.settings)
    faults = FAULT.findall(log)
    if done.returncode != 1 or not faults:
        return f"was not stopped (exit status {done.returncode}): {(done.stdout + done.stderr + log)[-600:]}"
    file, number, sentence = faults[0]
    if not re.search(mutant.sentence, sentence):
        return f"was stopped otherwise: {file}:{number}: {sentence}"
    there = next(p for p in (BACKEND / "ops" / file, BACKEND / "device" / file) if p.exists()).read_text()
    line = (there.replace(mutant.before, mutant.after) if file == mutant.file else there).splitlines()[int(number) - 1]
    return "" if mutant.line in line else f"was stopped at another line: {file}:{number}: {line.strip()}: {sentence}"


def compile_library(mutant, folder):
    """The backend with a changed file, or None and why."""
    text = (BACKEND / mutant.file).read_text()
    if text.count(mutant.before) != 1:
        return None, f"'{mutant.before}' is {text.count(mutant.before)} times in {mutant.file}"
    source, changed = folder / Path(mutant.file).name, folder / "changed.o"
    source.write_text(text.replace(mutant.before, mutant.after))
    objects = BUILD / "backends/CMakeFiles/cuda.dir"
    rest = [p for p in objects.rglob("*.o") if p != objects / "cuda" / f"{mutant.file}.o"]
    library = folder / "mutant.so"
    for command in (["cc", "-fPIC", "-O1", "-std=gnu11", "-D_GNU_SOURCE", "-w", f"-I{BACKEND}", f"-I{BACKEND.parent}",
                     f"-I{SOURCE}/core/include", "-c", source, "-o", changed],
                    ["cc", "-shared", changed, *rest, "-o", library, "-lm", "-ldl", "-lpthread",
                     f"-Wl,--version-script={BACKEND.parent}/plugin.map"]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return None, done.stderr[-600:]
    return library, ""


def host_problem(mutant):
    with tempfile.TemporaryDirectory() as folder:
        library, why = compile_library(mutant, Path(folder))
        if not library:
            return why
        done, log = certify(mutant.case, library, mutant.options, **mutant.settings)
    if not re.search(r"FAILED: \d+ passed, [1-9]|\.\.\.FAILED", done.stdout) or not re.search(mutant.sentence, log):
        return f"was not stopped (exit status {done.returncode}): {(done.stdout + done.stderr + log)[-600:]}"
    return ""


def control_problem(case_and_settings):
    case, settings, options = case_and_settings
    done, log = certify(case, options=options, **json.loads(settings))
    return "" if done.returncode in (0, 77) else f"fails without a fault: {(done.stdout + log)[-600:]}"


def main():
    wanted = sys.argv[1:]  # names, in part
    kernels, host = ([m for m in all_of if not wanted or any(w in m.name for w in wanted)] for all_of in (KERNELS, HOST))
    if certify("abi/01_file")[0].returncode == 77:
        print("skipped: there is no NVRTC")
        return 77
    cases = sorted({(m.case, json.dumps(m.settings), m.options) for m in (*kernels, *host)})
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = dict(zip([" ".join(map(str, case)) for case in cases], pool.map(control_problem, cases)))
        for group, check in ((kernels, kernel_problem), (host, host_problem)):
            problems |= dict(zip([m.name for m in group], pool.map(check, group)))
    for name, problem in problems.items():
        if problem:
            print(f"{name}: {problem}")
    failed = sum(map(bool, problems.values()))
    print(f"{len(kernels)} kernels and {len(host)} files with a fault, {len(cases)} cases without: {failed} problems")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
