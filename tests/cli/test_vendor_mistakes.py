"""Mistakes that vendors make in a backend of their own, each found by nlm-conform as it is run of a library: in the
skeleton of nlm-new-backend, with a packed layout and a second op where the mistake is in these, and in the stream device
of examples/."""
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

BIN, BUILD, SOURCE = (Path(os.environ[name]) for name in ("NLM_BIN", "NLM_BUILD", "NLM_SOURCE"))
CC = shlex.split(os.environ.get("CC", "cc"))
FLAGS = ["-std=gnu11", "-O1", "-w", "-fPIC", "-fvisibility=hidden", "-shared", f"-I{SOURCE}/core/include"]

PACK = """
/* Rows of f32, one after the other. */
#include <string.h>
#include "vendor.h"

nlm_status vendor_pack_size(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles, nlm_pack_info_v1 *out,
                            nlm_error *error) {
    out->bytes = (uint64_t)w->shape[0] * (uint64_t)w->shape[1] * sizeof(float);
    out->row_multiple = 1;
    return NLM_OK;
}

nlm_status vendor_pack(void *self, const nlm_tensor *w, uint32_t layout, uint32_t roles, int64_t row_from,
                       int64_t row_to, void *packed, nlm_error *error) {
    for (int64_t n = row_from; n < row_to; n++) {
        float *row = (float *)packed + n * w->shape[1];
        nlm_decode_row(w->dtype, nlm_kit_at(w, n), row, w->shape[1]);
    }
    return NLM_OK;
}
"""

ROPE = """
#include <math.h>
#include "vendor.h"

nlm_status vendor_rope(const nlm_exec_v1 *x, const nlm_rope_args *a) {
    const int32_t *pos = a->pos->data;
    const float *factors = a->freq_factors ? a->freq_factors->data : NULL;
    const nlm_kit_range tokens = nlm_kit_slice(x, nlm_live_rows(x, a->x), 1);
    for (int64_t t = tokens.from; t < tokens.to; t++) {
        const int32_t at = pos[t];
        for (int64_t h = 0; h < a->x->shape[1]; h++) {
            const float *in = nlm_kit_at2(a->x, t, h);
            float *out = nlm_kit_at2(a->y, t, h);
            for (int64_t c = a->n_rot; c < a->x->shape[2]; c++) out[c] = in[c];
            for (int i = 0; i < a->n_rot / 2; i++) {
                const int is_half = a->flags & NLM_ROPE_HALF_SPLIT;
                const int first = is_half ? i : 2 * i, second = is_half ? i + a->n_rot / 2 : 2 * i + 1;
                double angle = at * a->freq_scale * pow(a->freq_base, -2.0 * i / a->n_rot);
                if (factors) angle /= factors[i];
                if (a->flags & NLM_ROPE_INVERSE) angle = -angle;
                const float u = in[first], v = in[second], c = (float)cos(angle), s = (float)sin(angle);
                out[first] = u * c - v * s;
                out[second] = u * s + v * c;
            }
        }
    }
    return NLM_OK;
}
"""

START = "const int64_t rows = nlm_live_rows(x, args->x);"
STEP = "sum += bias[n];"


def at_start(code, above=""):
    """The slot of matmul begins with that."""
    return [("ops/matmul.c", START, f"{START}\n    {code}"), ("ops/matmul.c", '#include "vendor.h"', f'#include "vendor.h"\n{above}')]


def in_pack(before, after):
    return [("pack.c", before, after)]


def in_columns(limit):
    return [("ops/matmul.c", "w_row, w->shape[1])", f"w_row, w->shape[1] < {limit} ? w->shape[1] : {limit})")]


# (mistake, what to change, the row of a plain run that finds it, what is said)
MISTAKES = [
    ("drops_the_columns_past_the_4096th", in_columns(4096), "matmul/M=2,K=11008,N=3,w:f32", r"y\[\d, \d\] is "),
    ("drops_the_rows_past_the_4096th",
     [("ops/matmul.c", "n < slice.to", "n < slice.to && n < 4096")],
     "matmul/M=1,K=32,N=11008,w:q8_0", r"y\[0, \d+\] is -?nan"),
    ("fails_for_more_than_16_workers",
     at_start('if (x->nth > 16) return nlm_kit_fail(x->error, NLM_LIMIT, "matmul", "too many threads");'),
     "matmul", "with (17|33|64) threads fails: .*too many threads"),
    ("keeps_what_it_decoded_in_its_scratch",
     at_start("struct { uint32_t magic; const void *x; float y[4]; } *kept = x->scratch;") +
     [("ops/matmul.c", "return NLM_OK;",
       "if (w->shape[0] != 1 || rows != 1 || x->ith) return NLM_OK;\n    float *y = nlm_kit_at(args->y, 0);\n"
       "    if (kept->magic == 77 && kept->x == args->x->data) y[0] = kept->y[0];\n"
       "    kept->magic = 77, kept->x = args->x->data, kept->y[0] = y[0];\n    return NLM_OK;")],
     "matmul/M=1,K=256,N=1,w:f32", "y: other bits with 2 threads"),
    ("changes_the_rounding", at_start("fesetround(FE_DOWNWARD);", "#include <fenv.h>"), "matmul",
     "the slot changes the floating-point mode"),
    ("allocates", at_start("void *volatile mine = malloc(64); free(mine);", "#include <stdlib.h>"),
     "matmul", "the slot allocates memory"),
    ("changes_the_directory", at_start('chdir("/");', "#include <unistd.h>"), "abi/34_slots",
     "matmul/.* changes the working directory"),
    ("changes_a_handler", at_start("signal(SIGUSR1, SIG_IGN);", "#include <signal.h>"), "abi/34_slots",
     "matmul/.* changes a signal handler"),
    ("prints", at_start('write(1, "slot", 4);', "#include <unistd.h>"), "abi/34_slots", "matmul/.* prints to standard output"),
    ("leaves_a_thread",
     at_start("pthread_t thread; pthread_create(&thread, 0, wait_on, 0);",
              "#include <pthread.h>\n#include <unistd.h>\nstatic void *wait_on(void *u) { pause(); return u; }"),
     "abi/34_slots", "matmul/.* leaves .* thread"),
    ("asks_an_old_host_for_claims", at_start("if (x->claim(x, x->ith) > 99) return NLM_INTERNAL;", ""), "matmul",
     "calls claim, which is past the struct_size"),
    ("leaves_a_descriptor", at_start("if (x->ith == 0) dup(1);", "#include <unistd.h>"), "abi/34_slots", "matmul/.* descriptor"),
    ("leaves_a_descriptor_at_times",
     at_start("if (x->ith == 0 && w->shape[1] == 11008) dup(1);", "#include <unistd.h>") +
     [("vendor.h", "TYPES NLM_TYPES_DECODED", "TYPES NLM_TYPE_BIT(F32)")],
     "unload/level_1", "close, after the cases of level 1, leaves descriptor"),
    ("takes_seconds_to_close",
     [("vendor.c", "NLM_KIT_PLUGIN(", "#include <unistd.h>\nstatic void slow(const nlm_device_v1 *d) { sleep(2); }\n"
      "#define nlm_kit_close_nothing slow\nNLM_KIT_PLUGIN(")],
     "abi/09_open_close", r"close of device 0 takes 2\.\d s, at most 1 are allowed"),
    ("packs_through_a_static_buffer",
     in_pack("nlm_decode_row(w->dtype, nlm_kit_at(w, n), row, w->shape[1]);",
             "static float kept[1 << 15];\n        nlm_decode_row(w->dtype, nlm_kit_at(w, n), kept, w->shape[1]);\n"
             "        memcpy(row, kept, (size_t)w->shape[1] * 4);"),
     "abi/35_packing", "pack gives other bytes from two threads at once than from one"),
    ("packs_what_lies_past_the_weight",
     in_pack("for (int64_t n = row_from", "volatile char past = *((const char *)w->data + w->shape[0] * w->stride_bytes[0]);\n"
             "    for (int64_t n = row_from"),
     "matmul/M=1,K=256,N=1,w:q8_0", "touches memory 0 bytes past the end of w"),
    ("rotates_from_the_first_position_on", [("ops/rope.c", "at = pos[t]", "at = pos[0] + (int32_t)t")],
     "rope/T=9,H=3,D=32,pos=500,scattered", r"y\[\d, \d, \d+\] is "),
]


def late(field, call, run):
    """The slot keeps a pointer it was given, and follows it when the work is done."""
    return [("device.h", "    nlm_exec_v1 x;\n", f"    nlm_exec_v1 x;\n    {field};\n"), ("ops.c", *call),
            ("ops.c", "    w->x.error = error;", f"{run}\n    w->x.error = error;")]


# What becomes of what was kept: it is zeroes when it is read.
GONE = r"touches memory at|faults without an address|the process died|is -?nan|other bits"

STREAM_MISTAKES = [
    ("upload_ignores_its_offset", [("memory.c", "move(on, place(buffer, offset, bytes, error), host",
                                    "move(on, place(buffer, 0, bytes, error), host")],
     "abi/18_transfers", "upload at an offset: word 0"),
    ("download_ignores_its_offset", [("memory.c", "move(on, host, place(buffer, offset", "move(on, host, place(buffer, 0")],
     "abi/18_transfers", "upload at an offset: word "),
    ("copy_goes_the_other_way",
     [("memory.c", "move(on, place(to_buffer, to_offset, bytes, error), place(from_buffer, from_offset, bytes, error)",
       "move(on, place(from_buffer, from_offset, bytes, error), place(to_buffer, to_offset, bytes, error)")],
     "abi/18_transfers", "at an offset: word 1031"),
    ("claims_an_alignment_it_does_not_keep", [("plugin.c", ".alignment_bytes = 64", ".alignment_bytes = 4096")],
     "abi/18_transfers", "buffer_alloc gives an address that is not 4096-aligned"),
    ("upload_ignores_its_stream", [("memory.c", "move(on, place(buffer, offset, bytes, error), host",
                                    "move(NULL, place(buffer, offset, bytes, error), host")],
     "abi/19_streams", "work of a stream is not done in order"),
    ("download_ignores_its_stream", [("memory.c", "move(on, host,", "move(NULL, host,")],
     "abi/19_streams", "work of a stream is not done in order"),
    ("copy_ignores_its_stream", [("memory.c", "move(on, place(to_buffer", "move(NULL, place(to_buffer")],
     "abi/19_streams", "work of a stream is not done in order"),
    # Its thread may also come to what is gone by then.
    ("sync_does_nothing", [("queue.c", "if (waited && s != waited) continue;", "continue;")],
     "abi/19_streams", "work of a stream is not done in order|^faults |^touches memory at "),
    ("sync_of_all_waits_for_none", [("queue.c", "if (waited && s != waited) continue;", "if (s != waited) continue;")],
     "abi/26_sync_all", r"sync\(NULL\) does not wait for all streams"),
    ("event_wait_does_nothing", [("queue.c", "if (!e->latest) return NLM_OK;", "return NLM_OK;")],
     "abi/20_events", "event_wait does not wait for what was recorded"),
    ("an_event_is_recorded_once", [("queue.c", "    let_go(e->latest);\n    e->latest = m;",
                                    "    if (e->latest) let_go(m);\n    else e->latest = m;")],
     "abi/20_events", "event_wait does not wait for what was recorded"),
    ("buffer_free_leaks", [("memory.c", "        free(b->memory);\n        free(b);\n    }", "    }")],
     "abi/25_freed_memory", "100 buffers of 4 MiB, freed one by one, take "),
    ("buffer_free_does_not_wait", [("memory.c", "if (is_in_use(d, b))", "if (0)")],
     "abi/25_freed_memory", "buffer_free does not wait for pending work"),
    ("keeps_the_arguments", late("const void *kept", ("memcpy(&w->args, args, spec->args_bytes);\n    copy_tensors(w, spec, args);",
                                                      "w->kept = args;"),
                                 "    const nlm_op_spec *spec = nlm_op_spec_of(w->op);\n"
                                 "    memcpy(&w->args, w->kept, spec->args_bytes);\n    copy_tensors(w, spec, w->kept);"),
     "abi/29_copied_calls", GONE),
    ("keeps_the_descriptors", late("example_args kept", ("copy_tensors(w, spec, args);", "w->kept = w->args;"),
                                   "    copy_tensors(w, nlm_op_spec_of(w->op), &w->kept);"),
     "abi/29_copied_calls", GONE),
    ("keeps_the_counts_of_rows", [("ops.c", "        w->x.live_rows = w->live_rows;\n", "")], "add", r"y\[\d+, \d+\] is -?nan"),
    ("keeps_the_exec_struct", late("const nlm_exec_v1 *kept", ("w->x = nlm_kit_exec(x);", "w->kept = x;"),
                                   "    w->x.scratch = on_device(w->kept->scratch);"),
     "matmul/M=1,K=256,N=1,w:q8_0", GONE),
    ("tells_no_late_error", [("queue.c", "if (status != NLM_OK && s->error.code == NLM_OK) s->error = *error;", "")],
     "abi/30_late_errors", "expected an invalid argument, got: ok"),
    ("tells_a_late_error_for_ever", [("queue.c", "    s->error = (nlm_error)NLM_ERROR_INIT;\n    return status;",
                                      "    return status;")],
     "abi/30_late_errors", "a second sync still tells the error of the first"),
    ("leaks_what_it_copied", [("queue.c", "    if (!s->first) s->last = &s->first;\n    free(w);", "    if (!s->first) s->last = &s->first;")],
     "abi/34_slots", r"what it allocates is not freed: \d+ bytes each time"),
    ("leaves_the_threads_of_streams", [("queue.c", "    pthread_join(s->thread, NULL);\n", "    pthread_detach(s->thread);\n"),
                                       ("queue.c", "    s->is_ending = true;", "    if (0)"), ("queue.c", "    free(s);\n}\n\n/* Tells", "}\n\n/* Tells"),
                                       ("plugin.c", "    pthread_cond_destroy(&d->changed);\n", "")],
     "abi/34_slots", "leaves .* thread"),
]


def run(command):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
    if result.returncode:
        raise RuntimeError(f"{shlex.join(map(str, command))}\n{result.stderr}")


def replace(path, before, after):
    text = path.read_text()
    if before not in text:
        raise RuntimeError(f"{path} has nowhere: {before}")
    path.write_text(text.replace(before, after))


def conform(library, *args):
    result = subprocess.run([BIN / "nlm-conform", "--library", library, *args], capture_output=True, text=True, timeout=300)
    return result.returncode, result.stdout


def compile_library(folder, name):
    """All that is in the folder."""
    library = folder / f"{name}.so"
    run([*CC, *FLAGS, f"-I{folder}", f"-Wl,--version-script={folder}/plugin.map", "-o", library,
         *sorted(folder.rglob("*.c")), "-lm", "-lpthread"])
    return library


class Mistakes(unittest.TestCase):
    def check(self, build, mistakes):
        for name, changes, row, words in mistakes:
            with self.subTest(name):
                code, out = conform(build(name, changes), "--filter", row)
                self.assertEqual(code, 1, out)
                failures = re.findall(rf"^FAILED {re.escape(row)}\S*: (.*)$", out, re.M)
                self.assertTrue(any(re.search(words, failure) for failure in failures), failures or out)


class Sliced(Mistakes):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(dir=BUILD, prefix="test-vendor-")
        cls.addClassCleanup(folder.cleanup)
        cls.work = Path(folder.name)
        right = cls.work / "right"
        run([SOURCE / "tools/new-backend", "vendor", right])
        (right / "pack.c").write_text(PACK)
        (right / "ops/rope.c").write_text(ROPE)
        replace(right / "vendor.h", "vendor_matmul_needs)",
                "vendor_matmul_needs) X(rope, NLM_ROPE_HALF_SPLIT | NLM_ROPE_INVERSE, 0, NULL)")
        replace(right / "vendor.h", "#define VENDOR_DECLARE", "nlm_status vendor_pack_size(void *, const nlm_tensor *, "
                "uint32_t, uint32_t, nlm_pack_info_v1 *, nlm_error *);\nnlm_status vendor_pack(void *, const nlm_tensor *, "
                "uint32_t, uint32_t, int64_t, int64_t, void *, nlm_error *);\n#define VENDOR_DECLARE")

    def build(self, name, changes):
        folder = self.work / name
        shutil.copytree(self.work / "right", folder)
        if any(file == "pack.c" for file, _, _ in changes):
            replace(folder / "vendor.h", "X(matmul, 0, 0,", "X(matmul, 0, 1,")
            replace(folder / "vendor.c", ".query = query,", ".query = query, .pack_size = vendor_pack_size, .pack = vendor_pack,")
            replace(folder / "vendor.c", ".n_ops =", ".layout = 1,\n    .n_ops =")
            replace(folder / "ops/matmul.c", "nlm_kit_row_f32(w, n, x->scratch)", "(const float *)w->data + n * w->shape[1]")
        for file, before, after in changes:
            replace(folder / file, before, after)
        return compile_library(folder, "vendor")

    def test_without_a_mistake_it_passes(self):
        for name, changes in (("plain", []), ("packed", in_pack("", ""))):
            with self.subTest(name):
                code, out = conform(self.build(name, changes))
                self.assertEqual(code, 0, out)

    def test_each_mistake_is_found_and_named(self):
        self.check(self.build, MISTAKES)


class Stream(Mistakes):
    def build(self, name, changes):
        folder = self.work / name
        shutil.copytree(SOURCE / "examples/example_stream", folder)
        for file, before, after in changes:
            replace(folder / file, before, after)
        return compile_library(folder, "example_stream")

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(dir=BUILD, prefix="test-vendor-")
        cls.addClassCleanup(folder.cleanup)
        cls.work = Path(folder.name)

    def test_each_mistake_is_found_and_named(self):
        self.check(self.build, STREAM_MISTAKES)


if __name__ == "__main__":
    if os.environ.get("NLM_SANITIZE"):
        print("skipped: a library made outside the build does not carry the sanitizers")
        sys.exit(77)
    unittest.main()
