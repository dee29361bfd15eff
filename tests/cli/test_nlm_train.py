"""nlm-train as a user runs it: what it learns, stops and resumes of all kinds, and mistakes."""
import hashlib
import json
import os
import random
import re
import resource
import signal
import struct
import subprocess
import tempfile
import time
import unittest
import zlib
from pathlib import Path
from xml.etree import ElementTree

BIN = Path(os.environ["NLM_BIN"])
SOURCE = Path(os.environ["NLM_SOURCE"])
SANITIZED = os.environ.get("NLM_SANITIZE", "") != ""
LLAMA = 'architecture = "llama"\nn_embd = 32\nn_layer = 2\nn_head = 4\nn_head_kv = 2\nn_ff = 64\n'
MAMBA = 'architecture = "mamba"\nn_embd = 24\nn_layer = 2\nd_state = 8\n'


def run(program, *arguments, code=0, **keywords):
    done = subprocess.run([BIN / program, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=300, **keywords)
    assert done.returncode == code, (arguments, done)
    return done


def read_png(path):
    """The pixels of a PNG with a palette and 4 bits a pixel: (width, height, rows of (red, green, blue))."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        length = int.from_bytes(data[at:at + 4], "big")
        kind, body = data[at + 4:at + 8], data[at + 8:at + 8 + length]
        assert zlib.crc32(kind + body) == int.from_bytes(data[at + 8 + length:at + 12 + length], "big")
        chunks[kind] = body
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"] and at == len(data)
    width, height, *kind = struct.unpack(">II5B", chunks[b"IHDR"])
    assert kind == [4, 3, 0, 0, 0]
    palette = [tuple(chunks[b"PLTE"][i:i + 3]) for i in range(0, len(chunks[b"PLTE"]), 3)]
    packed, stride = zlib.decompress(chunks[b"IDAT"]), 1 + width // 2
    assert len(packed) == stride * height and not any(packed[::stride])
    rows = [packed[y * stride + 1:(y + 1) * stride] for y in range(height)]
    return width, height, [[palette[half] for byte in row for half in (byte >> 4, byte & 15)] for row in rows]


class Train(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.held = tempfile.TemporaryDirectory()
        cls.shared = Path(cls.held.name)
        stories = subprocess.run([SOURCE / "tools/make-stories", "--count", "200"], capture_output=True, check=True).stdout
        (cls.shared / "stories.txt").write_bytes(stories)
        run("nlm-tokenize", "train", "-n", 400, "-o", cls.shared / "vocab.gguf", cls.shared / "stories.txt")

    @classmethod
    def tearDownClass(cls):
        cls.held.cleanup()

    def setUp(self):
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.folder = Path(held.name)

    def config(self, model=LLAMA, steps=12, name="run", more=""):
        path = self.folder / f"{name}.toml"
        path.write_text(f"""[model]
{model}tokenizer = "{self.shared}/vocab.gguf"
context = 64
[data]
paths = ["{self.shared}/stories.txt"]
separator = "\\n\\n"
validation = 0.05
[batch]
rows = 2
length = 32
[optimizer]
rate = 1e-2
warmup = 2
[train]
steps = {steps}
output = "{name}"
checkpoint_every = 1
keep = 2
log_every = 1
{more}""")
        return path

    def digest(self, name="run"):
        return hashlib.sha256((self.folder / name / "model.gguf").read_bytes()).hexdigest()

    def lines(self, name="run"):
        return [json.loads(line) for line in (self.folder / name / "log.jsonl").read_text().splitlines()]

    def test_what_it_trained_runs_and_has_learned(self):
        for model in LLAMA, MAMBA:
            config = self.config(model, 40, more='validate_every = 20\nsample = "Once upon"\nsample_every = 40\n')
            told = run("nlm-train", config).stderr
            losses = [line["loss"] for line in self.lines() if "loss" in line]
            self.assertEqual(len(losses), 40)
            self.assertLess(losses[-1], 0.85 * losses[0])
            perplexities = [line["perplexity"] for line in self.lines() if "perplexity" in line]
            self.assertEqual(len(perplexities), 2)
            self.assertLess(perplexities[1], perplexities[0])
            self.assertIn("sample      Once upon", told)
            run("nlm-run", "-m", self.folder / "run/model.gguf", "-p", "Once upon a time", "-n", 8)
            ElementTree.parse(self.folder / "run/loss.svg")
            self.assertRegex(told, r"step 40 .* tokens/s, \d\.\d{3} of the f32 peak  0:00 left")
            self.assertTrue(all(0 < line["peak_frac"] < 2 for line in self.lines() if "loss" in line))
            self.expect_curve(self.folder / "run/loss.png", self.lines())
            self.assertEqual(len(list((self.folder / "run").glob("step-*.safetensors"))), 2)
            for file in (self.folder / "run").glob("step-*"):
                file.unlink()

    def expect_curve(self, path, lines):
        """The curves' pixels are where the losses are."""
        width, height, rows = read_png(path)
        self.assertEqual((width, height), (720, 400))
        losses = [(line["step"], line["loss"]) for line in lines if "loss" in line]
        others = [(line["step"], line["validation_loss"]) for line in lines if "validation_loss" in line]
        values = [loss for _, loss in losses + others]
        least, most, last = min(values), max(values), losses[-1][0]
        for series, color in (losses, (0x22, 0x77, 0xCC)), (others, (0xCC, 0x55, 0x22)):
            for step, loss in series:
                x, y = 60 + 640 * step / last, 360 - 340 * (loss - least) / (most - least)
                near = {rows[int(y) + dy][int(x) + dx] for dx in range(-3, 4) for dy in range(-3, 4)
                        if 0 <= int(x) + dx < 720 and 0 <= int(y) + dy < 400}
                self.assertIn(color, near, (step, loss))
        for label in ((0, 0, 0), (0xDD, 0xDD, 0xDD), (255, 255, 255)):
            self.assertTrue(any(label in row for row in rows))
        self.assertGreater(sum(row[:54].count((0, 0, 0)) for row in rows), 100)  # numbers beside the axis

    def test_threads_and_stops_change_no_bit(self):
        for model in LLAMA, MAMBA:
            run("nlm-train", self.config(model, name="one"), "-q", "-j", 1)
            run("nlm-train", self.config(model, name="two"), "-q", "-j", 2)
            self.assertEqual(self.digest("one"), self.digest("two"))
            config = self.config(model, name="three")
            for steps in 5, 6, 12:  # the schedule is that of the whole run
                run("nlm-train", config, "-q", "--set", "optimizer.warmup=2", "--set", "optimizer.schedule=constant",
                    "--steps", steps)
            run("nlm-train", self.config(model, name="four"), "-q", "--set", "optimizer.schedule=constant")
            self.assertEqual(self.digest("three"), self.digest("four"))
            self.assertEqual([line["step"] for line in self.lines("three")], list(range(1, 13)))
            for name in "one", "two", "three", "four":
                for file in (self.folder / name).glob("step-*"):
                    file.unlink()

    def test_a_tokenizer_json_and_its_template_train_on_answers(self):
        run("nlm-tokenize", "convert", self.shared / "vocab.gguf", self.folder / "tokenizer.json")
        (self.folder / "chat_template.jinja").write_text(
            "{% for m in messages %}{{ m.role + ': ' }}{% generation %}{{ m.content }}{% endgeneration %}\n{% endfor %}")
        talk = [{"messages": [{"role": "user", "content": "Who?"},
                              {"role": "assistant", "content": f"The cat {i}."}]} for i in range(40)]
        (self.folder / "talk.jsonl").write_text("".join(json.dumps(line) + "\n" for line in talk))
        model = LLAMA + 'tokenizer = "tokenizer.json"\n'
        config = self.config(model)
        config.write_text(config.read_text().replace(f'tokenizer = "{self.shared}/vocab.gguf"\n', "")
                          .replace(f"{self.shared}/stories.txt", "talk.jsonl"))
        run("nlm-train", config, "-q")
        told = run("nlm-model", "inspect", self.folder / "run/model.gguf").stdout
        self.assertIn("tokenizer.chat_template", told)
        (self.folder / "chat_template.jinja").write_text("{% nonsense %}")
        told = run("nlm-train", config, "--output", self.folder / "other", code=2).stderr
        self.assertRegex(told, r"warning: the model's chat template cannot be read .* rendered by none")
        self.assertIn("the model has no chat template; name one", told)
        run("nlm-train", config, "-q", "--output", self.folder / "other", "--set", "data.chat=chatml")
        told = run("nlm-train", config, "--output", self.folder / "third", "--set", "data.chat=chat", code=1).stderr
        self.assertRegex(told, r"'chat' is no template that is known; those are .*chatml")

    def test_states_are_carried_and_warmed(self):
        told = run("nlm-train", self.config(name="none"), "--set", "batch.carry=true", code=1).stderr
        self.assertIn("'llama' has no state that could be carried", told)
        more = ["-q", "--set", "batch.carry=true", "--set", "batch.burn_in=40", "--set", "train.validate_every=4",
                "--set", "optimizer.schedule=constant", "--set", "batch.length=12", "--set", "batch.accumulate=2"]
        run("nlm-train", self.config(MAMBA, name="whole"), *more)
        for steps in 5, 12:
            run("nlm-train", self.config(MAMBA, name="parts"), *more, "--steps", steps)
        self.assertEqual(self.digest("whole"), self.digest("parts"))
        run("nlm-train", self.config(MAMBA, name="cold"), *more, "--set", "batch.burn_in=0")
        run("nlm-train", self.config(MAMBA, name="shuffled"), *more, "--set", "batch.carry=false")
        self.assertEqual(len({self.digest(name) for name in ("whole", "cold", "shuffled")}), 3)
        told = run("nlm-train", self.config(MAMBA, name="whole"), *more, "--set", "batch.burn_in=41", code=1).stderr
        self.assertIn("is of another run", told)

    def test_a_run_killed_again_and_again_ends_as_one_that_never_was(self):
        steps, kills = (30, 4) if SANITIZED else (60, 20)
        run("nlm-train", self.config(steps=steps, name="whole"), "-q")
        config = self.config(steps=steps, name="killed")
        chance = random.Random(5)
        for _ in range(kills):
            process = subprocess.Popen([BIN / "nlm-train", config, "-q"], stderr=subprocess.DEVNULL)
            time.sleep(chance.uniform(0, 0.4))
            process.kill()
            process.wait()
        run("nlm-train", config, "-q")
        self.assertEqual(self.digest("whole"), self.digest("killed"))

    def test_an_interrupt_saves_and_the_same_command_goes_on(self):
        for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
            config = self.config(steps=4000, name=number.name)
            process = subprocess.Popen([BIN / "nlm-train", config, "--set", "train.checkpoint_every=0"],
                                       stderr=subprocess.PIPE, text=True)
            while "step 3 " not in process.stderr.readline():
                self.assertIsNone(process.poll())
            process.send_signal(number)
            told = process.communicate(timeout=120)[1]
            self.assertEqual(process.returncode, 0, told)
            step = int(re.search(r"interrupted after step (\d+)", told)[1])
            told = run("nlm-train", config, "--steps", step + 2).stderr
            self.assertIn(f"resumed     after step {step}\n", told)

    def test_a_hangup_that_is_ignored_stays_so(self):
        process = subprocess.Popen(["nohup", BIN / "nlm-train", self.config(steps=200)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while "step 3 " not in process.stderr.readline():
            self.assertIsNone(process.poll())
        process.send_signal(signal.SIGHUP)
        told = process.communicate(timeout=120)[1]
        self.assertEqual(process.returncode, 0, told)
        self.assertNotIn("interrupted", told)

    def test_what_killed_runs_began_to_write_goes(self):
        config = self.config(steps=2)
        run("nlm-train", config, "-q")
        begun = [self.folder / "run" / f"{name}.tmp-999999999-0" for name in ("step-00000001.safetensors", "model.gguf")]
        other = self.folder / "run/notes.tmp-1"
        for path in (*begun, other):
            path.write_bytes(b"half")
            os.utime(path, (1, 1))
        run("nlm-train", config, "-q", "--steps", 3)
        self.assertEqual([path.exists() for path in (*begun, other)], [False, False, True])

    def test_a_folder_that_another_run_writes_to_is_refused(self):
        config = self.config(steps=4000)
        process = subprocess.Popen([BIN / "nlm-train", config, "--set", "train.checkpoint_every=0"],
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        while "step 3 " not in process.stderr.readline():
            self.assertIsNone(process.poll())
        (self.folder / "link").symlink_to("run")
        for output in "run", "link":
            told = run("nlm-train", config, "--output", self.folder / output, code=1).stderr
            self.assertIn(f"{output}: another nlm-train writes to this folder; wait until it ends, or give another "
                          "--output\n", told)
        self.assertIn("parameters", run("nlm-train", config, "--plan").stderr)
        run("nlm-train", config, "--steps", 2, "--output", self.folder / "other")
        self.assertIsNone(process.poll())
        self.assertEqual([line["step"] for line in self.lines() if "step" in line][:3], [1, 2, 3])
        process.kill()
        process.wait()
        run("nlm-train", config, "--steps", 5)

    def test_a_damaged_checkpoint_gives_way_to_the_one_before(self):
        config = self.config(steps=6)
        run("nlm-train", config, "-q")
        good = self.digest()
        last = self.folder / "run/step-00000006.safetensors"
        data = bytearray(last.read_bytes())
        data[len(data) // 2] ^= 1
        last.write_bytes(data)
        told = run("nlm-train", config).stderr
        self.assertRegex(told, r"warning: .*step-00000006.safetensors: .* it is damaged; the one before it is taken")
        self.assertIn("resumed     after step 5\n", told)
        self.assertEqual(self.digest(), good)

    def test_a_checkpoint_of_another_model_is_not_taken(self):
        config = self.config(LLAMA.replace("n_layer = 2", "n_layer = 3"), steps=2)
        run("nlm-train", config, "-q")
        for sets, said in (
            (["model.n_layer=2"], "is of another model (llama, 3 layers of 32"),
            (["model.n_head=2", "model.n_head_kv=1"], "4 heads of 8, 2 of keys"),
            (["model.n_ff=32"], "another shape: the checkpoint is of another model"),
        ):
            with self.subTest(sets=sets):
                arguments = [word for text in sets for word in ("--set", text)]
                self.assertIn(said, run("nlm-train", config, "--steps", 4, *arguments, code=1).stderr)
        run("nlm-train", config, "--steps", 3, "-q")

    def test_streams_that_are_closed_are_no_files(self):
        closed = lambda: [os.close(fd) for fd in (0, 1, 2)]
        subprocess.run([BIN / "nlm-train", self.config(steps=3)], preexec_fn=closed, timeout=120)
        self.assertEqual([line["step"] for line in self.lines()], [1, 2, 3])

    def test_adapters_train_beside_a_frozen_model(self):
        run("nlm-train", self.config(steps=30, name="base"), "-q")
        base = self.folder / "base/model.gguf"
        config = self.folder / "lora.toml"
        config.write_text(f"""[model]
path = "{base}"
[lora]
rank = 4
targets = ["attn_q", "attn_v", "ffn_down"]
merge = true
[data]
paths = ["{self.shared}/stories.txt"]
separator = "\\n\\n"
[batch]
rows = 2
length = 32
[optimizer]
rate = 1e-2
[train]
steps = 30
output = "lora"
""")
        told = run("nlm-train", config).stderr
        self.assertIn("adapters ", told)
        losses = [line["loss"] for line in self.lines("lora")]
        self.assertLess(sum(losses[-5:]), sum(losses[:5]))
        texts = [run("nlm-eval", "-m", model, "--text", self.shared / "stories.txt", "--json").stdout
                 for model in (base, self.folder / "lora/model.gguf")]
        self.assertLess(json.loads(texts[1])["perplexity"], json.loads(texts[0])["perplexity"])
        told = run("nlm-train", config, "--set", "lora.targets=['attn_q','attn_x']", code=2).stderr
        self.assertIn("no matrix of the model has 'attn_x' in its name", told)

    @unittest.skipIf(SANITIZED, "a sanitizer's own memory is counted")
    def test_it_needs_the_memory_that_it_plans(self):
        model = 'architecture = "llama"\nn_embd = 384\nn_layer = 6\nn_head = 6\nn_ff = 1024\n'
        config = self.config(model, steps=2, more="")
        process = subprocess.Popen([BIN / "nlm-train", config, "--set", "batch.length=64"], stderr=subprocess.PIPE, text=True)
        with process.stderr:
            told = process.stderr.read()
        _, process.returncode, usage = os.wait4(process.pid, 0)
        self.assertEqual(process.returncode, 0, told)
        planned = float(re.search(r"memory +([\d.]+) MiB", told)[1])
        self.assertGreater(planned, 150)
        self.assertLess(abs(usage.ru_maxrss / 1024 - planned) / planned, 0.1, (usage.ru_maxrss / 1024, told))

    def test_mistakes_are_told(self):
        good = self.config()
        for sets, code, said in (
            (["train.stepz=3"], 2, "train.stepz: unknown key; did you mean 'train.steps'"),
            (["optimizer.schedule=cosin"], 2, "optimizer.schedule"),
            (["model.tokenizer=nowhere.gguf"], 1, "nowhere.gguf"),
            (["data.paths=['/nowhere/text.txt']"], 1, "/nowhere/text.txt"),
            (["model.n_head=5"], 2, "expected heads of an even size"),
            (["model.preset=small_125m"], 2, "model.preset and model.architecture: give one"),
            (["lora.rank=4"], 2, "lora.rank is for a model to go on from"),
            (["optimizer.beta1=1"], 2, "beta1 is 1; expected 0 to"),
            (["optimizer.eps=0"], 2, "eps is 0; expected"),
            (["batch.sequences=1"], 2, "at least as many sequences as rows"),
            (["train.export_type=zz"], 2, "train.export_type: 'zz' is no type of weights"),
        ):
            with self.subTest(sets=sets):
                arguments = [word for text in sets for word in ("--set", text)]
                told = subprocess.run([BIN / "nlm-train", good, *arguments], capture_output=True, text=True, timeout=60)
                self.assertIn(said, told.stderr)
                self.assertEqual(told.returncode, code, told.stderr)
        told = run("nlm-train", self.folder / "no.toml", code=2).stderr
        self.assertIn("no.toml", told)

    def test_a_full_disk_is_an_error_and_loses_nothing(self):
        config = self.config(steps=4)
        run("nlm-train", config, "-q")
        good = self.digest()
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))
        told = run("nlm-train", config, "--steps", 8, code=1, preexec_fn=limit).stderr
        self.assertRegex(told, r"step-\d+.safetensors|log.jsonl|model.gguf")
        self.assertEqual(self.digest(), good)
        self.assertEqual([path for path in (self.folder / "run").iterdir() if ".tmp-" in path.name], [])
        run("nlm-train", config, "--steps", 8, "-q")

    def test_a_sample_that_cannot_be_made_stops_no_training(self):
        (self.folder / "run/sample.gguf").mkdir(parents=True)
        told = run("nlm-train", self.config(steps=3, more='sample = "Once upon"\nsample_every = 2\n')).stderr
        self.assertRegex(told, r"warning: no sample: .*sample\.gguf.*not a regular file")
        self.assertEqual(len(self.lines()), 3)
        run("nlm-run", self.folder / "run/model.gguf", "-p", "Once", "-n", 1)

    def test_the_plan_is_told_and_nothing_is_trained(self):
        told = run("nlm-train", self.config(), "--plan").stderr
        shares = re.search(r"memory +([\d.]+) MiB: parameters ([\d.]+), gradients ([\d.]+), optimizer [\d.]+", told)
        told = run("nlm-train", self.config(), "--plan", "--set", "batch.accumulate=2").stderr
        keeps = re.search(r"memory +([\d.]+) MiB: parameters ([\d.]+), gradients ([\d.]+), optimizer [\d.]+", told)
        self.assertLessEqual(float(shares[1]), float(keeps[1]))
        self.assertEqual((float(shares[3]), keeps[3]), (0, keeps[2]))
        self.assertFalse((self.folder / "run/log.jsonl").exists())

    def test_a_model_that_is_too_large_is_refused_before_it_takes_memory(self):
        large = 'architecture = "llama"\nn_embd = 4096\nn_layer = 80\nn_head = 32\n'
        process = subprocess.Popen([BIN / "nlm-train", self.config(large)], stderr=subprocess.PIPE, text=True)
        with process.stderr:
            told = process.stderr.read()
        _, process.returncode, usage = os.wait4(process.pid, 0)
        self.assertEqual(os.waitstatus_to_exitcode(process.returncode), 1, told)
        self.assertRegex(told, r"memory: \d+\.\d MiB are needed and \d+\.\d are there: a smaller model")
        self.assertLess(usage.ru_maxrss, 1 << 18, told)


if __name__ == "__main__":
    unittest.main()
