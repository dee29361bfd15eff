"""nlm-run as a user runs it: text, configuration, chat, statistics, failures and Ctrl-C.

What needs SmolLM2 in the user's cache is skipped without it.
"""
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

PROGRAM = Path(os.environ["NLM_BIN"]) / "nlm-run"
FIXTURES = Path(os.environ["NLM_SOURCE"]) / "tests/data/models"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nlm"

LLAMA = FIXTURES / "llama-gqa-f32.gguf"
MAMBA = FIXTURES / "mamba-f32.gguf"
STORIES = FIXTURES / "stories260K-q8_0.gguf"
SMOLLM2 = CACHE / "SmolLM2-135M-Instruct.Q4_1.gguf"

# Another engine's greedy continuation of "Once upon a time", with f32 weights.
STORY = (", there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red "
         "ball. She wanted to play with it, but it was too high.")


def run(*arguments, code=0, **options):
    options = {"stdin": subprocess.DEVNULL} | options
    if "input" in options:
        del options["stdin"]
    done = subprocess.run([PROGRAM, *map(str, arguments)], stdout=options.pop("stdout", subprocess.PIPE),
                          stderr=subprocess.PIPE, timeout=300, **options)
    assert done.returncode == code, (arguments, done)
    return done


def text_of(*arguments, **options):
    return run(*arguments, **options).stdout


class Text(unittest.TestCase):
    def test_greedy_text_is_the_reference_for_any_number_of_threads(self):
        for threads in (1, 2):
            text = text_of("--model", STORIES, "--prompt", "Once upon a time", "-n", 256, "--threads", threads)
            self.assertEqual(text[: len(STORY)].decode(), STORY)
            if threads == 1:
                first = text
        self.assertEqual(first, text)

    def test_stdout_has_the_text_alone_and_stderr_the_statistics(self):
        done = run("-m", LLAMA, "-p", "the", "-n", 20, "--threads", 2, "--backend", "cpu_scalar")
        told = done.stderr.decode()
        for expected in ("tokens/s", "backend   cpu_scalar, device_id 0", "2 threads", "MiB", "loaded in", "first after"):
            self.assertIn(expected, told)
        quiet = run("-m", LLAMA, "-p", "the", "-n", 20, "--quiet", "--backend", "cpu_scalar")
        self.assertEqual((quiet.stdout, quiet.stderr), (done.stdout, b""))

    def test_statistics_begin_a_line_where_both_go_to_one_place(self):
        same = ("-m", LLAMA, "-p", "the", "-n", 20)
        text = text_of(*same)
        both = subprocess.run([PROGRAM, *map(str, same)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=True).stdout
        self.assertTrue(both.startswith(text + b"\nmodel "), both)

    def test_prompt_comes_from_a_flag_a_file_or_stdin(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"the rain\n")
            file.flush()
            expected = text_of("-m", MAMBA, "-p", "the rain", "-n", 12)
            self.assertEqual(text_of("-m", MAMBA, "--prompt-file", file.name, "-n", 12), expected)
            self.assertEqual(text_of("-m", MAMBA, "-n", 12, input=b"the rain\n"), expected)
            self.assertEqual(text_of("-m", MAMBA, "-f", "-", "-n", 12, input=b"the rain"), expected)
        self.assertNotEqual(text_of("-m", MAMBA, "-n", 12, input=b"the rain\n\n"), expected)

    def test_empty_prompt_needs_a_bos_token(self):
        self.assertTrue(text_of("-m", LLAMA, "-n", 3))
        self.assertIn(b"no BOS token", run("-m", MAMBA, "-n", 3, code=1).stderr)

    def test_zero_tokens_and_no_limit(self):
        self.assertEqual(text_of("-m", LLAMA, "-p", "the", "-n", 0), b"")
        done = run("-m", MAMBA, "-p", "the", "-n", -1, "--ignore-end")
        self.assertIn(b"ended by full context", done.stderr)

    def test_stop_string(self):
        whole = text_of("-m", MAMBA, "-p", "the", "-n", 40, "--ignore-end")
        stop = re.search(rb"[ -~]{2}", whole[3:]).group().decode()
        cut = run("-m", MAMBA, "-p", "the", "-n", 40, "--ignore-end", "--stop", "no such text", "--stop", stop)
        self.assertEqual(cut.stdout, whole[: whole.index(stop.encode())])
        self.assertIn(b"ended by stop", cut.stderr)

    def test_text_held_back_for_a_stop_string_comes_at_the_end(self):
        whole = text_of("-m", STORIES, "-p", "Once upon a time", "-n", 10)
        nearly = whole[-4:].decode() + "@never@"
        self.assertEqual(text_of("-m", STORIES, "-p", "Once upon a time", "-n", 10, "--stop", nearly), whole)

    def test_seed(self):
        def sample(seed, *more):
            return text_of("-m", MAMBA, "-p", "the", "-n", 40, "--temperature", 1, "--seed", seed, *more)

        self.assertEqual(sample(7), sample(7))
        self.assertEqual(sample(7, "--threads", 1), sample(7, "--threads", 2))
        self.assertNotEqual(sample(7), sample(8))
        done = run("-m", MAMBA, "-p", "the", "-n", 40, "--temperature", 1)
        chosen = re.search(rb"seed (\d+)", done.stderr).group(1).decode()
        self.assertEqual(sample(chosen), done.stdout)

    def test_control_tokens_are_spelled_in_what_is_trusted(self):
        def ids(text, *options):
            return subprocess.run([PROGRAM.with_name("nlm-tokenize"), "-m", STORIES, *options], input=text.encode(),
                                  check=True, capture_output=True).stdout

        def n_prompt(*arguments):
            done = text_of("-m", STORIES, "-n", 4, "--json", *arguments)
            return json.loads(done)["prompt_tokens"], json.loads(done)["text"]

        plain, text = "One</s>day", ids("One</s>day", "--bos")
        special = ids("One</s>day", "--bos", "--special")
        self.assertNotEqual(text, special)
        self.assertEqual(n_prompt("-p", plain)[0], len(text.split()))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "ids"
            file.write_bytes(special)
            expected = n_prompt("--ids", file)
            self.assertEqual(expected[0], len(special.split()))
            self.assertEqual(n_prompt("-p", plain, "--special"), expected)
            self.assertEqual(n_prompt("-p", "<s>" + plain, "--special"), expected)
            self.assertEqual(n_prompt("-p", "day", "--prefix", "One</s>"), expected)
            self.assertEqual(n_prompt("-p", "One", "--suffix", "</s>day"), expected)
            self.assertNotEqual(n_prompt("-p", plain, "--suffix", "</s>")[0], len(special.split()) + 1)
            config = Path(folder) / "run.toml"
            config.write_text('[run]\nids = "ids"\n')
            self.assertEqual(n_prompt(config), expected)
            file.write_text("1 x")
            self.assertIn(b"no token id", run("-m", STORIES, "--ids", file, code=1).stderr)
            file.write_text("1 100000")
            self.assertIn(b"vocabulary", run("-m", STORIES, "--ids", file, code=1).stderr)
        run("-m", STORIES, "--ids", "x", "-p", "a", code=2)
        run("-m", STORIES, "--special", "--chat", "-p", "a", code=2)

    def test_a_session_is_kept_and_gone_on_from(self):
        for model in (LLAMA, MAMBA):
            same = ("-m", model, "--ignore-end", "--temperature", 1, "--seed", 5)
            whole = text_of(*same, "-p", "the", "-n", 30)
            with tempfile.TemporaryDirectory() as folder:
                kept = Path(folder) / "kept"
                first = text_of(*same, "-p", "the", "-n", 12, "--save-session", kept)
                self.assertEqual(first + text_of(*same, "-n", 18, "--session", kept), whole)
                self.assertNotEqual(text_of(*same, "-n", 18, "--session", kept, "-p", "rain"), whole[len(first):])
                self.assertIn(b"No such file", run(*same, "--session", kept.with_suffix(".not"), code=1).stderr)

    def test_options_of_draws_draw(self):
        same = ("-m", MAMBA, "-p", "the", "-n", 40)
        greedy, drawn = text_of(*same), text_of(*same, "--temperature", 1, "--seed", 7)
        self.assertEqual(text_of(*same, "--seed", 7), drawn)
        for option, value in (("--top-k", 3), ("--top-p", 0.9), ("--min-p", 0.01)):
            self.assertIn(b"seed", run(*same, option, value).stderr)
        done = run(*same, "--temperature", 0, "--seed", 7)
        self.assertEqual(done.stdout, greedy)
        self.assertIn(b"at temperature 0 nothing is drawn", done.stderr)

    def test_a_model_may_stand_alone(self):
        self.assertEqual(text_of(MAMBA, "-p", "the", "-n", 4), text_of("-m", MAMBA, "-p", "the", "-n", 4))

    def test_json_is_one_object_with_the_text(self):
        same = ("-m", MAMBA, "-p", "the", "-n", 30, "--backend", "cpu_scalar")
        plain = text_of(*same)
        done = json.loads(text_of(*same, "--json", "--profile"))
        self.assertEqual(done["text"], plain.decode(errors="replace").replace("\0", "\ufffd"))
        self.assertEqual((done["backend"], done["device_id"], done["family"]), ("cpu_scalar", 0, "mamba"))
        self.assertEqual((done["generated_tokens"], done["ended_by"]), (30, "max_tokens"))
        for key in ("prompt_tokens", "prompt_tokens_per_second", "decode_tokens_per_second", "first_token_seconds",
                    "load_seconds", "rss_peak_bytes", "cache_bytes", "file_bytes", "threads", "profile"):
            self.assertTrue(done[key], key)

    def test_what_a_device_measures_is_reported(self):
        registry = Path(os.environ["NLM_BUILD"]) / "tests/fakes/plugins.toml"
        environment = os.environ | {"NLM_PLUGIN_REGISTRY": str(registry)}
        same = ("-m", MAMBA, "-p", "the", "-n", 2)
        fake = json.loads(text_of(*same, "--backend", "fake_stream", "--json", env=environment))
        self.assertEqual(fake["device_metrics"], {"memory_used_bytes": 1 << 20, "memory_total_bytes": 1 << 30,
                                                  "power_watts": 70.5, "temperature_celsius": 40})
        told = run(*same, "--backend", "fake_stream", env=environment).stderr.decode()
        self.assertIn("device    40 C, 70.5 W, 1.0 of 1024.0 MiB in use", told)
        self.assertNotIn("device_metrics", json.loads(text_of(*same, "--backend", "cpu_scalar", "--json")))

    def test_profile_is_told_on_stderr(self):
        told = run("-m", LLAMA, "-p", "the", "-n", 5, "--profile").stderr.decode()
        for op in ("attention", "rms_norm", "matmul"):
            self.assertIn(op, told)

    def test_memory_stays_near_the_file_and_its_cache(self):
        if not SMOLLM2.exists():
            self.skipTest(f"{SMOLLM2} is not there: tools/fetch-model smollm2")
        done = json.loads(text_of("-m", SMOLLM2, "-p", "Hello", "-n", 2, "--json"))
        if not os.environ.get("NLM_SANITIZE"):
            programs = 1 << 20  # what pages of programs and libraries differ by between systems
            self.assertLessEqual(done["rss_peak_bytes"], 1.15 * done["file_bytes"] + done["cache_bytes"] + programs)


class Configuration(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, text, name="run.toml"):
        path = self.folder / name
        path.write_text(text)
        return path

    def count(self, *arguments):
        return json.loads(text_of(*arguments, "--json"))["generated_tokens"]

    def test_a_memory_limit_is_kept(self):
        told = run("-m", LLAMA, "-p", "x", "-n", 1, "--context", 100000, "--memory-limit", 1, code=1).stderr
        self.assertIn(b"the engine's memory limit of 1048576 bytes", told)
        run("-m", LLAMA, "-p", "x", "-n", 1, "--set", "model.memory_limit_mib=1000")

    def test_command_line_beats_configuration_beats_default(self):
        config = self.write(f'[model]\npath = "{MAMBA}"\n[run]\nprompt = "the"\nmax_tokens = 3\nignore_end = true\n')
        self.assertEqual(self.count(config), 3)
        self.assertEqual(self.count(config, "-n", 5), 5)
        self.assertEqual(self.count("-n", 5, config), 5)
        self.assertEqual(self.count(config, "--set", "run.max_tokens=6"), 6)
        self.assertEqual(self.count(config, "--set", "run.max_tokens=6", "-n", 4), 4)
        first = text_of(config)
        other = text_of(config, "--prompt", "rain")
        self.assertNotEqual(first, other)
        self.assertEqual(other, text_of(config, "--set", "run.prompt=rain"))
        (self.folder / "p.txt").write_text("rain\n")
        self.assertEqual(other, text_of(config, "--prompt-file", self.folder / "p.txt"))

    def test_tokens_ahead_are_the_same_where_no_device_chooses_them(self):
        for ahead in (("--ahead", 100), ("--set", "run.ahead=4")):
            self.assertEqual(*(text_of("-m", MAMBA, "-p", "the", "-n", 6, *how) for how in (ahead, ())))

    def test_paths_of_a_configuration_start_at_its_folder(self):
        (self.folder / "model.gguf").write_bytes(MAMBA.read_bytes())
        (self.folder / "p.txt").write_text("rain\n")
        config = self.write('[model]\npath = "model.gguf"\n[run]\nprompt_file = "p.txt"\nmax_tokens = 4\n')
        self.assertEqual(text_of(config, cwd="/"), text_of("-m", MAMBA, "-p", "rain", "-n", 4))

    def test_paths_of_a_configuration_may_start_at_home(self):
        (self.folder / "model.gguf").write_bytes(MAMBA.read_bytes())
        config = self.write('[model]\npath = "~/model.gguf"\n[run]\nprompt = "rain"\nmax_tokens = 4\n')
        self.assertEqual(text_of(config, cwd="/", env=os.environ | {"HOME": str(self.folder)}),
                         text_of("-m", MAMBA, "-p", "rain", "-n", 4))

    def test_packed_weights_are_kept_in_a_folder(self):
        model, kept = self.folder / "model.gguf", self.folder / "new/packed"
        model.write_bytes(LLAMA.read_bytes())
        config = self.write('[model]\npath = "model.gguf"\npack_cache = "new/packed"\n[run]\nprompt = "the"\n'
                            'max_tokens = 20\nignore_end = true\n')
        first = run(config, "--verbose", cwd="/")
        if not kept.exists():
            self.skipTest("the backend here packs no weights")
        self.assertIn(b"packed weights are written", first.stderr)
        (file,) = kept.iterdir()
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        plain = text_of("-m", model, "-p", "the", "-n", 20, "--ignore-end")
        self.assertEqual(first.stdout, plain)

        def again(*expected):
            done = run(config, "--verbose")
            for words in expected:
                self.assertIn(words, done.stderr.decode())
            self.assertEqual(done.stdout, plain)
            self.assertEqual(done.stderr.count(b"warning"), sum("stale" in words for words in expected))
            self.assertEqual(list(kept.iterdir()), [file])

        again("packed weights are mapped")
        os.utime(model, (1, 1))
        again("stale", "packed weights are written")
        again("packed weights are mapped")
        data = bytearray(model.read_bytes())
        data[-4:] = b"\0\0\0\0"  # of a weight; neither size nor time tell
        model.write_bytes(data)
        os.utime(model, (1, 1))
        plain = text_of("-m", model, "-p", "the", "-n", 20, "--ignore-end")
        again("stale", "packed weights are written")
        self.assertEqual(text_of("-m", model, "-p", "the", "-n", 20, "--ignore-end", "--pack-cache", kept), plain)
        for name in ("cpu_avx2", "cpu_scalar"):
            run("-m", model, "-p", "the", "-n", 1, "--pack-cache", kept, "--backend", name)
        self.assertIn(file, list(kept.iterdir()))
        again_mapped = run(config, "--verbose")
        self.assertIn(b"packed weights are mapped", again_mapped.stderr)

    def test_backend_and_options(self):
        config = self.write(f'[model]\npath = "{MAMBA}"\n[backend]\nname = "cpu_scalar"\ndevice_id = 0\nthreads = 1\n'
                            '[backend.options]\nanything = "goes to the backend"\n[run]\nprompt = "the"\n')
        self.assertEqual(json.loads(text_of(config, "--json"))["threads"], 1)
        self.assertEqual(json.loads(text_of(config, "--json", "--threads", 2))["threads"], 2)
        self.assertIn(b"cpu_scalar", run(config, "--backend", "cpu_scala", code=2).stderr)
        self.assertIn(b"device", run(config, "--device-id", 5, code=2).stderr)
        told = run("-m", MAMBA, "-p", "the", "--device-id", 5, code=2).stderr
        self.assertEqual(told.count(b"device"), 1, told)

    def test_mistakes_name_file_line_key_and_the_nearest(self):
        cases = [
            ("[sampler]\ntemprature = 1\n", ["run.toml:2", "temprature", "sampler.temperature"]),
            ("[samplr]\ntop_k = 1\n", ["run.toml:1", "samplr", "sampler"]),
            ("[sampler]\n\ntop_k = 'many'\n", ["run.toml:3", "sampler.top_k", "integer"]),
            ("[sampler]\ntop_p = 1.5\n", ["run.toml:2", "sampler.top_p"]),
            ("[run\n", ["run.toml:1"]),
            ("[model]\nkv_type = 'f17'\n", ["run.toml:2", "model.kv_type", "f16"]),
        ]
        for text, expected in cases:
            told = run(self.write(text), "-m", LLAMA, "-p", "x", code=2).stderr.decode()
            for part in expected:
                self.assertIn(part, told)
        told = run("-m", LLAMA, "-p", "x", "--set", "samper.seed=1", code=2).stderr.decode()
        self.assertIn("sampler.seed", told)
        self.assertIn("none.toml", run(self.folder / "none.toml", code=2).stderr.decode())


class Failures(unittest.TestCase):
    def test_wrong_use_is_told_with_exit_code_2(self):
        for arguments, expected in [
            (("--modle", "x"), "did you mean '--model'?"),
            (("-m", LLAMA, "-n", "ten"), "whole number"),
            (("-m", LLAMA, "--top-p", 2), "from 0 to 1"),
            (("-m", LLAMA, "-p", "a", "-f", "b"), "one of them"),
            (("-m", LLAMA, "-p", "a", "--system", "b"), "--chat"),
            (("-p", "a"), "--model"),
            (("-m",), "needs a value"),
            (("a.toml", "b.toml"), "b.toml"),
            (("-m", LLAMA, "-p", "a", "--kv-type", "f17"), "f17"),
            (("-m", LLAMA, "-p", "a", "--chat", "--chat-template", "none"), "llama-3"),
            (("-m", LLAMA, "-ngl", 99), "Here '-ngl' is --backend NAME"),
            (("-m", LLAMA, "-c", 100), "the length of the context is --context N"),
            (("-m", LLAMA, "--ctx-size=100"), "Here '--ctx-size' is --context N"),
        ]:
            told = run(*arguments, code=2)
            self.assertIn(expected, told.stderr.decode())
            self.assertEqual(told.stdout, b"")

    def test_files_that_cannot_be_read_are_told_with_exit_code_1(self):
        for arguments, expected in [
            (("-m", "/no/such/model.gguf", "-p", "a"), "/no/such/model.gguf"),
            (("-m", __file__, "-p", "a"), Path(__file__).name),
            (("-m", FIXTURES, "-p", "a"), str(FIXTURES)),
            (("-m", LLAMA, "-f", "/no/such/prompt"), "/no/such/prompt"),
            (("-m", LLAMA, "-p", "a", "--registry", "/no/such/plugins.toml"), "/no/such/plugins.toml"),
            (("-m", LLAMA, "-p", "a b " * 500), "context"),
            (("-m", LLAMA, "-p", "a", "--chat"), "template"),
        ]:
            done = run(*arguments, code=1)
            self.assertIn(expected, done.stderr.decode())
            self.assertEqual(done.stdout, b"")

    def test_help_and_version(self):
        text = text_of("--help").decode()
        for flag in ("--model", "--prompt-file", "--chat", "--system", "--set", "--json", "--profile", "--device-id"):
            self.assertIn(flag, text)
        told = run("-m", LLAMA, "-p", "a", "--chat", "--chat-template", "?", code=2).stderr.decode()
        for name in told.strip().split("these are: ")[1].split(", "):
            self.assertRegex(text, rf"[\s]{re.escape(name)}[,\s]")
        self.assertIn("Examples", text)
        self.assertTrue(text_of("--version").startswith(b"nlm-run "))

    def test_lost_output_is_an_error(self):
        with open("/dev/full", "wb") as full:
            for more in ((), ("--json",)):
                self.assertIn(b"stdout", run("-m", LLAMA, "-p", "a", "-n", 5, *more, stdout=full, code=1).stderr)
            run("--help", stdout=full, code=1)
        closed = ["sh", "-c", 'exec "$@" >&-', "sh", PROGRAM, "-m", LLAMA, "-p", "a", "-n", "5"]
        done = subprocess.run(closed, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"stdout", done.stderr)

    def test_reader_that_goes_away_ends_the_text(self):
        process = subprocess.Popen([PROGRAM, "-m", MAMBA, "-p", "a", "-n", "-1", "--context", "10000000", "--ignore-end"],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(10)
        process.stdout.close()
        self.assertIn(b"stdout", process.stderr.read())
        process.stderr.close()
        self.assertEqual(process.wait(60), 1)

    def test_interrupt_ends_with_the_statistics(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = subprocess.Popen([PROGRAM, "-m", MAMBA, "-p", "a", "-n", "-1", "--context", "10000000",
                                        "--ignore-end", "--json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE)
            # it is at work when it has taken the signal over
            while not int(re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text()).group(1), 16) & (
                    1 << (number - 1)):
                time.sleep(0.01)
            time.sleep(0.3)
            process.send_signal(number)
            out, told = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0, told)
            self.assertEqual(json.loads(out)["ended_by"], "interrupt")


def with_key(source, key, text):
    """The GGUF with one more string in its metadata, which spaces fill up so that the data stays aligned."""
    data = source.read_bytes()
    text += b" " * (-(8 + len(key) + 4 + 8 + len(text)) % 32)
    entry = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(text)) + text
    return data[:16] + struct.pack("<Q", struct.unpack("<Q", data[16:24])[0] + 1) + entry + data[24:]


class Chat(unittest.TestCase):
    ARGUMENTS = ("-m", LLAMA, "--chat", "--chat-template", "chatml", "-n", 4, "--ignore-end")

    def turns(self, *arguments, **options):
        return json.loads(text_of(*self.ARGUMENTS, "--json", *arguments, **options))["turns"]

    def test_templates_of_files_are_interpreted(self):
        ask = ("-m", STORIES, "--chat", "-n", 4, "--ignore-end", "--json", "-q")
        jinja = ("{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('No system here') }}{% endif %}"
                 "{{ m.role[0] ~ ': ' ~ m.content | trim }}\n{% endfor %}{% if add_generation_prompt %}a:{% endif %}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "own.jinja"
            path.write_text(jinja)
            turns = json.loads(text_of(*ask, "--chat-template-file", path, input=b"one\ntwo\n"))["turns"]
            self.assertEqual(len(turns), 2)
            prompt = run("-m", STORIES, "-p", "u: one\na:", "-n", 4, "--ignore-end", "-q").stdout.decode()
            self.assertEqual(turns[0]["text"], prompt.removesuffix("\n"))
            told = run(*ask, "--chat-template-file", path, "--system", "S", input=b"one\n", code=1).stderr.decode()
            self.assertIn("No system here", told)
            path.write_text("{{ messages }}\n{% if %}")
            told = run(*ask, "--chat-template-file", path, input=b"one\n", code=1).stderr.decode()
            self.assertIn("chat template:2", told)
            told = run(*ask, "--chat-template-file", path, "--chat-template", "zephyr", input=b"", code=2).stderr.decode()
            self.assertIn("give one of them", told)

    def test_a_template_that_may_not_fit_is_told_once(self):
        jinja = (b"{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                 b"{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
        with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
            file.write(with_key(STORIES, b"tokenizer.chat_template", jinja))
            file.flush()
            ask = ("-m", file.name, "--chat", "-n", 1, "--quiet")
            told = run(*ask, input=b"one\ntwo\n").stderr.decode()
            self.assertEqual(told.count("no token '<|im_end|>'"), 1, told)
            named = run(*ask, "--chat-template", "llama-3", input=b"one\n").stderr.decode()
            self.assertIn("no token '<|start_header_id|>'", named)
            self.assertEqual(run("-m", file.name, "-p", "a", "-n", 1, "--quiet").stderr, b"")

    def test_lines_in_answers_out(self):
        turns = self.turns(input=b"one\n\ntwo\nthree")
        self.assertEqual([turn["question"] for turn in turns], ["one", "two", "three"])
        plain = text_of(*self.ARGUMENTS, input=b"one\n")
        self.assertTrue(plain.endswith(b"\n"))
        self.assertEqual(plain.decode(errors="replace").rstrip("\n"), turns[0]["text"].rstrip("\n"))

    def test_a_prompt_is_answered_once_without_a_terminal(self):
        turns = self.turns("--prompt", "one", input=b"this is not read\n")
        self.assertEqual([turn["question"] for turn in turns], ["one"])
        self.assertEqual(turns[0]["text"], self.turns(input=b"one\n")[0]["text"])

    def test_system_message_is_said_first(self):
        report = json.loads(text_of(*self.ARGUMENTS, "--json", "-p", "one"))
        with_system = json.loads(text_of(*self.ARGUMENTS, "--json", "-p", "one", "--system", "be brief"))
        self.assertGreater(with_system["prompt_tokens"], report["prompt_tokens"])

    def test_later_turns_compute_their_own_tokens_alone(self):
        one = json.loads(text_of(*self.ARGUMENTS, "--json", input=b"one\n"))["prompt_tokens"]
        three = json.loads(text_of(*self.ARGUMENTS, "--json", input=b"one\none\none\n"))["prompt_tokens"]
        self.assertLess(three, 4 * one)  # with all that went before it would be more than 6 times

    def test_a_terminal_is_prompted_and_ctrl_d_ends(self):
        keyboard, terminal = pty.openpty()
        process = subprocess.Popen([PROGRAM, *map(str, self.ARGUMENTS)], stdin=terminal, stdout=subprocess.PIPE,
                                   stderr=terminal)
        os.close(terminal)

        def wait_for_prompt():
            shown = b""
            while not shown.endswith(b"> "):
                ready, _, _ = select.select([keyboard], [], [], 60)
                assert ready, shown
                shown += os.read(keyboard, 1000)

        wait_for_prompt()
        os.write(keyboard, b"one\n")
        wait_for_prompt()
        os.write(keyboard, b"\x04")
        out = process.stdout.read()
        process.stdout.close()
        self.assertEqual(process.wait(60), 0)
        os.close(keyboard)
        self.assertEqual(out, text_of(*self.ARGUMENTS, input=b"one\n"))

    def test_smollm2_knows_the_capital_of_france(self):
        if not SMOLLM2.exists():
            self.skipTest(f"{SMOLLM2} is not there: tools/fetch-model smollm2")
        text = text_of("-m", SMOLLM2, "--chat", "--prompt", "What is the capital of France?", "-n", 32)
        self.assertIn(b"Paris", text)


if __name__ == "__main__":
    unittest.main()
