"""What a plan has to say against itself, beside the problems of its law."""

import numpy as np

from isoflop._types import Prediction, Problem
from isoflop.laws import Estimate
from isoflop.planning.demand import Lifetime
from isoflop.planning.limited import HALF_LIFE, Limited
from isoflop.planning.solve import Solution

MANY_EPOCHS = 4.0
"""Epochs beyond which repeats are worth clearly less than new tokens. Source: Muennighoff et al.
2023, arXiv:2305.16264."""

OVER_TRAINED, FAR_OVER_TRAINED = 5.0, 30.0
"""Tokens a parameter, times the compute-optimal ones, from which on it is told, and warned of."""

WARN_BEYOND = 10.0
"""Extrapolation ratio from which on it is a warning rather than a note."""


def plan_problems(
    estimate: Estimate,
    prediction: Prediction,
    solution: Solution,
    ratio: float | None,
    *,
    lifetime: Lifetime | None,
    limited: Limited | None,
) -> tuple[Problem, ...]:
    """The plan's own problems: how far beyond the runs, what is not known, what is not reached.

    Args:
        estimate: the law.
        prediction: the loss of the planned run, with the law's view of the distance.
        solution: the planned run and its draws.
        ratio: FLOPs planned over FLOPs of the largest run, if known.
        lifetime: what serving takes, where there is a demand.
        limited: the text that there is, where it is a limit.
    """
    return (
        *_extrapolation(estimate, prediction, ratio),
        *_convention(estimate),
        *_unreachable(solution),
        *(_all_new(estimate, solution) if limited is None else ()),
        *_over_training(solution, lifetime),
        *_repeats(limited),
    )


def _repeats(limited: Limited | None) -> tuple[Problem, ...]:
    """`repeated_data` where a plan reads its text again: how often, and on whose word."""
    if limited is None or limited.epochs.value <= 1 + 1e-9:
        return ()
    epochs = limited.epochs
    word = (
        f"what a repeat is worth (R = {HALF_LIFE:.3g}) is that of Muennighoff et al., not of the "
        "runs"
        if limited.assumed
        else "what a repeat is worth is that of the runs"
    )
    return (
        Problem(
            code="repeated_data",
            severity="warning" if epochs.value > MANY_EPOCHS or limited.assumed else "note",
            text=f"The plan reads its {limited.unique_tokens:.3g} distinct tokens "
            f"{epochs.value:.3g} times [{epochs.low:.3g}, {epochs.high:.3g}]; {word}.",
            remedy="Add text, or train pilots that repeat as often (`unique_tokens` of a domain).",
            affects=("allocation", "forecast"),
        ),
    )


def _over_training(solution: Solution, lifetime: Lifetime | None) -> tuple[Problem, ...]:
    """`over_trained` where a demand asks for many times the compute-optimal tokens a parameter.

    Source: Sardana et al. 2024, arXiv:2401.00448: laws fitted at ordinary tokens a parameter
    overstate what further tokens bring.
    """
    if lifetime is None:
        return ()
    ratio = float(np.exp(solution.log_tokens - solution.log_params))
    usual = lifetime.compute_optimal[1] / lifetime.compute_optimal[0]
    if ratio < OVER_TRAINED * usual:
        return ()
    return (
        Problem(
            code="over_trained",
            severity="warning" if ratio > FAR_OVER_TRAINED * usual else "note",
            text=f"{ratio:.3g} tokens a parameter are {ratio / usual:.3g} times the "
            "compute-optimal ones: laws fitted at ordinary ratios overstate what the further "
            "tokens bring.",
            remedy="Train a pilot at this ratio, or take a larger model.",
        ),
    )


def _all_new(estimate: Estimate, solution: Solution) -> tuple[Problem, ...]:
    """Where the law knows repeated data: how many distinct tokens the plan takes for granted."""
    if "n_unique_tokens" not in estimate.inputs:
        return ()
    return (
        Problem(
            code="repeated_data",
            severity="note",
            text="The plan counts every token as new: it takes "
            f"{np.exp(solution.log_tokens):.3g} distinct ones.",
            remedy="With fewer, ask the fit: predict with n_unique_tokens.",
            affects=("allocation", "forecast"),
        ),
    )


def _extrapolation(
    estimate: Estimate, prediction: Prediction, ratio: float | None
) -> tuple[Problem, ...]:
    if ratio is None or ratio <= 1 + 1e-9:
        # Within the compute of the runs a size or a token count may still lie outside theirs.
        return tuple(
            problem
            for problem in prediction.problems
            if problem.code == "extrapolation" and problem not in estimate.problems
        )
    return (
        Problem(
            code="extrapolation",
            severity="warning" if ratio > WARN_BEYOND else "note",
            text=f"The plan takes {ratio:.3g} times the FLOPs of the largest run behind the law.",
            remedy="Train a larger pilot before the full budget is committed.",
        ),
    )


def _convention(estimate: Estimate) -> tuple[Problem, ...]:
    told = any(problem.code == "unknown_convention" for problem in estimate.problems)
    if estimate.n_params_convention != "unknown" or told:
        return ()
    return (
        Problem(
            code="unknown_convention",
            severity="note",
            text="It is not known what the law's N counts; FLOPs are 6·N·D with that N.",
            remedy="State the convention of n_params when the runs are read.",
        ),
    )


def _unreachable(solution: Solution) -> tuple[Problem, ...]:
    lost = 1 - float(np.mean(np.isfinite(solution.log_flops_draws)))
    if lost == 0:
        return ()
    why = "lies below the irreducible loss: no compute reaches it"
    if solution.binding:
        why = f"is not reached by any run within {', '.join(solution.binding)}"
    return (
        Problem(
            code="floor_unidentified",
            severity="warning" if lost > 0.01 else "note",
            text=f"In {100 * lost:.2g} % of draws the loss asked for {why}.",
            remedy="Ask for a higher loss, or add runs that pin the floor down.",
        ),
    )
