"""Simulated ladders for the tests of this room."""

import numpy as np

from isoflop.laws import find_law

TRUTH = np.array([1.6, 60.0, 0.40, 900.0, 0.45])
"""E, A, alpha, B, beta near what small transformers on text show."""

SIZES = np.geomspace(1e4, 1.6e5, 5)
HORIZONS = np.geomspace(5e5, 8e6, 5)


def ladder(
    shared=0.0, own=0.0, seed=0, *, truth=TRUTH, law="chinchilla", sizes=SIZES, horizons=HORIZONS
):
    """A table of every size at every horizon, one trunk a size, noise in log loss."""
    rng = np.random.default_rng(seed)
    n, d = (grid.ravel() for grid in np.meshgrid(sizes, horizons, indexing="ij"))
    loss = find_law(law).predict(np.asarray(truth), {"n_params": n, "n_tokens": d})
    trunk = np.repeat(np.arange(len(sizes)), len(horizons))
    noise = shared * rng.standard_normal(len(sizes))[trunk] + own * rng.standard_normal(n.size)
    return {
        "n_params": n,
        "n_tokens": d,
        "flops": 6 * n * d,
        "loss": loss * np.exp(noise),
        "trunk": np.array([f"t{i}" for i in trunk]),
    }
