"""Default calls on published experiments: how far off, and did the 90 % interval hold the truth?

`make bench-accuracy` prints one line an experiment: what was fitted, what was predicted, the score,
the bar it must beat and the coverage of the 90 % intervals for new runs.
"""

import csv
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import isoflop as iso
from isoflop.fitting import score_lr_batch

DATA = Path(os.environ.get("ISOFLOP_DATA", "../shared/data"))

Rows = list[dict[str, str]]

TASKS = (
    "mmlu_avg_test",
    "hellaswag_val",
    "arc_challenge_test",
    "arc_easy_test",
    "piqa_val",
    "csqa_val",
    "socialiqa_val",
    "openbookqa_test",
)
"""The eight tasks of arXiv:2412.04403."""


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
    for experiment in (curves, sardana, olmo_13b, olmo_3b, mixtures, rates, isoflops):
        for score in experiment():
            scores.append(score)
            say(score)
    return int(not all(score.passed for score in scores))


def curves() -> Iterator[Score]:
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
    yield Score(
        name="24 curves",
        metric="mean RMSLE",
        value=float(np.mean(errors)),
        bar=0.036,
        coverage=float(np.mean(inside)),
        n=len(names),
    )


def sardana() -> Iterator[Score]:
    """Over-trained models: fit D/N <= 100, predict up to 10,000 (Chinchilla's form: 5.66 %)."""
    rows = read("beyond_chinchilla_sardana")
    names = {"n_params": "parameters", "n_tokens": "tokens", "loss": "smoothed_loss"}
    few = [row for row in rows if float(row["tokens_per_params"]) <= 100]
    many = [row for row in rows if float(row["tokens_per_params"]) > 100]
    yield relative("Sardana D/N <= 100 -> > 100", few, many, names, bar=5.6)


def olmo_3b() -> Iterator[Score]:
    """OLMo ladder: fit 190M to 1.3B, predict the C4 loss of 3B (Chinchilla's form: 0.67 %)."""
    rows = read("olmo_ladder_final")
    names = {"n_params": "n_params", "n_tokens": "tokens", "loss": "c4_en_ce"}
    small = [row for row in rows if row["paper_role"] == "train"]
    large = [row for row in rows if row["run"].startswith("3B")]
    yield relative("OLMo <= 1.3B -> 3B, C4 loss", small, large, names, bar=0.7)


def olmo_13b() -> Iterator[Score]:
    """OLMo ladder: 190M to 1.3B -> 13B on 5T tokens (published: 6.559 % and 6.04 %)."""
    rows = read("olmo_ladder_final")
    small = [row for row in rows if row["paper_role"] == "train"]
    large = [row for row in rows if row["paper_role"] == "target_13B_5T"]
    goal = columns(large, n_params="n_params", n_tokens="tokens")
    found: dict[str, list[tuple[float, bool]]] = {"bpb": [], "acc": []}
    for task in TASKS:
        loss, accuracy = f"bpb_{task}", f"acc_{task}"
        names = {"n_params": "n_params", "n_tokens": "tokens", loss: loss, accuracy: accuracy}
        joined = iso.fit_task(columns(small, **names), task)
        for kind, name, told in (
            ("bpb", loss, joined.first.predict(goal)),
            ("acc", accuracy, joined.predict(goal)),
        ):
            truth = columns(large, loss=name)["loss"]
            error = abs(float(told.mean[0] / truth[0] - 1))
            found[kind].append((error, covered(told, truth) == 1.0))
    for kind, what, bar in (("bpb", "task bpb", 6.5), ("acc", "chained accuracy", 6.0)):
        yield Score(
            name=f"OLMo <= 1.3B -> 13B-5T, {what}",
            metric="MRE %",
            value=100 * float(np.mean([error for error, _ in found[kind]])),
            bar=bar,
            coverage=float(np.mean([inside for _, inside in found[kind]])),
            n=len(TASKS),
        )


def mixtures() -> Iterator[Score]:
    """ScaleBench mixtures: 20 of 5 domains -> 6 others, 4 sizes; R2 within each target, pooled."""
    rows = read("scalebench_domain_mixture")
    shares = {f"w_{i}": f"proportion_domain_{i}" for i in range(1, 6)}
    error, spread, inside = 0.0, 0.0, []
    for target in range(1, 6):
        truth, told = [], []
        for size in dict.fromkeys(row["group"] for row in rows):
            part = [row for row in rows if row["group"] == size]
            seen = [row for row in part if row["split"] == "train"]
            new = [row for row in part if row["split"] == "test"]
            names = {**shares, "loss": f"loss_domain_{target}"}
            actual = columns(new, loss=names["loss"])["loss"]
            found = iso.fit(columns(seen, **names)).predict(columns(new, **shares))
            truth.append(actual)
            told.append(found.mean)
            inside.append(covered(found, actual))
        actual = np.concatenate(truth)
        error += float(((np.concatenate(told) - actual) ** 2).sum())
        spread += float(((actual - actual.mean()) ** 2).sum())
    yield Score(
        name="ScaleBench mixtures",
        metric="pooled R2",
        value=1 - error / spread,
        bar=0.97,
        coverage=float(np.mean(inside)),
        n=6 * len(inside),
        higher_is_better=True,
    )


def rates() -> Iterator[Score]:
    """ScaleBench lr_bsz: 41 cells -> the one beyond; loss at the predicted (lr, batch)."""
    rows = read("scalebench_lr_bsz")
    names = {
        "n_params": "non_embedding_param_size",
        "n_tokens": "data_size",
        "lr": "lr",
        "batch_tokens": "bsz",
        "loss": "lm_loss",
    }
    seen, new = (
        columns([row for row in rows if row["split"] == split], **names)
        for split in ("train", "test")
    )
    found = iso.fit_lr_batch(seen)
    score = score_lr_batch(found.lr, found.batch_tokens, new)
    yield Score(
        name="lr and batch of an unseen cell",
        metric="loss above the best, %",
        value=100 * float(score.excess.mean()),
        bar=0.09,
        coverage=float(score.inside.mean()),
        n=score.excess.size,
    )


def isoflops() -> Iterator[Score]:
    """Llama 3 isoFLOPs: tokens at 3.8e25 as published (16.1T), and without flagged runs (10T)."""
    rows = [r for r in read("isoflops_openathena") if r["experiment"] == "llama_3__raw_loss"]
    names = {"n_params": "params", "n_tokens": "tokens", "flops": "budget", "loss": "loss"}
    flags = np.array([row["outlier"] for row in rows])
    found = iso.analyse({**columns(rows, **names), "outlier": flags}, budgets=[3.8e25])
    allocation = found.allocation("isoflop")
    if allocation is None:
        sys.exit("error: the Llama 3 runs must have isoFLOP profiles, but none was found.")
    told = {one.what: one for one in allocation.variants}
    (whole,) = (one for one in found.agreement if one.approach == "isoflop")
    for what, truth, bar in (("uncorrected", 1.61e13, 0.2), ("without_flagged", 1e13, 5.0)):
        one = told[what]
        yield Score(
            name=f"Llama 3 isoFLOPs at 3.8e25, {what.replace('_', ' ')}",
            metric=f"D* = {one.d_opt(3.8e25):.3g}, off {truth:.3g} by %",
            value=100 * abs(one.d_opt(3.8e25) / truth - 1),
            bar=bar,
            # Whether the interval from all runs holds what the paper trained for, 16.55T.
            coverage=float(whole.d_opt.low <= 1.655e13 <= whole.d_opt.high),
            n=1,
        )


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
