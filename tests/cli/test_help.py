"""The help: light, and the same few options as ever."""

import inspect
import json
import subprocess
import sys

import pytest

from isoflop.cli.app import app
from isoflop.cli.entry import known_verbs

VERBS = [
    "init",
    "data",
    "run",
    "status",
    "import",
    "fit",
    "compare",
    "plan",
    "next",
    "watch",
    "report",
    "export",
    "laws",
    "doctor",
]

# Options are frozen: a new one needs a reason, a page in docs and a line here.
OPTIONS = {
    "init": {"path", "json"},
    "data": {"study", "recipe", "into", "set_", "recipes", "quality", "json"},
    "run": {"study", "into", "set_", "dry_run", "profile", "extend", "tokens", "label", "json"},
    "status": {"folder", "json"},
    "import": {
        "source", "into", "to", "dry_run", "map_", "n_params", "batch_tokens", "convention",
        "unit", "kind", "json",
    },
    "fit": {"source", "law", "card", "curves", "json"},
    "compare": {"a", "b", "against", "target", "loss", "flops", "json"},
    "next": {"source", "flops", "n_params", "n_tokens", "budget", "json"},
    "plan": {
        "source", "law", "flops", "loss", "score", "task", "n_params", "n_tokens",
        "device_hours", "days", "usd",
        "max_flops", "max_device_hours", "max_days", "max_usd", "max_n_params", "max_n_tokens",
        "hardware", "n_devices", "mfu", "step_mfu", "price", "sure",
        "inference_tokens", "inference_flop_cost", "serve_on", "prompt_tokens", "answer_tokens",
        "max_token_s", "max_first_token_s", "unique_tokens",
        "config", "vocab_size", "context", "batch_tokens", "explain", "force", "json",
    },
    "watch": {"run", "study", "law", "level", "once", "webhook", "json"},
    "report": {"folder", "json"},
    "export": {"run", "to", "corpus", "json"},
    "laws": {"name", "json"},
    "doctor": {"json"},
}  # fmt: skip

LIGHT = """
import json, sys
from isoflop.cli import main
try:
    main(["--help"])
finally:
    heavy = ("torch", "scipy", "numpy", "pydantic", "matplotlib", "daft", "tokenizers")
    sys.stderr.write(json.dumps([name for name in heavy if name in sys.modules]))
"""


def callbacks():
    commands = app.registered_commands
    return {one.name or one.callback.__name__: one.callback for one in commands}


def test_verbs_are_those_that_work():
    assert known_verbs() == VERBS


def test_options_are_frozen():
    found = {name: set(inspect.signature(f).parameters) for name, f in callbacks().items()}
    assert found == OPTIONS


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_are_short(verb):
    source = inspect.getsource(callbacks()[verb])
    body = source.split("-> None:\n", 1)[1].splitlines()
    assert len(body) <= 30, f"{verb}: parse, call, render"


def test_help_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True)
    assert done.returncode == 0
    assert json.loads(done.stderr) == []
    for verb in VERBS:
        assert verb in done.stdout


def test_help_is_light():
    # What makes it quick; `make bench` measures the seconds.
    code = (
        "import sys; from isoflop.cli.entry import run; code = run(['--help']); "
        "heavy = {'numpy', 'scipy', 'torch', 'matplotlib', 'daft'} & set(sys.modules); "
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_import_is_light():
    code = "import sys, isoflop; sys.exit(int('numpy' in sys.modules or 'scipy' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
