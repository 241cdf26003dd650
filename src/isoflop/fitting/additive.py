"""Objective, gradient and exact curvature of additive laws, many problems at once.

For `theta[0] + sum_k A_k x_k^-alpha_k` every derivative is one of the terms times a power of
log x_k, so that gradient and Newton matrix of B problems are a few (B, R) @ (R, 3) products.
The exact curvature matters where Huber's delta is far below the noise (the field's 1e-3): there
reweighted least squares creeps, and Newton's method ends in a dozen steps.
"""

from collections.abc import Iterator

import numpy as np

from isoflop._types import Array
from isoflop.fitting.objective import Curvature, Target, row_loss

BLOCK = 9_000
"""Elements of a (B, R) block: two dozen such arrays stay in a core's second-level cache."""


def additive_curvature(target: Target, z: Array, losses: Array, weight: Array) -> Curvature:
    """Objective (B,), gradient (B, P) and Hessian (B, P, P) in log parameters, block by block."""
    blocks = list(_blocks(len(z), losses.shape[-1]))
    parts = [_one_block(target, z[b], _rows(losses, b), _rows(weight, b)) for b in blocks]
    if len(parts) == 1:
        return parts[0]
    return Curvature(
        objective=np.concatenate([part.objective for part in parts]),
        gradient=np.concatenate([part.gradient for part in parts]),
        hessian=np.concatenate([part.hessian for part in parts]),
    )


def _blocks(n_problems: int, n_rows: int) -> Iterator[slice]:
    size = max(BLOCK // max(n_rows, 1), 1)
    return (slice(at, at + size) for at in range(0, n_problems, size))


def _rows(values: Array, block: slice) -> Array:
    return values if len(values) == 1 else values[block]


def _one_block(target: Target, z: Array, losses: Array, weight: Array) -> Curvature:
    law = target.law
    theta = np.exp(z)
    floor = theta[:, :1]
    logs = [target.logs[term.input] for term in law.terms]
    with np.errstate(all="ignore"):
        powers = [
            np.exp(z[:, term.amplitude, None] - theta[:, term.exponent, None] * x)
            for term, x in zip(law.terms, logs, strict=True)
        ]
        total = floor + sum(powers)
        if target.level:
            residual, share, ground = total - losses, powers, np.broadcast_to(floor, total.shape)
        else:
            residual = np.log(total) - losses
            inverse = 1.0 / total
            share, ground = [power * inverse for power in powers], floor * inverse
        loss, first, second = row_loss(target, residual)
    objective = (loss * weight).sum(axis=-1)
    first, second = first * weight, second * weight
    if not target.level:
        # d2 log p = p''/p - (p'/p)(p'/p)': the second part joins the Gauss-Newton products.
        second = second - first
    gradient, hessian = _moments(target, share, ground, first, second)
    _to_logs(target, theta, gradient, hessian)
    return Curvature(objective=objective, gradient=gradient, hessian=hessian)


def _moments(
    target: Target, share: list[Array], ground: Array, first: Array, second: Array
) -> tuple[Array, Array]:
    """Gradient and Hessian in (log floor, log amplitudes, exponents)."""
    law, basis = target.law, target.basis
    size = len(law.params)
    gradient = np.zeros((len(ground), size))
    hessian = np.zeros((len(ground), size, size))

    gradient[:, 0] = bent = (first * ground).sum(axis=-1)
    weighted_ground = second * ground
    hessian[:, 0, 0] = (weighted_ground * ground).sum(axis=-1) + bent
    for k, term in enumerate(law.terms):
        a, alpha = term.amplitude, term.exponent
        by = basis[term.input]  # (R, 3): 1, -x, x^2
        slope = (first * share[k]) @ by
        gradient[:, a] += slope[:, 0]
        gradient[:, alpha] += slope[:, 1]
        weighted = second * share[k]
        square = (weighted * share[k]) @ by + slope
        hessian[:, a, a] += square[:, 0]
        _add(hessian, a, alpha, square[:, 1])
        hessian[:, alpha, alpha] += square[:, 2]
        mixed = (weighted_ground * share[k]) @ by[:, :2]
        _add(hessian, 0, a, mixed[:, 0])
        _add(hessian, 0, alpha, mixed[:, 1])
        for other in range(k):
            b, beta = law.terms[other].amplitude, law.terms[other].exponent
            pair = (weighted * share[other]) @ _pair(by, basis[law.terms[other].input])
            _add(hessian, a, b, pair[:, 0])
            _add(hessian, alpha, b, pair[:, 1])
            _add(hessian, a, beta, pair[:, 2])
            # Tied exponents meet on the diagonal: their cross term counts twice there.
            _add(hessian, alpha, beta, pair[:, 3] * (2.0 if alpha == beta else 1.0))
    return gradient, hessian


def _pair(one: Array, other: Array) -> Array:
    """(R, 4): 1, -x, -y, x y."""
    return np.stack([one[:, 0], one[:, 1], other[:, 1], one[:, 1] * other[:, 1]], axis=1)


def _add(hessian: Array, i: int, j: int, value: Array) -> None:
    hessian[:, i, j] += value
    if i != j:
        hessian[:, j, i] += value


def _to_logs(target: Target, theta: Array, gradient: Array, hessian: Array) -> None:
    """Turn derivatives by an exponent into derivatives by its logarithm, in place."""
    for i in {term.exponent for term in target.law.terms}:
        exponent = theta[:, i]
        hessian[:, i, :] *= exponent[:, None]
        hessian[:, :, i] *= exponent[:, None]
        gradient[:, i] *= exponent
        hessian[:, i, i] += gradient[:, i]
