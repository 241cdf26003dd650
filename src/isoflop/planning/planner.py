"""`plan`: an estimate, one goal and limits become a `Plan`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Protocol

import numpy as np

from isoflop._errors import InputError
from isoflop._types import LEVEL, Interval, Prediction, Problem
from isoflop.accounting import (
    FLOPS_PER_PARAM_TOKEN,
    Accelerator,
    find_accelerator,
    size_under,
)
from isoflop.laws import Estimate, NearOptimal, near_optimal
from isoflop.planning.build import Build, BuildWish
from isoflop.planning.build import build as build_run
from isoflop.planning.caps import Caps
from isoflop.planning.cheapest import SAMPLES
from isoflop.planning.demand import Demand, Lifetime, solve_demand
from isoflop.planning.frontier import frontier_of_draws, largest_flops
from isoflop.planning.limited import Limited, limited_estimate, limited_of, solve_limited
from isoflop.planning.plan import Plan
from isoflop.planning.problems import plan_problems
from isoflop.planning.rates import BUDGETS, Machine, Rates, rates
from isoflop.planning.request import Request
from isoflop.planning.risk import Chain, risk
from isoflop.planning.served import ServingWish, serving_curve
from isoflop.planning.solve import Asked, Solution, interval, solve

_NO_SHAPE = (
    Problem(
        code="no_shape",
        severity="note",
        text="No decoder of the family is so small: hours are those of 6·N·D, and neither shape, "
        "batch nor memory is planned.",
        remedy="Give a smaller vocabulary, or the architecture itself.",
        affects=("allocation",),
    ),
)

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
    n_devices: int | None = None,
    mfu: float | None = None,
    step_mfu: float | None = None,
    price: float | None = None,
    sure: float = 0.9,
    inference_tokens: float | None = None,
    inference_flop_cost: float = 1.0,
    serving: ServingWish | None = None,
    unique_tokens: float | None = None,
    build: BuildWish | None = None,
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
    loss where `flops` or `usd` pay for both. With `serving`, a token costs what replicas that keep
    its limits cost in USD, and no larger model than they can serve is planned; a `max_` is still
    one of the training. Source: Sardana et al. 2024, arXiv:2401.00448.

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
        n_devices: how many of them; left out, a node, or as many as hold the model.
        mfu: end-to-end share of the dense peak as you know it, 0 to 1; left out, it is drawn from
            what published runs reached on such hardware.
        step_mfu: that of a measured step: goodput is then drawn.
        price: rent [USD/device-hour]; left out, it is drawn from the accelerator's dated range.
        sure: share of draws in which a budget or limit in hours, days or money suffices.
        inference_tokens: tokens that the model will serve, prompt and answer.
        inference_flop_cost: what a FLOP of inference costs in FLOPs of training: MFU of training
            over that of serving.
        serving: requests, devices and limits on latency, instead of `inference_flop_cost`.
        unique_tokens: distinct tokens that there are: beyond them they are read again.
        build: family of decoders, or the one decoder to train (its N is then fixed), context,
            batch, learning rate's law; Llama's family if left out.
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
    estimate, wish = _estimate_of(source), build or BuildWish()
    device = find_accelerator(hardware) if isinstance(hardware, str) else hardware
    request = Request(
        goal=_with_size(_given(goal), wish, estimate),
        limits=_given(limits),
        machine=Machine(
            device=device, n_devices=n_devices, mfu=mfu, step_mfu=step_mfu, price=price
        ),
        build=wish,
        demand=_demand(inference_tokens, inference_flop_cost, serving),
        serving=serving,
        unique_tokens=unique_tokens,
        sure=sure,
        level=level,
    )
    return replace(_planned(estimate, request), forced=force)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A solution and the rates that it was found with, which are those of its own shape."""

    solution: Solution
    rates: Rates
    ratio: float
    """Exact-causal FLOPs over 6·N·D."""
    build: Build | None = None
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
        n_devices=draft.rates.n_devices,
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
            p_fits=None if draft.build is None else draft.build.p_fits,
        ),
        build=draft.build,
        problems=estimate.problems
        + plan_problems(
            estimate, prediction, solution, extrapolation, lifetime=draft.lifetime, limited=limited
        )
        + (_NO_SHAPE if draft.build is None else draft.build.problems),
        source=estimate.source,
        target=estimate.target,
        n_params_convention=estimate.n_params_convention,
        level=request.level,
        data_sha256=estimate.data_sha256,
    )


def _drafted(estimate: Estimate, request: Request) -> _Draft:
    """The solution at the rates of its own build."""
    model, draft = _Model.unknown(request), None
    for _ in range(_ROUNDS):
        draft = _solved(estimate, request, model)
        found = _model(estimate, request, draft)
        if found.same(model):
            break
        model = found
    else:
        # Two shapes took turns: their FLOPs a token differ by less than their sizes' rounding.
        draft = _solved(estimate, request, model)
    assert draft is not None
    if draft.solution.log_flops > _caps(request, draft.rates).log_flops + ROUNDING:
        raise InputError(_too_dear(request, draft.rates, draft.solution))
    # Its tokens are those of the last solution.
    return replace(draft, build=_model(estimate, request, draft).build)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """FLOPs of a token of what would be built, and on how many devices."""

    build: Build | None
    n_devices: int
    flops_per_token: float
    ratio: float
    """Exact-causal FLOPs of a token over 6·N."""

    @classmethod
    def unknown(cls, request: Request) -> "_Model":
        """Before a size is known."""
        return cls.without_build(request, _GUESS)

    @classmethod
    def without_build(cls, request: Request, n_params: float) -> "_Model":
        """6·N a token."""
        return cls(
            build=None,
            n_devices=request.machine.n_devices or request.build.devices_per_node,
            flops_per_token=FLOPS_PER_PARAM_TOKEN * n_params,
            ratio=1.0,
        )

    def same(self, other: "_Model") -> bool:
        """Whether both are built alike."""
        shapes = [None if one.build is None else one.build.architecture for one in (self, other)]
        return shapes[0] == shapes[1] and self.n_devices == other.n_devices


def _model(estimate: Estimate, request: Request, draft: _Draft) -> _Model:
    """What would be built for a solution; 6·N a token where the family has none so small."""
    solution, wish = draft.solution, request.build
    n_params = float(np.exp(solution.log_params))
    if wish.architecture is None:
        try:
            wish.rule.nearest(n_params, estimate.n_params_convention)
        except InputError:
            return _Model.without_build(request, n_params)
    made = build_run(
        estimate,
        n_params=n_params,
        n_tokens=float(np.exp(solution.log_tokens)),
        near=_bearable(estimate, request, draft),
        device=request.machine.device,
        n_devices=request.machine.n_devices,
        wish=wish,
    )
    return _Model(
        build=made,
        n_devices=made.layout.n_devices,
        flops_per_token=made.flops_per_token,
        ratio=made.ratio,
    )


def _bearable(estimate: Estimate, request: Request, draft: _Draft) -> tuple[float, float]:
    """Sizes among which round numbers and memory may choose: those that lose 0.1 % of loss."""
    solution = draft.solution
    size = float(np.exp(solution.log_params))
    held = solution.binding or request.fixed or "n_params" in request.goal
    if held or draft.lifetime is not None or draft.limited is not None:
        return size, size
    first = _near(estimate, float(np.exp(solution.log_flops)))[0]
    return min(first.n_low, size), max(first.n_high, size)


def _solved(estimate: Estimate, request: Request, model: _Model) -> _Draft:
    """The solution at the rates of one model."""
    plain = request.unique_tokens is None and request.demand is None
    # Draw i of a solution and draw i of the rates are one and the same throughout.
    size = len(frontier_of_draws(estimate)) if plain else SAMPLES
    cost = rates(
        request.machine,
        n_devices=model.n_devices,
        flops_per_token=model.flops_per_token,
        ratio=model.ratio,
        size=size,
        level=request.level,
    )
    caps = _caps(request, cost)
    asked = _asked(request, cost)
    unique, lifetime, limited = request.unique_tokens, None, None
    if request.demand is not None:
        demand = request.demand
        if request.serving is not None:
            curve = serving_curve(request.serving, estimate.n_params_convention)
            demand = replace(demand, curve=curve)
        money = request.budget == "usd"
        solution, lifetime = solve_demand(
            estimate,
            {"usd": request.goal["usd"]} if money else asked.values,
            demand,
            request.level,
            cost=cost,
            caps=caps,
            unique=unique,
            sure=request.sure,
        )
        if unique is not None:
            limited = limited_of(estimate, solution, unique, request.level)
    elif unique is not None:
        solution, limited = solve_limited(estimate, asked.values, unique, request.level, caps=caps)
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
        text += f" on {cost.n_devices} × {cost.device} ({100 * request.sure:g} % sure)"
    remedy = f" Allow {wish}={most * over:.4g}"
    if wish == "max_days":
        remedy += f", give n_devices={ceil(cost.n_devices * over)}"
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
    if request.demand is not None:
        # These pay for serving too, and are not those of the training alone.
        wishes = {name: value for name, value in wishes.items() if name == "loss"}
    for name in BUDGETS:
        limit = request.limits.get(f"max_{name}")
        if limit is not None:
            wishes[name] = min(limit, wishes.get(name, limit))
    return wishes


def _with_size(goal: dict[str, float], wish: BuildWish, estimate: Estimate) -> dict[str, float]:
    """The goal with the N of a given decoder."""
    if wish.architecture is None:
        return goal
    size = float(size_under(wish.architecture, estimate.n_params_convention))
    if "n_params" in goal:
        raise InputError(
            f"n_params={goal['n_params']:g} and an architecture of {size:g} parameters are both "
            "given. Give one of them."
        )
    return {**goal, "n_params": size}


def _demand(tokens: float | None, flop_cost: float, serving: ServingWish | None) -> Demand | None:
    if tokens is not None:
        if serving is not None and flop_cost != 1.0:
            raise InputError(
                f"inference_flop_cost={flop_cost:g} prices a served token, and so does serving. "
                "Keep one of them."
            )
        return Demand(tokens=tokens, flop_cost=flop_cost)
    if flop_cost != 1.0 or serving is not None:
        what = "serving" if serving is not None else f"inference_flop_cost={flop_cost:g}"
        raise InputError(f"{what} prices a demand, but none is given. Give inference_tokens too.")
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
