"""Documentation that cannot rot: links, verbs, commands, keys and examples are checked."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from isoflop._types import PROBLEM_CODES
from isoflop.cli.entry import known_verbs, run
from isoflop.specs import read_study
from workers import LONG, MACHINE

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
# Commands that take minutes: .ci/run runs the tests, and the demo on examples/ci.toml.
EXPENSIVE = ("make demo", "make test")


def commands(page):
    blocks = re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line]
    return [line.split("  #")[0].strip() for line in lines]


CHEAP = [(p, c) for p in PAGES for c in commands(p) if c not in EXPENSIVE]


def anchor(heading):
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_are_live(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, part = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target} leads nowhere"
        if part:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.M)
            assert part in map(anchor, headings), f"{page.name}: no heading {target}"


def test_every_verb_is_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for verb in known_verbs():
        assert f"`isoflop {verb}`" in text


def test_no_page_promises_a_verb_that_is_not_there():
    for page in PAGES:
        for verb in re.findall(r"(?<![\w/])isoflop ([a-z]+)\b", code_of(page)):
            assert verb in known_verbs(), f"{page.name}: isoflop {verb}"


def code_of(page):
    """The code of a page: fenced blocks of a shell, and words between backticks."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:console|sh)\n(.*?)^```", text, re.S | re.M)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", text)])


@pytest.mark.parametrize(("page", "command"), CHEAP, ids=lambda v: getattr(v, "name", v))
def test_command_works_when_pasted(page, command, tmp_path, capfd, monkeypatch):
    words = shlex.split(command)
    assert words[0] in ("isoflop", ".venv/bin/isoflop"), f"{page.name}: {command}"
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    code = run(words[1:])
    assert code == 0, capfd.readouterr().err


def test_readme_python_runs(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, re.S | re.M):
        environment = {**os.environ, "PYTHONWARNINGS": "error"}
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr


def test_make_targets_of_the_pages_exist():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for page in PAGES:
        for target in re.findall(r"\bmake ([a-z-]+)", code_of(page)):
            assert target in targets, f"{page.name}: make {target}"


@pytest.mark.parametrize("script", ["formats.py", "pages.py"])
def test_generated_parts_are_up_to_date(script):
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_every_problem_code_is_documented():
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    assert all(f"`{code}`" in text for code in PROBLEM_CODES)


def test_architecture_names_a_file_for_ten_changes():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.split("## Ten changes")[1].split("##")[0]
    files = re.findall(r"\[`(src/[^`]+)`\]", table)
    assert len(files) == 10
    for file in files:
        assert (ROOT / file).is_file(), file


def test_architecture_names_every_room():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = [p.name for p in (ROOT / "src" / "isoflop").iterdir() if (p / "__init__.py").exists()]
    assert all(f"`{room}`" in text for room in rooms), rooms


def test_files_that_workers_treat_apart_exist():
    assert all((ROOT / "tests" / file).is_file() for file in (*MACHINE, *LONG))
    assert not set(MACHINE) & set(LONG)


STUDIES = sorted([*ROOT.glob("examples/*.toml"), *ROOT.glob("examples/*/study.toml")])


@pytest.mark.parametrize("file", STUDIES, ids=lambda p: p.name)
def test_example_studies_are_valid(file):
    read_study(file)
