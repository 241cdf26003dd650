"""Tables of a study's arms: constants, multipliers and early convergence; the proposed mixture."""

from collections.abc import Mapping
from typing import Any

from isoflop.reports import numbers
from isoflop.reports.rows import Rows

_CONSTANTS = ("E", "A", "alpha", "B", "beta")


def arm_tables(made: Mapping[str, Any]) -> tuple[Rows, ...]:
    """What `ArmComparison.to_json` gave, as tables: worth, floors, and the law of every arm."""
    outcomes = made["outcomes"]
    targets = list(dict.fromkeys(one["target"] for one in outcomes))
    arms = list(dict.fromkeys(one["arm"] for one in outcomes))
    of = {(one["arm"], one["target"]): one for one in outcomes}
    level = numbers.level(outcomes[0]["fit"]["theta"]["E"]["level"])
    worth = Rows(
        title=f"Effective compute multiplier over {made['base']}, by validation text, {level} "
        "intervals (above 1: the same loss for less compute)",
        header=("arm", *targets, "early tokens"),
        rows=tuple(
            (
                arm,
                *(_multiplier(of[arm, target]) for target in targets),
                _early(of[arm, targets[0]]),
            )
            for arm in arms
            if arm != made["base"]
        ),
    )
    floors = Rows(
        title=f"Irreducible loss E by validation text [nats/token], {level} intervals",
        header=("arm", *targets),
        rows=tuple(
            (arm, *(_interval(of[arm, target]["fit"]["theta"]["E"]) for target in targets))
            for arm in arms
        ),
    )
    constants = Rows(
        title=f"L = E + A/N^alpha + B/D^beta of {targets[0]}, {level} intervals",
        header=("arm", "runs", *_CONSTANTS),
        rows=tuple(_constants(arm, of[arm, targets[0]]["fit"]) for arm in arms),
    )
    run = outcomes[0]["largest"]
    measured = Rows(
        title=f"Measured at N = {numbers.count(run['n_params'])}, "
        f"D = {numbers.count(run['n_tokens'])} [nats/token]",
        header=("arm", *targets),
        rows=tuple(
            (arm, *(numbers.general(of[arm, t]["largest"]["loss"], 5) for t in targets))
            for arm in arms
        ),
    )
    return measured, worth, floors, constants


def proposal_rows(tested: Mapping[str, Any]) -> Rows:
    """The mixture that was proposed, what was forecast of it and what its run came to."""
    made, measured = tested["proposal"], tested["measured"]
    shares = made["shares"]
    tried = made["best_tried_shares"]
    rows = [
        (f"share of {name}", _interval(share), numbers.percent(tried[name]))
        for name, share in shares.items()
    ]
    rows.append(
        (
            f"{' + '.join(made['target'])} at N = {numbers.count(made['n_params'])}, "
            f"D = {numbers.count(made['n_tokens'])}",
            _interval(made["loss"]),
            numbers.general(made["best_tried"], 4),
        )
    )
    error = made["left_out_error"]
    missed = numbers.MISSING if error is None else numbers.percent(error)
    rows.append(("left-out mixtures were missed by", missed, ""))
    found = "not trained yet" if measured is None else numbers.general(measured, 4)
    rows.append(("measured", found, numbers.general(made["best_tried"], 4)))
    return Rows(
        title=f"Proposed mixture, by {made['law']}; hashed before its run",
        header=("", "proposed", "best mixture tried"),
        rows=tuple(rows),
    )


def _constants(arm: str, fit: Mapping[str, Any]) -> tuple[str, ...]:
    theta = fit["theta"]
    return (arm, str(fit["n_runs"]), *(_interval(theta[name]) for name in _CONSTANTS))


def _multiplier(outcome: Mapping[str, Any]) -> str:
    comparison = outcome["comparison"]
    return numbers.MISSING if comparison is None else _interval(comparison["multiplier"])


def _early(outcome: Mapping[str, Any]) -> str:
    early = outcome["early"]
    return numbers.MISSING if early is None else _interval(early["ratio"])


def _interval(value: Mapping[str, Any]) -> str:
    """`1.23 [1.10, 1.35]`; a number that JSON lacks is not known."""
    if value["value"] is None:
        return numbers.MISSING
    low, high = (
        "?" if value[end] is None else numbers.general(value[end], 3) for end in ("low", "high")
    )
    return f"{numbers.general(value['value'], 3)} [{low}, {high}]"
