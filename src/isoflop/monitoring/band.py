"""`Band`: the forecast of a whole curve under its schedule, made before the run and then frozen.

The log loss of a healthy run at token counts t is the forecast, plus `modes` times independent
deviates (the law's own uncertainty along the run), plus `CurveNoise`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular
from scipy.special import stdtrit

from isoflop._errors import InputError
from isoflop._types import LEVEL, Array, Interval, Prediction, Problem
from isoflop.fitting import CurveFit
from isoflop.fitting.as_json import read_problem, to_plain
from isoflop.laws import CURVE_LAWS, LrPath, Published
from isoflop.monitoring.ahead import Ahead
from isoflop.monitoring.noise import CurveNoise

GRID = 160
"""Token counts at which a forecast is kept, beside those where its schedule bends."""

LEAST_MODE = 1e-3
"""Modes of the law's uncertainty that hold less of its variance are left out."""

STATED_NOISE = CurveNoise(
    offset=0.10, smooth=0.005, length=1.0, drift=0.003, memory=0.01, white=0.002, freedom=4.0
)
"""ASSUMPTION: for published constants. Another corpus and tokenizer shift a whole curve by 10 % or
so; a few tenths of a per cent of wander is what our own and published curves show about their laws.
`memory` is in shares of the run here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The forecast curve of one run at (G,) token counts, ascending; the last is its end."""

    n_params: float
    n_tokens: Array
    log_loss: Array
    modes: Array
    """(K, G): the forecast's own uncertainty, one independent deviate a row."""
    lr_share: Array
    """Planned learning rate as a share of its peak (G,)."""
    lr: float
    """Planned peak [as the run logs it]."""
    noise: CurveNoise
    law: str
    theta: Mapping[str, float]
    source: str
    """What the law was fitted to, or who published it."""
    problems: tuple[Problem, ...] = ()
    ahead: Ahead | None = None
    """What lies beyond the end; None where the run cannot go on, or nobody asked."""

    def __post_init__(self) -> None:
        assert self.n_tokens.shape == self.log_loss.shape == self.lr_share.shape
        assert self.modes.ndim == 2
        assert self.modes.shape[1] == self.n_tokens.size
        assert (np.diff(self.n_tokens) > 0).all()

    @property
    def end(self) -> float:
        """Tokens at which the planned schedule is complete."""
        return float(self.n_tokens[-1])

    @property
    def first(self) -> float:
        """Tokens from which on the forecast holds: earlier points are not judged."""
        return float(self.n_tokens[0])

    def mean(self, at: Array) -> Array:
        """Forecast log loss (R,)."""
        return np.asarray(np.interp(np.log(at), np.log(self.n_tokens), self.log_loss))

    def rate(self, at: Array) -> Array:
        """Planned learning rate (R,)."""
        return self.lr * np.asarray(np.interp(at, self.n_tokens, self.lr_share))

    def covariance(self, at: Array, counts: Array | None = None) -> Array:
        """Covariance (R, R) of a healthy run's log loss at token counts, up to the t's scale."""
        log_t = np.log(self.n_tokens)
        modes = np.array([np.interp(np.log(at), log_t, row) for row in self.modes])
        modes = modes.reshape(-1, at.size)
        return np.asarray(modes.T @ modes + self.noise.covariance(at, counts))

    def predict(self, at: Array | None = None, level: float = LEVEL) -> Prediction:
        """The band [nats/token] before anything was measured, at the grid or at (R,) tokens."""
        at = self.n_tokens if at is None else at
        reach = stdtrit(self.noise.freedom, (1 + level) / 2)
        sd = np.sqrt(np.diag(self.covariance(at)))
        mean = self.mean(at)
        low, high = np.exp(mean - reach * sd), np.exp(mean + reach * sd)
        return Prediction(
            mean=np.exp(mean), low=low, high=high, level=level, problems=self.problems
        )

    def final(self, seen: "Seen", level: float = LEVEL) -> Interval:
        """The final loss [nats/token], given the curve so far: as it narrows.

        Normal regression of the end's deviation on those seen, with the scale of the noise learned
        along the way (Student-t with more degrees of freedom as points come in).
        """
        at = np.append(seen.n_tokens, self.end)
        counts = np.append(seen.counts, 1.0)
        all_of_it = self.covariance(at, counts)
        own, cross, last = all_of_it[:-1, :-1], all_of_it[:-1, -1], float(all_of_it[-1, -1])
        mean, freedom, scale = float(self.mean(at[-1:])[0]), self.noise.freedom, 1.0
        n = seen.n_tokens.size
        if n:
            factor = cho_factor(own, lower=True)
            off = seen.log_loss - self.mean(seen.n_tokens)
            weights = cho_solve(factor, cross)
            mean += float(weights @ off)
            last -= float(weights @ cross)
            scale = (freedom + float(off @ cho_solve(factor, off))) / (freedom + n)
        reach = float(stdtrit(freedom + n, (1 + level) / 2)) * np.sqrt(max(last, 0.0) * scale)
        value, low, high = np.exp([mean, mean - reach, mean + reach]).tolist()
        return Interval(value=value, low=low, high=high, level=level)

    def innovations(self, seen: "Seen") -> tuple[Array, Array]:
        """What each point adds that its past did not foretell, whitened (R,), and the factor."""
        factor = cholesky(self.covariance(seen.n_tokens, seen.counts), lower=True)
        off = seen.log_loss - self.mean(seen.n_tokens)
        return np.asarray(solve_triangular(factor, off, lower=True)), np.asarray(factor)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings; `from_json` reads them back."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @staticmethod
    def from_json(data: Any) -> "Band":
        """The band that `to_json` wrote.

        Raises:
            InputError: a field is missing or wrong.
        """
        try:
            columns = ("n_tokens", "log_loss", "modes", "lr_share")
            made = {name: np.array(data[name], dtype=np.float64) for name in columns}
            made["modes"] = made["modes"].reshape(-1, made["n_tokens"].size)
            return Band(
                **made,
                n_params=float(data["n_params"]),
                lr=float(data["lr"]),
                noise=CurveNoise(**{one.name: float(data["noise"][one.name])
                                    for one in fields(CurveNoise)}),
                law=str(data["law"]),
                theta={str(name): float(value) for name, value in data["theta"].items()},
                source=str(data["source"]),
                problems=tuple(map(read_problem, data["problems"])),
                ahead=None if data["ahead"] is None else Ahead.from_json(data["ahead"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
            raise InputError(
                f"A forecast must have all its fields, but {error!r}. Delete it to make it again."
            ) from error


class Seen(NamedTuple):
    """The points of a run that are judged: tokens, log loss, evaluations behind each (R,)."""

    n_tokens: Array
    log_loss: Array
    counts: Array


def forecast_band(
    fit: CurveFit, path: LrPath, n_params: float, noise: CurveNoise, *, source: str
) -> Band:
    """The forecast of a run of size N [parameters] whose learning rate is `path`, to its end.

    Args:
        fit: whole curves of the pilots; the run's size need not be among theirs.
        path: the planned rate, in the pilots' unit if the size is theirs, else in any.
        n_params: counted as the pilots' sizes are.
        noise: of `calibrate_noise`.
        source: what the fit was made from, for the record.

    Raises:
        InputError: the path ends before the law holds, or the size is no count.
    """
    grid = _grid(path, max(path.warmup_tokens, fit.first_tokens))
    prediction = fit.predict(path, n_params, at=grid, of="mean")
    samples = fit.log_samples(path, n_params, at=grid)
    beyond = fit.spread * fit.distance(n_params, grid) / fit.spread_distance
    modes = _modes(samples)
    if beyond.any():
        modes = np.concatenate([modes, beyond[None]])
    return Band(
        n_params=float(n_params),
        n_tokens=grid,
        log_loss=np.log(prediction.mean),
        modes=modes,
        lr_share=path.rate(grid) / path.lr.max(),
        lr=float(path.lr.max()),
        noise=noise,
        law=fit.law.name,
        theta={name: value.value for name, value in fit.theta.items()},
        source=source,
        problems=prediction.problems,
    )


def published_band(
    law: Published,
    path: LrPath,
    n_params: float,
    *,
    batch_tokens: float,
    noise: CurveNoise | None = None,
) -> Band:
    """The forecast by a published law along a run, with a stated noise.

    Args:
        law: one along the steps of a run (`luo_25m`, `luo_100m`, `luo_400m`).
        path: the rate along tokens, in the paper's unit (as it is logged).
        n_params: the run's size, for the record: the law does not know it.
        batch_tokens: tokens a step.
        noise: `STATED_NOISE` where None: a wide offset, that the run's own beginning settles.

    Raises:
        InputError: the law is none along a run.
    """
    (component,) = law.estimate.components
    if component.law not in CURVE_LAWS or "lr_smooth" in component.law.inputs:
        raise InputError(
            f"{law.name!r} is no published law along a run. Use luo_25m, luo_100m or luo_400m, or "
            "a study's own fit."
        )
    grid = _grid(path, path.warmup_tokens)
    by_step, steps = replace(path, n_tokens=path.n_tokens / batch_tokens), grid / batch_tokens
    columns = {"lr_sum": by_step.lr_sum(steps), **by_step.drops(steps)}
    if noise is None:
        noise = replace(STATED_NOISE, memory=STATED_NOISE.memory * float(path.n_tokens[-1]))
    return Band(
        n_params=float(n_params),
        n_tokens=grid,
        log_loss=np.log(component.law.predict(component.theta, columns)),
        modes=np.zeros((0, grid.size)),
        lr_share=path.rate(grid) / path.lr.max(),
        lr=float(path.lr.max()),
        noise=noise,
        law=component.law.name,
        theta=dict(zip(component.law.names, component.theta.tolist(), strict=True)),
        source=law.source,
        problems=law.estimate.problems,
    )


def _grid(path: LrPath, first: float) -> Array:
    """Token counts of the forecast: even in log and even in tokens, and where the rate bends."""
    end = float(path.n_tokens[-1])
    if not first < end:
        raise InputError(
            f"the run ends at {end:.4g} tokens, before {first:.4g}, from which on the law holds. "
            "Only longer runs can be watched."
        )
    first = max(first, 1.0)
    even = np.linspace(first, end, GRID // 2), np.geomspace(first, end, GRID // 2)
    knots = path.n_tokens[(path.n_tokens > first) & (path.n_tokens < end)]
    tokens = np.unique(np.concatenate([*even, knots]).round())
    return np.asarray(np.append(tokens[(tokens >= first) & (tokens < end)], end))


def _modes(samples: Array) -> Array:
    """Independent deviates (K, G) that make up the samples' covariance."""
    centred = samples - samples.mean(axis=0)
    _, size, shape = np.linalg.svd(centred / np.sqrt(max(len(samples) - 1, 1)), full_matrices=False)
    kept = size**2 > LEAST_MODE * max(float((size**2).sum()), 1e-300)
    return np.asarray(size[kept, None] * shape[kept])
