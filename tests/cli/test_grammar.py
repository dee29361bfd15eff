"""Constrained output: documents of random walks and of models beside the package jsonschema, and the cases of the JSON
Schema test suite (Debian's json-schema-test-suite, of draft 7: keywords that mean the same in 2020-12).

Without the package jsonschema the documents are not validated; without the suite its cases do not run. Both say so.
"""
import itertools
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

try:
    import jsonschema
except ImportError:
    jsonschema = None

SOURCE = Path(os.environ.get("NLM_SOURCE", Path(__file__).resolve().parents[2]))
BUILD = Path(os.environ.get("NLM_BUILD", SOURCE / "build"))
WALK = BUILD / "tests" / "walk_grammar"
RUN = Path(os.environ.get("NLM_BIN", BUILD / "bin")) / "nlm-run"
SUITE = Path(os.environ.get("NLM_JSON_SCHEMA_SUITE", "/usr/share/json-schema-test-suite/tests/draft7"))
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nlm"
SMOLLM2 = CACHE / "SmolLM2-135M-Instruct.Q4_1.gguf"
STORIES = SOURCE / "models/llama.gguf"

NEEDS_VALIDATOR = unittest.skipUnless(jsonschema, "no Python package jsonschema (Debian: python3-jsonschema)")
SEED = int(os.environ.get("NLM_TEST_SEED", 1))
IS_SLOW = bool(os.environ.get("NLM_SANITIZE"))
WALKS = 10 if IS_SLOW else 50

PERSON = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0,
          "maximum": 150}, "email": {"type": "string", "format": "email"}, "tags": {"type": "array", "items": {"type": "string",
          "maxLength": 8}, "maxItems": 4}}, "required": ["name", "age"], "additionalProperties": False}

# Documents of each are made and validated. Of multiples only those that a float holds exactly: the validator divides.
SCHEMAS = [
    {}, True, {"type": "object"}, {"type": "array"}, {"type": "string"}, {"type": "number"}, {"type": "integer"},
    {"type": ["null", "boolean", "integer"]}, {"enum": ["a", 1, None, [1, {"k": "v"}], {"x": [True]}]}, {"const": {"a": [1.5, "\n"]}},
    PERSON,
    {"type": "array", "items": PERSON, "minItems": 1, "maxItems": 3},
    {"type": "string", "minLength": 3, "maxLength": 6}, {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,5}(x|y)?$"},
    {"type": "string", "pattern": "ab+c"}, {"type": "string", "pattern": "^(\\d+|[^0-9 -]+)$", "minLength": 2, "maxLength": 9},
    {"type": "string", "pattern": "^a|z$"}, {"type": "string", "pattern": "[\"\\\\\\n]"},
    *({"type": "string", "format": name} for name in ("date", "time", "date-time", "email", "ipv4", "ipv6", "uuid", "hostname",
                                                      "duration", "uri", "json-pointer")),
    {"type": "string", "format": "date", "pattern": "^20"},
    {"type": "integer", "minimum": -17, "maximum": 2305}, {"type": "integer", "exclusiveMinimum": 99, "multipleOf": 7},
    {"type": "integer", "maximum": -1000}, {"type": "integer", "minimum": 1.5, "maximum": 7.25},
    {"type": "number", "minimum": -1.25, "exclusiveMaximum": 3.5}, {"type": "number", "exclusiveMinimum": 0, "maximum": 0.01},
    {"type": "number", "multipleOf": 0.25, "minimum": -3}, {"minimum": 5}, {"maxLength": 3, "minItems": 2, "required": ["q"]},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string", "maxLength": 3}], "items": {"type": "null"}, "minItems": 1},
    {"type": "array", "prefixItems": [{"const": 1}], "items": False}, {"type": "array", "minItems": 2, "maxItems": 5, "items": {"enum": [1, 2]}},
    {"type": "object", "minProperties": 1, "maxProperties": 3, "additionalProperties": {"type": "integer"}},
    {"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "boolean"}, "c": {"type": "integer"}}, "minProperties": 2},
    {"type": "object", "patternProperties": {"^n": {"type": "integer"}, "x$": {"minimum": 3}}, "additionalProperties": {"type": "null"}},
    {"type": "object", "propertyNames": {"pattern": "^[a-c]+$", "maxLength": 4}, "additionalProperties": {"type": "boolean"}},
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "array", "contains": {}, "maxContains": 2, "items": {
        "type": "null"}}}, "required": ["b"], "patternProperties": {"^x": {"not": {}}}, "unevaluatedProperties": {"type": "boolean"}},
    {"type": "object", "required": ["id", "kind"], "properties": {"kind": {"enum": ["p", "q"]}, "id": {"type": "string", "format": "uuid"}},
     "additionalProperties": {"type": "number"}},
    {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "integer", "minimum": 5}, {"type": "null"}]},
    {"oneOf": [{"type": "object", "properties": {"k": {"const": name}, name: {"type": "integer"}}, "required": ["k", name],
                "additionalProperties": False} for name in ("one", "two", "three")]},
    {"oneOf": [{"type": "integer", "multipleOf": 2}, {"type": "string", "pattern": "^x"}, {"type": "string", "pattern": "^y"}]},
    {"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"a": {"maximum": 9}, "b": {"type": "string"}}}],
     "type": "object", "additionalProperties": True},
    {"type": "object", "properties": {"card": {"type": "integer"}, "name": {"type": "string", "maxLength": 4}, "zip": {
        "type": "integer"}}, "additionalProperties": False, "dependentRequired": {"card": ["name", "zip"]},
     "dependentSchemas": {"name": {"properties": {"zip": {"minimum": 10}}}}},
    {"$defs": {"node": {"type": "object", "properties": {"value": {"type": "integer"}, "children": {"type": "array", "items": {
        "$ref": "#/$defs/node"}, "maxItems": 2}}, "required": ["value"], "additionalProperties": False}}, "$ref": "#/$defs/node"},
    {"$defs": {"expr": {"anyOf": [{"type": "integer"}, {"type": "array", "prefixItems": [{"enum": ["+", "*"]}, {"$ref": "#/$defs/expr"},
                                  {"$ref": "#/$defs/expr"}], "items": False, "minItems": 3}]}}, "$ref": "#/$defs/expr"},
]

# Cases of the suite that are not taken, by description. Their texts are other spellings of a value, or longer than a
# number may be; see docs/constrained-output.md.
NOT_TAKEN = {
    "a bignum is an integer", "a negative bignum is an integer", "a bignum is a number", "a negative bignum is a number",
}
# Of older drafts alone: what stands beside $ref is not looked at, and what a string encodes may be.
OTHER_DRAFT = {"validation of string-encoded content based on media type", "validation of binary string-encoding",
               "validation of binary-encoded media type documents", "ref overrides any sibling keywords", "$ref prevents a sibling $id from changing the base uri"}


def grammar(kind, text, *arguments, given=b""):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(text)
        file.flush()
        return subprocess.run([WALK, kind, file.name, *map(str, arguments)], input=given, capture_output=True, timeout=300)


def walks(schema, kind="schema", count=WALKS, size=60):
    done = grammar(kind, json.dumps(schema), "walk", count, SEED, size)
    assert done.returncode == 0, (schema, done.stderr)
    return done.stdout.decode().split("\0")[:-1]


def validator(schema):
    kind = jsonschema.Draft202012Validator
    kind.check_schema(schema)
    return kind(schema, format_checker=jsonschema.draft202012_format_checker)


class Walks(unittest.TestCase):
    @NEEDS_VALIDATOR
    def test_documents_of_random_walks_are_valid(self):
        count = 0
        for schema in SCHEMAS:
            check = validator(schema)
            for kind in ("schema", "compact"):
                for text in walks(schema, kind):
                    try:
                        check.validate(json.loads(text))
                    except (ValueError, jsonschema.ValidationError) as error:
                        self.fail(f"seed {SEED}, {schema}: {text!r}: {error}")
                    count += 1
        print(f"{count} documents of {len(SCHEMAS)} schemas are valid", flush=True)
        self.assertEqual(count, 2 * len(SCHEMAS) * WALKS)  # without a sanitizer more than 5,000

    def test_walks_are_the_same_for_a_seed_and_end(self):
        first, second = walks({"type": "array"}), walks({"type": "array"})
        self.assertEqual(first, second)
        self.assertGreater(len(set(first)), WALKS // 3)
        for text in first:
            json.loads(text)


def spellings(value):
    """Texts of a value, with the members of its objects in any order."""
    if isinstance(value, dict):
        for order in itertools.permutations(value.items()):
            for members in itertools.product(*([json.dumps(key, ensure_ascii=False) + ":" + text for text in spellings(item)]
                                               for key, item in order)):
                yield "{" + ",".join(members) + "}"
    elif isinstance(value, list):
        for items in itertools.product(*(list(spellings(item)) for item in value)):
            yield "[" + ",".join(items) + "]"
    elif isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        yield str(int(value))
    else:
        yield json.dumps(value, ensure_ascii=False)


class Suite(unittest.TestCase):
    def taken(self, schema, values):
        """Whether a spelling of each value is; None: the schema is refused, which has to name a reason."""
        texts = [list(itertools.islice(spellings(value), 500)) for value in values]
        given = "".join(text + "\0" for some in texts for text in some).encode("utf-8", "surrogatepass")
        done = grammar("schema", json.dumps(schema), "check", given=given)
        if done.returncode == 3:
            self.assertRegex(done.stderr.decode(), r"^(unsupported|limit exceeded|malformed data): ")
            return None, done.stderr.decode().strip()
        self.assertEqual(done.returncode, 0, (schema, done.stderr))
        answers = iter(done.stdout.split())
        return [any([next(answers) == b"1" for _ in some]) for some in texts], ""

    @unittest.skipUnless(SUITE.exists(), f"no {SUITE} (Debian: json-schema-test-suite)")
    def test_cases_of_the_suite(self):
        counts = dict.fromkeys(("groups", "refused", "valid", "taken", "invalid", "not taken"), 0)
        wrong = []
        files = sorted(SUITE.glob("*.json")) + sorted(SUITE.glob("optional/**/*.json"))
        for path in files:
            for group in json.loads(path.read_text()):
                counts["groups"] += 1
                tests = group["tests"]
                answers, why = self.taken(group["schema"], [test["data"] for test in tests])
                if answers is None and not any(test["valid"] for test in tests) and "no text can ever" in why:
                    answers = [False] * len(tests)
                if answers is None or group["description"] in OTHER_DRAFT:
                    counts["refused"] += 1
                    continue
                for test, is_taken in zip(tests, answers):
                    counts["valid" if test["valid"] else "invalid"] += 1
                    counts["taken" if test["valid"] else "not taken"] += is_taken == test["valid"]
                    if is_taken != test["valid"] and not (test["valid"] and test["description"] in NOT_TAKEN):
                        wrong.append((path.name, group["description"], test["description"], group["schema"], test["data"]))
        print(f"{counts['groups']} groups, {counts['refused']} of them refused by name; valid documents: {counts['taken']} of "
              f"{counts['valid']} taken; others: {counts['not taken']} of {counts['invalid']} not taken", flush=True)
        self.assertEqual(wrong, [])
        self.assertGreater(counts["taken"], 180)


def run(*arguments, code=0, given=b""):
    done = subprocess.run([RUN, *map(str, arguments)], input=given, capture_output=True, timeout=300)
    assert done.returncode == code, done
    return done


class Model(unittest.TestCase):
    """Texts of models under a grammar."""

    def write(self, text, name="grammar"):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name) / name
        path.write_text(text if isinstance(text, str) else json.dumps(text))
        return path

    def documents(self, model, schema, seeds=4):
        path, texts = self.write(schema), []
        for seed in range(seeds):
            draws = ("-s", seed, "-t", 1.2) if seed else ()
            told = json.loads(run("-m", model, "--json-schema", path, "--json", "-n", 400, "-j", 1, "-p", "A record:",
                                  *draws).stdout)
            self.assertIn(told["ended_by"], ("model", "max_tokens"))
            if told["ended_by"] == "model":
                texts.append(told["text"])
        return texts

    @NEEDS_VALIDATOR
    def test_documents_of_models_are_valid(self):
        count = 0
        models = [STORIES] + ([SMOLLM2] if SMOLLM2.exists() and not IS_SLOW else [])
        for model in models:
            for schema in (PERSON, SCHEMAS[-5], SCHEMAS[-2], {"type": "array", "items": {"type": "number"}, "maxItems": 3}):
                check = validator(schema)
                for text in self.documents(model, schema):
                    check.validate(json.loads(text))
                    count += 1
        print(f"{count} documents of {len(models)} models are valid", flush=True)
        self.assertGreaterEqual(count, 8)

    def test_what_a_schema_costs_is_told(self):
        model = SMOLLM2 if SMOLLM2.exists() and not IS_SLOW else STORIES
        done = subprocess.run([BUILD / "tests/cost_grammar", model, self.write(PERSON), "6"], capture_output=True, text=True,
                              timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        cost = json.loads(done.stdout)
        print(f"{model.name}: a schema takes {cost['first_text_share']:.2%} of a token's time ({cost['token_ms']:.2f} ms) in the "
              f"first text, {cost['share']:.2%} over 6; {cost['masks']} masks and {cost['checks']} checks for {cost['tokens']} "
              "tokens", flush=True)
        self.assertGreater(cost["tokens"], 100)
        self.assertGreaterEqual(cost["checks"], cost["tokens"])  # the token chosen first is always asked about
        self.assertLess(cost["masks"], cost["tokens"])  # and is the one, now and then

    def test_text_is_of_the_grammar(self):
        path = self.write('root ::= " " ("yes" | "no") " "{2} [a-c]{4,8} "."')
        for seed in range(3):
            text = run("-m", STORIES, "--grammar", path, "-p", "Is it?", "-s", seed, "-q").stdout.decode()
            self.assertRegex(text, r"\A (yes|no)  [a-c]{4,8}\.\Z")

    def test_each_answer_of_a_chat_is(self):
        path = self.write('root ::= "<" [a-z ]{1,9} ">"')
        done = run("-m", STORIES, "--chat", "--chat-template", "chatml", "--grammar", path, "-q", given=b"one\ntwo\nthree\n")
        self.assertRegex(done.stdout.decode(), r"\A(<[a-z ]{1,9}>\n?){3}\Z")

    def test_settings_name_a_file_beside_them(self):
        path = self.write('root ::= "ok" " fine"?')
        config = path.parent / "run.toml"
        config.write_text(f'[model]\npath = "{STORIES}"\n[sampler]\ngrammar = "grammar"\n[run]\nprompt = "a"\n')
        self.assertIn(run(config, "-q").stdout, (b"ok", b"ok fine"))
        schema = self.write({"const": 7}, "schema")
        self.assertEqual(run(config, "-q", "--json-schema", schema).stdout, b"7")  # the command line wins

    def test_failures_name_file_and_place(self):
        for text, option, expected in (("root ::= a", "--grammar", "grammar:1: the rule 'a' is not defined"),
                                       ("{", "--json-schema", "JSON"),
                                       ({"items": {"not": {"type": "null"}}}, "--json-schema", "grammar#/items/not: the keyword 'not'")):
            path = self.write(text)
            told = run("-m", STORIES, option, path, "-p", "x", code=1).stderr.decode()
            self.assertIn(str(path), told)
            self.assertIn(expected, told)
        self.assertIn("give one of them", run("-m", STORIES, "--grammar", "a", "--json-schema", "b", "-p", "x", code=2).stderr.decode())
        self.assertIn("--ignore-end", run("-m", STORIES, "--grammar", "a", "--ignore-end", "-p", "x", code=2).stderr.decode())


if __name__ == "__main__":
    unittest.main()
