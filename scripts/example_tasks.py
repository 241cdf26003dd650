"""Write examples/tasks.csv: a ladder with one multiple-choice task, simulated from a stated law.

No model was trained: the rows show what a table for `--task` looks like, and have a known answer.
Bits per byte of the right answer = 0.45 + 60/N^0.30 + 150/D^0.25, times e^(0.005 z); accuracy = the
share of 2,000 questions solved, each with the odds 0.25 + 0.75/(1 + exp(6 (bpb - 0.80))).

Usage: .venv/bin/python scripts/example_tasks.py
"""

import csv
import io
import sys
from pathlib import Path

import numpy as np

from isoflop.laws import find_law

PLACE = Path("examples/tasks.csv")
SEED = 5
LOSS = (0.45, 60.0, 0.30, 150.0, 0.25)
"""E, A, alpha, B, beta of `chinchilla`."""
ACCURACY = (0.25, 6.0, 0.80)
"""floor, k, L0 of `sigmoid_to_one`."""
NOISE, QUESTIONS = 0.005, 2_000
SIZES = (60e6, 100e6, 190e6, 370e6, 760e6, 1.3e9)
RATIOS = (20, 40, 100, 200)
"""Tokens a parameter."""


def table() -> str:
    """The rows as CSV text: run, n_params, n_tokens, bpb_quiz, acc_quiz."""
    n_params, ratio = (grid.ravel() for grid in np.meshgrid(SIZES, RATIOS, indexing="ij"))
    inputs = {"n_params": n_params, "n_tokens": n_params * ratio}
    rng = np.random.default_rng(SEED)
    loss = find_law("chinchilla").predict(np.array(LOSS), inputs)
    loss = loss * np.exp(NOISE * rng.standard_normal(loss.size))
    odds = find_law("sigmoid_to_one").predict(np.array(ACCURACY), {"loss": loss})
    solved = rng.binomial(QUESTIONS, odds) / QUESTIONS
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "n_params", "n_tokens", "bpb_quiz", "acc_quiz"])
    for row in zip(n_params, inputs["n_tokens"], ratio, loss, solved, strict=True):
        size, tokens, per_param, bits, accuracy = (float(value) for value in row)
        name = f"{size / 1e6:.0f}M-{per_param:.0f}x"
        writer.writerow([name, f"{size:.0f}", f"{tokens:.0f}", f"{bits:.4f}", f"{accuracy:.4f}"])
    return text.getvalue()


def main() -> None:
    """Write the file and say where."""
    PLACE.write_text(table(), encoding="utf-8")
    sys.stdout.write(f"wrote {PLACE}\n")


if __name__ == "__main__":
    main()
