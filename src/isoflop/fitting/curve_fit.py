"""`CurveFit`: a law along a run with intervals, and the band that it forecasts for a new run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from isoflop._errors import InputError
from isoflop._types import Array, Interval, Prediction, Problem, as_column
from isoflop.fitting.as_json import to_plain
from isoflop.fitting.certificate import Certificate
from isoflop.fitting.disqualified import raise_disqualifying
from isoflop.laws import Law, LrPath
from isoflop.laws.estimate import NOISE_SAMPLES, NOISE_SEED, SPREAD_FREEDOM, Of

COOLER = 1.5
"""A smooth rate lower than that of any point by this factor is told as an extrapolation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveComponent:
    """The law with one memory of the rate [tokens]: point (P,), draws (B, P) and its share."""

    memory: float
    theta: Array
    draws: Array
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveFit:
    """One law fitted to whole curves, averaged over the memories of the rate that fit them.

    A new run's log loss = log law(theta draw) + noise of sd `sigma`, the same all along the run,
    + `spread` more at the log-compute distance `spread_distance` beyond the points.
    """

    law: Law
    theta: Mapping[str, Interval]
    components: tuple[CurveComponent, ...]
    memory: float
    """Tokens over which the rate is smoothed in the best component."""
    correlation: float
    """Of neighbouring points of a curve about the law."""
    sigma: float
    spread: float
    spread_distance: float
    ranges: Mapping[str, tuple[float, float]]
    """Smallest and largest value at a point: `n_params`, `n_tokens`, their product, `lr_smooth`."""
    peaks: Mapping[float, float]
    """Largest rate of every size in the table's unit: a share of it is what the law sees."""
    certificate: Certificate
    problems: tuple[Problem, ...]
    n_points: int
    n_curves: int
    n_trunks: int
    first_tokens: float
    """Points before this count were left out."""
    n_left_out: int
    level: float

    def predict(
        self,
        path: LrPath | tuple[ArrayLike, ArrayLike],
        n_params: float | None = None,
        *,
        at: ArrayLike | None = None,
        of: Of = "run",
        level: float | None = None,
    ) -> Prediction:
        """Predicted loss [nats/token] along a new run; the last value is its end.

        Args:
            path: the learning rate of the whole run, `(n_tokens, lr)` or an `LrPath`; of a size in
                the table in the table's unit, of a new one in any (its peak is taken to be as well
                chosen as theirs).
            n_params: its size, if the table told sizes.
            at: token counts (G,); where None all of the path's after its warm-up
                from which on the law holds.
            of: "run" for a new run, "mean" for the law.
            level: level of the interval; the fit's own when None.

        Raises:
            InputError: no size where the law needs one, or counts outside the path.
        """
        level = self.level if level is None else level
        if not 0 < level < 1:
            raise InputError(f"`0 < level < 1` must hold, but got level={level}. Use e.g. 0.9.")
        path, size, points = self.resolve(path, n_params, at)
        samples = self._samples(path, size, points, of)
        low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
        mean = self._mean(path, size, points)
        return Prediction(
            mean=mean,
            low=np.minimum(np.exp(low), mean),
            high=np.maximum(np.exp(high), mean),
            level=level,
            problems=self.problems + self._new_problems(path, points, self.distance(size, points)),
        )

    def log_samples(
        self,
        path: LrPath | tuple[ArrayLike, ArrayLike],
        n_params: float | None = None,
        *,
        at: ArrayLike | None = None,
        of: Of = "mean",
    ) -> Array:
        """Equally likely curves of log loss (S, G) along a new run; arguments as `predict`.

        Raises:
            InputError: as `predict`.
        """
        return self._samples(*self.resolve(path, n_params, at), of)

    def resolve(
        self,
        path: LrPath | tuple[ArrayLike, ArrayLike],
        n_params: float | None,
        at: ArrayLike | None,
    ) -> tuple[LrPath, float, Array]:
        """Path in shares of the size's peak, size and token counts, as `predict` takes them.

        Raises:
            InputError: no size where the law needs one, or counts outside the path.
        """
        path = path if isinstance(path, LrPath) else _as_path(path)
        size = self._size(n_params)
        points = _points(path, at, self.first_tokens)
        return path.scaled(self.peaks.get(size, float(path.lr.max()))), size, points

    def raise_for_status(self) -> None:
        """Raise if any problem disqualifies the fit for some use.

        Raises:
            FitError: the first such problem, with its remedy.
        """
        raise_disqualifying(self.problems)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings: everything but the draws."""
        kept = (
            "memory", "correlation", "sigma", "spread", "spread_distance", "ranges", "certificate",
            "n_points", "n_curves", "n_trunks", "first_tokens", "n_left_out", "level", "problems",
        )  # fmt: skip
        weights = [{"memory": c.memory, "weight": c.weight} for c in self.components]
        return {
            "law": self.law.name,
            "formula": self.law.formula,
            "theta": to_plain(dict(self.theta)),
            "memories": to_plain(weights),
            "peaks": [{"n_params": n, "lr": lr} for n, lr in self.peaks.items()],
            **{name: to_plain(getattr(self, name)) for name in kept},
        }

    def distance(self, size: float, at: Array) -> Array:
        """Log distance (G,) beyond the points: of size, tokens or compute, the farthest."""
        values = {"n_tokens": at}
        if "n_params" in self.ranges:
            values |= {"n_params": np.full(at.size, size), "n_params*n_tokens": size * at}
        far = np.zeros(at.size)
        for name, value in values.items():
            low, high = self.ranges[name]
            far = np.maximum(far, np.log(value / high))
            if name == "n_params":
                far = np.maximum(far, np.log(low / value))
        return far

    def _samples(self, path: LrPath, size: float, at: Array, of: Of) -> Array:
        """Log-loss samples (S, G): every component gives as many as its weight says."""
        distance = self.distance(size, at)
        samples = [self._logs(c, path, size, at, distance, of) for c in self.components]
        return np.concatenate(samples)

    def _size(self, n_params: float | None) -> float:
        if "n_params" in self.law.inputs and n_params is None:
            raise InputError(
                f"`n_params` must be given for the law {self.law.name!r}, but got None. Give the "
                f"size of the new run."
            )
        if n_params is not None and not n_params > 0:
            raise InputError(
                f"`n_params > 0` must hold, but got n_params={n_params}. Give a count."
            )
        only = len(self.peaks) == 1
        return next(iter(self.peaks)) if n_params is None and only else float(n_params or 0.0)

    def _columns(
        self, component: CurveComponent, path: LrPath, size: float, at: Array
    ) -> dict[str, Array]:
        columns = {"n_params": np.full(at.size, size), "lr_sum": path.lr_sum(at)}
        if "lr_smooth" in self.law.inputs:
            columns["lr_smooth"] = path.lr_smooth(at, component.memory)
        if "lr_drop" in self.law.inputs:
            columns["lr_drop"] = path.lr_drop(at, component.memory)
        return columns | (path.drops(at) if "drop" in self.law.inputs else {})

    def _mean(self, path: LrPath, size: float, at: Array) -> Array:
        """The law's loss (G,), a geometric mean over the memories."""
        logs = [
            c.weight * np.log(self.law.predict(c.theta, self._columns(c, path, size, at)))
            for c in self.components
        ]
        return np.asarray(np.exp(np.sum(logs, axis=0)))

    def _logs(
        self,
        component: CurveComponent,
        path: LrPath,
        size: float,
        at: Array,
        distance: Array,
        of: Of,
    ) -> Array:
        """Log-loss samples (S, G) of one component, as many as its weight says."""
        columns = self._columns(component, path, size, at)
        logs = np.log(self.law.predict(component.draws, columns))
        count = max(round(NOISE_SAMPLES * component.weight), 1)
        logs = logs[np.arange(count) % len(logs)]
        if of == "run":
            rng = np.random.default_rng([NOISE_SEED, self.components.index(component)])
            heavy = rng.standard_t(SPREAD_FREEDOM, count)[:, None]
            logs = logs + self.sigma * rng.standard_normal(count)[:, None]
            logs = logs + heavy * self.spread * (distance / self.spread_distance)
        return np.asarray(logs)

    def _new_problems(self, path: LrPath, at: Array, distance: Array) -> tuple[Problem, ...]:
        found = []
        ratio = float(np.exp(distance.max(initial=0.0)))
        if ratio > 1 + 1e-9:
            found.append(
                Problem(
                    code="extrapolation",
                    severity="warning" if ratio > 10 else "note",
                    text=f"The prediction reaches {ratio:.3g} times beyond the curves.",
                    remedy="Train a larger pilot, or read the interval, which widens with it.",
                    affects=("forecast",),
                )
            )
        if (at < max(path.warmup_tokens, self.first_tokens)).any():
            found.append(
                Problem(
                    code="early_points",
                    severity="warning",
                    text="Some of it lies in the warm-up or before the law holds.",
                    remedy=f"Ask from {max(path.warmup_tokens, self.first_tokens):.3g} tokens on.",
                    affects=("forecast",),
                )
            )
        return (*found, *self._rate_problems(path, at))

    def _rate_problems(self, path: LrPath, at: Array) -> tuple[Problem, ...]:
        """A rate lower than any seen: disqualifying where no two points differ in it."""
        smooth = path.lr_smooth(at, self.memory)
        low, high = self.ranges["lr_smooth"]
        alike = "one_schedule" in {problem.code for problem in self.problems}
        if smooth.min() * COOLER > low and smooth.max() < high * COOLER:
            return ()
        return (
            Problem(
                code="one_schedule" if alike else "extrapolation",
                severity="disqualifying" if alike else "note",
                text=f"The smooth rate reaches {smooth.min():.2g} of the peak; no curve was seen "
                f"below {low:.2g} or above {high:.2g}.",
                remedy="Cool one pilot down as the new run will be.",
                affects=("forecast",),
            ),
        )


def _as_path(pair: tuple[ArrayLike, ArrayLike]) -> LrPath:
    tokens, lr = (as_column(part) for part in pair)
    if tokens.size and tokens[0] > 0:
        tokens, lr = np.append(0.0, tokens), np.append(lr[:1], lr)
    return LrPath(n_tokens=tokens, lr=lr)


def _points(path: LrPath, at: ArrayLike | None, first_tokens: float) -> Array:
    if at is None:
        begin = max(path.warmup_tokens, first_tokens)
        later = np.unique(path.n_tokens[path.n_tokens > begin])
        return later if later.size else path.n_tokens[-1:]
    points = as_column(at)
    if points.size == 0 or not ((points > 0) & (points <= path.n_tokens[-1] * (1 + 1e-9))).all():
        raise InputError(
            f"`0 < at <= {path.n_tokens[-1]:g}` must hold, but got {points}. Ask within the path."
        )
    return points
