"""Mixture laws: the loss on one target as a function of the shares of the training domains.

What to use when:
- `exponential_mixing`: one size, one horizon, shares vary; the default, a run or two a domain.
- `bimix`: one domain's share and the tokens vary; ignores what the other domains are.
- `additive_mixture`: shares, size and tokens vary; the best shares do not depend on scale.
- `joint_mixture`: the same, and the best shares may move with scale; needs many more runs.

Each is a factory, since the number of domains varies. Columns are `w_<domain>`, which must add up
to one; a share may be zero (not for `bimix`, which has no value there).
"""

from collections.abc import Mapping
from functools import partial

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array
from isoflop.laws._law import Inputs, Law, Param, keep_units

FLOORS = (0.0, 0.3, 0.6, 0.8, 0.9, 0.97)
"""Floors that starts are made at, as shares of the lowest loss."""

_SLOPES = (0.03, 0.1, 0.25, 0.5)

_E = Param(name="E", low=1e-3, high=1e3, unit="nats/token")


def share_names(domains: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the share columns, `w_<domain>`.

    Raises:
        InputError: fewer than two domains, or one named twice.
    """
    if len(set(domains)) < 2 or len(set(domains)) < len(domains):
        raise InputError(
            f"`domains` must name at least two different domains, but got {domains}. Name them all."
        )
    return tuple(f"w_{domain}" for domain in domains)


def exponential_mixing(domains: tuple[str, ...]) -> Law:
    """`L = E + exp(sum_j t_j w_j)`: reducible losses mix geometrically.

    The paper writes `c + k exp(sum_j t_j w_j)`. As the shares add up to one, k and a constant
    added to every t_j are the same thing; the gauge here is k = 1. So `exp(t_j)` is the reducible
    loss on the target after training on domain j alone.

    Raises:
        InputError: fewer than two domains, or one named twice.

    Source: Ye et al. 2024, arXiv:2403.16952.
    """
    names = share_names(domains)

    def reducible(theta: Array, inputs: Inputs) -> Array:
        total = sum(theta[..., 1 + j, None] * inputs[name] for j, name in enumerate(names))
        return np.asarray(np.exp(total))

    def predict(theta: Array, inputs: Inputs) -> Array:
        return np.asarray(theta[..., 0, None] + reducible(theta, inputs))

    def jacobian(theta: Array, inputs: Inputs) -> Array:
        value = reducible(theta, inputs)
        return np.stack([np.ones_like(value), *(value * inputs[n] for n in names)], axis=-1)

    def starts(inputs: Inputs, loss: Array) -> Array:
        shares = np.stack([inputs[name] for name in names], axis=1)
        floors = [max(share, 1e-3) * float(loss.min()) for share in FLOORS]
        slopes = [np.linalg.lstsq(shares, np.log(loss - e), rcond=None)[0] for e in floors]
        return np.column_stack([floors, slopes])

    return Law(
        name=f"exponential_mixing[{len(domains)}]",
        params=(_E, *(Param(name=f"t_{d}", low=-20.0, high=8.0, real=True) for d in domains)),
        inputs=names,
        predict=predict,
        jacobian=jacobian,
        rescale=keep_units,
        formula="L = E + exp(sum_j t_j w_j)",
        source="Ye et al. 2024, arXiv:2403.16952, with k = 1",
        range_note="One size and one horizon; mixtures inside the hull of those that were run.",
        starts=starts,
        scaled=False,
    )


def bimix(domain: str) -> Law:
    """`L = (B/D^beta + C) / w^alpha`: a domain's own loss from its share and the tokens.

    The paper has one more factor A in front, which B and C absorb; the gauge here is A = 1.
    D may be steps or tokens: here tokens of the whole mixture.

    Source: Ge et al. 2024, arXiv:2405.14908.
    """
    share = f"w_{domain}"

    def parts(theta: Array, inputs: Inputs) -> tuple[Array, Array, Array]:
        alpha, b, beta = (theta[..., i, None] for i in range(3))
        with np.errstate(divide="ignore"):
            by_share = np.exp(-alpha * np.log(inputs[share]))
        by_data = np.exp(np.log(b) - beta * np.log(inputs["n_tokens"]))
        return by_share, by_data, by_data + theta[..., 3, None]

    def predict(theta: Array, inputs: Inputs) -> Array:
        by_share, _, total = parts(theta, inputs)
        return np.asarray(by_share * total)

    def jacobian(theta: Array, inputs: Inputs) -> Array:
        by_share, by_data, total = parts(theta, inputs)
        columns = [
            -by_share * total * np.log(inputs[share]),
            by_share * by_data / theta[..., 1, None],
            -by_share * by_data * np.log(inputs["n_tokens"]),
            by_share * np.ones_like(total),
        ]
        return np.stack(columns, axis=-1)

    return Law(
        name=f"bimix[{domain}]",
        params=(
            Param(name="alpha", low=1e-4, high=5.0),
            Param(name="B", low=1e-200, high=1e200, unit="nats/token * tokens^beta"),
            Param(name="beta", low=5e-3, high=3.0),
            Param(name="C", low=1e-6, high=1e3, unit="nats/token"),
        ),
        inputs=(share, "n_tokens"),
        predict=predict,
        jacobian=jacobian,
        rescale=_rescale_bimix,
        formula="L = (B/D^beta + C) / w^alpha",
        source="Ge et al. 2024, arXiv:2405.14908, with A = 1",
        range_note="Shares above zero; the loss on a domain that is itself in the mixture.",
        starts=partial(_bimix_starts, share),
    )


def _bimix_starts(share: str, inputs: Inputs, loss: Array) -> Array:
    rows = []
    for alpha in _SLOPES:
        for beta in _SLOPES:
            flat = loss * inputs[share] ** alpha
            basis = np.stack([inputs["n_tokens"] ** -beta, np.ones_like(loss)], axis=1)
            least = 0.05 * float(np.median(flat))
            b, c = np.maximum(np.linalg.lstsq(basis, flat, rcond=None)[0], least)
            rows.append([alpha, b, beta, c])
    return np.array(rows)


def _rescale_bimix(theta: Array, scales: Mapping[str, float]) -> Array:
    out = theta.copy()
    out[..., 1] *= scales["n_tokens"] ** -theta[..., 2]
    return out
