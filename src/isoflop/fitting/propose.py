"""`propose_mixture`: runs of several mixtures -> the mixture held best, before it is run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from isoflop._errors import FitError, InputError
from isoflop._types import LEVEL, Interval, Problem, Table, is_share
from isoflop.fitting.as_json import read_problem, to_plain
from isoflop.fitting.backtest import FEW
from isoflop.fitting.best_mixture import best_mixture
from isoflop.fitting.fit import fit
from isoflop.fitting.fit_result import Fit
from isoflop.fitting.one_law import fit_law
from isoflop.fitting.table import column_names, read_table
from isoflop.laws import Law, additive_mixture, exponential_mixing, joint_mixture

LEAST_SHARE = 1e-4
"""Shares below are left out of a proposal: a ten-thousandth of the tokens teaches nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureProposal:
    """The shares with the lowest predicted loss; `sha256` covers every other field."""

    target: Mapping[str, float]
    """How much each loss column counts."""
    shares: Mapping[str, Interval]
    n_params: float
    n_tokens: float
    loss: Interval
    """Predicted for a new run with these shares at (n_params, n_tokens)."""
    left_out_error: float | None
    """Rms error of log loss of mixtures that were left out and forecast; None where none could."""
    best_tried: float
    """The lowest measured loss of the runs at (n_params, n_tokens) whose mixture keeps the limits;
    of all of them where none does."""
    best_tried_shares: Mapping[str, float]
    law: str
    problems: tuple[Problem, ...]
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings; `from_json` reads them back."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> "MixtureProposal":
        """Read a proposal back and check its hash.

        Raises:
            InputError: a field is missing, or the record was changed after it was hashed.
        """
        try:
            made = MixtureProposal(
                **{
                    **record,
                    "shares": {name: Interval(**one) for name, one in record["shares"].items()},
                    "loss": Interval(**record["loss"]),
                    "problems": tuple(map(read_problem, record["problems"])),
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"A proposal must have all its fields, but {error} is wrong. Make it again."
            ) from error
        if _hash(made) != made.sha256:
            raise InputError("The proposal was changed after it was made. Make it again.")
        return made


def propose_mixture(
    table: Table,
    *,
    target: str | Mapping[str, float],
    n_params: float,
    n_tokens: float,
    max_shares: Mapping[str, float] | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> MixtureProposal:
    """The shares that a mixture law holds best at (n_params, n_tokens), and the loss expected.

    Laws compete by leaving each mixture out and forecasting its run at (n_params, n_tokens): the
    exponential law of the runs there, the additive and the joint law of all runs, as far as the
    runs suffice. What the winner's forecasts missed by widens the interval.

    Args:
        table: final points with columns `n_params`, `n_tokens`, `w_<domain>` and the targets.
        target: the column whose loss is to be lowest; or several with how much each counts.
        n_params: size of the run [parameters].
        n_tokens: its tokens.
        max_shares: highest shares by domain, e.g. what its tokens last for.
        level: level of every interval.
        seed: the same seed gives the same numbers.

    Raises:
        FitError: a column is missing, or too few runs for any mixture law.
        InputError: no run at (n_params, n_tokens), or as `best_mixture`.

    Source: Ye et al. 2024, arXiv:2403.16952; Shukor et al. 2025, arXiv:2507.09404.
    """
    counts = {target: 1.0} if isinstance(target, str) else dict(target)
    total = sum(counts.values())
    counts = {name: count / total for name, count in counts.items()}
    shares = [name for name in column_names(table) if is_share(name)]
    here = _at(table, n_params, n_tokens)
    place = {"n_params": n_params, "n_tokens": n_tokens}
    won, missed = _contest(table, here, shares, counts)
    fits = {
        name: fit(won.rows, target=name, law=won.law, level=level, seed=seed) for name in counts
    }
    at = {name: place[name] for name in won.law.inputs if name in place}
    best = best_mixture(
        fits, target=counts, at=at, bounds=_bounds(table, shares, max_shares or {}), seed=seed
    )
    chosen = _tidy({name: one.value for name, one in best.shares.items()})
    measured = sum(count * np.asarray(table[name])[here] for name, count in counts.items())
    measured = np.where(_allowed(table, here, max_shares or {}), measured, np.inf)
    top = int(np.argmin(measured))
    problems = [problem for one in fits.values() for problem in one.problems]
    if missed is None:
        problems.append(_untested(won.law.name))
    made = MixtureProposal(
        target=counts,
        shares={name: replace(best.shares[name], value=v) for name, v in chosen.items()},
        n_params=float(n_params),
        n_tokens=float(n_tokens),
        loss=_widened(_predicted(fits, counts, chosen, at, level), missed),
        left_out_error=missed,
        best_tried=float(np.min(measured)),
        best_tried_shares={s[2:]: float(np.asarray(table[s])[here][top]) for s in shares},
        law=won.law.name,
        problems=tuple(dict.fromkeys([*problems, *best.problems])),
        sha256="",
    )
    return replace(made, sha256=_hash(made))


def _at(table: Table, n_params: float, n_tokens: float) -> NDArray[np.intp]:
    """Rows at one size and horizon."""
    near = [
        np.isclose(np.asarray(table[name], dtype=np.float64), value, rtol=0.01)
        for name, value in (("n_params", n_params), ("n_tokens", n_tokens))
    ]
    rows = np.flatnonzero(near[0] & near[1])
    if not len(rows):
        raise InputError(
            f"a mixture was asked for at N = {n_params:g} and D = {n_tokens:g}, where no run of "
            "the table is. Name a size and tokens of the ladder."
        )
    return rows


def _allowed(
    table: Table, here: NDArray[np.intp], limits: Mapping[str, float]
) -> NDArray[np.bool_]:
    """Which of the runs keep the limits; all where none does."""
    keeps = np.ones(len(here), dtype=np.bool_)
    for name, limit in limits.items():
        keeps &= np.asarray(table[f"w_{name}"])[here] <= limit + 1e-9
    return keeps if keeps.any() else ~keeps


def _bounds(
    table: Table, shares: list[str], limits: Mapping[str, float]
) -> dict[str, tuple[float, float]]:
    """Shares from the lowest to the highest that were run, within the limits."""
    bounds = {}
    for name in shares:
        column = np.asarray(table[name], dtype=np.float64)
        high = min(float(column.max()), limits.get(name[2:], 1.0))
        bounds[name[2:]] = (min(float(column.min()), high), high)
    return bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A law and the rows that it is fitted to."""

    law: Law
    rows: Table

    def without(self, mixture: NDArray[np.float64], shares: list[str]) -> "_Candidate":
        """The same without the runs of one mixture."""
        own = np.stack([np.asarray(self.rows[name]) for name in shares], axis=1)
        stay = ~np.isclose(own, mixture, atol=1e-9).all(axis=1)
        rows = {name: np.asarray(self.rows[name])[stay] for name in column_names(self.rows)}
        return replace(self, rows=rows)

    @property
    def n_runs(self) -> int:
        return len(np.asarray(self.rows["n_params"]))


def _contest(
    table: Table,
    here: NDArray[np.intp],
    shares: list[str],
    counts: Mapping[str, float],
) -> tuple[_Candidate, float | None]:
    """The law that forecasts left-out mixtures best, and its rms error of log loss."""
    domains = tuple(name[2:] for name in shares)
    cell = {name: np.asarray(table[name])[here] for name in column_names(table)}
    mixtures = np.unique(np.stack([cell[name] for name in shares], axis=1), axis=0)
    candidates = [_Candidate(law=exponential_mixing(domains), rows=cell)]
    if len(np.unique(np.asarray(table["n_params"]))) > 1:
        candidates += [
            _Candidate(law=law(domains), rows=table) for law in (additive_mixture, joint_mixture)
        ]
    able = [one for one in candidates if len(one.law.params) < one.n_runs]
    if not able:
        raise FitError(
            f"`runs > {len(candidates[0].law.params)}` must hold at one size and horizon for a "
            f"law of {len(domains)} domains, but there are {len(here)} runs of {len(mixtures)} "
            "mixtures. Add arms with other weights."
        )
    scored = []
    for one in able:
        left = [one.without(mixture, shares) for mixture in mixtures]
        if all(len(part.law.params) < part.n_runs for part in left):
            errors = [
                _miss(part, cell, m, shares, counts) for part, m in zip(left, mixtures, strict=True)
            ]
            scored.append((float(np.sqrt(np.mean(np.square(errors)))), one))
    if not scored:
        return able[0], None
    missed, won = min(scored, key=lambda pair: pair[0])
    return won, missed


def _miss(
    part: _Candidate,
    cell: Table,
    mixture: NDArray[np.float64],
    shares: list[str],
    counts: Mapping[str, float],
) -> float:
    """Log of measured over forecast loss of the mixture that was left out."""
    own = np.stack([np.asarray(cell[name]) for name in shares], axis=1)
    rows = np.flatnonzero(np.isclose(own, mixture, atol=1e-9).all(axis=1))
    inputs = {name: np.asarray(cell[name], dtype=np.float64)[rows] for name in part.law.inputs}
    measured = forecast = np.zeros(len(rows))
    for name, count in counts.items():
        # The optimum alone is asked, of a part of the runs: as in a back-test.
        fitted = fit_law(read_table(part.rows, name, part.law.inputs), part.law, few=FEW)
        forecast = forecast + count * part.law.predict(fitted.theta, inputs)
        measured = measured + count * np.asarray(cell[name])[rows]
    return float(np.mean(np.log(measured / forecast)))


def _untested(law: str) -> Problem:
    return Problem(
        code="no_backtest",
        severity="warning",
        text=f"Too few mixtures to leave one out and forecast it: the interval assumes {law}.",
        remedy="Add arms with other weights, or read the proposal as a guess.",
    )


def _widened(loss: Interval, missed: float | None) -> Interval:
    """The interval with what forecasts of left-out mixtures missed by, as a further spread."""
    z = float(ndtri((1 + loss.level) / 2))
    extra = z * (missed or 0.0) * loss.value
    return replace(
        loss,
        low=loss.value - float(np.hypot(loss.value - loss.low, extra)),
        high=loss.value + float(np.hypot(loss.high - loss.value, extra)),
    )


def _tidy(shares: Mapping[str, float]) -> dict[str, float]:
    """Shares without crumbs, adding up to one, in round ten-thousandths."""
    kept = {name: max(0.0, round(value, 4)) for name, value in shares.items()}
    kept = {name: value if value >= LEAST_SHARE else 0.0 for name, value in kept.items()}
    total = sum(kept.values())
    return {name: value / total for name, value in kept.items()}


def _predicted(
    fits: Mapping[str, Fit],
    counts: Mapping[str, float],
    shares: Mapping[str, float],
    place: Mapping[str, float],
    level: float,
) -> Interval:
    """The weighted prediction; of several targets the widths add up, as if they erred together."""
    inputs = {f"w_{name}": [value] for name, value in shares.items()}
    inputs |= {name: [value] for name, value in place.items()}
    ends = np.zeros(3)
    for name, one in fits.items():
        found = one.predict(inputs, level=level)
        ends += counts[name] * np.array([found.mean[0], found.low[0], found.high[0]])
    return Interval(value=float(ends[0]), low=float(ends[1]), high=float(ends[2]), level=level)


def _hash(made: MixtureProposal) -> str:
    plain = {**to_plain(made), "sha256": ""}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
