"""Hours of published runs: from their throughput, and foretold from what was known before.

`hours_figures()` gives the fractions that `make bench-plan` prints; run alone, this prints every
row. A row's hours are foretold by a prior fitted to the other rows alone, spread included.
"""

import csv
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from statistics import NormalDist

import numpy as np

from isoflop.accounting import (
    MfuPrior,
    RunSetting,
    fit_mfu_prior,
    hours_from_flops_rate,
    hours_from_rate,
)

DATA = Path(os.environ.get("ISOFLOP_DATA", "../shared/data"))

# Published: tokens/s of a device or TFLOP/s of a device, and goodput; "billed" marks a goodput
# that is itself billed over running hours, "derived" hours that look computed from the rate.
# Such rows test arithmetic and the convention of FLOPs, they foretell nothing.
RATES: dict[str, tuple[str, float, float, str]] = {
    "LLaMA-65B": ("tokens", 380.0, 1.0, "derived"),
    "TinyLlama-1.1B": ("tokens", 24_000.0, 1.0, "derived"),
    "SmolLM3-3B": ("tokens", 14_000.0, 1.0, "derived"),
    "DeepSeek-V3": ("tflops", 385.0, 1.0, "derived"),
    "Llama-3.1-405B": ("tflops", 400.0, 0.9, ""),
    "OLMo-3-7B": ("tokens", 7_700.0, 0.91, "billed"),
    "OLMo-3-32B": ("tokens", 1_900.0, 0.77, "billed"),
    "PaLM 540B": ("tokens", 238_300.0 / 6144, 0.66, "billed"),
}

MIXED_HARDWARE = "MPT-30B"  # left out, as SOURCES.md says

Row = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRun:
    """A run with billed hours and known FLOPs."""

    name: str
    org: str
    setting: RunSetting
    mfu: float
    """End to end: exact-causal FLOPs (6·N·D where the shape is not known) over billed hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """One run foretold by the others."""

    run: PublishedRun
    median: float
    low: float
    high: float

    @property
    def hours_error(self) -> float:
        """Foretold over billed hours, less one."""
        return self.run.mfu / self.median - 1.0

    @property
    def covered(self) -> bool:
        """Whether the 90 % interval holds the truth."""
        return self.low <= self.run.mfu <= self.high


def hours_figures() -> dict[str, float]:
    """The largest error given a rate; median error and coverage of 90 % intervals without."""
    foretold = list(leave_one_out(published_runs()))
    return {
        "hours_given_rate_max_err": max(abs(error) for _, _, _, error in given_rate()),
        "hours_med_err": float(np.median([abs(each.hours_error) for each in foretold])),
        "hours_cover90": float(np.mean([each.covered for each in foretold])),
    }


def read(name: str) -> list[Row]:
    """Rows of a given table."""
    path = DATA / f"{name}.csv"
    if not path.is_file():
        sys.exit(f"error: {path} is not there. Set ISOFLOP_DATA to the folder that holds it.")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_rows() -> list[Row]:
    """The rows of training_runs_truth.csv."""
    return read("training_runs_truth")


def given_rate() -> Iterator[tuple[str, float, float, float]]:
    """(name, hours from the published rate, billed hours, relative error) of each listed run."""
    rows = {row["model"]: row for row in read_rows()}
    for name, (unit, rate, goodput, _) in RATES.items():
        row = rows[name]
        if unit == "tokens":
            hours = hours_from_rate(float(row["D_tokens"]), rate, goodput)
        else:
            hours = hours_from_flops_rate(float(row["flops_exact_causal"]), rate, goodput)
        billed = float(row["chip_hours"])
        yield name, hours, billed, hours / billed - 1.0


def published_runs() -> list[PublishedRun]:
    """Every run with billed hours and FLOPs; nothing of its hours enters its setting."""
    runs = []
    for row in read_rows():
        flops = _flops(row)
        if not row["chip_hours"] or flops is None or row["model"] == MIXED_HARDWARE:
            continue
        year, month = (int(part) for part in row["date"].split("-"))
        peak = float(row["peak_bf16_dense_TFLOPs"])
        setting = RunSetting(
            bf16_tflops=peak,
            flops_per_token=flops / float(row["D_tokens"]),
            year=year + (month - 0.5) / 12,
            n_devices=int(row["n_chips"]) if row["n_chips"] else None,
            moe=bool(row["N_active"]),
        )
        mfu = flops / (float(row["chip_hours"]) * 3600 * peak * 1e12)
        runs.append(PublishedRun(name=row["model"], org=row["org"], setting=setting, mfu=mfu))
    return runs


def leave_one_out(runs: list[PublishedRun], *, by_org: bool = False) -> Iterator[Foretold]:
    """Each run foretold by a prior fitted without it, or without all of its organisation's."""
    z = NormalDist().inv_cdf(0.95)
    for run in runs:
        others = [o for o in runs if (o.org != run.org if by_org else o is not run)]
        prior = prior_of(others)
        median, reach = prior.median(run.setting), exp(z * prior.spread_of(run.setting))
        yield Foretold(run=run, median=median, low=median / reach, high=median * reach)


def prior_of(runs: list[PublishedRun]) -> MfuPrior:
    """The prior that these runs support."""
    return fit_mfu_prior([run.setting for run in runs], [run.mfu for run in runs])


def class_medians(runs: list[PublishedRun]) -> Iterator[float]:
    """Errors of hours where only the class's median MFU is used: what the prior must beat."""

    def group(run: PublishedRun) -> tuple[float, ...]:
        return tuple(run.setting.features[:3])

    for run in runs:
        alike = [o.mfu for o in runs if o is not run and group(o) == group(run)]
        yield run.mfu / float(np.median(alike)) - 1.0


def main() -> None:
    """Print every row, then the figures."""
    say("hours from the published rate")
    for name, hours, billed, error in given_rate():
        say(f"  {name:20} {hours:12,.0f} h  billed {billed:12,.0f}  {error:+.4f}  {RATES[name][3]}")
    runs = published_runs()
    foretold = list(leave_one_out(runs))
    say(f"hours foretold, one of {len(runs)} runs left out at a time")
    for each in foretold:
        inside = "" if each.covered else "  outside 90 %"
        say(
            f"  {each.run.name:20} MFU {each.run.mfu:.3f}  foretold {each.median:.3f} "
            f"[{each.low:.3f}, {each.high:.3f}]  hours {each.hours_error:+.2f}{inside}"
        )
    say(f"fitted to all: {prior_of(runs)}")
    say_summary("class medians", list(class_medians(runs)))
    say_summary("one run left out", [each.hours_error for each in foretold])
    by_org = list(leave_one_out(runs, by_org=True))
    say_summary("one organisation left out", [each.hours_error for each in by_org])
    say(f"  coverage {np.mean([each.covered for each in by_org]):.3f}")
    say(" ".join(f"{key}={value:.3f}" for key, value in hours_figures().items()))


def say_summary(name: str, errors: list[float]) -> None:
    """Median absolute error of hours and the root mean square of its logarithm, as a factor."""
    rms = exp(float(np.sqrt(np.mean([log(1.0 + error) ** 2 for error in errors]))))
    say(f"{name}: median error {np.median(np.abs(errors)):.3f}, RMS factor {rms:.3f}")


def say(line: str) -> None:
    """One line on stdout."""
    sys.stdout.write(line + "\n")


def _flops(row: Row) -> float | None:
    text = row["flops_exact_causal"] or row["flops_6ND"] or row["flops_published"]
    return float(text) if text else None


if __name__ == "__main__":
    main()
