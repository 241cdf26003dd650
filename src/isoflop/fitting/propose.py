"""`propose_mixture`: runs of several mixtures -> the mixture held best, before it is run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop._errors import FitError, InputError
from isoflop._types import LEVEL, Interval, Problem, Table, is_share
from isoflop.fitting.as_json import to_plain
from isoflop.fitting.best_mixture import best_mixture
from isoflop.fitting.fit import fit
from isoflop.fitting.fit_result import Fit
from isoflop.fitting.table import column_names
from isoflop.laws import Law, additive_mixture, exponential_mixing, joint_mixture

SPARE = 3
"""Runs beyond its parameters that a mixture law needs here: a proposal is worth a training."""
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
    best_tried: float
    """The lowest measured loss among the mixtures that were run at (n_params, n_tokens)."""
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
                    "problems": tuple(
                        Problem(**{**one, "affects": tuple(one["affects"])})
                        for one in record["problems"]
                    ),
                }
            )
        except (KeyError, TypeError, AttributeError) as error:
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
    """The shares that a law of mixture, size and tokens holds best at (n_params, n_tokens).

    Laws that the runs suffice for compete by back-test: the additive and the joint law over all
    runs; where they do not suffice, the exponential law over the runs at (n_params, n_tokens).

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
    rows, laws = _laws(table, here, tuple(name[2:] for name in shares))
    fits = {name: fit(rows, target=name, law=list(laws), level=level, seed=seed) for name in counts}
    place = {"n_params": n_params, "n_tokens": n_tokens}
    scaled = "n_params" in laws[0].inputs
    best = best_mixture(
        fits,
        target=counts,
        at=place if scaled else None,
        bounds=_bounds(table, shares, max_shares or {}),
        seed=seed,
    )
    chosen = _tidy({name: one.value for name, one in best.shares.items()})
    measured = sum(count * np.asarray(table[name])[here] for name, count in counts.items())
    top = int(np.argmin(measured))
    problems = [problem for one in fits.values() for problem in one.problems]
    made = MixtureProposal(
        target=counts,
        shares={name: replace(best.shares[name], value=v) for name, v in chosen.items()},
        n_params=float(n_params),
        n_tokens=float(n_tokens),
        loss=_predicted(fits, counts, chosen, place if scaled else {}, level),
        best_tried=float(np.min(measured)),
        best_tried_shares={s[2:]: float(np.asarray(table[s])[here][top]) for s in shares},
        law=", ".join(dict.fromkeys(one.law.name for one in fits.values())),
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


def _laws(
    table: Table, here: NDArray[np.intp], domains: tuple[str, ...]
) -> tuple[Table, tuple[Law, ...]]:
    """The rows to fit and the laws that they suffice for."""
    scaled = (additive_mixture(domains), joint_mixture(domains))
    count = len(np.asarray(table["n_params"]))
    enough = tuple(law for law in scaled if len(law.params) + SPARE <= count)
    several = len(np.unique(np.asarray(table["n_params"]))) > 1
    if enough and several:
        return table, enough
    plain = exponential_mixing(domains)
    if len(plain.params) >= len(here):
        raise FitError(
            f"`runs > {len(plain.params)}` must hold at one size and horizon for "
            f"{plain.name!r}, but there are {len(here)} mixtures. Add arms with other weights."
        )
    return {name: np.asarray(table[name])[here] for name in column_names(table)}, (plain,)


def _tidy(shares: Mapping[str, float]) -> dict[str, float]:
    """Shares without crumbs, adding up to one, in round thousandths as a study states them."""
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
