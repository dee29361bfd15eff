"""The stages of a sampler against a plain reference in float64, written from nlm/sampler.h and the papers it names: no
heap, no relative weights, probabilities normalised after every stage, whole lists copied."""
import json
import math
import os
import random
import struct
import subprocess
import unittest
from pathlib import Path

BUILD = Path(os.environ.get("NLM_BUILD", Path(__file__).resolve().parents[2] / "build"))
PROGRAM = BUILD / "tests" / "sampler_stages"
STAGES = ["penalties", "dry", "temperature", "top_n_sigma", "top_k", "typical", "top_p", "min_p", "xtc"]
SEED = int(os.environ.get("NLM_SEED", "20261129"))
DRY_LENGTH_MAX = 64


def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


# ---- Philox4x32-10 (Salmon et al. 2011) ----

def uniform(seed, position, which):
    counter, key = [position & 0xFFFFFFFF, position >> 32, which, 0], [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(b >> 32) ^ counter[1] ^ key[0], b & 0xFFFFFFFF, (a >> 32) ^ counter[3] ^ key[1], a & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return ((counter[0] << 32 | counter[1]) >> 11) / 2.0**53


# ---- the reference: tokens are [(id, logit)], logits of any scale ----

def finite(logit):
    """Logits stay numbers of f32."""
    return max(-3.4028234663852886e38, min(logit, 3.4028234663852886e38))


def probabilities(tokens):
    greatest = max(logit for _, logit in tokens)
    weights = [math.exp(logit - greatest) for _, logit in tokens]
    return [w / sum(weights) for w in weights]


def by_likelihood(tokens):
    return sorted(tokens, key=lambda token: (-token[1], token[0]))


def penalties(tokens, o, history):
    window = history[-(o.get("repeat_last_n") or 64):] if history else []
    made = []
    for id, logit in tokens:
        count = window.count(id)
        if count and logit > -math.inf:
            repeat = o.get("repeat_penalty", 0)
            if repeat > 0:
                logit = logit / repeat if logit > 0 else logit * repeat
            logit = finite(logit - count * o.get("frequency_penalty", 0) - o.get("presence_penalty", 0))
        made.append((id, logit))
    return made


def dry(tokens, o, history, breakers):
    if not history:
        return tokens
    base, allowed = o.get("dry_base") or 1.75, o.get("dry_allowed_length") or 2
    window = history[-o["dry_last_n"]:] if o.get("dry_last_n") else history
    longest = {}
    for i in range(len(window) - 1):  # window[i + 1] came behind window[.. i]
        length = 0
        while (length < DRY_LENGTH_MAX and length <= i and window[i - length] == window[-1 - length]
               and window[-1 - length] not in breakers):
            length += 1
        if length >= allowed and window[i + 1] not in breakers:
            longest[window[i + 1]] = max(length, longest.get(window[i + 1], 0))
    return [(id, finite(logit - o["dry_multiplier"] * base ** (longest[id] - allowed))
             if id in longest and logit > -math.inf else logit) for id, logit in tokens]


def temperature(tokens, o):
    t = o["temperature"]
    if o.get("temperature_range", 0) > 0:
        p = [x for x in probabilities(tokens) if x > 0]
        part = -sum(x * math.log(x) for x in p) / math.log(len(tokens)) if len(tokens) > 1 else 0
        least, most = max(t - o["temperature_range"], 0), t + o["temperature_range"]
        t = max(least + (most - least) * min(part, 1) ** (o.get("temperature_exponent") or 1), 1e-100)
    return [(id, logit / t) for id, logit in tokens]


def top_n_sigma(tokens, o):
    logits = [logit for _, logit in tokens if logit > -math.inf]
    mean = sum(logits) / len(logits)
    sigma = math.sqrt(sum((logit - mean) ** 2 for logit in logits) / len(logits))
    return [token for token in tokens if token[1] >= max(logits) - o["top_n_sigma"] * sigma]


def fewest(tokens, p, mass):
    """The first of the tokens, in their order, that reach the mass."""
    total, n = 0.0, 0
    while n < len(tokens) and total < mass:
        total += p[n]
        n += 1
    return tokens[:n]


def typical(tokens, o):
    p = probabilities(tokens)
    mean = -sum(x * math.log(x) for x in p if x > 0)
    apart = [abs(-math.log(x) - mean) if x > 0 else math.inf for x in p]
    order = sorted(range(len(tokens)), key=lambda i: (apart[i], i))
    kept = set(fewest(order, [p[i] for i in order], o["typical_p"]))
    return [token for i, token in enumerate(tokens) if i in kept]


def top_p(tokens, o):
    tokens = by_likelihood(tokens)
    return fewest(tokens, probabilities(tokens), o["top_p"])


def min_p(tokens, o):
    p = probabilities(tokens)
    return [token for token, x in zip(tokens, p) if x >= o["min_p"] * max(p)]


def xtc(tokens, o, position):
    if uniform(o.get("seed", 0), position, 2) >= o["xtc_probability"]:
        return tokens
    top = [token for token, x in zip(tokens, probabilities(tokens)) if x >= o["xtc_threshold"]]
    gone = by_likelihood(top)[:-1]
    return [token for token in tokens if token not in gone]


def mirostat(tokens, mu):
    p = probabilities(tokens)
    kept = [token for token, x in zip(tokens, p) if x > 0 and -math.log2(x) <= mu]
    return kept or by_likelihood(tokens)[:1]


def is_on(stage, o):
    return {"penalties": o.get("repeat_penalty", 0) not in (0, 1) or o.get("frequency_penalty") or o.get("presence_penalty"),
            "dry": o.get("dry_multiplier"), "temperature": o.get("temperature"), "top_n_sigma": o.get("top_n_sigma"),
            "top_k": o.get("top_k"), "typical": 0 < o.get("typical_p", 0) < 1, "top_p": 0 < o.get("top_p", 0) < 1,
            "min_p": o.get("min_p"), "xtc": o.get("xtc_probability") and o.get("xtc_threshold")}[stage]


def reference(job):
    """[(id, probability)] of what is drawn, as the header has it, in any order; and the probabilities before mirostat."""
    o, history = job["options"], job.get("history", [])
    biases = o.get("biases", [])
    tokens = [(id, -math.inf if logit is None else logit) for id, logit in enumerate(job["logits"])]
    if "allowed" in job:
        tokens = [(id, logit if id in job["allowed"] else -math.inf) for id, logit in tokens]
    for id, bias in biases:
        tokens[id] = (id, -math.inf if bias is None else tokens[id][1] + bias)
    for stage in o.get("order", STAGES):
        if not is_on(stage, o):
            continue
        if stage == "penalties":
            tokens = penalties(tokens, o, history)
        elif stage == "dry":
            tokens = dry(tokens, o, history, job.get("breakers", []))
        elif stage == "top_k":
            tokens = by_likelihood(tokens)[:o["top_k"]]
        elif stage == "xtc":
            tokens = xtc(tokens, o, len(history))
        else:
            tokens = globals()[stage](tokens, o)
    whole = dict(zip((id for id, _ in tokens), probabilities(tokens)))
    if o.get("mirostat_tau"):
        tokens = mirostat(tokens, job.get("mu") or 2 * o["mirostat_tau"])
    return {id: p for (id, _), p in zip(tokens, probabilities(tokens)) if p > 0}, whole


def run(jobs):
    text = "".join(json.dumps(job) + "\n" for job in jobs)
    done = subprocess.run([str(PROGRAM)], input=text, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(jobs), done.stderr
    return answers


class Draws:
    """Inputs, the same for the same seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def logits(self, n):
        kind = self.random.random()
        scale = self.random.choice([1, 3, 8])
        made = [f32(self.random.gauss(0, scale)) for _ in range(n)]
        if kind < 0.3:
            made = [math.floor(x * 2) / 2 for x in made]  # ties
        elif kind < 0.4:
            made = [x if self.random.random() < 0.8 else None for x in made]
            made[self.random.randrange(n)] = 1.0
        return made

    def history(self, n_vocab):
        """Short or long, of few tokens or many, with repetitions."""
        n, few = self.random.choice([0, 1, 5, 40, 150]), self.random.choice([2, 5, n_vocab])
        made = [self.random.randrange(min(few, n_vocab)) for _ in range(n)]
        if n > 30 and self.random.random() < 0.6:
            length = self.random.randrange(2, n // 2)
            at = self.random.randrange(n - length)
            made += made[at:at + length]
        return made

    def option(self, stage):
        r = self.random
        return {"penalties": lambda: r.choice([{"repeat_penalty": f32(r.uniform(0.7, 2))},
                                               {"frequency_penalty": f32(r.uniform(-2, 2)), "repeat_last_n": r.randrange(1, 99)},
                                               {"presence_penalty": f32(r.uniform(-2, 2))},
                                               {"repeat_penalty": 1.5, "frequency_penalty": 0.25, "presence_penalty": 0.5}]),
                "dry": lambda: {"dry_multiplier": f32(r.uniform(0.1, 2)), "dry_base": f32(r.choice([0, 1, 1.2, 1.75])),
                                "dry_allowed_length": r.choice([0, 1, 2, 3, 5]), "dry_last_n": r.choice([0, 0, 10, 60])},
                "temperature": lambda: r.choice([{"temperature": f32(r.uniform(0.2, 3))},
                                                 {"temperature": f32(r.uniform(0.5, 2)), "temperature_range": f32(r.uniform(0.1, 2)),
                                                  "temperature_exponent": f32(r.choice([0, 0.5, 2]))}]),
                "top_n_sigma": lambda: {"top_n_sigma": f32(r.choice([0.1, 0.55, 1.05, 1.55, 1.95, 3]))},
                "top_k": lambda: {"top_k": r.choice([1, 2, 5, 20, 1000])},
                "typical": lambda: {"typical_p": f32(r.choice([0.05, 0.2, 0.5, 0.9, 0.99]))},
                "top_p": lambda: {"top_p": f32(r.choice([0.05, 0.5, 0.9, 0.99]))},
                "min_p": lambda: {"min_p": f32(r.choice([0.01, 0.05, 0.3, 1]))},
                "xtc": lambda: {"xtc_probability": f32(r.choice([0.5, 1])), "xtc_threshold": f32(r.choice([0.02, 0.1, 0.3]))},
                }[stage]()

    def job(self, stages, **more):
        n = self.random.choice([1, 2, 7, 30, 200])
        options = {"temperature": 1, "seed": self.random.randrange(2**40), **more}
        for stage in stages:
            options.update(self.option(stage))
        job = {"logits": self.logits(n), "history": self.history(n), "options": options,
               "breakers": [id for id in range(n) if self.random.random() < 0.05]}
        if self.random.random() < 0.2:
            job["allowed"] = [id for id in range(n) if self.random.random() < 0.5 and job["logits"][id] is not None]
            if not job["allowed"]:
                del job["allowed"]
        return job


class Stages(unittest.TestCase):
    def compare(self, jobs):
        """A cut at a boundary may fall on either side where sums differ in the last bits: such a case is left out, and
        counted; there must be few."""
        n_close = 0
        for job, answer in zip(jobs, run(jobs)):
            with self.subTest(json.dumps(job)[:2000]):
                self.assertNotIn("error", answer)
                expected, whole = reference(job)
                got = {id: p for id, p in zip(answer["ids"], answer["p"]) if p > 0}
                if got.keys() != expected.keys() and self.is_close(job, got, expected):
                    n_close += 1
                    continue
                self.assertEqual(sorted(got), sorted(expected))
                for id, p in expected.items():
                    self.assertLess(abs(got[id] - p), 3e-5 * p + 1e-12)
                self.check_draw(job, answer, whole)
        self.assertLessEqual(n_close, len(jobs) // 50)
        return len(jobs) - n_close

    def is_close(self, job, got, expected):
        """The sets differ by tokens as likely as one that both have, or next to the cut: 1e-6 off moves it."""
        moved = []
        for factor in (1 - 1e-6, 1 + 1e-6):
            options = {k: v * factor if k in ("typical_p", "top_p", "min_p", "xtc_threshold", "top_n_sigma", "mirostat_tau") else v
                       for k, v in job["options"].items()}
            moved.append(reference({**job, "options": options})[0].keys())
        return got.keys() in moved

    def check_draw(self, job, answer, whole):
        """The token is where the uniform number falls, in the order that the sampler goes through; mu follows."""
        u = uniform(job["options"]["seed"], len(job.get("history", [])), 1 if "allowed" in job else 0)
        below, at = 0.0, 0
        for at, p in enumerate(answer["p"]):
            if u < below + p:
                break
            below += p
        if abs(u - below) > 1e-9 and abs(u - below - answer["p"][at]) > 1e-9:
            self.assertEqual(answer["id"], answer["ids"][at])
        tau = job["options"].get("mirostat_tau")
        if tau:
            mu = job.get("mu") or 2 * tau
            expected = mu - (job["options"].get("mirostat_eta") or f32(0.1)) * (-math.log2(whole[answer["id"]]) - tau)
            self.assertLess(abs(answer["mu"] - expected), 1e-4 * max(1, abs(expected)))

    def test_each_stage_alone(self):
        draws = Draws(SEED)
        for stage in STAGES:
            n = self.compare([draws.job([stage]) for _ in range(150)])
            print(f"{stage}: {n} cases")

    def test_pairs_in_both_orders(self):
        draws = Draws(SEED + 1)
        jobs = []
        for a in STAGES:
            for b in STAGES:
                if a == b:
                    continue
                rest = [s for s in STAGES if s not in (a, b)]
                jobs += [draws.job([a, b], order=[a, b] + rest) for _ in range(6)]
        print(f"pairs: {self.compare(jobs)} of {len(jobs)} cases")

    def test_all_in_any_order(self):
        draws = Draws(SEED + 2)
        jobs = []
        for i in range(400):
            stages = [s for s in STAGES if draws.random.random() < 0.6]
            order = draws.random.sample(STAGES, len(STAGES))
            jobs.append(draws.job(stages, **({"order": order} if i % 2 else {})))
        print(f"all: {self.compare(jobs)} of {len(jobs)} cases")

    def test_biases_and_mirostat(self):
        draws = Draws(SEED + 3)
        jobs = []
        for _ in range(300):
            job = draws.job([s for s in STAGES if draws.random.random() < 0.2])
            n = len(job["logits"])
            if draws.random.random() < 0.7:
                job["options"].update(mirostat_tau=f32(draws.random.uniform(0.5, 8)), mirostat_eta=draws.random.choice([0, 0.5]))
                job["mu"] = draws.random.choice([0, 3.25, 9.0, -2.5])
            biases = [[draws.random.randrange(n), draws.random.choice([None, 2.5, -3.0, 10.0])] for _ in range(4)]
            if n > 8 and "allowed" not in job:
                job["options"]["biases"] = biases
            jobs.append(job)
        print(f"biases and mirostat: {self.compare(jobs)} of {len(jobs)} cases")

    def test_known_cases(self):
        ln = math.log
        half = [ln(0.5), ln(0.25), ln(0.125), ln(0.125)]
        for options, history, expected in [
            ({}, [], [0.5, 0.25, 0.125, 0.125]),
            ({"top_k": 2}, [], [2 / 3, 1 / 3, 0, 0]),
            ({"top_p": 0.6}, [], [2 / 3, 1 / 3, 0, 0]),
            ({"min_p": 0.4}, [], [2 / 3, 1 / 3, 0, 0]),
            ({"temperature": 0.5}, [], [16 / 22, 4 / 22, 1 / 22, 1 / 22]),
            # entropy 1.75 bits: the second is closest with 2, then the first with 1
            ({"typical_p": 0.2}, [], [0, 1, 0, 0]), ({"typical_p": 0.3}, [], [2 / 3, 1 / 3, 0, 0]),
            ({"xtc_probability": 1, "xtc_threshold": 0.2}, [], [0, 0.5, 0.25, 0.25]),
            ({"xtc_probability": 1, "xtc_threshold": 0.4}, [], [0.5, 0.25, 0.125, 0.125]),
            ({"xtc_probability": 1, "xtc_threshold": 0.1}, [], [0, 0, 0, 1]),
            ({"mirostat_tau": 1.25}, [], [2 / 3, 1 / 3, 0, 0]),
            ({"biases": [[0, None], [1, ln(2)]]}, [], [0, 2 / 3, 1 / 6, 1 / 6]),
            ({"frequency_penalty": f32(ln(2))}, [0, 0], [0.2, 0.4, 0.2, 0.2]),
            ({"presence_penalty": f32(ln(2))}, [0, 0], [1 / 3, 1 / 3, 1 / 6, 1 / 6]),
            # 0 1 0: what followed a single 0 was 1; with an allowed length of 1 it loses the multiplier once
            ({"dry_multiplier": f32(ln(2)), "dry_allowed_length": 1}, [0, 1, 0], [4 / 7, 1 / 7, 1 / 7, 1 / 7]),
            ({"dry_multiplier": f32(ln(2)), "dry_allowed_length": 2}, [0, 1, 0], [0.5, 0.25, 0.125, 0.125]),
            # ... 0 1 2 0 1: two tokens repeat, so 2 loses multiplier * 2
            ({"dry_multiplier": f32(ln(2)), "dry_allowed_length": 1, "dry_base": 2}, [0, 1, 2, 0, 1],
             [16 / 29, 8 / 29, 1 / 29, 4 / 29]),
        ]:
            answer, = run([{"logits": [f32(x) for x in half], "history": history, "options": {"temperature": 1, **options}}])
            got = [0.0] * 4
            for id, p in zip(answer["ids"], answer["p"]):
                got[id] = p
            with self.subTest(options):
                self.assertTrue(all(abs(a - b) < 1e-6 for a, b in zip(got, expected)), got)

    def test_xtc_comes_as_often_as_it_should(self):
        jobs = [{"logits": [1.0, 0.9, -1.0], "history": [0] * n, "options": {
            "temperature": 1, "seed": 3, "xtc_probability": 0.25, "xtc_threshold": 0.125}} for n in range(2000)]
        n_cut = sum(0 not in answer["ids"] for answer in run(jobs))
        self.assertLess(abs(n_cut - 500), 4 * math.sqrt(2000 * 0.25 * 0.75))

    def test_mirostat_keeps_the_surprise(self):
        """Over a long text the mean surprise is what was asked for."""
        draws, mu, history, total = random.Random(SEED), 0, [], 0.0
        logits = [[f32(draws.gauss(0, 2)) for _ in range(100)] for _ in range(40)]
        for n in range(600):
            job = {"logits": logits[n % 40], "history": history,
                   "options": {"temperature": 1, "seed": 5, "mirostat_tau": 3, "mirostat_eta": 0.125}, "mu": mu}
            answer, = run([job]) if n < 3 else (self.follow(job),)
            mu = answer["mu"]
            history.append(0)
            if n >= 100:
                total += answer["surprise"]
        self.assertLess(abs(total / 500 - 3), 0.15)

    def follow(self, job):
        """What the program gives, by the reference: starting it 600 times takes long."""
        left, whole = reference(job)
        u, below = uniform(5, len(job["history"]), 0), 0.0
        for id in sorted(left):
            below += left[id]
            if u < below:
                break
        surprise = -math.log2(whole[id])
        return {"mu": (job["mu"] or 6) - 0.125 * (surprise - 3), "surprise": surprise}

    def test_greedy_needs_no_cuts(self):
        draws = Draws(SEED + 4)
        jobs = []
        for _ in range(200):
            job = draws.job([s for s in STAGES if s != "temperature"])
            job["options"]["temperature"] = 0
            jobs.append(job)
        for job, answer in zip(jobs, run(jobs)):
            plain = {k: v for k, v in job["options"].items() if k.startswith(("repeat", "frequency", "presence", "dry", "seed"))}
            expected, _ = reference({**job, "options": {**plain, "temperature": 1}})
            best = max(expected.values())
            self.assertGreaterEqual(expected.get(answer["id"], 0), best * (1 - 1e-5))

    def test_what_is_wrong_is_said(self):
        for options, words in [
            ({"typical_p": 1.5}, "typical_p is 1.5; expected 0 to 1"), ({"dry_base": 0.5}, "dry_base"),
            ({"top_n_sigma": -1}, "top_n_sigma"), ({"xtc_threshold": 2}, "xtc_threshold"), ({"mirostat_eta": -1}, "mirostat_eta"),
            ({"biases": [[9, 1]]}, "bias 0 is for token 9; the vocabulary has 0 to 2"), ({"biases": [[0, 1e39]]}, "token 0"),
            ({"order": ["top_q"]}, "'top_q' is no stage; these are: penalties dry"),
            ({"order": ["top_p", "top_p"]}, "'top_p' is there twice"), ({"order": ["top_p"], "top_k": 1}, "'top_k' is on"),
            ({"order": [], "temperature": 0.5}, "'temperature' is on"), ({"frequency_penalty": 1e9}, "frequency_penalty"),
        ]:
            answer, = run([{"logits": [1, 2, 3], "options": options}])
            with self.subTest(options):
                self.assertIn(words, answer.get("error", ""))
        answer, = run([{"logits": [1, 2, 3], "options": {"order": [], "temperature": 1, "top_p": 1, "repeat_penalty": 1}}])
        self.assertEqual(len(answer["ids"]), 3)
        answer, = run([{"logits": [1, 2], "options": {"temperature": 1, "biases": [[0, None], [1, None]]}}])
        self.assertEqual((answer["id"], answer["ids"]), (-1, []))


if __name__ == "__main__":
    unittest.main()
