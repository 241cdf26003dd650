"""Learning rate and batch as powers of size, tokens or compute.

Use with `find_published("step_law_lr")` and its kin, or fit one to a table of optima; a sweep
over learning rates and batches goes to `isoflop.fitting.fit_lr_batch`.
"""

from collections.abc import Mapping

import numpy as np

from isoflop._types import Array
from isoflop.laws._law import Inputs, Law, Param


def product_power(inputs: tuple[str, ...], target: str) -> Law:
    """`target = c prod_i x_i^a_i`: exponents of any sign, linear in logs.

    Args:
        inputs: columns, e.g. `("n_params", "n_tokens")`.
        target: what it predicts: "lr", "batch_tokens" [tokens], or an optimal "n_params" or
            "n_tokens".

    Source: Li et al. 2025 (Step Law), arXiv:2503.04715.
    """

    def predict(theta: Array, columns: Inputs) -> Array:
        terms = (theta[..., i + 1, None] * np.log(columns[n]) for i, n in enumerate(inputs))
        return np.asarray(theta[..., 0, None] * np.exp(sum(terms)))

    def jacobian(theta: Array, columns: Inputs) -> Array:
        value = predict(theta, columns)
        by_exponent = (value * np.log(columns[name]) for name in inputs)
        return np.stack([value / theta[..., 0, None], *by_exponent], axis=-1)

    def rescale(theta: Array, scales: Mapping[str, float]) -> Array:
        out = theta.copy()
        for i, name in enumerate(inputs):
            out[..., 0] *= scales[name] ** theta[..., i + 1]
        return out

    def starts(columns: Inputs, values: Array) -> Array:
        basis = np.column_stack([np.ones_like(values), *(np.log(columns[n]) for n in inputs)])
        log_c, *exponents = np.linalg.lstsq(basis, np.log(values), rcond=None)[0]
        return np.array([[np.exp(log_c), *exponents]])

    right = " ".join(f"{name}^a_{name}" for name in inputs)
    return Law(
        name=f"product_power[{','.join(inputs)}]",
        params=(
            Param(name="c", low=1e-200, high=1e200),
            *(Param(name=f"a_{name}", low=-5.0, high=5.0, real=True) for name in inputs),
        ),
        inputs=inputs,
        predict=predict,
        jacobian=jacobian,
        rescale=rescale,
        formula=f"{target} = c {right}",
        source="Li et al. 2025 (Step Law), arXiv:2503.04715",
        range_note="Holds for the batch rule, schedule and data of the sweep it was fitted to.",
        starts=starts,
        target=target,
    )


LR_ON_SIZE_TOKENS = product_power(("n_params", "n_tokens"), "lr")
BATCH_ON_TOKENS = product_power(("n_tokens",), "batch_tokens")
BATCH_ON_SIZE_TOKENS = product_power(("n_params", "n_tokens"), "batch_tokens")
LR_ON_FLOPS = product_power(("flops",), "lr")
BATCH_ON_FLOPS = product_power(("flops",), "batch_tokens")
LR_ON_SIZE = product_power(("n_params",), "lr")
BATCH_ON_SIZE = product_power(("n_params",), "batch_tokens")
BATCH_ON_LOSS = product_power(("loss",), "batch_tokens")
