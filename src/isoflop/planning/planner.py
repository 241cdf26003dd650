"""`plan`: an estimate, one goal and limits become a `Plan`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from isoflop._errors import InputError
from isoflop._types import LEVEL, Interval, Prediction, Problem
from isoflop.accounting import (
    ACCELERATORS,
    Accelerator,
    find_accelerator,
    size_under,
)
from isoflop.laws import Estimate
from isoflop.planning.build import BuildWish
from isoflop.planning.demand import Demand
from isoflop.planning.draft import ROUNDING, Draft, drafted, near_sizes
from isoflop.planning.explain import explain as explain_allocation
from isoflop.planning.frontier import frontier_of_draws, largest_flops
from isoflop.planning.hardware_choice import hardware_options
from isoflop.planning.limited import Limited, limited_estimate
from isoflop.planning.plan import Plan
from isoflop.planning.problems import plan_problems
from isoflop.planning.rates import BUDGETS, Machine
from isoflop.planning.request import Request
from isoflop.planning.revealed import revealed_demand
from isoflop.planning.risk import Chain, Risk, risk
from isoflop.planning.score import TwoSteps
from isoflop.planning.served import ServingWish
from isoflop.planning.solve import Solution, interval

ANY = "any"
"""The name for whichever accelerator is best."""

_FIRST = "H100-SXM"
"""Where a plan is made before the best accelerator is known."""

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


class HasEstimate(Protocol):
    """Anything that gives an estimate: a fit, a published law."""

    @property
    def estimate(self) -> Estimate:
        """What planning consumes."""
        ...


def plan(
    source: Estimate | HasEstimate | TwoSteps,
    *,
    flops: float | None = None,
    loss: float | None = None,
    score: float | None = None,
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
    hardware: str | Accelerator | Sequence[Accelerator] = "H100-SXM",
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
    task: Estimate | None = None,
    explain: bool = False,
    force: bool = False,
    level: float = LEVEL,
) -> Plan:
    """The best run for one goal within limits, under C = 6·N·D, with intervals and odds.

    Give one of `flops`, `loss`, `score`, `n_params`, `n_tokens`, `device_hours`, `days`, `usd`. A
    size or tokens beside another goal is held as it is; both together are priced as they are. A
    `max_` is a limit: a budget is then cut to it, a loss that takes more is refused. Hours, days
    and money are those of the exact-causal FLOPs of a decoder of the planned size; a budget of them
    buys what it suffices for in the share `sure` of draws of MFU, goodput and price. A law that
    must not be used still gives a plan: see `Plan.usable`.

    With `inference_tokens`, T, the run of least 6·N·D + 2·N·T instead: for a `loss`, or of least
    loss where `flops` or `usd` pay for both. With `serving`, a token costs what replicas that keep
    its limits cost in USD, and no larger model than they can serve is planned; a `max_` is still
    one of the training. Source: Sardana et al. 2024, arXiv:2401.00448.

    Args:
        source: an estimate, or what has one: a fit, a published law; for a score a chain of two.
        flops: compute budget, 6·N·D [FLOPs].
        loss: loss to reach [unit of the estimate's target].
        score: accuracy on a task to reach, 0 to 1.
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
        hardware: name of an accelerator, or one of your own; several, or "any" for all that are
            known, are weighed, days against money: the cheapest that keeps the limits is taken.
        n_devices: how many of them; left out, a node, or as many as hold the model and meet
            `max_days`.
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
        task: for a score, the law of it on the loss that `source` predicts.
        explain: lay published allocations beside the plan, and the demand that a given run reveals.
        force: record that disqualifying problems were seen and overruled.
        level: level of the intervals.

    Raises:
        InputError: goals that do not go together, an impossible value, a loss that no run within
            the limits reaches, unknown hardware, or a law without size and tokens.
    """
    goal = {
        "flops": flops,
        "loss": loss,
        "score": score,
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
    wish = build or BuildWish()
    estimate, second = _steps_of(source, task)
    among = _among(hardware)
    device = among[0] if among else _one(hardware)
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
        second=second,
        sure=sure,
        level=level,
    )
    made = _on_the_best(estimate, request, among) if among else _planned(estimate, request)
    if explain:
        made = _explained(estimate, made, wish, inference_flop_cost)
    return replace(made, forced=force)


def _among(hardware: str | Accelerator | Sequence[Accelerator]) -> tuple[Accelerator, ...]:
    """Accelerators to choose among, the one that a size is first planned for in front."""
    if isinstance(hardware, Accelerator):
        return ()
    if isinstance(hardware, str):
        hardware = ACCELERATORS if hardware.lower() == ANY else ()
    return tuple(sorted(hardware, key=lambda one: one.name != _FIRST))


def _one(hardware: str | Accelerator | Sequence[Accelerator]) -> Accelerator:
    if isinstance(hardware, Accelerator):
        return hardware
    if isinstance(hardware, str):
        return find_accelerator(hardware)
    raise InputError("no accelerator is given to choose among. Name one, or any.")


def _on_the_best(estimate: Estimate, request: Request, among: tuple[Accelerator, ...]) -> Plan:
    """The plan on whichever accelerators are the cheapest that keep the limits."""
    stated = {name: getattr(request.machine, name) for name in ("mfu", "step_mfu", "price")}
    named = {**stated, **({request.budget: request.goal[request.budget]} if request.budget else {})}
    told = [f"{name}={value:g}" for name, value in named.items() if value is not None]
    if told:
        raise InputError(
            f"hardware=any weighs all accelerators, but {told[0]} is of one. Name the hardware, or "
            "give a goal such as flops or loss with max_days and max_usd."
        )
    hours = {f"max_{name}" for name in BUDGETS}
    limits = {name: value for name, value in request.limits.items() if name not in hours}
    on_one = replace(request.machine, n_devices=None)
    first = _planned(estimate, replace(request, limits=limits, machine=on_one))
    if first.build is None:
        raise InputError(f"{_NO_SHAPE[0].text} Name the hardware.")
    n_devices = request.machine.n_devices
    choice = hardware_options(
        first.exact_flops.value,
        first.build.architecture,
        context=first.build.context,
        batch_tokens=int(first.build.batch_tokens.value),
        accelerators=among,
        n_devices=None if n_devices is None else [n_devices],
        max_days=request.limits.get("max_days"),
        max_usd=request.limits.get("max_usd"),
        sure=request.sure,
        level=request.level,
    )
    best = choice.best
    if best is None:
        raise InputError(f"{choice.problems[0].text} {choice.problems[0].remedy}")
    machine = Machine(device=find_accelerator(best.accelerator, among), n_devices=best.n_devices)
    made = _planned(estimate, replace(request, machine=machine))
    kept = tuple(one for one in choice.options if one.on_front or one == best)
    return replace(
        made,
        choice=replace(choice, options=kept, problems=()),
        problems=made.problems + choice.problems,
    )


def _explained(estimate: Estimate, made: Plan, wish: BuildWish, flop_cost: float) -> Plan:
    """The plan with what others would do, and with what a given run was made for."""
    explanation = None
    if made.build is not None:  # elsewhere no decoder translates one count into the other
        explanation = explain_allocation(
            estimate, made.flops.value, rule=wish.rule, level=made.level
        )
    revealed = None
    if not made.optimal:
        revealed = revealed_demand(
            estimate,
            made.n_params.value,
            made.n_tokens.value,
            inference_flop_cost=flop_cost,
            level=made.level,
        )
    return replace(made, explanation=explanation, revealed=revealed)


def _planned(estimate: Estimate, request: Request) -> Plan:
    draft = drafted(estimate, request)
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
    if request.budget is not None and draft.lifetime is None:
        given["flops"] = compute.value
    if draft.score is not None:
        given["loss"] = draft.score.loss
    return Plan(
        given=given,
        buys=_buys(request, draft),
        limits=request.limits,
        binding=solution.binding,
        n_params=sizes["n_params"],
        n_tokens=sizes["n_tokens"],
        flops=compute,
        tokens_per_param=sizes["tokens_per_param"],
        loss=_loss(prediction, given, request.level),
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
        near_optimal=near_sizes(estimate, compute.value) if chosen and plain else (),
        risk=_risk(estimate, chain, request, draft, given),
        build=draft.build,
        problems=estimate.problems
        + plan_problems(
            estimate, prediction, solution, extrapolation, lifetime=draft.lifetime, limited=limited
        )
        + (_NO_SHAPE if draft.build is None else draft.build.problems)
        + (() if draft.score is None else draft.score.problems),
        source=estimate.source,
        target=estimate.target,
        n_params_convention=estimate.n_params_convention,
        level=request.level,
        data_sha256=estimate.data_sha256,
    )


def _risk(
    estimate: Estimate, chain: Chain, request: Request, draft: Draft, given: Mapping[str, float]
) -> Risk:
    """Odds, shares, regret; where money is for training and serving, its odds are those of both."""
    plain = draft.lifetime is None and draft.limited is None
    found = risk(
        estimate,
        chain,
        _wishes(request, given.get("loss")),
        sure=request.sure,
        level=request.level,
        chosen=plain and not request.fixed,
        p_fits=None if draft.build is None else draft.build.p_fits,
    )
    money = None if draft.lifetime is None else draft.lifetime.money
    if money is None or money.p_over is None:
        return found
    return replace(found, odds={"usd": money.p_over, **found.odds})


def _buys(request: Request, draft: Draft) -> Interval | None:
    """What a budget in hours, days or money may turn out to buy."""
    name = request.budget
    if name is None or draft.lifetime is not None:
        return None
    return draft.rates.buys(name, request.goal[name], request.level)


def _exact(request: Request) -> dict[str, float]:
    """What is given to the last digit, unless serving shares it or a limit cuts it."""
    return {} if request.demand is not None else dict(request.goal)


def _inputs(
    estimate: Estimate, sizes: Mapping[str, Interval], limited: Limited | None
) -> tuple[dict[str, float], Estimate]:
    """The planned run, and the law of it: where text is short, with its repeats as they are."""
    inputs = {name: sizes[name].value for name in ("n_params", "n_tokens")}
    if limited is None:
        return inputs, estimate
    inputs["n_unique_tokens"] = min(inputs["n_tokens"], limited.unique_tokens)
    return inputs, limited_estimate(estimate)


def _chain(law: Estimate, inputs: Mapping[str, float], request: Request, draft: Draft) -> Chain:
    """Every draw of what is paid and of what comes out."""
    solution = draft.solution
    size = len(draft.rates.deviations["mfu"])
    # A goal in loss, size or tokens takes what each draw says; a budget is spent as planned.
    free = not {"flops", *BUDGETS} & request.goal.keys()
    draws = np.resize(solution.log_flops_draws, size)
    quiet = None
    goal = request.goal.get("loss")
    if draft.score is None and goal is not None and draft.lifetime is None and not draft.limited:
        frontier = frontier_of_draws(law)
        quiet = frontier.log_flops_of_loss(np.full(len(frontier), goal))
    elif len(request.goal) == 1 and {"n_params", "n_tokens"} & request.goal.keys():
        quiet = draws  # its optimum knows no noise
    return Chain(
        solution=solution,
        rates=draft.rates,
        log_flops=draws if free else np.full(size, solution.log_flops),
        loss=law.sample(inputs, size, of="run")[:, 0],
        mean_loss=law.sample(inputs, size, of="mean")[:, 0],
        quiet_flops=quiet,
        log_wanted=None if draft.score is None else draft.score.log_draws,
    )


def _paid(chain: Chain, name: str, level: float) -> Interval:
    """Device-hours, days or money."""
    middle = chain.solution.log_flops + float(np.log(chain.rates.per_flop(name)))
    return interval(middle, chain.log_cost(name), level)


def _wishes(request: Request, loss: float | None) -> dict[str, float]:
    """What a plan can miss: the goal, and the limits."""
    wishes = {name: request.goal[name] for name in BUDGETS if name in request.goal}
    if loss is not None:
        wishes["loss"] = loss
    if request.demand is not None:
        # These pay for serving too, and are not those of the training alone: see `Money`.
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


def _steps_of(
    source: Estimate | HasEstimate | TwoSteps, task: Estimate | None
) -> tuple[Estimate, Estimate | None]:
    """The law to plan by, and the law of a score."""
    if isinstance(source, Estimate) or not (hasattr(source, "first") and hasattr(source, "second")):
        return _estimate_of(source), task
    return _estimate_of(source.first), source.second if task is None else task


def _estimate_of(source: object) -> Estimate:
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
