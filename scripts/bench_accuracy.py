"""Default calls on published experiments: how far off, and did the 90 % interval hold the truth?

`make bench-accuracy` prints one line an experiment: what was fitted, what was predicted, the score,
the bar it must beat and the coverage of the 90 % intervals for new runs.
"""

import csv
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import isoflop as iso

DATA = Path(os.environ.get("ISOFLOP_DATA", "../shared/data"))

Rows = list[dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One experiment: `value` must be at most (or, for R2, at least) `bar`."""

    name: str
    metric: str
    value: float
    bar: float
    coverage: float
    n: int
    higher_is_better: bool = False

    @property
    def passed(self) -> bool:
        """Whether the bar is met."""
        return self.value >= self.bar if self.higher_is_better else self.value <= self.bar


def main() -> int:
    """Print every score; exit with 1 when one misses its bar."""
    scores = []
    for experiment in (curves, sardana, olmo_3b):
        scores.append(experiment())
        say(scores[-1])
    return int(not all(score.passed for score in scores))


def curves() -> Score:
    """24 learning curves of vision models: fit `is_train`, predict the rest (M4: 0.0406)."""
    table = read("revisiting_curves_24")
    names = list(dict.fromkeys((row["task"], row["model"]) for row in table))
    errors, inside = [], []
    for name in names:
        rows = [row for row in table if (row["task"], row["model"]) == name]
        # A repeated x keeps its last row.
        last = list({float(row["seen_examples"]): row for row in rows}.values())
        seen = columns([r for r in last if r["is_train"] == "1"], x="seen_examples", loss="loss")
        new = columns([r for r in last if r["is_train"] == "0"], x="seen_examples", loss="loss")
        found = iso.fit(seen).predict({"x": new["x"]})
        errors.append(float(np.sqrt((np.log(found.mean / new["loss"]) ** 2).mean())))
        inside.append(float(covered(found, new["loss"])))
    return Score(
        name="24 curves",
        metric="mean RMSLE",
        value=float(np.mean(errors)),
        bar=0.036,
        coverage=float(np.mean(inside)),
        n=len(names),
    )


def sardana() -> Score:
    """Over-trained models: fit D/N <= 100, predict up to 10,000 (Chinchilla's form: 5.66 %)."""
    rows = read("beyond_chinchilla_sardana")
    names = {"n_params": "parameters", "n_tokens": "tokens", "loss": "smoothed_loss"}
    few = [row for row in rows if float(row["tokens_per_params"]) <= 100]
    many = [row for row in rows if float(row["tokens_per_params"]) > 100]
    return relative("Sardana D/N <= 100 -> > 100", few, many, names, bar=5.6)


def olmo_3b() -> Score:
    """OLMo ladder: fit 190M to 1.3B, predict the C4 loss of 3B (Chinchilla's form: 0.67 %)."""
    rows = read("olmo_ladder_final")
    names = {"n_params": "n_params", "n_tokens": "tokens", "loss": "c4_en_ce"}
    small = [row for row in rows if row["paper_role"] == "train"]
    large = [row for row in rows if row["run"].startswith("3B")]
    return relative("OLMo <= 1.3B -> 3B, C4 loss", small, large, names, bar=0.7)


def relative(name: str, seen: Rows, new: Rows, names: Mapping[str, str], bar: float) -> Score:
    """Mean relative error [%] of a default fit of (N, D) on rows that it has not seen."""
    truth = columns(new, **names)
    found = iso.fit(columns(seen, **names)).predict(
        {"n_params": truth["n_params"], "n_tokens": truth["n_tokens"]}
    )
    return Score(
        name=name,
        metric="MRE %",
        value=100 * float(np.abs(found.mean / truth["loss"] - 1).mean()),
        bar=bar,
        coverage=covered(found, truth["loss"]),
        n=len(new),
    )


def covered(found: iso.Prediction, truth: np.ndarray) -> float:
    """Share of the truth inside the interval."""
    return float(((found.low <= truth) & (truth <= found.high)).mean())


def read(name: str) -> Rows:
    """The rows of a published experiment.

    Raises:
        SystemExit: it is not there.
    """
    path = DATA / f"{name}.csv"
    if not path.is_file():
        sys.exit(f"error: {path} is not there. Set ISOFLOP_DATA to the folder that holds it.")
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def columns(rows: Iterable[Mapping[str, str]], **names: str) -> dict[str, np.ndarray]:
    """The named columns as arrays: `loss="c4_en_ce"` reads c4_en_ce as the loss."""
    listed = list(rows)
    return {ours: np.array([float(row[name]) for row in listed]) for ours, name in names.items()}


def say(score: Score) -> None:
    """One line on stdout."""
    sign = ">=" if score.higher_is_better else "<="
    sys.stdout.write(
        f"{score.name}: {score.metric} {score.value:.4g} (must be {sign} {score.bar:g}: "
        f"{'ok' if score.passed else 'MISSED'}), 90 % intervals cover {score.coverage:.0%} "
        f"of {score.n}\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
