"""Laws of two recipes at once: a `Law` of the runs becomes a `Law` of both arms' runs.

With `arm` 1 or 2 as a further input, three nested models say how the second recipe differs:

- `shared`: L_2(N, D) = L_1(r_N N, r_D D). Exponents and floor are shared, amplitudes are own; the
  second arm is worth the first at r_N r_D times the compute, at every scale.
- `own_floor`: the same with a floor of its own: the multiplier moves with the loss.
- `per_arm`: nothing is shared.

A table of one variable x has one ratio r_x. Source: laws.md 7.4; the algorithmic-progress form of
Ho et al. 2024, arXiv:2403.05812, has the same r_N, r_D as powers of e in the year.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from scipy.interpolate import CubicSpline

from isoflop._types import Array
from isoflop.laws import CLOSED_FORM, Inputs, Law, Param, optimum
from isoflop.laws._law import complex_step, keep_units

Model = Literal["shared", "own_floor", "per_arm"]

FIRST, SECOND = 1.0, 2.0
"""Values of the input `arm`; positive, as all inputs are."""

RATIOS = (0.5, 1.0, 2.0)
"""Ratios that a fit of shared exponents starts from."""

KNOTS = 50
"""Budgets that a law without a closed form is searched at, between them a spline of ln L."""

SEARCH = 1e4
"""Compute is looked for this far beyond the runs, on either side."""


def models_of(base: Law) -> tuple[Model, ...]:
    """The models that the law has: without a floor there is no `own_floor`."""
    return ("shared", "own_floor", "per_arm") if "E" in base.names else ("shared", "per_arm")


def two_arms(base: Law, model: Model, first: Array, second: Array) -> Law:
    """The law of both arms, started from the parameters (P,) fitted to each arm alone."""

    def predict(theta: Array, inputs: Inputs) -> Array:
        return _predict(base, model, theta, inputs)

    starts = _starts(base, model, first, second)
    return Law(
        name=f"{base.name}_{model}",
        params=(*base.params, *_extra_params(base, model)),
        inputs=(*base.inputs, "arm"),
        predict=predict,
        jacobian=complex_step(predict),
        rescale=keep_units,
        formula=f"{base.formula}, for two recipes ({model})",
        source=base.source,
        range_note=base.range_note,
        starts=lambda inputs, target: starts,
        scaled=False,
        target=base.target,
    )


def _extra_params(base: Law, model: Model) -> tuple[Param, ...]:
    if model == "per_arm":
        return tuple(
            Param(name=f"{p.name}_2", low=p.low, high=p.high, unit=p.unit, real=p.real)
            for p in base.params
        )
    ratios = tuple(Param(name=f"r_{name}", low=1e-4, high=1e4) for name in base.inputs)
    return ratios if model == "shared" else (*ratios, Param(name="r_E", low=1e-3, high=1e3))


def _predict(base: Law, model: Model, theta: Array, inputs: Inputs) -> Array:
    size = len(base.params)
    second = inputs["arm"] > (FIRST + SECOND) / 2
    own = {name: inputs[name] for name in base.inputs}
    if model == "per_arm":
        one, two = base.predict(theta[..., :size], own), base.predict(theta[..., size:], own)
        return np.where(second, two, one)
    worth = {
        name: column * np.where(second, theta[..., size + k, None], 1.0)
        for k, (name, column) in enumerate(own.items())
    }
    loss = base.predict(theta[..., :size], worth)
    if model == "own_floor":
        floor = theta[..., base.names.index("E"), None]
        loss = loss + np.where(second, floor * (theta[..., -1, None] - 1.0), 0.0)
    return loss


def _starts(base: Law, model: Model, first: Array, second: Array) -> Array:
    if model == "per_arm":
        pairs = ((first, second), (first, first), (second, second))
        return np.array([np.concatenate(pair) for pair in pairs])
    grid = np.meshgrid(*[RATIOS] * len(base.inputs), indexing="ij")
    ratios = np.stack([axis.ravel() for axis in grid], axis=-1)
    if model == "own_floor":
        ratios = np.concatenate([ratios, np.ones((len(ratios), 1))], axis=1)
    arms = (np.tile(one, (len(ratios), 1)) for one in (first, second))
    return np.concatenate([np.concatenate([one, ratios], axis=1) for one in arms])


def log_costs(
    base: Law, model: Model, theta: Array, log_loss: Array, span: tuple[float, float]
) -> tuple[Array, Array]:
    """ln C (B, Q) at which each arm's best runs reach the losses exp(log_loss) (Q,).

    Args:
        base: the law of one arm.
        model: how the arms differ.
        theta: parameters (B, P) of the two-arm law.
        log_loss: natural logs of the losses asked for (Q,).
        span: smallest and largest compute [N D, or x] of the runs. Beyond 1e4 times either the
            answer is the edge: the loss is then not reached at any price that matters.
    """
    size = len(base.params)
    log_c = np.linspace(np.log(span[0] / SEARCH), np.log(span[1] * SEARCH), 400)
    front = frontier_loss(base, theta[:, :size], np.exp(log_c))
    loss = np.broadcast_to(np.exp(log_loss), (len(theta), log_loss.size))
    one = _invert(log_c, front, loss)
    if model == "per_arm":
        two = _invert(log_c, frontier_loss(base, theta[:, size:], np.exp(log_c)), loss)
        return one, two
    ratios = theta[:, size : size + len(base.inputs)]
    if model == "own_floor":
        lift = theta[:, base.names.index("E")] * (theta[:, -1] - 1.0)
        two = _invert(log_c, front, loss - lift[:, None])
    else:
        two = one
    return one, two - np.log(ratios).sum(axis=1)[:, None]


def frontier_loss(base: Law, theta: Array, compute: Array) -> Array:
    """Lowest loss (B, G) at compute (G,) in units of N D, or at x = compute."""
    if "n_params" in base.inputs and base.name in CLOSED_FORM:
        return optimum(theta, compute, k=1.0, law=base).loss
    if "n_params" in base.inputs:
        # A searched optimum costs a hundred evaluations: along the compute it is smooth.
        knots = np.geomspace(compute[0], compute[-1], KNOTS)
        found = np.log(optimum(theta, knots, k=1.0, law=base).loss)
        return np.asarray(np.exp(CubicSpline(np.log(knots), found, axis=1)(np.log(compute))))
    return base.predict(theta, {base.inputs[0]: compute})


def _invert(log_c: Array, front: Array, loss: Array) -> Array:
    """ln C (B, Q) at which falling curves (B, G) over log_c reach the losses (B, Q)."""
    falling = np.minimum.accumulate(front, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        heights, asked = -np.log(falling), -np.log(np.maximum(loss, 1e-300))
    rows = [np.interp(q, h, log_c) for q, h in zip(asked, heights, strict=True)]
    return np.array(rows)


def scaled_columns(
    columns: Mapping[str, Array], names: tuple[str, ...]
) -> tuple[dict[str, Array], dict[str, float]]:
    """Columns divided by their geometric means, and those means."""
    scales = {name: float(np.exp(np.log(columns[name]).mean())) for name in names}
    return {name: columns[name] / scale for name, scale in scales.items()}, scales
