"""Python packages that tests use where they are: pip install openai anthropic llm schemathesis.

NLM_SERVER_PYTHON names an interpreter that has them, where the tests' own has not."""
import importlib.util
import os
import sys
from pathlib import Path


def use_their_interpreter():
    other = os.environ.get("NLM_SERVER_PYTHON")
    if other and os.path.realpath(sys.prefix) != os.path.realpath(Path(other).parent.parent):
        os.execv(other, [other, *sys.argv])


def has(package):
    return importlib.util.find_spec(package) is not None


def skip_without_any(*packages):
    if not any(map(has, packages)):
        print(f"skipped: none of these packages is installed: {', '.join(packages)}")
        sys.exit(77)
