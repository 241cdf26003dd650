"""`compare`: two tables of runs -> effective compute multiplier of one recipe over the other."""

from dataclasses import replace

import numpy as np

from isoflop._errors import InputError
from isoflop._types import LEVEL, Array, Interval, Problem, Table
from isoflop.fitting.arm_models import ArmModel, fit_models
from isoflop.fitting.arm_table import Arms, check_metrics, ray_problem, read_arms
from isoflop.fitting.chosen_law import OneLaw, named_law
from isoflop.fitting.comparison import Comparison, ModelScore, Multiplier
from isoflop.fitting.fit import fit
from isoflop.fitting.fit_result import Fit
from isoflop.fitting.tokens_to_loss import tokens_to_loss

PLACES = ("low", "middle", "top")

LARGEST = float(np.log(1e6))
"""A multiplier beyond a million, either way, says only that one arm never gets there."""

CURVE = 200
"""Losses along the common range that places are found on."""


def compare(
    runs_a: Table,
    runs_b: Table,
    *,
    target: str = "loss",
    loss: float | None = None,
    flops: float | None = None,
    law: OneLaw = "auto",
    level: float = LEVEL,
    n_draws: int = 300,
    seed: int = 0,
) -> Comparison:
    """Effective compute multiplier of recipe A over B: m(L) = C_B(L) / C_A(L) at equal loss L.

    C(L) is the compute at which an arm's best split of size and tokens reaches L. Three joint
    models (shared exponents and floor: m is one number; own floor; nothing shared) are averaged
    by Akaike weights of likelihood ratios calibrated by simulation.

    Args:
        runs_a: columns `n_params` and `n_tokens` (optionally `flops`), or `x`, or `flops`; the
            target; optionally `trunk`, `kind`, `tokenizer`, `vocab_size`.
        runs_b: the same of recipe B, on the same evaluation text.
        target: the column to compare by; "bpb" where the tokenizers differ.
        loss: where to compare; or `flops`, the compute of A. The middle of the range without.
        flops: A's compute [FLOPs, or x] at which to compare.
        law: the law of one arm, as in `fit`; "auto" takes the richest that both arms have
            runs for.
        level: level of every interval.
        n_draws: draws of each model.
        seed: the same seed gives the same numbers.

    Raises:
        InputError: the metrics differ, `loss` and `flops` are both given or not positive.
        FitError: a column or value is missing or wrong, or an arm has too few runs.

    Source: laws.md 7.4 (compute-equivalent gain); Ho et al. 2024, arXiv:2403.05812.
    """
    _check_options(loss, flops, level, n_draws)
    check_metrics(runs_a, runs_b, target)
    arms = read_arms(runs_a, runs_b, target, named_law(law, runs_a, target))
    fits = tuple(fit(t, target=target, law=arms.base, level=level, seed=seed) for t in arms.tables)
    models, rho = fit_models(arms, n_draws, seed)
    losses, problems = _places(arms, models, loss, flops)
    # What runs of one cell share moves both curves alike.
    noise = models[-1].fitted.noise.total * float(np.sqrt(1 - rho))
    found = _assemble(arms, (fits[0], fits[1]), models, losses, level)
    refused = (loss is not None or flops is not None) and "asked" not in losses
    return replace(
        found,
        # A loss asked for and refused has no multiplier; the other places keep theirs.
        multiplier=_unknown(level) if refused else found.multiplier,
        tokens=tokens_to_loss(runs_a, runs_b, target, noise, level),
        pair_correlation=rho,
        problems=(*problems, *found.problems),
    )


def _assemble(
    arms: Arms,
    fits: tuple[Fit, Fit],
    models: tuple[ArmModel, ...],
    losses: dict[str, float],
    level: float,
) -> Comparison:
    """The comparison at the losses; without any its numbers are unknown."""
    at = _mixture(arms, models, losses, level)
    scores = tuple(_score(arms, one, losses, level) for one in models)
    where = "asked" if "asked" in losses else "middle"
    told = [one.value for one in at if one.where == where]
    return Comparison(
        multiplier=told[0] if told else _unknown(level),
        at=at,
        shared=scores[0].at[0].value if scores[0].at else _unknown(level),
        trend=_trend(arms, models, losses, level) or _unknown(level),
        models=scores,
        tokens=(),
        common_loss=(losses["top"], losses["low"]) if "top" in losses else None,
        pair_correlation=0.0,
        along=arms.along,
        law=arms.base.name,
        arms=fits,
        problems=(*ray_problem(arms), *_of_arm("A", fits[0]), *_of_arm("B", fits[1])),
        target=arms.runs.target,
    )


def _unknown(level: float) -> Interval:
    return Interval(value=float("nan"), low=0.0, high=float("inf"), level=level)


def _check_options(loss: float | None, flops: float | None, level: float, n_draws: int) -> None:
    if loss is not None and flops is not None:
        raise InputError(f"give one of loss and flops, but got {loss:g} and {flops:g}. Drop one.")
    for name, value in (("loss", loss), ("flops", flops)):
        if value is not None and not 0 < value < np.inf:
            raise InputError(f"`{name} > 0` must hold, but got {name}={value}. Correct it.")
    if not 0 < level < 1:
        raise InputError(f"`0 < level < 1` must hold, but got level={level}. Use e.g. 0.9.")
    if n_draws < 20:
        raise InputError(f"`n_draws >= 20` must hold, but got n_draws={n_draws}. Use 300.")


def _of_arm(name: str, fitted: Fit) -> tuple[Problem, ...]:
    return tuple(replace(one, text=f"{name}: {one.text}") for one in fitted.problems)


def _places(
    arms: Arms, models: tuple[ArmModel, ...], loss: float | None, flops: float | None
) -> tuple[dict[str, float], tuple[Problem, ...]]:
    """Losses at which to compare, by name, and `outside_common_range` where there is none.

    The common range is what both arms' compute reaches by the likeliest model. Its middle lies
    half way in ln(C_A C_B), which swapping the arms does not move.
    """
    best = max(models, key=lambda one: one.weight)
    ends = _reached(arms, best)
    low, top = float(ends[:, 0].min()), float(ends[:, 1].max())
    if top >= low:
        text = "No loss lies within the compute of both arms."
        return {}, (_outside(text, "Train runs of both recipes to the same losses."),)
    grid = np.linspace(low, top, CURVE)
    one, two = (cost[0] for cost in best.log_costs(arms, grid))
    middle = float(np.interp((one + two)[[0, -1]].mean(), one + two, grid))
    losses = {"low": np.exp(low), "middle": np.exp(middle), "top": np.exp(top)}
    named = {name: float(value) for name, value in losses.items()}
    if flops is not None:
        cost = two if arms.flipped else one
        inside = cost[0] - 1e-9 <= np.log(flops) <= cost[-1] + 1e-9
        asked = float(np.exp(np.interp(np.log(flops), cost, grid)))
        told = f"A's compute {flops:.3g} is outside {np.exp(cost[0]):.3g} to {np.exp(cost[-1]):.3g}"
    elif loss is not None:
        inside = named["top"] * (1 - 1e-9) <= loss <= named["low"] * (1 + 1e-9)
        asked, told = (
            loss,
            f"The loss {loss:.4g} is outside {named['top']:.4g} to {named['low']:.4g}",
        )
    else:
        return named, ()
    if inside:
        return {**named, "asked": asked}, ()
    remedy = "Ask within it, or train both recipes further."
    return named, (_outside(f"{told}, which the runs of both arms cover.", remedy),)


def _reached(arms: Arms, best: ArmModel) -> Array:
    """Log losses (2, 2) of arms 1 and 2 on their frontiers at their least and most compute."""
    logs = np.log(arms.runs.loss)
    span = np.ptp(logs) + 0.1
    grid = np.linspace(logs.max() + span, logs.min() - span, 4 * CURVE)
    found = []
    for cost, unit, (least, most) in zip(
        best.log_costs(arms, grid), arms.log_unit, arms.span, strict=True
    ):
        found.append(np.interp(np.log([least, most]) + unit, cost[0], grid))
    return np.array(found)


def _outside(text: str, remedy: str) -> Problem:
    return Problem(code="outside_common_range", severity="disqualifying", text=text, remedy=remedy)


def _log_ratio(arms: Arms, model: ArmModel, losses: dict[str, float]) -> tuple[Array, Array, Array]:
    """ln m (B + 1, Q), and ln C (Q,) of A and of B at the optimum."""
    one, two = model.log_costs(arms, np.log(list(losses.values())))
    a, b = (two, one) if arms.flipped else (one, two)
    return np.clip(b - a, -LARGEST, LARGEST), a[0], b[0]


def _mixture(
    arms: Arms, models: tuple[ArmModel, ...], losses: dict[str, float], level: float
) -> tuple[Multiplier, ...]:
    """The weighted multipliers at every place."""
    if not losses:
        return ()
    found = [_log_ratio(arms, one, losses) for one in models]
    weight = np.array([one.weight for one in models])
    value = weight @ np.array([one[0][0] for one in found])
    a = weight @ np.array([one[1] for one in found])
    intervals = _intervals(value, _mixed([one[0][1:] for one in found], weight), level)
    return _multipliers(losses, a, a + value, intervals)


def _score(arms: Arms, model: ArmModel, losses: dict[str, float], level: float) -> ModelScore:
    at: tuple[Multiplier, ...] = ()
    if losses:
        logs, a, b = _log_ratio(arms, model, losses)
        at = _multipliers(losses, a, b, _intervals(logs[0], logs[1:], level))
    return ModelScore(
        model=model.model,
        weight=model.weight,
        p_value=model.p_value,
        error=model.fitted.standard_error,
        at=at,
    )


def _trend(
    arms: Arms, models: tuple[ArmModel, ...], losses: dict[str, float], level: float
) -> Interval | None:
    """m at the top over m at the low end."""
    if not losses:
        return None
    ends = {name: losses[name] for name in ("low", "top")}
    slopes = [np.diff(_log_ratio(arms, one, ends)[0], axis=1) for one in models]
    weight = np.array([one.weight for one in models])
    value = weight @ np.array([one[0] for one in slopes])
    return _intervals(value, _mixed([one[1:] for one in slopes], weight), level)[0]


def _multipliers(
    losses: dict[str, float], log_a: Array, log_b: Array, intervals: list[Interval]
) -> tuple[Multiplier, ...]:
    rows = zip(losses.items(), np.exp(log_a), np.exp(log_b), intervals, strict=True)
    return tuple(
        Multiplier(where=name, loss=loss, flops_a=float(a), flops_b=float(b), value=value)
        for (name, loss), a, b, value in rows
    )


def _mixed(draws: list[Array], weight: Array) -> Array:
    """Draws (B', Q) of the mixture: from each model's the share of its weight."""
    return np.concatenate(
        [one[: round(float(w) * len(one))] for one, w in zip(draws, weight, strict=True)]
    )


def _intervals(value: Array, draws: Array, level: float) -> list[Interval]:
    """exp of the log values (Q,) with quantiles of their draws (B, Q), kept around the value."""
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(draws, tails, axis=0)
    return [
        Interval(
            value=float(np.exp(v)),
            low=float(np.exp(min(a, v))),
            high=float(np.exp(max(b, v))),
            level=level,
        )
        for v, a, b in zip(value, low, high, strict=True)
    ]
