"""Starts of laws along a run: amplitudes by least squares where the exponents are given."""

import numpy as np

from isoflop._types import Array

GRID = (0.15, 0.3, 0.5, 0.8)
"""Exponents tried."""

AMPLITUDE = 1e-3
"""Least start of an amplitude, as a share of the loss: at zero its log has no gradient."""


def linear_starts(columns: list[Array], loss: Array) -> Array:
    """Floor and amplitudes (1 + len(columns),) of `loss ~ floor + sum a_i column_i`, kept positive.

    A negative amplitude is set to a thousandth of the loss and the others are solved again.
    """
    basis = np.stack([np.ones_like(loss), *columns], axis=1) / loss[:, None]
    scale = np.maximum(np.abs(basis).max(axis=0), 1e-300)
    basis = basis / scale
    keep = np.ones(basis.shape[1], dtype=bool)
    answer = np.zeros(basis.shape[1])
    for _ in range(basis.shape[1]):
        values, *_ = np.linalg.lstsq(basis[:, keep], np.ones_like(loss), rcond=None)
        answer[:] = 0.0
        answer[keep] = values
        if (values >= 0).all():
            break
        keep &= answer > 0
    # In units of the basis an amplitude of one explains the whole loss somewhere.
    least = np.full(answer.size, AMPLITUDE)
    least[0] = 0.05 * loss.min() * scale[0]
    return np.asarray(np.maximum(answer, least) / scale)
