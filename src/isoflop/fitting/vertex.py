"""The minimum of an isoFLOP curve from the parabola through its runs, and that parabola's bias.

Under C = k N D an additive law is E + s (beta e^(-alpha u) + alpha e^(beta u)) at u = ln(N/N_opt):
no parabola unless alpha = beta. A parabola through a grid of sizes has its vertex elsewhere, by an
amount that hangs on the exponents and the grid alone, not on C, E, A or B.
Source: Czech et al. 2026, arXiv:2603.22339.
"""

import numpy as np

from isoflop._types import Array
from isoflop.laws import find_root

LEAST_CURVATURE = 1e-12


def parabola_shift(alpha: float, beta: float, offsets: Array) -> Array:
    """Vertex - minimum (...,) [ln N] of the parabola through ln(size/N_opt) = `offsets` (..., n).

    `-c1/(2 c2)` of the least-squares parabola through `beta e^(-alpha u) + alpha e^(beta u)`. For a
    grid symmetric about the optimum `c2 = (n S(u^2 y) - S2 S(y))/(n S4 - S2^2)`,
    `c1 = S(u y)/S2`. The shift of ln D is the negative. NaN where the parabola has no minimum.

    Source: Czech et al. 2026, arXiv:2603.22339.
    """
    # exp of a large offset is no valley any more: such a guess of the optimum is never right.
    u = np.clip(offsets, -60.0, 60.0)
    values = beta * np.exp(-alpha * u) + alpha * np.exp(beta * u)
    _, c1, c2 = parabola(u, values)
    with np.errstate(all="ignore"):
        return np.asarray(np.where(c2 > 0, -c1 / (2 * c2), np.nan))


def parabola(axis: Array, values: Array) -> tuple[Array, Array, Array]:
    """Coefficients c0, c1, c2 (...,) of the least-squares parabola through points (..., n)."""
    center = axis.mean(axis=-1, keepdims=True)
    u = axis - center
    basis = np.stack([np.ones_like(u), u, u**2], axis=-1)
    turned = np.swapaxes(basis, -1, -2)
    a0, a1, a2 = np.moveaxis(
        np.linalg.solve(turned @ basis, (turned @ values[..., None]))[..., 0], -1, 0
    )
    m = center[..., 0]
    return a0 - a1 * m + a2 * m**2, a1 - 2 * a2 * m, a2


def unbiased(vertex: Array, axis: Array, alpha: float, beta: float) -> Array:
    """The minimum (B,) whose parabola through the sizes `axis` (n,) [ln N] has that vertex (B,).

    For tokens swap the exponents. The vertex itself where it is NaN or the sizes do not reach
    around the minimum.
    """
    known = np.isfinite(vertex)
    asked = np.where(known, vertex, axis.mean())

    def excess(minimum: Array) -> Array:
        shift = parabola_shift(alpha, beta, axis - minimum[:, None])
        # Beyond the sizes the parabola bends the wrong way: the minimum lies nearer to them.
        side = np.sign(minimum - axis.mean())
        return np.where(np.isfinite(shift), minimum + shift - asked, side)

    low, high = (np.full(vertex.shape, float(end)) for end in (axis.min(), axis.max()))
    found = find_root(excess, low, high)
    solved = np.abs(excess(found)) < 1e-6
    return np.asarray(np.where(known & solved, found, vertex))
