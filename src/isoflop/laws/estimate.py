"""`Estimate`: what planning consumes - weighted laws with draws, noise, ranges and problems."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from isoflop._errors import InputError
from isoflop._types import (
    LEVEL,
    SHARE_SUM,
    Array,
    Prediction,
    Problem,
    as_column,
    is_share,
)
from isoflop.laws._law import Law

NOISE_SAMPLES = 4000
"""Draws of the noise, at least: each draw of the parameters meets several (steady quantiles)."""

NOISE_SEED = 20_240_000

SPREAD_FREEDOM = 5
"""Degrees of freedom of the back-test spread: it is measured on a handful of trunks, so the
extra error of a new run is Student-t, not normal."""

SHARE_ROOM = 0.02
"""How far a share may lie outside those that were run before a prediction notes it."""

Of = Literal["run", "mean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One law of a mixture: point `theta` (P,), `draws` (B, P) and its share `weight`."""

    law: Law
    theta: Array
    draws: Array
    weight: float = 1.0

    def __post_init__(self) -> None:
        assert self.theta.shape == (len(self.law.params),)
        assert self.draws.ndim == 2
        assert self.draws.shape[1] == self.theta.size
        assert 0 <= self.weight <= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Weighted laws with their uncertainty: all that planning needs to know about the runs.

    A new run's log loss = log law(theta draw) + noise, where noise has the sd `sigma` (run to
    run) and, beyond the fitted range, `spread` more: the back-test's unexplained error at the
    log-compute distance `spread_distance`, growing linearly with that distance.
    """

    components: tuple[Component, ...]
    problems: tuple[Problem, ...] = ()
    source: str = ""
    n_params_convention: str = "unknown"
    flops_convention: str = "unknown"
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Smallest and largest value of every input; `n_params*n_tokens` for their product."""
    sigma: float = 0.0
    spread: float = 0.0
    spread_distance: float = 1.0
    target: str = "loss"
    level: float = LEVEL
    data_sha256: str = ""
    """Fingerprint of the fitted rows; empty for published constants."""

    def __post_init__(self) -> None:
        assert self.components
        assert abs(sum(c.weight for c in self.components) - 1) < 1e-9
        assert min(self.sigma, self.spread) >= 0
        assert self.spread_distance > 0

    @property
    def best(self) -> Component:
        """The component with the largest weight (the first of equals)."""
        return max(self.components, key=lambda component: component.weight)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input columns that `predict` reads."""
        return tuple(dict.fromkeys(name for c in self.components for name in c.law.inputs))

    @property
    def needed(self) -> tuple[str, ...]:
        """Those that `predict` cannot do without."""
        return tuple(dict.fromkeys(name for c in self.components for name in c.law.needed))

    def predict(
        self, inputs: Mapping[str, ArrayLike], of: Of = "run", level: float | None = None
    ) -> Prediction:
        """Predicted loss [unit of the target] with an interval.

        Args:
            inputs: columns of equal length (G,), e.g. `{"n_params": [7e10], "n_tokens": [1e12]}`;
                without `n_unique_tokens` all tokens are new.
            of: "run" for a new run (noise and back-test spread included), "mean" for the law.
            level: level of the interval; the estimate's own when None.

        Raises:
            InputError: a column is missing, not positive, or of another length.
        """
        columns = check_inputs(inputs, self._asked(inputs))
        level = self.level if level is None else level
        if not 0 < level < 1:
            raise InputError(f"`0 < level < 1` must hold, but got level={level}. Use e.g. 0.9.")
        distance = self.distance(columns)
        log_mean = sum(c.weight * np.log(c.law.predict(c.theta, columns)) for c in self.components)
        samples, weights = self._samples(columns, distance, of)
        low = weighted_quantile(samples, weights, (1 - level) / 2)
        high = weighted_quantile(samples, weights, (1 + level) / 2)
        mean = np.exp(log_mean)
        return Prediction(
            mean=mean,
            low=np.minimum(np.exp(low), mean),
            high=np.maximum(np.exp(high), mean),
            level=level,
            problems=self.problems + self._extrapolation(distance) + self._new_shares(columns),
        )

    def sample(
        self, inputs: Mapping[str, ArrayLike], size: int, of: Of = "run", seed: int = 0
    ) -> Array:
        """Equally likely values (size, G) of the target: what a further step propagates.

        Args:
            inputs: columns of equal length (G,).
            size: how many values.
            of: as in `predict`.
            seed: the same seed gives the same numbers.

        Raises:
            InputError: as `predict`.
        """
        columns = check_inputs(inputs, self._asked(inputs))
        logs, weights = self._samples(columns, self.distance(columns), of)
        rng = np.random.default_rng([NOISE_SEED, seed])
        return np.asarray(np.exp(logs[rng.choice(len(logs), size, p=weights / weights.sum())]))

    def _asked(self, inputs: Mapping[str, ArrayLike]) -> tuple[str, ...]:
        """The columns to read: those that may be left out only where they are given."""
        return tuple(name for name in self.inputs if name in self.needed or name in inputs)

    def distance(self, columns: Mapping[str, Array]) -> Array:
        """Log distance (G,) beyond the fitted ranges: 0 inside, ln 4 at 4 times the edge.

        Compute (the product N D) and each single input are measured; the farthest counts. Shares
        of a mixture have no such distance; see `predict`, which notes those never run.
        """
        far = np.zeros(next(iter(columns.values())).shape)
        values = dict(columns)
        if "n_params" in values and "n_tokens" in values:
            values["n_params*n_tokens"] = values["n_params"] * values["n_tokens"]
        for name, (low, high) in self.ranges.items():
            if name in values and not is_share(name):
                far = np.maximum(far, np.log(values[name] / high))
                far = np.maximum(far, np.log(low / values[name]))
        return far

    def _samples(
        self, columns: Mapping[str, Array], distance: Array, of: Of
    ) -> tuple[Array, Array]:
        """Log-loss samples (S, G) and their weights (S,) over draws, laws and noise."""
        samples, weights = [], []
        for number, component in enumerate(self.components):
            if component.weight == 0:
                continue
            logs = np.log(component.law.predict(component.draws, columns))
            if of == "run":
                logs = np.concatenate([logs] * -(-NOISE_SAMPLES // len(logs)))
                normal, heavy = _noise(len(logs), number)
                logs = logs + self.sigma * normal[:, None]
                logs = logs + heavy[:, None] * self.spread * (distance / self.spread_distance)
            samples.append(logs)
            weights.append(np.full(len(logs), component.weight / len(logs)))
        return np.concatenate(samples), np.concatenate(weights)

    def _new_shares(self, columns: Mapping[str, Array]) -> tuple[Problem, ...]:
        """A note where a domain's share lies outside those that were run, by 0.02 or more."""
        new = [
            name
            for name, (low, high) in self.ranges.items()
            if is_share(name)
            and name in columns
            and (columns[name].max() > high + SHARE_ROOM or columns[name].min() < low - SHARE_ROOM)
        ]
        if not new:
            return ()
        return (
            Problem(
                code="extrapolation",
                severity="note",
                text=f"No run had such shares: {', '.join(new)}.",
                remedy="Train a pilot on that mixture, or stay among the mixtures that were run.",
                affects=("forecast",),
            ),
        )

    def _extrapolation(self, distance: Array) -> tuple[Problem, ...]:
        ratio = float(np.exp(distance.max(initial=0.0)))
        if ratio <= 1.0 + 1e-9:
            return ()
        return (
            Problem(
                code="extrapolation",
                severity="warning" if ratio > 10 else "note",
                text=f"The prediction reaches {ratio:.3g} times beyond the range of the runs.",
                remedy="Train a larger pilot, or read the interval, which widens with distance.",
            ),
        )


def check_inputs(inputs: Mapping[str, ArrayLike], names: tuple[str, ...]) -> dict[str, Array]:
    """The named columns, broadcast to one length (G,); shares `w_<domain>` may be zero.

    Raises:
        InputError: a column is missing, empty, not positive and finite, or of another length;
            or the shares do not add up to one.
    """
    columns = {}
    for name in names:
        if name not in inputs:
            raise InputError(
                f"The column {name!r} must be given, but got {sorted(inputs)}. Add it."
            )
        column = as_column(inputs[name])
        if column.ndim != 1 or column.size == 0:
            raise InputError(
                f"{name!r} must be a non-empty 1-D column, but got shape {column.shape}. "
                f"Give one number a run."
            )
        sign, right = (">=", column >= 0) if is_share(name) else (">", column > 0)
        bad = ~(np.isfinite(column) & right)
        if bad.any():
            row = int(np.argmax(bad))
            raise InputError(
                f"`{name} {sign} 0` must hold, but got {name}={column[row]} in row {row}. "
                f"Correct it."
            )
        columns[name] = column
    sizes = {name: column.size for name, column in columns.items()}
    if len(set(sizes.values()) - {1}) > 1:
        raise InputError(f"All columns must be equally long, but got {sizes}. Pad none of them.")
    length = max(sizes.values())
    _check_shares({name: column for name, column in columns.items() if is_share(name)})
    return {name: np.broadcast_to(column, (length,)) for name, column in columns.items()}


def _check_shares(shares: Mapping[str, Array]) -> None:
    if len(shares) < 2:
        return
    total = np.atleast_1d(sum(shares.values()))
    bad = np.abs(total - 1) > SHARE_SUM
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"`{' + '.join(shares)} = 1` must hold, but got {total[row]:.6g} in row {row}. "
            f"Give the share of every domain."
        )


@lru_cache(maxsize=64)
def _noise(size: int, stream: int) -> tuple[Array, Array]:
    """Fixed standard-normal and unit-scale Student-t deviates, the same at every target.

    Common random numbers: the interval is a smooth function of the inputs, and the same every
    time it is asked for.
    """
    rng = np.random.default_rng([NOISE_SEED, stream])
    normal = rng.standard_normal(size)
    heavy = rng.standard_t(SPREAD_FREEDOM, size)
    return normal, heavy


def weighted_quantile(samples: Array, weights: Array, level: float) -> Array:
    """Quantile (G,) of weighted samples (S, G), linear between the mid-points of the steps."""
    if np.ptp(weights) == 0:
        return np.asarray(np.quantile(samples, level, axis=0), dtype=np.float64)
    order = np.argsort(samples, axis=0)
    ranked = np.take_along_axis(samples, order, axis=0)
    mass = weights[order]
    middle = np.cumsum(mass, axis=0) - mass / 2
    return np.array([np.interp(level, middle[:, g], ranked[:, g]) for g in range(samples.shape[1])])
