"""One planted fault for every problem code of a table, and the clean table that it is planted in.

Each entry of `FAULTS` makes the faulty table from the clean one of the same kind, `CLEAN`.
"""

import numpy as np
from simulated import TRUTH, ladder

from isoflop.laws import find_law

SIZES = np.geomspace(6e3, 4e5, 7)
HORIZONS = np.geomspace(5e5, 1.6e7, 6)
NOISE = 0.002


def clean(seed=0, **options):
    """Seven sizes by six horizons, one trunk a size, with the columns of a careful table."""
    options = {"shared": NOISE, "own": NOISE, "sizes": SIZES, "horizons": HORIZONS} | options
    table = ladder(seed=seed, **options)
    rows = table["loss"].size
    return table | {
        "run": np.array([f"run{i}" for i in range(rows)]),
        "kind": np.full(rows, "final"),
        "lr": np.full(rows, 1e-3),
        "tokenizer": np.full(rows, "bpe512"),
        "metric": np.full(rows, "nats/token"),
        "depth": np.full(rows, 2),
        "n_unique_tokens": table["n_tokens"],
    }


def _with(table, **columns):
    return table | columns


def _rows(table, keep):
    return {name: column[keep] for name, column in table.items()}


def one_ray(t):
    """Every size at 20 tokens a parameter."""
    n = np.geomspace(1e4, 1e6, 12)
    law = find_law("chinchilla")
    loss = law.predict(TRUTH, {"n_params": n, "n_tokens": 20 * n})
    noise = np.exp(NOISE * np.random.default_rng(0).standard_normal(12))
    return {"n_params": n, "n_tokens": 20 * n, "loss": loss * noise}


def few_runs(t):
    """Seven runs for a law of five parameters."""
    return _rows(t, np.array([0, 3, 7, 14, 21, 28, 35]))


def narrow_range(t):
    """All sizes within a factor of two."""
    return clean(sizes=np.geomspace(1e5, 2e5, 6))


def floor_unidentified(t):
    """Losses far above a floor that is a sixth of them, with 1.5 % noise."""
    truth = np.array([0.3, 6.0, 0.10, 12.0, 0.12])
    return clean(truth=truth, own=0.015, sizes=SIZES[2:], horizons=HORIZONS[1:])


def outliers(t):
    """Two runs 12 % too high, one 6 % too low."""
    factor = np.ones(t["loss"].size)
    factor[[4, 20]], factor[11] = 1.12, 0.94
    return _with(t, loss=t["loss"] * factor)


def under_tuned(t):
    """The third size is 4 % worse at every horizon."""
    return _with(t, loss=t["loss"] * np.where(t["n_params"] == SIZES[2], 1.04, 1.0))


def pre_asymptotic(t):
    """The slope along tokens steepens all the way."""
    along = np.log(t["n_tokens"] / HORIZONS[0])
    return _with(t, loss=t["loss"] * np.exp(-0.05 * along**2))


def broken_regime(t):
    """From the third horizon on the loss falls by 0.06 an e-fold less than before."""
    along = np.maximum(0.0, np.log(t["n_tokens"] / HORIZONS[2]))
    return _with(t, loss=t["loss"] * np.exp(0.06 * along))


def mixed_kinds(t):
    """Every other point is at a constant rate, 5 % above; only the column lr shows it."""
    constant = np.arange(t["loss"].size) % 2 == 0
    mixed = _with(
        t, lr=np.where(constant, 1e-3, 1e-5), loss=t["loss"] * np.where(constant, 1.05, 1.0)
    )
    del mixed["kind"]
    return mixed


def intermediate_points(t):
    """No schedule has ended."""
    return _with(t, kind=np.full(t["loss"].size, "intermediate"))


def repeated_data(t):
    """The longest runs saw a corpus of a million tokens sixteen times."""
    return _with(t, n_unique_tokens=np.minimum(t["n_tokens"], 1e6))


def mixed_metrics(t):
    """Every third loss or so in bits, and no column that says so."""
    bits = np.random.default_rng(3).random(t["loss"].size) < 0.35
    return _with(t, loss=t["loss"] * np.where(bits, 1 / np.log(2.0), 1.0))


def shape_confounded(t):
    """Depth grows with size."""
    return _with(t, depth=np.searchsorted(SIZES, t["n_params"]) + 2)


def duplicated_runs(t):
    """Two runs are in the table twice."""
    return _rows(t, np.r_[np.arange(t["loss"].size), 5, 17])


def loss_rises(t):
    """The longest run of one size has diverged half-way: 15 % above the one before."""
    loss = t["loss"].copy()
    loss[23] = 1.15 * loss[22]
    return _with(t, loss=loss)


def units_mismatch(t):
    """Parameters in millions, FLOPs in ones."""
    return _with(t, n_params=t["n_params"] / 1e6)


def edge_minimum(t):
    """Sizes far below the best: every profile falls towards the largest."""
    return clean(sizes=np.geomspace(1e3, 8e3, 5), horizons=np.geomspace(1e7, 3e8, 6))


def exponents_inconsistent(t):
    """FLOPs that count a fixed cost a token besides 6 N."""
    return _with(t, flops=6 * (t["n_params"] + 2e5) * t["n_tokens"])


def short_horizons(t):
    """The shortest horizon lies 5 % above the law of the others."""
    short = t["n_tokens"] == HORIZONS[0]
    return _with(t, loss=t["loss"] * np.where(short, 1.05, 1.0))


def backtest_missed(t):
    """Beyond 5e11 of N D the loss falls faster than the law of the cheaper runs promises."""
    beyond = np.maximum(0.0, np.log(t["n_params"] * t["n_tokens"] / 5e11))
    return _with(t, loss=t["loss"] * np.exp(-0.05 * beyond))


def at_bound(t):
    """A loss that does not depend on size at all."""
    noise = t["loss"] / find_law("chinchilla").predict(TRUTH, t)
    return _with(t, loss=(1.5 + 900 / t["n_tokens"] ** 0.45) * noise)


def ill_conditioned(t):
    """A loss that is straight in ln N and ln D: floor and both powers are one line."""
    noise = t["loss"] / find_law("chinchilla").predict(TRUTH, t)
    line = 4 - 0.1 * np.log(t["n_params"] * t["n_tokens"] / 1e10) - 0.02 * np.log(t["n_params"])
    return _with(t, loss=line * noise)


FAULTS = {
    fault.__name__: fault
    for fault in (
        one_ray, few_runs, narrow_range, floor_unidentified, outliers, under_tuned,
        pre_asymptotic, broken_regime, mixed_kinds, intermediate_points, repeated_data,
        mixed_metrics, shape_confounded, duplicated_runs, loss_rises, units_mismatch,
        edge_minimum, exponents_inconsistent, short_horizons, backtest_missed, at_bound,
        ill_conditioned,
    )
} | {"exponents_ridge": floor_unidentified, "no_backtest": few_runs}  # fmt: skip
