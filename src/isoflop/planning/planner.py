"""`plan`: an estimate, one goal and limits become a `Plan`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Protocol

import numpy as np

from isoflop._errors import InputError
from isoflop._types import LEVEL, Interval, Prediction
from isoflop.accounting import (
    FLOPS_PER_PARAM_TOKEN,
    Accelerator,
    Architecture,
    ShapeRule,
    find_accelerator,
    size_under,
    token_flops,
)
from isoflop.laws import Estimate, NearOptimal, near_optimal
from isoflop.planning.caps import Caps
from isoflop.planning.demand import Demand, Lifetime, solve_demand
from isoflop.planning.frontier import frontier_of_draws, largest_flops
from isoflop.planning.limited import Limited, limited_estimate, solve_limited
from isoflop.planning.plan import Plan
from isoflop.planning.problems import plan_problems
from isoflop.planning.rates import BUDGETS, Machine, Rates, rates
from isoflop.planning.request import Request
from isoflop.planning.risk import Chain, risk
from isoflop.planning.solve import Asked, Solution, interval, solve

_ROUNDS = 6
"""Times that a budget's size is found again with the FLOPs a token of its own shape takes."""

ROUNDING = 1e-9
_GUESS = 1e9
"""Parameters before any are known."""


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
    max_flops: float | None = None,
    max_device_hours: float | None = None,
    max_days: float | None = None,
    max_usd: float | None = None,
    max_n_params: float | None = None,
    max_n_tokens: float | None = None,
    hardware: str | Accelerator = "H100-SXM",
    n_devices: int = 8,
    mfu: float | None = None,
    step_mfu: float | None = None,
    price: float | None = None,
    sure: float = 0.9,
    inference_tokens: float | None = None,
    inference_flop_cost: float = 1.0,
    unique_tokens: float | None = None,
    rule: ShapeRule | None = None,
    force: bool = False,
    level: float = LEVEL,
) -> Plan:
    """The best run for one goal within limits, under C = 6·N·D, with intervals and odds.

    Give one of `flops`, `loss`, `n_params`, `n_tokens`, `device_hours`, `days`, `usd`. A size or
    tokens beside another goal is held as it is; both together are priced as they are. A `max_`
    is a limit: a budget is then cut to it, a loss that takes more is refused. Hours, days and
    money are those of the exact-causal FLOPs of a decoder of the planned size; a budget of them
    buys what it suffices for in the share `sure` of draws of MFU, goodput and price. A law that
    must not be used still gives a plan: see `Plan.usable`.

    With `inference_tokens`, T, the run of least 6·N·D + 2·N·T instead: for a `loss`, or of least
    loss where `flops` pay for both. Source: Sardana et al. 2024, arXiv:2401.00448.

    Args:
        source: an estimate, or what has one: a fit, a published law.
        flops: compute budget, 6·N·D [FLOPs].
        loss: loss to reach [unit of the estimate's target].
        n_params: model size, counted as the law counts it.
        n_tokens: training tokens.
        device_hours: of all devices together.
        days: on `n_devices` devices.
        usd: rent [USD].
        max_flops: limit, as are the other five: what must not be exceeded.
        max_device_hours: see `device_hours`.
        max_days: see `days`.
        max_usd: see `usd`.
        max_n_params: see `n_params`.
        max_n_tokens: see `n_tokens`; tokens that there are.
        hardware: name of an accelerator, or one of your own.
        n_devices: how many of them.
        mfu: end-to-end share of the dense peak as you know it, 0 to 1; left out, it is drawn from
            what published runs reached on such hardware.
        step_mfu: that of a measured step: goodput is then drawn.
        price: rent [USD/device-hour]; left out, it is drawn from the accelerator's dated range.
        sure: share of draws in which a budget or limit in hours, days or money suffices.
        inference_tokens: tokens that the model will serve, prompt and answer.
        inference_flop_cost: what a FLOP of inference costs in FLOPs of training: MFU of training
            over that of serving.
        unique_tokens: distinct tokens that there are: beyond them they are read again.
        rule: family of decoders whose FLOPs a token are taken; Llama's if left out.
        force: record that disqualifying problems were seen and overruled.
        level: level of the intervals.

    Raises:
        InputError: goals that do not go together, an impossible value, a loss that no run within
            the limits reaches, unknown hardware, or a law without size and tokens.
    """
    goal = {
        "flops": flops,
        "loss": loss,
        "n_params": n_params,
        "n_tokens": n_tokens,
        "device_hours": device_hours,
        "days": days,
        "usd": usd,
    }
    limits = {
        "max_flops": max_flops,
        "max_device_hours": max_device_hours,
        "max_days": max_days,
        "max_usd": max_usd,
        "max_n_params": max_n_params,
        "max_n_tokens": max_n_tokens,
    }
    device = find_accelerator(hardware) if isinstance(hardware, str) else hardware
    request = Request(
        goal=_given(goal),
        limits=_given(limits),
        machine=Machine(
            device=device, n_devices=n_devices, mfu=mfu, step_mfu=step_mfu, price=price
        ),
        rule=rule or ShapeRule(),
        demand=_demand(inference_tokens, inference_flop_cost),
        unique_tokens=unique_tokens,
        sure=sure,
        level=level,
    )
    return replace(_planned(_estimate_of(source), request), forced=force)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A solution and the rates that it was found with, which are those of its own shape."""

    solution: Solution
    rates: Rates
    ratio: float
    """Exact-causal FLOPs over 6·N·D."""
    lifetime: Lifetime | None = None
    limited: Limited | None = None


def _planned(estimate: Estimate, request: Request) -> Plan:
    draft = _drafted(estimate, request)
    solution, limited = draft.solution, draft.limited
    sizes = _intervals(solution, _exact(request), request.level)
    inputs, law = _inputs(estimate, sizes, limited)
    prediction = law.predict(inputs, level=request.level)
    chain = _chain(law, inputs, request, draft)
    compute = sizes["flops"]
    largest = largest_flops(estimate)
    extrapolation = None if largest is None else compute.value / largest
    plain = draft.lifetime is None and limited is None
    chosen = not request.fixed
    given = dict(request.goal)
    if request.budget is not None:
        given["flops"] = compute.value
    return Plan(
        given=given,
        limits=request.limits,
        binding=solution.binding,
        n_params=sizes["n_params"],
        n_tokens=sizes["n_tokens"],
        flops=compute,
        tokens_per_param=sizes["tokens_per_param"],
        loss=_loss(prediction, request.goal, request.level),
        exact_flops=_scaled(compute, draft.ratio),
        device_hours=_paid(chain, "device_hours", request.level),
        days=_paid(chain, "days", request.level),
        usd=None if draft.rates.price is None else _paid(chain, "usd", request.level),
        hardware=request.machine.device.name,
        n_devices=request.machine.n_devices,
        mfu=draft.rates.mfu,
        mfu_stated=request.machine.mfu is not None,
        extrapolation=extrapolation,
        lifetime=draft.lifetime,
        limited=limited,
        near_optimal=_near(estimate, compute.value) if chosen and plain else (),
        risk=risk(
            estimate,
            chain,
            _wishes(request),
            sure=request.sure,
            level=request.level,
            chosen=chosen and plain,
            p_fits=None,
        ),
        problems=estimate.problems
        + plan_problems(
            estimate, prediction, solution, extrapolation, lifetime=draft.lifetime, limited=limited
        ),
        source=estimate.source,
        target=estimate.target,
        n_params_convention=estimate.n_params_convention,
        level=request.level,
        data_sha256=estimate.data_sha256,
    )


def _drafted(estimate: Estimate, request: Request) -> _Draft:
    """The solution at the rates of its own shape."""
    convention = estimate.n_params_convention
    model, draft = _Model.unknown(), None
    for _ in range(_ROUNDS):
        draft = _solved(estimate, request, model)
        n_params = float(np.exp(draft.solution.log_params))
        found = _Model.of(request.rule, n_params, convention)
        if found == model:
            break
        model = found
    else:
        # Two shapes took turns: their FLOPs a token differ by less than their sizes' rounding.
        draft = _solved(estimate, request, model)
    assert draft is not None
    if draft.solution.log_flops > _caps(request, draft.rates).log_flops + ROUNDING:
        raise InputError(_too_dear(request, draft.rates, draft.solution))
    return draft


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """FLOPs of a token of the decoder that is nearest to a size."""

    architecture: Architecture | None
    flops_per_token: float
    ratio: float
    """Exact-causal FLOPs of a token over 6·N."""

    @classmethod
    def unknown(cls) -> "_Model":
        """Before a size is known."""
        flops = FLOPS_PER_PARAM_TOKEN * _GUESS
        return cls(architecture=None, flops_per_token=flops, ratio=1.0)

    @classmethod
    def of(cls, rule: ShapeRule, n_params: float, convention: str) -> "_Model":
        """That of a size; 6·N where the family has no decoder so small."""
        six = FLOPS_PER_PARAM_TOKEN
        try:
            shape = rule.nearest(n_params, convention)
        except InputError:
            return cls(architecture=None, flops_per_token=six * n_params, ratio=1.0)
        flops = token_flops(shape, rule.context, convention="exact_causal")
        ratio = flops / (six * size_under(shape, convention))
        return cls(architecture=shape, flops_per_token=flops, ratio=ratio)


def _solved(estimate: Estimate, request: Request, model: _Model) -> _Draft:
    """The solution at the rates of one model."""
    size = len(frontier_of_draws(estimate))
    cost = rates(
        request.machine,
        flops_per_token=model.flops_per_token,
        ratio=model.ratio,
        size=size,
        level=request.level,
    )
    caps = _caps(request, cost)
    asked = _asked(request, cost)
    lifetime, limited = None, None
    if request.unique_tokens is not None:
        solution, limited = solve_limited(
            estimate, asked.values, request.unique_tokens, request.level
        )
    elif request.demand is not None:
        solution, lifetime = solve_demand(estimate, asked.values, request.demand, request.level)
    else:
        solution = solve(estimate, asked, request.level, caps)
    return _Draft(
        solution=solution, rates=cost, ratio=model.ratio, lifetime=lifetime, limited=limited
    )


def _asked(request: Request, cost: Rates) -> Asked:
    """The goal in what laws know: compute, loss, size, tokens."""
    values = {name: value for name, value in request.goal.items() if name not in BUDGETS}
    if request.budget is None:
        return Asked(values=values)
    name = request.budget
    flops, draws = cost.flops_for(name, request.goal[name], request.sure)
    return Asked(values={**values, "flops": flops}, log_flops_draws=draws)


def _caps(request: Request, cost: Rates) -> Caps:
    """The limits in what laws know; of several on the compute the tightest."""
    limits = request.limits
    allowed = {"max_flops": limits["max_flops"]} if "max_flops" in limits else {}
    for name in BUDGETS:
        if (wish := f"max_{name}") in limits:
            allowed[wish] = cost.flops_for(name, limits[wish], request.sure)[0]
    tightest = min(allowed, key=lambda wish: allowed[wish], default="")
    return Caps(
        log_params=float(np.log(limits.get("max_n_params", np.inf))),
        log_tokens=float(np.log(limits.get("max_n_tokens", np.inf))),
        log_flops=float(np.log(allowed[tightest])) if tightest else np.inf,
        names={
            "log_params": "max_n_params",
            "log_tokens": "max_n_tokens",
            "log_flops": tightest,
        },
    )


def _too_dear(request: Request, cost: Rates, solution: Solution) -> str:
    """Why no run within the limits reaches a loss, and what would."""
    caps = _caps(request, cost)
    wish = caps.name("log_flops")
    over = float(np.exp(solution.log_flops - caps.log_flops))
    most = request.limits[wish]
    asked = ", ".join(f"{name}={value:g}" for name, value in request.goal.items())
    text = (
        f"`{asked}` takes {np.exp(solution.log_flops):.3g} FLOPs, {over:.3g} times what "
        f"{wish}={most:g} allows"
    )
    if wish != "max_flops":
        text += f" on {request.machine.n_devices} × {cost.device} ({100 * request.sure:g} % sure)"
    remedy = f" Allow {wish}={most * over:.4g}"
    if wish == "max_days":
        remedy += f", give n_devices={ceil(request.machine.n_devices * over)}"
    return f"{text}.{remedy}, or ask for a higher loss."


def _exact(request: Request) -> dict[str, float]:
    """What is given to the last digit, unless serving shares it or a limit cuts it."""
    return {} if request.demand is not None else dict(request.goal)


def _near(estimate: Estimate, flops: float) -> tuple[NearOptimal, ...]:
    return near_optimal(estimate, flops, k=FLOPS_PER_PARAM_TOKEN)


def _inputs(
    estimate: Estimate, sizes: Mapping[str, Interval], limited: Limited | None
) -> tuple[dict[str, float], Estimate]:
    """The planned run, and the law of it: where text is short, with its repeats as they are."""
    inputs = {name: sizes[name].value for name in ("n_params", "n_tokens")}
    if limited is None:
        return inputs, estimate
    inputs["n_unique_tokens"] = min(inputs["n_tokens"], limited.unique_tokens)
    return inputs, limited_estimate(estimate)


def _chain(law: Estimate, inputs: Mapping[str, float], request: Request, draft: _Draft) -> Chain:
    """Every draw of what is paid and of what comes out."""
    solution = draft.solution
    size = len(draft.rates.deviations["mfu"])
    # A goal in loss, size or tokens takes what each draw says; a budget is spent as planned.
    free = not {"flops", *BUDGETS} & request.goal.keys()
    draws = np.resize(solution.log_flops_draws, size)
    quiet = None
    if "loss" in request.goal and draft.lifetime is None and draft.limited is None:
        frontier = frontier_of_draws(law)
        quiet = frontier.log_flops_of_loss(np.full(len(frontier), request.goal["loss"]))
    return Chain(
        solution=solution,
        rates=draft.rates,
        log_flops=draws if free else np.full(size, solution.log_flops),
        loss=law.sample(inputs, size, of="run")[:, 0],
        mean_loss=law.sample(inputs, size, of="mean")[:, 0],
        quiet_flops=quiet,
    )


def _paid(chain: Chain, name: str, level: float) -> Interval:
    """Device-hours, days or money."""
    middle = chain.solution.log_flops + float(np.log(chain.rates.per_flop(name)))
    return interval(middle, chain.log_cost(name), level)


def _wishes(request: Request) -> dict[str, float]:
    """What a plan can miss: the goal, and the limits."""
    wishes = {name: request.goal[name] for name in (*BUDGETS, "loss") if name in request.goal}
    for name in BUDGETS:
        limit = request.limits.get(f"max_{name}")
        if limit is not None:
            wishes[name] = min(limit, wishes.get(name, limit))
    return wishes


def _demand(tokens: float | None, flop_cost: float) -> Demand | None:
    if tokens is not None:
        return Demand(tokens=tokens, flop_cost=flop_cost)
    if flop_cost != 1.0:
        raise InputError(
            f"inference_flop_cost={flop_cost:g} prices a demand, but none is given. "
            "Give inference_tokens too."
        )
    return None


def _given(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None}


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


def _intervals(solution: Solution, given: Mapping[str, float], level: float) -> dict[str, Interval]:
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
    for name in set(given) & set(out) - {"loss"}:
        # Unless a limit cut it.
        if abs(out[name].value / given[name] - 1) > ROUNDING:
            continue
        out[name] = Interval(value=given[name], low=given[name], high=given[name], level=level)
    return out


def _loss(prediction: Prediction, given: Mapping[str, float], level: float) -> Interval:
    value = given.get("loss", float(prediction.mean[0]))
    return Interval(
        value=value,
        low=min(float(prediction.low[0]), value),
        high=max(float(prediction.high[0]), value),
        level=level,
    )


def _scaled(of: Interval, factor: float) -> Interval:
    return replace(of, value=of.value * factor, low=of.low * factor, high=of.high * factor)
