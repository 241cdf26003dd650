"""`Draft`: the solution of a request at the rates of what would be built for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from isoflop._errors import InputError
from isoflop.accounting import FLOPS_PER_PARAM_TOKEN, Architecture
from isoflop.laws import Estimate, NearOptimal, near_optimal
from isoflop.planning.build import Build, Held
from isoflop.planning.build import build as build_run
from isoflop.planning.caps import Caps
from isoflop.planning.cheapest import SAMPLES
from isoflop.planning.cluster import SHORTEST_STEP, USUAL_DEVICES, beside_usual
from isoflop.planning.demand import Lifetime, solve_demand
from isoflop.planning.frontier import frontier_of_draws
from isoflop.planning.hardware_choice import hardware_options
from isoflop.planning.limited import Limited, limited_of, solve_limited
from isoflop.planning.rates import BUDGETS, Rates, rates
from isoflop.planning.request import Request
from isoflop.planning.score import ScoreTarget, loss_for_score
from isoflop.planning.served import ServingWish, replica, serving_curve
from isoflop.planning.solve import Asked, Solution, solve

ROUNDING = 1e-9

_ROUNDS = 6
"""Times that a budget's size is found again with the FLOPs a token of its own shape takes."""

_GUESS = 1e9
"""Parameters before any are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A solution and the rates that it was found with, which are those of its own shape."""

    solution: Solution
    rates: Rates
    ratio: float
    """Exact-causal FLOPs over 6·N·D."""
    kept: float = 1.0
    """See `Model`."""
    build: Build | None = None
    lifetime: Lifetime | None = None
    limited: Limited | None = None
    score: ScoreTarget | None = None
    """Where a score was asked for: the loss that it takes."""


def drafted(estimate: Estimate, request: Request) -> Draft:
    """The solution at the rates of its own build.

    Raises:
        InputError: no run within the limits does what is asked; the text names what binds.
    """
    if request.machine.n_devices is None and "max_days" in request.limits:
        request = _in_time(estimate, request)
    draft = _settled(estimate, request)
    if draft.solution.log_flops > _caps(request, draft.rates).log_flops + ROUNDING:
        raise InputError(_too_dear(request, draft))
    return draft


def _settled(estimate: Estimate, request: Request) -> Draft:
    """The solution at the rates of what would be built for it."""
    # Before a size is known nothing is known of hours: no limit on them may refuse it.
    free = replace(request, limits=_without(request.limits, *(f"max_{name}" for name in BUDGETS)))
    model = _model(estimate, request, _solved(estimate, free, Model.unknown(request)))
    draft = None
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
    # Its tokens are those of the last solution.
    return replace(draft, build=_model(estimate, request, draft).build)


def _without(limits: Mapping[str, float], *names: str) -> dict[str, float]:
    return {name: value for name, value in limits.items() if name not in names}


def _in_time(estimate: Estimate, request: Request) -> Request:
    """The request on the fewest devices, doubled from those that hold it, that meet the deadline.

    The most that the batch can occupy where none does.
    """
    draft = _settled(estimate, replace(request, limits=_without(request.limits, "max_days")))
    n_devices, kept = draft.rates.n_devices, draft.kept
    while _days_short(request, draft, n_devices, kept) > 1 and draft.build is not None:
        try:
            made = _build_on(estimate, request, draft, 2 * n_devices)
        except InputError:
            break
        n_devices, kept = made.layout.n_devices, _kept(made, request)
    return replace(request, machine=replace(request.machine, n_devices=n_devices))


def _days_short(request: Request, draft: Draft, n_devices: int, kept: float) -> float:
    """Compute of a draft over what `max_days` on that many devices allow."""
    build, n_params = draft.build, float(np.exp(draft.solution.log_params))
    cost = rates(
        request.machine,
        n_devices=n_devices,
        flops_per_token=FLOPS_PER_PARAM_TOKEN * n_params * draft.ratio,
        ratio=draft.ratio,
        size=SAMPLES,
        level=request.level,
        moe=build is not None and build.architecture.experts is not None,
        kept=kept,
    )
    # A per cent of room: draws are fewer here, and the shape may be another in the end.
    most = 0.99 * cost.flops_for("days", request.limits["max_days"], request.sure)
    return float(np.exp(draft.solution.log_flops) / most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """FLOPs of a token of what would be built, and on how many devices."""

    build: Build | None
    n_devices: int
    flops_per_token: float
    ratio: float
    """Exact-causal FLOPs of a token over 6·N."""
    kept: float = 1.0
    """Share of the speed of published runs that is left on so many devices."""

    @classmethod
    def unknown(cls, request: Request) -> "Model":
        """Before a size is known."""
        return cls.without_build(request, _GUESS)

    @classmethod
    def without_build(cls, request: Request, n_params: float) -> "Model":
        """6·N a token."""
        return cls(
            build=None,
            n_devices=request.machine.n_devices or request.build.devices_per_node,
            flops_per_token=FLOPS_PER_PARAM_TOKEN * n_params,
            ratio=1.0,
        )

    def same(self, other: "Model") -> bool:
        """Whether both are built alike."""
        shapes = [None if one.build is None else one.build.architecture for one in (self, other)]
        return shapes[0] == shapes[1] and self.n_devices == other.n_devices


def _model(estimate: Estimate, request: Request, draft: Draft) -> Model:
    """What would be built for a solution; 6·N a token where the family has none so small."""
    solution, wish = draft.solution, request.build
    n_params = float(np.exp(solution.log_params))
    if wish.architecture is None:
        try:
            wish.rule.nearest(n_params, estimate.n_params_convention)
        except InputError:
            return Model.without_build(request, n_params)
    made = _build_on(estimate, request, draft, request.machine.n_devices)
    return Model(
        build=made,
        n_devices=made.layout.n_devices,
        flops_per_token=made.flops_per_token,
        ratio=made.ratio,
        kept=_kept(made, request),
    )


def _build_on(estimate: Estimate, request: Request, draft: Draft, n_devices: int | None) -> Build:
    """The build of a solution, within the request's limits."""
    solution, limits = draft.solution, request.limits
    max_tokens = min(limits.get("max_n_tokens", np.inf), request.goal.get("n_tokens", np.inf))
    return build_run(
        estimate,
        n_params=float(np.exp(solution.log_params)),
        n_tokens=float(np.exp(solution.log_tokens)),
        near=_bearable(estimate, request, draft),
        device=request.machine.device,
        n_devices=n_devices,
        wish=request.build,
        held=Held(
            max_params=limits.get("max_n_params", np.inf),
            max_tokens=max_tokens,
            allowed=_served_in_time(request.serving),
        ),
    )


def _served_in_time(serving: ServingWish | None) -> Callable[[Architecture], bool]:
    """Whether a decoder fits its replica and keeps the limits on latency."""

    def allowed(shape: Architecture) -> bool:
        if serving is None:
            return True
        try:
            replica(serving, shape)
        except InputError:
            return False
        return True

    return allowed


def _kept(made: Build, request: Request) -> float:
    """What interruptions and short steps leave beside the published runs behind the prior."""
    machine, n_devices = request.machine, made.layout.n_devices
    if machine.mfu is not None or machine.step_mfu is not None:
        return 1.0
    usual = made.step is None or made.step.compute_s >= SHORTEST_STEP
    if n_devices <= USUAL_DEVICES and usual:
        return 1.0
    try:
        choice = hardware_options(
            made.flops,
            made.architecture,
            context=made.context,
            batch_tokens=int(made.batch_tokens.value),
            accelerators=[machine.device],
            n_devices=[n_devices],
            sure=request.sure,
        )
    except InputError:
        return beside_usual(n_devices)
    return choice.options[0].kept


def _bearable(estimate: Estimate, request: Request, draft: Draft) -> tuple[float, float]:
    """Sizes among which round numbers and memory may choose: those that lose 0.1 % of loss."""
    solution = draft.solution
    size = float(np.exp(solution.log_params))
    held = solution.binding or request.fixed or "n_params" in request.goal
    if held or draft.lifetime is not None or draft.limited is not None:
        return size, size
    first = near_sizes(estimate, float(np.exp(solution.log_flops)))[0]
    return min(first.n_low, size), max(first.n_high, size)


def _solved(estimate: Estimate, request: Request, model: Model) -> Draft:
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
        moe=model.build is not None and model.build.architecture.experts is not None,
        kept=model.kept,
    )
    caps = _caps(request, cost)
    score = None
    if request.second is not None:
        score = loss_for_score(request.second, request.goal["score"], size)
    asked = _asked(request, cost, score)
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
            log_loss_draws=asked.log_loss_draws,
        )
        if unique is not None:
            limited = limited_of(estimate, solution, unique, request.level)
    elif unique is not None:
        solution, limited = solve_limited(
            estimate,
            asked.values,
            unique,
            request.level,
            caps=caps,
            log_loss_draws=asked.log_loss_draws,
        )
    else:
        solution = solve(estimate, asked, request.level, caps)
    return Draft(
        solution=solution,
        rates=cost,
        ratio=model.ratio,
        kept=model.kept,
        lifetime=lifetime,
        limited=limited,
        score=score,
    )


def _asked(request: Request, cost: Rates, score: ScoreTarget | None) -> Asked:
    """The goal in what laws know: compute, loss, size, tokens."""
    known = ("flops", "loss", "n_params", "n_tokens")
    values = {name: value for name, value in request.goal.items() if name in known}
    if score is not None:
        with np.errstate(invalid="ignore"):
            draws = score.log_draws - np.log(score.loss)
        return Asked(values={**values, "loss": score.loss}, log_loss_draws=draws)
    if request.budget is None:
        return Asked(values=values)
    name = request.budget
    flops = cost.flops_for(name, request.goal[name], request.sure)
    return Asked(values={**values, "flops": flops})


def _caps(request: Request, cost: Rates) -> Caps:
    """The limits in what laws know; of several on the compute the tightest."""
    limits = request.limits
    allowed = {"max_flops": limits["max_flops"]} if "max_flops" in limits else {}
    for name in BUDGETS:
        if (wish := f"max_{name}") in limits:
            allowed[wish] = cost.flops_for(name, limits[wish], request.sure)
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


def _too_dear(request: Request, draft: Draft) -> str:
    """Why no run within the limits does what is asked, and what would."""
    cost, solution = draft.rates, draft.solution
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
        remedy += f", give n_devices={_enough(request, draft)}"
    return f"{text}.{remedy}, or ask for less."


def _enough(request: Request, draft: Draft) -> int:
    """Devices that would meet the deadline, at the MFU of so many."""
    n_devices = draft.rates.n_devices
    for _ in range(_ROUNDS * 4):
        short = _days_short(request, draft, n_devices, draft.kept * beside_usual(n_devices))
        if short <= 1:
            break
        n_devices = ceil(n_devices * max(short, 1.01))
    return n_devices


def near_sizes(estimate: Estimate, flops: float) -> tuple[NearOptimal, ...]:
    """Sizes that lose 0.1 % and 0.5 % of the lowest loss of a budget."""
    return near_optimal(estimate, flops, k=FLOPS_PER_PARAM_TOKEN)
