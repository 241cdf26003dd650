"""Writes the outputs on the pages that show a path step by step: they are what the commands print.

`python scripts/pages.py` rewrites them; `--check` only compares and exits with 1 if one is out of
date. On such a page every block of `sh` or `python` runs, in order, in one new folder that holds
`examples/`; the block of text that follows it holds what it printed, without trailing blanks.
"""

import math
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = tuple(
    ROOT / "docs" / name
    for name in ("accounting.md", "law-card.md", "memory-and-serving.md", "planning.md")
)

_STEP = re.compile(r"^```(sh|python)\n(.*?)^```\n\n^```text\n(.*?)^```\n", re.S | re.M)

ROUNDING = 1e-7
_WORD = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?|\D")


def main() -> int:
    """Rewrite or check the pages; exit code."""
    stale = 0
    for page in PAGES:
        old = page.read_text(encoding="utf-8")
        new = rewritten(old)
        if "--check" in sys.argv and not same(old, new):
            sys.stderr.write(f"{page}: out of date. Run: python scripts/pages.py\n")
            stale = 1
        elif not same(old, new):
            page.write_text(new, encoding="utf-8")
    return stale


def same(one: str, other: str) -> bool:
    """Whether two texts differ in nothing but the last digits of numbers, which processors do."""
    words, others = (_WORD.findall(text) for text in (one, other))
    return len(words) == len(others) and all(map(_alike, words, others))


def _alike(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        numbers = float(one), float(other)
    except ValueError:
        return False
    if min(numbers) > 0 and max(numbers) < ROUNDING:  # a gradient, zero but for rounding
        return True
    return len(one) == len(other) and math.isclose(*numbers, rel_tol=1e-6)


def rewritten(text: str) -> str:
    """`text` with the output of every step made anew."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "examples").symlink_to(ROOT / "examples")

        def step(found: re.Match[str]) -> str:
            language, code = found[1], found[2]
            output = _printed(language, code, folder)
            return f"```{language}\n{code}```\n\n```text\n{output}```\n"

        return _STEP.sub(step, text)


def _printed(language: str, code: str, folder: str) -> str:
    """What one block prints on stdout, a line without trailing blanks after the other."""
    if language == "python":
        commands = [[sys.executable, "-c", code]]
    else:
        commands = [shlex.split(line) for line in code.splitlines()]
    # The code of this checkout, and a fixed width whatever terminal this runs in.
    fixed = {"PYTHONPATH": str(ROOT / "src"), "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **fixed}
    lines: list[str] = []
    for words in commands:
        if words[0] == "isoflop":
            words = [sys.executable, "-m", *words]
        done = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{shlex.join(words)}: exit code {done.returncode}\n{done.stderr}")
        lines += [line.rstrip() for line in done.stdout.splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


if __name__ == "__main__":
    sys.exit(main())
