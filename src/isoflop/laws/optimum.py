"""Compute-optimal size and tokens: in closed form where a law has one, else by search."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from isoflop._errors import InputError
from isoflop._types import Array, as_column
from isoflop.laws._law import Law
from isoflop.laws.chinchilla import CHINCHILLA
from isoflop.laws.numeric_optimum import best_log_size

CLOSED_FORM = ("chinchilla", "chinchilla_tied", "kaplan_joint", "kaplan_floor", "skaling")
"""Laws that are a monotone function of an additive law of size and tokens."""

SLOPE_STEP = 0.05
"""Half the distance in ln C over which the exponents of a searched optimum are measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """Best split of a compute budget: `n_params`, `n_tokens`, `loss` (..., G), exponents (...)."""

    n_params: Array
    n_tokens: Array
    loss: Array
    a: Array
    """Exponent of N_opt ~ C^a."""
    b: Array
    """Exponent of D_opt ~ C^b."""


def optimum(theta: ArrayLike, flops: ArrayLike, k: float = 6.0, law: Law = CHINCHILLA) -> Optimum:
    """Minimise the loss under C = k N D: `N_opt = G (C/k)^a`, `D_opt = (C/k)^b / G`.

    With `L = E + A/N^alpha + B/D^beta`: `G = (alpha A / (beta B))^(1/(alpha+beta))`,
    `a = beta/(alpha+beta)`, `b = alpha/(alpha+beta)`. Kaplan's joint law is a monotone function
    of an additive one with exponents alpha_N/alpha_D and 1, the coupled law of one with
    exponents alpha/k and beta/k, so the same closed form holds. Any other law of size and tokens
    is searched along the budget; its exponents are those at the middle of the budgets.

    Args:
        theta: (..., P) parameters; a leading axis of draws is kept.
        flops: (G,) compute budgets [FLOPs].
        k: FLOPs per parameter and token.
        law: the law that theta belongs to.

    Raises:
        InputError: the law is not one of n_params and n_tokens.

    Source: Hoffmann et al. 2022, arXiv:2203.15556, eq. 4.
    """
    theta = np.asarray(theta, dtype=np.float64)
    budget = as_column(flops) / k
    if law.name not in CLOSED_FORM:
        return _searched(theta, budget, law)
    a_term, alpha, b_term, beta = (part[..., None] for part in additive_form(theta, law))
    share = beta / (alpha + beta)
    log_g = (np.log(alpha / beta) + a_term - b_term) / (alpha + beta)
    # A draw whose terms differ by hundreds of decades has its optimum at infinity: so be it.
    with np.errstate(over="ignore", divide="ignore"):
        n_params = np.exp(log_g + share * np.log(budget))
        n_tokens = np.exp((1 - share) * np.log(budget) - log_g)
        loss = _predict_each(law, theta, n_params, n_tokens)
    return Optimum(
        n_params=n_params, n_tokens=n_tokens, loss=loss, a=share[..., 0], b=1 - share[..., 0]
    )


def frontier_exponent(theta: ArrayLike, law: Law = CHINCHILLA) -> Array:
    """Exponent g of `L*(C) = E + K C^-g` on the frontier: `alpha beta/(alpha+beta)`."""
    theta = np.asarray(theta, dtype=np.float64)
    _, alpha, _, beta = additive_form(theta, law)
    power = next((name for name in ("k", "alpha_D") if name in law.names), None)
    outer = theta[..., law.names.index(power)] if power else 1.0
    return np.asarray(outer * alpha * beta / (alpha + beta))


def additive_form(theta: Array, law: Law) -> tuple[Array, Array, Array, Array]:
    """(log A, alpha, log B, beta): the law is a rising function of A/N^alpha + B/D^beta.

    Raises:
        InputError: the law is none of CLOSED_FORM.
    """
    part = {name: theta[..., i] for i, name in enumerate(law.names)}
    if law.name not in CLOSED_FORM:
        raise InputError(
            f"`law` must have its optimum in closed form, but got {law.name!r}. "
            f"Use {', '.join(CLOSED_FORM)}."
        )
    if "k" in part:
        outer = part["k"]
        a, b = np.log(part["A"]) / outer, np.log(part["B"]) / outer
        return a, part["alpha"] / outer, b, part["beta"] / outer
    if "A" in part:
        return np.log(part["A"]), part["alpha"], np.log(part["B"]), part.get("beta", part["alpha"])
    power = part["alpha_N"] / part["alpha_D"]
    return power * np.log(part["N_c"]), power, np.log(part["D_c"]), np.ones_like(power)


def _searched(theta: Array, budget: Array, law: Law) -> Optimum:
    flat = theta.reshape(-1, theta.shape[-1])
    middle = float(np.log(budget).mean())
    asked = np.concatenate([np.log(budget), middle + np.array([-SLOPE_STEP, SLOPE_STEP])])
    log_n = best_log_size(law, flat, asked[None])
    share = (log_n[:, -1] - log_n[:, -2]) / (2 * SLOPE_STEP)
    n_params = np.exp(log_n[:, :-2]).reshape(*theta.shape[:-1], budget.size)
    n_tokens = budget / n_params
    loss = _predict_each(law, theta, n_params, n_tokens)
    a = share.reshape(theta.shape[:-1])
    return Optimum(n_params=n_params, n_tokens=n_tokens, loss=loss, a=a, b=1 - a)


def _predict_each(law: Law, theta: Array, n_params: Array, n_tokens: Array) -> Array:
    """Loss (..., G) where every draw has its own sizes and tokens (..., G)."""
    flat = theta.reshape(-1, theta.shape[-1])
    sizes = n_params.reshape(len(flat), -1)
    tokens = n_tokens.reshape(len(flat), -1)
    # Every law broadcasts over its inputs, so inputs (B, G) meet theta (B, P) directly.
    loss = law.predict(flat, {"n_params": sizes, "n_tokens": tokens})
    return loss.reshape(n_params.shape)
