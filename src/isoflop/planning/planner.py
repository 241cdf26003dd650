"""`plan`: an estimate and one constraint become a `Plan`."""

from dataclasses import replace
from math import inf
from typing import Protocol

import numpy as np

from isoflop._errors import InputError
from isoflop._types import LEVEL, Interval, Prediction
from isoflop.accounting import (
    FLOPS_PER_PARAM_TOKEN,
    Accelerator,
    cost_usd,
    device_hours,
    find_accelerator,
    training_days,
)
from isoflop.laws import Estimate, near_optimal
from isoflop.planning.budgets import BUDGETS, with_flops
from isoflop.planning.demand import Demand, solve_demand
from isoflop.planning.frontier import largest_flops
from isoflop.planning.limited import (
    Limited,
    limited_estimate,
    solve_limited,
)
from isoflop.planning.plan import Plan
from isoflop.planning.problems import plan_problems
from isoflop.planning.solve import Solution, interval, solve


class HasEstimate(Protocol):
    """Anything that gives an estimate: a fit, a published law."""

    @property
    def estimate(self) -> Estimate:
        """What planning consumes."""
        ...


def plan(
    source: Estimate | HasEstimate,
    *,
    flops: float | None = None,
    loss: float | None = None,
    n_params: float | None = None,
    n_tokens: float | None = None,
    device_hours: float | None = None,
    days: float | None = None,
    usd: float | None = None,
    hardware: str | Accelerator = "H100-SXM",
    n_devices: int = 8,
    mfu: float = 0.4,
    inference_tokens: float | None = None,
    inference_flop_cost: float = 1.0,
    unique_tokens: float | None = None,
    force: bool = False,
    level: float = LEVEL,
) -> Plan:
    """The compute-optimal run for one given quantity, under C = 6·N·D, with intervals.

    Give one of `flops`, `loss`, `n_params`, `n_tokens`, `device_hours`, `days`, `usd`; or both of
    `n_params` and `n_tokens`, which are then priced as they are. Hours, days and money are FLOPs
    at the `mfu` as stated; money is spent at the higher price, so that it suffices at any. A
    law that must not be used still gives a plan: see `Plan.usable`.

    With `inference_tokens`, T, the run of least 6·N·D + 2·N·T instead: for a `loss`, or of least
    loss where `flops` pay for both. Source: Sardana et al. 2024, arXiv:2401.00448.

    Args:
        source: an estimate, or what has one: a fit, a published law.
        flops: compute budget [FLOPs].
        loss: loss to reach [unit of the estimate's target].
        n_params: model size, counted as the law counts it.
        n_tokens: training tokens.
        device_hours: of all devices together.
        days: on `n_devices` devices.
        usd: rent [USD].
        hardware: name of an accelerator, or one of your own.
        n_devices: how many of them.
        mfu: end-to-end share of the dense peak, 0 to 1.
        inference_tokens: tokens that the model will serve, prompt and answer.
        inference_flop_cost: what a FLOP of inference costs in FLOPs of training: MFU of training
            over that of serving.
        unique_tokens: distinct tokens that there are: beyond them they are read again.
        force: record that disqualifying problems were seen and overruled.
        level: level of the intervals.

    Raises:
        InputError: not one quantity, an impossible value, a loss below the irreducible one,
            unknown hardware, or a law without size and tokens.
    """
    estimate = _estimate_of(source)
    given = _given(
        {
            "flops": flops,
            "loss": loss,
            "n_params": n_params,
            "n_tokens": n_tokens,
            "device_hours": device_hours,
            "days": days,
            "usd": usd,
        }
    )
    if not 0 < level < 1:
        raise InputError(f"`0 < level < 1` must hold, but got level={level}. Use e.g. 0.9.")
    device = find_accelerator(hardware) if isinstance(hardware, str) else hardware
    given = with_flops(given, device, n_devices, mfu)
    demand = None
    if inference_tokens is not None:
        demand = Demand(tokens=inference_tokens, flop_cost=inference_flop_cost)
    elif inference_flop_cost != 1.0:
        raise InputError(
            f"inference_flop_cost={inference_flop_cost:g} prices a demand, but none is given. "
            "Give inference_tokens too."
        )
    if demand is not None and unique_tokens is not None:
        raise InputError(
            f"inference_tokens={demand.tokens:g} and unique_tokens={unique_tokens:g} are not "
            "planned for together yet. Give one of them."
        )
    draft = _solved(
        estimate,
        given,
        device,
        n_devices=n_devices,
        mfu=mfu,
        level=level,
        demand=demand,
        unique=unique_tokens,
    )
    return replace(draft, forced=force)


def _solved(
    estimate: Estimate,
    given: dict[str, float],
    device: Accelerator,
    *,
    n_devices: int,
    mfu: float,
    level: float,
    demand: Demand | None,
    unique: float | None,
) -> Plan:
    lifetime, limited = None, None
    asked = {name: value for name, value in given.items() if name not in BUDGETS}
    if unique is not None:
        solution, limited = solve_limited(estimate, asked, unique, level)
        sizes = _intervals(solution, asked, level)
    elif demand is None:
        solution = solve(estimate, asked, level)
        sizes = _intervals(solution, asked, level)
    else:
        solution, lifetime = solve_demand(estimate, asked, demand, level)
        sizes = _intervals(solution, {}, level)
    prediction = _predicted(estimate, sizes, limited, level)
    compute = sizes["flops"]
    hours = _scaled(compute, device_hours(compute.value, device, mfu) / compute.value)
    largest = largest_flops(estimate)
    ratio = None if largest is None else compute.value / largest
    return Plan(
        given=given,
        n_params=sizes["n_params"],
        n_tokens=sizes["n_tokens"],
        flops=compute,
        loss=_loss(prediction, given, level),
        tokens_per_param=sizes["tokens_per_param"],
        days=_scaled(compute, training_days(compute.value, device, n_devices, mfu) / compute.value),
        device_hours=hours,
        cost_usd=_rent(hours, device),
        hardware=device.name,
        n_devices=n_devices,
        mfu=mfu,
        extrapolation=ratio,
        lifetime=lifetime,
        limited=limited,
        near_optimal=()
        if {"n_params", "n_tokens"} <= set(given) or demand is not None or limited is not None
        else near_optimal(estimate, compute.value, k=FLOPS_PER_PARAM_TOKEN),
        problems=estimate.problems
        + plan_problems(estimate, prediction, solution, ratio, lifetime=lifetime, limited=limited),
        source=estimate.source,
        target=estimate.target,
        n_params_convention=estimate.n_params_convention,
        level=level,
        data_sha256=estimate.data_sha256,
    )


def _predicted(
    estimate: Estimate, sizes: dict[str, Interval], limited: Limited | None, level: float
) -> Prediction:
    """The loss of the planned run; where text is short, with its repeats for what they are."""
    inputs = {name: sizes[name].value for name in ("n_params", "n_tokens")}
    if limited is not None:
        inputs["n_unique_tokens"] = min(inputs["n_tokens"], limited.unique_tokens)
        estimate = limited_estimate(estimate)
    return estimate.predict(inputs, level=level)


def _estimate_of(source: Estimate | HasEstimate) -> Estimate:
    estimate = source if isinstance(source, Estimate) else getattr(source, "estimate", None)
    if not isinstance(estimate, Estimate):
        raise InputError(
            f"`source` must be an Estimate or have one, but got {type(source).__name__}. "
            "Pass a fit, a published law or an Estimate."
        )
    if set(estimate.needed) != {"n_params", "n_tokens"}:
        raise InputError(
            "planning needs a law of n_params and n_tokens, but got one of "
            f"{', '.join(estimate.inputs)} ({estimate.best.law.name}). Use a law "
            "of both, such as chinchilla, or a function of your own."
        )
    return estimate


def _given(values: dict[str, float | None]) -> dict[str, float]:
    given = {name: float(value) for name, value in values.items() if value is not None}
    if len(given) != 1 and set(given) != {"n_params", "n_tokens"}:
        raise InputError(
            f"exactly one of {', '.join(values)} must be given (or both n_params and "
            f"n_tokens), but got {', '.join(given) or 'none'}. Keep one of them."
        )
    for name, value in given.items():
        if not 0 < value < inf:
            raise InputError(
                f"`{name} > 0` must hold, but got {name}={value}. Give a positive number."
            )
    return given


def _intervals(solution: Solution, given: dict[str, float], level: float) -> dict[str, Interval]:
    log_d, log_d_draws = solution.log_tokens, solution.log_tokens_draws
    reached = np.isfinite(solution.log_flops_draws)
    log_ratio = log_d_draws[reached] - solution.log_params_draws[reached]
    out = {
        "n_params": interval(solution.log_params, solution.log_params_draws, level),
        "n_tokens": interval(log_d, log_d_draws, level),
        "flops": interval(solution.log_flops, solution.log_flops_draws, level),
        "tokens_per_param": interval(log_d - solution.log_params, log_ratio, level),
    }
    # What was given is exact: no rounding of exp(log(x)).
    for name in set(given) - {"loss"}:
        out[name] = Interval(value=given[name], low=given[name], high=given[name], level=level)
    return out


def _loss(prediction: Prediction, given: dict[str, float], level: float) -> Interval:
    value = given.get("loss", float(prediction.mean[0]))
    return Interval(
        value=value,
        low=min(float(prediction.low[0]), value),
        high=max(float(prediction.high[0]), value),
        level=level,
    )


def _scaled(of: Interval, factor: float) -> Interval:
    return replace(of, value=of.value * factor, low=of.low * factor, high=of.high * factor)


def _rent(hours: Interval, device: Accelerator) -> tuple[float, float] | None:
    fewest, most = cost_usd(hours.low, device), cost_usd(hours.high, device)
    return None if fewest is None or most is None else (fewest[0], most[1])
